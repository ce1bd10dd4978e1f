"""A mailbox by POP3: listed, read and emptied, commands pipelined where the server allows.

RFC 1939, 2449 (CAPA), 2595 (STLS), 5034 (AUTH).
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from attrs import define, field, frozen

from mailnode.client.connection import LINE_OCTETS, Connection
from mailnode.client.trouble import Denied, InUse, NoReply, NotTrusted, SignInRefused
from mailnode.outbound.replies import printable
from mailnode.wire import DotReader

AHEAD = 40  # commands whose replies are awaited at a time
# What is taken from a server that may have no end of it.
OFFERS_OCTETS = 65536
LIST_OCTETS = 128 << 20
LIST_MAILS = 1_000_000
HEAD_OCTETS = 65536  # of a header that are kept; what comes behind is passed over
MAIL_OCTETS = 256 << 20  # of one that is handed over alone, and then held in memory
LARGE_OCTETS = 4 << 30  # of one among many, which go to disk
NUMBER_DIGITS = 18


@frozen
class Size:
    """Number of mails, and octets of all of them."""

    mails: int
    octets: int


@define(eq=False)
class Maildrop:
    """One session, signed in.

    Attributes:
        offers: capabilities (RFC 2449), upper case, each with its words.
    """

    connection: Connection
    offers: dict[str, list[str]] = field(factory=dict, init=False)

    @classmethod
    def open(cls, connection: Connection, user: str, password: str) -> Maildrop:
        """Greeted, inside TLS wherever that can be had, and signed in.

        Raises:
            NotTrusted: there is no TLS, and the password would go to another machine in clear.
            SignInRefused: with the server's words.
            InUse: another session has it.
            Unreachable, Denied.
        """
        maildrop = cls(connection)
        try:
            connection.expect_greeting()
            maildrop._reply()
            maildrop._ask_offers()
            maildrop._secure()
            maildrop._sign_in(user, password)
        except BaseException:
            connection.close()
            raise
        return maildrop

    def _ask_offers(self) -> None:
        self.offers.clear()
        self._say("CAPA")
        try:
            self._reply()
        except Denied:  # it doesn't know CAPA
            return
        for line in self._lines(OFFERS_OCTETS):
            name, *words = line.decode("ascii", "replace").upper().split() or [""]
            self.offers[name] = words

    def _secure(self) -> None:
        connection = self.connection
        if not connection.is_secure and "STLS" in self.offers:
            self._say("STLS")
            self._reply()
            connection.secure()
            self._ask_offers()
        if not (connection.is_secure or connection.server.is_here or connection.trust.clear):
            raise NotTrusted(
                f"{connection.server} offers no TLS, and the password would be read on the way; "
                "it goes in clear only with --insecure"
            )

    def _sign_in(self, user: str, password: str) -> None:
        if any(c in "\r\n\0" for c in user + password):
            raise SignInRefused("a name or password holds a line end")
        try:
            if "PLAIN" in self.offers.get("SASL", ()):
                token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
                self._say(f"AUTH PLAIN {token}")
            else:
                self._say(f"USER {user}")
                self._reply()
                self._say(f"PASS {password}")
            self._reply()
        except Denied as refusal:
            if refusal.text.startswith("[IN-USE]"):
                raise InUse(f"{user}'s mailbox: {refusal.text}") from None
            raise SignInRefused(f"{user} is not let in: {refusal.text}") from None

    # What lies there

    def stat(self) -> Size:
        self._say("STAT")
        mails, octets, *_ = [*self._reply().split(), "", ""]
        return Size(self._number(mails, "STAT"), self._number(octets, "STAT"))

    def sizes(self) -> dict[int, int]:
        """Octets of each mail, by its number."""
        listing = self._listing("LIST")
        return {number: self._number([*word.split(), ""][0], "LIST") for number, word in listing}

    def unique_ids(self) -> dict[int, str]:
        """The UIDL of each mail, by its number.

        Raises:
            Denied: the server has none.
        """
        return dict(self._listing("UIDL"))

    def _listing(self, command: str) -> Iterator[tuple[int, str]]:
        self._say(command)
        self._reply()
        for count, line in enumerate(self._lines(LIST_OCTETS)):
            if count == LIST_MAILS:
                raise self._endless(f"a list of more than {LIST_MAILS:,} mails")
            number, _, word = line.decode("ascii", "replace").partition(" ")
            yield self._number(number, command), word.strip()

    def _number(self, word: str, command: str) -> int:
        """No mailbox has one of more digits; and Python turns none of 5,000 into a number."""
        if not word.isdecimal() or len(word) > NUMBER_DIGITS:
            raise self._senseless(command)
        return int(word)

    def heads(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """The header of each, in the order asked for, cut at 64 KiB; what is refused has b""."""
        for number, refusal in self._asked(numbers, lambda number: f"TOP {number} 0"):
            head = _Beginning()
            if refusal is None:
                self._body(head.take, MAIL_OCTETS)
            yield number, bytes(head.octets)

    def retrieve(self, number: int, write: Callable[[bytes], object]) -> int:
        """Hand over a mail piece by piece, as it lies there, CRLF lines; how many octets.

        Raises:
            Denied: there is none.
            NoReply: it is over 256 MiB.
            Unreachable: the connection ended before it did.
        """
        self._say(f"RETR {number}")
        self._reply()
        return self._body(write, MAIL_OCTETS)

    def retrieve_all(
        self, numbers: Iterable[int], begin: Callable[[int], Callable[[bytes], object]]
    ) -> Iterator[tuple[int, Denied | None]]:
        """Hand over these, the next ones already asked for.

        Args:
            begin: told a number when its mail begins; takes the pieces from then on.

        Returns:
            Each number once its mail is whole, or with the reason why it isn't to be had.
        """
        for number, refusal in self._asked(numbers, lambda number: f"RETR {number}"):
            if refusal is None:
                self._body(begin(number), LARGE_OCTETS)
            yield number, refusal

    def delete(self, numbers: Iterable[int]) -> list[tuple[int, Denied]]:
        """Mark these; they are gone after `quit` alone. Which could not be, and why."""
        asked = self._asked(numbers, lambda number: f"DELE {number}")
        return [(number, refusal) for number, refusal in asked if refusal is not None]

    def undelete(self) -> None:
        """Nothing is marked any more."""
        self._say("RSET")
        self._reply()

    def keep_alive(self) -> None:
        self._say("NOOP")
        self._reply()

    def quit(self) -> None:
        """Leave; what is marked is deleted.

        Raises:
            Denied: the server could not delete all of it.
            Unreachable: no answer came; whether what was marked is deleted nobody knows.
        """
        try:
            self._say("QUIT")
            self._reply()
        finally:
            self.connection.close()

    def leave(self) -> None:
        """Go without a word: what was marked stays."""
        self.connection.close()

    # On the wire

    def _asked(
        self, numbers: Iterable[int], command: Callable[[int], str]
    ) -> Iterator[tuple[int, Denied | None]]:
        """Each number once its reply has come, some commands ahead; a body behind it is unread."""
        most = AHEAD if "PIPELINING" in self.offers else 1
        waiting, asked = iter(numbers), deque[int]()
        while True:
            some = list(islice(waiting, most - len(asked)))
            if some:
                self._say("\r\n".join(command(number) for number in some))
                asked.extend(some)
            if not asked:
                return
            for _ in range(max(1, len(asked) - most // 2)):
                number = asked.popleft()
                try:
                    self._reply()
                except Denied as refusal:
                    yield number, refusal
                else:
                    yield number, None

    def _say(self, command: str) -> None:
        self.connection.write(command.encode() + b"\r\n")

    def _reply(self) -> str:
        """The words behind +OK.

        Raises:
            Denied: -ERR, with its words.
        """
        line = self.connection.read_line()
        said = printable(line.decode("utf-8", "replace"))
        if line[:3] == b"+OK":
            return said[3:].strip()
        if line[:4] == b"-ERR":
            raise Denied(said[4:].strip() or "the server said no, and not why")
        self.connection.close()
        raise NoReply(f"{self.connection.server} is no POP3 server: it says {said[:100]!r}")

    def _lines(self, most_octets: int) -> Iterator[bytes]:
        """The lines of a reply, as they come."""
        begun = bytearray()
        for piece in self._pieces(most_octets):
            begun += piece
            if (end := begun.rfind(b"\r\n")) >= 0:
                yield from bytes(begun[:end]).split(b"\r\n")
                del begun[: end + 2]
            elif len(begun) > LINE_OCTETS:
                raise self._endless("a line")
        if begun:
            yield bytes(begun)

    def _body(self, write: Callable[[bytes], object], most_octets: int) -> int:
        octets = 0
        for piece in self._pieces(most_octets):
            octets += len(piece)
            write(piece)
        return octets

    def _pieces(self, most_octets: int) -> Iterator[bytes]:
        """What stands behind +OK, until the dot."""
        reader, ended = DotReader(), False
        while not ended:
            piece, ended = reader.feed(self.connection.read())
            if reader.size_octets > most_octets:
                raise self._endless(f"more than {most_octets:,} octets in one reply")
            if ended:
                self.connection.put_back(reader.rest)
            if piece:
                yield piece

    def _endless(self, what: str) -> NoReply:
        self.connection.close()
        return NoReply(f"{self.connection.server} sends {what}: that is without an end")

    def _senseless(self, command: str) -> NoReply:
        self.connection.close()
        return NoReply(f"{self.connection.server} answers {command} with what is no reply to it")


@define(eq=False)
class _Beginning:
    """The first octets of what comes."""

    octets: bytearray = field(factory=bytearray)

    def take(self, piece: bytes) -> None:
        if (room := HEAD_OCTETS - len(self.octets)) > 0:
            self.octets += piece[:room]
