"""The words that every room shares: envelope, message, recipient, verdict, events.

Frozen values with no I/O. An event is one thing that happened to a mail or an account;
it is told once, to the journal and to `MailLog`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from attrs import Factory, field, frozen

from mailnode.addresses import Address

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
MAIL_ID_LENGTH = 26


def new_mail_id(now_s: float | None = None) -> str:
    """A ULID: 48 bits of milliseconds, 80 of chance, 26 characters that sort by time."""
    millis = int((time.time() if now_s is None else now_s) * 1000)
    number = (millis & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


@frozen
class Client:
    """Who is at the other end.

    Attributes:
        host: the address in text, without a zone; "" when the mail did not come by network.
        helo: as the client gave it, printable ASCII.
        protocol: for Received's `with`: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP...
        tls: version and cipher, "" without TLS.
        account: the canonical address that is signed in, "" for nobody.
        loopback: whether `host` is this machine.
    """

    host: str = ""
    port: int = 0
    helo: str = ""
    protocol: str = ""
    tls: str = ""
    account: str = ""
    loopback: bool = False


@frozen
class MailParameters:
    """What stood behind MAIL FROM:<...> (RFC 1870, 6152, 6531, 4954)."""

    size_octets: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    auth: str = ""


@frozen
class Recipient:
    """One local mailbox that a mail goes to.

    Attributes:
        address: what Delivered-To says: the address as it was asked for.
        account_id: of the mailbox's owner.
        mailbox: the owner's canonical address.
    """

    address: Address
    account_id: int
    mailbox: str


@frozen
class Envelope:
    """Who sends to whom; the reverse-path None is `<>`."""

    mail_id: str
    sender: Address | None
    recipients: tuple[Recipient, ...]
    client: Client = Client()
    parameters: MailParameters = MailParameters()
    received_at: float = Factory(time.time)


@frozen
class Blob:
    """A body that lies outside the database.

    Attributes:
        key: opaque; only the blob store reads it.
        open: gives a reader: `read(count)` is a Deferred of bytes, b"" at the end, and
            `close()` ends it. Without one it is to be opened at the blob store.
    """

    key: str
    open: Callable[[], Any] | None = field(default=None, eq=False, repr=False)


@frozen
class Message:
    """The canonical form: prefix + raw, CRLF lines, not dot-stuffed.

    Attributes:
        prefix: header fields that we put in front (Received ...), each with its CRLF.
        body: the raw octets as they came, or where they lie.
        size_octets: of the raw octets.
        digest: SHA-256 of the raw octets.
        dot_lines: lines in the raw octets that begin with a dot.
        subject: decoded, for lists; at most 200 characters.
        dialog: the session's lines that led to it, secrets masked; "" when not kept.
        mended_lf: whether bare LFs were made CRLF before storing.
    """

    prefix: bytes
    body: bytes | Blob
    size_octets: int
    digest: bytes
    dot_lines: int = 0
    subject: str = ""
    dialog: str = ""
    mended_lf: bool = False


@frozen
class Verdict:
    """What a content filter says of a mail.

    Attributes:
        action: "accept"; "refuse" (550 5.7.1 with `reason`); "defer" (451 4.7.1).
        headers: fields to put in front, each with its CRLF.
    """

    action: str = "accept"
    reason: str = ""
    headers: bytes = b""


ACCEPT = Verdict()


@frozen
class Filed:
    """Where one copy came to lie."""

    address: str
    mailbox: str
    folder_id: int
    uid: int


@frozen(kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        at: UTC epoch seconds.
        mail_id: of the mail it happened to, "" for none.
        detail: what else is to be known; JSON values, keys in snake_case.
    """

    name: ClassVar[str] = "event"

    at: float = Factory(time.time)
    mail_id: str = ""
    sender: str | None = None
    recipient: str | None = None
    folder_id: int | None = None
    uid: int | None = None
    client: str = ""
    detail: Mapping[str, object] = field(factory=dict)


class Accepted(Event):
    """A mail was taken, and its bytes would survive a power cut."""

    name = "accepted"


class Delivered(Event):
    """A copy of it lies in a mailbox."""

    name = "delivered"


class RefusedMail(Event):
    """A mail or a recipient was turned away, for good or for now."""

    name = "refused"


class Summed(Event):
    """Refusals from one address past the ten a minute that are told one by one."""

    name = "refused-more"


class Fetched(Event):
    """A POP3 session ended: what it read and deleted, as ranges of uids."""

    name = "pop3-session"


class SignedIn(Event):
    name = "signed-in"


class SignInFailed(Event):
    name = "sign-in-failed"


class Dropped(Event):
    """A copy whose account is gone was taken out of the store."""

    name = "dropped"


Events = Sequence[Event]


def ranges_of(numbers: Sequence[int]) -> str:
    """Ascending whole numbers in short: `1-50,60`."""
    parts: list[str] = []
    start = previous = None
    for number in [*sorted(numbers), None]:
        if previous is not None and number != previous + 1:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
            start = None
        if start is None:
            start = number
        previous = number
    return ",".join(parts)


def in_ranges(number: int, ranges: str) -> bool:
    """Whether `number` stands in what `ranges_of` wrote."""
    for part in filter(None, ranges.split(",")):
        low, _, high = part.partition("-")
        if int(low) <= number <= int(high or low):
            return True
    return False
