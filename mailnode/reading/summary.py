"""What a list shows of a mail, and what threads are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from attrs import Factory, define, frozen

from mailnode.reading.fields import addresses_of, decoded
from mailnode.reading.parts import Parts, parts_of
from mailnode.reading.text import snippet_of, text_of

SUBJECT_CHARACTERS = 300
NAME_CHARACTERS = 200
TO_CHARACTERS = 1_000
MOST_REFERENCES = 50
MOST_NAMES = 100
KEPT_OCTETS = 256 << 10
KEPT_OF_A_PART = 4 << 10
SKIMMED_OCTETS = 1 << 20
LINE_OCTETS = 250

_ID = re.compile(r"<([^<>\s]{1,998})>")
_AT = re.compile("[@\N{SMALL COMMERCIAL AT}\N{FULLWIDTH COMMERCIAL AT}]")
_DELIMITER = re.compile(rb"\n--[^\n]{1,%d}(?=\n)" % LINE_OCTETS)


@frozen
class Summary:
    """Of one mail.

    Attributes:
        sender_name: "" where From has none.
        to: names, or addresses, of To and Cc, parted by commas.
        sent_at: UTC epoch seconds of Date; None where that can't be read.
        snippet: its first words.
        attachments: names of its files, "" for one without a name.
        message_id: without brackets, "" for none.
        references: message ids of what it answers, the nearest last.
    """

    sender_name: str = ""
    sender_address: str = ""
    to: str = ""
    subject: str = ""
    sent_at: float | None = None
    snippet: str = ""
    attachments: tuple[str, ...] = ()
    message_id: str = ""
    references: tuple[str, ...] = ()

    @property
    def sender(self) -> str:
        """Who a list shows as its author."""
        return shown_name(self.sender_name, self.sender_address)


def shown_name(name: str, address: str) -> str:
    """What stands for an address: its name, unless that could be taken for another address."""
    return name if name and not (address and _AT.search(name)) else address


def summary_of(mail: bytes | EmailMessage | Parts, text: str | None = None) -> Summary:
    """Of a whole mail, or of what `skim` left of it.

    Args:
        text: what `text_of` gives, where that is known.
    """
    parts = parts_of(mail)
    fields = parts.fields
    names = addresses_of(fields.get("from", fields.get("sender", [])))
    name, address = names[0] if names else ("", "")
    if text is None:
        text = text_of(parts, KEPT_OCTETS)
    return Summary(
        sender_name=name[:NAME_CHARACTERS],
        sender_address=address[:NAME_CHARACTERS],
        to=", ".join(_shown(fields))[:TO_CHARACTERS],
        subject=decoded(_first(fields, "subject"))[:SUBJECT_CHARACTERS],
        sent_at=_sent_at(_first(fields, "date")),
        snippet=snippet_of(text),
        attachments=tuple(part.name for part in parts.attachments())[:MOST_NAMES],
        message_id=next(iter(_ids(fields, "message-id")), ""),
        references=_references(fields),
    )


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _shown(fields: dict[str, list[str]]) -> Iterator[str]:
    for name, address in addresses_of([*fields.get("to", ()), *fields.get("cc", ())]):
        yield shown_name(name, address)


def _sent_at(value: str) -> float | None:
    try:
        at = parsedate_to_datetime(value[:200])
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except Exception:  # a stranger wrote it, and the reader of dates raises all sorts
        return None


def _ids(fields: dict[str, list[str]], name: str) -> Iterable[str]:
    return _ID.findall(" ".join(fields.get(name, ())))


def _references(fields: dict[str, list[str]]) -> tuple[str, ...]:
    """The first, which begins the thread, and the nearest; each once."""
    found = dict.fromkeys([*_ids(fields, "references"), *_ids(fields, "in-reply-to")])
    ids = list(found)
    return tuple(ids if len(ids) <= MOST_REFERENCES else [ids[0], *ids[1 - MOST_REFERENCES :]])


def skim(pieces: Iterable[bytes]) -> bytes:
    """A mail of any size made small: its beginning, and the beginning of each part behind that.

    What `summary_of` says of it is what it says of the whole mail. At most about 1 MiB is kept, so
    the names of the last of several hundred files may be lacking.
    """
    skimmed = _Skimmed()
    for piece in pieces:
        skimmed.take(piece)
        if skimmed.octets >= SKIMMED_OCTETS:
            break
    skimmed.take(b"", is_last=True)
    return b"".join(skimmed.kept)


@define(eq=False)
class _Skimmed:
    """What is kept so far, and the end of what was looked at: a delimiter may begin there."""

    kept: list[bytes] = Factory(list)
    octets: int = 0
    window: bytes = b""
    window_at: int = 0
    kept_to: int = 0

    def take(self, piece: bytes, is_last: bool = False) -> None:
        window = self.window + piece
        if self.kept_to < KEPT_OCTETS:
            self._keep(window, self.kept_to - self.window_at, KEPT_OCTETS - self.window_at)
        left_from = max(0, len(window) - LINE_OCTETS)
        for found in _DELIMITER.finditer(window):
            stop = found.start() + KEPT_OF_A_PART
            if stop > len(window) and not is_last:
                left_from = min(left_from, found.start())
                break
            self._keep(window, max(found.start(), self.kept_to - self.window_at), stop)
            if self.octets >= SKIMMED_OCTETS:
                break
        self.window_at += left_from
        self.window = window[left_from:]

    def _keep(self, window: bytes, start: int, stop: int) -> None:
        some = window[start:stop]
        if some and start < stop:
            self.kept.append(some)
            self.octets += len(some)
            self.kept_to = self.window_at + start + len(some)
