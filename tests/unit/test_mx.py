"""`mailnode.outbound.mx`: which hosts take a domain's mail (RFC 5321 section 5, RFC 7505; C8)."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import LookupFailed, NoSuchName
from mailnode.outbound.mx import (
    MOST_HOSTS,
    LeadsBack,
    MxHost,
    NoMailHost,
    TakesNoMail,
    find_addresses,
    find_hosts,
)
from mailnode.records import Records
from tests.fakes import FakeResolver


class MxCase(SynchronousTestCase):
    zone: dict[tuple[str, str], Any]

    def setUp(self) -> None:
        self.zone = {
            ("mx1.example.org", "A"): ["192.0.2.1"],
            ("mx1.example.org", "AAAA"): ["2001:db8::1"],
            ("mx2.example.org", "A"): ["192.0.2.2", "192.0.2.3"],
            ("mx3.example.org", "A"): ["192.0.2.4"],
        }
        self.resolver = FakeResolver(self.zone)

    def start(self, domain: str = "example.org", **more: Any) -> Deferred[list[MxHost]]:
        return Deferred.fromCoroutine(find_hosts(self.resolver, domain, **more))

    def find(self, domain: str = "example.org", **more: Any) -> list[MxHost]:
        return self.successResultOf(self.start(domain, **more))

    def names(self, domain: str = "example.org", **more: Any) -> list[str]:
        return [host.name for host in self.find(domain, **more)]

    def refused(self, kind: type[Exception], domain: str = "example.org", **more: Any) -> Any:
        return self.failureResultOf(self.start(domain, **more), kind).value


class OrderTests(MxCase):
    def test_hosts_come_by_preference_each_with_ipv6_before_ipv4(self) -> None:
        self.zone["example.org", "MX"] = [(20, "mx2.example.org"), (10, "mx1.example.org")]
        self.assertEqual(
            [
                ("mx1.example.org", 10, ("2001:db8::1", "192.0.2.1")),
                ("mx2.example.org", 20, ("192.0.2.2", "192.0.2.3")),
            ],
            [(host.name, host.preference, host.addresses) for host in self.find()],
        )

    def test_equal_preferences_are_shuffled_and_others_never(self) -> None:
        self.zone["example.org", "MX"] = [
            (20, "mx3.example.org"),
            (10, "mx1.example.org"),
            (10, "mx2.example.org"),
        ]
        seen = {tuple(self.names(chance=random.Random(seed))) for seed in range(30)}
        self.assertEqual(
            {
                ("mx1.example.org", "mx2.example.org", "mx3.example.org"),
                ("mx2.example.org", "mx1.example.org", "mx3.example.org"),
            },
            seen,
        )
        self.assertEqual(self.names(chance=random.Random(7)), self.names(chance=random.Random(7)))

    def test_a_host_that_is_named_twice_is_tried_once_where_it_is_best(self) -> None:
        self.zone["example.org", "MX"] = [
            (10, "mx1.example.org"),
            (0, "mx2.example.org"),
            (0, "mx1.example.org"),
            (10, "mx2.example.org"),
        ]
        self.assertEqual([0, 0], [host.preference for host in self.find()])

    def test_a_crowd_of_hosts_is_cut(self) -> None:
        names = [f"h{n}.example.org" for n in range(500)]
        self.zone |= {(name, "A"): ["192.0.2.9"] for name in names}
        self.zone["example.org", "MX"] = [(10, name) for name in names]
        self.assertEqual(MOST_HOSTS, len(self.find()))
        self.assertEqual(1 + 2 * MOST_HOSTS, len(self.resolver.asked))


class DomainTests(MxCase):
    def test_without_an_mx_the_domain_itself_is_the_host(self) -> None:
        self.zone["example.org", "A"] = ["192.0.2.8"]
        self.assertEqual(
            [("example.org", 0, ("192.0.2.8",))],
            [(host.name, host.preference, host.addresses) for host in self.find()],
        )

    def test_an_address_literal_is_its_host_and_nobody_is_asked(self) -> None:
        self.assertEqual(("192.0.2.1",), self.find("[192.0.2.1]")[0].addresses)
        (host,) = self.find("[IPv6:2001:db8::7]")
        self.assertEqual(("[IPv6:2001:db8::7]", ("2001:db8::7",)), (host.name, host.addresses))
        self.assertEqual([], self.resolver.asked)

    def test_a_null_mx_is_556_5_1_10(self) -> None:
        self.zone["example.org", "MX"] = [(0, "")]
        error = self.refused(TakesNoMail)
        self.assertEqual((556, "5.1.10"), (error.smtp_code, error.enhanced))
        self.assertIn("example.org", error.text)

    def test_a_root_beside_real_hosts_is_no_null_mx(self) -> None:
        self.zone["example.org", "MX"] = [(0, ""), (10, "mx1.example.org")]
        self.assertEqual(["mx1.example.org"], self.names())

    def test_a_domain_that_is_not_there_is_550_5_1_2(self) -> None:
        error = self.refused(NoSuchName, "none.example")
        self.assertEqual((550, "5.1.2", False), (error.smtp_code, error.enhanced, error.temporary))
        self.assertEqual("There is no domain none.example", error.text)

    def test_a_look_up_that_fails_is_451_4_4_3(self) -> None:
        self.zone["example.org", "MX"] = LookupFailed()
        error = self.refused(LookupFailed)
        self.assertEqual((451, "4.4.3", True), (error.smtp_code, error.enhanced, error.temporary))


class HostTests(MxCase):
    def test_a_host_without_an_address_or_a_name_is_passed_over(self) -> None:
        self.zone["example.org", "MX"] = [
            (0, "none.example.net"),
            (1, "bad\\000host.example.org"),
            (2, "192.0.2.1"),
            (3, "mx1.example.org"),
        ]
        self.assertEqual(["mx1.example.org"], self.names())

    def test_no_host_with_an_address_is_for_good(self) -> None:
        self.zone["example.org", "MX"] = [(0, "none.example.net"), (5, "text.example.org")]
        self.zone["text.example.org", "TXT"] = ["x"]
        error = self.refused(NoMailHost)
        self.assertEqual((550, "5.4.4"), (error.smtp_code, error.enhanced))
        self.zone["bare.example.org", "TXT"] = ["x"]
        self.refused(NoMailHost, "bare.example.org")

    def test_a_host_that_can_not_be_looked_up_now_is_passed_over_while_there_are_others(
        self,
    ) -> None:
        self.zone["sick.example.org", "A"] = LookupFailed()
        self.zone["example.org", "MX"] = [(0, "sick.example.org"), (5, "mx1.example.org")]
        self.assertEqual(["mx1.example.org"], self.names())
        self.zone["example.org", "MX"] = [(0, "sick.example.org"), (5, "none.example.net")]
        self.assertTrue(self.refused(LookupFailed).temporary)

    def test_one_kind_of_address_is_enough(self) -> None:
        self.zone["half.example.org", "AAAA"] = LookupFailed()
        self.zone["half.example.org", "A"] = ["192.0.2.5"]
        self.zone["example.org", "MX"] = [(0, "half.example.org")]
        self.assertEqual(("192.0.2.5",), self.find()[0].addresses)
        self.zone["half.example.org", "A"] = []
        self.refused(LookupFailed)

    def test_dnssec_must_vouch_for_the_mx_and_for_the_addresses(self) -> None:
        self.zone["example.org", "MX"] = Records(((0, "mx2.example.org"),), True)
        self.assertFalse(self.find()[0].authenticated)
        self.zone["mx2.example.org", "A"] = Records(("192.0.2.2",), True, name="real.example.org")
        (host,) = self.find()
        self.assertEqual((True, "real.example.org"), (host.authenticated, host.canonical))
        self.zone["example.org", "MX"] = Records(((0, "mx2.example.org"),), False)
        self.assertFalse(self.find()[0].authenticated)

    def test_addresses_of_a_name_that_is_not_there(self) -> None:
        found = Deferred.fromCoroutine(find_addresses(self.resolver, "none.example"))
        self.failureResultOf(found, NoSuchName)


class OwnTests(MxCase):
    def setUp(self) -> None:
        super().setUp()
        self.zone["example.org", "MX"] = [
            (10, "mx1.example.org"),
            (20, "mx2.example.org"),
            (20, "mx3.example.org"),
        ]

    def test_of_hosts_that_are_not_better_than_this_one_none_is_tried(self) -> None:
        self.assertEqual(["mx1.example.org"], self.names(own=["MX3.example.org."]))

    def test_when_this_is_the_best_it_is_a_loop_554_5_4_6(self) -> None:
        error = self.refused(LeadsBack, own=["mx1.example.org"])
        self.assertEqual((554, "5.4.6"), (error.smtp_code, error.enhanced))

    def test_a_domain_without_an_mx_that_is_this_host_is_a_loop(self) -> None:
        self.refused(LeadsBack, "mx3.example.org", own=["mx3.example.org"])
