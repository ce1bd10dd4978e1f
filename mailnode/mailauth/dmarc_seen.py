"""What a domain is told of a mail that says it is from there: one row of an aggregate report.

RFC 7489 section 7.2, RFC 9990 section 3. Mails that are alike in all of it are one row with a
count. Nobody's name is in it: of an address the domain alone is kept. No I/O.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

from attrs import astuple, frozen

from mailnode.mailauth.dmarc import DmarcResult
from mailnode.mailauth.examination import Authenticated
from mailnode.mailauth.signatures import DkimResult
from mailnode.model import Envelope
from mailnode.reading.domains import ascii_domain

MOST_SIGNATURES = 5  # of a mail that are told
NAME_CHARACTERS = 253

LOCAL_POLICY, SAMPLED_OUT, OTHER = "local_policy", "sampled_out", "other"


@frozen
class Published:
    """A policy as it was found.

    Attributes:
        domain: at which it stands.
        record: its text.
    """

    domain: str
    record: str


@frozen
class Override:
    """Why what was done is not what the domain asks.

    Attributes:
        kind: one of RFC 7489's types.
        comment: in words.
    """

    kind: str
    comment: str = ""


@frozen
class Seen:
    """What is told of mails that are alike.

    Attributes:
        source: the client's address.
        disposition: what was done: "none", "quarantine", "reject".
        dkim, spf: whether that proves the author's domain: "pass" or "fail".
        overrides: (kind, comment) of each `Override`.
        header_from: the author's domain.
        envelope_from: the reverse-path's; "" for `<>`.
        envelope_to: the recipients'; "" where they have several.
        signatures: (domain, selector, result) of each, those that prove most in front.
        spf_check: (domain, scope, result).
    """

    source: str
    disposition: str
    dkim: str
    spf: str
    overrides: tuple[tuple[str, str], ...]
    header_from: str
    envelope_from: str
    envelope_to: str
    signatures: tuple[tuple[str, str, str], ...]
    spf_check: tuple[str, str, str]

    def as_text(self) -> str:
        """The same for mails that are alike; `of_text` reads it."""
        return json.dumps(astuple(self, recurse=False), separators=(",", ":"))

    @classmethod
    def of_text(cls, text: str) -> Seen:
        """Raises ValueError, TypeError: `as_text` never gave that."""
        return cls(*[_tuples(each) for each in json.loads(text)])


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def seen_in(
    envelope: Envelope, found: Authenticated, disposition: str, override: Override | None
) -> tuple[Published, Seen] | None:
    """What is told of a mail, and under which policy; None where its domain asks for nothing."""
    dmarc = found.dmarc
    record = dmarc.record
    if record is None or not record.aggregate:
        return None
    try:
        address = ipaddress.ip_address(envelope.client.host)
    except ValueError:
        return None
    sender = "" if envelope.sender is None else envelope.sender.domain
    spf_check = (
        found.spf.domain[:NAME_CHARACTERS],
        "mfrom" if sender else "helo",
        found.spf.result,
    )
    seen = Seen(
        str(getattr(address, "ipv4_mapped", None) or address),
        disposition,
        _word(dmarc.dkim_aligned),
        _word(dmarc.spf_aligned),
        ((override.kind, override.comment),) if override is not None else (),
        dmarc.domain,
        sender,
        _domain_of(envelope),
        tuple(_signatures(found.dkim, dmarc)),
        spf_check,
    )
    return Published(dmarc.policy_domain, record.text), seen


def _word(aligned: bool) -> str:
    return "pass" if aligned else "fail"


def _domain_of(envelope: Envelope) -> str:
    """As the sender named them: an alias's domain, not where it leads."""
    named = [each.address.domain for each in envelope.recipients]
    named += [(each.alias or each.address).domain for each in envelope.remotes]
    return named[0] if len(set(named)) == 1 else ""


def _signatures(dkim: Iterable[DkimResult], dmarc: DmarcResult) -> Iterable[tuple[str, str, str]]:
    """Those that can be named; the author's own in front (RFC 9990 section 3.1.3)."""

    def rank(each: DkimResult) -> tuple[bool, bool, bool]:
        domain = ascii_domain(each.domain)
        related = domain.endswith(f".{dmarc.organization}") or domain == dmarc.organization
        return each.result != "pass", domain != dmarc.domain, not related

    for each in sorted((each for each in dkim if each.domain), key=rank)[:MOST_SIGNATURES]:
        yield each.domain[:NAME_CHARACTERS], each.selector[:NAME_CHARACTERS], each.result
