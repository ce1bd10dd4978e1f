"""`mailnode.filters.authentication`: who sent a mail, whatever its nameservers and threads do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import LookupFailed
from mailnode.filters.authentication import (
    FEW_SIGNATURES,
    LIMIT_S,
    NOT_READ,
    PIECE_OCTETS,
    SMALL_AUTHOR_OCTETS,
    SMALL_HEADER_OCTETS,
    SMALL_LINES,
    SMALL_OCTETS,
    Authentication,
)
from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.examination import HEADER_OCTETS, MOST_LINES, TOO_LARGE, Authenticated
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.model import Blob, Client, Envelope, Message
from mailnode.records import Records
from mailnode.threads import TooMuchWaiting
from tests.fakes import FakeResolver

NOW = 1_795_000_000.0
HEADER = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Greetings\r\n"
BODY = b"Hello \r\n\r\nthere\r\n"


class Reader:
    """A blob's reader that notes how much was asked for at a time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.counts, self.closed = data, list[int](), False

    def read(self, count: int) -> Deferred[bytes]:
        self.counts.append(count)
        piece, self.data = self.data[:count], self.data[count:]
        return succeed(piece)

    def close(self) -> None:
        self.closed = True


class HangingResolver(FakeResolver):
    """Never answers for names that end with one of these."""

    silent: tuple[str, ...] = ()

    async def look_up(self, name: str, kind: str) -> Records:
        if name.endswith(self.silent):
            self.asked.append((name, kind))
            await Deferred()
        return await super().look_up(name, kind)


class AuthenticationCase(SynchronousTestCase):
    key = DkimKey("example.org", "s1", RSA, make_private_key(RSA))

    def setUp(self) -> None:
        self.zone: dict[tuple[str, str], Any] = {
            ("example.org", "TXT"): ["v=spf1 ip4:192.0.2.0/24 -all"],
            ("mx.example.org", "TXT"): ["v=spf1 a -all"],
            ("mx.example.org", "A"): ["192.0.2.7"],
            ("_dmarc.example.org", "TXT"): ["v=DMARC1; p=reject"],
            ("s1._domainkey.example.org", "TXT"): [
                key_record(RSA, public_text(self.key.private_key))
            ],
        }
        self.resolver = HangingResolver(self.zone)
        self.clock = Clock()
        self.in_thread: Callable[..., Deferred[Any]] = maybeDeferred
        self.called: list[str] = []

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.called.append(function.__name__)
        return self.in_thread(function, *args)

    def signed(self, header: bytes = HEADER, body: bytes = BODY) -> bytes:
        hashed = BodyHash()
        hashed.feed(body)
        return sign(header, hashed.digest(), [self.key], int(NOW)) + header + b"\r\n" + body

    def checks(self, **more: Any) -> Authentication:
        return Authentication(
            self.resolver, self.call, self.clock, "mx.example.net", roll=lambda: 0, **more
        )

    def start(
        self,
        body: bytes | Blob,
        host: str = "192.0.2.7",
        sender: str = "alice@example.org",
        helo: str = "mx.example.org",
        checks: Authentication | None = None,
        sealing: bool = False,
        **more: Any,
    ) -> Deferred[Authenticated]:
        checks = checks or self.checks(**more)
        envelope = Envelope(
            "ID",
            parse_address(sender) if sender else None,
            (),
            Client(host, helo=helo),
            received_at=NOW,
        )
        message = Message(b"", body, 0, b"")
        return Deferred.fromCoroutine(checks.examine(envelope, message, sealing))

    def examine(self, body: bytes | Blob, **more: Any) -> Authenticated:
        found = self.successResultOf(self.start(body, **more))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return found

    def results(self, found: Authenticated) -> tuple[str, list[str], str, str, str]:
        dkim = [each.result for each in found.dkim]
        return found.spf.result, dkim, found.arc.result, found.dmarc.result, found.dmarc.apply


class ResultTests(AuthenticationCase):
    def test_a_mail_from_whom_it_says_passes_three_times(self) -> None:
        found = self.examine(self.signed())
        self.assertEqual(self.results(found), ("pass", ["pass"], "none", "pass", "none"))
        assert found.helo is not None
        self.assertEqual((found.helo.result, found.helo.domain), ("pass", "mx.example.org"))
        told = re.sub(rb"\r\n\s", b" ", found.field).decode()
        for part in (
            "Authentication-Results: mx.example.net; spf=pass ",
            " smtp.mailfrom=alice@example.org; spf=pass ",
            " smtp.helo=mx.example.org; dkim=pass header.d=example.org header.s=s1 ",
            ' dmarc=pass reason="example.org is proved by DKIM and SPF" header.from=example.org',
        ):
            self.assertIn(part, told)

    def test_one_octet_less_from_elsewhere_is_what_the_domain_wants(self) -> None:
        found = self.examine(self.signed().replace(b"there", b"ther"), host="198.51.100.1")
        self.assertEqual(self.results(found), ("fail", ["fail"], "none", "fail", "reject"))
        self.assertEqual(found.dkim[0].reason, "the body was changed")
        self.assertIn(b"policy.dmarc=reject", found.field)

    def test_a_mail_without_anything_has_no_results(self) -> None:
        self.zone.clear()
        found = self.examine(HEADER + b"\r\n" + BODY)
        self.assertEqual(self.results(found), ("none", [], "none", "none", "none"))
        self.assertIn(b"dkim=none", found.field)
        self.assertEqual(self.called, ["_read_whole"])  # and no thread for what needs none

    def test_what_takes_long_is_done_in_a_thread_and_so_is_the_first_mail(self) -> None:
        checks, small = self.checks(), self.signed()
        lines = self.signed(body=b"\r\n" * SMALL_LINES + BODY)
        wide = self.signed(b"X-Wide: " + b"x" * SMALL_HEADER_OCTETS + b"\r\n" + HEADER)
        large = self.signed(body=b"x" * SMALL_OCTETS + b"\r\n")
        author = self.signed(HEADER + b"From: " + b"@" * SMALL_AUTHOR_OCTETS + b"\r\n")
        folded = self.signed(HEADER + b"FROM\t:\r\n " + b"@" * SMALL_AUTHOR_OCTETS + b"\r\n")
        beyond = self.signed(HEADER + "X-Beyond: ASCII \u0660\r\n".encode())
        signatures = small[: small.index(HEADER)] * FEW_SIGNATURES + small
        for mail, called in (
            (small, ["_read_whole"]),
            (small, []),
            (signatures, ["judge"]),
            *((each, ["_read_whole", "judge"]) for each in (lines, wide, large)),
        ):
            self.called.clear()
            self.assertEqual("pass", self.examine(mail, checks=checks).dkim[0].result)
            self.assertEqual(called, self.called)
        for mail in (author, folded, beyond):  # made to take long, small as they are
            self.called.clear()
            self.examine(mail, checks=checks)
            self.assertIn("_read_whole", self.called)

    def test_the_null_sender_is_the_helo(self) -> None:
        found = self.examine(self.signed(), sender="")
        self.assertEqual((found.spf.result, found.spf.domain), ("pass", "mx.example.org"))
        self.assertIsNone(found.helo)
        self.assertIn(b"smtp.helo=mx.example.org", found.field)
        self.assertNotIn(b"smtp.mailfrom", found.field)

    def test_a_mail_that_came_by_no_network_has_no_spf(self) -> None:
        found = self.examine(self.signed(), host="")
        self.assertEqual(self.results(found), ("none", ["pass"], "none", "pass", "none"))

    def test_what_was_found_can_be_sealed_and_the_seal_holds(self) -> None:
        mail = self.signed()
        found = self.examine(mail, sealing=True)
        sealed = found.seal(b"", "mx.example.net", self.key, int(NOW)) + mail
        again = self.examine(sealed, sealing=True)
        self.assertEqual((again.arc.result, again.arc.sealers), ("pass", ("example.org",)))
        self.assertIn("dmarc=pass", again.arc.told[0])
        self.assertIn(b"arc=pass", again.field)

    def test_keys_policies_and_spf_are_asked_side_by_side(self) -> None:
        self.resolver.silent = (".org",)
        waiting = self.start(self.signed())
        wanted = {
            ("example.org", "TXT"),
            ("mx.example.org", "TXT"),
            ("s1._domainkey.example.org", "TXT"),
            ("_dmarc.example.org", "TXT"),
        }
        self.assertLessEqual(wanted, set(self.resolver.asked))
        self.assertEqual(len(self.resolver.asked), len(set(self.resolver.asked)))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_what_two_checks_lack_is_asked_once(self) -> None:
        self.resolver.silent = (".org",)
        waiting = self.start(self.signed(), helo="example.org")
        self.assertEqual(self.resolver.asked.count(("example.org", "TXT")), 1)
        self.clock.advance(LIMIT_S)
        found = self.successResultOf(waiting)
        assert found.helo is not None
        self.assertEqual((found.spf.result, found.helo.result), ("temperror", "temperror"))


class LargeTests(AuthenticationCase):
    def lying(self, mail: bytes) -> tuple[Blob, Reader]:
        reader = Reader(mail)
        return Blob("key", lambda: reader), reader

    def test_a_blob_is_read_in_pieces_and_ends_as_bytes_do(self) -> None:
        mail = self.signed(body=b"some  words \r\n" * 200_000)
        blob, reader = self.lying(mail)
        found = self.examine(blob)
        self.assertEqual(self.results(found), ("pass", ["pass"], "none", "pass", "none"))
        self.assertGreater(len(reader.counts), 4)
        self.assertEqual(set(reader.counts), {PIECE_OCTETS})
        self.assertTrue(reader.closed)
        blob, reader = self.lying(mail[:-9])
        self.assertEqual(self.examine(blob).dkim[0].reason, "the body was changed")

    def test_of_one_that_nobody_signed_only_the_header_is_read(self) -> None:
        blob, reader = self.lying(HEADER + b"\r\n" + b"x" * PIECE_OCTETS * 9)
        self.examine(blob)
        self.assertEqual((len(reader.counts), reader.closed), (1, True))

    def test_a_header_that_is_too_large_is_not_verified_and_its_author_is_known(self) -> None:
        mail = self.signed(header=HEADER + b"X: " + b"x" * HEADER_OCTETS + b"\r\n")
        crowd = b"a:\r\n" * MOST_LINES + b"From:\r\n Alice\r\n\t<alice@example.org>\r\n\r\n"
        for body in (mail, self.lying(mail)[0], crowd):
            found = self.examine(body, host="198.51.100.1")
            self.assertEqual(self.results(found), ("fail", ["permerror"], "fail", "fail", "reject"))
            self.assertEqual((found.dkim[0].reason, found.arc.reason), (TOO_LARGE, TOO_LARGE))

    def test_a_blob_that_can_t_be_read_is_temperror_and_closed(self) -> None:
        blob, reader = self.lying(self.signed())
        reader.read = lambda count: fail(LookupFailed())  # type: ignore[method-assign]
        found = self.examine(blob)
        self.assertEqual(
            self.results(found), ("pass", ["temperror"], "temperror", "temperror", "none")
        )
        self.assertTrue(reader.closed)
        self.assertEqual(found.dmarc.reason, NOT_READ)

    def test_mails_of_odd_shapes_are_judged(self) -> None:
        for mail in (b"", b"\r\n", b"\r\n\r\n", HEADER, HEADER[:-2], b"\r\nFrom: a@example.org"):
            for body in (mail, self.lying(mail)[0]):
                self.assertEqual(self.examine(body).spf.result, "pass")


class TroubleTests(AuthenticationCase):
    def test_after_20_seconds_what_nobody_has_said_is_temperror(self) -> None:
        self.resolver.silent = (".org",)
        waiting = self.start(self.signed())
        self.clock.advance(LIMIT_S - 2)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        found = self.successResultOf(waiting)
        self.assertEqual(
            self.results(found), ("temperror", ["temperror"], "none", "temperror", "none")
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_s_own_silent_nameservers_let_nobody_off(self) -> None:
        self.resolver.silent = (".evil.example",)
        self.zone["evil.example", "TXT"] = ["v=spf1 a:x.evil.example -all"]
        self.zone["_dmarc.example.org", "TXT"] = ["v=DMARC1; p=none; np=reject"]
        mail = b"From: a@made-up.example.org\r\n\r\n"
        waiting = self.start(mail, sender="a@evil.example", helo="x.evil.example")
        self.clock.advance(LIMIT_S)
        found = self.successResultOf(waiting)
        self.assertEqual(self.results(found), ("temperror", [], "none", "fail", "reject"))

    def test_without_a_thread_spf_is_known_all_the_same(self) -> None:
        self.in_thread = lambda *args: fail(TooMuchWaiting())
        found = self.examine(self.signed())
        self.assertEqual(
            self.results(found), ("pass", ["temperror"], "temperror", "temperror", "none")
        )

    def test_a_thread_that_doesn_t_come_back_ends_with_the_time(self) -> None:
        self.in_thread = lambda *args: Deferred()
        waiting = self.start(self.signed())
        self.clock.advance(LIMIT_S)
        self.assertEqual(self.successResultOf(waiting).dkim[0].result, "temperror")

    def test_a_resolver_that_breaks_is_temperror_and_logged(self) -> None:
        self.zone["example.org", "TXT"] = ValueError("a bug")
        found = self.examine(self.signed())
        self.assertEqual((found.spf.result, found.dkim[0].result), ("temperror", "pass"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_values_that_can_t_be_are_passed_over(self) -> None:
        self.zone["mx.example.org", "A"] = ["no address", "2001:db8::1", "192.0.2.7"]
        found = self.examine(self.signed())
        assert found.helo is not None
        self.assertEqual((found.spf.result, found.helo.result), ("pass", "pass"))

    def test_who_cancels_is_not_kept_waiting(self) -> None:
        self.resolver.silent = (".org",)
        waiting = self.start(self.signed())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"From: ",
                    b"DKIM-Signature: ",
                    b"ARC-Seal: i=1; ",
                    b"Authentication-Results: mx.example.net",
                    b"alice@example.org",
                    b"v=1; a=rsa-sha256; d=example.org; s=s1; h=from; bh=; b=AAAA",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"\xff\x00",
                    b"x" * 70,
                ]
            ),
            max_size=12,
        ).map(b"".join),
        st.text(max_size=20),
    )
    def test_nothing_is_raised_whatever_comes(self, mail: bytes, helo: str) -> None:
        self.setUp()
        for body in (mail, Blob("key", lambda: Reader(mail))):
            found = self.examine(body, helo=helo)
            self.assertRegex(found.field, rb"\AAuthentication-Results: [ -~\r\n\t]*\r\n\Z")
