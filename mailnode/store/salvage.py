"""Every row that can be read of a damaged database, put into a new one; its indexes are made anew.

Rows come from their tables' trees first. Pages that no tree leads to any more, for what led there
is damaged, are told by the shape of their rows. What indexes said is kept in temporary tables
`hint_INDEX` (columns a, b, c), for rows whose own page is gone.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Sequence

from attrs import define, field, frozen

from mailnode.store.pages import TABLE_LEAF, Pages, Row, Value

HINTS = {
    "sqlite_autoindex_message_1": ("mail_id", "id"),
    "message_blob": ("blob_key", "id"),
    "delivery_message": ("message_id", "folder_id", "uid"),
    "sqlite_autoindex_folder_1": ("account_id", "name", "id"),
    "sqlite_autoindex_account_1": ("key", "id"),
    "sqlite_autoindex_alias_1": ("key", "target", "id"),
}
LEAST_MESSAGE_COLUMNS = 11  # up to blob_key: with these a mail is worth something
_BLOB_KEY = re.compile(r"[0-9a-f]{32}")
_TYPES: dict[str, tuple[type, ...]] = {
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes,),
}


@frozen
class Table:
    """A table as its rows are stored.

    Attributes:
        columns: (name, declared type, may be NULL) in the order of storage.
        rowid_at: the column that is the rowid; -1 for a table without.
    """

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    rowid_at: int

    def values(self, row: Row) -> list[Value] | None:
        """The row's values as they are inserted; None when it is no row of this table."""
        values = list(row.values)
        if (row.rowid is None) != (self.rowid_at < 0):
            return None
        if not row.whole:
            if self.name != "message" or len(values) < LEAST_MESSAGE_COLUMNS:
                return None
            if len(values) < len(self.columns) and values[10] is None:
                values += [b""] * (len(self.columns) - len(values))
        if len(values) != len(self.columns):
            return None
        if row.rowid is not None:
            if values[self.rowid_at] is not None:
                return None
            values[self.rowid_at] = row.rowid
        for at, (_, declared, optional) in enumerate(self.columns):
            value = values[at]
            if isinstance(value, str) and declared == "BLOB":  # they differ in one bit
                value = values[at] = value.encode()
            elif isinstance(value, bytes) and declared == "TEXT":
                value = values[at] = value.decode("utf-8", "replace")
            if value is None:
                if not optional:
                    return None
            elif not isinstance(value, _TYPES[declared]):
                return None
        if self.name == "counter" and values[0] not in ("message", "queue"):
            return None
        return values


@define
class Salvaged:
    """What was read.

    Attributes:
        rows: of each table.
        sequences: the highest id that each table ever gave, where that could be read.
    """

    rows: Counter[str] = field(factory=Counter)
    sequences: dict[str, int] = field(factory=dict)


def salvage(pages: Pages, new: sqlite3.Connection) -> Salvaged:
    """Copy what can be read into `new`, which has the schema and no rows, in a transaction."""
    tables = _tables(new)
    for name, columns in HINTS.items():
        names = "a, b, c" if len(columns) == 3 else "a, b"
        new.execute(f"CREATE TEMP TABLE hint_{name} ({names})")
    done = Salvaged()
    roots: dict[str, int] = {}
    for row in pages.tree(1, index=False):
        if len(row.values) == 5 and row.whole and isinstance(row.values[3], int):
            roots[str(row.values[1])] = row.values[3]
    for name, table in tables.items():
        for row in pages.tree(roots.get(name, 0), index=table.rowid_at < 0):
            _insert(new, table, row, done)
    for row in pages.tree(roots.get("sqlite_sequence", 0), index=False):
        _sequence(row.values, done)
    for name in HINTS:
        for row in pages.tree(roots.get(name, 0), index=True):
            _hint(new, name, row.values)
    for name, root in roots.items():  # the other indexes: their pages are no orphans
        if name not in HINTS and name not in tables:
            for _ in pages.tree(root, index=True):
                pass
    pages.claim_free_pages()
    for kind, row in pages.orphans():
        _adopt(new, tables, kind, row, done)
    return done


def _tables(new: sqlite3.Connection) -> dict[str, Table]:
    found = {}
    rows = new.execute("PRAGMA main.table_list").fetchall()
    for _, name, kind, _, without_rowid, _ in rows:
        if kind != "table" or name.startswith("sqlite_"):
            continue
        columns, keys, rowid_at = [], {}, -1
        for at, column, declared, required, _, key in new.execute(f"PRAGMA table_info({name})"):
            if key and not without_rowid:
                rowid_at = at
            keys[column] = key
            optional = not required and not (key and without_rowid)
            columns.append((column, declared.upper(), optional))
        if without_rowid:  # its key's columns are stored first
            columns.sort(key=lambda column: keys[column[0]] or 1 << 10)
        found[name] = Table(name, tuple(columns), rowid_at)
    return found


def _insert(new: sqlite3.Connection, table: Table, row: Row, done: Salvaged) -> bool:
    values = table.values(row)
    if values is None:
        return False
    names = ", ".join(column for column, _, _ in table.columns)
    marks = ", ".join("?" * len(values))
    text = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({marks})"
    try:
        inserted = new.execute(text, values).rowcount
    except (sqlite3.Error, OverflowError):  # what no statement can hold
        return False
    done.rows[table.name] += inserted
    return bool(inserted)


def _adopt(
    new: sqlite3.Connection, tables: dict[str, Table], kind: int, row: Row, done: Salvaged
) -> None:
    """A row of a page that nothing leads to goes where its shape fits."""
    for table in tables.values():
        if (table.rowid_at >= 0) == (kind == TABLE_LEAF) and _insert(new, table, row, done):
            return
    values = row.values
    if kind == TABLE_LEAF or not row.whole:
        _sequence(values, done)
        return
    shapes = tuple(type(value) for value in values)
    if shapes == (int, int, int):
        _hint(new, "delivery_message", values)
    elif shapes == (int, str, int):
        _hint(new, "sqlite_autoindex_folder_1", values)
    elif shapes == (str, int) and _BLOB_KEY.fullmatch(str(values[0])):
        _hint(new, "message_blob", values)
    elif shapes == (str, int) and "@" in str(values[0]) and "account" in tables:
        _hint(new, "sqlite_autoindex_account_1", values)


def _hint(new: sqlite3.Connection, name: str, values: Sequence[Value]) -> None:
    if len(values) == len(HINTS[name]):
        marks = ", ".join("?" * len(values))
        try:
            new.execute(f"INSERT INTO hint_{name} VALUES ({marks})", values)
        except (sqlite3.Error, OverflowError):
            return


def _sequence(values: Sequence[Value], done: Salvaged) -> None:
    match values:
        case [str(name), int(highest)]:
            done.sequences[name] = max(highest, done.sequences.get(name, 0))
