"""That a folder is there, and what it holds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from attrs import frozen

from mailnode.store.sqlite import execute_rows


@frozen
class FolderUse:
    """What a folder holds after a commit."""

    folder_id: int
    account_id: int
    octets: int
    mails: int


def make_folders(connection: sqlite3.Connection, account_id: int, names: Sequence[str]) -> None:
    """They are there; one that was is left as it is."""
    values: list[object] = []
    for name in names:
        values += (account_id, name, int(time.time()))
    execute_rows(
        connection,
        "INSERT INTO folder (account_id, name, uidvalidity) VALUES {rows}"
        " ON CONFLICT (account_id, name) DO NOTHING",
        3,
        values,
    )
