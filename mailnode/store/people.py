"""Domains, accounts and aliases: the values that users.db and the directory have in common."""

from __future__ import annotations

from attrs import field, frozen

from mailnode.addresses import Address
from mailnode.model import JUNK


@frozen
class Domain:
    """A domain whose mail is filed here."""

    id: int
    name: str
    created_at: float


@frozen
class Account:
    """A person's mailbox and sign-in.

    Attributes:
        id: never given to another account, even after this one is deleted.
        key: `address.key`.
        password_hash: argon2id as a PHC string, or what another system had (`foreign_hashes`); ""
            lets nobody in.
        disabled: takes no mail and signs in nowhere.
        demo: its password is published.
        quota_octets, quota_mails: None is the node's default, 0 no limit.
        changed_at: UTC epoch seconds.
        admin: looks after the node.
        looks_after: domains whose accounts it looks after.
        junk: the folder of its unwanted mail: Junk, or the INBOX.
        tag_subject: POP3 serves unwanted mail under a Subject that begins with the tag.
        sign_in_changed_at: UTC epoch seconds; who signed in before is signed in no more.
        password_changed_at: UTC epoch seconds; since when a person chose this password.
    """

    id: int
    address: Address
    key: str
    password_hash: str = field(repr=False)
    disabled: bool = False
    demo: bool = False
    quota_octets: int | None = None
    quota_mails: int | None = None
    created_at: float = 0.0
    changed_at: float = 0.0
    admin: bool = False
    sign_in_changed_at: float = 0.0
    junk: str = JUNK
    tag_subject: bool = False
    password_changed_at: float = 0.0
    looks_after: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """What it is, and may, in words."""
        words = ["disabled"] if self.disabled else ["active"]
        words += ["demo"] if self.demo else []
        words += ["administrator"] if self.admin else []
        return ", ".join([*words, *(f"administrator of {each}" for each in self.looks_after)])


@frozen
class Alias:
    """One target of an address that isn't a mailbox itself.

    Attributes:
        source: "local@domain", or "*@domain" for what nothing else takes.
        target: an address of this node, or one elsewhere.
    """

    id: int
    source: str
    target: str
