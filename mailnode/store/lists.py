"""What the command line reads of a store, beside a running node and without it: sums and lists.

Plain synchronous calls on read-only connections of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from mailnode.errors import MailError, StoreBroken, StoreBusy, StoreTooNew
from mailnode.store.leases import has_queue
from mailnode.store.sqlite import reading, schema_scripts

MAIL_DATABASE = "mail.db"
NO_QUEUE_YET = "mail.db is of an older version and has no queue yet: the node's next start makes it"


@frozen
class Sums:
    """How much lies in an account's folders.

    Attributes:
        octets: as they are served.
        last_at: when the newest mail came, UTC epoch seconds; None without any.
    """

    account_id: int
    mails: int = 0
    octets: int = 0
    last_at: float | None = None


@frozen
class ListedMail:
    """One mail of a list.

    Attributes:
        sender: reverse-path, "" for <>.
        size_octets: as it is served.
    """

    folder: str
    uid: int
    mail_id: str
    sender: str
    recipient: str
    subject: str
    size_octets: int
    received_at: float


_SUMS = """
SELECT folder.account_id, sum(folder.mails), sum(folder.octets),
       max((SELECT delivery.received_at FROM delivery
             WHERE delivery.folder_id = folder.id ORDER BY delivery.uid DESC LIMIT 1))
  FROM folder GROUP BY folder.account_id ORDER BY folder.account_id
"""

_MAILS = """
SELECT folder.name, delivery.uid, message.mail_id, message.sender, delivery.recipient,
       message.subject, delivery.size_octets, delivery.received_at
  FROM folder
  JOIN delivery ON delivery.folder_id = folder.id
  JOIN message ON message.id = delivery.message_id
 WHERE folder.account_id = ?
 ORDER BY delivery.received_at DESC, folder.id DESC, delivery.uid DESC
 LIMIT ?
"""


@contextmanager
def open_mail(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a mail database whose schema is ours.

    Raises:
        StoreTooNew: a newer version of mailnode wrote it.
        StoreBroken: it is damaged, or no mail database.
    """
    try:
        with reading(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > max(schema_scripts()):
                raise StoreTooNew(detail=f"{path} has schema {version}")
            yield connection
    except sqlite3.Error as error:
        raise StoreBroken(detail=f"{path}: {error}") from error


@contextmanager
def open_queue(path: Path) -> Iterator[sqlite3.Connection]:
    """As `open_mail`, of a database that has a queue.

    Raises:
        StoreBusy: a node of this version has not run on it yet.
    """
    with open_mail(path) as connection:
        if not has_queue(connection):
            raise StoreBusy(NO_QUEUE_YET)
        yield connection


def owner_of(connection: sqlite3.Connection, folder_id: int) -> int:
    """The id of the account whose folder it is; 0 for none."""
    row = connection.execute("SELECT account_id FROM folder WHERE id = ?", (folder_id,)).fetchone()
    return int(row[0]) if row else 0


def account_sums(data: Path) -> dict[int, Sums]:
    """How much each account has that ever got mail, by its id; empty without a mail database."""
    path = data / MAIL_DATABASE
    if not path.exists():
        return {}
    with open_mail(path) as connection:
        return {row[0]: Sums(*row) for row in connection.execute(_SUMS)}


def account_usage(data: Path, account_id: int) -> Sums:
    return account_sums(data).get(account_id, Sums(account_id))


def list_mails(data: Path, account_id: int, limit: int) -> list[ListedMail]:
    """The newest `limit` mails of an account, newest first; 0 for all."""
    path = data / MAIL_DATABASE
    if not path.exists():
        return []
    with open_mail(path) as connection:
        rows = connection.execute(_MAILS, (account_id, limit or -1))
        return [ListedMail(*row) for row in rows]


def quick_check(path: Path) -> Iterator[str]:
    """What PRAGMA quick_check finds wrong with a database: nothing when it is whole."""
    try:
        with reading(path) as connection:
            for (line,) in connection.execute("PRAGMA quick_check(10)").fetchall():
                if line != "ok":
                    yield line
    except MailError as error:
        yield error.detail or error.text
    except (sqlite3.Error, UnicodeDecodeError) as error:
        yield str(error)


def sqlite_version() -> str:
    return sqlite3.sqlite_version


_TYPES = {"INTEGER": "integer", "REAL": "real", "TEXT": "text", "BLOB": "blob"}


def wrong_types(connection: sqlite3.Connection) -> Iterator[str]:
    """Each column with a value of another type than it was declared with: one flipped bit does it.

    SQLite doesn't call it a fault.
    """
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    for (table,) in tables:
        for _, column, declared, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
            found = connection.execute(
                f"SELECT typeof({column}) FROM {table}"
                f" WHERE typeof({column}) NOT IN (?, 'null') LIMIT 1",
                (_TYPES.get(declared, declared),),
            ).fetchone()
            if found:
                yield f"{table}.{column} holds a value of type {found[0]}"
            if declared == "TEXT":
                try:
                    for _ in connection.execute(f"SELECT {column} FROM {table}"):
                        pass
                except sqlite3.OperationalError as error:
                    yield f"{table}.{column} holds a text that is none: {error}"
