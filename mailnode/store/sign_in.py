"""What users.db keeps of sign-ins beside the hash: SCRAM's keys, and passwords of before.

A password comes as a `StoredPassword`, or as a hash alone: another system's, or "", which lets
nobody in. Of such there are no keys until its owner has signed in with it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from mailnode.store.people import Account
from mailnode.store.sqlite import raise_sequences
from mailnode.store.users_file import UsersFile, one

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword

TABLES = ("scram_key", "former_password", "factor", "recovery_code", "domain_admin")
MOST_FORMER = 5  # passwords of before that are kept of an account

_PUT_KEYS = """
INSERT INTO scram_key (account_id, salt, iterations, keys) VALUES (?, ?, ?, ?)
ON CONFLICT (account_id) DO UPDATE SET
    salt = excluded.salt, iterations = excluded.iterations, keys = excluded.keys
"""

# The keys are those that stand there while the password is replaced; a demo account's are open, and
# its password is published: nobody asks whether it was that.
_REMEMBER_FORMER = """
INSERT INTO former_password (account_id, password_hash, replaced_at, salt, iterations, keys)
SELECT account.id, account.password_hash, ?, scram.salt, scram.iterations, scram.keys
  FROM account LEFT JOIN scram_key AS scram ON scram.account_id = account.id AND NOT account.demo
 WHERE account.id = ?
"""

_FORMER_KEYS = """
SELECT salt, iterations, keys FROM former_password
 WHERE account_id = ? AND keys IS NOT NULL ORDER BY id DESC
"""

_FORGET_FORMER = """
DELETE FROM former_password WHERE account_id = ? AND id NOT IN
    (SELECT id FROM former_password WHERE account_id = ? ORDER BY id DESC LIMIT ?)
"""

_RENEW = """
UPDATE account SET password_hash = ?, changed_at = ?
 WHERE id = ? AND password_hash = ? AND password_changed_at = ?
"""


@frozen
class KeptKeys:
    """SCRAM's keys of an account.

    Attributes:
        keys: sealed about the account (`cred.stored`); of a demo account as they are.
    """

    salt: bytes
    iterations: int
    keys: bytes = field(repr=False)


@frozen
class Renewal:
    """The same password in a better form.

    Attributes:
        was: the account as it was when its password was verified.
    """

    was: Account
    password: StoredPassword


@define(eq=False)
class SignInRows:
    """What is kept of sign-ins, in users.db."""

    file: UsersFile

    def former_passwords(self, account_id: int) -> list[str]:
        """Hashes of the passwords that it had before the one it has, the latest first."""
        query = "SELECT password_hash FROM former_password WHERE account_id = ? ORDER BY id DESC"
        with self.file.look() as sql:
            return [str(each) for (each,) in sql.execute(query, (account_id,))]

    def former_keys(self, account_id: int) -> list[KeptKeys]:
        """SCRAM's keys of those passwords, where they are known, the latest first."""
        with self.file.look() as sql:
            return [KeptKeys(*row) for row in sql.execute(_FORMER_KEYS, (account_id,))]

    def renew(self, renewals: Sequence[Renewal]) -> None:
        """Their owners notice nothing: who is signed in stays so.

        An account whose password was changed meanwhile is left as it is.
        """
        now = time.time()
        with self.file.change() as sql:
            for each in renewals:
                was, password = each.was, each.password
                known = was.id, was.password_hash, was.password_changed_at
                if sql.execute(_RENEW, (password.password_hash, now, *known)).rowcount:
                    keep_keys(sql, was.id, password, is_published=was.demo)


def keep_keys(
    sql: sqlite3.Connection, account_id: int, password: StoredPassword | str, *, is_published: bool
) -> None:
    """Its keys are those of this password; none, where there are none of it."""
    scram = None if isinstance(password, str) else password.scram
    if isinstance(password, str) or scram is None:
        sql.execute("DELETE FROM scram_key WHERE account_id = ?", (account_id,))
        return
    keys = password.kept_keys(account_id, is_published=is_published)
    sql.execute(_PUT_KEYS, (account_id, scram.salt, scram.iterations, keys))


def remember_former(sql: sqlite3.Connection, account: Account, now: float) -> None:
    """The password that it has is one of before from now on, and so are the keys that it has."""
    if account.password_hash:
        sql.execute(_REMEMBER_FORMER, (now, account.id))
    sql.execute(_FORGET_FORMER, (account.id, account.id, MOST_FORMER))


def hash_of(password: StoredPassword | str) -> str:
    return password if isinstance(password, str) else password.password_hash


def read_keys(sql: sqlite3.Connection) -> dict[int, KeptKeys]:
    """All of them as the transaction sees it, by account."""
    rows = sql.execute("SELECT account_id, salt, iterations, keys FROM scram_key")
    return {row[0]: KeptKeys(*row[1:]) for row in rows}


def forget_what_may_be_old(sql: sqlite3.Connection) -> list[tuple[str, int]]:
    """Of a file that was damaged: a row that was read from a free page may be one that was revoked.

    Second factors stay: one too many shuts out, one too few lets in. Passwords of before stay with
    their keys, which let nobody in.

    Returns:
        (table, how many rows it had), of those that had any.
    """
    emptied = []
    for table in ("scram_key", "recovery_code", "domain_admin"):
        count = sql.execute(f"DELETE FROM {table}").rowcount
        if count:
            emptied.append((table, count))
    for table in ("former_password", "factor"):
        sql.execute(f"DELETE FROM {table} WHERE account_id NOT IN (SELECT id FROM account)")
    return emptied


def take_sign_ins_along(newer: sqlite3.Connection, older: sqlite3.Connection) -> None:
    """What is kept of the accounts of `older` is what `newer` has (`rollback`).

    Keys of a password that was changed, codes that were used and rights that were withdrawn since
    let nobody in again.
    """
    for table in TABLES:
        if not one(older, "SELECT 1 FROM sqlite_schema WHERE name = ?", table):
            continue
        columns = [name for _, name, *_ in older.execute(f"PRAGMA table_info({table})")]
        marks = ", ".join("?" * len(columns))
        rows = newer.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        older.execute(f"DELETE FROM {table}")
        older.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            [row for row in rows if _is_held(older, dict(zip(columns, row, strict=True)))],
        )
        if table == "factor":
            query = "SELECT name, seq FROM sqlite_sequence WHERE name = 'factor'"
            raise_sequences(older, newer.execute(query).fetchall())


def _is_held(sql: sqlite3.Connection, row: dict[str, object]) -> bool:
    """Whether what a row is about is there."""
    if not one(sql, "SELECT 1 FROM account WHERE id = ?", row["account_id"]):
        return False
    return "domain_id" not in row or bool(
        one(sql, "SELECT 1 FROM domain WHERE id = ?", row["domain_id"])
    )
