"""A mail as Python's `email` reads it, whatever a stranger has written."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from email.errors import InvalidHeaderDefect, MessageDefect
from email.generator import BytesGenerator
from email.header import decode_header, make_header
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.parser import BytesFeedParser, BytesParser
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from io import BytesIO
from typing import Any

# Where `email` is given up, or what it gets is cut: it has no bounds of its own.
MOST_PARTS = 10_000
MOST_DEPTH = 100
MOST_LINES = 4_000_000
FED_OCTETS = 1 << 16
HEADER_OCTETS = 1 << 20  # of a mail that it doesn't read whole
FIELD_CHARACTERS = 32_768
CONTENT_CHARACTERS = 4_096  # of Content-Type and its like
UNREAD_CHARACTERS = 256  # of a field that came when the work was used up
# Its parsers need the square of a field's length: so much of that for one mail, some seconds.
WORK = 2 << 30
FIELD_WORK = 128  # characters for which a field counts, however short

MOST_ENCODED = 76  # characters of an encoded line (RFC 2045); `email` takes its policy's for it

WRITTEN = SMTP.clone(max_line_length=MOST_ENCODED)  # what mails of ours are written by
WRITTEN_UTF8 = SMTPUTF8.clone(max_line_length=MOST_ENCODED)  # with addresses beyond ASCII

_SUBJECT = re.compile(rb"subject:[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.I)
_UNSTRUCTURED = HeaderRegistry(use_default_map=False)


class TooMuch(MessageDefect):
    """A mail whose parts were not looked at: its payload is its body as it came."""


class _Lenient(HeaderRegistry):
    """Fields that are text where they can't be parsed, and cut where they are long; of one mail.

    `email` parses a field each time it is asked for, and its parsers raise all sorts of errors at
    some that are malformed, such as ``Message-ID: <((``: that would be the reader's to catch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = WORK
        self._parsed: dict[tuple[str, str], BaseHeader] = {}

    def __call__(self, name: str, value: str) -> BaseHeader:
        if (known := self._parsed.get((name, value))) is not None:
            return known
        cut = _cut(name, value)
        if issubclass(self.registry.get(name.lower(), self.default_class), UnstructuredHeader):
            field: Any = _UNSTRUCTURED(name, cut)
        else:
            self._left -= (len(cut) + FIELD_WORK) ** 2
            cut = cut if self._left >= 0 else cut[:UNREAD_CHARACTERS]
            field = self._parse(name, cut)
            if self._left >= 0:
                self._parsed[name, value] = field
        if len(cut) < len(value):
            field._defects = [*field._defects, InvalidHeaderDefect("too long to be read whole")]
        return field  # type: ignore[no-any-return]

    def _parse(self, name: str, value: str) -> BaseHeader:
        why = "the mail has too much to parse"
        if self._left >= 0:
            try:
                return super().__call__(name, value)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
        field: Any = _UNSTRUCTURED(name, value)
        field._defects.append(InvalidHeaderDefect(why))
        return field  # type: ignore[no-any-return]


def _cut(name: str, value: str) -> str:
    """Its beginning, up to where a word or an address ends."""
    of_content = name.lower().startswith("content-")
    most = CONTENT_CHARACTERS if of_content else FIELD_CHARACTERS
    if len(value) <= most:
        return value
    at = max(value.rfind(each, 0, most) for each in ",; \t")
    return value[: at if at > 0 else most]


class _Generator(BytesGenerator):
    """Writes a multipart or a mail within a mail that has no parts as it came.

    Python's own takes octets beyond ASCII in it for text, and then fails at what it made of them.
    """

    def _handle_multipart(self, msg: Any) -> None:
        self._write_text_or(super()._handle_multipart, msg)  # type: ignore[misc]

    def _handle_message(self, msg: Any) -> None:
        self._write_text_or(super()._handle_message, msg)  # type: ignore[misc]

    def _write_text_or(self, write: Callable[[Any], None], msg: Any) -> None:
        if isinstance(msg._payload, str):
            self._handle_text(msg)  # type: ignore[attr-defined]
        else:
            write(msg)


class _Mail(EmailMessage):
    def as_bytes(self, unixfrom: bool = False, policy: Any = None) -> bytes:
        out = BytesIO()
        _Generator(out, mangle_from_=False, policy=policy or self.policy).flatten(self, unixfrom)
        return out.getvalue()


class _Counting:
    """Makes the parts of one mail, and no more than it may have."""

    def __init__(self) -> None:
        self.left = MOST_PARTS

    def __call__(self, policy: Any = None) -> EmailMessage:
        self.left -= 1
        if self.left < 0:
            raise OverflowError(f"more than {MOST_PARTS} parts")
        return _Mail(policy)


# Fields are written as they came: folding anew those that are long fails on octets beyond ASCII.
_POLICY = SMTP.clone(refold_source="none")


def _policy() -> EmailPolicy[EmailMessage]:
    return _POLICY.clone(header_factory=_Lenient(), message_factory=_Counting())


def read_mail(raw: bytes) -> EmailMessage:
    """What is wrong with a mail or a field is in its `defects`: no field raises an error.

    `bytes(mail)` are its lines as they came, but for a space behind each field's colon. Fields over
    32 KiB (4 KiB those of the content) are cut. A mail of more than 10,000 parts, 4 million lines
    or parts within parts 100 deep has the defect `TooMuch`, and its body is its payload.
    """
    if raw.count(b"\n") <= MOST_LINES:
        with suppress(OverflowError, RecursionError):
            mail = _parse(raw)
            if not _is_deep(mail):
                return mail
    head, _, body = raw[:HEADER_OCTETS].partition(b"\r\n\r\n")
    end = len(head) + 4 if body else min(len(raw), HEADER_OCTETS)
    mail = read_header(raw[:end])
    rest = raw[end:].decode("ascii", "surrogateescape")
    mail.set_payload(f"{mail.get_payload()}{rest}")
    mail.defects.append(TooMuch())
    return mail


def _parse(raw: bytes) -> EmailMessage:
    """Fed by pieces: all at once is copied, with four octets a character."""
    parser: Any = BytesFeedParser(policy=_policy())
    for at in range(0, len(raw), FED_OCTETS):
        parser.feed(raw[at : at + FED_OCTETS])
    return parser.close()  # type: ignore[no-any-return]


def read_header(raw: bytes) -> EmailMessage:
    """The same of a header alone; what stands behind it is one text, whatever it is."""
    mail: Any = BytesParser(policy=_policy()).parsebytes(raw, headersonly=True)
    return mail  # type: ignore[no-any-return]


def _is_deep(mail: EmailMessage) -> bool:
    """Whether `email`, which walks a mail by recursion, might not come back from it."""
    level: list[Any] = [mail]
    for _ in range(MOST_DEPTH):
        level = [inner for part in level if part.is_multipart() for inner in part.get_payload()]
        if not level:
            return False
    return True


def subject_of(header: bytes) -> str:
    """The subject for lists: decoded, on one line, at most 200 characters."""
    lower = header.lower()  # to find it in that is much faster than by an expression
    at = 0 if lower.startswith(b"subject:") else lower.find(b"\nsubject:") + 1
    found = _SUBJECT.match(header, at)
    if not found:
        return ""
    text = found.group(1)[:2000].decode("utf-8", "replace")
    if "=?" in text:
        with suppress(Exception):  # a charset or encoding that nobody knows: shown as it came
            text = str(make_header(decode_header(text)))
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text[:200]
