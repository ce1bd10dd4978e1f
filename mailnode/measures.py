"""What /metrics shows of a node; docs/metrics.rst says the same, and a test compares them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mailnode import __version__

if TYPE_CHECKING:
    from mailnode.admission import Sessions
    from mailnode.gate import ProxyGate
    from mailnode.resolver import Resolver
    from mailnode.store.audit_file import AuditFile
    from mailnode.store.database import Database
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.journal import Journal
    from mailnode.store.queue import Queue
    from mailnode.telemetry import MailLog, Metrics
    from mailnode.timings import Timings


def describe(
    metrics: Metrics,
    *,
    log: MailLog,
    database: Database,
    journal: Journal,
    directory: LiveDirectory,
    sessions: Mapping[str, Sessions],
    gate: ProxyGate,
    queue: Queue,
    accepts: Timings,
    now: Callable[[], float] = time.time,
    arrival: Callable[[], Mapping[str, int]] = dict,
    arrival_lookups: Callable[[], Mapping[str, int]] = dict,
    judged: Callable[[], Mapping[tuple[str, str], int]] = dict,
    dmarc_collected: Callable[[], Mapping[str, int]] = dict,
    sign_ins_blocked: Callable[[], int] = int,
    kept_out: Callable[[], Mapping[str, int]] = dict,
) -> None:
    """Name every measure of a node.

    Args:
        sessions: by server: "smtp", "pop3".
        accepts: how long the door took.
        now: UTC epoch seconds, as the queue counts them.
        arrival: what came of strangers' checks, by label.
        arrival_lookups: names that were looked up for these, by result.
        judged: what the door's filters said, by filter and result.
        sign_ins_blocked: sign-ins and connections turned away for guessing, or a ban.
        kept_out: bans and blocks that hold, by kind.
        dmarc_collected: mails for DMARC reports, by result.
    """
    began = time.time()
    metrics.gauge("mailnode_info", "the version, as a label", lambda: {_version(): 1})
    metrics.gauge("mailnode_start_time_seconds", "when the node started", lambda: began)
    metrics.counter(
        "mailnode_events_total",
        "what happened, by event: accepted, delivered, refused, signed-in ...",
        lambda: {f'event="{name}"': count for name, count in log.counts.items()},
    )
    metrics.counter(
        "mailnode_refusals_total",
        "refused mails and recipients, by reply code",
        lambda: {f'code="{code}"': count for code, count in log.refusals.items() if code},
    )
    metrics.counter(
        "mailnode_accepted_octets_total",
        "raw octets of accepted mail",
        lambda: log.octets_accepted,
    )
    metrics.counter(
        "mailnode_accept_seconds_total",
        "time that accepting took, from the end of a mail to its commit",
        lambda: accepts.total_s,
    )
    metrics.counter(
        "mailnode_accepted_within_total",
        "mails whose accepting took no longer than so many seconds, by le",
        accepts.within,
    )
    metrics.gauge(
        "mailnode_sessions",
        "open sessions, by server",
        lambda: {f'server="{name}"': len(each) for name, each in sessions.items()},
    )
    metrics.counter(
        "mailnode_sessions_total",
        "sessions let in, by server",
        lambda: {f'server="{name}"': each.accepted for name, each in sessions.items()},
    )
    metrics.counter(
        "mailnode_sessions_turned_away_total",
        "connections refused for a limit, by server",
        lambda: {f'server="{name}"': each.turned_away for name, each in sessions.items()},
    )
    metrics.counter(
        "mailnode_proxy_headers_refused_total",
        "proxies' connections closed for their PROXY header, by why",
        lambda: {f'why="{why}"': count for why, count in gate.refused.items()},
    )
    metrics.counter(
        "mailnode_arrival_total",
        "what came of strangers' checks before their mail was read, by check and result",
        lambda: dict(arrival()),
    )
    metrics.counter(
        "mailnode_arrival_lookups_total",
        "names looked up for these, by result",
        lambda: {f'result="{result}"': count for result, count in arrival_lookups().items()},
    )
    metrics.counter(
        "mailnode_judged_total",
        "mails that content filters were asked about, by filter and result",
        lambda: {
            f'by="{_escaped(by)}",result="{result}"': count
            for (by, result), count in judged().items()
        },
    )
    metrics.counter(
        "mailnode_dmarc_collected_total",
        "mails of strangers that DMARC reports tell of, by result",
        lambda: {f'result="{result}"': count for result, count in dmarc_collected().items()},
    )
    metrics.counter(
        "mailnode_store_batches_total",
        "transactions committed to the mail database",
        lambda: database.stats.batches,
    )
    metrics.counter(
        "mailnode_store_jobs_total",
        "pieces of work that those transactions carried",
        lambda: database.stats.jobs,
    )
    metrics.counter(
        "mailnode_store_commit_seconds_total",
        "time that commits took, flush included",
        lambda: database.stats.commit_s,
    )
    metrics.gauge(
        "mailnode_store_queue_depth",
        "pieces of work that wait for the next transaction",
        lambda: database.queue_depth,
    )
    metrics.gauge(
        "mailnode_queue_recipients",
        "recipients elsewhere in the queue, by state; counted every few seconds",
        lambda: {f'state="{state}"': count for state, count in queue.counts.items()},
    )
    metrics.gauge(
        "mailnode_queue_oldest_seconds",
        "how long the first of the waiting recipients is in the queue; 0 for none",
        lambda: max(0.0, now() - queue.oldest_at) if queue.oldest_at is not None else 0.0,
    )
    metrics.counter(
        "mailnode_journal_dropped_total",
        "events that the full journal buffer lost",
        lambda: journal.dropped,
    )
    metrics.gauge(
        "mailnode_accounts",
        "accounts in users.db",
        lambda: len(directory.accounts()),
    )
    metrics.counter(
        "mailnode_sign_ins_blocked_total",
        "sign-ins and connections turned away before a password was checked",
        sign_ins_blocked,
    )
    metrics.gauge(
        "mailnode_kept_out",
        "bans and blocked addresses, by kind",
        lambda: {f'kind="{kind}"': count for kind, count in kept_out().items()},
    )


def describe_resolver(metrics: Metrics, resolver: Resolver) -> None:
    """Name what the DNS look-ups of a node measure."""
    metrics.counter(
        "mailnode_dns_lookups_total",
        "names looked up, by result",
        lambda: {f'result="{result}"': count for result, count in resolver.counts.items()},
    )
    metrics.gauge("mailnode_dns_kept", "answers in memory", lambda: len(resolver.cache))


def describe_lessons(
    metrics: Metrics,
    *,
    lessons: Callable[[], Mapping[tuple[str, str], int]],
    last_at: Callable[[], float | None],
    known: Callable[[], tuple[int, int] | None],
    octets: Callable[[], int],
    now: Callable[[], float] = time.time,
) -> None:
    """Name what learning measures, in the process that learns.

    Args:
        lessons: by (by what they were taught, as what).
        last_at: when the last one was: UTC epoch seconds; None before the first.
        known: from how many wanted and unwanted mails the node's model has learned; None without.
        octets: of the node's model.
    """

    def age() -> Mapping[str, float]:
        at = last_at()
        return {} if at is None else {"": max(0.0, now() - at)}

    metrics.counter(
        "mailnode_lessons_total",
        "mails that were taught, by what and as what",
        lambda: {
            f'by="{by}",kind="{_KINDS.get(label, label)}"': count
            for (by, label), count in lessons().items()
        },
    )
    metrics.gauge("mailnode_lesson_age_seconds", "how long since the last of them", age)
    metrics.gauge(
        "mailnode_model_lessons",
        "lessons that the node's model has of each kind",
        lambda: {
            f'kind="{kind}"': count
            for kind, count in zip(("ham", "spam"), known() or (0, 0), strict=True)
        },
    )
    metrics.gauge("mailnode_model_octets", "octets of the file of the node's model", octets)


_KINDS = {"wanted": "ham", "unwanted": "spam"}  # as `mailnode learn` calls them


def describe_workers(
    metrics: Metrics, *, serving: Callable[[], int], replaced: Callable[[], int]
) -> None:
    """Name what a node of several processes measures besides."""
    metrics.gauge("mailnode_workers", "workers that serve", serving)
    metrics.counter("mailnode_workers_replaced_total", "workers that ended untold", replaced)


SAME_EVERYWHERE = {
    "mailnode_info",
    "mailnode_start_time_seconds",
    "mailnode_accounts",
    "mailnode_kept_out",
    "mailnode_queue_recipients",
    "mailnode_queue_oldest_seconds",
}


def add_up(parts: Iterable[Mapping[str, Any]], *, counters_only: bool = False) -> dict[str, Any]:
    """The values of several processes as those of one; what all have alike is the first's."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if counters_only and not name.endswith("_total"):
                continue
            if name not in total:
                total[name] = Counter(value) if isinstance(value, Mapping) else value
            elif name in SAME_EVERYWHERE:
                continue
            elif isinstance(value, Mapping):
                total[name].update(value)
            else:
                total[name] += value
    return total


def _escaped(name: str) -> str:
    """A name that others chose, as it stands in a label (exposition format 0.0.4)."""
    return str(name).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _version() -> str:
    return f'version="{__version__}"'


def describe_relay(
    metrics: Metrics,
    *,
    attempts: Callable[[], Mapping[str, int]],
    delay_s: Callable[[], float],
    connections: Callable[[], int],
    connected: Callable[[], int],
) -> None:
    """Name the measures of mail for other hosts, in the process that relays."""
    metrics.counter(
        "mailnode_relay_attempts_total",
        "attempted recipients, by what became of them: relayed, deferred, bounced",
        lambda: {f'result="{name}"': count for name, count in attempts().items()},
    )
    metrics.counter(
        "mailnode_relay_delay_seconds_total",
        "time that relayed recipients had waited, summed",
        delay_s,
    )
    metrics.gauge(
        "mailnode_relay_connections", "connections to other hosts that are open", connections
    )
    metrics.counter(
        "mailnode_relay_connections_total", "connections that were made to other hosts", connected
    )


def describe_dmarc_reports(metrics: Metrics, outcomes: Callable[[], Mapping[str, int]]) -> None:
    """Name what came of the daily reports, in the process that sends them."""
    metrics.counter(
        "mailnode_dmarc_reports_total",
        "reports to domains, by what became of them: sent, unsent, put-off",
        lambda: {f'result="{result}"': count for result, count in outcomes().items()},
    )


def describe_audit(metrics: Metrics, file: AuditFile) -> None:
    """Name what a process writes of the audit stream."""
    metrics.counter(
        "mailnode_audit_entries_total", "entries that are in the audit stream", lambda: file.written
    )
    metrics.counter(
        "mailnode_audit_lost_total", "entries that could not be written", lambda: file.lost
    )


def describe_notices(metrics: Metrics, counts: Callable[[], Mapping[str, int]]) -> None:
    """Name what accounts are told, in the process that tells them."""
    metrics.counter(
        "mailnode_notices_total",
        "mails to accounts about their sign-in, by event: signed-in, password-changed ...",
        lambda: {f'event="{name}"': count for name, count in counts().items()},
    )
