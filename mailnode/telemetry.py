"""What happened, told once: a log line and a count for each event, and the metrics page.

Work that commits hands its events to its batch; after the commit the store calls
`MailLog.committed`. Events without a commit of their own go through `MailLog.tell`, which
also gives them to the journal. No stranger can fill a disk through it: refusals past ten a
minute from one address are summed.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import IO, Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent
from zope.interface import implementer

from mailnode.events import Event, RefusedMail, SignInFailed, Summed
from mailnode.machine import address_key

REFUSALS_A_MINUTE = 10
MOST_ADDRESSES = 1_000
TOLD_AFTER_S = 0.01

_log = Logger(namespace="mailnode")


@define(eq=False)
class MailLog:
    """Writes each event's line and counts it.

    Attributes:
        journal: takes the events that no batch of their own carries.
        audit: takes those that are audited, before any is summed.
        counts: event name to how often it happened since the start.
        octets_accepted: raw octets of accepted mail since the start.
    """

    clock: IReactorTime
    journal: Callable[[Sequence[Event]], None]
    audit: Callable[[Event], object] = field(default=lambda event: None, kw_only=True)
    counts: Counter[str] = field(factory=Counter)
    refusals: Counter[str] = field(factory=Counter)
    octets_accepted: int = 0
    _minute: int = 0
    _told: Counter[str] = field(factory=Counter)
    _late: list[Event] = field(factory=list)
    _late_due: IDelayedCall | None = None
    _stopping: bool = False

    def committed(self, events: Iterable[Event]) -> None:
        """These happened and are durable."""
        counts = self.counts
        told = []
        for event in events:
            name = event.name
            counts[name] += 1
            if name == "delivered":  # the accepted one says it
                continue
            if name == "accepted":
                size = event.detail.get("size_octets", 0)
                self.octets_accepted += size if isinstance(size, int) else 0
            elif name == "queued" and "captured" not in event.detail:
                continue  # what became of it, another one will say
            told.append(event)
        if told:  # one event of the log for the batch, and a line of its own for each of them
            _log.info("{words()}", mails=told, words=partial(_all_words, told))

    def tell(self, event: Event) -> None:
        """This happened and has no commit of its own; its line waits 10 ms for others."""
        if event.audited:
            self.audit(event)
        if isinstance(event, RefusedMail | SignInFailed):
            self.refusals[str(event.detail.get("code", ""))] += 1
            if not self._room_to_tell(address_key(event.client)):
                self.counts[event.name] += 1
                return
        self._late.append(event)
        if self._stopping:
            self.tell_late()
        elif self._late_due is None:
            self._late_due = self.clock.callLater(TOLD_AFTER_S, self.tell_late)

    def tell_late(self) -> None:
        """What waits for others has its line, its count and its place in the journal."""
        due, self._late_due = self._late_due, None
        if due is not None and due.active():
            due.cancel()
        late, self._late = self._late, []
        if late:
            self.committed(late)
            self.journal(late)

    def each_second(self) -> None:
        """A minute that is over is summed, though nobody is refused any more."""
        minute = int(self.clock.seconds() // 60)
        if minute != self._minute:
            self._sum_up()
            self._minute = minute

    def _room_to_tell(self, host: str) -> bool:
        self.each_second()
        if host not in self._told and len(self._told) >= MOST_ADDRESSES:
            host = "others"
        self._told[host] += 1
        return self._told[host] <= REFUSALS_A_MINUTE

    def _sum_up(self) -> None:
        """A minute is over: one row for each address that was refused more often than told."""
        self.tell_late()
        told, self._told = self._told, Counter()
        summed: list[Event] = [
            Summed(client=host, detail={"refusals": count - REFUSALS_A_MINUTE})
            for host, count in told.items()
            if count > REFUSALS_A_MINUTE
        ]
        if summed:
            self.committed(summed)
            self.journal(summed)

    def flush(self) -> None:
        """Tell what was summed so far and what waits, at the stop; from now on all at once."""
        self._stopping = True
        self._sum_up()


@implementer(ILogObserver)
@define(eq=False)
class LogWriter:
    """Writes the log: one JSON object a line, or text for people. Nothing in it can raise (S22).

    Attributes:
        level: lower ones are passed over.
    """

    out: IO[str]
    as_json: bool
    level: LogLevel = LogLevel.info

    def __call__(self, event: dict[str, Any]) -> None:
        try:
            if event["log_level"] < self.level or _is_chatter(event):
                return
            at = _stamp(event["log_time"])
            mails = event.get("mails")
            lines = self._line(at, event) if mails is None else self._lines(at, mails)
        except Exception as error:
            lines = self._not_written(error)
        try:
            self._write(lines)
            self.out.flush()
        except (OSError, ValueError):  # nobody reads the other end any more
            pass

    def _lines(self, at: str, mails: Iterable[Event]) -> str:
        line_of = _mail_json if self.as_json else _mail_text
        lines = []
        for mail in mails:
            try:
                lines.append(line_of(at, mail))
            except Exception as error:  # the others of its batch have theirs
                lines.append(self._not_written(error))
        return "\n".join(lines)

    def pass_on(self, lines: str) -> None:
        """Write lines that another process of the node made, each ended."""
        try:
            self._write(lines.removesuffix("\n"))
            self.out.flush()
        except (OSError, ValueError):
            pass

    def _line(self, at: str, event: dict[str, Any]) -> str:
        level = event["log_level"]
        text = _one_text(event)
        if self.as_json:
            return _to_json({"at": at, "level": level.name, "message": text})
        mark = "" if level <= LogLevel.info else f"{level.name.upper()} "
        return f"{at} {mark}{_printable(text)}"

    def _not_written(self, error: Exception) -> str:
        text = f"a log event could not be written: {type(error).__name__}"
        if not self.as_json:
            return text
        return _to_json({"at": _stamp(time.time()), "level": "error", "message": text})

    def _write(self, lines: str) -> None:
        try:
            self.out.write(lines + "\n")
        except UnicodeEncodeError:  # not a log in UTF-8
            self.out.write(lines.encode("ascii", "backslashreplace").decode("ascii") + "\n")


def _mail_json(at: str, mail: Event) -> str:
    row: dict[str, object] = {"at": at, "event": mail.name}
    if mail.mail_id:
        row["mail_id"] = mail.mail_id
    if mail.sender:
        row["sender"] = mail.sender
    if mail.recipient:
        row["recipient"] = mail.recipient
    if mail.client:
        row["client"] = mail.client
    row.update(mail.detail)
    row.pop("dialog", None)
    return _to_json(row)


def _mail_text(at: str, mail: Event) -> str:
    return f"{at} {_printable(_words(mail).replace(chr(10), '?'))}"


_PORT_CHATTER = re.compile(r" starting on |^(Starting|Stopping) factory |^\(.*Port .*Closed\)$")


def _is_chatter(event: dict[str, Any]) -> bool:
    """What Twisted says of its ports and factories: the node tells of them better."""
    if event["log_level"] > LogLevel.info:
        return False
    namespace = event.get("log_namespace", "")
    if namespace == "log_legacy":
        return bool(_PORT_CHATTER.search(formatEvent(event)))
    return str(namespace).startswith("twisted.")


def _one_text(event: dict[str, Any]) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    return f"{text}\n{failure.getTraceback()}" if failure is not None else text


def _all_words(events: Sequence[Event]) -> str:
    return "\n".join(map(_words, events))


def _words(event: Event) -> str:
    parts = [event.name]
    if event.mail_id:
        parts.append(event.mail_id)
    if event.sender is not None:
        parts.append(f"from={_quoted(f'<{event.sender}>')}")
    if event.recipient:
        parts.append(f"to={_quoted(f'<{event.recipient}>')}")
    if event.client:
        parts.append(f"client={event.client}")
    for key, value in event.detail.items():
        if key != "dialog" and value not in ("", None):
            parts.append(f"{key}={_quoted(str(value))}")
    return " ".join(parts)


def _quoted(text: str) -> str:
    """Between quotes where a stranger's words might pass for another field."""
    return json.dumps(text, ensure_ascii=False) if _UNSAFE_WORD.search(text) else text


_UNSAFE_WORD = re.compile(r'[\s"=]')


def _printable(text: str) -> str:
    """Nothing that moves a terminal, and no line in it that looks like the log's own."""
    if text.isprintable():
        return text
    lines = text.split("\n")
    return "\n  ".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


_to_json = json.JSONEncoder(ensure_ascii=True, default=str).encode


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _stamp(at: float) -> str:
    return f"{_second(int(at))}.{int(at % 1 * 1000):03d}Z"


def log_to_people(out: IO[str] | None = None) -> bool:
    """Whether what is written goes to a terminal."""
    try:
        return (out or sys.stdout).isatty()
    except (AttributeError, ValueError):
        return False


@define(eq=False)
class Metrics:
    """Prometheus text (exposition format 0.0.4) from callables that give the values now."""

    _families: list[tuple[str, str, str, Callable[[], Any]]] = field(factory=list)

    def counter(self, name: str, about: str, value: Callable[[], Any]) -> None:
        """`value` gives a number, or a mapping of a `name="value"` label text to numbers: of ""
        to one that may be missing."""
        self._families.append((name, "counter", about, value))

    def gauge(self, name: str, about: str, value: Callable[[], Any]) -> None:
        self._families.append((name, "gauge", about, value))

    def names(self) -> list[tuple[str, str]]:
        """(name, what it counts), for the documentation's test."""
        return [(name, about) for name, _kind, about, _value in self._families]

    def values(self) -> dict[str, Any]:
        """What each has now, by name."""
        return {name: value() for name, _kind, _about, value in self._families}

    def text(self, values: Mapping[str, Any] | None = None) -> str:
        """The page, of the values now or of those given."""
        values = self.values() if values is None else values
        lines = []
        for name, kind, about, _value in self._families:
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            now = values[name]
            if isinstance(now, dict):
                lines += [f"{name}{_labels(each)} {now[each]}" for each in sorted(now)]
            else:
                lines.append(f"{name} {now}")
        return "\n".join(lines) + "\n"


def _labels(text: str) -> str:
    return f"{{{text}}}" if text else ""
