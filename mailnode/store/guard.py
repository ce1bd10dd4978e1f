"""What is kept of those who guess, in a file of its own: var/guard.db.

It is no part of mail.db: a stranger who fails must not cost the accepts a flush. It is written a
second's worth at a time, by the one process that owns the folder, and by the command line. A power
cut may lose the last of it; whatever is wrong with it, the node goes on by what it has in memory.
"""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailnode.errors import NotFound
from mailnode.networks import BadBan, short
from mailnode.store.own_file import Kind, OwnFile
from mailnode.store.sqlite import DAMAGED, damage_error, execute_rows, reading

NAME = "guard.db"
GUARD = Kind(NAME, synchronous="NORMAL")
MOST_BANS = 10_000
MOST_FAILURES, MOST_GUESSERS = 20_000, 20_000
FAILURES_KEEP_S = 900.0
GUESSERS_KEEP_S = 7 * 86400.0

FailureRow = tuple[str, bytes, float, float]
GuesserRow = tuple[str, int, int, float, float, int]
KnownRow = tuple[int, bytes, float]


@frozen
class Ban:
    """A network from which nobody signs in.

    Attributes:
        network: in its usual form; of an address, "192.0.2.1/32".
        made_at, until: UTC epoch seconds; None until it is lifted.
        made_by: an account's address, or "command".
    """

    network: str
    made_at: float
    until: float | None
    reason: str
    made_by: str


@frozen
class Block:
    """An address that guessed too often.

    Attributes:
        account_id: 0 for all accounts.
        until: UTC epoch seconds.
        times: how often it was blocked.
    """

    address: str
    account_id: int
    until: float
    times: int


@frozen
class Kept:
    """All that the file has, for a process that begins."""

    bans: Sequence[Ban] = ()
    failures: Sequence[FailureRow] = ()
    guessers: Sequence[GuesserRow] = ()
    known: Sequence[KnownRow] = ()


@frozen
class Lifted:
    """What there was that is lifted."""

    networks: list[str] = field(factory=list)
    addresses: list[tuple[str, int]] = field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.networks or self.addresses)


def ban_detail(ban: Ban, for_s: float | None) -> dict[str, object]:
    """As the audit stream has it, beside who made it."""
    told = {"network": short(ban.network), "for_s": for_s, "reason": ban.reason or None}
    return {name: value for name, value in told.items() if value is not None}


def lifted_detail(network: str, lifted: Lifted) -> dict[str, object]:
    """The same of what was lifted there; `blocks` counts those that may guess again."""
    blocks = {"blocks": len(lifted.addresses)} if lifted.addresses else {}
    return {"network": short(network), **blocks}


@define(eq=False)
class GuardFile:
    """One thread's way to it; all of it blocks.

    Attributes:
        begun_anew: it was damaged, or is new: nothing is in it that was kept before.
    """

    data: Path
    file: OwnFile = field(init=False)
    begun_anew: bool = field(default=False, init=False)
    _version: int = field(default=-1, init=False)

    def __attrs_post_init__(self) -> None:
        self.file = OwnFile(GUARD, self.data)

    def close(self) -> None:
        self.file.close()

    @contextmanager
    def _using(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """
        Raises:
            MailError: in place of what SQLite says; a damaged file is begun anew at the next call.
        """
        try:
            connection, is_new = self.file.open()
            if is_new:
                self.begun_anew, self._version = True, -1
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except DAMAGED as error:
            self.file.mend(error)
            raise damage_error(error) from error
        except OSError as error:
            self.file.close()
            raise damage_error(error) from error

    def read(self) -> Kept:
        """All of it; a file that there is none of is made.

        Raises:
            MailError: in place of what SQLite says.
        """
        with self._using("BEGIN") as connection:
            return Kept(
                select_bans(connection),
                list(connection.execute("SELECT what, key, count, at FROM failure ORDER BY at")),
                list(connection.execute(f"SELECT {_GUESSER} FROM guesser ORDER BY began_at")),
                list(connection.execute("SELECT account_id, network, at FROM known ORDER BY at")),
            )

    def look(self) -> tuple[list[Ban], set[tuple[str, int]]] | None:
        """Bans, and who is a guesser, where another process wrote since the last look."""
        with self._using("BEGIN") as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            self._version = version
            guessers = connection.execute("SELECT address, account_id FROM guesser").fetchall()
            return select_bans(connection), set(guessers)

    def write(
        self,
        failures: Sequence[FailureRow],
        guessers: Sequence[GuesserRow],
        known: Sequence[KnownRow],
    ) -> None:
        """A batch, in one transaction."""
        with self._using() as connection:
            for text, columns, rows in (
                (_KEEP_FAILURE, 4, failures),
                (_KEEP_GUESSER, 6, guessers),
                (_KEEP_KNOWN, 3, known),
            ):
                values = [value for row in rows for value in row]
                execute_rows(connection, text, columns, values)

    def trim(self, now: float, known_s: float) -> None:
        """Nothing is kept for longer than it is of use, nor more than a bounded number of rows."""
        with self._using() as connection:
            connection.execute("DELETE FROM failure WHERE at < ?", (now - FAILURES_KEEP_S,))
            connection.execute(
                "DELETE FROM guesser WHERE max(began_at, until) < ?", (now - GUESSERS_KEEP_S,)
            )
            connection.execute("DELETE FROM known WHERE at < ?", (now - known_s,))
            connection.execute("DELETE FROM ban WHERE until < ?", (now,))
            connection.execute(
                "DELETE FROM failure WHERE (what, key) IN"
                " (SELECT what, key FROM failure ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (MOST_FAILURES,),
            )
            connection.execute(
                "DELETE FROM guesser WHERE (address, account_id) IN (SELECT address, account_id"
                " FROM guesser ORDER BY max(began_at, until) DESC LIMIT -1 OFFSET ?)",
                (MOST_GUESSERS,),
            )

    def forget(self, account_ids: Collection[int]) -> None:
        """Of accounts that are gone nothing is left."""
        with self._using() as connection:
            for account_id in account_ids:
                for table in ("known", "guesser"):
                    connection.execute(f"DELETE FROM {table} WHERE account_id = ?", (account_id,))

    def account_ids(self) -> set[int]:
        """Of whom there is anything."""
        with self._using("BEGIN") as connection:
            rows = connection.execute(
                "SELECT account_id FROM known UNION SELECT account_id FROM guesser"
            ).fetchall()
        return {account_id for (account_id,) in rows} - {0}

    def ban(self, ban: Ban) -> None:
        """From now on, or for another time than before.

        Raises:
            BadBan: there are too many.
        """
        with self._using() as connection:
            (count,) = connection.execute("SELECT count(*) FROM ban").fetchone()
            if count >= MOST_BANS:
                raise BadBan(f"there are {MOST_BANS:,} bans already: a firewall keeps out more")
            connection.execute(
                "INSERT INTO ban (network, made_at, until, reason, made_by) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (network) DO UPDATE SET made_at = excluded.made_at,"
                " until = excluded.until, reason = excluded.reason, made_by = excluded.made_by",
                (ban.network, ban.made_at, ban.until, ban.reason, ban.made_by),
            )

    def lift(self, network: str, now: float) -> Lifted:
        """No ban of this network any more, and nobody in it is blocked.

        Raises:
            NotFound: there was none.
        """
        with self._using() as connection:
            done = connection.execute("DELETE FROM ban WHERE network = ?", (network,)).rowcount
            inside = [each for each in select_blocks(connection, now) if _is_in(each, network)]
            addresses = [(each.address, each.account_id) for each in inside]
            connection.executemany(
                "DELETE FROM guesser WHERE address = ? AND account_id = ?", addresses
            )
        lifted = Lifted([network] if done else [], addresses)
        if not lifted:
            around = [short(each) for each in self._bans_around(network, now)]
            said = f"its network is: {', '.join(around)}" if around else "see: mailnode ban list"
            raise NotFound(f"{short(network)} is not banned; {said}")
        return lifted

    def _bans_around(self, network: str, now: float) -> list[str]:
        inner: Any = ipaddress.ip_network(network)
        with self._using() as connection:
            there = [each for each in select_bans(connection) if (each.until or inf) > now]
        outer = [ipaddress.ip_network(each.network) for each in there]
        return [
            str(each) for each in outer if each.version == inner.version and inner.subnet_of(each)
        ]


def _is_in(block: Block, network: str) -> bool:
    outer = ipaddress.ip_network(network)
    try:
        inner = ipaddress.ip_network(block.address)
    except ValueError:
        return False
    if inner.version != outer.version:
        return False
    # Of a single address of IPv6 its /64 is blocked.
    return inner.subnet_of(outer) or outer.subnet_of(inner)  # type: ignore[arg-type]


def select_bans(connection: sqlite3.Connection) -> list[Ban]:
    rows = connection.execute(
        "SELECT network, made_at, until, reason, made_by FROM ban ORDER BY made_at, network"
    )
    return [Ban(*row) for row in rows]


def select_blocks(connection: sqlite3.Connection, now: float) -> list[Block]:
    """Those that hold."""
    rows = connection.execute(
        "SELECT address, account_id, until, times FROM guesser WHERE until > ? ORDER BY until",
        (now,),
    )
    return [Block(*row) for row in rows]


def read_kept_out(data: Path, now: float) -> tuple[list[Ban], list[Block]]:
    """Bans and blocks that hold, for a program beside the node.

    Raises:
        MailError: in place of what SQLite says.
    """
    path = data / NAME
    if not path.exists():
        return [], []
    with reading(path) as connection:
        bans = [each for each in select_bans(connection) if each.until is None or each.until > now]
        return bans, select_blocks(connection, now)


_GUESSER = "address, account_id, guesses, began_at, until, times"
_KEEP_FAILURE = (
    "INSERT INTO failure (what, key, count, at) VALUES {rows}"
    " ON CONFLICT (what, key) DO UPDATE SET count = excluded.count, at = excluded.at"
)
_KEEP_GUESSER = (
    f"INSERT INTO guesser ({_GUESSER}) VALUES {{rows}}"
    " ON CONFLICT (address, account_id) DO UPDATE SET guesses = excluded.guesses,"
    " began_at = excluded.began_at, until = excluded.until, times = excluded.times"
)
_KEEP_KNOWN = (
    "INSERT INTO known (account_id, network, at) VALUES {rows}"
    " ON CONFLICT (account_id, network) DO UPDATE SET at = excluded.at"
)
