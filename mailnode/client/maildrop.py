"""A mailbox by POP3: listed, read and emptied, commands pipelined where the server allows.

RFC 1939, 2449 (CAPA), 2595 (STLS), 5034 (AUTH).
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from attrs import define, field, frozen

from mailnode.client.connection import Connection
from mailnode.client.trouble import Denied, InUse, NotTrusted, SignInRefused
from mailnode.outbound.replies import printable
from mailnode.wire import DotReader

AHEAD = 40  # commands whose replies are awaited at a time
LIST_OCTETS = 64 << 20  # of a reply that is kept in memory whole


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
        for line in self._lines():
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
        numbers = self._reply().split()
        try:
            return Size(int(numbers[0]), int(numbers[1]))
        except (ValueError, IndexError):
            raise self._senseless("STAT") from None

    def sizes(self) -> dict[int, int]:
        """Octets of each mail, by its number."""
        return {number: int(word) for number, word in self._listing("LIST")}

    def unique_ids(self) -> dict[int, str]:
        """The UIDL of each mail, by its number.

        Raises:
            Denied: the server has none.
        """
        return dict(self._listing("UIDL"))

    def _listing(self, command: str) -> Iterator[tuple[int, str]]:
        self._say(command)
        self._reply()
        for line in list(self._lines()):
            number, _, word = line.decode("ascii", "replace").partition(" ")
            if not number.isdecimal() or (command == "LIST" and not word.split()[:1]):
                raise self._senseless(command)
            word = word.split()[0] if command == "LIST" else word.strip()
            if command == "LIST" and not word.isdecimal():
                raise self._senseless(command)
            yield int(number), word

    def heads(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """The header of each, in the order asked for; what is refused has b""."""
        for number, refusal in self._asked(numbers, lambda number: f"TOP {number} 0"):
            head = bytearray()
            if refusal is None:
                self._body(head.__iadd__)
            yield number, bytes(head)

    def retrieve(self, number: int, write: Callable[[bytes], object]) -> int:
        """Hand over a mail piece by piece, as it lies there, CRLF lines; how many octets.

        Raises:
            Denied: there is none.
        """
        self._say(f"RETR {number}")
        self._reply()
        return self._body(write)

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
                self._body(begin(number))
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
        raise Denied(f"{self.connection.server} is no POP3 server: it says {said[:100]!r}")

    def _lines(self) -> Iterator[bytes]:
        body = bytearray()
        self._body(body.__iadd__, LIST_OCTETS)
        return iter(bytes(body).removesuffix(b"\r\n").split(b"\r\n") if body else [])

    def _body(self, write: Callable[[bytes], object], most_octets: int | None = None) -> int:
        reader, ended, octets = DotReader(), False, 0
        while not ended:
            piece, ended = reader.feed(self.connection.read())
            octets += len(piece)
            if most_octets is not None and octets > most_octets:
                self.connection.close()
                raise Denied(f"{self.connection.server} sends a list without an end")
            if piece:
                write(piece)
        self.connection.put_back(reader.rest)
        return octets

    def _senseless(self, command: str) -> Denied:
        self.connection.close()
        return Denied(f"{self.connection.server} answers {command} with what is no reply to it")
