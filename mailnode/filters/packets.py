"""The octets of the milter protocol, version 6: packets, macros, flags. No I/O.

There is no RFC: this is what Sendmail's libmilter and Postfix speak. A packet is its length in
four octets, a letter, and data; texts end with a NUL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import pack, unpack

from attrs import frozen

from mailnode.errors import one_line
from mailnode.filters.exchange import NoAnswer, words_of

VERSION = 6
OLDEST_VERSION = 2
CHUNK_OCTETS = 65_535
PACKET_OCTETS = CHUNK_OCTETS + 1  # with its letter
FIELD_OCTETS = 16_384
LINE_OCTETS = 998
TEXT_CHARACTERS = 300

# From us.
NEGOTIATE, MACROS, CONNECT, HELO, MAIL, RCPT = b"O", b"D", b"C", b"H", b"M", b"R"
DATA, HEADER, END_OF_HEADER, BODY, END_OF_MAIL, QUIT = b"T", b"L", b"N", b"B", b"E", b"Q"

# From the filter: what ends the mail,
ACCEPT, REJECT, TEMPFAIL, DISCARD, REPLY_CODE = b"a", b"r", b"t", b"d", b"y"
CONNECTION_FAILURE, SHUTDOWN = b"f", b"4"
FINAL = (ACCEPT, REJECT, TEMPFAIL, DISCARD, REPLY_CODE, CONNECTION_FAILURE, SHUTDOWN)
# what goes on,
CONTINUE, PROGRESS, SKIP = b"c", b"p", b"s"
# and what changes the mail.
ADD_HEADER, INSERT_HEADER, CHANGE_HEADER, QUARANTINE = b"h", b"i", b"m", b"q"
UNDOABLE = {
    b"+": "add a recipient",
    b"2": "add a recipient",
    b"-": "remove a recipient",
    b"b": "replace the body",
    b"e": "change the sender",
    CHANGE_HEADER: "change a header field",
}

ALL_ACTIONS = 0x1FF
ALL_STEPS = 0x0FF_FFF & ~0x800  # not the recipients that were refused: there are none
LEADING_SPACE = 0x10_0000
# Of each command: the flag that it is not to be sent, and the flag that it gets no answer.
FLAGS = {
    CONNECT: (0x01, 0x1000),
    HELO: (0x02, 0x2000),
    MAIL: (0x04, 0x4000),
    RCPT: (0x08, 0x8000),
    BODY: (0x10, 0x8_0000),
    HEADER: (0x20, 0x80),
    END_OF_HEADER: (0x40, 0x4_0000),
    DATA: (0x200, 0x1_0000),
}

_NAME = re.compile(rb"[!-9;-~]{1,100}")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_REPLY = re.compile(r"([45]\d\d)(?:[ -]|$)(?:([245]\.\d{1,3}\.\d{1,3})(?: |$))?(.*)")


@frozen
class Agreed:
    """What came out of the negotiation.

    Attributes:
        version: of the protocol, as the filter speaks it.
        steps: flags of what it wants to be told and how.
    """

    version: int
    steps: int

    def wants(self, command: bytes) -> bool:
        if command == DATA and self.version < 4:
            return False
        return not self.steps & FLAGS[command][0]

    def is_answered(self, command: bytes) -> bool:
        return not self.steps & FLAGS[command][1]


def packet(command: bytes, data: bytes = b"") -> bytes:
    return pack(">I", 1 + len(data)) + command + data


def texts(*values: bytes) -> bytes:
    """Each with its NUL; one that stands in a text would end it."""
    return b"".join([value.replace(b"\0", b" ") + b"\0" for value in values])


def macros(command: bytes, values: Mapping[str, str]) -> bytes:
    """The packet that tells them in front of a command: those that have a value."""
    told = [
        text.encode("utf-8", "replace")
        for name, value in values.items()
        if value
        for text in (name, value)
    ]
    return packet(MACROS, command + texts(*told)) if told else b""


def offer() -> bytes:
    """All changes are offered: filters hang up where one that they might make is missing."""
    return packet(NEGOTIATE, pack(">III", VERSION, ALL_ACTIONS, ALL_STEPS | LEADING_SPACE))


def read_agreed(data: bytes) -> Agreed:
    """
    Raises:
        NoAnswer: it wants what was not offered. (Macros that it asks for stand behind; it gets
            those that there are.)
    """
    if len(data) < 12:
        raise NoAnswer("its negotiation is too short")
    version, actions, steps = unpack(">III", data[:12])
    if not OLDEST_VERSION <= version <= VERSION:
        raise NoAnswer(f"it speaks version {version} of the protocol")
    if actions & ~ALL_ACTIONS or steps & ~(ALL_STEPS | LEADING_SPACE):
        raise NoAnswer("it wants what was not offered")
    return Agreed(version, steps)


def connect(host: str, port: int) -> bytes:
    """Who the client is: his address stands for his name, which nobody has looked up."""
    if not host:
        return texts(b"localhost") + b"U"
    family = b"6" if ":" in host else b"4"
    address = host.encode("ascii", "replace")
    return texts(b"[" + address + b"]") + family + pack(">H", port & 0xFFFF) + texts(address)


def field_told(raw: bytes, leading_space: bool) -> bytes:
    """A field of a mail: its lines end with LF there.

    Args:
        leading_space: whether the filter wants the blanks behind the colon.
    """
    name, _colon, value = raw.partition(b":")
    if not leading_space:
        value = value.lstrip(b" \t")
    return texts(name.rstrip(b" \t"), value.replace(b"\r\n", b"\n"))


def field_added(data: bytes, leading_space: bool) -> bytes | None:
    """A field that the filter adds, as it stands in a mail; None for what is none."""
    name, nul, rest = data.partition(b"\0")
    value, end, behind = rest.partition(b"\0")
    if not (nul and end) or behind or not _NAME.fullmatch(name) or len(value) > FIELD_OCTETS:
        return None
    lines = _LINE_END.split(value.rstrip(b"\r\n"))
    lines[0] = name + (b":" if leading_space else b": ") + lines[0]
    for number, line in enumerate(lines):
        if len(line) > LINE_OCTETS or (number and not (line[:1] in (b" ", b"\t") and line.strip())):
            return None
    return b"".join([line + b"\r\n" for line in lines])


def read_reply(data: bytes) -> tuple[int, str, str]:
    """(code, enhanced code or "", text) of a reply that the filter wants to have said.

    Raises:
        NoAnswer: it is none that refuses or defers.
    """
    lines = _LINE_END.split(data.partition(b"\0")[0][:FIELD_OCTETS].strip())
    found = [_REPLY.fullmatch(line.decode("latin-1")) for line in lines[:10]]
    first = found[0]
    if first is None:
        raise NoAnswer(f"its reply can't be given: {words_of(lines[0].decode('latin-1'), 60)}")
    code, enhanced = int(first.group(1)), first.group(2) or ""
    if enhanced[:1] != str(code)[0]:
        enhanced = ""
    text = one_line(" ".join(each.group(3) for each in found if each is not None))
    return (code if code != 421 else 451), enhanced, text[:TEXT_CHARACTERS]


def words_in(data: bytes) -> str:
    """A text that the filter gives, for people."""
    return words_of(data.partition(b"\0")[0][:FIELD_OCTETS].decode("utf-8", "replace"))
