"""What is kept of mails for aggregate reports: rows by day, policy and what is alike, with a count.

All of it runs in a thread, for many mails at once; the command line reads with it, too. What
strangers can cause is bounded: by day, by report, and in the days that are kept.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from attrs import frozen

from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.store.sqlite import execute_rows, padded

OPEN, SENT, UNSENT = "open", "sent", "unsent"
KEPT_DAYS = 7  # today and those before
AT_ONCE = 256  # rows of a transaction: who counts meanwhile waits

Kind = tuple[str, Published, Seen]
"""A day, a policy, and what mails have in common."""


@frozen
class Bounds:
    """How much there can be.

    Attributes:
        reports, rows, octets: of a day, whatever comes; octets of what rows and policies say.
        policies: of a domain in a day; it may publish another one.
        rows_each: of a report.
    """

    reports: int = 10_000
    rows: int = 50_000
    octets: int = 16 << 20
    policies: int = 4
    rows_each: int = 5_000


@frozen
class Collected:
    """A report, sent or to be sent.

    Attributes:
        number: 0 for the first of that domain and day, 1 for one under another policy.
        rows, mails: that are in it.
        left_out: mails that are not.
        state: OPEN, SENT or UNSENT.
        settled_at: UTC epoch seconds; None while it is open.
        note: to whom, or why not.
    """

    report_id: int
    day: str
    domain: str
    record: str
    number: int
    rows: int
    mails: int
    left_out: int
    state: str
    settled_at: float | None
    note: str


def count_mails(connection: sqlite3.Connection, counted: Mapping[Kind, int], bounds: Bounds) -> int:
    """So many more of each kind; how many found no room."""
    left_out = 0
    connection.execute("BEGIN IMMEDIATE")
    by_day: dict[str, dict[Published, dict[Seen, int]]] = {}
    for (day, published, seen), mails in counted.items():
        by_day.setdefault(day, {}).setdefault(published, {})[seen] = mails
    for day, by_policy in by_day.items():
        room = _Room.of(connection, day, bounds)
        for published, rows in by_policy.items():
            left_out += room.count(published, rows)
        room.keep()
    connection.execute("COMMIT")
    return left_out


class _Room:
    """A day while mails are counted in it."""

    def __init__(
        self, connection: sqlite3.Connection, day: str, bounds: Bounds, used: tuple[int, ...]
    ) -> None:
        self.connection, self.day, self.bounds = connection, day, bounds
        self.reports, self.rows, self.octets, self.left_out = used

    @classmethod
    def of(cls, connection: sqlite3.Connection, day: str, bounds: Bounds) -> _Room:
        """A day that begins ends those that are too old."""
        made = connection.execute("INSERT INTO day (day) VALUES (?) ON CONFLICT DO NOTHING", (day,))
        if made.rowcount:
            connection.execute("DELETE FROM day WHERE day <= ?", (_too_old(day),))
        row = "SELECT reports, rows, octets, left_out FROM day WHERE day = ?"
        return cls(connection, day, bounds, connection.execute(row, (day,)).fetchone())

    def keep(self) -> None:
        self.connection.execute(
            "UPDATE day SET reports = ?, rows = ?, octets = ?, left_out = ? WHERE day = ?",
            (self.reports, self.rows, self.octets, self.left_out, self.day),
        )

    def count(self, published: Published, rows: Mapping[Seen, int]) -> int:
        """How many mails found no room."""
        found = self._report(published)
        if found is None:
            self.left_out += (mails := sum(rows.values()))
            return mails
        report_id, held = found
        facts = {_key(text := each.as_text()): (text, mails) for each, mails in rows.items()}
        known = self._known(report_id, facts)
        values: list[object] = []
        left_out = new = 0
        for key, (text, mails) in facts.items():
            if key not in known:
                if not self._has_room(held + new, text):
                    left_out += mails
                    continue
                new += 1
                self.rows += 1
                self.octets += len(text)
            values += (report_id, key, text, mails)
        execute_rows(self.connection, _COUNT, 4, values)
        self.connection.execute(
            "UPDATE report SET rows = rows + ?, left_out = left_out + ? WHERE id = ?",
            (new, left_out, report_id),
        )
        self.left_out += left_out
        return left_out

    def _has_room(self, held: int, text: str) -> bool:
        bounds = self.bounds
        return (
            held < bounds.rows_each
            and self.rows < bounds.rows
            and self.octets + len(text) <= bounds.octets
        )

    def _report(self, published: Published) -> tuple[int, int] | None:
        """(id, rows) of the report that tells it; None where none does any more.

        A domain that changes its policy too often is told of mails under one that it had before.
        """
        of_domain = self.connection.execute(
            "SELECT record, id, rows, state FROM report WHERE day = ? AND domain = ? ORDER BY id",
            (self.day, published.domain),
        ).fetchall()
        found = [each for each in of_domain if each[0] == published.record]
        if not found and len(of_domain) >= self.bounds.policies:
            found = of_domain[-1:]
        if found:
            ((_, report_id, rows, state),) = found
            return (report_id, rows) if state == OPEN else None
        octets = len(published.record)
        if self.reports >= self.bounds.reports or self.octets + octets > self.bounds.octets:
            return None
        made = self.connection.execute(
            "INSERT INTO report (day, domain, record) VALUES (?, ?, ?) RETURNING id",
            (self.day, published.domain, published.record),
        ).fetchone()
        self.reports += 1
        self.octets += octets
        return int(made[0]), 0

    def _known(self, report_id: int, keys: Iterable[bytes]) -> set[bytes]:
        marks, values = padded(list(keys))
        rows = self.connection.execute(
            f"SELECT key FROM seen WHERE report_id = ? AND key IN ({marks})", (report_id, *values)
        )
        return {key for (key,) in rows}


_COUNT = """
    INSERT INTO seen (report_id, key, facts, mails) VALUES {rows}
    ON CONFLICT (report_id, key) DO UPDATE SET mails = mails + excluded.mails
"""


def _key(facts: str) -> bytes:
    return blake2b(facts.encode(), digest_size=16).digest()


def _too_old(day: str) -> str:
    """The newest day that is not kept any more on that one."""
    return str(datetime.date.fromisoformat(day) - datetime.timedelta(days=KEPT_DAYS))


# What was collected


def read_reports(
    connection: sqlite3.Connection, *, day: str = "", domain: str = ""
) -> list[Collected]:
    """Those of a day or of all, of a domain or of all; the oldest first."""
    rows = connection.execute(_REPORTS, {"day": day, "domain": domain})
    return [Collected(*row) for row in rows]


_REPORTS = """
    SELECT id, day, domain, record,
        (SELECT count(*) FROM report AS earlier WHERE earlier.day = report.day
            AND earlier.domain = report.domain AND earlier.id < report.id),
        rows, (SELECT coalesce(sum(mails), 0) FROM seen WHERE report_id = report.id),
        left_out, state, settled_at, note
    FROM report WHERE (:day = '' OR day = :day) AND (:domain = '' OR domain = :domain)
    ORDER BY day, domain, id
"""


def read_open(connection: sqlite3.Connection, before: str) -> list[tuple[int, str, str]]:
    """(id, day, domain) of each report that waits, of the days before that one."""
    rows = connection.execute(
        "SELECT id, day, domain FROM report WHERE state = 'open' AND day < ? ORDER BY id",
        (before,),
    )
    return rows.fetchall()


def read_report(
    connection: sqlite3.Connection, report_id: int
) -> tuple[Collected, list[tuple[Seen, int]]] | None:
    """A report and what it says, with counts, the most frequent first; None where it is gone."""
    of_one = _REPORTS.replace("ORDER BY day", "AND id = :id ORDER BY day")
    row = connection.execute(of_one, {"day": "", "domain": "", "id": report_id}).fetchone()
    if row is None:
        return None
    seen = connection.execute(
        "SELECT facts, mails FROM seen WHERE report_id = ? ORDER BY mails DESC, key", (report_id,)
    )
    return Collected(*row), [(Seen.of_text(facts), mails) for facts, mails in seen]


def settle(
    connection: sqlite3.Connection, report_id: int, state: str, at: float, note: str
) -> None:
    """It is sent, or never will be."""
    connection.execute(
        "UPDATE report SET state = ?, settled_at = ?, note = ? WHERE id = ?",
        (state, at, note, report_id),
    )


def read_left_out(connection: sqlite3.Connection) -> dict[str, int]:
    """Mails for which there was no room, by day; those under a report are among them."""
    return dict(connection.execute("SELECT day, left_out FROM day WHERE left_out > 0"))
