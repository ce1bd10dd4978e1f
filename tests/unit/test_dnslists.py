"""`mailnode.dnslists`: lists in the DNS as the settings name them, and the answers that count."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailnode.dnslists import DnsList, turned


class DnsListTests(SynchronousTestCase):
    def counting(self, text: str, *answers: str) -> list[str]:
        """Those of the answers by which something is listed."""
        return [answer for answer in answers if DnsList.parse(text).lists(answer)]

    def test_a_zone_alone_takes_what_lists_usually_answer(self) -> None:
        answers = ("127.0.0.2", "127.0.0.11", "127.0.1.2", "127.0.0.255", "127.0.9.1")
        self.assertEqual([*answers], self.counting("zen.example.org", *answers))

    def test_a_test_entry_a_fault_and_a_dead_list_list_nobody(self) -> None:
        none = ("127.0.0.1", "127.0.0.0", "127.255.255.254", "127.0.1.255", "192.0.2.1", "x", "::1")
        self.assertEqual([], self.counting("zen.example.org", *none))

    def test_codes_are_addresses_ranges_networks_and_bits(self) -> None:
        answers = [f"127.0.0.{last}" for last in range(20)]
        for codes, last in (
            ("127.0.0.4", [4]),
            ("127.0.0.4-6", [4, 5, 6]),
            ("127.0.0.8/30", [8, 9, 10, 11]),
            ("&4", [4, 5, 6, 7, 12, 13, 14, 15]),
            ("127.0.0.2+127.0.0.4-5", [2, 4, 5]),
        ):
            counting = self.counting(f"zen.example.org={codes}", *answers)
            self.assertEqual([f"127.0.0.{each}" for each in last], counting, codes)

    def test_a_weight_may_be_given_and_be_below_0(self) -> None:
        weights = [
            DnsList.parse(f"zen.example.org{weight}").weight
            for weight in ("", "*3", "=127.0.0.2*2", "=127.0.0.0/8*-5", "*0")
        ]
        self.assertEqual([1, 3, 2, -5, 0], weights)

    def test_what_is_no_list_is_a_value_error(self) -> None:
        for text in (
            "",
            "zen",
            ".example.org",
            "zen..org",
            "zen.example.org=",
            "zen.example.org=192.0.2.1",
            "zen.example.org=127.0.0.9-2",
            "zen.example.org=127.0.0.2-999",
            "zen.example.org=&0",
            "zen.example.org=&256",
            "zen.example.org=127.0.0.1/33",
            "zen.example.org=0.0.0.0/0",
            "zen.example.org*",
            "zen.example.org*2000",
            "zen.example.org=" + "+".join(["127.0.0.2"] * 51),
            f"{'a' * 64}.example.org",
            "zen.ex ample.org",
        ):
            self.assertRaises(ValueError, DnsList.parse, text)

    def test_an_address_is_asked_by_octets_or_nibbles_from_the_last(self) -> None:
        self.assertEqual("7.2.0.192", turned("192.0.2.7"))
        nibbles = turned("2001:db8::7").split(".")
        self.assertEqual(32, len(nibbles))
        self.assertEqual("7.0.0.0", ".".join(nibbles[:4]))
        self.assertEqual("8.b.d.0.1.0.0.2", ".".join(nibbles[-8:]))

    def test_what_is_too_long_for_the_dns_is_not_asked(self) -> None:
        zen = DnsList.parse("zen.example.org")
        self.assertEqual("a.example.net.zen.example.org", zen.name_for("a.example.net"))
        self.assertIsNone(zen.name_for("a." * 120 + "net"))
