"""`mailnode.filters.rspamd`: what it is told, its actions, and its symbols as reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from mailnode.addresses import parse_address
from mailnode.errors import FilterFailed, Refused
from mailnode.filters.rspamd import ANSWER_OCTETS, Rspamd
from mailnode.model import Client, Envelope, Recipient, Remote, Verdict
from tests.unit.filters_case import (
    CLIENT,
    ENVELOPE,
    MAIL,
    RECEIVED,
    BlobReader,
    FilterCase,
    blob_message,
    message_of,
    split,
)

ANSWERS = Path(__file__).parents[1] / "vectors" / "filters"
DATE = b"Date: Sat, 28 Nov 2026 11:00:00 +0000\r\n"


def page(answer: Any, status: bytes = b"200 OK") -> bytes:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class AskTests(FilterCase):
    def request(
        self, envelope: Envelope = ENVELOPE, **settings: Any
    ) -> tuple[bytes, dict[bytes, list[bytes]], bytes]:
        self.endpoint.wires.clear()
        self.judge(self.make(Rspamd, **settings), message_of(MAIL, RECEIVED + DATE), envelope)
        head, _, body = self.endpoint.wire.value().partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            fields.setdefault(name.lower(), []).append(value)
        self.endpoint.wire.say(page({"action": "no action"}))
        return first, fields, body

    def test_the_mail_without_our_received_and_what_we_know_of_it(self) -> None:
        first, fields, body = self.request(hostname="mx.example.test")
        self.assertEqual(b"POST /checkv2 HTTP/1.1", first)
        self.assertEqual(DATE + MAIL, body)
        self.assertEqual([str(len(DATE + MAIL)).encode()], fields[b"content-length"])
        for name, values in (
            (b"queue-id", [b"01JUDGED"]),
            (b"from", [b"dave@elsewhere.example"]),
            (b"rcpt", [b"alice@example.test", b"bob@example.test"]),
            (b"ip", [b"192.0.2.7"]),
            (b"helo", [b"mx.elsewhere.example"]),
            (b"mta-name", [b"mx.example.test"]),
        ):
            self.assertEqual(values, fields[name], name)
        for name in (b"user", b"password", b"tls-version"):
            self.assertNotIn(name, fields)

    def test_who_is_signed_in_tls_a_bounce_and_recipients_elsewhere(self) -> None:
        envelope = Envelope(
            "01X",
            None,
            (),
            evolve(CLIENT, account="alice@example.test", tls="TLSv1.3 TLS_AES_256_GCM_SHA384"),
            remotes=(Remote(parse_address("eve@elsewhere.example")),),
        )
        _, fields, _ = self.request(envelope, password="sesame")
        for name, value in (
            (b"from", b"<>"),
            (b"rcpt", b"eve@elsewhere.example"),
            (b"user", b"alice@example.test"),
            (b"tls-version", b"TLSv1.3"),
            (b"tls-cipher", b"TLS_AES_256_GCM_SHA384"),
            (b"password", b"sesame"),
        ):
            self.assertEqual([value], fields[name], name)

    def test_a_stranger_s_words_end_no_field(self) -> None:
        envelope = evolve(ENVELOPE, client=Client("192.0.2.7", helo="a\r\nUser: root\0\x85\u2028b"))
        _, fields, _ = self.request(envelope)
        self.assertEqual([b"a??User: root???b"], [fields[b"helo"][0].replace(b"\xc2", b"")])
        self.assertNotIn(b"user", fields)

    def test_a_hundred_recipients_are_enough(self) -> None:
        many = tuple(
            Recipient(parse_address(f"u{number}@example.test"), 1, "") for number in range(300)
        )
        _, fields, _ = self.request(evolve(ENVELOPE, recipients=many))
        self.assertEqual(100, len(fields[b"rcpt"]))

    def test_a_password_is_not_shown(self) -> None:
        self.assertNotIn("sesame", repr(self.make(Rspamd, password="sesame")))

    def test_a_large_mail_goes_as_fast_as_it_is_taken(self) -> None:
        reader = BlobReader(bytes(4 << 20))

        def heard(wire: object, data: bytes) -> None:
            if len(data) > 1_000:
                self.endpoint.wire.producer.pauseProducing()

        self.endpoint.heard = heard
        judging = self.judge(self.make(Rspamd), blob_message(reader, b""))
        self.assertEqual(65_536, reader.read_octets)
        for _ in range(200):
            if self.endpoint.wire.producer is None:
                break
            self.endpoint.wire.producer.resumeProducing()
        _, _, body = self.endpoint.wire.value().partition(b"\r\n\r\n")
        self.assertEqual(reader.octets, body)
        self.endpoint.wire.say(page({"action": "no action"}))
        self.successResultOf(judging)
        self.assertTrue(reader.closed)


class AnswerTests(FilterCase):
    def told(self, answer: Any, size: int = 1 << 20) -> Deferred[Verdict]:
        self.endpoint.wires.clear()
        judging = self.judge(self.make(Rspamd))
        for piece in split(page(answer), size):
            self.endpoint.wire.say(piece)
        return judging

    def test_what_it_would_mark_is_unwanted_and_its_symbols_say_why(self) -> None:
        answer = (ANSWERS / "rspamd-answer.json").read_bytes()
        verdict = self.successResultOf(self.told(answer))
        self.assertEqual(("accept", True), (verdict.action, verdict.unwanted))
        self.assertEqual(
            b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=10.5 required=15.0 by=rspamd\r\n",
            verdict.headers,
        )
        self.assertEqual(
            (
                "Rspamd gives it 10.5 points, 15.0 would refuse it",
                "CHEAP (+7.5): Something is cheap",
                "MISSING_MID (+2.5): Message id is missing",
                "MISSING_TO (+2.0): To header is missing [undisclosed, many]",
                "R_DKIM_ALLOW (-1.5)",
            ),
            verdict.reasons,
        )
        self.assertEqual(verdict, self.successResultOf(self.told(answer, 1)))

    def test_the_other_actions(self) -> None:
        for action, unwanted in (
            ("rewrite subject", True),
            ("quarantine", True),
            ("discard", True),
            ("no action", False),
            ("greylist", False),
            ("of our own making", False),
        ):
            verdict = self.successResultOf(self.told({"action": action, "score": 4}))
            self.assertEqual(("accept", unwanted), (verdict.action, verdict.unwanted), action)
            self.assertEqual(unwanted, bool(verdict.headers))
            self.assertIn("4.0 points", verdict.reasons[0])

    def test_reject_refuses_in_its_own_words(self) -> None:
        error = self.refusal(self.told({"action": "reject", "score": 20}))
        self.assertIsInstance(error, Refused)
        self.assertEqual("Message refused: it looks like spam", error.text)
        self.assertIn("20.0 points", error.detail)
        said = {"smtp_message": "Gtube\r\n250 päng"}
        error = self.refusal(self.told({"action": "reject", "messages": said}))
        self.assertEqual((550, "5.7.1"), (error.smtp_code, error.enhanced))
        self.assertEqual("Gtube 250 p?ng", error.text)

    def test_soft_reject_defers(self) -> None:
        said = {"smtp_message": "Try again later"}
        error = self.refusal(self.told({"action": "soft reject", "messages": said}))
        self.assertIsInstance(error, FilterFailed)
        self.assertEqual(
            (451, "4.7.1", "Try again later"), (error.smtp_code, error.enhanced, error.text)
        )

    def test_an_answer_full_of_nonsense_gives_a_verdict_or_none(self) -> None:
        for answer in (
            {"action": "no action", "score": "NaN", "required_score": None, "symbols": []},
            {"action": "no action", "symbols": {"A": None, "B": {"score": "1e999"}, "C": {}}},
            {"action": "no action", "symbols": {"A": {"score": [], "options": 5}}},
            {"action": "no action", "symbols": {"A": {"score": 10**400}}},
            {"action": "reject", "messages": {"smtp_message": ["x"]}},
            {"action": "soft reject", "messages": "x"},
            {"action": ["reject"]},
            {"error": "no\r\nmail"},
            {"action": "no action", "score": float("inf")},
        ):
            judging = self.told(answer)
            judging.addErrback(lambda failure: failure.trap(Refused, FilterFailed))
            self.successResultOf(judging)

    def test_reasons_are_few_short_and_on_one_line(self) -> None:
        symbols = {
            f"S{number}": {
                "score": number,
                "description": "\x1b[2J\r\n" + "d" * 500,
                "options": ["o" * 300] * 10,
            }
            for number in range(1, 50)
        }
        verdict = self.successResultOf(self.told({"action": "no action", "symbols": symbols}))
        self.assertEqual(11, len(verdict.reasons))
        self.assertTrue(verdict.reasons[1].startswith("S49 (+49.0): "))
        for reason in verdict.reasons:
            self.assertLessEqual(len(reason), 200)
            self.assertTrue(reason.isprintable())


class HostileTests(FilterCase):
    def check(self, said: bytes, why: str) -> None:
        self.endpoint.wires.clear()
        judging = self.judge(self.make(Rspamd))
        self.endpoint.wire.say(said)
        self.endpoint.wire.lose()
        self.check_unjudged(judging, why)

    def test_answers_that_are_none(self) -> None:
        for said, why in (
            (page({}, b"403 Forbidden"), "it answered 403"),
            (page(b"<html>"), "no JSON"),
            (page(b"[" * 100_000), "no JSON"),
            (page(b"1" * 10_000), "no JSON"),
            (page(b"[]"), "no object"),
            (page(b"\xff"), "no JSON"),
            (page({"error": "no mail"}), "no mail"),
            (b"SPAMD/1.1 0 EX_OK\r\n\r\n", ""),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
                "its end is missing",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", ""),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ""),
            (b"HTTP/1.1 200 OK\r\nContent-", ""),
            (b"", ""),
        ):
            self.check(said, why)

    def test_nobody_listens(self) -> None:
        self.endpoint.refuses = True
        self.check_unjudged(self.judge(self.make(Rspamd)), "nobody is there")

    def test_nothing_comes_within_the_limit(self) -> None:
        for said in (b"", b"HTTP/1.1 200 OK\r\n", page({})[:-1]):
            self.endpoint.wires.clear()
            judging = self.judge(self.make(Rspamd, on_failure="defer"))
            self.endpoint.wire.say(said)
            self.clock.advance(31)
            self.check_deferred(judging, "nothing within 30 s")
            self.assertTrue(self.endpoint.wire.is_aborted)

    def test_connecting_takes_too_long(self) -> None:
        self.endpoint.waits = True
        judging = self.judge(self.make(Rspamd))
        self.clock.advance(31)
        self.check_unjudged(judging, "nothing within 30 s")

    def test_an_endless_answer_is_cut_off(self) -> None:
        heads = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"",
        )
        for head in heads:
            self.endpoint.wires.clear()
            judging = self.judge(self.make(Rspamd))
            self.endpoint.wire.say(head)
            said = self.endpoint.wire.say_for_ever(b"X-A: b\r\n" * 1_000)
            self.assertLess(said, ANSWER_OCTETS + 100_000)
            self.clock.advance(0)
            self.check_unjudged(judging, "")

    def test_a_mail_that_it_takes_no_more_of(self) -> None:
        reader = BlobReader(bytes(1 << 20))
        reader.held = Deferred()
        judging = self.judge(self.make(Rspamd), blob_message(reader))
        self.endpoint.wire.say(page({}, b"413 Too Large"))
        self.check_unjudged(judging, "it answered 413")
        self.assertTrue(reader.closed)
        held, reader.held = reader.held, None
        held.callback(b"x" * 100)
        self.assertEqual((1, 0), (reader.opened, reader.read_octets))
        self.assertNotIn(b"xxx", self.endpoint.wire.value())
