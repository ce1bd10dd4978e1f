"""Delivery reports: what became of a mail, for its sender and for programs (RFC 3464, RFC 6533).

A report has three parts: plain words, the same as fields (message/delivery-status), and the
mail that it is about, or its header. It leaves with the null reverse-path, and none is ever
written about a mail that came with one.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterator, Sequence
from email.utils import formatdate

from attrs import field, frozen

from mailnode.addresses import Address
from mailnode.model import Envelope, Filed
from mailnode.outbound.plain import plain_words, subject_line
from mailnode.wire import header_fields, header_of
from mailnode.xtext import to_addr_xtext

ORIGINAL_OCTETS = 65536
LINE_OCTETS = 998
VALUE_OCTETS = 900

_UNSENDABLE = re.compile(rb"[^\n]{1000}|\0|\r(?!\n)|(?<!\r)\n")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,250}>")
_REPLY = re.compile(r"[2-5]\d\d(?:[ -]|$)")


@frozen
class Told:
    """What is told of one recipient.

    Attributes:
        recipient: where the mail went; for a mailbox here the address that was asked for.
        orcpt: as `Remote` has it.
        action: "failed", "delayed", "delivered", "relayed" (to a host that tells no more) or
            "expanded" (an alias has led it to several).
        status: the enhanced code (RFC 3463).
        remote_host: who said `reply`; "" when no other host did.
        reply: its words with their code, "550 5.1.1 No such user"; words of ours begin with none.
        last_attempt_at, will_retry_until: UTC epoch seconds.
    """

    recipient: str
    orcpt: str = ""
    action: str = "failed"
    status: str = "5.0.0"
    remote_host: str = ""
    reply: str = ""
    last_attempt_at: float | None = None
    will_retry_until: float | None = None


def wants(notify: str, what: str) -> bool:
    """Whether a sender is told (RFC 3461 section 4.1); of failure and delay unless it said.

    Args:
        notify: as `Remote` has it.
        what: "failure", "delay" or "success".
    """
    return what != "success" if not notify else what.upper() in notify.split(",")


def may_be_told(sender: Address | str | None) -> bool:
    """False for `<>`: a report about a report would begin a circle (RFC 3461 section 5.2.1)."""
    return bool(sender)


def gives_all_back(ret: str, size_octets: int, told: Sequence[Told]) -> bool:
    """Whether the whole mail is given back, and not its header alone (RFC 3461 section 4.3).

    Args:
        size_octets: of the whole mail, prefix included.
    """
    failed = any(each.action == "failed" for each in told)
    return failed and ret == "FULL" and size_octets <= ORIGINAL_OCTETS


def told_of_filed(envelope: Envelope, filed: Sequence[Filed], at: float) -> tuple[Told, ...]:
    """What NOTIFY=SUCCESS asks for about the mailboxes here, once for each address asked for.

    An alias that leads elsewhere too is "expanded": of those others nobody knows yet. Its
    mailboxes are nobody else's business, so the address that was asked for stands for them.
    """
    if not may_be_told(envelope.sender):
        return ()
    there = {(copy.address, copy.mailbox) for copy in filed}
    elsewhere = {remote.alias for remote in envelope.remotes}
    told: dict[Address, Told] = {}
    for to in envelope.recipients:
        if wants(to.notify, "success") and (str(to.address), to.mailbox) in there:
            action = "expanded" if to.address in elsewhere else "delivered"
            told[to.address] = Told(str(to.address), to.orcpt, action, "2.0.0", last_attempt_at=at)
    return tuple(told.values())


def make_report(
    *,
    hostname: str,
    to: str,
    mail_id: str,
    envid: str,
    arrived_at: float,
    told: Sequence[Told],
    original_head: bytes,
    original: bytes | None,
    smtputf8: bool,
    at: float,
    report_id: str,
) -> bytes:
    """A whole report, header and body: CRLF lines of at most 998 octets, not dot-stuffed.

    It is 7bit unless an 8bit original is given back whole, or UTF-8 is needed and may stand.

    Args:
        to: who sent the mail.
        told: one or more recipients.
        original_head: the mail's first octets, at least its header.
        original: the whole mail where `gives_all_back`; its header alone is given when nothing
            failed, when it is larger, and when no MIME part can hold it as it is.
        smtputf8: whether UTF-8 may stand in addresses and the original's header; without any
            the report is the same. `to` is written as it is.
        report_id: names the report; nobody can know it beforehand.
    """
    named = [to, *(each.recipient + each.orcpt for each in told)]
    in_utf8 = not (all(map(str.isascii, named)) and header_of(original_head).isascii())
    wide = not to.isascii() or (smtputf8 and in_utf8)
    if not any(each.action == "failed" for each in told):
        original = None
    parts = (
        _plain_part(plain_words(hostname, mail_id, arrived_at, told, original_head), wide),
        _status_part(hostname, mail_id, envid, arrived_at, told, wide),
        _original_part(original_head, original, wide),
    )
    boundary = f"=_{report_id}"
    while any(boundary.encode() in part.body for part in parts):
        boundary += "="
    head = [
        f"Date: {formatdate(at, localtime=True)}",
        f"From: Mail Delivery System <postmaster@{hostname}>",
        f"To: <{_one_line(to, wide)}>",
        f"Subject: {subject_line(told)}",
        f"Message-ID: <{report_id}@{hostname}>",
        *_in_reply_to(original_head),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f"Content-Type: multipart/report; report-type={parts[1].kind.partition('/')[2]};",
        f'\tboundary="{boundary}"',
    ]
    if any(part.encoding == "8bit" for part in parts):
        head.append("Content-Transfer-Encoding: 8bit")
    pieces = ["\r\n".join([*head, "", ""]).encode()]
    for part in parts:
        pieces += (f"--{boundary}\r\n".encode(), part.head(), part.body, b"\r\n")
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _in_reply_to(original_head: bytes) -> Iterator[str]:
    for name, value in header_fields(header_of(original_head)):
        if name == b"message-id" and _MESSAGE_ID.fullmatch(value):
            yield f"In-Reply-To: {value.decode()}"
            return


# The three parts


@frozen
class Part:
    """A MIME part: its media type, transfer encoding and encoded body."""

    kind: str
    body: bytes = field(repr=False)
    encoding: str = "7bit"

    def head(self) -> bytes:
        fields = [f"Content-Type: {self.kind}"]
        if self.encoding != "7bit":
            fields.append(f"Content-Transfer-Encoding: {self.encoding}")
        return "\r\n".join([*fields, "", ""]).encode()

    @classmethod
    def of(cls, kind: str, body: bytes, eight_bit: bool) -> Part:
        """As it is where that can be sent, else quoted-printable."""
        if _UNSENDABLE.search(body) or not (body.isascii() or eight_bit):
            encoded = b2a_qp(_LINE_END.sub(b"\r\n", body), istext=True)
            # Where there is no line end to go by, its soft ones are bare.
            return cls(kind, _LINE_END.sub(b"\r\n", encoded), "quoted-printable")
        return cls(kind, body, "7bit" if body.isascii() else "8bit")


def _plain_part(text: str, wide: bool) -> Part:
    charset = "us-ascii" if text.isascii() else "utf-8"
    return Part.of(f"text/plain; charset={charset}", text.encode(), wide)


def _status_part(
    hostname: str, mail_id: str, envid: str, arrived_at: float, told: Sequence[Told], wide: bool
) -> Part:
    groups = [
        (
            ("Original-Envelope-Id", envid),
            ("Reporting-MTA", f"dns; {hostname}"),
            ("Arrival-Date", _date(arrived_at)),
            ("X-Mailnode-Mail-Id", mail_id),
        ),
        *(_fields_of(each, wide) for each in told),
    ]
    text = "\r\n".join(
        "".join(f"{name}: {_one_line(value, wide)}\r\n" for name, value in group if value)
        for group in groups
    )
    kind = "message/delivery-status" if text.isascii() else "message/global-delivery-status"
    return Part.of(kind, text.encode(), wide)


def _fields_of(told: Told, wide: bool) -> tuple[tuple[str, str], ...]:
    """One recipient's fields in the RFC's order; "" for what is not to be told."""
    reply = told.reply and f"{'smtp' if _REPLY.match(told.reply) else 'x-mailnode'}; {told.reply}"
    host = told.remote_host if not told.remote_host.startswith("/") else ""  # a socket's path
    until = told.will_retry_until if told.action == "delayed" else None
    kind, _, orcpt = told.orcpt.partition(";")
    return (
        ("Original-Recipient", _typed(kind, orcpt, wide) if orcpt else ""),
        ("Final-Recipient", _typed("rfc822", told.recipient, wide)),
        ("Action", told.action),
        ("Status", told.status),
        ("Remote-MTA", f"dns; {host}" if host else ""),
        ("Diagnostic-Code", reply),
        ("Last-Attempt-Date", _date(told.last_attempt_at)),
        ("Will-Retry-Until", _date(until)),
    )


def _typed(kind: str, address: str, wide: bool) -> str:
    """An address with its type: UTF-8 bare where it may stand so (RFC 6533 section 3)."""
    if kind.lower() != "utf-8" and address.isascii():
        return f"{kind}; {address}"
    return f"utf-8; {address if wide else to_addr_xtext(address)}"


def _original_part(original_head: bytes, original: bytes | None, wide: bool) -> Part:
    header = header_of(original_head)
    in_utf8 = wide and not header.isascii()
    if original is not None and not (
        len(original) > ORIGINAL_OCTETS or _UNSENDABLE.search(original)
    ):
        kind = "message/global" if in_utf8 else "message/rfc822"
        return Part.of(kind, original, eight_bit=True)
    if len(header) > ORIGINAL_OCTETS:
        whole_lines, _, _rest = header[:ORIGINAL_OCTETS].rpartition(b"\r\n")
        header = whole_lines + b"\r\n"
    kind = "message/global-headers" if in_utf8 else "text/rfc822-headers"
    return Part.of(kind, header, wide)


def _date(at: float | None) -> str:
    return "" if at is None else formatdate(at, localtime=True)


def _one_line(text: str, wide: bool) -> str:
    """What a field can hold: one line, printable, not too long, and ASCII unless `wide`."""
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    if not wide and not text.isascii():
        text = text.encode("ascii", "replace").decode()
    return text.encode()[:VALUE_OCTETS].decode(errors="ignore")
