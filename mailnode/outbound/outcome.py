"""What an attempt means for a row of the queue: done, again later, or back to its sender.

Pure: it is given the row, the remote's answer and the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from mailnode.events import Bounced, PutOff, Relayed
from mailnode.outbound.dsn import Told, wants
from mailnode.queued import Leased, Settled
from mailnode.settings import OutboundSettings

if TYPE_CHECKING:
    from mailnode.outbound.words import Answer

JITTER = 0.2
REST_S = 45.0


@frozen(kw_only=True)
class Attempt:
    """One try to hand a mail over.

    Attributes:
        host, address: of the remote; "" when none was reached.
        tls: version and cipher, "" in clear.
        note: how the certificate was judged, or why there is no TLS; "" for nothing to say.
        dsn: whether the remote has promised to report in our place (RFC 3461).
        at: UTC epoch seconds.
    """

    at: float
    host: str = ""
    address: str = ""
    tls: str = ""
    note: str = ""
    dsn: bool = False


@frozen
class Judged:
    """What is written of a row, and what its sender is to be told; None for nothing."""

    settled: Settled
    told: Told | None = None


def wait_s(attempts: int, settings: OutboundSettings, random: Callable[[], float]) -> float:
    """How long the next attempt waits behind the one that makes it `attempts`.

    Doubled each time, within bounds, and a fifth more or less, so that what failed together is
    not tried together for ever.
    """
    doubled: float = max(1.0, settings.retry_first) * 2 ** min(attempts - 1, 30)
    return min(doubled, settings.retry_most) * (1 - JITTER + 2 * JITTER * random())


def rest_s(settings: OutboundSettings) -> float:
    """How long a host that failed is left alone by all that go there: no wait is shorter."""
    return min(REST_S, wait_s(1, settings, lambda: 0.0))


def judge(
    row: Leased,
    answer: Answer,
    attempt: Attempt,
    settings: OutboundSettings,
    random: Callable[[], float],
    *,
    owner_told: bool = False,
) -> Judged:
    """What became of `row` by `answer`.

    Args:
        owner_told: its sender is told of this failure now, though no delay has gone by.
    """
    if answer.delivered:
        return _delivered(row, answer, attempt)
    expires_at = row.queued_at + settings.keep
    if answer.permanent or attempt.at >= expires_at:
        return _bounced(row, answer, attempt, expired=not answer.permanent)
    due_at = min(attempt.at + wait_s(row.attempts + 1, settings, random), expires_at)
    late = attempt.at - row.queued_at >= settings.notice
    tell = row.noticed_at is None and (late or owner_told) and wants(row.notify, "delay")
    event = PutOff(
        at=attempt.at,
        mail_id=row.mail_id,
        recipient=row.recipient,
        detail={**_detail(answer, attempt), "attempt": row.attempts + 1, "due_at": due_at},
    )
    settled = Settled(
        queue_id=row.queue_id,
        action="retry",
        due_at=due_at,
        host=_place(attempt),
        reply=reply_of(answer),
        noticed_at=attempt.at if tell else None,
        events=(event,),
    )
    if not tell or not row.sender:
        return Judged(settled)
    return Judged(settled, _told(row, "delayed", answer, attempt, will_retry_until=expires_at))


def _delivered(row: Leased, answer: Answer, attempt: Attempt) -> Judged:
    event = Relayed(
        at=attempt.at,
        mail_id=row.mail_id,
        recipient=row.recipient,
        detail={**_detail(answer, attempt), "delay_s": round(attempt.at - row.queued_at, 3)},
    )
    settled = Settled(
        queue_id=row.queue_id,
        action="done",
        host=_place(attempt),
        reply=reply_of(answer),
        events=(event,),
    )
    if attempt.dsn or not row.sender or not wants(row.notify, "success"):
        return Judged(settled)
    return Judged(settled, _told(row, "relayed", answer, attempt))


def _bounced(row: Leased, answer: Answer, attempt: Attempt, *, expired: bool) -> Judged:
    detail = {**_detail(answer, attempt), "attempt": row.attempts + 1}
    if expired:
        detail["because"] = "it was tried for too long"
    detail["told"] = row.sender if wants(row.notify, "failure") else ""
    event = Bounced(at=attempt.at, mail_id=row.mail_id, recipient=row.recipient, detail=detail)
    settled = Settled(
        queue_id=row.queue_id,
        action="done",
        host=_place(attempt),
        reply=reply_of(answer),
        events=(event,),
    )
    if not wants(row.notify, "failure"):
        return Judged(settled)
    return Judged(settled, _told(row, "failed", answer, attempt, expired=expired))


def unreported(settled: Settled) -> Settled:
    """Its sender could not be told: what failed is held for the administrator, and not lost."""
    events = tuple(
        evolve(event, detail={**event.detail, "told": ""}) if isinstance(event, Bounced) else event
        for event in settled.events
    )
    failed = any(isinstance(event, Bounced) for event in events)
    action = "hold" if failed else settled.action
    return evolve(settled, action=action, noticed_at=None, events=events)


def _place(attempt: Attempt) -> str:
    return f"{attempt.host} [{attempt.address}]" if attempt.host else ""


def reply_of(answer: Answer) -> str:
    """The answer on one line, for people."""
    if not answer.code:
        return f"{answer.text} ({answer.stage})"
    return " ".join(filter(None, [str(answer.code), answer.enhanced, answer.text]))


def _detail(answer: Answer, attempt: Attempt) -> dict[str, object]:
    detail: dict[str, object] = {"reply": reply_of(answer), "stage": answer.stage}
    if attempt.host:
        detail["host"] = attempt.host
        detail["address"] = attempt.address
    if attempt.tls:
        detail["tls"] = attempt.tls
    if attempt.note:
        detail["certificate" if attempt.tls else "in_clear"] = attempt.note
    if not answer.code and answer.stage == "dot":
        detail["because"] = "the connection was lost behind the dot: it may arrive twice"
    return detail


def _is_theirs(answer: Answer) -> bool:
    """Whether the words are another host's, and not ours."""
    return answer.code > 0 and answer.stage != "route"


def _status(answer: Answer, *, expired: bool) -> str:
    """The enhanced status of a report (RFC 3463)."""
    if expired:
        return "5.4.7"
    if answer.enhanced:
        return answer.enhanced
    return f"{answer.code // 100}.0.0" if answer.code else "4.4.1"


def _told(
    row: Leased,
    action: str,
    answer: Answer,
    attempt: Attempt,
    *,
    expired: bool = False,
    will_retry_until: float | None = None,
) -> Told:
    return Told(
        recipient=row.recipient,
        orcpt=row.orcpt,
        action=action,
        status=_status(answer, expired=expired),
        remote_host=attempt.host if _is_theirs(answer) else "",
        reply=reply_of(answer) if _is_theirs(answer) else answer.text,
        last_attempt_at=attempt.at,
        will_retry_until=will_retry_until,
    )
