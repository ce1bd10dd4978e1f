"""`mailnode.filters.milter`: a mail told as a session, and what a milter may answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from struct import pack
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from mailnode.addresses import parse_address
from mailnode.errors import FilterFailed, Refused
from mailnode.filters import milter, packets
from mailnode.filters.milter import HEADER_OCTETS, MOST_ADDED, Milter
from mailnode.filters.packets import ALL_ACTIONS, ALL_STEPS, LEADING_SPACE, packet
from mailnode.model import Client, Envelope, MailParameters, Message, Verdict
from tests.unit.filters_case import (
    CLIENT,
    ENVELOPE,
    MAIL,
    RECEIVED,
    BlobReader,
    FilterCase,
    Wire,
    blob_message,
    message_of,
    split,
)

DATE = b"Date: Sat, 28 Nov 2026 11:00:00 +0000\r\n"
GO_ON = packet(b"c")
PLAIN = pack(">III", 6, ALL_ACTIONS, 0)


class FakeMilter:
    """Plays a milter.

    Attributes:
        told: all commands with their data.
        answers: what is answered to a command instead of "continue": octets, or a function of
            the command's data; by its letter.
        agreed: its negotiation's data.
    """

    def __init__(self, agreed: bytes = PLAIN, **answers: Any) -> None:
        self.told: list[tuple[bytes, bytes]] = []
        self.agreed, self.answers, self._held = agreed, answers, b""

    def hear(self, wire: Wire, data: bytes) -> None:
        self._held += data
        while len(self._held) >= 4:
            size = int.from_bytes(self._held[:4], "big")
            if len(self._held) < 4 + size:
                return
            letter, rest = self._held[4:5], self._held[5 : 4 + size]
            self._held = self._held[4 + size :]
            self.told.append((letter, rest))
            for piece in split(self._answer_to(letter, rest), 7):
                wire.say(piece)

    def _answer_to(self, letter: bytes, rest: bytes) -> bytes:
        answer = self.answers.get(letter.decode())
        if answer is not None:
            said: bytes = answer(rest) if callable(answer) else answer
            return said
        if letter == b"O":
            return packet(b"O", self.agreed)
        silent = letter in b"DQ" or self._needs_no_answer(letter)
        return b"" if silent else GO_ON

    def _needs_no_answer(self, letter: bytes) -> bool:
        steps = int.from_bytes(self.agreed[8:12], "big")
        return letter in packets.FLAGS and bool(steps & packets.FLAGS[letter][1])

    def letters(self) -> bytes:
        return b"".join(letter for letter, _ in self.told if letter != b"D")

    def data(self, letter: bytes) -> list[bytes]:
        return [data for each, data in self.told if each == letter]

    def macros(self) -> dict[bytes, dict[bytes, bytes]]:
        found = {}
        for data in self.data(b"D"):
            words = data[1:].split(b"\0")[:-1]
            found[data[:1]] = dict(zip(words[::2], words[1::2], strict=True))
        return found


class MilterCase(FilterCase):
    def hold(
        self,
        played: FakeMilter,
        message: Message | None = None,
        envelope: Envelope = ENVELOPE,
        **settings: Any,
    ) -> Deferred[Verdict]:
        self.endpoint.wires.clear()
        self.endpoint.heard = played.hear
        self.filter: Milter = self.make(Milter, **settings)
        return self.judge(self.filter, message, envelope)

    def verdict(self, played: FakeMilter, *args: Any, **settings: Any) -> Verdict:
        return self.successResultOf(self.hold(played, *args, **settings))


class ToldTests(MilterCase):
    def test_a_mail_in_the_order_of_a_session(self) -> None:
        played = FakeMilter()
        self.assertEqual(Verdict(), self.verdict(played, message_of(MAIL, RECEIVED + DATE)))
        self.assertEqual(b"OCHMRRTLLLNBEQ", played.letters())
        offered = pack(">III", 6, ALL_ACTIONS, ALL_STEPS | LEADING_SPACE)
        for letter, data in (
            (b"O", [offered]),
            (b"C", [b"[192.0.2.7]\x004" + pack(">H", 4711) + b"192.0.2.7\0"]),
            (b"H", [b"mx.elsewhere.example\0"]),
            (b"M", [b"<dave@elsewhere.example>\0"]),
            (b"R", [b"<alice@example.test>\0", b"<bob@example.test>\0"]),
            (b"B", [b"Hello, Alice.\r\n"]),
        ):
            self.assertEqual(data, played.data(letter), letter)
        self.assertEqual(
            [
                b"Date\0Sat, 28 Nov 2026 11:00:00 +0000\0",
                b"From\0dave@elsewhere.example\0",
                b"Subject\0Hello\0",
            ],
            played.data(b"L"),
        )

    def test_its_macros_stand_in_front_of_each_command(self) -> None:
        played = FakeMilter()
        client = evolve(CLIENT, account="alice@example.test", tls="TLSv1.3 TLS_AES_128")
        self.verdict(played, None, evolve(ENVELOPE, client=client), hostname="mx.example.test")
        macros = played.macros()
        self.assertEqual(
            {
                b"j": b"mx.example.test",
                b"{daemon_name}": b"mailnode",
                b"v": b"mailnode",
                b"{client_addr}": b"192.0.2.7",
                b"{client_name}": b"[192.0.2.7]",
                b"{client_port}": b"4711",
            },
            macros[b"C"],
        )
        self.assertEqual({b"{tls_version}": b"TLSv1.3", b"{cipher}": b"TLS_AES_128"}, macros[b"H"])
        self.assertEqual(
            {
                b"i": b"01JUDGED",
                b"{mail_addr}": b"dave@elsewhere.example",
                b"{auth_authen}": b"alice@example.test",
                b"{auth_type}": b"PLAIN",
            },
            macros[b"M"],
        )
        self.assertEqual({b"{rcpt_addr}": b"bob@example.test"}, macros[b"R"])
        self.assertEqual({b"i": b"01JUDGED"}, macros[b"E"])
        order = [(letter, data[:1]) for letter, data in played.told]
        for command in (b"C", b"H", b"M", b"R", b"E"):
            at = [letter for letter, _ in order].index(command)
            self.assertEqual((b"D", command), order[at - 1])

    def test_a_bounce_by_ipv6_and_what_stood_behind_mail(self) -> None:
        played = FakeMilter()
        parameters = MailParameters(1_000, "8BITMIME", True)
        envelope = evolve(
            ENVELOPE, sender=None, client=Client("2001:db8::7", 25), parameters=parameters
        )
        self.verdict(played, None, envelope)
        self.assertEqual([b"<>\0SIZE=1000\0BODY=8BITMIME\0SMTPUTF8\0"], played.data(b"M"))
        expected = b"[2001:db8::7]\x006\0\x192001:db8::7\0"
        self.assertEqual([expected], played.data(b"C"))

    def test_a_mail_that_came_by_no_network(self) -> None:
        played = FakeMilter()
        self.verdict(played, None, evolve(ENVELOPE, client=Client()))
        self.assertEqual([b"localhost\0U"], played.data(b"C"))
        self.assertNotIn(b"H", played.macros())

    def test_what_it_doesn_t_want_is_not_told(self) -> None:
        every = 0x2FF & ~0x100  # all of NOCONNECT to NOEOH, and NODATA
        played = FakeMilter(pack(">III", 6, 0, every))
        self.assertEqual(Verdict(), self.verdict(played))
        self.assertEqual(b"OEQ", played.letters())
        self.assertEqual({b"C", b"M", b"R", b"E"}, set(played.macros()))  # they count later, too

    def test_what_it_doesn_t_answer_is_not_waited_for(self) -> None:
        silent = 0x80 | 0xF_F000
        played = FakeMilter(pack(">III", 6, 0, silent))
        self.assertEqual(Verdict(), self.verdict(played))
        self.assertEqual(b"OCHMRRTLLNBEQ", played.letters())

    def test_one_of_an_older_version_knows_no_data(self) -> None:
        played = FakeMilter(pack(">III", 2, 1, 0))
        self.verdict(played)
        self.assertEqual(b"OCHMRRLLNBEQ", played.letters())

    def test_folded_fields_and_the_blanks_behind_the_colon(self) -> None:
        raw = b"A:  b\r\n\tc\r\nNo field\r\nD :e\0f\r\n\r\nx\r\n"
        played = FakeMilter()
        self.verdict(played, message_of(raw))
        self.assertEqual([b"A\0b\n\tc\0", b"D\0e f\0"], played.data(b"L"))
        played = FakeMilter(pack(">III", 6, 0, LEADING_SPACE))
        self.verdict(played, message_of(raw))
        self.assertEqual([b"A\0  b\n\tc\0", b"D\0e f\0"], played.data(b"L"))

    def test_a_body_comes_in_chunks_of_65_535_octets(self) -> None:
        body = bytes(range(256)) * 1_000
        for raw in (b"A: b\r\n\r\n" + body, b"\r\n" + body):
            for message in (message_of(raw, b""), blob_message(BlobReader(raw), b"")):
                played = FakeMilter()
                self.verdict(played, message)
                chunks = played.data(b"B")
                self.assertEqual(body, b"".join(chunks))
                self.assertLessEqual(max(map(len, chunks)), 65_535)

    def test_a_mail_without_a_body_and_one_without_anything(self) -> None:
        for raw, fields in ((b"A: b\r\n", 1), (b"A: b\r\n\r\n", 1), (b"", 0), (b"\r\n", 0)):
            played = FakeMilter()
            self.verdict(played, message_of(raw, b""))
            self.assertEqual((fields, []), (len(played.data(b"L")), played.data(b"B")))

    def test_skip_ends_the_body(self) -> None:
        played = FakeMilter(B=packet(b"s"))
        self.verdict(played, blob_message(BlobReader(b"\r\n" + bytes(300_000))))
        self.assertEqual(1, len(played.data(b"B")))
        self.assertTrue(played.letters().endswith(b"BEQ"))


class RuledTests(MilterCase):
    def test_at_any_step_it_may_end_the_mail(self) -> None:
        for command in b"CHMTLNBE":
            letter = bytes([command]).decode()
            accepted = self.verdict(FakeMilter(**{letter: packet(b"a")}))
            self.assertEqual(Verdict(), accepted)
            error = self.refusal(self.hold(FakeMilter(**{letter: packet(b"r")})))
            self.assertIsInstance(error, Refused)
            self.assertEqual(
                (550, "5.7.1", "Message refused"), (error.smtp_code, error.enhanced, error.text)
            )
            for temporary in b"tf4":
                answer = packet(bytes([temporary]))
                error = self.refusal(self.hold(FakeMilter(**{letter: answer})))
                self.assertIsInstance(error, FilterFailed)
                self.assertEqual((451, "4.7.1"), (error.smtp_code, error.enhanced))
            discarded = self.verdict(FakeMilter(**{letter: packet(b"d")}), name="cleaner")
            self.assertTrue(discarded.unwanted)
            self.assertEqual(("cleaner would throw it away",), discarded.reasons)

    def test_it_is_told_of_the_end(self) -> None:
        for answers in ({}, {"M": packet(b"r")}, {"E": packet(b"t")}):
            played = FakeMilter(**answers)
            self.hold(played).addErrback(lambda failure: failure.trap(Refused, FilterFailed))
            self.assertTrue(played.letters().endswith(b"Q"))

    def test_a_reply_of_its_own(self) -> None:
        for said, code, enhanced, text in (
            (b"550 5.7.9 Not you", 550, "5.7.9", "Not you"),
            (b"451 4.7.1 Later", 451, "4.7.1", "Later"),
            (b"554 No", 554, "5.7.1", "No"),
            (b"550 4.7.1 No", 550, "5.7.1", "No"),
            (b"421 Gone", 451, "4.7.1", "Gone"),
            (b"550-5.7.1 One\r\n550 5.7.1 and two", 550, "5.7.1", "One and two"),
            (b"550 5.7.1 p\xc3\xa4ng\x1b", 550, "5.7.1", "p??ng?"),
            (b"550", 550, "5.7.1", "Refused"),
        ):
            error = self.refusal(self.hold(FakeMilter(E=packet(b"y", said + b"\0"))))
            self.assertEqual(
                (code, enhanced, text), (error.smtp_code, error.enhanced, error.text), said
            )
            self.assertIsInstance(error, Refused if code >= 500 else FilterFailed)
        long = self.refusal(self.hold(FakeMilter(E=packet(b"y", b"550 " + b"x" * 60_000))))
        self.assertLessEqual(len(long.text), 300)

    def test_a_reply_that_refuses_nothing_is_a_failure(self) -> None:
        for said in (b"", b"\0", b"250 Ok\0", b"99 x\0", b"5500 x\0", b"\r\n550 x\0\0\0"[:2]):
            self.check_unjudged(self.hold(FakeMilter(E=packet(b"y", said))), "can't be given")

    def test_recipients_are_refused_all_or_none(self) -> None:
        every = self.refusal(self.hold(FakeMilter(R=packet(b"r"))))
        self.assertIsInstance(every, Refused)

        def only(answer: bytes, others: bytes = GO_ON) -> Callable[[bytes], bytes]:
            return lambda data: answer if b"alice" in data else others

        some = self.verdict(FakeMilter(R=only(packet(b"r"))))
        self.assertEqual(Verdict(), some)
        self.assertEqual(Counter({"refuse some of the recipients": 1}), self.filter.undone)
        mixed = self.refusal(self.hold(FakeMilter(R=only(packet(b"r"), packet(b"t")))))
        self.assertIsInstance(mixed, FilterFailed)
        spoken = packet(b"y", b"550 5.1.1 Nobody\0")
        error = self.refusal(self.hold(FakeMilter(R=spoken)))
        self.assertEqual(("5.1.1", "Nobody"), (error.enhanced, error.text))

    def test_quarantined_is_unwanted(self) -> None:
        played = FakeMilter(E=packet(b"q", b"Looks\r\nbad\0") + packet(b"a"))
        verdict = self.verdict(played, name="scanner")
        self.assertTrue(verdict.unwanted)
        self.assertEqual(("scanner would put it aside: Looks bad",), verdict.reasons)


class ChangesTests(MilterCase):
    def changed(self, *changes: bytes, steps: int = 0) -> Verdict:
        agreed = pack(">III", 6, ALL_ACTIONS, steps)
        return self.verdict(FakeMilter(agreed, E=b"".join(changes) + GO_ON))

    def test_fields_are_put_in_front_in_the_order_that_it_wants(self) -> None:
        verdict = self.changed(
            packet(b"h", b"X-A\0one\0"),
            packet(b"h", b"X-B\0two\n\tlines\0"),
            packet(b"i", pack(">I", 0) + b"X-C\0three\0"),
            packet(b"i", pack(">I", 1) + b"X-D\0four\r\n more\0"),
            packet(b"i", pack(">I", 99) + b"X-E\0five\0"),
        )
        self.assertEqual(
            b"X-D: four\r\n more\r\nX-C: three\r\nX-A: one\r\nX-B: two\r\n\tlines\r\nX-E: five\r\n",
            verdict.headers,
        )
        self.assertEqual(Counter(), self.filter.undone)

    def test_it_brings_the_blanks_itself_where_it_wants_those_of_others(self) -> None:
        verdict = self.changed(packet(b"h", b"X-A\0\tone\0"), steps=LEADING_SPACE)
        self.assertEqual(b"X-A:\tone\r\n", verdict.headers)

    def test_what_can_t_stand_in_a_mail_is_not_added(self) -> None:
        for data in (
            b"X A\0b\0",
            b"\0b\0",
            b"X-A:\0b\0",
            b"X-A\0b\r\nX-B: c\0",
            b"X-A\0b\n\n\0"[:-2] + b"\n\t\n c\0",
            b"X-A\0b\rc\0",
            b"X-A\0b",
            b"X-A",
            b"X-A\0b\0c\0",
            b"X-A\0" + b"x" * 2_000 + b"\0",
            b"X-A\0" + b"x\n\t" * 20_000 + b"\0",
        ):
            self.assertEqual(Verdict(), self.changed(packet(b"h", data)), data[:40])
            self.assertEqual(
                {"add a header field that can't stand in a mail"}, set(self.filter.undone)
            )

    def test_an_empty_value_is_a_field(self) -> None:
        self.assertEqual(b"X-A: \r\n", self.changed(packet(b"h", b"X-A\0\0")).headers)

    def test_what_can_t_be_done_is_counted_and_told_once(self) -> None:
        changes = (
            packet(b"m", pack(">I", 1) + b"Subject\0SPAM\0"),
            packet(b"m", pack(">I", 1) + b"Received\0\0"),
            packet(b"b", bytes(65_535)),
            packet(b"+", b"<eve@example.test>\0"),
            packet(b"2", b"<eve@example.test>\0NOTIFY=NEVER\0"),
            packet(b"-", b"<bob@example.test>\0"),
            packet(b"e", b"<eve@example.test>\0"),
        )
        self.assertEqual(Verdict(), self.changed(*changes))
        self.assertEqual(
            {
                "change a header field",
                "replace the body",
                "add a recipient",
                "remove a recipient",
                "change the sender",
            },
            set(self.filter.undone),
        )
        self.assertEqual(1, self.filter.undone["change a header field"])  # mails, not changes

    def test_fields_are_bounded(self) -> None:
        added = [packet(b"h", b"X-%d\0y\0" % number) for number in range(MOST_ADDED + 50)]
        self.assertEqual(MOST_ADDED, self.changed(*added).headers.count(b"\r\n"))
        large = [packet(b"h", b"X-A\0" + b"\n\t".join([b"x" * 900] * 17) + b"\0")] * 20
        self.assertLessEqual(len(self.changed(*large).headers), milter.ADDED_OCTETS)


class HostileTests(MilterCase):
    def test_packets_that_are_none(self) -> None:
        for said, why in (
            (b"\0\0\0\0", "a packet of 0 octets"),
            (b"\xff\xff\xff\xff", "a packet of 4294967295 octets"),
            (b"\0\1\0\1c", "a packet of 65537 octets"),
            (packet(b"?"), "it answered b'?' to b'M'"),
            (packet(b"h", b"X\0y\0"), "to b'M'"),
            (packet(b"O", PLAIN), "to b'M'"),
            (packet(b"s"), "to b'M'"),
        ):
            self.check_unjudged(self.hold(FakeMilter(M=said)), why)
        self.check_unjudged(self.hold(FakeMilter(E=packet(b"O"))), "at the end of the mail")

    def test_negotiations_that_are_none(self) -> None:
        for said, why in (
            (packet(b"c"), "to the negotiation"),
            (packet(b"O"), "too short"),
            (packet(b"O", PLAIN[:11]), "too short"),
            (packet(b"O", pack(">III", 7, 0, 0)), "version 7"),
            (packet(b"O", pack(">III", 1, 0, 0)), "version 1"),
            (packet(b"O", pack(">III", 6, 0x200, 0)), "not offered"),
            (packet(b"O", pack(">III", 6, 0, 0x1000_0000)), "not offered"),
        ):
            self.check_unjudged(self.hold(FakeMilter(O=said)), why)

    def test_macros_that_it_asks_for_are_passed_over(self) -> None:
        asked = PLAIN + pack(">I", 0) + b"{a} {b}\0" + bytes(50_000)
        self.assertEqual(Verdict(), self.verdict(FakeMilter(asked)))

    def test_it_works_on_and_on(self) -> None:
        """Progress puts no limit off."""
        judging = self.hold(FakeMilter(E=packet(b"p") * 3))
        for _ in range(31):
            self.clock.advance(1.0)
            self.endpoint.wire.say(packet(b"p"))
        self.check_unjudged(judging, "nothing within 30 s")
        self.assertTrue(self.endpoint.wire.is_aborted)

    def test_progress_and_then_an_answer(self) -> None:
        self.assertEqual(Verdict(), self.verdict(FakeMilter(E=packet(b"p") * 5 + GO_ON)))

    def test_packets_without_end(self) -> None:
        for said in (packet(b"p"), packet(b"b", bytes(65_535)), packet(b"h", b"X-A\0b\0")):
            judging = self.hold(FakeMilter(E=b""))
            self.endpoint.wire.say_for_ever(said, 3 << 30)
            self.check_unjudged(judging, "over 2000 packets")

    def test_half_an_answer(self) -> None:
        for said in (b"\0", b"\0\0\0\5c", b""):
            judging = self.hold(FakeMilter(H=said), on_failure="defer")
            self.assertNoResult(judging)
            self.endpoint.wire.lose()
            self.check_deferred(judging, "the connection was lost")

    def test_a_header_that_is_too_long(self) -> None:
        lines = b"A: b\r\n" * (HEADER_OCTETS // 6 + 70_000 // 6)
        judging = self.hold(FakeMilter(), blob_message(BlobReader(lines)))
        self.check_unjudged(judging, f"its header is over {HEADER_OCTETS} octets")
        self.assertEqual((0, 1), (self.filter.failed, self.filter.too_large))

    def test_addresses_beyond_ascii(self) -> None:
        played = FakeMilter()
        sender = parse_address("päd@elsewhere.example")
        self.verdict(played, None, evolve(ENVELOPE, sender=sender))
        self.assertEqual(["<päd@elsewhere.example>\0".encode()], played.data(b"M"))
