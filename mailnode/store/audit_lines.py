"""The audit stream as lines: JSON, numbered, and each with the hash of the one before it.

So a line that is changed, cut out or put in shows (`verify`). One that is cut off at the end shows
by the head, the number and hash of the last line, which stands in a file of its own: who keeps a
head elsewhere is safe from somebody who may write to both.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import frozen

from mailnode.audited import Actor, Entry

FOLDER, HEAD = "audit", "head"
LINE_OCTETS = 8 << 10
BLOCK_OCTETS = 64 << 10
NO_HASH = "0" * 64
MOST_FAULTS = 100
_MONTH = re.compile(r"\d{4}-\d\d\.jsonl")
_to_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


@frozen
class Head:
    """The last line of a stream.

    Attributes:
        number: 0 for none.
        line_hash: SHA-256 in hexadecimal.
    """

    number: int = 0
    line_hash: str = NO_HASH

    def __str__(self) -> str:
        return f"{self.number}:{self.line_hash}"


def read_head_text(text: str) -> Head:
    """
    Raises:
        ValueError: it is none.
    """
    number, _, line_hash = text.strip().partition(":")
    if not re.fullmatch(r"[0-9]{1,18}", number) or not re.fullmatch(r"[0-9a-f]{64}", line_hash):
        raise ValueError("a head, such as 812:9f86d0...")
    return Head(int(number), line_hash)


@frozen
class Line:
    """A line that was read.

    Attributes:
        head: its number and hash.
        prev: the hash of the one before, as it says.
    """

    head: Head
    prev: str
    entry: Entry


def write_lines(entries: Sequence[Entry], head: Head) -> tuple[bytes, Head]:
    """Lines behind `head`, each ended, and the head then."""
    lines = []
    for entry in entries:
        line = _line(entry, head)
        head = Head(head.number + 1, hash_of(line))
        lines.append(line + b"\n")
    return b"".join(lines), head


def _line(entry: Entry, head: Head) -> bytes:
    row: dict[str, object] = {"n": head.number + 1, "at": stamp(entry.at), "event": entry.event}
    actor = entry.actor
    said = ("account", entry.account), ("by", actor.by), ("way", actor.way)
    row |= {name: value[:400] for name, value in (*said, ("client", actor.client)) if value}
    end: dict[str, object] = {"prev": head.line_hash}
    line = _to_json(row | ({"detail": dict(entry.detail)} if entry.detail else {}) | end)
    if len(line) > LINE_OCTETS:
        line = _to_json(row | {"detail": {"cut": "it was too long"}} | end)
    return line.encode("ascii")


def hash_of(line: bytes) -> str:
    return sha256(line).hexdigest()


def stamp(at: float) -> str:
    """A time as the stream has it."""
    told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def read_line(line: bytes) -> Line:
    """
    Raises:
        ValueError: it is none of ours.
    """
    try:
        row: Any = json.loads(line)
        actor = Actor(*(str(row.get(name, "")) for name in ("by", "way", "client")))
        at = datetime.fromisoformat(row["at"]).timestamp()
        detail: Mapping[str, object] = dict(row.get("detail", {}))
        entry = Entry(str(row["event"]), str(row.get("account", "")), actor, detail, at)
        return Line(Head(int(row["n"]), hash_of(line)), str(row["prev"]), entry)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no line of the stream: {error}") from error


def facts_of(line: Line) -> dict[str, object]:
    """As programs are told."""
    entry = line.entry
    return {
        "number": line.head.number,
        "at": stamp(entry.at),
        "event": entry.event,
        "account": entry.account,
        "by": entry.actor.by,
        "way": entry.actor.way,
        "client": entry.actor.client,
        "detail": dict(entry.detail),
    }


# Files, a month each


def file_of(data: Path, at: float) -> Path:
    return data / FOLDER / time.strftime("%Y-%m.jsonl", time.gmtime(at))


def files(data: Path) -> list[Path]:
    """The oldest first."""
    folder = data / FOLDER
    with suppress(FileNotFoundError):
        return sorted(each for each in folder.iterdir() if _MONTH.fullmatch(each.name))
    return []


def kept_head(data: Path) -> Head | None:
    """What was noted of the last line; None where it can't be read."""
    try:
        return read_head_text((data / FOLDER / HEAD).read_text("ascii"))
    except (OSError, ValueError):
        return None


def lines_back(path: Path) -> Iterator[bytes]:
    """The lines of a file that were ended, the last first; in blocks, however large it is.

    What is longer than any line of ours comes in pieces, which are none.
    """
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest, ended = b"", False
        while at > 0:
            size = min(BLOCK_OCTETS, at)
            at -= size
            file.seek(at)
            parts = (file.read(size) + rest).split(b"\n")
            for line in reversed(parts[1:]):
                if ended:
                    yield line
                ended = True
            rest = parts[0]
            if len(rest) > 2 * BLOCK_OCTETS:
                if ended:
                    yield rest
                rest = b""
        if ended:
            yield rest


def read_back(data: Path) -> Iterator[Line]:
    """The stream, the newest line first; what is damaged is passed over."""
    for path in reversed(files(data)):
        try:
            for line in lines_back(path):
                with suppress(ValueError):
                    yield read_line(line)
        except FileNotFoundError:  # pruned meanwhile
            return


# Whether all is there


@frozen
class Fault:
    """What is wrong.

    Attributes:
        line: of the file, from 1; 0 for the file or the stream as a whole.
    """

    file: str
    line: int
    what: str


@frozen
class Verified:
    """What `verify` found.

    Attributes:
        lines: how many there are.
        head: the last one.
        faults: the first of them; none where the chain is whole.
    """

    lines: int
    head: Head
    faults: tuple[Fault, ...]


def verify(data: Path, expected: Head | None = None) -> Verified:
    """Read all of it, and compare; nothing may be appended meanwhile.

    Args:
        expected: a head that somebody kept elsewhere.
    """
    faults: list[Fault] = []
    count, head, first = 0, Head(), None
    pruned: set[Head] = set()
    met = False

    def wrong(file: str, number: int, what: str) -> None:
        if len(faults) < MOST_FAULTS:
            faults.append(Fault(file, number, what))

    for path in files(data):
        for number, raw in enumerate(_lines(path), 1):
            if not raw.endswith(b"\n"):
                wrong(path.name, number, "it has no end")
                continue
            count += 1
            try:
                line = read_line(raw[:-1])
            except ValueError:
                wrong(path.name, number, "it can't be read")
                head = Head(head.number + 1, hash_of(raw[:-1]))
                continue
            if first is None:
                first = Head(line.head.number - 1, line.prev), path.name
            elif line.prev != head.line_hash:
                wrong(path.name, number, "the line before it is not the one that was before it")
            elif line.head.number != head.number + 1:
                wrong(path.name, number, f"number {line.head.number} comes behind {head.number}")
            head = line.head
            met = met or head == expected
            if line.entry.event == "audit-pruned":
                with suppress(ValueError):
                    pruned.add(read_head_text(str(line.entry.detail.get("through", ""))))
            elif line.entry.event == "audit-broken":
                wrong(path.name, number, f"it tells of a cut: {dict(line.entry.detail)}")
    if first is not None and first[0] != Head() and first[0] not in pruned:
        wrong(first[1], 1, f"what came before number {first[0].number + 1} is gone, and not pruned")
    _compare_heads(data, head, count, wrong)
    if expected is not None and not met and expected != Head():
        wrong("", 0, f"line {expected.number} is not the one that was expected: changed, or gone")
    return Verified(count, head, tuple(faults))


def _compare_heads(data: Path, head: Head, count: int, wrong: Any) -> None:
    kept = kept_head(data)
    if kept is None:
        if count:
            wrong(HEAD, 0, "it can't be read: whether the end was cut nobody can tell")
    elif kept.number > head.number:
        wrong("", 0, f"the end was cut: there was a line {kept.number}, and {head.number} is last")
    elif kept.number == head.number and kept != head:
        wrong("", 0, f"line {head.number} is another than was written")


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(2 * BLOCK_OCTETS):
            yield line
