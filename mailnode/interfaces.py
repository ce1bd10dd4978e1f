"""The seats: where a second implementation ships, or a plug-in of yours may sit.

Whoever implements one is found by `twisted.plugin` or named in `[plugins]` of the
configuration (docs/extending.rst). Arguments are values of `mailnode.model`.
"""

from __future__ import annotations

from twisted.mail.interfaces import IMailboxPOP3, IMessageSMTP
from zope.interface import Attribute, Interface


class IContentFilter(Interface):
    """Judges each mail after its last octet and before it is committed."""

    name = Attribute("A short word for the log and the journal.")

    def judge(envelope, message):  # type: ignore[no-untyped-def]
        """Say whether this mail is taken.

        Args:
            envelope: `model.Envelope`: `recipients` here, `remotes` elsewhere, `account_id` of
                who submitted it.
            message: `model.Message`; `body` is bytes, or a `model.Blob` when it is large:
                its `open()` gives what reads it in pieces.

        Returns:
            `model.Verdict`, or an awaitable or Deferred of one. It must not block the
            reactor: what takes longer than a millisecond belongs in a thread.

        Raises:
            MailError: the client gets its answer. Any other exception is 451 4.7.1 to the
            client and a traceback in the log.
        """


class ISomeMailFilter(IContentFilter):
    """One that judges some mails alone."""

    def wants(envelope):  # type: ignore[no-untyped-def]
        """Whether it is asked about a mail with this `model.Envelope`: at once, for each mail."""


class ILateFilter(IContentFilter):
    """One that is asked behind the others: `message.judgements` has what they found."""


class IChunkedMessage(IMessageSMTP):
    """An `IMessage` that takes the body in chunks instead of lines.

    The SMTP server calls `chunkReceived` when an `IMessage` provides this, and never
    `lineReceived`. One object may stand for several recipients: when the callables that
    `IMessageDelivery.validateTo` returned give the same object, it gets the body once.
    """

    mend_bare_lf = Attribute("True to have bare LF brought to CRLF; else refuse it in eomReceived.")
    commits = Attribute(
        "True for one that files the mail durably and tells the journal: the others are asked "
        "first, for it can still be abandoned when one of them fails."
    )

    def chunkReceived(chunk):  # type: ignore[no-untyped-def]
        """Take the body's next octets: unstuffed, CRLF lines, cut anywhere but inside a CRLF.

        Returns:
            None, or a Deferred: no more is read from the client until it fires.
        """

    def bodyEnded(facts):  # type: ignore[no-untyped-def]
        """The dot came; `eomReceived` follows.

        Args:
            facts: `wire.DotReader`, for its `size_octets`, `dot_lines` and `bare_lf`.
        """


class IMaildrop(IMailboxPOP3):
    """An `IMailbox` that can be read many mails at a time.

    The POP3 server uses these when a mailbox provides them; any other `IMailbox` (ints,
    file objects, Deferreds) is served too, one mail a call.
    """

    client = Attribute("Address of the other end in text; the server sets it at sign-in.")
    tls = Attribute("TLS version and cipher, '' in clear; the server sets it at sign-in.")
    octets = Attribute("Of all mails at sign-in; the server counts where a mailbox lacks it.")

    def fetch(indices):  # type: ignore[no-untyped-def]
        """Read several mails in one go.

        Args:
            indices: ascending 0-based indices of mails that are not deleted.

        Returns:
            Deferred of a list, in the same order, of (head, body, dot_lines): `head` are
            bytes, `body` is bytes or an object whose `read(count)` gives a Deferred of
            bytes and which is closed by `close()`; `dot_lines` counts lines that begin
            with a dot, or is None when nobody counted. The list may be shorter than
            asked, never empty: memory bounds it. (Our own gives `pop3.ahead.Run` for all of
            those asked for, where it can, and takes several of them in `mark_read`.)

        Raises:
            MailGone: the first of them is no longer there.
        """

    def mark_read(index):  # type: ignore[no-untyped-def]
        """This mail was sent whole; what `fetch` read ahead may never be."""


class IBlobs(Interface):
    """Keeps large bodies outside the database, under opaque keys."""

    def create():  # type: ignore[no-untyped-def]
        """Begin a blob: an object with `write(bytes)` -> None or Deferred, `commit()` ->
        Deferred of its key once the bytes would survive a power cut, and `discard()`."""

    def open(key):  # type: ignore[no-untyped-def]
        """Read a blob: an object with `read(count)` -> Deferred of bytes (b"" at the end)
        and `close()`. The first read fails with StoreBroken when it is missing."""

    def delete(keys):  # type: ignore[no-untyped-def]
        """Deferred: these blobs are gone; a missing one is no error."""

    def keys():  # type: ignore[no-untyped-def]
        """Deferred of a list of (key, size in octets, written at)."""


class IResolver(Interface):
    """Looks up names in the DNS."""

    def look_up(name, kind):  # type: ignore[no-untyped-def]
        """What `name` has of one kind.

        Args:
            name: A-labels, without the last dot or with it.
            kind: "A", "AAAA", "MX", "TXT", "TLSA", "CNAME", "PTR", "SRV" ...

        Returns:
            Awaitable of `records.Records`, in the server's order; without values when the name
            is there and has none of this kind.

        Raises:
            NoSuchName: there is no such name.
            LookupFailed: nobody could say; it may be tried again.
        """
