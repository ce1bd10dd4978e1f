"""What every `IResolver` must do: one suite, for the one over sockets and the one in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailnode.errors import LookupFailed, NoSuchName
from mailnode.interfaces import IResolver

VALUES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("example.org", "MX"): ((10, "mx.example.org"), (20, "mx2.example.org")),
    ("mx.example.org", "A"): ("192.0.2.1", "192.0.2.2"),
    ("mx.example.org", "AAAA"): ("2001:db8::1",),
    ("null.example.org", "MX"): ((0, ""),),
    ("_25._tcp.mx.example.org", "TLSA"): ((3, 1, 1, b"\xab" * 32),),
    ("text.example.org", "TXT"): ("v=spf1 -all", "x" * 600),
    ("_imaps._tcp.example.org", "SRV"): ((0, 1, 993, "mx.example.org"),),
    ("1.2.0.192.in-addr.arpa", "PTR"): ("mx.example.org",),
}
ZONE: dict[tuple[str, str], Any] = {
    ("example.org", "MX"): ["10 MX.example.org.", "20 mx2.example.org."],
    ("mx.example.org", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx.example.org", "AAAA"): ["2001:db8::1"],
    ("null.example.org", "MX"): ["0 ."],
    ("_25._tcp.mx.example.org", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("text.example.org", "TXT"): ["v=spf1 -all", "x" * 600],
    ("_imaps._tcp.example.org", "SRV"): ["0 1 993 mx.example.org."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx.example.org."],
    ("broken.example.org", "MX"): "SERVFAIL",
}


class ResolverCase(TestCase):
    """Subclasses say how one is made that knows `ZONE`."""

    timeout = 30
    resolver: Any

    async def test_values_of_each_kind(self) -> None:
        for (name, kind), values in VALUES.items():
            records = await self.resolver.look_up(name, kind)
            self.assertEqual(sorted(values), sorted(records.values), f"{name} {kind}")
            self.assertGreater(records.expires_in_s, 0)
            self.assertEqual(name, records.name)

    async def test_case_and_the_last_dot_do_not_matter(self) -> None:
        records = await self.resolver.look_up("MX.Example.Org.", "AAAA")
        self.assertEqual(("2001:db8::1",), records.values)

    async def test_a_name_without_that_kind_has_no_values(self) -> None:
        for name in ("mx.example.org", "_tcp.mx.example.org"):
            self.assertEqual((), (await self.resolver.look_up(name, "MX")).values)

    async def test_a_name_that_is_not_there_is_550_5_1_2(self) -> None:
        error = await self.assertFailure_(NoSuchName, "nowhere.example.org")
        self.assertEqual((550, "5.1.2", False), (error.smtp_code, error.enhanced, error.temporary))

    async def test_what_nobody_can_say_is_451_4_4_3(self) -> None:
        error = await self.assertFailure_(LookupFailed, "broken.example.org")
        self.assertEqual((451, "4.4.3", True), (error.smtp_code, error.enhanced, error.temporary))

    async def assertFailure_(self, kind: type[Exception], name: str) -> Any:
        try:
            await self.resolver.look_up(name, "MX")
        except kind as error:
            return error
        raise self.failureException(f"{name} was found")

    def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IResolver, self.resolver))
