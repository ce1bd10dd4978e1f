"""`mailnode sendmail` as programs call it: what is said, and with which exit code it ends."""

from __future__ import annotations

import importlib
import io
import os
import time
from pathlib import Path
from unittest.mock import patch

from mailnode.client.spool import Slip, Spool
from mailnode.durable import write_durably
from mailnode.outbound.words import Answer
from tests.unit.cli_case import CommandCase
from tests.unit.test_client_spool import LATER, NEVER, TAKEN, Server_

PROGRAM = importlib.import_module(
    "mailnode.cli.sendmail"
)  # the package has the command by this name
MAIL = b"Subject: s\n\nbody\n"
FULL = OSError(28, "No space left on device")


class SendmailCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        os.environ["MAILNODE_SENDMAIL"] = str(self.folder / "sendmail.toml")
        os.environ["HOME"] = str(self.folder)
        self.spool = self.folder / "spool"
        (self.folder / "sendmail.toml").write_text(
            f'domain = "box.test"\nspool = "{self.spool}"\nsender = "me@x.test"\n'
        )

    def send(self, *answers: Answer, exit_code: int = 0, options: str = "a@x.test") -> str:
        """What stands on standard error."""
        self.server = Server_(*answers)
        with patch.object(PROGRAM, "connect", lambda ctx, settings: self.server.connect()):
            return self.run_command(f"sendmail {options}", MAIL, exit_code).stderr

    def waiting(self) -> int:
        return len(list(self.spool.glob("*.json")))


class SpooledTests(SendmailCase):
    def test_a_mail_that_waits_is_taken_whatever_the_disk_says(self) -> None:
        """Who is told that it failed sends it again, and it arrives twice."""
        writes = [write_durably]

        def write(path: Path, data: bytes) -> None:
            if not writes:
                raise FULL
            writes.pop()(path, data)

        with patch("mailnode.client.spool.write_durably", write):
            self.send(LATER)
        self.assertEqual(1, self.waiting())

    def test_one_that_was_sent_and_stays_is_told_and_no_failure(self) -> None:
        with patch("mailnode.client.spool.Path.unlink", side_effect=FULL):
            told = self.send(TAKEN)
        self.assertIn("was sent and waits to be sent again", told)

    def test_what_is_wrong_with_a_mail_that_waits_is_no_failure_of_this_one(self) -> None:
        spool = Spool.open(self.spool)
        kept = spool.keep(Slip("", ("z@x.test",), time.time()), io.BytesIO(MAIL))
        kept.let_go()
        with patch("mailnode.client.spool.os.utime", side_effect=FULL):
            self.send(TAKEN, LATER)
        self.assertEqual((2, 1), (len(self.server.letters), self.waiting()))

    def test_a_refusal_is_told_with_its_dead_letter(self) -> None:
        told = self.send(NEVER, exit_code=67)
        self.assertIn(f"the mail is kept in {self.folder / 'dead.letter'}", told)
        self.assertEqual(0, self.waiting())
