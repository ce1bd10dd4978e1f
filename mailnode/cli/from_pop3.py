"""A mailbox on another server is a source of mail: it is signed in to as a mail program does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote

import click
from attrs import define, field, frozen

from mailnode.cli.frame import EX_USAGE, Mistake
from mailnode.cli.passwords import ask_secret
from mailnode.cli.server_names import read_server
from mailnode.client import passwords
from mailnode.client.connection import Connection, Server, Trust
from mailnode.client.maildrop import Maildrop
from mailnode.client.trouble import NotTrusted, Unreachable
from mailnode.filenames import expanded
from mailnode.portability.letter import Gathering, Letter, Lost, Spool

SCHEMES = ("pop3://", "pop3s://")


@frozen
class Mailbox:
    """Where it is, and how to sign in.

    Attributes:
        servers: to try, in this order.
    """

    user: str
    servers: list[Server]
    trust: Trust
    password: str = field(repr=False)


def is_mailbox(source: str) -> bool:
    return source.lower().startswith(SCHEMES)


def read_mailbox(
    ctx: click.Context,
    source: str,
    trust: Trust,
    password_file: str | None,
    password_command: str | None,
) -> Mailbox:
    """What `pop3s://user@host:port` means; its password is had, or asked for.

    Raises:
        Mistake: it is none.
        MailError: there is no password where one was said to be.
    """
    scheme, _, rest = source.partition("://")
    user, at, place = rest.rpartition("@")
    if not at or not user or ":" in user:
        raise Mistake(
            f"{scheme}://USER@HOST names a mailbox elsewhere; the password is asked for, or comes "
            "from --password-file or --password-command",
            EX_USAGE,
        )
    user, servers = unquote(user), read_server("pop3", f"{scheme.lower()}://{place}")
    if password_file is not None:
        password = passwords.from_file(expanded(password_file))
    elif password_command is not None:
        password = passwords.from_command(password_command)
    else:
        password = ask_secret(ctx, f"Password of {user} at {servers[0].host}")
    return Mailbox(user, servers, trust, password)


@define(eq=False)
class Pop3Source:
    """Reads the mails of a maildrop, the next ones asked for already; they stay there.

    Attributes:
        count: of the mails; `done` of them were read.
        taken: numbers of those that were handed over.
    """

    mailbox: Mailbox
    make_spool: Callable[[], Spool]
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="mails", init=False)
    taken: list[int] = field(factory=list, init=False)
    _session: Maildrop | None = field(default=None, init=False)

    @property
    def session(self) -> Maildrop:
        """Signed in, from the first need on.

        Raises:
            Unreachable, NotTrusted, SignInRefused, Denied.
        """
        if self._session is None:
            box = self.mailbox
            self._session = Maildrop.open(self._connect(), box.user, box.password)
        return self._session

    def _connect(self) -> Connection:
        """The first server that can be reached."""
        *others, last = self.mailbox.servers
        for server in others:
            try:
                return Connection(server, self.mailbox.trust)
            except NotTrusted:
                raise
            except Unreachable:
                continue
        return Connection(last, self.mailbox.trust)

    def measure(self) -> None:
        """Ask how many there are."""
        self.count = self.session.stat().mails

    def __iter__(self) -> Iterator[Letter | Lost]:
        gathering = Gathering(self.make_spool)

        def begin(number: int) -> Callable[[bytes], object]:
            nonlocal gathering
            gathering = Gathering(self.make_spool)
            return gathering.feed

        where = f"{self.mailbox.user} at {self.session.connection.server}, mail"
        try:
            for number, refusal in self.session.retrieve_all(range(1, self.count + 1), begin):
                self.done += 1
                if refusal is not None:
                    yield Lost(f"{where} {number}", refusal.text)
                    continue
                letter = gathering.end(f"{where} {number}")
                if isinstance(letter, Letter):
                    self.taken.append(number)
                yield letter
        except BaseException:
            gathering.discard()
            raise

    def delete_taken(self) -> list[Lost]:
        """What was handed over is deleted there; what could not be."""
        where = f"{self.mailbox.user} at {self.session.connection.server}, mail"
        refused = self.session.delete(self.taken)
        self.session.quit()
        return [
            Lost(f"{where} {number}", f"it is here, and was not deleted there: {refusal.text}")
            for number, refusal in refused
        ]

    def leave(self) -> None:
        """What lies there stays."""
        if self._session is not None:
            self._session.leave()
