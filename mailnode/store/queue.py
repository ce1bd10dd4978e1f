"""The queue: recipients elsewhere, leased by whoever relays to them, and settled.

A lease is committed before the attempt begins, so it is the mark of an attempt that was open when
its process ended. What came of attempts, the reports that it makes necessary and the journal
rows are one commit.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence, Set

from attrs import define, field
from twisted.internet.defer import Deferred

from mailnode.errors import StoreBroken
from mailnode.model import Blob, Envelope, Message
from mailnode.queued import (
    NO_TURNS,
    Begun,
    Claims,
    Key,
    Leased,
    QueuedMail,
    Settled,
    Waiting,
)
from mailnode.store.database import Database
from mailnode.store.enqueue import LAST_PRIORITY
from mailnode.store.jobs import WriteKind
from mailnode.store.leases import (
    AT_ONCE,
    STATES,
    TURNS,
    WAITING,
    Lease,
    SettledNote,
    Settlement,
    lease_all,
    recover,
    renew,
    settle_all,
)
from mailnode.store.messages import Messages
from mailnode.store.sqlite import DAMAGED, end_to_end, packed_rows, padded, unpack_rows

__all__ = ["Leased", "Queue", "QueuedMail", "Settled", "Waiting"]


@define(eq=False)
class Queue:
    """Recipients elsewhere, of all processes of the node.

    Attributes:
        on_queued: called on the reactor thread after a commit of this process that queued
            recipients, with the (domain, send_as) of those that wait, and those that were leased
            by that commit, as `claims` say. Those of other processes are found by
            `waiting`; the bell rings "queue" for what the command line changed.
        counts: recipients by state, as of the last `count`.
        oldest_at: when the first of those that wait or are attempted was queued, UTC epoch
            seconds; None while none is, as of the last `count`.
    """

    database: Database
    messages: Messages
    on_queued: Callable[[Set[Key], Sequence[Begun]], object] | None = None
    counts: dict[str, int] = field(factory=dict, init=False)
    oldest_at: float | None = field(default=None, init=False)
    _leases: WriteKind[Lease, list[Leased]] = field(init=False)
    _settlements: WriteKind[Settlement, set[int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.messages.on_queued = self._queued
        # They make room, all of them: what can't be settled on a full disk is sent twice.
        self._leases = WriteKind("lease", lease_all, frees=True)
        self._settlements = WriteKind("settle", settle_all, self._settled, frees=True)

    def _queued(self, destinations: Set[Key], begun: Sequence[Begun]) -> None:
        if self.on_queued is not None:
            self.on_queued(destinations, begun)

    def claim(self, claims: Claims) -> None:
        """From now on new rows are leased at once as these say."""
        self.messages.claims = claims

    def _settled(self, note: SettledNote) -> None:
        self.messages.log.committed(note.events)
        self.messages.took_part(note.accepted, note.removed)

    # Looking

    def waiting(self) -> Deferred[list[Waiting]]:
        """What waits, due or not, by destination.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(read_waiting)

    def next_due(self, domain: str, send_as: int) -> Deferred[float]:
        """When the earliest of one destination is due, infinity when none waits.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(lambda connection: read_next_due(connection, domain, send_as))

    def read(self, message_id: int) -> Deferred[QueuedMail | None]:
        """The message of a leased row; None when it is gone.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(lambda connection: read_queued_mail(connection, message_id))

    def read_ahead(
        self, message_ids: Sequence[int], most_octets: int
    ) -> Deferred[dict[int, QueuedMail]]:
        """The messages of leased rows, by id: the first one, and the next while they are small.

        One that is gone is left out, and what stands behind it.

        Args:
            most_octets: of bodies in memory, unless the first one alone is larger.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(
            lambda connection: _read_mails(connection, message_ids, most_octets)
        )

    async def count(self) -> None:
        """`counts` and `oldest_at` are what is so now.

        Raises:
            StoreBusy, StoreBroken: it stays as it was.
        """
        self.counts, self.oldest_at = await self.database.read(
            lambda connection: (count_by_state(connection), read_oldest(connection))
        )

    # Relaying

    def lease(
        self,
        domain: str,
        send_as: int,
        *,
        now: float,
        until: float,
        limit: int,
        by: str,
        after: Sequence[int] = NO_TURNS,
    ) -> Deferred[list[Leased]]:
        """Up to `limit` recipients that are due, those of high priority first.

        Of one priority each account has its turn, whoever has sent how much, and of one account's
        those that are due longest. Turns go by the accounts' ids, in each priority from the one
        behind `after` on; its last recipient is of the account that had the last turn.

        They are durably marked as attempted by `by` until `until`, and nobody else gets them.

        Errors:
            StoreBusy, StoreFull, StoreBroken: none is leased.
        """
        return self.database.submit(
            self._leases, Lease(domain, send_as, now, until, min(limit, AT_ONCE), by, tuple(after))
        )

    def renew(self, ids: Iterable[int], until: float, by: str) -> Deferred[set[int]]:
        """Leases of `by` last until `until`; the ids that are no longer its own.

        Errors:
            StoreBusy, StoreFull, StoreBroken: they end when they would have.
        """
        wanted = list(ids)
        return self.database.transact(
            "renew leases",
            lambda connection: renew(connection, wanted, until, by),
            frees=True,
        )

    def settle(
        self,
        settled: Sequence[Settled],
        reports: Sequence[tuple[Envelope, Message]] = (),
        *,
        by: str,
        at: float | None = None,
    ) -> Deferred[set[int]]:
        """What the attempts came to is durable, all of it at once.

        A message goes with the last that holds it. Reports are filed as any mail is; they are
        not when none of the recipients is leased by `by` any more, for then another tells.

        Args:
            at: when the attempts ended; now unless given.

        Returns:
            The ids that `by` no longer leased: they are left alone, and their events not kept.

        Errors:
            StoreBusy, StoreFull, StoreBroken: nothing was settled, nothing filed.
        """
        ended_at = time.time() if at is None else at
        size = sum(
            len(message.prefix) + len(message.body)
            for _, message in reports
            if isinstance(message.body, bytes)
        )
        settlement = Settlement(tuple(settled), tuple(reports), by, ended_at)
        return self.database.submit(self._settlements, settlement, size)

    async def recover(
        self, now: float, by_prefix: str | None = None, *, own: str = ""
    ) -> list[Leased]:
        """Leases that ran out are due again, each with an `Interrupted` row; which they were.

        Args:
            by_prefix: those of every `by` that begins so end, too: its process is gone. ""
                ends all, for the start of a node.
            own: whose leases stay as they are, in any case.

        Raises:
            StoreBusy, StoreFull, StoreBroken: they are as they were.
        """
        found, events = await self.database.transact(
            "recover leases",
            lambda connection: recover(connection, now, by_prefix, own),
            frees=True,
        )
        self.messages.log.committed(events)
        return found


# What runs in the threads


_WAITING = f"""
    SELECT {packed_rows("domain", "send_as", "recipients", "due_at")} FROM (
        SELECT domain, send_as, count(*) AS recipients, min(due_at) AS due_at FROM queue
        WHERE state = 'waiting' AND domain > ? GROUP BY domain, send_as
        ORDER BY domain, send_as LIMIT ?
    ) AS destinations
"""
_DESTINATIONS_AT_ONCE = 20_000


def read_waiting(connection: sqlite3.Connection) -> list[Waiting]:
    found: list[Waiting] = []
    after, limit = "", _DESTINATIONS_AT_ONCE
    while True:
        rows = unpack_rows(connection.execute(_WAITING, (after, limit)).fetchone()[0])
        if len(rows) < limit:
            return [*found, *(Waiting(*row) for row in rows)]
        last = rows[-1][0]
        whole = [row for row in rows if row[0] != last]  # of the last, more may follow
        if not whole:
            limit *= 2
            continue
        found += [Waiting(*row) for row in whole]
        after = whole[-1][0]


_NEXT_DUE = f"""
    {TURNS} SELECT min((SELECT min(due_at) FROM queue
        WHERE {WAITING} AND account_id = turn.account_id))
    FROM turn WHERE account_id IS NOT NULL
"""


def read_next_due(connection: sqlite3.Connection, domain: str, send_as: int) -> float:
    found = []
    for priority in range(LAST_PRIORITY + 1):
        wanted = {"domain": domain, "send_as": send_as, "priority": priority, "after": -1}
        found += connection.execute(_NEXT_DUE, wanted).fetchone()
    return min((float(each) for each in found if each is not None), default=math.inf)


_COUNTS = """
    SELECT 'waiting', count(*) FROM queue WHERE state = 'waiting'
    UNION ALL SELECT 'leased', count(*) FROM queue WHERE state = 'leased'
    UNION ALL SELECT state, count(*) FROM queue WHERE state IN ('held', 'captured') GROUP BY state
"""


def count_by_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Recipients by state; every state is there."""
    return dict.fromkeys(STATES, 0) | dict(connection.execute(_COUNTS).fetchall())


# Ids ascend with time, and the indexes that are counted have them; of a plain min(id) SQLite would
# make a walk over all rows that are in front, captured ones too.
_OLDEST = """
    SELECT min(queued_at) FROM queue WHERE id IN (
        SELECT min(id + 0) FROM queue WHERE state = 'waiting'
        UNION ALL SELECT min(id + 0) FROM queue WHERE state = 'leased')
"""


def read_oldest(connection: sqlite3.Connection) -> float | None:
    """When the first of those that wait or are attempted was queued; None while none is."""
    (oldest_at,) = connection.execute(_OLDEST).fetchone()
    return None if oldest_at is None else float(oldest_at)


_SMTPUTF8 = "(SELECT smtputf8 FROM queue WHERE message_id = message.id LIMIT 1)"
_MAIL = f"""
    SELECT mail_id, sender, prefix, size_octets, digest, dot_lines, received_at, blob_key, body,
        {_SMTPUTF8}
    FROM message WHERE id = ? AND coalesce(length(body), 0) <= ?
"""
_ANY_OCTETS = 1 << 62


def find_queued_mail(connection: sqlite3.Connection, mail_id: str) -> QueuedMail | None:
    """The mail with this id; None when it is gone."""
    row = connection.execute("SELECT id FROM message WHERE mail_id = ?", (mail_id,)).fetchone()
    return read_queued_mail(connection, row[0]) if row else None


def read_queued_mail(
    connection: sqlite3.Connection, message_id: int, most_octets: int = _ANY_OCTETS
) -> QueuedMail | None:
    row = connection.execute(_MAIL, (message_id, most_octets)).fetchone()
    if row is None:
        return None
    mail_id, sender, prefix, size, digest, dot_lines, received_at, blob_key, body, smtputf8 = row
    octets = body if blob_key is None else Blob(blob_key)
    read, types = (sender, prefix, octets, size, dot_lines), (str, bytes, bytes | Blob, int, int)
    if not all(map(isinstance, read, types)):  # damage makes others of them
        raise StoreBroken(detail=f"message {message_id} is damaged")
    return QueuedMail(
        mail_id, sender, prefix, octets, size, digest, dot_lines, received_at, bool(smtputf8)
    )


_FACTS = ("id", "mail_id", "sender", "size_octets", "hex(digest)", "dot_lines", "received_at",
          _SMTPUTF8, "length(prefix)", "length(body)")  # fmt: skip
_SMALL = f"""
    SELECT {packed_rows(*_FACTS)}, {end_to_end("prefix")}, {end_to_end("body")}
    FROM message WHERE id IN ({{marks}}) AND length(body) <= ?
"""


def _read_mails(
    connection: sqlite3.Connection, message_ids: Sequence[int], most_octets: int
) -> dict[int, QueuedMail]:
    small = {}
    if len(message_ids) > 1:
        small = _read_small(connection, message_ids, most_octets // len(message_ids))
    found: dict[int, QueuedMail] = {}
    for message_id in message_ids:
        most = most_octets if found else _ANY_OCTETS
        try:
            mail = small.get(message_id) or read_queued_mail(connection, message_id, most)
        except (*DAMAGED, StoreBroken):
            if not found:
                raise
            break
        octets = len(mail.body) if mail is not None and isinstance(mail.body, bytes) else 0
        if mail is None or octets > most:
            break
        found[message_id] = mail
        most_octets -= octets
    return found


def _read_small(
    connection: sqlite3.Connection, message_ids: Sequence[int], most_octets: int
) -> dict[int, QueuedMail]:
    """Those whose bodies have at most so many octets, in one row, for each row costs two hand-overs
    of the GIL; none where that doesn't add up: nobody is sent another's octets, and one that is
    damaged holds up no other."""
    marks, values = padded(message_ids)
    try:
        asked = connection.execute(_SMALL.format(marks=marks), (*values, most_octets))
        row = asked.fetchone()
        rows, prefixes, bodies = unpack_rows(row[0]), row[1] or b"", row[2] or b""
    except (*DAMAGED, ValueError):
        return {}
    if any(None in r for r in rows):
        return {}
    if (sum(r[-2] for r in rows), sum(r[-1] for r in rows)) != (len(prefixes), len(bodies)):
        return {}
    found: dict[int, QueuedMail] = {}
    prefix_at = body_at = 0
    for message_id, mail_id, sender, size, digest, dots, at, utf8, in_prefix, in_body in rows:
        prefix, prefix_at = prefixes[prefix_at : prefix_at + in_prefix], prefix_at + in_prefix
        body, body_at = bodies[body_at : body_at + in_body], body_at + in_body
        found[message_id] = QueuedMail(
            mail_id, sender, prefix, body, size, bytes.fromhex(digest), dots, at, bool(utf8)
        )
    return found
