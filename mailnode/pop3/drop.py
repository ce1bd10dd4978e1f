"""A maildrop while a session has it open: numbers, marks, lists, and what was read ahead.

RFC 1939 wants one picture from sign-in to QUIT, so sizes are taken once and numbers are
judged here, whatever the `IMailbox` behind them does (P8, P10, P18).
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred

from mailnode.errors import MailError, MailGone
from mailnode.interfaces import IMaildrop
from mailnode.pop3.ahead import Ahead
from mailnode.pop3.body import FileBody

BATCH_MAILS = 64
BATCH_OCTETS = 1 << 20
AHEAD_OCTETS = 64 << 10
MOST_AHEAD_OCTETS = 512 << 10
RETR_OCTETS = len(b"RETR \r\n")

_NUMBER = re.compile(rb"[0-9]{1,10}")
_UIDL = re.compile(rb"[!-~]{1,70}")
_RETRS = re.compile(rb"(?:RETR [0-9]{1,10}\r\n){1,64}", re.I)
_FOLLOWS = re.compile(rb"(?:TOP ([0-9]{1,10}) [0-9]{1,10}|DELE [0-9]+)\r\n", re.I)


class BadArgument(MailError):
    """A command that can't be carried out as it was given."""

    smtp_code, enhanced, pop3_code = 501, "5.5.4", ""
    text = "Not a number"


class NoSuchMail(BadArgument):
    text = "No such message"


class MarkedMail(BadArgument):
    text = "That message is marked as deleted"


def read_number(argument: bytes) -> int:
    """Raises BadArgument: ASCII digits stand in a number and nothing else does."""
    if not _NUMBER.fullmatch(argument):
        raise BadArgument()
    return int(argument)


@define(eq=False)
class OpenDrop:
    """One mailbox for the length of one session.

    Attributes:
        mailbox: an `IMailbox`, ours or a foreign one.
        sizes: octets of each mail at sign-in.
        marked: 0-based indices of mails that QUIT will delete.
        mails, octets: what STAT says: without those.
        ahead: mails that were read before they were asked for.
        guess_octets: how much is read of what nobody has asked for; it grows with each guess that
            was right.
    """

    mailbox: Any
    sizes: Sequence[int]
    marked: set[int] = field(factory=set)
    mails: int = 0
    octets: int = 0
    ahead: Ahead = field(factory=Ahead)
    guess_octets: int = field(factory=lambda: AHEAD_OCTETS)
    _guessed_to: int | None = None
    _ours: bool = False

    def __attrs_post_init__(self) -> None:
        self._ours = IMaildrop.providedBy(self.mailbox)
        self._count()

    @classmethod
    async def of(cls, mailbox: Any) -> OpenDrop:
        """Take the picture that holds until the session ends."""
        sizes = await maybeDeferred(mailbox.listMessages)
        return cls(mailbox, sizes if isinstance(sizes, array) else list(sizes))

    def _count(self) -> None:
        told = getattr(self.mailbox, "octets", None) if self._ours else None
        self.mails, self.octets = len(self.sizes), sum(self.sizes) if told is None else told

    # Numbers and marks

    def index_of(self, number: bytes) -> int:
        """The 0-based index of a message number.

        Raises:
            BadArgument, NoSuchMail, MarkedMail.
        """
        index = read_number(number) - 1
        if not 0 <= index < len(self.sizes):
            raise NoSuchMail()
        if index in self.marked:
            raise MarkedMail()
        return index

    def mark(self, index: int) -> None:
        self.marked.add(index)
        self.mails -= 1
        self.octets -= self.sizes[index]
        self.ahead.discard(index)

    def unmark_all(self) -> None:
        self.marked.clear()
        self._count()

    # Lists

    def size_lines(self, start: int, stop: int) -> bytes:
        sizes, marked = self.sizes[start:stop], self.marked
        lines = [
            f"{number} {size}\r\n"
            for number, size in enumerate(sizes, start + 1)
            if number - 1 not in marked
        ]
        return "".join(lines).encode("ascii")

    def uidl_lines(self, start: int, stop: int) -> bytes:
        uidl, marked = self.uidl, self.marked
        indices = range(start, min(stop, len(self.sizes)))
        return b"".join([b"%d %b\r\n" % (i + 1, uidl(i)) for i in indices if i not in marked])

    def uidl(self, index: int) -> bytes:
        """The mail's unique-id; a foreign one that RFC 1939 doesn't allow is hashed."""
        name = self.mailbox.getUidl(index)
        if self._ours:
            return bytes(name)
        octets = name if isinstance(name, bytes) else str(name).encode()
        return octets if _UIDL.fullmatch(octets) else hashlib.sha256(octets).hexdigest().encode()

    # Reading

    async def fetch(self, index: int, waiting: bytes = b"", at: int = 0) -> None:
        """Read one mail, and in the same go those that will be asked for next: they are ahead.

        Args:
            waiting: input that isn't parsed yet, from `at` on.

        Raises:
            MailGone, NoSuchMail, StoreBusy and their kin.
        """
        if not self._ours:
            file = await self.ask(self.mailbox.getMessage, index)
            self.ahead.keep([index], [(b"", FileBody(file), None)])
            return
        guess, right = self.guess_octets, index == self._guessed_to and not self.ahead
        self.guess_octets = min(2 * guess, MOST_AHEAD_OCTETS) if right else AHEAD_OCTETS
        self.ahead.forget()
        indices = self.plan(index, waiting, at)
        self._guessed_to = indices[-1] + 1
        self.ahead.keep(indices, await self.mailbox.fetch(indices))
        if index not in self.ahead:
            raise MailGone()

    def plan(self, index: int, waiting: bytes = b"", at: int = 0) -> list[int]:
        """What to read with `index`: what the waiting commands name, then what follows it.

        64 mails and 1 MiB at most for what is named, `guess_octets` for what is guessed; the
        mail itself comes whatever its size.
        """
        sizes, marked = self.sizes, self.marked
        planned, octets = [index], sizes[index]
        for following in _named(waiting, at):
            if len(planned) >= BATCH_MAILS or following >= len(sizes):
                break
            if following <= planned[-1] or following in marked:
                continue
            octets += sizes[following]
            if octets > BATCH_OCTETS:
                return planned
            planned.append(following)
        for following in range(planned[-1] + 1, len(sizes)):
            if len(planned) >= BATCH_MAILS or following in marked:
                break
            octets += sizes[following]
            if octets > self.guess_octets:
                break
            planned.append(following)
        return planned

    def belongs_to(self, client: str, tls: str) -> None:
        """Tell a mailbox that keeps count who reads it, and inside which TLS."""
        if self._ours:
            self.mailbox.client, self.mailbox.tls = client, tls

    def was_read(self, *indices: int) -> None:
        if self._ours:
            self.mailbox.mark_read(*indices)

    async def ask(self, method: Callable[..., Any], *args: object) -> Any:
        """Call the mailbox, whether it answers at once or by a Deferred."""
        try:
            result = method(*args)
            return (await result) if isinstance(result, Deferred) else result
        except (ValueError, IndexError):  # Twisted's words for an index it doesn't have
            raise NoSuchMail() from None


def _named(waiting: bytes, at: int) -> Iterable[int]:
    """0-based indices that the waiting RETR and TOP commands name, until another command."""
    while True:
        if numbers := retrs_at(waiting, at):
            at += sum(map(len, numbers)) + RETR_OCTETS * len(numbers)
            yield from [int(number) - 1 for number in numbers if int(number) > 0]
        elif found := _FOLLOWS.match(waiting, at):
            at = found.end()
            if found[1] is not None and int(found[1]) > 0:
                yield int(found[1]) - 1
        else:
            return


def retrs_at(waiting: bytes, at: int) -> list[bytes]:
    """The numbers of up to 64 RETR commands that stand there and follow each other.

    Each takes `RETR_OCTETS` besides its number. Parting them all at once takes a quarter of the
    time that looking at each takes.
    """
    found = _RETRS.match(waiting, at)
    return found[0].split()[1::2] if found else []
