"""The wall clock jumps a day forth and back: nobody is cut off, forgotten, lost or doubled.

A real node under clock.c, whose wall clock the test sets. 6 jumps; CLOCK_JUMPS=600 for more.
"""

from __future__ import annotations

import atexit
import os
import poplib
import random
import shutil
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.ledger import Ledger, Mail, Traffic
from tests.faults.shim import build
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder, make_folder

JUMPS = int(os.environ.get("CLOCK_JUMPS", "6"))
SEED = int(os.environ.get("CLOCK_SEED", "1"))
FULL = JUMPS > 100
DAY = 86400
BETWEEN_S = 0.3

pytestmark = pytest.mark.timeout(120 + 2 * JUMPS)


@cache
def _made() -> Path:
    """A folder with alice and bob; argon2 is asked once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="mailnode-clock-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_folder(folder)


class JumpingClockTests(SynchronousTestCase):
    """Each test has a node whose wall clock is right until it is set."""

    def setUp(self) -> None:
        folder = copy_folder(_made(), Path(self.mktemp()).resolve())
        self.offset = folder / "offset"
        self.offset.write_bytes(bytes(8))
        self.node = Node(folder)
        self.settings = {"LD_PRELOAD": str(build("clock")), "CLOCK_OFFSET": str(self.offset)}
        self.addCleanup(self.node.kill)

    def start(self, **settings: str) -> None:
        self.node.settings = self.settings | settings
        self.node.start()

    def set_wrong_by(self, seconds: int) -> None:
        with self.offset.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def smtp(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=20)
        self.addCleanup(client.close)
        return client

    def until_closed(self, *ends: socket.socket) -> None:
        """The server has ended all these, or it is a failure."""
        for end in ends:
            end.settimeout(15)
            while end.recv(4096):
                pass
            end.close()

    def test_the_shim_sets_the_wall_clock_and_no_other(self) -> None:
        self.set_wrong_by(-DAY)
        asked = "import time; print(time.time(), time.monotonic())"
        told = subprocess.run(
            [sys.executable, "-c", asked],
            env=self.settings,
            capture_output=True,
            text=True,
            check=True,
        )
        wall, monotonic = map(float, told.stdout.split())
        self.assertApproximates(wall, time.time() - DAY, 60)
        self.assertApproximates(monotonic, time.monotonic(), 60)

    def test_all_mail_is_there_once_whatever_the_clock_says(self) -> None:
        self.start()
        chance, ledger = random.Random(SEED), Ledger()
        traffic = Traffic(self.node, ledger, seed=SEED, pause_s=0.005)
        traffic.start()
        for _ in range(JUMPS):
            self.set_wrong_by(chance.choice([-DAY, -DAY, 0, DAY, DAY]))
            time.sleep(chance.uniform(0, 2 * BETWEEN_S))
        traffic.stop()
        self.set_wrong_by(-DAY)
        self.node.stop()
        self.start()  # after the last jump back, with mail of tomorrow
        faults = ledger.judge({name: self.node.each_mail(name) for name in traffic.names})
        sent, fetched = len(ledger.acknowledged), sum(ledger.gone.values())
        print(
            f"{JUMPS} jumps: {sent} mails acknowledged, {fetched} copies fetched; "
            f"{len(faults)} faults",
            file=sys.stderr,
        )
        self.assertEqual(faults[:20], [])
        self.assertGreater(min(sent, fetched), 2 * JUMPS, "the load was no load")
        self.assertEqual(ledger.put_off, 0)
        self.node.stop()
        self.assertEqual(
            command(self.node.folder, "verify", check=False, within_s=600.0).returncode, 0
        )

    def test_who_is_idle_is_not_cut_off_by_a_jump_forth(self) -> None:
        self.start()
        smtp = self.smtp()
        with self.node.maildrop() as pop3:
            for seconds in (DAY, -DAY):
                self.set_wrong_by(seconds)
                time.sleep(1.2)  # a sweep looks
                self.assertEqual(smtp.noop()[0], 250)
                self.assertIn(b"+OK", pop3.noop())

    def test_who_is_silent_for_too_long_is_closed_in_spite_of_a_jump_back(self) -> None:
        self.start(MAILNODE_LIMITS__SMTP_IDLE="1s", MAILNODE_LIMITS__POP3_IDLE="1s")
        began = time.monotonic()
        ends = [self.node.raw("smtp"), self.node.raw("pop3")]
        self.set_wrong_by(-DAY)
        self.until_closed(*ends)
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertLess(time.monotonic() - began, 12)

    def failed_sign_in_s(self) -> float:
        client = poplib.POP3("127.0.0.1", self.node.port("pop3"), timeout=30)
        began = time.monotonic()
        try:
            client.user(f"alice@{DOMAIN}")
            with self.assertRaises(poplib.error_proto):
                client.pass_("wrong")
            return time.monotonic() - began
        finally:
            client.close()

    def test_guessers_are_slowed_as_before_and_nobody_waits_for_a_day(self) -> None:
        self.start()
        self.assertGreater(self.failed_sign_in_s(), 0.45)
        for seconds, least_s in ((DAY, 0.9), (-DAY, 1.8))[: 2 if FULL else 1]:
            self.set_wrong_by(seconds)
            waited_s = self.failed_sign_in_s()
            self.assertGreater(waited_s, least_s, seconds)
            self.assertLess(waited_s, 10, seconds)

    def test_changes_of_accounts_and_the_journal_are_kept_up(self) -> None:
        self.start()
        smtp = self.smtp()
        smtp.ehlo("client.example")
        for number, seconds in enumerate((-DAY, DAY) if FULL else (-DAY,)):
            self.set_wrong_by(seconds)
            name = f"new{number}@{DOMAIN}"
            smtp.mail("a@b.example")
            self.assertEqual(smtp.rcpt(name)[0], 550)
            command(self.node.folder, "user", "add", name, stdin=f"{PASSWORD}\n")
            deadline = time.monotonic() + 10
            while smtp.rcpt(name)[0] != 250:
                self.assertLess(time.monotonic(), deadline, "the account is not known")
                smtp.rset()
                time.sleep(0.2)
                smtp.mail("a@b.example")
            self.assertEqual(smtp.data(Mail(1, number, ("alice",), (0,)).raw())[0], 250)
            time.sleep(1.2)  # what has no commit of its own is written within a second
            told = command(self.node.folder, "trace", "--to", name, "--json").stdout
            self.assertIn("refused", told)
            self.assertIn("accepted", told)

    def test_tls_goes_on_with_the_same_certificate(self) -> None:
        self.set_wrong_by(DAY)
        self.start()
        made = self.node.certificate.read_bytes()
        for seconds in (DAY, -DAY, 0):
            self.set_wrong_by(seconds)
            client = self.smtp()
            client.starttls(context=self.node.tls())
            self.assertEqual(client.ehlo("client.example")[0], 250)
            client.quit()
        self.node.stop()
        self.start()
        self.assertEqual(self.node.certificate.read_bytes(), made)
