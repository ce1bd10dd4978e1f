"""How TLS went with the hosts of other domains, summed by day, domain and policy (RFC 8460).

Pure. A session counts once, when its connection was made; what never came as far as TLS (nobody
answered, say) counts for nothing.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from mailnode.outbound.mta_sts import allows
from mailnode.outbound.words import Answer, TlsPolicy

DAY_S = 86400.0
MOST_DAYS = 3
MOST_DOMAINS = 10_000  # a day
MOST_POLICIES = 10  # of a domain in a day; it may publish another one
MOST_FAILURES = 100  # kinds of them with one policy; others are counted under the last

UNKNOWN = "validation-failure"
NO_STARTTLS = "starttls-not-supported"

_HANDSHAKE = re.compile(r"TLS handshake failed: (.+?)(?:; sent in clear)?$")
_RESULTS = {  # of our words for what is wrong with a certificate (section 4.3)
    "expired": "certificate-expired",
    "not yet valid": "certificate-expired",
    "self-signed": "certificate-not-trusted",
    "not one that we trust": "certificate-not-trusted",
    "is not for": "certificate-host-mismatch",
}


@frozen
class Failure:
    """One way in which TLS failed.

    Attributes:
        result: one of the RFC's result types.
        host, address: of the remote; "" where no policy came.
        reason: in words.
    """

    result: str
    host: str
    address: str
    reason: str


@define(eq=False)
class Sums:
    """Sessions with a domain under one policy."""

    successes: int = 0
    failures: Counter[Failure] = field(factory=Counter)


PolicyKey = tuple[str, tuple[str, ...]]  # its type, and its lines as published
ByDomain = dict[str, dict[PolicyKey, Sums]]


def failure_of(
    policy: TlsPolicy, host: str, address: str, *, tls: str, note: str, doubt: str
) -> Failure | None:
    """What was wrong with the TLS of a session; None for nothing."""
    if not tls:
        found = _HANDSHAKE.match(note)
        if found is None:
            return Failure(NO_STARTTLS, host, address, note.removesuffix("; sent in clear"))
        return Failure(_result_of(found[1]), host, address, found[1])
    if doubt:
        return Failure(_result_of(doubt), host, address, doubt)
    if policy.trial and not allows(mx_patterns(policy.lines), host):
        return Failure(UNKNOWN, host, address, "the policy does not name the host")
    return None


def failure_of_answer(host: str, address: str, answer: Answer) -> Failure | None:
    """What was wrong with TLS where that made mail stay here; None for any other trouble."""
    if answer.stage != "STARTTLS":
        return None
    found = _HANDSHAKE.match(answer.text)
    if found is None:
        return Failure(NO_STARTTLS, host, address, str(answer))
    return Failure(_result_of(found[1]), host, address, found[1])


def _result_of(words: str) -> str:
    return next((result for word, result in _RESULTS.items() if word in words), UNKNOWN)


def mx_patterns(lines: tuple[str, ...]) -> list[str]:
    return [line[4:] for line in lines if line.startswith("mx: ")]


def policy_key(policy: TlsPolicy) -> PolicyKey:
    if policy.source == "DANE":
        return "tlsa", policy.lines
    if policy.source.startswith("MTA-STS"):
        return "sts", policy.lines
    return "no-policy-found", ()


def day_of(at: float) -> str:
    """The day in UTC, as in 2027-01-31."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d")


def begin_of(day: str) -> float:
    """UTC epoch seconds."""
    return datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()


@define(eq=False)
class Outcomes:
    """The sums of the last days.

    Attributes:
        changed: since they were kept.
    """

    days: dict[str, ByDomain] = field(factory=dict)
    changed: bool = False

    def count(self, at: float, domain: str, policy: TlsPolicy, failure: Failure | None) -> None:
        """A session more; what would make the sums too large is left out."""
        domains = self.days.setdefault(day_of(at), {})
        while len(self.days) > MOST_DAYS:
            del self.days[min(self.days)]
        if domain not in domains and len(domains) >= MOST_DOMAINS:
            return
        policies = domains.setdefault(domain, {})
        key = policy_key(policy)
        if key not in policies and len(policies) >= MOST_POLICIES:
            return
        sums = policies.setdefault(key, Sums())
        self.changed = True
        if failure is None:
            sums.successes += 1
            return
        if failure not in sums.failures and len(sums.failures) >= MOST_FAILURES:
            failure = next(reversed(sums.failures))
        sums.failures[failure] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            day: {
                domain: [
                    {
                        "type": kind,
                        "lines": lines,
                        "successes": sums.successes,
                        "failures": [
                            [each.result, each.host, each.address, each.reason, count]
                            for each, count in sums.failures.items()
                        ],
                    }
                    for (kind, lines), sums in policies.items()
                ]
                for domain, policies in domains.items()
            }
            for day, domains in self.days.items()
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Outcomes:
        """Raises ValueError, TypeError, KeyError, AttributeError: `as_json` never gave that."""
        days: dict[str, ByDomain] = {}
        for day, domains in told.items():
            begin_of(day)
            for domain, policies in domains.items():
                for each in policies:
                    failures = {Failure(*map(str, facts)): int(n) for *facts, n in each["failures"]}
                    key = str(each["type"]), tuple(map(str, each["lines"]))
                    sums = Sums(int(each["successes"]), Counter(failures))
                    days.setdefault(day, {}).setdefault(domain, {})[key] = sums
        return cls(days)
