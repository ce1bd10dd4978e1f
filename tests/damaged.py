"""Databases with a damage of a certain kind; `tests/faults/damage.py` makes any."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def damage_schema(path: Path, table: str) -> None:
    """The database's own record of a table has octets in it that are no UTF-8."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET name = CAST(x'ce78' AS TEXT),"
        " sql = CAST(x'435245415445205441424c4520ce2028' AS TEXT) WHERE name = ?",
        (table,),
    )
    connection.commit()
    connection.close()
