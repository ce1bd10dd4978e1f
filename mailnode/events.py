"""Everything that can happen to a mail or an account, each a frozen event.

It is told once, to the journal and to `MailLog`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from attrs import Factory, field, frozen


@frozen(kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        at: UTC epoch seconds.
        mail_id: of the mail it happened to, "" for none.
        detail: what else is to be known; JSON values, keys in snake_case.
    """

    name: ClassVar[str] = "event"
    audited: ClassVar[bool] = False  # the audit stream has it, too

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


class CopyKept(Event):
    """Its sender keeps a copy, in the folder that detail names."""

    name = "kept"


class Queued(Event):
    """A recipient elsewhere has a row in the queue."""

    name = "queued"


class Relayed(Event):
    """Another host has taken it for this recipient, or a route threw it away.

    What detail has of an attempt, here and in the next two: `host`, `address`, `tls` (version and
    cipher, "" for none), `reply` (the remote's words with their codes), `stage` (at which they
    came), `because` (why, where no remote said it), `route`.
    """

    name = "relayed"


class PutOff(Event):
    """An attempt failed for now; detail has the remote's words, and in `due_at` the next one."""

    name = "deferred"


class Bounced(Event):
    """It can't be delivered to this recipient; detail has in `told` who is told, "" for nobody."""

    name = "bounced"


class Interrupted(Event):
    """The process ended in an attempt: whether the remote has the mail nobody knows.

    Detail has in `process` which one it was.
    """

    name = "interrupted"


class QueueChanged(Event):
    """An administrator held, released, retried, gave up or dropped it.

    Detail has `action`, `by` whom, and the `reason` that the sender is given.
    """

    name = "queue-changed"


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
    """Somebody was let in.

    Detail has `account`, and in `service` by whom: smtp, pop3 or web; where it was by an app
    password its name in `token`; on the web in `device` what tells the browser from others.
    """

    name = "signed-in"
    audited = True


class SignInFailed(Event):
    """Somebody was not let in; detail has the `name` that was said, `service` and the `reason`."""

    name = "sign-in-failed"
    audited = True


class CodeAwaited(Event):
    """A right password on the web, of an account with a second factor: nobody is signed in yet."""

    name = "code-awaited"


class FactorAdded(Event):
    """An account has one more second factor.

    Detail has `account`, `kind`, and in `factor` what its owner calls it.
    """

    name = "factor-added"
    audited = True


class FactorRemoved(Event):
    """An account has a second factor less; detail is as of `FactorAdded`, with `by` whom."""

    name = "factor-removed"
    audited = True


class RecoveryCodesMade(Event):
    """An account has new recovery codes, and those of before count no more.

    Detail has `account`.
    """

    name = "recovery-codes-made"
    audited = True


class Banned(Event):
    """Nobody signs in from `client` any more, an address or a network.

    Detail has `for_s` (None: until it is lifted), `reason`, and `by` whom; of one that guessed
    `failures`, and `account_id` where it is kept from that account alone.
    """

    name = "banned"


class Unbanned(Event):
    """A ban was lifted before its time; detail has `by` whom where that is known."""

    name = "unbanned"


class Imported(Event):
    """A mail that was at rest elsewhere lies in a mailbox now, and would survive a power cut.

    Detail has `source` (where it lay), `size_octets`, and `folder` where that isn't the INBOX.
    """

    name = "imported"


class Moved(Event):
    """A copy lies in another folder of its owner's now, where `folder_id` and `uid` say.

    Detail has `from_folder` and `to_folder` (their names), and `from_uid`; `through` is "page"
    where its owner did it in a browser.
    """

    name = "moved"


class Deleted(Event):
    """A copy was deleted for good otherwise than by POP3; detail has in `folder` where it lay."""

    name = "deleted"


class Dropped(Event):
    """A copy whose account is gone was taken out of the store."""

    name = "dropped"


Events = Sequence[Event]
