"""The spool of `sendmail`: what waits, who works on it, and what becomes of it in the end."""

from __future__ import annotations

import fcntl
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.client.carrier import OVERDUE_S, CannotCarry, Carrier
from mailnode.client.connection import Server
from mailnode.client.deadletters import bury
from mailnode.client.spool import LEFTOVER_S, BadSpool, Kept, Slip, Spool
from mailnode.client.submission import Letter
from mailnode.client.trouble import Unreachable
from mailnode.outbound.words import Answer

RAW = b"Subject: s\r\n\r\nFrom here\r\n"
TAKEN = Answer(250, "2.0.0", "Ok", "dot")
LATER = Answer(450, "4.2.0", "busy", "RCPT")
NEVER = Answer(550, "5.1.1", "nobody", "RCPT")
SIGN_IN = Answer(530, "5.7.0", "who are you", "MAIL")
LOST = Answer(0, "4.4.2", "gone", "MAIL")


class SpoolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "deep" / "spool"
        self.spool = Spool.open(self.folder)

    def keep(self, *recipients: str, sender: str = "me@x.test", **facts: object) -> Kept:
        slip = Slip(sender, recipients or ("a@x.test",), **{"at": time.time(), **facts})  # type: ignore[arg-type]
        kept = self.spool.keep(slip, io.BytesIO(RAW))
        return kept

    def put(self, *recipients: str, **facts: object) -> str:
        kept = self.keep(*recipients, **facts)  # type: ignore[arg-type]
        kept.let_go()
        return kept.name

    def waiting(self) -> list[tuple[str, ...]]:
        slips = [self.spool.slip(name) for name in self.spool.names()]
        return [slip.recipients for slip in slips if slip is not None]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Keeping(SpoolCase):
    def test_only_its_owner_gets_at_it(self) -> None:
        self.put()
        self.assertEqual(0o700, self.folder.stat().st_mode & 0o777)
        for path in self.folder.iterdir():
            self.assertEqual(0o600, path.stat().st_mode & 0o777, path)
        self.folder.chmod(0o755)
        Spool.open(self.folder)
        self.assertEqual(0o700, self.folder.stat().st_mode & 0o777)

    def test_a_folder_of_somebody_else_or_a_link_is_not_used(self) -> None:
        link = Path(self.mktemp())
        link.symlink_to(self.folder.absolute())
        with self.assertRaisesRegex(BadSpool, "is no folder"):
            Spool.open(link)
        with patch("os.geteuid", return_value=os.geteuid() + 1):
            self.assertRaisesRegex(BadSpool, "somebody else", Spool.open, self.folder)
        file = Path(self.mktemp())
        file.touch()
        self.assertRaises(BadSpool, Spool.open, file / "spool")

    def test_a_mail_is_taken_by_one_and_comes_back_as_it_was(self) -> None:
        name = self.put("a@x.test", "b@x.test", notify="NEVER", eight_bit=True)
        kept = self.spool.take(name)
        assert kept is not None
        self.assertIsNone(self.spool.take(name), "it is being worked on")
        with kept.open() as first, kept.open() as second:
            self.assertEqual((RAW, RAW), (first.read(), second.read()))
        letter = kept.letter()
        self.assertEqual(("a@x.test", "b@x.test"), letter.recipients)
        self.assertEqual((len(RAW), "NEVER", True), (letter.size_octets, letter.notify,
                                                     letter.eight_bit))  # fmt: skip
        kept.settle(("b@x.test",), "later")
        kept.let_go()
        self.assertEqual([("b@x.test",)], self.waiting())
        again = self.spool.take(name)
        assert again is not None
        again.settle(())
        again.let_go()
        self.assertEqual([], self.files())
        self.assertIsNone(self.spool.take(name))

    def test_what_has_no_slip_is_no_mail_and_goes_when_it_is_old(self) -> None:
        for name in ("old.eml", "old.json.7.new", "new.eml", "held.eml"):
            (self.folder / name).touch()
        kept = self.put()
        for name in ("old.eml", "old.json.7.new", "held.eml", f"{kept}.eml"):
            os.utime(self.folder / name, (0, time.time() - LEFTOVER_S - 1))
        with (self.folder / "held.eml").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.assertIsNone(self.spool.take("held"))
            self.spool.sweep()
        self.assertEqual(
            sorted(["new.eml", "held.eml", f"{kept}.eml", f"{kept}.json"]), self.files()
        )
        self.assertEqual([kept], self.spool.names())

    def test_a_full_disk_leaves_nothing(self) -> None:
        for broken in ("mailnode.client.spool.os.fsync", "mailnode.client.spool.write_durably"):
            full = patch(broken, side_effect=OSError(28, "No space left on device"))
            with full, self.assertRaisesRegex(BadSpool, "No space left"):
                self.keep()
            self.assertEqual([], self.files())

    def test_the_octets_are_flushed_before_the_slip_is_there(self) -> None:
        happened: list[str] = []
        fsync, rename = os.fsync, Path.rename

        def flushed(fd: int) -> None:
            happened.append("flush " + os.readlink(f"/proc/self/fd/{fd}").rpartition(".")[2])
            fsync(fd)

        def renamed(path: Path, to: Path) -> Path:
            happened.append("slip")
            return rename(path, to)

        with patch("os.fsync", flushed), patch.object(Path, "rename", renamed):
            kept = self.keep()
            self.assertEqual(["flush eml", "flush new", "slip"], happened[:3])
            self.assertTrue(happened[3].endswith("spool"), happened)
            del happened[:]
            kept.settle(())
        self.assertTrue(happened[0].endswith("spool"), "the removal is flushed, too")
        kept.let_go()

    def test_a_slip_that_cannot_be_read_keeps_its_mail(self) -> None:
        name = self.put()
        for damaged in (
            b"",
            b"[]",
            b'{"form": 2}',
            b'{"form": 1, "at": 0}',
            b'{"form": 1, "x": 0}',
        ):
            (self.folder / f"{name}.json").write_bytes(damaged)
            self.assertRaises(BadSpool, self.spool.take, name)
        self.assertEqual(2, len(self.files()))


class Server_:
    """Gives each mail the next of its answers; each session may be used up."""

    def __init__(self, *answers: dict[str, Answer] | Answer, lasts: int = 99) -> None:
        self.answers, self.lasts, self.sessions = list(answers), lasts, 0
        self.letters: list[Letter] = []
        self.bodies: list[bytes] = []

    def connect(self) -> SimpleNamespace:
        if not self.answers:
            raise Unreachable("nobody is there")
        self.sessions += 1
        session = SimpleNamespace(
            connection=SimpleNamespace(server=Server("mx.test", 25)), usable=True, sent=0,
            quit=lambda: None,
        )  # fmt: skip

        def send(letter: Letter) -> list[tuple[str, Answer]]:
            session.sent += 1
            if session.sent > self.lasts:
                session.usable = False
                return [(each, LOST) for each in letter.recipients]
            told = self.answers.pop(0) if self.answers else LATER
            self.letters.append(letter)
            self.bodies.append(letter.open().read())
            return [
                (each, told if isinstance(told, Answer) else told[each])
                for each in letter.recipients
            ]

        session.send = send
        return session


class Carrying(SpoolCase):
    def setUp(self) -> None:
        super().setUp()
        self.buried: list[tuple[str, Sequence[tuple[str, Answer]]]] = []

    def carrier(self, server: Server_) -> Carrier:
        return Carrier(
            server.connect,  # type: ignore[arg-type]
            "box.test",
            lambda letter, refused: self.buried.append((letter.sender, list(refused))),
        )

    def carry_new(self, kept: Kept, *answers: dict[str, Answer] | Answer) -> None:
        try:
            self.carrier(Server_(*answers)).carry(kept)
        finally:
            kept.let_go()

    def carry_spooled(self, *answers: dict[str, Answer] | Answer, lasts: int = 99) -> Server_:
        self.server = Server_(*answers, lasts=lasts)
        self.gone = self.carrier(self.server).carry_spooled(self.spool)
        return self.server

    def test_what_is_taken_is_gone_and_the_rest_waits(self) -> None:
        self.carry_new(self.keep("a@x.test", "b@x.test"), {"a@x.test": TAKEN, "b@x.test": LATER})
        self.assertEqual([("b@x.test",)], self.waiting())
        self.carry_spooled(TAKEN)
        self.assertEqual(([], 1), (self.files(), self.gone))

    def test_without_a_server_all_of_it_waits_and_says_why(self) -> None:
        kept = self.keep()
        self.assertRaises(CannotCarry, self.carry_new, kept)
        self.assertRaises(CannotCarry, self.carry_spooled)
        slip = self.spool.slip(kept.name)
        assert slip is not None
        self.assertEqual((("a@x.test",), "nobody is there"), (slip.recipients, slip.why))

    def test_a_new_mail_that_is_refused_is_buried_for_those_alone(self) -> None:
        answers = {"a@x.test": TAKEN, "b@x.test": NEVER}
        self.carry_new(self.keep("a@x.test", "b@x.test"), answers)
        self.assertEqual([("me@x.test", [("b@x.test", NEVER)])], self.buried)
        self.assertEqual([], self.files())

    def test_what_cannot_be_buried_waits(self) -> None:
        kept = self.keep()
        carrier = self.carrier(Server_(NEVER))

        def no_place(letter: Letter, refused: object) -> None:
            raise OSError(30, "Read-only file system")

        carrier.bury = no_place  # type: ignore[assignment]
        self.assertRaises(OSError, carrier.carry, kept)
        kept.let_go()
        self.assertEqual([("a@x.test",)], self.waiting())

    def test_a_server_that_wants_a_sign_in_refuses_no_mail(self) -> None:
        self.carry_new(self.keep(), SIGN_IN)
        self.assertEqual(([("a@x.test",)], []), (self.waiting(), self.buried))

    def test_a_spooled_mail_that_is_refused_is_reported_to_its_sender(self) -> None:
        self.put("nobody@x.test")
        server = self.carry_spooled(NEVER, TAKEN)
        report = server.letters[1]
        self.assertEqual(("", ("me@x.test",)), (report.sender, report.recipients))
        self.assertIn(b"550 5.1.1 nobody", server.bodies[1])
        self.assertEqual([], self.files())

    def test_a_report_that_can_not_leave_waits_in_place_of_its_mail(self) -> None:
        self.put("nobody@x.test")
        self.carry_spooled(NEVER, LATER)
        self.assertEqual([("me@x.test",)], self.waiting())
        self.carry_spooled(NEVER)
        self.assertEqual([("", [("me@x.test", NEVER)])], self.buried)
        self.assertEqual([], self.files())

    def test_nobody_is_told_who_did_not_want_to_be(self) -> None:
        self.put("nobody@x.test", notify="NEVER")
        self.assertEqual(1, len(self.carry_spooled(NEVER, TAKEN).letters))
        self.assertEqual(([], []), (self.files(), self.buried))

    def test_after_five_days_it_is_tried_once_more_and_reported(self) -> None:
        for answer, mails in ((TAKEN, 1), (LATER, 2)):
            self.put(at=time.time() - OVERDUE_S - 1)
            server = self.carry_spooled(answer, TAKEN)
            self.assertEqual((mails, []), (len(server.letters), self.files()))
        self.assertIn(b"Status: 4.4.7", server.bodies[1])
        self.put(at=time.time() - OVERDUE_S + 60)
        self.carry_spooled(LATER)
        self.assertEqual([("a@x.test",)], self.waiting())

    def test_a_session_that_is_used_up_is_followed_by_another(self) -> None:
        for _ in range(3):
            self.put()
        self.assertEqual(2, self.carry_spooled(TAKEN, TAKEN, TAKEN, lasts=2).sessions)
        self.assertEqual([], self.files())

    def test_each_has_its_turn_before_one_is_tried_again(self) -> None:
        names = [self.put(f"{n}@x.test") for n in range(3)]
        for at, name in enumerate(names):
            os.utime(self.folder / f"{name}.eml", (at, at))
        self.carrier(Server_(LATER)).carry_spooled(self.spool, 1)
        self.assertEqual([*names[1:], names[0]], self.spool.names())

    def test_what_somebody_works_on_and_what_is_damaged_is_passed_over(self) -> None:
        held, damaged = self.keep(), self.put()
        (self.folder / f"{damaged}.json").write_bytes(b"")
        self.put("b@x.test")
        self.assertEqual([("b@x.test",)], [each.recipients for each in
                                           self.carry_spooled(TAKEN).letters])  # fmt: skip
        held.let_go()
        self.assertEqual(4, len(self.files()))

    def test_one_that_can_not_be_opened_keeps_none_behind_it(self) -> None:
        link, foreign = self.put(), self.put()
        (self.folder / f"{link}.eml").unlink()
        (self.folder / f"{link}.eml").symlink_to(self.folder / f"{foreign}.eml")
        (self.folder / f"{foreign}.json").unlink()
        (self.folder / f"{foreign}.json").mkdir()
        for name in (link, foreign):
            self.assertRaises(BadSpool, self.spool.take, name)
        self.put("b@x.test")
        self.assertEqual([("b@x.test",)], [each.recipients for each in
                                           self.carry_spooled(TAKEN).letters])  # fmt: skip

    def test_a_full_disk_changes_nothing_of_a_mail_that_waits_for_all_anyway(self) -> None:
        full = patch("mailnode.client.spool.write_durably", side_effect=OSError(28, "full"))
        later, nowhere, half = self.keep(), self.keep(), self.keep("a@x.test", "b@x.test")
        with full:
            self.carry_new(later, LATER)
            self.assertRaises(CannotCarry, self.carry_new, nowhere)
            with self.assertRaisesRegex(BadSpool, "full"):
                self.carry_new(half, {"a@x.test": TAKEN, "b@x.test": LATER})
        self.assertEqual([("a@x.test",), ("a@x.test",), ("a@x.test", "b@x.test")], self.waiting())


class Dead(SynchronousTestCase):
    LETTER = Letter("me@x.test", ("a@x.test",), len(RAW), lambda: io.BytesIO(RAW))

    def test_they_are_a_mailbox_that_mail_programs_read(self) -> None:
        import mailbox

        path = Path(self.mktemp())
        for _ in range(2):
            self.assertEqual(path, bury([path], self.LETTER, [("a@x.test", NEVER)]))
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        first, second = mailbox.mbox(path)
        self.assertEqual("a@x.test: 550 5.1.1 nobody", first["X-Undelivered"])
        self.assertEqual(("s", ">From here\n"), (second["Subject"], second.get_payload()))

    def test_an_address_with_line_ends_adds_no_lines(self) -> None:
        path = Path(self.mktemp())
        bury([path], self.LETTER, [("a\r\n\nFrom evil@x.test", NEVER)])
        lines = path.read_text("utf-8").splitlines()
        self.assertTrue(lines[1].startswith("X-Undelivered: a"))
        self.assertEqual("Subject: s", lines[2])

    def test_a_line_without_end_is_quoted_at_its_beginning_alone(self) -> None:
        path, raw = Path(self.mktemp()), b"\r\n" + b"x" * 65536 + b"From y\r\nFrom z"
        letter = Letter("", ("a@x.test",), len(raw), lambda: io.BytesIO(raw))
        bury([path], letter, [])
        self.assertTrue(path.read_bytes().endswith(b"xFrom y\n>From z\n\n"))

    def test_the_first_place_that_can_be_written_is_taken_and_no_link_followed(self) -> None:
        link, outside, good = Path(self.mktemp()), Path(self.mktemp()), Path(self.mktemp())
        outside.write_text("kept")
        link.symlink_to(outside.absolute())
        self.assertEqual(good, bury([link, good], self.LETTER, []))
        self.assertEqual("kept", outside.read_text())
        self.assertRaises(OSError, bury, [link], self.LETTER, [])

    def test_a_file_of_somebody_else_or_with_another_name_is_left_alone(self) -> None:
        ours, linked, pipe = Path(self.mktemp()), Path(self.mktemp()), Path(self.mktemp())
        ours.write_text("kept")
        with patch("os.geteuid", return_value=os.geteuid() + 1):
            self.assertRaises(PermissionError, bury, [ours], self.LETTER, [])
        os.link(ours, linked)
        self.assertRaises(PermissionError, bury, [linked], self.LETTER, [])
        os.mkfifo(pipe)
        self.assertRaises(OSError, bury, [pipe], self.LETTER, [])
        self.assertEqual("kept", ours.read_text())

    def test_half_of_one_is_taken_back(self) -> None:
        path = Path(self.mktemp())
        bury([path], self.LETTER, [])
        before = path.read_bytes()
        with patch("os.fsync", side_effect=OSError(28, "full")):
            self.assertRaises(OSError, bury, [path], self.LETTER, [])
        self.assertEqual(before, path.read_bytes())
