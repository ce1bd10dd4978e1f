"""The last hour of a node in numbers, in memory: what an administrator's charts are made of."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from mailnode.timings import LABELS, quantile_s

EVERY_S = 5.0
KEPT = 720  # an hour of them
_LONGEST_S = 20.0  # past the last bound

_EVENTS = {
    "accepted": "accepted",
    "relayed": "relayed",
    "refused": "refused",
    "sign_ins": "signed-in",
    "failures": "sign-in-failed",
}


@frozen
class Figure:
    """What is shown.

    Attributes:
        name: in JSON.
        unit: "a minute", "s", "ms" or "" for a number of things.
        about: for who doesn't know.
    """

    name: str
    title: str
    unit: str
    about: str


FIGURES = (
    Figure("accepted", "Mail in", "a minute", "mails accepted, by SMTP or written here"),
    Figure("relayed", "Mail out", "a minute", "recipients elsewhere whose hosts took the mail"),
    Figure("refused", "Refused", "a minute", "mails and recipients refused or put off"),
    Figure("queue", "Queue", "", "recipients elsewhere that wait or are attempted"),
    Figure("oldest", "Oldest in the queue", "s", "since the first of them was queued"),
    Figure("sign_ins", "Sign-ins", "a minute", "over SMTP, POP3 and the web"),
    Figure("failures", "Failed sign-ins", "a minute", "wrong names or passwords"),
    Figure("sessions", "Sessions", "", "open connections of SMTP and POP3"),
    Figure("took", "Accepting took", "ms", "on average, from the end of a mail to its commit"),
    Figure("took99", "99 of 100 took", "ms", "no longer than this, by the bounds of the metrics"),
)


@define(eq=False)
class Figures:
    """Samples of the metrics, and what lies between two of them.

    Args:
        values: the metrics, as `Metrics.values` gives them.
        now: UTC epoch seconds.
    """

    values: Callable[[], Mapping[str, Any]]
    now: Callable[[], float]
    _rows: deque[tuple[float, ...]] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    _last: tuple[float, Mapping[str, Any]] | None = field(default=None, init=False)

    def sample(self) -> None:
        """Take one; called each `EVERY_S`."""
        at, values = round(self.now(), 3), self.values()
        last, self._last = self._last, (at, values)
        if last is not None and at > last[0]:
            self._rows.append((at, *_between(last[1], values, at - last[0])))

    def since(self, at: float) -> list[tuple[float, ...]]:
        """Rows newer than that, oldest first: when, and a number for each of `FIGURES`.

        NaN stands for what there is no number of: how long accepting took when nothing came.
        """
        return [row for row in self._rows if row[0] > at]


def _between(before: Mapping[str, Any], now: Mapping[str, Any], for_s: float) -> tuple[float, ...]:
    def a_minute(name: str) -> float:
        label = f'event="{_EVENTS[name]}"'
        counts = (each.get("mailnode_events_total", {}).get(label, 0) for each in (now, before))
        return _grown(*counts) * 60 / for_s

    queue = now.get("mailnode_queue_recipients", {})
    waits = sum(queue.get(f'state="{state}"', 0) for state in ("waiting", "leased"))
    sessions = now.get("mailnode_sessions", {})
    took = _took(before, now)
    return (
        a_minute("accepted"),
        a_minute("relayed"),
        a_minute("refused"),
        float(waits),
        float(now.get("mailnode_queue_oldest_seconds", 0.0)),
        a_minute("sign_ins"),
        a_minute("failures"),
        float(sum(sessions.get(f'server="{name}"', 0) for name in ("smtp", "pop3"))),
        *took,
    )


def _took(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[float, float]:
    """Milliseconds: the mean, and what 99 of 100 kept."""
    name = "mailnode_accepted_within_total"
    counts, counted = now.get(name, {}), before.get(name, {})
    within = {label: _grown(counts.get(label, 0), counted.get(label, 0)) for label in LABELS}
    total = within[LABELS[-1]]
    if total <= 0:
        return math.nan, math.nan
    name = "mailnode_accept_seconds_total"
    mean_s = _grown(now.get(name, 0.0), before.get(name, 0.0)) / total
    most_s = quantile_s(within, 0.99)
    return mean_s * 1000, min(_LONGEST_S if most_s is None else most_s, _LONGEST_S) * 1000


def _grown(now: float, before: float) -> float:
    """By how much; a worker that ended may have taken its last second with it."""
    return max(0.0, now - before)
