"""A large body that lies in a file is judged: by its look, and by a program that it is sent to."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial

from twisted.internet import reactor
from twisted.internet.task import Clock

from mailnode.errors import StoreBroken
from mailnode.filters.clamd import Clamd
from mailnode.filters.harmful import Harmful, HarmfulMail
from mailnode.model import Blob, Message, Verdict
from mailnode.threads import Threads
from tests.stores.support import StoreCase
from tests.unit.filters_case import ENVELOPE, FakeEndpoint, Wire


def mail_with(name: str) -> bytes:
    """With a zip archive of a megabyte and a half in which a file of that name lies."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, os.urandom(1_500_000))
    mail = EmailMessage(SMTP)
    mail.set_content("See below.\n")
    mail.add_attachment(packed.getvalue(), "application", "zip", filename="a.zip")
    return mail.as_bytes()


class JudgedTests(StoreCase):
    def harmful(self) -> Harmful:
        threads = Threads(reactor.callFromThread)
        self.addCleanup(threads.stop)
        return Harmful(clock=reactor, threads=threads, open_octets=self.blobs.windows)

    async def kept(self, raw: bytes) -> Message:
        writer = self.blobs.create()
        if (wait := writer.write(raw)) is not None:
            await wait
        key = await writer.commit()
        blob = Blob(key, partial(self.blobs.open, key))
        return Message(b"Received: x\r\n", blob, len(raw), hashlib.sha256(raw).digest())

    async def test_what_is_in_an_archive_is_found(self):
        with self.assertRaisesRegex(HarmfulMail, '"run.exe" in "a.zip" is a program'):
            await self.harmful().judge(ENVELOPE, await self.kept(mail_with("run.exe")))
        taken = await self.harmful().judge(ENVELOPE, await self.kept(mail_with("read.me")))
        self.assertEqual(Verdict(), taken)

    async def test_no_file_stays_open(self):
        await self.harmful().judge(ENVELOPE, await self.kept(mail_with("read.me")))
        found = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/self/fd/{fd}"))
        ours = str(self.data.resolve())
        self.assertEqual(
            [], [path for path in found if path.startswith(ours) and "/blobs/" in path]
        )

    async def test_a_blob_that_is_gone_is_the_store_s_fault(self):
        message = await self.kept(mail_with("read.me"))
        await self.blobs.delete([message.body.key])
        with self.assertRaises(StoreBroken):
            await self.harmful().judge(ENVELOPE, message)

    async def test_a_program_is_sent_all_of_it(self):
        raw = mail_with("read.me")
        sent = hashlib.sha256()

        def heard(wire: Wire, data: bytes) -> None:
            if data == bytes(4):
                wire.say(b"stream: OK\0")
            elif not data.startswith(b"zINSTREAM"):
                sent.update(data[4:])

        endpoint = FakeEndpoint(Clock())
        endpoint.heard = heard
        message = await self.kept(raw)
        verdict = await Clamd(endpoint=endpoint, clock=reactor).judge(ENVELOPE, message)
        self.assertEqual(Verdict(), verdict)
        self.assertEqual(hashlib.sha256(message.prefix + raw).digest(), sent.digest())
