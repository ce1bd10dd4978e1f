"""An import, and files that follow a mailbox, are killed at random moments and gone on with.

MOVING_KILLS=1000 for so many kills of each, 8 else; MOVING_SEED for other moments.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.live.node import DOMAIN, Node, command, environment, make_folder

KILLS = int(os.environ.get("MOVING_KILLS", "8"))
SEED = int(os.environ.get("MOVING_SEED", "1"))
MAILS = 3000
ALICE = f"alice@{DOMAIN}"
FROM = b"From shop@example.net Mon Jan  1 12:30:00 2024\n"

pytestmark = pytest.mark.timeout(240 + 10 * KILLS)


def raw(number: int) -> bytes:
    """Small mails, many of one subject; every 50th lies in a file of its own."""
    size = 300_000 if number % 50 == 0 else 1000
    return b"Subject: mail %d\n\n%d\n" % (number % 7, number) + (b"x" * 71 + b"\n") * (size // 72)


def heeds_sigterm(pid: int) -> bool:
    """Whether a process has a handler of its own for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class MovingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = make_folder(Path(self.mktemp()).absolute(), ("alice",))
        self.box = self.folder / "box"
        with self.box.open("wb") as file:
            for number in range(MAILS):
                file.write(FROM + raw(number) + b"\n")
        self.chance = random.Random(SEED)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "mailnode.cli", *arguments],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "errors").open("ab"),
        )

    def kill(self, process: subprocess.Popen[bytes], within_s: float) -> bool:
        """Kill it at some moment; False when it had ended before."""
        try:
            process.wait(self.chance.uniform(0.3, within_s))
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == -signal.SIGKILL

    def rows(self, text: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "var" / "mail.db")
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def import_all(self) -> None:
        command(self.folder, "import", str(self.box), "--to", ALICE, within_s=300)

    def test_an_import_that_is_killed_again_and_again_brings_each_mail_once(self) -> None:
        began = time.monotonic()
        self.import_all()
        whole_s = time.monotonic() - began
        killed, at = 0, MAILS
        for _ in range(KILLS):
            if at >= MAILS:  # begin again with an empty node
                for path in (self.folder / "var").glob("mail.db*"):
                    path.unlink()
                for path in (self.folder / "var" / "blobs").glob("*/*"):
                    path.unlink()
            importer = self.start("import", str(self.box), "--to", ALICE)
            killed += self.kill(importer, max(0.4, whole_s))
            if (self.folder / "var" / "mail.db").exists():
                self.judge_what_is_there()
                (at,) = self.rows("SELECT count(*) FROM delivery")[0]
        self.assertGreaterEqual(killed, KILLS // 4, "hardly any kill met it at work")
        self.import_all()
        self.judge_what_is_there()
        self.assertEqual(
            self.rows("SELECT count(*), count(DISTINCT digest) FROM message"), [(MAILS, MAILS)]
        )
        self.assertEqual(
            self.rows("SELECT count(*) FROM journal WHERE event = 'imported'"), [(MAILS,)]
        )
        self.judge_blobs()

    def judge_what_is_there(self) -> None:
        told = command(self.folder, "verify", check=False, within_s=300)
        self.assertEqual(told.returncode, 0, told.stdout[-3000:])

    def judge_blobs(self) -> None:
        """What the kills left half-written is swept away by the node's next start."""
        node = Node(self.folder).start()
        try:
            deadline = time.monotonic() + 30
            while True:
                blobs = {path.name for path in (self.folder / "var" / "blobs").glob("*/*")}
                blobs |= {path.name for path in (self.folder / "var" / "spool").iterdir()}
                named = {key for (key,) in self.rows("SELECT blob_key FROM message") if key}
                if blobs == named:
                    break
                self.assertLess(time.monotonic(), deadline, blobs ^ named)
                time.sleep(0.1)
        finally:
            node.stop()

    def test_files_that_follow_a_mailbox_are_there_once_whatever_was_killed(self) -> None:
        out = self.folder / "out"
        writer = self.start("import", str(self.box), "--to", ALICE)
        while not (self.folder / "var" / "mail.db").exists():  # no node has run here yet
            self.assertIsNone(writer.poll())
            time.sleep(0.02)
        killed = 0
        for _ in range(KILLS):
            killed += self.kill(self.start("export", ALICE, "--follow", str(out)), 2.0)
        self.assertEqual(killed, KILLS, (self.folder / "errors").read_text())
        self.assertEqual(writer.wait(300), 0)
        follower = self.start("export", ALICE, "--follow", str(out))
        try:
            deadline = time.monotonic() + 240
            while len(list((out / ALICE).glob("*.eml"))) < MAILS:
                self.assertLess(time.monotonic(), deadline, "the files don't come")
                time.sleep(0.2)
            while not heeds_sigterm(follower.pid):  # it may have found all of them there
                self.assertLess(time.monotonic(), deadline, "it does not begin")
                time.sleep(0.1)
            time.sleep(1.0)  # one too many would come now
            follower.terminate()
            self.assertEqual(follower.wait(30), 0)
        finally:
            if follower.poll() is None:
                follower.kill()
                follower.wait()
        found = Counter(path.read_bytes() for path in (out / ALICE).iterdir())
        wanted = Counter(raw(number).replace(b"\n", b"\r\n") for number in range(MAILS))
        self.assertEqual(found - wanted, Counter(), "more than there should be")
        self.assertEqual(wanted - found, Counter(), "less than there should be")
