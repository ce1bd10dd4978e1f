"""A disk that fails: clients hear of a temporary failure, the log and /readyz say why.

A real node under powercut.c, which makes chosen calls fail while a line in a file says so.
"""

from __future__ import annotations

import atexit
import errno
import os
import poplib
import shutil
import smtplib
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.shim import build
from tests.live.node import DOMAIN, Node, copy_folder, make_folder

pytestmark = pytest.mark.timeout(120)

SMALL = b"Subject: small\r\n\r\nbody\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 * 40_000 + b"\r\n"


@cache
def _made() -> Path:
    """A folder with alice; argon2 is asked once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="mailnode-io-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_folder(folder, ("alice",))


class FailingDiskTests(SynchronousTestCase):
    """Each test has a node with one mail in alice's maildrop."""

    def setUp(self) -> None:
        library = build()
        folder = copy_folder(_made(), Path(self.mktemp()).resolve())
        self.control = folder / "control"
        self.node = Node(
            folder,
            options=("--smtp", "0", "--pop3", "0", "--http", "0"),
            settings={"LD_PRELOAD": str(library), "FAULT_CONTROL": str(self.control)},
        )
        self.node.start()
        self.addCleanup(self.node.kill)
        self.send(SMALL)

    def fail_calls(self, *lines: str) -> None:
        part = self.control.with_suffix(".part")
        part.write_text("".join(f"{line}\n" for line in lines))
        os.replace(part, self.control)

    def heal(self) -> None:
        self.control.unlink()

    def send(self, raw: bytes) -> None:
        lines = b"\r\n".join(raw[at : at + 70] for at in range(0, len(raw), 70))
        with smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=20) as client:
            client.sendmail("a@b.example", [f"alice@{DOMAIN}"], raw if raw is SMALL else lines)

    def assert_refused_for_now(self, raw: bytes) -> None:
        with self.assertRaises(smtplib.SMTPResponseException) as caught:
            self.send(raw)
        self.assertIn(caught.exception.smtp_code, (451, 452))

    def ready(self) -> str:
        url = f"http://127.0.0.1:{self.node.port('http')}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def assert_works_again(self, mails: int) -> None:
        self.send(SMALL)
        self.assertEqual(len(self.node.mails()), mails)
        self.assertEqual(self.ready(), "ready\n")

    def test_a_blob_that_cannot_be_written_is_refused_for_now(self) -> None:
        self.fail_calls(f"write {errno.EIO} /spool/")
        self.assert_refused_for_now(LARGE)
        self.assertIn("Input/output error", self.ready())
        self.node.wait_for_log("A blob can't be read or written")
        self.heal()
        self.send(LARGE)
        self.assert_works_again(3)

    def test_a_blob_that_cannot_be_flushed_is_refused_for_now(self) -> None:
        self.fail_calls(f"flush {errno.EIO} /spool/")
        self.assert_refused_for_now(LARGE)
        self.assertIn("Input/output error", self.ready())
        self.heal()
        self.send(LARGE)
        self.assert_works_again(3)

    def test_a_blob_that_cannot_be_read_is_not_served_and_comes_later(self) -> None:
        self.send(LARGE)
        self.fail_calls(f"read {errno.EIO} /blobs/")
        client = poplib.POP3("127.0.0.1", self.node.port("pop3"), timeout=20)
        self.addCleanup(client.close)
        client.user(f"alice@{DOMAIN}")
        client.pass_("correct horse 7")
        with self.assertRaises(poplib.error_proto) as caught:
            client.retr(2)
        self.assertIn("SYS/TEMP", str(caught.exception))
        self.assertIn("Input/output error", self.ready())
        self.heal()
        self.assertEqual(len(client.retr(2)[1]) > 100, True)
        self.assertEqual(self.ready(), "ready\n")

    def test_a_disk_that_became_read_only_refuses_for_now(self) -> None:
        self.fail_calls(f"change {errno.EROFS} /var/spool", f"write {errno.EROFS} /var/spool")
        self.assert_refused_for_now(LARGE)
        self.assertIn("Read-only file system", self.ready())
        self.heal()
        self.send(LARGE)
        self.assert_works_again(3)

    def test_a_commit_that_cannot_be_written_is_refused_for_now(self) -> None:
        for number in (errno.EIO, errno.EROFS):
            self.fail_calls(f"write {number} mail.db-wal")
            self.assert_refused_for_now(SMALL)
            self.assertIn("store: ", self.ready())
            self.node.wait_for_log("The mail database has a fault")
            self.heal()
            self.send(SMALL)
        self.assertEqual(len(self.node.mails()), 3)
        self.assertEqual(self.ready(), "ready\n")

    def test_after_a_commit_that_cannot_be_flushed_the_process_ends_with_74(self) -> None:
        self.fail_calls(f"flush {errno.EIO} mail.db-wal")
        with self.assertRaises((OSError, smtplib.SMTPException)):
            self.send(SMALL)
        self.assertEqual(self.node.wait(10), 74)
        self.node.wait_for_log("a flush failed, nothing more is taken and the process ends")
        self.heal()
        started = time.monotonic()
        self.node.start()
        self.assertLess(time.monotonic() - started, 15)
        self.send(SMALL)
        self.assertIn(len(self.node.mails()), (2, 3))
