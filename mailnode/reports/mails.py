"""The mail that brings an aggregate report (RFC 7489 section 7.2.1, RFC 9990 section 3.5). Pure."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from hashlib import blake2b

from attrs import frozen

from mailnode.addresses import Address
from mailnode.mailauth.dmarc_record import is_record, read_record
from mailnode.mailauth.dmarc_seen import Seen
from mailnode.model import mail_id_of
from mailnode.outbound.daily_mail import Enclosed, make_daily_mail
from mailnode.outbound.tls_outcomes import DAY_S, begin_of
from mailnode.reports.feedback import About, write_feedback
from mailnode.store.dmarc_rows import Collected

MEDIA_TYPE = "application/gzip"


@frozen
class Reporter:
    """Who reports.

    Attributes:
        organization: its name.
        address: which the mails come from, and which is written to about them.
        hostname: of this node.
    """

    organization: str
    address: Address
    hostname: str


def mail_id_for(report: Collected, hostname: str) -> str:
    """The id of the mail that brings it: the same however often it is asked, also by a process that
    knows of none before."""
    about = "\0".join((hostname, report.day, report.domain, report.record))
    chance = blake2b(about.encode("utf-8", "replace"), digest_size=10).digest()
    return mail_id_of(begin_of(report.day) + DAY_S, chance)


def write_report(report: Collected, rows: Sequence[tuple[Seen, int]], reporter: Reporter) -> bytes:
    """The XML; it takes its time where there are many rows.

    Raises:
        ValueError: its policy can't be read.
    """
    record = read_record(report.record) if is_record(report.record) else None
    if record is None:
        raise ValueError(f"{report.record!r} is no policy")
    remark = f"for want of room {report.left_out} mails are not counted" if report.left_out else ""
    about = About(
        organization=reporter.organization,
        contact=str(reporter.address),
        report_id=f"{mail_id_for(report, reporter.hostname)}@{reporter.hostname}",
        day=report.day,
        domain=report.domain,
        record=record,
        remark=remark,
    )
    return write_feedback(about, rows)


def make_mail(
    report: Collected,
    rows: Sequence[tuple[Seen, int]],
    reporter: Reporter,
    to: Sequence[Address],
    at: float,
) -> bytes:
    """Header and body: CRLF lines, 7bit.

    Raises:
        ValueError: as `write_report`.
    """
    mail_id, sender = mail_id_for(report, reporter.hostname), reporter.address
    begin = begin_of(report.day)
    name = f"{sender.domain}!{report.domain}!{begin:.0f}!{begin + DAY_S - 1:.0f}"
    if report.number:
        name += f"!{mail_id}"
    packed = gzip.compress(write_report(report, rows, reporter), mtime=0)
    return make_daily_mail(
        Enclosed(MEDIA_TYPE, f"{name}.xml.gz", packed),
        about=report.domain,
        report_id=mail_id,
        sender=sender,
        name=f"DMARC reports of {sender.domain}",
        to=to,
        hostname=reporter.hostname,
        at=at,
        kind="multipart/mixed",
        words=[
            f"Mail that came to {reporter.hostname} on {report.day} (UTC)",
            f"and says it is from {report.domain}: a report for programs (RFC 7489).",
        ],
    )
