"""Back to the databases of before an upgrade. What came since is kept, and told.

The newer databases stay under `kept/rollback-TIME`, and each mail that came since lies there as
a file that any program can read: the bodies of large ones would else go with the next sweep.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from attrs import Factory, define

from mailnode.durable import flush, own_as
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path
from mailnode.store.exchange import (
    PIECE_OCTETS,
    copy_file,
    keep,
    make_kept_folder,
    part_of,
    put_in_place,
)
from mailnode.store.guests import has_guests
from mailnode.store.leases import has_queue
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.removal import HELD_BY_NOTHING, IN_NO_FOLDER
from mailnode.store.sign_in import take_sign_ins_along
from mailnode.store.sqlite import connect, raise_sequences
from mailnode.store.upgrade import Copy, copies

MAILS = "mails"
QUEUED = "queued"
ONE_UPGRADE_S = 3600.0  # a start of a new version brings one database after the other to it


@define
class RolledBack:
    """What was done with one database.

    Attributes:
        copy: what stands in its place now.
        version_before: of the newer schema.
        kept: where the newer one lies.
        mails: files of mails that came since, one a copy.
        queued: files of mails that came since, for recipients elsewhere who did not get them.
        unreadable: mails that came since and whose octets can't be read; they are in `kept`.
        deleted_since: mails that were deleted since and are back; large ones whose blob went with
            them are not.
        accounts: rows of users.db that were made since, and are in it.
        lost_accounts: rows that were made since and could not be taken along.
        back_disabled: accounts that were deleted since and are back, but let nobody in.
    """

    copy: Copy
    version_before: int
    kept: Path
    mails: list[Path] = Factory(list)
    queued: list[Path] = Factory(list)
    unreadable: list[str] = Factory(list)
    deleted_since: int = 0
    accounts: list[str] = Factory(list)
    lost_accounts: list[str] = Factory(list)
    back_disabled: list[str] = Factory(list)


def newest_copies(paths: Iterable[Path], kept: Path) -> dict[Path, Copy]:
    """What the newest upgrade began with: of each of these databases that it changed, the copy.

    One that it left as it was is left so: an older copy would take back more than that upgrade.
    """
    found = {path: copy for path in paths if (copy := _newest_copy(path, kept))}
    newest = max((_made_at(copy) for copy in found.values()), default=0.0)
    return {path: copy for path, copy in found.items() if newest - _made_at(copy) <= ONE_UPGRADE_S}


def _made_at(copy: Copy) -> float:
    made = datetime.strptime(copy.stamp, "%Y%m%dT%H%M%SZ")
    return made.replace(tzinfo=UTC).timestamp()


def _newest_copy(path: Path, kept: Path) -> Copy | None:
    """The newest copy of an older schema than it has."""
    if not path.exists():
        return None
    with closing(connect(path, read_only=True)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    found = [each for each in copies(kept) if each.database == path.name and each.version < version]
    return found[-1] if found else None


def roll_back(path: Path, copy: Copy, data: Path, aside: Path) -> RolledBack:
    """The copy takes the place of `path`, whole and flushed, and nothing that came since is lost.

    The node must not run.

    Args:
        aside: a folder to keep the newer database and the mails in.

    Raises:
        sqlite3.Error, OSError: one can't be read or written; the databases are as they were.
    """
    make_kept_folder(aside)
    part = part_of(path)
    copy_file(copy.path, part)
    own_as(part, path)
    with closing(connect(path, read_only=True)) as newer, closing(connect(part)) as older:
        (version,) = newer.execute("PRAGMA user_version").fetchone()
        done = RolledBack(copy, version, aside / path.name)
        if path.name == MAIL_DATABASE:
            _export_mails(newer, older, data, aside / MAILS, done)
            _export_queue(newer, older, data, aside / QUEUED, done)
            _send_nothing_again(newer, older)
            done.deleted_since -= _leave_out_bodiless(newer, older, data)
            _give_no_uid_again(newer, older)
            _end_what_ended(newer, older)
        else:
            _take_accounts_along(newer, older, done)
    keep(path, aside)
    put_in_place(part, path)
    return done


_COPIES = """
    SELECT message.mail_id, message.sender, message.prefix, message.blob_key, message.body,
        delivery.recipient, delivery.folder_id, delivery.uid
    FROM delivery JOIN message ON message.id = delivery.message_id WHERE message.mail_id = ?
"""


def _export_mails(
    newer: sqlite3.Connection, older: sqlite3.Connection, data: Path, folder: Path, done: RolledBack
) -> None:
    """Each copy of a mail that the older database hasn't is a file, as it would be served."""
    before = {
        mail_id
        for (mail_id,) in older.execute(f"SELECT mail_id FROM message WHERE NOT ({IN_NO_FOLDER})")
    }
    there = 0
    for (mail_id,) in newer.execute("SELECT mail_id FROM message").fetchall():
        if mail_id in before:
            there += 1
            continue
        for _, sender, prefix, blob_key, body, recipient, folder_id, uid in newer.execute(
            _COPIES, (mail_id,)
        ):
            target = folder / f"{mail_id}-{folder_id}-{uid}.eml"
            octets = body if blob_key is None else blob_path(data, blob_key)
            if _write(target, served_head(sender, recipient, prefix), octets):
                done.mails.append(target)
            else:
                done.unreadable.append(mail_id)
    if done.mails:
        flush(folder)
    done.deleted_since = len(before) - there


def _write(target: Path, head: bytes, body: bytes | Path) -> bool:
    """Whether a mail is a file now: the body's own is there."""
    make_kept_folder(target.parent)
    try:
        with target.open("wb") as file:
            file.write(head)
            if isinstance(body, bytes):
                file.write(body)
            else:
                with body.open("rb") as blob:
                    shutil.copyfileobj(blob, file, PIECE_OCTETS)
    except FileNotFoundError:
        target.unlink()
        return False
    target.chmod(0o600)
    own_as(target, target.parent)
    flush(target)
    return True


_QUEUED = """
    SELECT queue.id, queue.mail_id, queue.sender, queue.recipient, prefix, blob_key, body
    FROM queue JOIN message ON message.id = queue.message_id WHERE queue.id >= ? ORDER BY queue.id
"""


def _export_queue(
    newer: sqlite3.Connection, older: sqlite3.Connection, data: Path, folder: Path, done: RolledBack
) -> None:
    """What the older database can't send, for it came since, is a file for each recipient."""
    if not has_queue(newer):
        return
    following = 0
    if has_queue(older):
        (following,) = older.execute(
            "SELECT coalesce((SELECT next FROM counter WHERE name = 'queue'), 0)"
        ).fetchone()
    for queue_id, mail_id, sender, recipient, prefix, blob_key, body in newer.execute(
        _QUEUED, (following,)
    ):
        target = folder / f"{mail_id}-{queue_id}.eml"
        octets = body if blob_key is None else blob_path(data, blob_key)
        # Nobody was delivered to: a field of its own says for whom it was.
        head = f"Return-Path: <{sender}>\r\nX-Mailnode-Queued-For: {recipient}\r\n".encode()
        if _write(target, head + prefix, octets):
            done.queued.append(target)
        else:
            done.unreadable.append(mail_id)
    if done.queued:
        flush(folder)


def _send_nothing_again(newer: sqlite3.Connection, older: sqlite3.Connection) -> None:
    """Recipients who got their mail since are out of the older queue; who is held stays held."""
    if not has_queue(older):
        return
    held = newer.execute("SELECT id FROM queue WHERE state = 'held'").fetchall()
    left = [(queue_id,) for (queue_id,) in newer.execute("SELECT id FROM queue")]
    older.execute("BEGIN IMMEDIATE")
    older.execute("CREATE TEMP TABLE left_in_queue (id INTEGER PRIMARY KEY)")
    older.executemany("INSERT INTO left_in_queue VALUES (?)", left)
    gone = older.execute(
        "SELECT DISTINCT message_id FROM queue WHERE id NOT IN (SELECT id FROM left_in_queue)"
    ).fetchall()
    older.execute("DELETE FROM queue WHERE id NOT IN (SELECT id FROM left_in_queue)")
    older.executemany(
        "UPDATE queue SET state = 'held', leased_by = NULL, leased_until = NULL WHERE id = ?", held
    )
    older.executemany(f"DELETE FROM message WHERE id = ? AND {HELD_BY_NOTHING}", gone)
    older.executemany(
        "UPDATE counter SET next = max(next, ?) WHERE name = 'queue'",
        newer.execute("SELECT next FROM counter WHERE name = 'queue'").fetchall(),
    )
    older.execute("COMMIT")


def _leave_out_bodiless(newer: sqlite3.Connection, older: sqlite3.Connection, data: Path) -> int:
    """Mails that were deleted since, and their blobs with them, stay deleted; how many.

    In a maildrop they would be mails that nobody can read.
    """
    there = {mail_id for (mail_id,) in newer.execute("SELECT mail_id FROM message")}
    large = older.execute("SELECT id, mail_id, blob_key FROM message WHERE blob_key IS NOT NULL")
    gone = [
        (message_id,)
        for message_id, mail_id, blob_key in large.fetchall()
        if mail_id not in there and not blob_path(data, blob_key).exists()
    ]
    older.execute("BEGIN IMMEDIATE")
    for (message_id,) in gone:
        older.execute(_UNCOUNT, {"message": message_id})
    older.executemany("DELETE FROM delivery WHERE message_id = ?", gone)
    older.executemany("DELETE FROM message WHERE id = ?", gone)
    older.execute("COMMIT")
    return len(gone)


_UNCOUNT = """
    UPDATE folder SET modseq = modseq + 1, (octets, mails) = (
        SELECT folder.octets - sum(size_octets), folder.mails - count(*) FROM delivery
        WHERE folder_id = folder.id AND message_id = :message)
    WHERE id IN (SELECT folder_id FROM delivery WHERE message_id = :message)
"""


def _give_no_uid_again(newer: sqlite3.Connection, older: sqlite3.Connection) -> None:
    """A uid or another number that was told since names nothing else."""
    rows = newer.execute("SELECT uid_next, id FROM folder").fetchall()
    older.execute("BEGIN IMMEDIATE")
    older.executemany("UPDATE folder SET uid_next = max(uid_next, ?) WHERE id = ?", rows)
    raise_sequences(
        older,
        newer.execute(
            "SELECT name, seq FROM sqlite_sequence"
            " WHERE name IN ('folder', 'token', 'draft', 'upload')"
        ).fetchall(),
    )
    older.execute("COMMIT")


def _end_what_ended(newer: sqlite3.Connection, older: sqlite3.Connection) -> None:
    """Web sessions end, and a token that was revoked since stays so."""
    if not has_guests(older):
        return
    left = newer.execute("SELECT key_hash FROM token").fetchall()
    older.execute("BEGIN IMMEDIATE")
    older.execute("DELETE FROM web_session")
    older.execute("CREATE TEMP TABLE left_of_tokens (key_hash BLOB PRIMARY KEY)")
    older.executemany("INSERT INTO left_of_tokens VALUES (?)", left)
    older.execute("DELETE FROM token WHERE key_hash NOT IN (SELECT key_hash FROM left_of_tokens)")
    older.execute("COMMIT")


def _take_accounts_along(
    newer: sqlite3.Connection, older: sqlite3.Connection, done: RolledBack
) -> None:
    """What was made since stands in the older file, too, or the next sweep would drop its mail."""
    older.execute("BEGIN IMMEDIATE")
    _let_nobody_in_again(newer, older, done)
    known_to_older = {name for (name,) in older.execute("SELECT name FROM sqlite_schema")}
    for table in ("domain", "account", "alias", "route", "send_as", "dkim_key"):
        if table not in known_to_older:
            continue
        known = {name for _, name, *_ in newer.execute(f"PRAGMA table_info({table})")}
        columns = [
            name for _, name, *_ in older.execute(f"PRAGMA table_info({table})") if name in known
        ]
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        for row in newer.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY id"):
            values = dict(zip(columns, row, strict=True))
            if older.execute(f"SELECT 1 FROM {table} WHERE id = ?", (values["id"],)).fetchone():
                continue
            name = _name_of(values)
            try:
                older.execute(insert, row)
            except sqlite3.IntegrityError:
                done.lost_accounts.append(f"{table} {name}")
            else:
                done.accounts.append(f"{table} {name}")
    take_sign_ins_along(newer, older)
    if "setting" in known_to_older:  # mail that may not leave any more stays
        rows = newer.execute("SELECT name, value FROM setting").fetchall()
        older.execute("DELETE FROM setting")
        older.executemany("INSERT INTO setting (name, value) VALUES (?, ?)", rows)
    older.execute("COMMIT")


def _name_of(values: dict[str, object]) -> str:
    """What people call a row."""
    return str(
        next(values[each] for each in ("name", "key", "pattern", "selector") if each in values)
    )


# What says who an account's owner is and whether they may come in; the first is looked at, too.
_MAY = (
    "changed_at",
    "password_hash",
    "disabled",
    "demo",
    "admin",
    "sign_in_changed_at",
    "password_changed_at",
)


def _let_nobody_in_again(
    newer: sqlite3.Connection, older: sqlite3.Connection, done: RolledBack
) -> None:
    """A password that was changed stays changed, and whoever was shut out stays out.

    An upgrade that did harm leaves `changed_at` alone: what it did is undone.
    """
    known = {name for _, name, *_ in older.execute("PRAGMA table_info(account)")}
    may = [name for name in _MAY if name in known]
    columns, settings = ", ".join(may), ", ".join(f"{name} = ?" for name in may)
    for account_id, key, changed_at in older.execute(
        "SELECT id, key, changed_at FROM account"
    ).fetchall():
        row = newer.execute(f"SELECT {columns} FROM account WHERE id = ?", (account_id,)).fetchone()
        if row is None:
            older.execute("UPDATE account SET disabled = 1 WHERE id = ?", (account_id,))
            done.back_disabled.append(key)
        elif row[0] != changed_at:
            older.execute(f"UPDATE account SET {settings} WHERE id = ?", (*row, account_id))
