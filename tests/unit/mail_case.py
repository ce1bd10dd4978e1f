"""A node's pages without a socket: who is signed in looks at his mail, and posts forms."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet.defer import gatherResults

from mailnode.addresses import parse_address
from mailnode.model import Client, Envelope, Message, Recipient, new_mail_id
from tests.unit.api_case import ApiCase, Asking, Said

FORM = "application/x-www-form-urlencoded"


class MailCase(ApiCase):
    """alice and bob are signed in once `begin` has started the node.

    Attributes:
        folders: of all accounts.
        ids: account ids by name.
    """

    async def begin(self, **more: object) -> None:
        await super().begin(**more)
        self.folders = self.web.desk.folders
        self.ids: dict[str, int] = {}
        self.sessions: dict[str, tuple[str, str]] = {}
        for name in ("alice", "bob"):
            account = self.node_.directory.find(parse_address(f"{name}@example.test"))
            assert account is not None
            self.ids[name] = account.id
            opening = self.web.guests.open_session(account, "127.0.0.1", "a test")
            secret, session = await self.done(opening)
            self.sessions[name] = (secret, session.csrf)

    async def fill(self, *subjects: str, to: str = "alice", at: float | None = None,
                   sender: str = "Zed <zed@example.org>") -> int:  # fmt: skip
        """A mail for each subject in somebody's inbox, one after the other; the inbox's id.

        Args:
            at: when they came; None for now.
        """
        filing = [self._file(subject, to, at, sender) for subject in subjects]
        filed = await self.done(gatherResults(filing))
        return int(filed[0][0].folder_id)

    async def indexed(self, *subjects: str, to: str = "alice", **how: Any) -> int:
        """As `fill`, and in the index."""
        inbox = await self.fill(*subjects, to=to, **how)
        for _ in range(1000):
            if (await self.done(self.web.desk.indexes.progress(self.ids[to]))).is_done:
                return inbox
        raise AssertionError("it is not indexed")

    async def standing(self, uid: int, name: str = "INBOX") -> str:
        """Where a mail stands in its list, as an address has it."""
        folder_id = await self.folder_id(name)
        copy = await self.done(self.folders.copy(self.ids["alice"], folder_id, uid))
        return f"{int(copy.received_at * 1000)}-{uid}"

    def _file(self, subject: str, to: str, at: float | None, sender: str) -> Any:
        raw = (
            f"From: {sender}\r\nTo: {to}@example.test\r\nSubject: {subject}\r\n\r\n"
            f"Words of {subject}.\r\n"
        ).encode()
        mailbox = f"{to}@example.test"
        recipient = Recipient(parse_address(mailbox), self.ids[to], mailbox)
        envelope = Envelope(
            new_mail_id(), parse_address("zed@example.org"), (recipient,), Client(host="192.0.2.1")
        )
        if at is not None:
            envelope = evolve(envelope, received_at=at)
        digest = hashlib.sha256(raw).digest()
        message = Message(b"", raw, len(raw), digest, subject=subject)
        return self.node_.messages.file_message(envelope, message)

    def look_off(self, path: str, *, who: str = "alice", form: Mapping[str, Any] | None = None,
                 csrf: str | None = None, verb: str = "") -> Asking:  # fmt: skip
        """A request of a browser under way: a form is posted with what its page was given."""
        secret, given = self.sessions[who]
        lines = [f"{verb or ('GET' if form is None else 'POST')} {path} HTTP/1.1",
                 "Host: localhost:8080", "Connection: close",
                 f"Cookie: mailnode-8080={secret}"]  # fmt: skip
        octets = b""
        if form is not None:
            fields = {"csrf": given if csrf is None else csrf, **form}
            octets = urlencode(fields, doseq=True).encode()
            lines += [f"Content-Type: {FORM}", f"Content-Length: {len(octets)}"]
        return Asking(self.server, "\r\n".join([*lines, "", ""]).encode() + octets)

    async def look(self, path: str, **how: Any) -> Said:
        asking = self.look_off(path, **how)
        await self.until(lambda: asking.is_over)
        return asking.said

    async def post(self, path: str, who: str = "alice", **fields: Any) -> Said:
        return await self.look(path, who=who, form={k.rstrip("_"): v for k, v in fields.items()})

    async def follow(self, said: Said, who: str = "alice") -> str:
        """The page that an action leads to."""
        self.assertEqual(303, said.status, said)
        page = await self.look(said.fields["location"], who=who)
        self.assertEqual(200, page.status, page)
        return page.octets.decode()

    async def page(self, path: str, who: str = "alice") -> str:
        said = await self.look(path, who=who)
        self.assertEqual(200, said.status, said)
        return said.octets.decode()

    async def folder_id(self, name: str, who: str = "alice") -> int:
        folder = await self.done(self.folders.named(self.ids[who], name))
        return int(folder.folder_id)

    async def uids(self, name: str, who: str = "alice") -> list[int]:
        """Of all mails of a folder, ascending."""
        folder_id = await self.folder_id(name, who)
        found: list[int] = await self.done(self.folders.uids(self.ids[who], folder_id, 1 << 32))
        return found

    async def flags(self, name: str, who: str = "alice") -> dict[int, int]:
        folder_id = await self.folder_id(name, who)
        copies = await self.done(self.folders.page(self.ids[who], folder_id, limit=200))
        return {copy.uid: copy.flags for copy in copies}


def subjects_of(page: str) -> list[str]:
    """Of the lines of a list, in their order."""
    return [html.unescape(each) for each in re.findall(r'<span class="subject">(.*?)</span>', page)]


def fields_of(page: str, action: str) -> dict[str, list[str]]:
    """The hidden fields of a page's form, but for what every form has."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page, re.S)
    assert found, f"no form for {action} in:\n{page}"
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', found[0]):
        fields.setdefault(name, []).append(html.unescape(value))
    fields.pop("csrf")
    return fields


def flash_of(page: str) -> str:
    """What a page says first."""
    told = re.search(r'<div class="flash[^>]*><span>(.*?)</span>', page)
    return html.unescape(told[1]) if told else ""


def link_of(page: str, rel: str) -> str:
    """Where a link leads; "" where there is none."""
    found = re.search(rf'<a href="([^"]*)" rel="{rel}"', page)
    return html.unescape(found[1]) if found else ""
