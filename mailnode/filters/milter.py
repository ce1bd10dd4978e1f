"""A milter, asked as Sendmail and Postfix ask it: the filters that were written for these.

It is told everything of a mail when that has come, in the order of the session; what it could
change in the meantime is the mail's header: fields in front. What else it wants is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from attrs import define, field
from twisted.logger import Logger

from mailnode.errors import FilterFailed, Refused
from mailnode.filters import packets
from mailnode.filters.exchange import Exchange, NoAnswer, exchange_with
from mailnode.filters.limits import Outside, TooLargeToJudge, recipients_of
from mailnode.filters.octets import MailReader, without_our_received
from mailnode.filters.packets import Agreed
from mailnode.mailauth.canonical import read_fields
from mailnode.model import Client, Envelope, MailParameters, Message, Verdict

HEADER_OCTETS = 256 * 1024
MOST_UNASKED = 2_000  # packets beside the answers: changes, and words that it still works
MOST_ADDED = 100
ADDED_OCTETS = 65_536

_log = Logger()

Reply = tuple[bytes, bytes]
"""A packet's letter and its data."""


@define(eq=False, kw_only=True)
class Milter(Outside):
    """What a milter rules is done; what it would quarantine or discard is unwanted.

    Attributes:
        hostname: ours; the macro `j`.
        undone: what it wanted and can't have, and how often.
    """

    name: str = "milter"
    hostname: str = "localhost"
    undone: Counter[str] = field(factory=Counter, init=False)

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        changes = _Changes()
        async with exchange_with(self.endpoint, self.clock) as exchange:
            front = without_our_received(message.prefix)
            with closing(MailReader(front, message.body)) as mail:
                talk = _Talk(exchange, envelope, mail, self.hostname, changes)
                letter, data = await talk.hold()
            await exchange.send(packets.packet(packets.QUIT))
        for what in changes.undone:
            self._count_undone(what, envelope.mail_id)
        return self._ruled(letter, data, changes)

    def _ruled(self, letter: bytes, data: bytes, changes: _Changes) -> Verdict:
        """
        Raises:
            Refused, FilterFailed: that is its ruling.
            NoAnswer: it is none.
        """
        detail = f"by filter {self.name}"
        if letter == packets.REJECT:
            raise Refused("Message refused", detail=detail)
        if letter == packets.REPLY_CODE:
            code, enhanced, text = packets.read_reply(data)
            kind = Refused if code >= 500 else FilterFailed
            raise kind(text or None, code=code, enhanced=enhanced or None, detail=detail)
        if letter in (packets.TEMPFAIL, packets.SHUTDOWN, packets.CONNECTION_FAILURE):
            raise FilterFailed(detail=detail)
        reasons = [f"{self.name} would put it aside: {each}" for each in changes.quarantined]
        if letter == packets.DISCARD:  # of what was answered with 250 nothing is thrown away
            reasons.append(f"{self.name} would throw it away")
        return Verdict(
            headers=b"".join(changes.fields), unwanted=bool(reasons), reasons=tuple(reasons)
        )

    def _count_undone(self, what: str, mail_id: str) -> None:
        self.undone[what] += 1
        if self.undone[what] == 1:  # it will want that of each mail
            _log.warn(
                "filter {name} wants to {what}, of mail {mail_id} first: that is not done",
                name=self.name,
                what=what,
                mail_id=mail_id,
            )


@define(eq=False)
class _Changes:
    """What a milter wants to have changed.

    Attributes:
        fields: to be put in front, from top to bottom.
        quarantined: reasons to put the mail aside.
        undone: what can't be done, each once.
    """

    fields: list[bytes] = field(factory=list)
    quarantined: list[str] = field(factory=list)
    undone: dict[str, None] = field(factory=dict)

    def take(self, letter: bytes, data: bytes, leading_space: bool) -> None:
        """
        Raises:
            NoAnswer: there is no such change.
        """
        if letter == packets.ADD_HEADER:
            self._add(len(self.fields), data, leading_space)
        elif letter == packets.INSERT_HEADER:
            self._add(max(0, int.from_bytes(data[:4], "big") - 1), data[4:], leading_space)
        elif letter == packets.QUARANTINE:
            self.quarantined = [*self.quarantined, packets.words_in(data)][:3]
        elif letter in packets.UNDOABLE:
            self.undone[packets.UNDOABLE[letter]] = None
        else:
            raise NoAnswer(f"it answered {letter!r} at the end of the mail")

    def _add(self, at: int, data: bytes, leading_space: bool) -> None:
        """The mail's own fields all stand below: what belongs among them is put over them."""
        added = packets.field_added(data, leading_space)
        octets = sum(map(len, self.fields))
        if added is None or octets + len(added) > ADDED_OCTETS or len(self.fields) >= MOST_ADDED:
            self.undone["add a header field that can't stand in a mail"] = None
        else:
            self.fields.insert(at, added)


@define(eq=False)
class _Talk:
    """One mail's conversation with a milter."""

    exchange: Exchange
    envelope: Envelope
    mail: MailReader
    hostname: str
    changes: _Changes
    agreed: Agreed = field(default=Agreed(packets.VERSION, 0), init=False)
    unasked: int = field(default=0, init=False)

    async def hold(self) -> Reply:
        """The answer that ends it.

        Raises:
            NoAnswer: it says what nobody may say there.
        """
        await self.exchange.send(packets.offer())
        letter, data = await self._answer()
        if letter != packets.NEGOTIATE:
            raise NoAnswer(f"it answered {letter!r} to the negotiation")
        self.agreed = packets.read_agreed(data)
        header, body = await self._read_header()
        for command, data in self._session():
            if reply := await self._tell(command, data):
                return reply
        if reply := await self._name_recipients():
            return reply
        for command, data in self._header(header):
            if reply := await self._tell(command, data):
                return reply
        if reply := await self._tell_body(body):
            return reply
        return await self._end()

    # What it is told

    def _session(self) -> Iterator[Reply]:
        client, sender = self.envelope.client, self.envelope.sender
        yield packets.CONNECT, packets.connect(client.host, client.port)
        yield packets.HELO, packets.texts(client.helo.encode("ascii", "replace"))
        words = [f"<{sender or ''}>", *_parameters(self.envelope.parameters)]
        yield packets.MAIL, packets.texts(*[word.encode("utf-8", "replace") for word in words])

    async def _name_recipients(self) -> Reply | None:
        """An answer that is for all of them, if there is one.

        The client has the answers to his RCPTs already: of several recipients none can be refused
        any more.
        """
        refused: list[Reply] = []
        addresses = recipients_of(self.envelope)
        for address in addresses:
            told = packets.texts(f"<{address}>".encode("utf-8", "replace"))
            reply = await self._tell(packets.RCPT, told, {"{rcpt_addr}": address})
            if reply is None:
                continue
            if reply[0] in (packets.ACCEPT, packets.DISCARD, packets.SHUTDOWN):
                return reply
            refused.append(reply)
        if refused and len(refused) == len(addresses):
            lasting = (packets.REJECT, packets.REPLY_CODE)
            return next((each for each in refused if each[0] not in lasting), refused[0])
        if refused:
            self.changes.undone["refuse some of the recipients"] = None
        return None

    def _header(self, header: bytes) -> Iterator[Reply]:
        yield packets.DATA, b""
        for each in read_fields(header):
            yield packets.HEADER, packets.field_told(each.raw, self._leading_space)
        yield packets.END_OF_HEADER, b""

    async def _tell_body(self, piece: bytes) -> Reply | None:
        if not self.agreed.wants(packets.BODY):
            return None
        while True:
            piece = piece or await self.mail.read(packets.CHUNK_OCTETS)
            if not piece:
                return None
            if reply := await self._tell(packets.BODY, piece):
                return None if reply[0] == packets.SKIP else reply
            piece = b""

    async def _end(self) -> Reply:
        told = packets.macros(packets.END_OF_MAIL, {"i": self.envelope.mail_id})
        await self.exchange.send(told + packets.packet(packets.END_OF_MAIL))
        while True:
            letter, data = await self._answer()
            if letter == packets.CONTINUE or letter in packets.FINAL:
                return letter, data
            self._count_unasked()
            self.changes.take(letter, data, self._leading_space)

    @property
    def _leading_space(self) -> bool:
        return bool(self.agreed.steps & packets.LEADING_SPACE)

    async def _read_header(self) -> tuple[bytes, bytes]:
        """The header, and what was read of the body with it.

        Raises:
            TooLargeToJudge: it is too long.
        """
        header, at = b"", -1
        while at < 0:
            piece = await self.mail.read(packets.CHUNK_OCTETS)
            searched = max(0, len(header) - 3)
            header += piece
            if header.startswith(b"\r\n"):
                return b"", header[2:]
            at = header.find(b"\r\n\r\n", searched)
            if not piece:
                return header, b""
            if at < 0 and len(header) > HEADER_OCTETS:
                raise TooLargeToJudge(f"its header is over {HEADER_OCTETS} octets")
        return header[: at + 2], header[at + 4 :]

    # To and fro

    async def _tell(
        self, command: bytes, data: bytes, more: dict[str, str] | None = None
    ) -> Reply | None:
        """Say something, unless the milter doesn't want it. None: it goes on.

        Its macros are told in any case: they count at later steps, too, and Sendmail tells them.
        """
        wanted = self.agreed.wants(command)
        told = packets.macros(
            command, _macros(command, self.envelope, self.hostname) | (more or {})
        )
        if wanted:
            told += packets.packet(command, data)
        if told:
            await self.exchange.send(told)
        if not wanted or not self.agreed.is_answered(command):
            return None
        letter, data = await self._answer()
        if letter == packets.CONTINUE:
            return None
        if letter in packets.FINAL or (letter == packets.SKIP and command == packets.BODY):
            return letter, data
        raise NoAnswer(f"it answered {letter!r} to {command!r}")

    async def _answer(self) -> Reply:
        """The next packet but those that say that it still works."""
        while True:
            octets = int.from_bytes(await self.exchange.take(4), "big")
            if not 0 < octets <= packets.PACKET_OCTETS:
                raise NoAnswer(f"a packet of {octets} octets")
            taken = await self.exchange.take(octets)
            if taken[:1] != packets.PROGRESS:
                return taken[:1], taken[1:]
            self._count_unasked()

    def _count_unasked(self) -> None:
        self.unasked += 1
        if self.unasked > MOST_UNASKED:
            raise NoAnswer(f"over {MOST_UNASKED} packets that nobody asked for")


def _macros(command: bytes, envelope: Envelope, hostname: str) -> dict[str, str]:
    client = envelope.client
    if command == packets.CONNECT:
        return {
            "j": hostname,
            "{daemon_name}": "mailnode",
            "v": "mailnode",
            "{client_addr}": client.host,
            "{client_name}": f"[{client.host}]" if client.host else "localhost",
            "{client_port}": str(client.port) if client.port else "",
        }
    if command == packets.HELO:
        return _tls_macros(client)
    if command == packets.MAIL:
        return {
            "i": envelope.mail_id,
            "{mail_addr}": str(envelope.sender or ""),
            "{auth_authen}": client.account,
            # Which mechanism it was is not known here; filters ask whether there was one.
            "{auth_type}": "PLAIN" if client.account else "",
        }
    return {}


def _tls_macros(client: Client) -> dict[str, str]:
    version, _, cipher = client.tls.partition(" ")
    return {"{tls_version}": version, "{cipher}": cipher}


def _parameters(parameters: MailParameters) -> Iterator[str]:
    if parameters.size_octets:
        yield f"SIZE={parameters.size_octets}"
    if parameters.body != "7BIT":
        yield f"BODY={parameters.body}"
    if parameters.smtputf8:
        yield "SMTPUTF8"
