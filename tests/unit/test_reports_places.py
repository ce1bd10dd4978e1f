"""Who gets the reports of a domain, and who can't be made to get them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import LookupFailed
from mailnode.reports.places import MOST_PLACES, Found, find_places, read_place, read_places
from tests.fakes import FakeResolver

DOMAIN = "blue.example.org"
AWAY = "blue.example.org._report._dmarc.red.example.net"


class PlaceTests(SynchronousTestCase):
    def test_an_address_may_say_how_much_it_takes(self) -> None:
        for uri, most in (
            ("mailto:a@x.test", None),
            ("mailto:a@x.test!500", 500),
            ("mailto:a@x.test!10k", 10 << 10),
            ("MAILTO:a@x.test!10M", 10 << 20),
            ("mailto:a@x.test!2g", 2 << 30),
            ("mailto:a@x.test!1t", 1 << 40),
            ("mailto:a%21b@x.test!1m", 1 << 20),
        ):
            place = read_place(uri)
            assert place is not None, uri
            self.assertEqual(most, place.most_octets, uri)
            if most is not None:
                self.assertEqual((True, False), (place.takes(most), place.takes(most + 1)))

    def test_we_write_to_addresses_alone(self) -> None:
        for uri in (
            "https://x.test/report",
            "mailto:",
            "mailto:nobody",
            "mailto:a@x.test!10q",
            "mailto:a@x.test!",
            "mailto:a@[192.0.2.1]",
            "mailto:%C3%BC@x.test",
            "mailto:a@x.test%0d%0aBcc:%20b@x.test",
        ):
            self.assertIsNone(read_place(uri), uri)

    def test_each_once_and_the_first_so_many(self) -> None:
        uris = [f"mailto:a{number % 50}@x.test" for number in range(100)]
        found = [str(each.address) for each in read_places(uris)]
        self.assertEqual([f"a{number}@x.test" for number in range(MOST_PLACES)], found)


class ExternalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.zone: dict[tuple[str, str], Any] = {}
        self.resolver = FakeResolver(self.zone)

    def find(self, *uris: str, domain: str = DOMAIN) -> Found:
        async def look_up(name: str) -> Any:
            return (await self.resolver.look_up(name, "TXT")).values

        return self.successResultOf(Deferred.fromCoroutine(find_places(domain, uris, look_up)))

    def names(self, *uris: str, domain: str = DOMAIN) -> list[str]:
        return [str(each.address) for each in self.find(*uris, domain=domain).places]

    def test_at_home_nobody_is_asked(self) -> None:
        for domain, uri in (
            ("example.org", "a@example.org"),
            (DOMAIN, "a@example.org"),
            (DOMAIN, "a@red.example.org"),
            ("a.co.uk", "x@mail.a.co.uk"),
        ):
            self.assertEqual([uri], self.names(f"mailto:{uri}", domain=domain))
        self.assertEqual([], self.resolver.asked)

    def test_elsewhere_it_goes_only_where_it_is_wanted(self) -> None:
        uri = "mailto:reports@red.example.net!1m"
        self.assertEqual([], self.names(uri))
        self.assertEqual([(AWAY, "TXT")], self.resolver.asked)
        for texts, found in (
            (["v=DMARC1"], True),
            (["v=DMARC1;"], True),
            (["something else", "v=DMARC1; x=y"], True),
            (["v=DMARC2"], False),
            (["x=y; v=DMARC1"], False),
            ([], False),
        ):
            self.zone[AWAY, "TXT"] = texts
            place = self.find(uri)
            self.assertEqual(found, [each.most_octets for each in place.places] == [1 << 20], texts)
            self.assertEqual(not found, bool(place.unwilling), texts)

    def test_two_of_one_public_suffix_are_strangers(self) -> None:
        self.assertEqual([], self.names("mailto:a@b.co.uk", domain="a.co.uk"))

    def test_who_takes_them_may_name_another_address_of_the_same_host_and_no_other(self) -> None:
        uri = "mailto:reports@red.example.net"
        for said, found in (
            ("mailto:other@red.example.net!5k", ["other@red.example.net"]),
            ("mailto:other@victim.example", []),
            ("mailto:other@red.example.net,mailto:other@victim.example", []),
            ("mailto:other@mail.red.example.net", []),
            ("https://red.example.net/", []),
        ):
            self.zone[AWAY, "TXT"] = [f"v=DMARC1; rua={said}"]
            self.assertEqual(found, self.names(uri), said)

    def test_while_nobody_can_say_it_is_not_known(self) -> None:
        self.zone[AWAY, "TXT"] = LookupFailed()
        found = self.find("mailto:reports@red.example.net", "mailto:a@example.org")
        self.assertEqual(["a@example.org"], [str(each.address) for each in found.places])
        self.assertEqual(["reports@red.example.net"], [str(each) for each in found.unsure])

    def test_a_name_that_is_too_long_is_not_asked_for(self) -> None:
        long = ".".join(["a" * 60] * 3) + ".test"
        self.assertEqual([], self.names(f"mailto:x@{'b' * 60}.test", domain=long))
        self.assertEqual([], self.resolver.asked)
