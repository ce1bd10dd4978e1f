"""A report about a day's TLS with one domain, and where that domain wants it (RFC 8460). Pure."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress
from mailnode.outbound.tls_outcomes import DAY_S, PolicyKey, Sums, begin_of, mx_patterns

MOST_PLACES = 5
LINE_OCTETS = 57  # base64 makes 76 of them

_VERSION = re.compile(r"v=TLSRPTv1[ \t]*(?:;|$)")


def read_places(texts: Iterable[str]) -> list[Address]:
    """The addresses of the TXT records at `_smtp._tls.domain`; none without exactly one record.

    Places at `https:` are passed over (section 3: a sender may choose).
    """
    ours = [text for text in texts if _VERSION.match(text)]
    if len(ours) != 1:
        return []
    found = []
    for part in ours[0].split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "rua":
            found += list(_read_mailto(value))
    return found[:MOST_PLACES]


def _read_mailto(value: str) -> Iterator[Address]:
    for uri in value.split(","):
        scheme, _, rest = uri.strip().partition(":")
        if scheme.lower() == "mailto":
            try:
                yield parse_address(unquote(rest.partition("?")[0], errors="strict"))
            except (BadAddress, UnicodeDecodeError):
                continue


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
                "receiving-mx-hostname": failure.host,
                "receiving-ip": failure.address,
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
    packed = gzip.compress(json.dumps(facts, indent=1).encode(), mtime=0)
    begin = begin_of(day)
    name = f"{submitter}!{domain}!{begin:.0f}!{begin + DAY_S - 1:.0f}!{report_id}.json.gz"
    boundary = f"=_{report_id}"
    encoded = (
        base64.b64encode(packed[at : at + LINE_OCTETS]).decode()
        for at in range(0, len(packed), LINE_OCTETS)
    )
    lines = [
        f"Date: {formatdate(at, localtime=True)}",
        f"From: TLS reports of {submitter} <{sender}>",
        f"To: {', '.join(f'<{each}>' for each in to)}",
        f"Subject: Report Domain: {domain} Submitter: {submitter}",
        f" Report-ID: <{report_id}@{hostname}>",
        f"Message-ID: <{report_id}@{hostname}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {submitter}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type="tlsrpt";',
        f'\tboundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"How TLS went on {day} (UTC) when {hostname}",
        f"sent mail to {domain}: a report for programs (RFC 8460).",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f'\tfilename="{name}"',
        "",
        *encoded,
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")
