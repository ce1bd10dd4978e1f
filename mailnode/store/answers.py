"""What programs are answered for a key of theirs (Idempotency-Key): the same again, no other mail.

The row is of the commit that accepts the mail: there is one with the other, or neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from attrs import define, frozen
from twisted.internet.defer import Deferred

from mailnode.errors import Refused
from mailnode.model import Envelope
from mailnode.store.database import Database

KEPT_S = 86400.0


class AnsweredBefore(Refused):
    """The key has an answer already: it came a moment earlier, by another request."""

    http_status, exit_code = 409, 75
    text = "That Idempotency-Key was used a moment ago"


@frozen
class Answered:
    """What was answered.

    Attributes:
        request_digest: SHA-256 of the request: another one may not use the same key.
        answer: its text, as it was sent.
    """

    request_digest: bytes
    mail_id: str
    answer: str


@define(eq=False)
class Answers:
    """Kept for a day."""

    database: Database

    def find(self, account_id: int, key: str) -> Deferred[Answered | None]:
        """What was answered for this key of this account.

        Errors:
            StoreBusy, StoreBroken.
        """

        def read(connection: sqlite3.Connection) -> Answered | None:
            row = connection.execute(_FIND, (account_id, key)).fetchone()
            return Answered(*row) if row else None

        return self.database.read(read)

    def sweep(self, now: float) -> Deferred[int]:
        """Old ones are gone; how many."""

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM idempotency WHERE at < ?", (now - KEPT_S,)
            ).rowcount

        return self.database.transact("sweep answers", write, frees=True)


# What runs in the writer thread

_FIND = "SELECT request_digest, mail_id, answer FROM idempotency WHERE account_id = ? AND key = ?"
_INSERT = """
    INSERT INTO idempotency (account_id, key, request_digest, mail_id, answer, at)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, key) DO NOTHING
"""


def keep_answers(
    connection: sqlite3.Connection, envelopes: Iterable[Envelope], now: float
) -> set[str]:
    """The rows of a batch; ids of the mails whose key had an answer already: they are not filed."""
    late: set[str] = set()
    for envelope in envelopes:
        once = envelope.once
        if once is None:
            continue
        values = (once.account_id, once.key, once.request_digest, envelope.mail_id, once.answer)
        if not connection.execute(_INSERT, (*values, now)).rowcount:
            late.add(envelope.mail_id)
    return late
