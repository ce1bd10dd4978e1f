"""A web in memory: real guard, routes and pages; accounts and guests that are made up."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import define, evolve, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, providedBy

from mailnode.addresses import parse_address
from mailnode.audited import Actor
from mailnode.cred.ageing import Ageing
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.policy import PasswordPolicy
from mailnode.errors import NotFound, SignInBlocked, SignInBusy
from mailnode.model import INBOX
from mailnode.settings import PasswordSettings
from mailnode.store.directory import Account
from mailnode.store.folder_lists import Folder
from mailnode.store.guests import Session
from mailnode.store.tokens import Token, hash_secret, make_secret, read_scopes
from mailnode.web.assets import Assets
from mailnode.web.guard import Guard
from mailnode.web.guest import IWebGuest, SignedIn
from mailnode.web.pages.first import First
from mailnode.web.pages.lists import Shelf
from mailnode.web.pages.settings import Settings
from mailnode.web.pages.signin import SignIns
from mailnode.web.site import make_site
from mailnode.web.templates import Templates
from mailnode.web.visit import Visit
from mailnode.web.web import Web

AT = 1_800_000_000.0
PASSWORD = "correct horse 7"
ASSETS = Assets.read("mx.example.test")


@define(eq=False)
class MadeUpGuests:
    """Sessions and tokens as `store.guests.Guests` keeps them, in memory."""

    sessions_by: dict[bytes, Session] = field(factory=dict)
    tokens_by: dict[bytes, Token] = field(factory=dict)

    async def open_session(self, account: Account, client: str, agent: str) -> Any:
        secret = secrets.token_urlsafe(32)
        made = Session(
            hash_secret(secret), account.id, AT, AT, AT + 90 * 86400, client, agent, secret[::-1]
        )
        self.sessions_by[made.key_hash] = made
        return secret, made

    async def session(self, secret: str) -> Session | None:
        return self.sessions_by.get(hash_secret(secret))

    async def sessions(self, account_id: int) -> list[Session]:
        return [each for each in self.sessions_by.values() if each.account_id == account_id]

    async def end_session(self, account_id: int, key_hash: bytes) -> bool:
        found = self.sessions_by.get(key_hash)
        if found is None or found.account_id != account_id:
            return False
        del self.sessions_by[key_hash]
        return True

    async def end_sessions(self, account_id: int, but: bytes = b"") -> int:
        gone = [each.key_hash for each in await self.sessions(account_id) if each.key_hash != but]
        for key in gone:
            del self.sessions_by[key]
        return len(gone)

    async def make_token(
        self, account_id: int, name: str, scopes: Sequence[str], until: float | None
    ) -> tuple[str, Token]:
        secret, number = make_secret(scopes), len(self.tokens_by) + 1
        chosen = read_scopes(scopes)
        key = hash_secret(secret)
        self.tokens_by[key] = Token(number, key, account_id, name, chosen, AT, until, None, None)
        return secret, self.tokens_by[key]

    async def token(self, secret: str, client: str) -> Token | None:
        return self.tokens_by.get(hash_secret(secret))

    async def tokens(self, account_id: int) -> list[Token]:
        return [each for each in self.tokens_by.values() if each.account_id == account_id]

    async def end_token(self, account_id: int, number: int) -> Token:
        for key, each in list(self.tokens_by.items()):
            if (each.account_id, each.id) == (account_id, number):
                return self.tokens_by.pop(key)
        raise NotFound("There is none")


@define(eq=False)
class MadeUpPortal:
    """Lets in whose password is right."""

    accounts: dict[int, Account]
    passwords: dict[int, str]
    busy: bool = False
    blocked_s: float = 0.0
    asked: list[Any] = field(factory=list)

    async def login(self, credentials: Any, mind: object, interface: Any) -> Any:
        self.asked.append(credentials)
        if self.busy:
            raise SignInBusy()
        if self.blocked_s:
            raise SignInBlocked.until(self.blocked_s)
        for account in self.accounts.values():
            names = (str(account.address).encode(), account.address.local.encode())
            right = self.passwords[account.id].encode()
            if credentials.username in names and credentials.checkPassword(right):
                return IWebGuest, SignedIn(account.id), lambda: None
        raise SignInDenied(detail="wrong")


@define
class Reply:
    """An answer as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name.lower()), "")

    def headers(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        return found[1] if found else ""


class Wire(StringTransport):
    """A transport that can be TLS and is cut off."""

    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no TCP here."""

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True


class WebCase(SynchronousTestCase):
    """alice is an administrator, bob is not."""

    more_pages: Sequence[Any] = ()

    def setUp(self) -> None:
        self.accounts = {
            number: Account(number, address, address.key, "h", admin=number == 1)
            for number, address in enumerate(
                (parse_address(f"{name}@example.test") for name in ("alice", "bob")), 1
            )
        }
        self.passwords = dict.fromkeys(self.accounts, PASSWORD)
        self.password_settings = PasswordSettings()
        self.ageing = Ageing(lambda: self.password_settings, lambda: AT)
        self.clock = Clock()
        self.guests = MadeUpGuests()
        guests: Any = self.guests
        self.proxies: set[str] = set()
        self.guard = Guard(
            guests,
            self.accounts.get,
            frozenset({"mx.example.test", "mail.example.test"}),
            lambda host: host in self.proxies,
            self.ageing.is_over,
        )
        self.templates = Templates(ASSETS, self.guard, "mx.example.test")
        self.portal = self.make_portal()
        self.sign_ins = SignIns(
            self.templates, self.guard, guests, self.portal, self.accounts.get, lambda: ()
        )
        self.settings = Settings(
            self.templates,
            guests,
            self.sign_ins,
            lambda: AT,
            self.set_password,
            self.set_junk,
            self.shelf,
            least_characters=lambda: 10,
            ageing=self.ageing,
        )
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.room = True
        self.web = Web(
            self.guard,
            self.templates,
            [ASSETS, self.sign_ins, First("/settings"), self.settings, *self.more_pages],
            self.folder,
            self.in_thread,
            lambda: self.room,
        )
        self.site = make_site(dict, lambda: "x 1\n", self.clock, web=self.web)
        self.jar: dict[str, str] = {}
        self.open: list[tuple[Any, Wire]] = []

    def make_portal(self) -> MadeUpPortal:
        return MadeUpPortal(self.accounts, self.passwords)

    def in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return maybeDeferred(function, *arguments)

    async def shelf(self, visit: Visit) -> Shelf:
        account_id = visit.guest.account.id
        return Shelf([Folder(40 + account_id, account_id, INBOX, 7, 5, 90, modseq=1)])

    async def set_password(self, account: Account, password: str, actor: Actor) -> None:
        PasswordPolicy(PasswordSettings).judge(password, account.address)
        self.passwords[account.id] = password
        await self.guests.end_sessions(account.id)
        self.accounts[account.id] = evolve(account, password_hash="h2")

    async def set_junk(self, account: Account, folder: str, tagged: bool, actor: Actor) -> None:
        self.accounts[account.id] = evolve(account, junk=folder, tag_subject=tagged)

    def connect(self, client: str = "127.0.0.1", tls: bool = False) -> tuple[Any, Wire]:
        kind = IPv6Address if ":" in client else IPv4Address
        peer = kind("TCP", client, 40000)
        wire = Wire(peerAddress=peer)
        wire.hostAddr = IPv4Address("TCP", "127.0.0.1", 8080)
        if tls:
            directlyProvides(wire, providedBy(wire), ISSLTransport)
        channel = self.site.buildProtocol(peer)
        channel.makeConnection(wire)
        self.open.append((channel, wire))
        return channel, wire

    def ask(
        self,
        path: str,
        *headers: str,
        verb: str = "GET",
        form: Any = None,
        body: bytes | None = None,
        client: str = "127.0.0.1",
        tls: bool = False,
        host: str = "localhost:8080",
        cookies: bool = True,
    ) -> Reply:
        """What is answered to one request; cookies are kept."""
        channel, wire = self.connect(client, tls)
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {host}", *headers]
        if form is not None:
            verb_lines = [f"POST {path} HTTP/1.1" if verb == "GET" else lines[0]]
            lines = [*verb_lines, *lines[1:], "Content-Type: application/x-www-form-urlencoded"]
            body = urlencode(form, doseq=True).encode()
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if cookies and self.jar:
            lines.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.jar.items()))
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        reply = read_reply(wire.value())
        for cookie in reply.headers("set-cookie"):
            name, _, rest = cookie.partition("=")
            self.jar[name] = rest.partition(";")[0]
            if "Max-Age=0" in cookie:
                del self.jar[name]
        return reply

    def sign_in(self, name: str = "alice", **how: Any) -> Reply:
        csrf = self.ask("/sign-in", **how).csrf
        form = {"csrf": csrf, "name": name, "password": PASSWORD}
        return self.ask("/sign-in", form=form, **how)

    def csrf(self, **how: Any) -> str:
        return self.ask("/settings", **how).csrf


def read_reply(octets: bytes) -> Reply:
    """The last answer that is in there.

    Raises:
        ValueError: there is none.
    """
    head, _, body = octets.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return read_reply(body)
    first, *fields = head.decode().split("\r\n")
    told = [(name.lower(), value) for name, value in (each.split(": ", 1) for each in fields)]
    reply = Reply(int(first.split()[1]), told, body)
    if reply.header("transfer-encoding") == "chunked":
        reply.body = _dechunked(body)
    return reply


def _dechunked(octets: bytes) -> bytes:
    found = b""
    while octets:
        size, _, octets = octets.partition(b"\r\n")
        count = int(size, 16)
        found, octets = found + octets[:count], octets[count + 2 :]
    return found
