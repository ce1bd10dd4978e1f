"""`mailnode.outbound.policy`: which TLS each host must have (RFC 7672, RFC 8461; C6)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import LookupFailed
from mailnode.outbound.mta_sts import MtaSts, StsPolicy
from mailnode.outbound.mx import MxHost
from mailnode.outbound.policy import NoHostAllowed, TlsPolicies, is_usable
from mailnode.outbound.words import Tlsa, TlsPolicy
from mailnode.records import Records
from tests.fakes import FakeResolver

MX1 = MxHost("mx1.example.org", 10, ("192.0.2.1",), authenticated=True, canonical="mx1.example.org")
MX2 = MxHost("mx2.example.net", 20, ("192.0.2.2",), canonical="mx2.example.net")
RECORD = (3, 1, 1, b"\x01" * 32)


class PolicyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.zone: dict[tuple[str, str], Any] = {("example.org", "MX"): []}
        self.resolver = FakeResolver(self.zone, authenticated=True)

    def sts(self, mode: str, *mx: str) -> MtaSts:
        policy = StsPolicy("1", mode, mx, 0, 1e12)
        return MtaSts(self.resolver, self.fetch, policies={"example.org": policy})

    async def fetch(self, host: str, path: str) -> bytes:
        raise AssertionError("nothing is fetched here")

    def start(self, *hosts: MxHost, sts: MtaSts | None = None, domain: str = "example.org") -> Any:
        policies = TlsPolicies(self.resolver, sts)
        return Deferred.fromCoroutine(policies.choose(domain, hosts or (MX1, MX2)))

    def choose(self, *hosts: MxHost, **more: Any) -> list[tuple[str, TlsPolicy]]:
        return [
            (host.name, policy) for host, policy in self.successResultOf(self.start(*hosts, **more))
        ]


class StsTests(PolicyCase):
    def test_without_a_policy_tls_is_used_when_it_is_offered(self) -> None:
        any_ = TlsPolicy("may")
        self.assertEqual([(MX1.name, any_), (MX2.name, any_)], self.choose())
        self.assertEqual([any_] * 2, [policy for _, policy in self.choose(sts=self.sts("none"))])

    def test_enforce_leaves_the_hosts_that_it_names_and_verifies_them(self) -> None:
        chosen = self.choose(sts=self.sts("enforce", "*.example.net"))
        self.assertEqual([(MX2.name, TlsPolicy("verify", source="MTA-STS"))], chosen)

    def test_when_it_names_none_of_them_the_mail_waits_451_4_7_5(self) -> None:
        started = self.start(sts=self.sts("enforce", "mx9.example.org"))
        error = self.failureResultOf(started, NoHostAllowed).value
        self.assertEqual((451, "4.7.5", True), (error.smtp_code, error.enhanced, error.temporary))

    def test_testing_forbids_nothing(self) -> None:
        chosen = self.choose(sts=self.sts("testing", "mx9.example.org"))
        self.assertEqual(["may", "may"], [policy.level for _, policy in chosen])

    def test_an_address_literal_has_no_policy(self) -> None:
        literal = MxHost("[192.0.2.1]", 0, ("192.0.2.1",))
        chosen = self.choose(literal, sts=self.sts("enforce", "x.example"), domain="[192.0.2.1]")
        self.assertEqual([("[192.0.2.1]", TlsPolicy())], chosen)
        self.assertEqual([], self.resolver.asked)


class DaneTests(PolicyCase):
    def tell(self, *values: Any, name: str = "mx1.example.org") -> None:
        self.zone[f"_25._tcp.{name}", "TLSA"] = list(values)

    def test_records_that_dnssec_vouches_for_must_be_matched(self) -> None:
        self.tell(RECORD)
        ((_, policy),) = self.choose(MX1)
        expected = TlsPolicy("verify", ("example.org",), (Tlsa(*RECORD),), "DANE")
        self.assertEqual(expected, policy)

    def test_without_dnssec_for_mx_and_addresses_they_are_not_asked_for(self) -> None:
        self.tell(RECORD, name=MX2.name)
        self.assertEqual([(MX2.name, TlsPolicy())], self.choose(MX2))
        self.assertEqual([], [name for name, kind in self.resolver.asked if kind == "TLSA"])

    def test_without_dnssec_for_themselves_they_say_nothing(self) -> None:
        self.zone["_25._tcp.mx1.example.org", "TLSA"] = Records((RECORD,), False)
        self.assertEqual([(MX1.name, TlsPolicy())], self.choose(MX1))

    def test_when_they_can_not_be_looked_up_the_host_is_not_used(self) -> None:
        self.zone["_25._tcp.mx1.example.org", "TLSA"] = LookupFailed()
        self.assertEqual([MX2.name], [name for name, _ in self.choose()])
        self.failureResultOf(self.start(MX1), LookupFailed)

    def test_none_that_can_be_used_is_tls_without_a_look_at_the_certificate(self) -> None:
        self.tell((1, 1, 1, b"\x01" * 32), (3, 1, 9, b"\x01" * 32))
        self.assertEqual([(MX1.name, TlsPolicy("must", source="DANE"))], self.choose(MX1))

    def test_it_goes_before_mta_sts(self) -> None:
        self.tell(RECORD)
        chosen = self.choose(sts=self.sts("enforce", "mx2.example.net"))
        self.assertEqual(["DANE", "MTA-STS"], [policy.source for _, policy in chosen])

    def test_the_end_of_an_alias_is_asked_before_the_alias(self) -> None:
        alias = MxHost("mx.example.org", 0, ("192.0.2.1",), True, "real.example.net")
        self.tell(RECORD, name="mx.example.org")
        ((_, policy),) = self.choose(alias)
        self.assertEqual(("real.example.net", "example.org"), policy.names)
        self.tell((2, 0, 0, b"cert"), name="real.example.net")
        ((_, policy),) = self.choose(alias)
        self.assertEqual((Tlsa(2, 0, 0, b"cert"),), policy.dane)

    def test_which_records_can_be_used(self) -> None:
        for usable, record in (
            (True, Tlsa(2, 0, 0, b"x")),
            (True, Tlsa(3, 1, 1, b"x" * 32)),
            (True, Tlsa(3, 1, 2, b"x" * 64)),
            (False, Tlsa(3, 1, 2, b"x" * 32)),
            (False, Tlsa(3, 1, 0, b"")),
            (False, Tlsa(0, 1, 1, b"x" * 32)),
            (False, Tlsa(1, 1, 1, b"x" * 32)),
            (False, Tlsa(3, 2, 1, b"x" * 32)),
        ):
            self.assertEqual(usable, is_usable(record), record)
