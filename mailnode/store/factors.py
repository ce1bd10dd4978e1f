"""Second factors and recovery codes, as users.db has them: what an owner set."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence

from attrs import define, field, frozen

from mailnode.errors import AccountError, AlreadyThere, NotFound
from mailnode.store.users_file import UsersFile, one

KINDS = ("totp", "mail", "command")
MOST_FACTORS = 10  # of an account
NAME_CHARACTERS = 80

_FACTOR = "SELECT id, account_id, kind, name, target, sealed_secret, created_at FROM factor"


@frozen
class Factor:
    """What an account shows beside its password.

    Attributes:
        id: never given to another.
        kind: one of `KINDS`.
        name: what its owner calls it.
        target: where a code is sent: an address, a number; "" for totp.
        sealed_secret: of totp; else b"".
        created_at: UTC epoch seconds.
    """

    id: int
    account_id: int
    kind: str
    name: str
    target: str
    sealed_secret: bytes = field(repr=False)
    created_at: float


@frozen
class CodesLeft:
    """Recovery codes of an account: how many there are, and how many of them count still."""

    left: int
    of: int


@define(eq=False)
class FactorRows:
    """Their rows."""

    file: UsersFile

    def factors(self, account_id: int) -> list[Factor]:
        """Those of an account, oldest first."""
        with self.file.look() as sql:
            return _factors(sql, account_id)

    def add(
        self, account_id: int, kind: str, name: str, target: str, sealed_secret: bytes = b""
    ) -> Factor:
        """One more.

        Raises:
            AccountError: it has no name, or there are too many.
            AlreadyThere: the account has one of that name.
            NotFound: there is no such account any more.
        """
        name = " ".join(name.split())
        if not name or len(name) > NAME_CHARACTERS or not name.isprintable():
            raise AccountError(f"a second factor needs a name of 1 to {NAME_CHARACTERS} characters")
        with self.file.change() as sql:
            if not one(sql, "SELECT 1 FROM account WHERE id = ?", account_id):
                raise NotFound("There is no such account")
            there = _factors(sql, account_id)
            if len(there) >= MOST_FACTORS:
                raise AccountError(f"an account has {MOST_FACTORS} second factors at most")
            if any(each.name == name for each in there):
                raise AlreadyThere(f"there is a second factor {name!r} already")
            sql.execute(
                "INSERT INTO factor (account_id, kind, name, target, sealed_secret, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (account_id, kind, name, target, sealed_secret, time.time()),
            )
            return _factors(sql, account_id)[-1]

    def remove(self, account_id: int, factor_ids: Sequence[int]) -> list[Factor]:
        """These are asked for no more; with the last of them the recovery codes go.

        Returns:
            Those that there were.
        """
        with self.file.change() as sql:
            gone = [each for each in _factors(sql, account_id) if each.id in factor_ids]
            sql.executemany("DELETE FROM factor WHERE id = ?", [(each.id,) for each in gone])
            if not _factors(sql, account_id):
                sql.execute("DELETE FROM recovery_code WHERE account_id = ?", (account_id,))
            return gone

    def set_recovery_codes(self, account_id: int, hashes: Sequence[bytes]) -> None:
        """These count from now on, and those of before no more."""
        now = time.time()
        with self.file.change() as sql:
            sql.execute("DELETE FROM recovery_code WHERE account_id = ?", (account_id,))
            sql.executemany(
                "INSERT INTO recovery_code (account_id, key_hash, created_at) VALUES (?, ?, ?)",
                [(account_id, each, now) for each in hashes],
            )

    def use_recovery_code(self, account_id: int, key_hash: bytes) -> bool:
        """Whether it is one that was not used before; it counts no more."""
        use = (
            "UPDATE recovery_code SET used_at = ?"
            " WHERE account_id = ? AND key_hash = ? AND used_at IS NULL"
        )
        with self.file.change() as sql:
            return sql.execute(use, (time.time(), account_id, key_hash)).rowcount > 0

    def recovery_codes(self, account_id: int) -> CodesLeft:
        with self.file.look() as sql:
            row = one(
                sql,
                "SELECT coalesce(sum(used_at IS NULL), 0), count(*) FROM recovery_code"
                " WHERE account_id = ?",
                account_id,
            )
        return CodesLeft(int(row[0]), int(row[1]))


def _factors(sql: sqlite3.Connection, account_id: int) -> list[Factor]:
    rows = sql.execute(f"{_FACTOR} WHERE account_id = ? ORDER BY id", (account_id,))
    return [Factor(*row) for row in rows]


def read_factors(sql: sqlite3.Connection) -> Mapping[int, tuple[Factor, ...]]:
    """All of them as the transaction sees it, by account."""
    found: dict[int, tuple[Factor, ...]] = {}
    for row in sql.execute(f"{_FACTOR} ORDER BY id"):
        factor = Factor(*row)
        found[factor.account_id] = (*found.get(factor.account_id, ()), factor)
    return found
