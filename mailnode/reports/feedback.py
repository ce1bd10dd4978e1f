"""An aggregate report as XML, in the form of RFC 7489 appendix C.

RFC 9990 has a namespace for it and some elements more; what is written here is what readers of
either understand. Strangers wrote much of what stands in it: what XML can't say is replaced. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from attrs import frozen

from mailnode.mailauth.dmarc_record import DmarcRecord
from mailnode.mailauth.dmarc_seen import Seen
from mailnode.outbound.tls_outcomes import DAY_S, begin_of

_UNSAYABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen
class About:
    """What is said of a report as a whole.

    Attributes:
        organization, contact: whose it is, and where he is reached.
        report_id: the same in the mail's subject.
        day: in UTC, as in 2027-01-31.
        domain, record: the policy, and where it stands.
        remark: something that its reader should know; "" for nothing.
    """

    organization: str
    contact: str
    report_id: str
    day: str
    domain: str
    record: DmarcRecord
    remark: str = ""


def write_feedback(about: About, rows: Iterable[tuple[Seen, int]]) -> bytes:
    """The document; rows with how many mails each is for."""
    feedback = Element("feedback")
    _add(feedback, "version", "1.0")
    _add_metadata(SubElement(feedback, "report_metadata"), about)
    _add_policy(SubElement(feedback, "policy_published"), about)
    for seen, mails in rows:
        _add_record(SubElement(feedback, "record"), seen, mails)
    indent(feedback, " ")
    return bytes(tostring(feedback, encoding="UTF-8", xml_declaration=True)) + b"\n"


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = _UNSAYABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _add_metadata(metadata: Element, about: About) -> None:
    begin = begin_of(about.day)
    _add(metadata, "org_name", about.organization)
    _add(metadata, "email", about.contact)
    _add(metadata, "report_id", about.report_id)
    span = SubElement(metadata, "date_range")
    _add(span, "begin", f"{begin:.0f}")
    _add(span, "end", f"{begin + DAY_S - 1:.0f}")
    if about.remark:
        _add(metadata, "error", about.remark)


def _add_policy(published: Element, about: About) -> None:
    record = about.record
    _add(published, "domain", about.domain)
    _add(published, "adkim", "s" if record.strict_dkim else "r")
    _add(published, "aspf", "s" if record.strict_spf else "r")
    _add(published, "p", record.policy)
    _add(published, "sp", record.subdomains or record.policy)
    _add(published, "pct", str(record.percent))
    _add(published, "fo", record.options)


def _add_record(record: Element, seen: Seen, mails: int) -> None:
    row = SubElement(record, "row")
    _add(row, "source_ip", seen.source)
    _add(row, "count", str(mails))
    evaluated = SubElement(row, "policy_evaluated")
    _add(evaluated, "disposition", seen.disposition)
    _add(evaluated, "dkim", seen.dkim)
    _add(evaluated, "spf", seen.spf)
    for kind, comment in seen.overrides:
        reason = SubElement(evaluated, "reason")
        _add(reason, "type", kind)
        if comment:
            _add(reason, "comment", comment)
    identifiers = SubElement(record, "identifiers")
    if seen.envelope_to:
        _add(identifiers, "envelope_to", seen.envelope_to)
    _add(identifiers, "envelope_from", seen.envelope_from)
    _add(identifiers, "header_from", seen.header_from)
    results = SubElement(record, "auth_results")
    for domain, selector, result in seen.signatures:
        dkim = SubElement(results, "dkim")
        _add(dkim, "domain", domain)
        _add(dkim, "selector", selector)
        _add(dkim, "result", result)
    domain, scope, result = seen.spf_check
    spf = SubElement(results, "spf")
    _add(spf, "domain", domain)
    _add(spf, "scope", scope)
    _add(spf, "result", result)
