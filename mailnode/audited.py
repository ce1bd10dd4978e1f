"""What an audit asks for: who changed what, and who was let in or turned away.

Each is an `Entry` of the audit stream (`store.audit_file`), with a name of `EVENTS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from attrs import Factory, field, frozen

AGAIN = "signed-in-again"  # summed up

EVENTS: Mapping[str, str] = {
    "signed-in": "an account is signed in",
    AGAIN: "a mail program did so many more times within the hour, and when last",
    "sign-in-failed": "somebody was not let in",
    "sign-ins-failed": "so many more were not let in, within a minute",
    "password-changed": "it has another password, and is signed out everywhere else",
    "factor-added": "it has one more second factor",
    "factor-removed": "it has one less",
    "recovery-codes-made": "it has new recovery codes",
    "token-made": "a token or an app password lets programs in",
    "token-revoked": "one lets nobody in any more",
    "account-added": "there is an account",
    "account-changed": "its quota, its role, its state or its folder of unwanted mail",
    "account-deleted": "an account and its mail are gone",
    "alias-added": "an address leads to another",
    "alias-deleted": "it does so no more",
    "domain-added": "a domain is served",
    "domain-deleted": "it is served no longer",
    "domain-admin-added": "an account looks after a domain",
    "domain-admin-removed": "it does so no more",
    "route-added": "mail for elsewhere goes another way",
    "route-deleted": "it does so no more",
    "outside-address-added": "an account sends as an address elsewhere",
    "outside-address-deleted": "it does so no more",
    "key-added": "a key signs a domain's mail",
    "key-changed": "it signs, or not",
    "key-deleted": "it is gone",
    "sender-rule-set": "an account or a domain allows or blocks a sender",
    "sender-rule-removed": "it does so no more",
    "gear-set": "how far mail goes",
    "settings-taken-up": "a running node has read its settings again",
    "banned": "nobody signs in from there",
    "unbanned": "somebody may again",
    "audit-pruned": "lines that were kept long enough are gone",
    "audit-lost": "so many entries could not be written",
    "audit-broken": "the end of the stream was not as it was left",
}


@frozen
class Actor:
    """Who does something, and from where.

    Attributes:
        by: an account's address, or a user of this machine; "" for the node itself.
        way: "web", "token 3 (backup)", "command line"; "" for the node itself.
        client: the address of the other end; "" for this machine.
    """

    by: str = ""
    way: str = ""
    client: str = ""


THE_NODE = Actor()


@frozen
class Entry:
    """What one line of the stream says.

    Attributes:
        event: one of `EVENTS`.
        account: whom it is about, by the address; of a sign-in that failed what was said.
        actor: who did it.
        detail: what else is to be known; JSON values, and no secrets.
        at: UTC epoch seconds.
    """

    event: str
    account: str = ""
    actor: Actor = THE_NODE
    detail: Mapping[str, object] = field(factory=dict)
    at: float = Factory(time.time)


def _nowhere(entries: Sequence[Entry]) -> None:
    pass


@frozen
class Auditor:
    """Tells the stream of changes, each by whoever makes them.

    Attributes:
        keep: appends entries, durably; blocks.
    """

    keep: Callable[[Sequence[Entry]], object] = _nowhere
    actor: Actor = THE_NODE

    def tell(self, event: str, account: str = "", **detail: object) -> None:
        """This has happened."""
        said = {key: value for key, value in detail.items() if value is not None}
        self.keep([Entry(event, account, self.actor, said)])

    def of(self, actor: Actor) -> Auditor:
        """The same for what another does."""
        return Auditor(self.keep, actor)


UNTOLD = Auditor()
