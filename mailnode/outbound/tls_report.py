"""A report about a day's TLS with one domain, and where that domain wants it (RFC 8460). Pure."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from mailnode.addresses import Address, parse_domain
from mailnode.errors import BadAddress
from mailnode.outbound.daily_mail import Enclosed, make_daily_mail, read_mailto
from mailnode.outbound.tls_outcomes import DAY_S, PolicyKey, Sums, begin_of, mx_patterns

MOST_PLACES = 5
MEDIA_TYPE = "application/tlsrpt+gzip"

_TARGET = re.compile(r"/[!-~]*")
_VERSION = re.compile(r"v=TLSRPTv1[ \t]*(?:;|$)")


@frozen
class WebPlace:
    """Where a report is posted: `https://host/path`."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"https://{self.host}{self.path}"


def read_places(texts: Iterable[str]) -> list[Address | WebPlace]:
    """What the TXT record at `_smtp._tls.domain` names; nothing without exactly one record.

    An `https:` place has the usual port (section 3).
    """
    ours = [text for text in texts if _VERSION.match(text)]
    if len(ours) != 1:
        return []
    found: list[Address | WebPlace] = []
    for part in ours[0].split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "rua":
            found += [place for uri in value.split(",") if (place := _read_place(uri.strip()))]
    return list(dict.fromkeys(found))[:MOST_PLACES]


def _read_place(uri: str) -> Address | WebPlace | None:
    if (address := read_mailto(uri)) is not None:
        return address
    try:
        if uri.partition(":")[0].lower() == "https":
            parts = urlsplit(uri)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            if parts.port in (None, 443) and "@" not in parts.netloc and _TARGET.fullmatch(target):
                return WebPlace(parse_domain(parts.hostname or ""), target)
    except (BadAddress, ValueError):
        pass
    return None


def pack(facts: Mapping[str, Any]) -> bytes:
    """The report as it is posted: `MEDIA_TYPE` (section 5.2)."""
    return gzip.compress(json.dumps(facts, indent=1).encode(), mtime=0)


def report_facts(
    day: str,
    domain: str,
    policies: Mapping[PolicyKey, Sums],
    *,
    organization: str,
    contact: str,
    report_id: str,
) -> dict[str, Any]:
    """The report as JSON has it (section 4.4)."""
    return {
        "organization-name": organization,
        "date-range": {
            "start-datetime": f"{day}T00:00:00Z",
            "end-datetime": f"{day}T23:59:59Z",
        },
        "contact-info": contact,
        "report-id": report_id,
        "policies": [_policy_facts(domain, *each) for each in policies.items()],
    }


def _policy_facts(domain: str, key: PolicyKey, sums: Sums) -> dict[str, Any]:
    kind, lines = key
    policy: dict[str, Any] = {"policy-type": kind, "policy-domain": domain}
    if lines:
        policy["policy-string"] = list(lines)
    if kind == "sts":
        policy["mx-host"] = mx_patterns(lines)
    facts: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": sums.successes,
            "total-failure-session-count": sums.failures.total(),
        },
    }
    if sums.failures:
        facts["failure-details"] = [
            {
                "result-type": failure.result,
                **({"receiving-mx-hostname": failure.host} if failure.host else {}),
                **({"receiving-ip": failure.address} if failure.address else {}),
                "failed-session-count": count,
                **({"failure-reason-code": failure.reason} if failure.reason else {}),
            }
            for failure, count in sums.failures.items()
        ]
    return facts


def make_mail(
    facts: Mapping[str, Any],
    day: str,
    domain: str,
    *,
    sender: Address,
    to: Sequence[Address],
    hostname: str,
    at: float,
) -> bytes:
    """The mail that brings it, header and body: CRLF lines, 7bit (section 5.3)."""
    report_id, submitter = facts["report-id"], sender.domain
    begin = begin_of(day)
    name = f"{submitter}!{domain}!{begin:.0f}!{begin + DAY_S - 1:.0f}!{report_id}.json.gz"
    return make_daily_mail(
        Enclosed(MEDIA_TYPE, name, pack(facts)),
        about=domain,
        report_id=report_id,
        sender=sender,
        name=f"TLS reports of {submitter}",
        to=to,
        hostname=hostname,
        at=at,
        more=[f"TLS-Report-Domain: {domain}", f"TLS-Report-Submitter: {submitter}"],
        kind='multipart/report; report-type="tlsrpt"',
        words=[
            f"How TLS went on {day} (UTC) when {hostname}",
            f"sent mail to {domain}: a report for programs (RFC 8460).",
        ],
    )
