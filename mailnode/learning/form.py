"""The file of a model: compact, checked, replaced as a whole; one that is damaged is set aside.

It begins with what it is: a magic line, the version of this form, that of the features, and the
numbers of the model. Five sections follow, each compressed (a new model's million slots are mostly
zero): wanted and unwanted counts of 16 bits, weights and their squares as single-precision
numbers, lessons. All is little-endian. A SHA-256 of everything before it ends the file.

No word of a mail stands in it, only what fell into a word's slot.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from attrs import frozen

from mailnode.durable import write_durably
from mailnode.giving_way import give_way
from mailnode.learning import features
from mailnode.learning.fisher import Counts
from mailnode.learning.logistic import MOST_STEPS, Weights
from mailnode.learning.model import MOST_LESSONS, Model, lesson_octets

VERSION = 1
MOST_OCTETS = 32 << 20
FEWEST_BITS, MOST_BITS = 10, 20
STEP_OCTETS = 1 << 16
STEP_LESSONS = 100

_MAGIC = b"mailnode model\r\n"
_HEAD = struct.Struct("<16sHHHxxIId")  # magic, form, features, bits, wanted, unwanted, bias
_SECTION = struct.Struct("<II")  # octets, and octets compressed
_KEY = struct.Struct("<Q")
_DIGEST_OCTETS = 32
_LESSON_OCTETS = _KEY.size + 3 + 4 * (MOST_STEPS + features.MOST_FACTS)


class Damaged(Exception):
    """What was read is no model, or one that this program doesn't understand."""


@frozen
class Opened:
    """What `read_model` gives.

    Attributes:
        set_aside: where a damaged file now is; None if there was none.
        why: what is wrong with it.
    """

    model: Model
    set_aside: Path | None = None
    why: str = ""


def read_model(path: Path, bits: int) -> Opened:
    """The model of a file; an empty one of so many bits where there is none, or a damaged one.

    That one is renamed, so that somebody may look at it: the last one only is kept.

    Raises:
        OSError: it can't be read, or not set aside.
    """
    try:
        size = path.stat().st_size
        octets = path.read_bytes() if size <= MOST_OCTETS else b""
    except FileNotFoundError:
        return Opened(Model.empty(bits))
    try:
        if size > MOST_OCTETS:
            raise Damaged(f"it has {size} octets, and no model more than {MOST_OCTETS}")
        return Opened(unpack(octets))
    except Damaged as damage:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        return Opened(Model.empty(bits), aside, str(damage))


def mails_of(path: Path) -> tuple[int, int] | None:
    """From how many wanted and unwanted mails the model of a file has learned, by its head alone.

    None: there is no file, or it is no model.

    Raises:
        OSError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            magic, *_, wanted, unwanted, _bias = _HEAD.unpack(file.read(_HEAD.size))
    except (FileNotFoundError, struct.error):
        return None
    return (wanted, unwanted) if magic == _MAGIC else None


def write_model(path: Path, model: Model) -> int:
    """The file holds the model; a power cut leaves the old one or the new one. Its octets.

    A tenth of a second for a node's: for a few lessons at once, not for each.
    """
    pieces = pack_pieces(model)
    write_durably(path, *pieces)
    return sum(map(len, pieces))


def pack(model: Model) -> bytes:
    """As the file has it, in one piece."""
    return b"".join(pack_pieces(model))


def pack_pieces(model: Model) -> list[bytes]:
    """As the file has it, in pieces.

    A thread does this while others have mail to take, and what it does in one step they wait for:
    so nothing is copied or joined that is larger than `STEP_OCTETS`.
    """
    with model.lock:
        counts, weights = model.counts, model.weights
        head = (VERSION, features.VERSION, model.bits, *model.mails, weights.bias)
        pieces = [_HEAD.pack(_MAGIC, *head)]
        for numbers in (counts.wanted, counts.unwanted, weights.weights, weights.squares):
            pieces += _section_of(_octets_of(numbers))
        pieces += _section_of(_rows_of(model.lessons))
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


def _section_of(steps: Iterable[bytes | memoryview]) -> list[bytes]:
    compressor, size, small = zlib.compressobj(1), 0, list[bytes]()
    for step in steps:
        size += len(step)
        small.append(compressor.compress(step))
    small.append(compressor.flush())
    return [_SECTION.pack(size, sum(map(len, small))), *filter(None, small)]


def _octets_of(numbers: array[int] | array[float]) -> Iterator[bytes | memoryview]:
    if sys.byteorder != "little":
        numbers = numbers[:]
        numbers.byteswap()
    octets = memoryview(numbers).cast("B")
    for at in range(0, len(octets), STEP_OCTETS):
        yield octets[at : at + STEP_OCTETS]


def _rows_of(lessons: Mapping[int, bytes]) -> Iterator[bytes]:
    rows = (_KEY.pack(key) + lesson for key, lesson in lessons.items())
    while some := b"".join(islice(rows, STEP_LESSONS)):
        yield some
        give_way()


def unpack(octets: bytes, *, to_judge: bool = False) -> Model:
    """The model that was packed.

    Args:
        to_judge: without its lessons, which take most of the time when there are many.

    Raises:
        Damaged.
    """
    try:
        magic, form, names, bits, wanted, unwanted, bias = _HEAD.unpack_from(octets)
        if magic != _MAGIC:
            raise Damaged("it is no model")
        if (form, names) != (VERSION, features.VERSION):
            raise Damaged(f"it is of version {form}.{names}, not {VERSION}.{features.VERSION}")
        digest = hashlib.sha256(memoryview(octets)[:-_DIGEST_OCTETS]).digest()
        if digest != octets[-_DIGEST_OCTETS:]:
            raise Damaged("its checksum is wrong")
        if not FEWEST_BITS <= bits <= MOST_BITS:
            raise Damaged(f"it has {bits} bits")
        slots, at = 1 << bits, _HEAD.size
        arrays: list[array[float]] = []
        for kind in "HHff":
            numbers: array[float] = array(kind)
            steps, at = _section(octets, at, slots * numbers.itemsize)
            for step in steps:
                numbers.frombytes(step)
            arrays.append(_checked(numbers, slots))
        rows = bytearray()
        if not to_judge:
            for step in _section(octets, at, MOST_LESSONS * _LESSON_OCTETS)[0]:
                rows += step
        return Model(
            bits,
            Counts(arrays[0], arrays[1], wanted, unwanted),  # type: ignore[arg-type]
            Weights(arrays[2], arrays[3], bias),
            _lessons(rows) if rows else {},
        )
    except (struct.error, zlib.error, ValueError) as error:
        raise Damaged(str(error)) from error


def _section(octets: bytes, at: int, most: int) -> tuple[Iterator[bytes], int]:
    """Its octets, step by step, and where the next one begins."""
    size, packed = _SECTION.unpack_from(octets, at)
    at += _SECTION.size
    if size > most:
        raise Damaged("a section is too long")
    return _steps(memoryview(octets)[at : at + packed], size), at + packed


def _steps(packed: bytes | memoryview, size: int) -> Iterator[bytes]:
    decompressor, left = zlib.decompressobj(), size
    while left and (step := decompressor.decompress(packed, min(left, STEP_OCTETS))):
        packed = decompressor.unconsumed_tail
        left -= len(step)
        yield step
    if left:
        raise Damaged("a section is too short")


def _checked(numbers: array[float], slots: int) -> array[float]:
    if len(numbers) != slots:
        raise Damaged("a section has another length than its model")
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


def _lessons(rows: bytearray) -> dict[int, bytes]:
    lessons, at = dict[int, bytes](), 0
    octets = memoryview(rows)
    while at < len(rows):
        (key,) = _KEY.unpack_from(rows, at)
        at += _KEY.size
        end = at + lesson_octets(octets, at)
        if end > len(rows):
            raise Damaged("a lesson has no end")
        lessons[key] = bytes(octets[at:end])
        at = end
        if len(lessons) % STEP_LESSONS == 0:
            give_way()
    return lessons
