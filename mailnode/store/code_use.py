"""What the node notes of second factors by itself: each code counts once, and few are tried.

These run in the writer thread, inside the batch's transaction, so that of two who show the same
code at the same time one is let in, in whatever process they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from attrs import define, frozen

from mailnode.store.database import Database

MOST_TRIES = 10  # wrong codes of an account within TRIES_S
TRIES_S = 900.0

_USE = """
INSERT INTO factor_use (factor_id, account_id, last_step, used_at, used_from) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (factor_id) DO UPDATE SET
    last_step = excluded.last_step, used_at = excluded.used_at, used_from = excluded.used_from
    WHERE factor_use.last_step < excluded.last_step
"""

_TRY = """
INSERT INTO code_try (account_id, tries, since) VALUES (?1, 1, ?2)
ON CONFLICT (account_id) DO UPDATE SET
    tries = CASE WHEN since + ?3 <= ?2 OR since > ?2 THEN 1 ELSE tries + 1 END,
    since = CASE WHEN since + ?3 <= ?2 OR since > ?2 THEN ?2 ELSE since END
    RETURNING tries
"""


@frozen
class FactorUse:
    """When and from where a factor was last used.

    Attributes:
        at: UTC epoch seconds.
    """

    at: float
    client: str


def take_step(connection: sqlite3.Connection, values: tuple[int, int, int, float, str]) -> bool:
    """Whether no code of this step (the third value) or of a later one was taken of its factor."""
    return connection.execute(_USE, values).rowcount > 0


@define(eq=False)
class CodeUse:
    """What is noted, in mail.db.

    Args:
        now: UTC epoch seconds.
    """

    _database: Database
    _now: Callable[[], float]

    async def take_step(self, factor_id: int, account_id: int, step: int, client: str) -> bool:
        """Whether a code of this half minute, or of a later one, was never taken before."""
        values = (factor_id, account_id, step, self._now(), client)
        return await self._database.transact(
            "take code", lambda connection: take_step(connection, values)
        )

    async def count_try(self, account_id: int) -> bool:
        """Whether one more code may be tried; it is counted before it is looked at."""
        values = (account_id, self._now(), TRIES_S)

        def count(connection: sqlite3.Connection) -> bool:
            (tries,) = connection.execute(_TRY, values).fetchone()
            return int(tries) <= MOST_TRIES

        return await self._database.transact("count try", count)

    async def forget_tries(self, account_id: int) -> None:
        """A right one came."""
        await self._database.transact(
            "forget tries",
            lambda connection: connection.execute(
                "DELETE FROM code_try WHERE account_id = ?", (account_id,)
            ).close(),
        )

    async def last_uses(self, account_id: int) -> dict[int, FactorUse]:
        """Of an account's factors, by their ids."""
        query = "SELECT factor_id, used_at, used_from FROM factor_use WHERE account_id = ?"
        rows = await self._database.read(
            lambda connection: connection.execute(query, (account_id,)).fetchall()
        )
        return {factor_id: FactorUse(at, client) for factor_id, at, client in rows}
