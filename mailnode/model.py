"""The words that every room shares: envelope, message, recipient, verdict; frozen, with no I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from attrs import Factory, field, frozen

from mailnode.addresses import Address
from mailnode.events import Event as Event  # docs/extending.rst promises it here

# What an owner's mail programs said of a copy: bits of delivery.flags.
SEEN, ANSWERED, FLAGGED, DRAFT, TRASHED, PASSED = 1, 2, 4, 8, 16, 32
MARKS = 63

# What the node said of a copy, in the same column: POP3 serves it under a Subject that begins with
# the tag, put into the one it has, or into one of its own where it has none.
SUBJECT_TAGGED, SUBJECT_MADE = 64, 128

INBOX, SENT, DRAFTS, JUNK, TRASH = "INBOX", "Sent", "Drafts", "Junk", "Trash"
STANDARD_FOLDERS = (INBOX, DRAFTS, SENT, JUNK, TRASH)

PAGE = "page"  # by what an owner did something to a copy: in a browser

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
MAIL_ID_LENGTH = 26


def new_mail_id(now_s: float | None = None) -> str:
    """A ULID: 48 bits of milliseconds, 80 of chance, 26 characters that sort by time."""
    return mail_id_of(time.time() if now_s is None else now_s, os.urandom(10))


def mail_id_of(at: float, chance: bytes) -> str:
    """The same of a time and 10 octets."""
    number = (int(at * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(chance, "big")
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
    """What stood behind MAIL FROM:<...> (RFC 1870, 6152, 6531, 4954, 3461).

    Attributes:
        ret: "FULL" or "HDRS": what a report gives back; "" when not said.
        envid: the sender's name for this mail, xtext undone; "" when not said.
    """

    size_octets: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    auth: str = ""
    ret: str = ""
    envid: str = ""


@frozen
class Recipient:
    """One local mailbox that a mail goes to.

    Attributes:
        address: what Delivered-To says: the address as it was asked for.
        account_id: of the mailbox's owner.
        mailbox: the owner's canonical address.
        notify, orcpt: as `Remote` has them.
        folder: the owner's folder that it is filed in.
        junk: the folder that it is filed in where it is unwanted.
        judgements: what filters found for this copy alone.
        tagged: whether its owner wants an unwanted one served under a tagged Subject.
        flags: `SUBJECT_TAGGED`, `SUBJECT_MADE`, or 0: whether this one is.
    """

    address: Address
    account_id: int
    mailbox: str
    notify: str = ""
    orcpt: str = ""
    folder: str = INBOX
    junk: str = JUNK
    judgements: tuple[Judgement, ...] = ()
    tagged: bool = False
    flags: int = 0


@frozen
class Remote:
    """One recipient at another host: a row of the queue.

    Attributes:
        address: where it goes.
        alias: the address here that led to it; None when the sender named it.
        sender: the reverse-path that it leaves with, "" for `<>`; None is the envelope's.
        notify: "" for what is usual (failure and delay), "NEVER", or words of SUCCESS, FAILURE
            and DELAY parted by commas (RFC 3461 section 4.1).
        orcpt: the address that its sender first named, "rfc822;bob@example.org" with xtext undone
            (RFC 3461 section 4.2); "" when not said.
        send_as: id of the outside address (`users.db` send_as) by whose provider it leaves; 0 for
            none.
        captured: it is kept and shown, and never leaves.
    """

    address: Address
    alias: Address | None = None
    sender: str | None = None
    notify: str = ""
    orcpt: str = ""
    send_as: int = 0
    captured: bool = False


@frozen
class Kept:
    """A copy that whoever sends a mail keeps, filed in the commit that accepts it.

    Attributes:
        account_id, mailbox: whose it is.
        flags: bits of `SEEN` and its like.
    """

    account_id: int
    mailbox: str
    folder: str = "Sent"
    flags: int = 1


@frozen
class Once:
    """What a program is answered for a mail, under a key by which it may ask again.

    Attributes:
        request_digest: SHA-256 of what it asked.
        answer: the text that it gets, the second time, too.
    """

    account_id: int
    key: str
    request_digest: bytes
    answer: str


@frozen
class Envelope:
    """Who sends to whom; the reverse-path None is `<>`.

    Attributes:
        recipients: mailboxes of this node.
        remotes: recipients elsewhere.
        account_id: who submitted it, 0 for nobody of ours.
        priority: of its rows in the queue: 0 for reports and replies, 1, 2 for lists.
        kept: a copy of the sender's own; None for none.
        once: the answer that is kept with it; None where nobody asks twice.
    """

    mail_id: str
    sender: Address | None
    recipients: tuple[Recipient, ...]
    client: Client = Client()
    parameters: MailParameters = MailParameters()
    received_at: float = Factory(time.time)
    remotes: tuple[Remote, ...] = ()
    account_id: int = 0
    priority: int = 1
    kept: Kept | None = None
    once: Once | None = None


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


class Sealable(Protocol):
    """What was found out of who sent a mail, for an ARC seal of it (RFC 8617)."""

    def seal(self, prefix: bytes, authserv_id: str, key: Any, at: int) -> bytes:
        """An ARC set to put in front; b"" where none may be. It belongs into a thread.

        Args:
            prefix: the fields that we put in front of the mail.
            key: of the domain that seals.
            at: UTC epoch seconds.
        """


@frozen
class Judgement:
    """What a filter found, for the filters behind it and for the journal.

    Attributes:
        by: the filter's name.
        unwanted, reasons, facts, of_copies, wanted: as `Verdict` has them.
    """

    by: str
    unwanted: bool = False
    reasons: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(factory=dict)
    of_copies: Mapping[int, Judgement] = field(factory=dict)
    wanted: bool = False

    @property
    def says_something(self) -> bool:
        """Of the mail for all whose copies aren't judged by themselves."""
        return bool(self.unwanted or self.wanted or self.reasons or self.facts)


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
        judgements: what filters found, in their order.
        sealable: for an ARC seal of what is forwarded; None where there is to be none.
        taggable: `SUBJECT_TAGGED` or `SUBJECT_MADE`: how its Subject could be tagged; 0 for not,
            or where nobody asks.
    """

    prefix: bytes
    body: bytes | Blob
    size_octets: int
    digest: bytes
    dot_lines: int = 0
    subject: str = ""
    dialog: str = ""
    mended_lf: bool = False
    judgements: tuple[Judgement, ...] = ()
    sealable: Sealable | None = field(default=None, eq=False, repr=False)
    taggable: int = 0


@frozen
class Verdict:
    """What a content filter says of a mail.

    Attributes:
        action: "accept"; "refuse" (550 5.7.1 with `reason`); "defer" (451 4.7.1).
        headers: fields to put in front, each with its CRLF.
        unwanted: it is taken, but nobody wants it: it is filed in Junk.
        reasons: in plain words, the weightiest first; whose mail it is may read them.
        facts: what was found, by short names: {"spf": "fail"}.
        of_copies: by account id, where it is judged otherwise for one recipient; of these
            all but the first three count, and the owner alone is told.
        wanted: whatever other filters find unwanted, it lies in the inbox.
        sealable: as `Message` has it: from the check of who sent it alone.
    """

    action: str = "accept"
    reason: str = ""
    headers: bytes = b""
    unwanted: bool = False
    reasons: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(factory=dict)
    of_copies: Mapping[int, Verdict] = field(factory=dict)
    wanted: bool = False
    sealable: Sealable | None = field(default=None, eq=False, repr=False)


ACCEPT = Verdict()


@frozen
class Filed:
    """Where one copy came to lie."""

    address: str
    mailbox: str
    folder_id: int
    uid: int


class Standing(NamedTuple):
    """Where a mail stands in a folder's list, or would, if it is there no more.

    Attributes:
        at_ms: when it came, UTC epoch milliseconds.
    """

    at_ms: int
    uid: int

    def text(self, step: int = 0) -> str:
        """As it stands in an address: itself, or a step in front of it (1) or behind it (-1)."""
        return f"{self.at_ms}-{max(0, self.uid + step)}"

    @classmethod
    def read(cls, said: str) -> Standing | None:
        """What `text` wrote; None where it didn't."""
        parts = said.rpartition("-")[::2]
        if all(each.isascii() and each.isdigit() and len(each) < 17 for each in parts):
            return cls(*map(int, parts))
        return None


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
