"""Mends what `verify` found: databases first, then what they say of the mail.

Nothing that was there is changed: a database is copied, or made anew from the rows that can be
read, that one is mended, and when it is whole it takes the place of the damaged one, which stays
under `kept/repair-TIME`. Killed at any moment, it is either done or not begun.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.durable import flush
from mailnode.errors import BadAddress, StoreBroken, StoreFull, StoreTooNew
from mailnode.store.blobs import list_blobs
from mailnode.store.exchange import (
    KEPT,
    copy_file,
    finish_exchange,
    fresh_folder,
    keep,
    make_kept_folder,
    part_of,
    put_in_place,
)
from mailnode.store.lists import MAIL_DATABASE, wrong_types
from mailnode.store.mend import AHEAD, Mending, Told
from mailnode.store.mend_places import FILED
from mailnode.store.pages import Pages
from mailnode.store.salvage import Salvaged, salvage
from mailnode.store.sign_in import forget_what_may_be_old
from mailnode.store.sqlite import PAGE_OCTETS, connect, migrate, schema_scripts
from mailnode.store.verify import verify

SPARE_OCTETS = 16 << 20


@define
class Report:
    """What was done.

    Attributes:
        kept: the folder with the damaged databases; None when nothing was changed.
    """

    told: list[Told] = field(factory=list)
    kept: Path | None = None

    @property
    def lost(self) -> bool:
        return any(each.kind == "lost" for each in self.told)


def repair(data: Path, users: Path) -> Report:
    """All that can be read is kept. The node must not run, and the caller holds its lock.

    Raises:
        StoreTooNew: a newer version wrote it; nothing was changed.
        StoreFull: there is no room for new databases; nothing was changed.
        StoreBroken: what was made is not whole; nothing was changed.
    """
    mail, report = data / MAIL_DATABASE, Report()
    for path in (mail, users):
        finish_exchange(path)
    aside = fresh_folder(data / KEPT, "repair")
    users_damaged = users.exists() and not is_whole(users)
    if users_damaged:

        def mend_users(new: sqlite3.Connection, rebuilt: bool, salvaged: Salvaged) -> None:
            _mend_accounts(new, rebuilt, salvaged)
            for table, count in forget_what_may_be_old(new):
                salvaged.rows.pop(table, 0)
                kind, what = ENDED_SIGN_INS[table]
                report.told.append(Told(kind, "database", table, f"{count} rows: {what}"))

        _renew(users, "accounts", aside, report, mend_users)
    mail_damaged = not is_whole(mail)
    if mail_damaged or next(verify(data), None) is not None:

        def mend(new: sqlite3.Connection, rebuilt: bool, salvaged: Salvaged) -> None:
            mending = Mending(new, data, aside, rebuilt, _finder(users))
            mending.run()
            report.told += mending.told
            if rebuilt:
                _end_guests(new, salvaged, report)
                _mend_sequences(new, salvaged)
                _keep_blobs(new, data, aside, report)

        _renew(mail, "sqlite", aside, report, mend, rebuild=mail_damaged)
    if users_damaged:
        _name_owners(mail, users, report)
    return report


def is_whole(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with a database of ours."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            lines = connection.execute("PRAGMA integrity_check(1)").fetchall()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            right = next(wrong_types(connection), None) is None
            return right and version > 0 and bool(lines == [("ok",)])
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def _renew(
    path: Path,
    engine: str,
    aside: Path,
    report: Report,
    mend: Callable[[sqlite3.Connection, bool, Salvaged], None],
    *,
    rebuild: bool = True,
) -> None:
    """A mended database takes the place of one that is not as it should be."""
    _check_room(path)
    part, salvaged = part_of(path), Salvaged()
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(connect(part)) as new:
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("PRAGMA journal_mode = MEMORY")
        new.execute("PRAGMA synchronous = OFF")
        if rebuild:
            salvaged = _rebuild(path, engine, new)
        else:
            with closing(connect(path, read_only=True)) as damaged:
                damaged.backup(new)
            migrate(new, schema_scripts(engine))
        new.execute("BEGIN IMMEDIATE")
        mend(new, rebuild, salvaged)
        new.execute("COMMIT")
        faults = new.execute("PRAGMA integrity_check").fetchall()
        if faults != [("ok",)]:
            raise StoreBroken(detail=f"what was made of {path} is not whole: {faults[0][0]}")
        new.execute("PRAGMA journal_mode = DELETE")
    keep(path, aside)
    put_in_place(part, path)
    if rebuild:
        rows = ", ".join(f"{count} of {name}" for name, count in sorted(salvaged.rows.items()))
        report.told.append(Told("kept", "database", path.name, f"made anew with its rows: {rows}"))
    report.kept = aside


def _check_room(path: Path) -> None:
    octets = sum(
        Path(f"{path}{suffix}").stat().st_size
        for suffix in ("", "-wal")
        if Path(f"{path}{suffix}").exists()
    )
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize < octets + SPARE_OCTETS:
        raise StoreFull(detail=f"a new {path.name} needs {octets + SPARE_OCTETS} octets free")


def _rebuild(path: Path, engine: str, new: sqlite3.Connection) -> Salvaged:
    new.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
    scripts = schema_scripts(engine)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    pages = Pages(path)
    try:
        if max(scripts) < pages.version < 1000:  # more was never written, but by a damage
            raise StoreTooNew(detail=f"{path} has schema {pages.version}")
        version = pages.version if pages.version in scripts else max(scripts)
        migrate(new, {number: scripts[number] for number in scripts if number <= version})
        new.execute("BEGIN IMMEDIATE")
        if engine == "sqlite":
            new.execute("DELETE FROM counter")
        salvaged = salvage(pages, new)
        new.execute("COMMIT")
    finally:
        pages.close()
    migrate(new, scripts)
    return salvaged


def _end_guests(new: sqlite3.Connection, salvaged: Salvaged, report: Report) -> None:
    """Nobody is signed in: a row that was read from a free page may be one that was revoked."""
    for table in ("factor_use", "code_try"):  # a code counts for a minute
        new.execute(f"DELETE FROM {table}")
        salvaged.rows.pop(table, 0)
    for table in ("web_session", "token"):
        new.execute(f"DELETE FROM {table}")
        if salvaged.rows.pop(table, 0):
            kind, what = ENDED_GUESTS[table]
            report.told.append(Told(kind, "database", table, what))


def _mend_sequences(new: sqlite3.Connection, salvaged: Salvaged) -> None:
    """Ids are never given again; where nobody knows which were, some are skipped."""
    for table, known in (
        ("folder", "SELECT max(folder_id) FROM journal"),
        ("journal", "SELECT 0"),
        ("token", "SELECT 0"),
        ("draft", "SELECT max(draft_id) FROM upload"),
        ("upload", "SELECT 0"),
    ):
        (there,) = new.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        (told,) = new.execute(known).fetchone()
        highest = max(there, told or 0)
        found = salvaged.sequences.get(table, 0)
        _set_sequence(new, table, found if highest <= found < 1 << 62 else highest + AHEAD)


def _set_sequence(new: sqlite3.Connection, table: str, highest: int) -> None:
    new.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
    new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, highest))


def _keep_blobs(new: sqlite3.Connection, data: Path, aside: Path, report: Report) -> None:
    """Blobs that no row names any more: the sweep would delete them."""
    if not (data / "blobs").is_dir():
        return
    folder = aside / "blobs"
    for key, size, _ in list_blobs(data / "blobs"):
        if new.execute("SELECT 1 FROM message WHERE blob_key = ?", (key,)).fetchone():
            continue
        make_kept_folder(folder)
        source, target = data / "blobs" / key[:2] / key, folder / key
        try:
            os.link(source, target)
        except OSError:
            copy_file(source, target)
        report.told.append(Told("kept", "blob", str(target), f"{size} octets that no mail names"))
    if folder.exists():
        flush(folder)


ENDED_GUESTS = {
    "web_session": ("mended", "emptied: whoever was signed in on the web signs in again"),
    "token": ("lost", "emptied: programs need new ones: mailnode token add"),
}

ENDED_SIGN_INS = {
    "scram_key": ("mended", "emptied: each is made again when its owner signs in by password"),
    "recovery_code": ("lost", "emptied: their owners make new ones"),
    "domain_admin": ("lost", "emptied: whoever looks after a domain is to be named again"),
}

# users.db


def _finder(users: Path) -> Callable[[str], int | None]:
    """What finds an account's id by an address that mail was filed for."""
    keys: dict[str, int] = {}
    with suppress(sqlite3.Error), closing(connect(users, read_only=True)) as connection:
        keys = dict(connection.execute("SELECT key, id FROM account"))

    def find(address: str) -> int | None:
        try:
            parsed = parse_address(address)
        except BadAddress:
            return None
        base = parsed.with_local(parsed.local.partition("+")[0] or parsed.local)
        return keys.get(parsed.key, keys.get(base.key))

    return find


def _mend_accounts(new: sqlite3.Connection, rebuilt: bool, salvaged: Salvaged) -> None:
    """Accounts and aliases whose rows are gone come back from the indexes, without password."""
    now = time.time()
    for key, account_id in new.execute(
        "SELECT a, b FROM hint_sqlite_autoindex_account_1 WHERE b NOT IN (SELECT id FROM account)"
        " AND a NOT IN (SELECT key FROM account)"
        " AND a NOT IN (SELECT pattern FROM route)"  # whose index has the same shape
    ).fetchall():
        if isinstance(key, str) and isinstance(account_id, int) and "@" in key:
            _add_account(new, key, account_id, now)
    for key, target in new.execute(
        "SELECT a, b FROM hint_sqlite_autoindex_alias_1 WHERE NOT EXISTS"
        " (SELECT 1 FROM alias WHERE key = a AND target = b)"
    ).fetchall():
        if isinstance(key, str) and isinstance(target, str) and "@" in key:
            new.execute(
                "INSERT OR IGNORE INTO alias (domain_id, local, key, target, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (_domain(new, key, now), key.rpartition("@")[0], key, target, now),
            )
    for table in ("account", "alias"):
        for domain_id, key in new.execute(
            f"SELECT DISTINCT domain_id, key FROM {table} WHERE domain_id NOT IN"
            " (SELECT id FROM domain)"
        ).fetchall():
            name = key.rpartition("@")[2]
            if new.execute("SELECT 1 FROM domain WHERE name = ?", (name,)).fetchone():
                continue
            new.execute("INSERT INTO domain VALUES (?, ?, ?)", (domain_id, name, now))
    for table in ("domain", "account", "alias", "send_as", "factor"):
        (there,) = new.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        found = salvaged.sequences.get(table, 0)
        _set_sequence(new, table, found if there <= found < 1 << 62 else there + AHEAD)


def _domain(new: sqlite3.Connection, key: str, now: float) -> int:
    name = key.rpartition("@")[2]
    new.execute("INSERT OR IGNORE INTO domain (name, created_at) VALUES (?, ?)", (name, now))
    (found,) = new.execute("SELECT id FROM domain WHERE name = ?", (name,)).fetchone()
    return int(found)


def _add_account(new: sqlite3.Connection, key: str, account_id: int, now: float) -> None:
    new.execute(
        "INSERT OR IGNORE INTO account (id, domain_id, local, key, password_hash, created_at,"
        " changed_at, sign_in_changed_at, password_changed_at)"
        " VALUES (?, ?, ?, ?, '', ?, ?, ?, ?)",
        (account_id, _domain(new, key, now), key.rpartition("@")[0], key, now, now, now, now),
    )


def _name_owners(mail: Path, users: Path, report: Report) -> None:
    """Every owner of mail is an account again: the sweep drops the mail of those who are none."""
    with closing(connect(mail, read_only=True)) as reader, closing(connect(users)) as accounts:
        known = {key: number for number, key in accounts.execute("SELECT id, key FROM account")}
        domain = accounts.execute("SELECT name FROM domain ORDER BY id LIMIT 1").fetchone()
        for (account_id,) in reader.execute("SELECT DISTINCT account_id FROM folder").fetchall():
            if account_id in known.values():
                continue
            row = reader.execute(
                f"SELECT coalesce(mailbox, recipient) FROM journal WHERE {FILED} AND folder_id IN"
                " (SELECT id FROM folder WHERE account_id = ?) ORDER BY id DESC LIMIT 1",
                (account_id,),
            ).fetchone()
            key = row[0].casefold() if row and row[0] and "@" in row[0] else ""
            if not key or key in known:
                key = f"account-{account_id}@{domain[0] if domain else 'lost.invalid'}"
            accounts.execute("BEGIN IMMEDIATE")
            _add_account(accounts, key, account_id, time.time())
            accounts.execute("COMMIT")
        for (key,) in accounts.execute("SELECT key FROM account WHERE password_hash = ''"):
            report.told.append(
                Told("lost", "account", key, f"its password: mailnode user passwd {key}")
            )
