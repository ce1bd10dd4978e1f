"""An SQLite file read page by page, whatever of it is damaged; the library stops at a bad page.

The format: https://www.sqlite.org/fileformat2.html. Reading changes nothing, not even the
write-ahead log, whose committed pages are laid over the file's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field, frozen

from mailnode.store.sqlite import PAGE_OCTETS

Value = int | float | str | bytes | None

TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
_KINDS = {TABLE_LEAF: 8, TABLE_INNER: 12, INDEX_LEAF: 8, INDEX_INNER: 12}
_WAL_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
_WAL_MAGIC = 0x377F0682
_SIZES = (0, 1, 2, 3, 4, 6, 8)
MOST_PAYLOAD = 1 << 30


@frozen
class Row:
    """What one cell of a page holds.

    Attributes:
        page: where it begins.
        rowid: None in an index or a table without.
        values: as far as they could be read; text and octets at the end may be cut.
        whole: all of its octets were there.
        pages: that the rest of it lies on.
    """

    page: int
    rowid: int | None
    values: list[Value]
    whole: bool
    pages: tuple[int, ...] = ()


@define(eq=False)
class Pages:
    """A database file and the log beside it.

    Attributes:
        count: of pages that there are, damaged or not.
        version: the schema's, 0 where the first page can't say.
        claimed: one octet a page, 1 where a tree, a row or the list of free pages leads.
    """

    path: Path
    size: int = field(default=PAGE_OCTETS, init=False)
    count: int = field(default=0, init=False)
    version: int = field(default=0, init=False)
    claimed: bytearray = field(factory=bytearray, init=False)
    _file: int = field(default=-1, init=False)
    _wal: int = field(default=-1, init=False)
    _frames: dict[int, int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        octets = os.fstat(self._file).st_size
        try:
            self._wal = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            self._frames = self._read_wal()
        header = self.page(1)[:100]
        if header.startswith(b"SQLite format 3\0"):
            (size,) = struct.unpack_from(">H", header, 16)
            if size == self.size:  # the only one that we ever made
                (self.version,) = struct.unpack_from(">I", header, 60)
        self.count = max(-(-octets // self.size), max(self._frames, default=0))
        self.claimed = bytearray(self.count + 2)

    def close(self) -> None:
        for fd in (self._file, self._wal):
            if fd >= 0:
                os.close(fd)

    def page(self, number: int) -> bytes:
        """Its octets; of a file that was cut less than `size`, or none."""
        if number in self._frames:
            return os.pread(self._wal, self.size, self._frames[number])
        return os.pread(self._file, self.size, (number - 1) * self.size)

    def _read_wal(self) -> dict[int, int]:
        """Where the newest committed octets of each page lie in the log.

        SQLite stops at the first frame that is damaged. A frame is summed up from the sum that
        stands in the one before, so those behind a damaged one can be told to be whole.
        """
        head = os.pread(self._wal, _WAL_HEADER.size, 0)
        if len(head) < _WAL_HEADER.size:
            return {}
        magic, _, size, _, salt_1, salt_2, sum_1, sum_2 = _WAL_HEADER.unpack(head)
        if magic & ~1 != _WAL_MAGIC or size != self.size:
            return {}
        order = ">" if magic & 1 else "<"
        found: dict[int, int] = {}
        pending: dict[int, int] = {}
        at, sums = _WAL_HEADER.size, (sum_1, sum_2)
        while len(octets := os.pread(self._wal, _FRAME_HEADER.size + size, at)) >= size:
            number, commit, *salts_and_sums = _FRAME_HEADER.unpack_from(octets)
            if salts_and_sums[:2] != [salt_1, salt_2] or not number:
                break
            body = octets[_FRAME_HEADER.size :]
            good = _checksum(octets[:8] + body, sums, order) == tuple(salts_and_sums[2:])
            sums = (salts_and_sums[2], salts_and_sums[3])
            pending[number] = at + _FRAME_HEADER.size
            at += _FRAME_HEADER.size + size
            if commit and good:
                found.update(pending)
                pending.clear()
        return found

    # Trees

    def tree(self, root: int, *, index: bool) -> Iterator[Row]:
        """The rows that can be reached from the first page of a table or an index."""
        leaf, inner = (INDEX_LEAF, INDEX_INNER) if index else (TABLE_LEAF, TABLE_INNER)
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if not 0 < number <= self.count or self.claimed[number]:
                continue
            page = self.page(number)
            kind = self._kind(number, page)
            if kind not in (leaf, inner):
                continue  # damaged: unclaimed, so that it may still be looked at
            self.claimed[number] = 1
            if kind == inner:
                start = 100 if number == 1 else 0
                children = [struct.unpack_from(">I", page, start + 8)[0]]
                for at in self._cells(number, page):
                    children.append(struct.unpack_from(">I", page, at)[0])
                waiting += reversed(children)
            yield from self.rows_of(number, page)

    def claim_free_pages(self) -> bool:
        """Pages that hold nothing any more are no orphans; False when the list is damaged."""
        head = self.page(1)[:100]
        trunk, total = struct.unpack_from(">2I", head, 32) if len(head) == 100 else (0, 0)
        seen = 0
        while 0 < trunk <= self.count and not self.claimed[trunk]:
            page = self.page(trunk)
            if len(page) < self.size:
                break
            following, leaves = struct.unpack_from(">2I", page, 0)
            if leaves > self.size // 4 - 2:
                break
            self.claimed[trunk] = 1
            seen += 1 + leaves
            for leaf in struct.unpack_from(f">{leaves}I", page, 8):
                if 0 < leaf <= self.count:
                    self.claimed[leaf] = 1
            trunk = following
        return bool(seen == total)

    def orphans(self) -> Iterator[tuple[int, Row]]:
        """(kind of page, row) of each page with rows that nothing leads to."""
        for number in range(1, self.count + 1):
            if not self.claimed[number]:
                page = self.page(number)
                kind = self._kind(number, page)
                if kind in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
                    self.claimed[number] = 1
                    for row in self.rows_of(number, page):
                        yield kind, row

    def _kind(self, number: int, page: bytes) -> int:
        start = 100 if number == 1 else 0
        return page[start] if len(page) > start + 12 and page[start] in _KINDS else 0

    def _cells(self, number: int, page: bytes) -> list[int]:
        start = 100 if number == 1 else 0
        first = start + _KINDS[page[start]]
        (cells,) = struct.unpack_from(">H", page, start + 3)
        cells = min(cells, (len(page) - first) // 2)
        offsets = struct.unpack_from(f">{cells}H", page, first)
        return [at for at in offsets if first <= at <= len(page) - 4]

    def rows_of(self, number: int, page: bytes) -> Iterator[Row]:
        """The rows of one page; a cell that makes no sense is passed over."""
        kind = self._kind(number, page)
        if kind == TABLE_INNER:
            return
        for at in self._cells(number, page):
            try:
                row = self._row(number, page, kind, at + 4 if kind == INDEX_INNER else at)
            except (ValueError, IndexError, struct.error):
                continue
            yield row

    # Rows

    def _row(self, number: int, page: bytes, kind: int, at: int) -> Row:
        total, at = _varint(page, at)
        rowid = None
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
            rowid -= (rowid >> 63) << 64
        if not 0 < total <= MOST_PAYLOAD:
            raise ValueError("no payload of ours")
        local = self._local(total, kind)
        payload, pages = page[at : at + local], list[int]()
        if local < total:
            (following,) = struct.unpack_from(">I", page, at + local)
            payload, pages = self._overflow(payload, following, total)
        whole = len(payload) == total
        return Row(number, rowid, _values(payload, total), whole, tuple(pages))

    def _local(self, total: int, kind: int) -> int:
        """Octets of a payload that lie on its own page."""
        most = self.size - 35 if kind == TABLE_LEAF else (self.size - 12) * 64 // 255 - 23
        if total <= most:
            return total
        least = (self.size - 12) * 32 // 255 - 23
        some = least + (total - least) % (self.size - 4)
        return some if some <= most else least

    def _overflow(self, begin: bytes, following: int, total: int) -> tuple[bytes, list[int]]:
        parts, pages, left = [begin], list[int](), total - len(begin)
        seen = set[int]()
        while left > 0 and 0 < following <= self.count and following not in seen:
            page = self.page(following)
            if len(page) < min(self.size, left + 4):
                break
            seen.add(following)
            pages.append(following)
            self.claimed[following] = 1
            part = page[4 : 4 + left]
            parts.append(part)
            left -= len(part)
            (following,) = struct.unpack_from(">I", page, 0)
        return b"".join(parts), pages


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        octet = octets[at + count]
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            return value, at + count + 1
    return value << 8 | octets[at + 8], at + 9


def _values(payload: bytes, total: int) -> list[Value]:
    """The columns of a record; where its octets end early, those that are there."""
    head, at = _varint(payload, 0)
    if not at <= head <= total:
        raise ValueError("no record")
    kinds = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != head or head + sum(map(_octets_of, kinds)) != total:
        raise ValueError("no record")
    values: list[Value] = []
    for kind in kinds:
        size = _octets_of(kind)
        octets = payload[at : at + size]
        at += size
        if len(octets) < size and kind < 12:
            break
        if kind == 0:
            values.append(None)
        elif kind == 7:
            values.append(struct.unpack(">d", octets)[0])
        elif kind < 7:
            values.append(int.from_bytes(octets, "big", signed=True))
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind % 2:
            values.append(_text(octets))
        else:
            values.append(octets)
        if len(octets) < size:
            break
    return values


def _text(octets: bytes) -> str | bytes:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets


def _octets_of(kind: int) -> int:
    if kind < 7:
        return _SIZES[kind]
    if kind in (10, 11):
        raise ValueError("no kind of column")
    return {7: 8, 8: 0, 9: 0}.get(kind, (kind - 12) // 2)


def _checksum(octets: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(octets) // 4}I", octets)
    for at in range(0, len(words), 2):
        one = (one + words[at] + two) & 0xFFFFFFFF
        two = (two + words[at + 1] + one) & 0xFFFFFFFF
    return one, two
