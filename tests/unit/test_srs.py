"""`mailnode.srs`: reverse-paths that are ours, and the ones that they were made from."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address, parse_address
from mailnode.srs import VALID_DAYS, NotOurReturnPath, Srs, is_rewritten

TODAY = 20_270
OURS = Srs(b"our secret", "ours.test")
THEIRS = Srs(b"their secret", "theirs.test")
BOB = Address("bob", "example.org")

LOCALS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64
) | st.text(st.characters(min_codepoint=0xA1, max_codepoint=0x24F), min_size=1, max_size=32)
DOMAINS = st.sampled_from(["example.org", "x", "a.b.example", "[127.0.0.1]", "[IPv6:::1]"])
DAYS = st.integers(0, 40_000)
SENDERS = st.builds(Address, LOCALS, DOMAINS)


class ForwardTests(SynchronousTestCase):
    def test_a_sender_becomes_an_address_of_ours(self) -> None:
        self.assertEqual(str(OURS.forward(BOB, TODAY)), "SRS0=AYUOLD=ZO=example.org=bob@ours.test")

    def test_the_second_forwarder_points_to_the_first(self) -> None:
        once = THEIRS.forward(BOB, TODAY)
        twice = OURS.forward(once, TODAY)
        self.assertRegex(twice.local, r"\ASRS1=[A-Z2-7]{6}=theirs\.test==.{6}=ZO=example.org=bob\Z")
        self.assertEqual(OURS.reverse(twice, TODAY), once)
        self.assertEqual(THEIRS.reverse(once, TODAY), BOB)

    def test_the_third_points_to_the_first_too(self) -> None:
        once = Srs(b"a", "first.test").forward(BOB, TODAY)
        twice = THEIRS.forward(once, TODAY)
        thrice = OURS.forward(twice, TODAY)
        self.assertEqual(len(str(thrice)) - len("ours.test"), len(str(twice)) - len("theirs.test"))
        self.assertEqual(OURS.reverse(thrice, TODAY), once)

    def test_other_separators_of_others_come_back_as_they_were(self) -> None:
        for local in ("SRS0+AAAA=BB=x.test=bob", "srs0-AAAA=BB=x.test=bob"):
            sender = Address(local, "theirs.test")
            back = OURS.reverse(OURS.forward(sender, TODAY), TODAY)
            self.assertEqual(str(back).lower(), str(sender).lower())

    def test_what_is_ours_stays(self) -> None:
        for sender in (Address("alice", "ours.test"), OURS.forward(BOB, TODAY)):
            self.assertEqual(OURS.forward(sender, TODAY), sender)

    def test_a_local_part_that_would_be_over_64_octets_stays(self) -> None:
        room = 64 - len("SRS0=ABCDEF=XX=example.org=")
        fits, too_long = (
            Address("x" * room, "example.org"),
            Address("x" * (room + 1), "example.org"),
        )
        self.assertEqual(len(OURS.forward(fits, TODAY).local), 64)
        self.assertEqual(OURS.forward(too_long, TODAY), too_long)
        wide = Address("\u00e9" * (room // 2 + 1), "example.org")
        self.assertEqual(OURS.forward(wide, TODAY), wide)

    def test_others_know_one_by_its_looks(self) -> None:
        self.assertTrue(is_rewritten(OURS.forward(BOB, TODAY)))
        for local in ("bob", "srs", "srs0", "srs2=a=b=c=d", "xsrs0=a=b=c=d"):
            self.assertFalse(is_rewritten(Address(local, "ours.test")))


class ReverseTests(SynchronousTestCase):
    def refused(self, local: str, now_days: int = TODAY) -> str:
        with self.assertRaises(NotOurReturnPath) as caught:
            OURS.reverse(Address(local, "ours.test"), now_days)
        return caught.exception.detail

    def test_it_is_valid_for_21_days(self) -> None:
        address = OURS.forward(BOB, TODAY)
        for days in (0, 1, VALID_DAYS):
            self.assertEqual(OURS.reverse(address, TODAY + days), BOB)
        for days in (VALID_DAYS + 1, 100, 1023, -1):
            self.assertIn("days ago", self.refused(address.local, TODAY + days))

    def test_one_that_is_forged_is_refused(self) -> None:
        local = OURS.forward(BOB, TODAY).local
        _, signed, day, domain, name = local.split("=")
        for forged in (
            f"SRS0=AAAAAA={day}={domain}={name}",
            f"SRS0={signed}={day}={domain}=eve",
            f"SRS0={signed}={day}=example.net={name}",
            f"SRS0={signed}=AA={domain}={name}",
            f"SRS0={signed[:5]}={day}={domain}={name}",
            f"SRS0=={day}={domain}={name}",
            f"SRS1={signed}={day}={domain}={name}",
            THEIRS.forward(BOB, TODAY).local,
            f"SRS0=\u00e9={day}={domain}={name}",
        ):
            self.assertIn("hash", self.refused(forged), forged)
        for nothing in ("bob", "SRS0", "SRS0=a", "SRS0=a=b=c", "SRS1=a", "SRS0+a=b=c=d", ""):
            self.assertIn("not rewritten", self.refused(nothing), nothing)

    def test_a_forwarder_that_has_no_domain_is_refused(self) -> None:
        local = OURS.forward(Address("SRS1=x=no_domain==a=b=c=d", "theirs.test"), TODAY).local
        self.assertIn("domain", self.refused(local))

    def test_the_client_is_told_550_5_1_1(self) -> None:
        refusal = NotOurReturnPath(detail="x")
        self.assertEqual((refusal.smtp_code, refusal.enhanced), (550, "5.1.1"))

    def test_the_secret_is_not_shown(self) -> None:
        self.assertNotIn("secret", repr(OURS))

    @settings(max_examples=300, deadline=None)
    @given(SENDERS, DAYS, st.integers(0, VALID_DAYS), st.sampled_from([str, str.lower, str.upper]))
    def test_whatever_is_rewritten_comes_back_whatever_case_it_comes_in(
        self, sender: Address, at_days: int, age: int, as_it_comes: type[str]
    ) -> None:
        assume(not is_rewritten(sender))
        address = OURS.forward(sender, at_days)
        if address == sender:
            self.assertGreater(len(f"SRS0=ABCDEF=XX={sender.domain}={sender.local}".encode()), 64)
            return
        came = parse_address(str(address))
        self.assertEqual(came, address)
        came = Address(as_it_comes(address.local), address.domain)
        assume(came.key == address.key)  # upper-casing some letters makes others of them
        back = OURS.reverse(came, at_days + age)
        self.assertEqual(back.key, sender.key)
        if came == address:
            self.assertEqual(back, sender)

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=30), st.sampled_from(["SRS0=", "SRS1=", "srs0=AAAAAA=BB="]), DAYS)
    def test_nothing_else_is_raised(self, text: str, begin: str, now_days: int) -> None:
        with self.assertRaises(NotOurReturnPath):
            OURS.reverse(Address(begin + text, "ours.test"), now_days)
