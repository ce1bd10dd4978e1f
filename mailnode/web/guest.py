"""Who asks: an account that signed in, by a browser's session or a program's token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from zope.interface import Attribute, Interface, implementer

from mailnode.audited import Actor

if TYPE_CHECKING:
    from mailnode.store.directory import Account
    from mailnode.store.guests import Session
    from mailnode.store.tokens import Token


class IWebGuest(Interface):
    """What the web asks the portal for."""

    account_id = Attribute("Of the account that signed in.")


@implementer(IWebGuest)
@frozen
class SignedIn:
    """The avatar of a sign-in."""

    account_id: int


@frozen
class Guest:
    """Somebody who may be served.

    Attributes:
        account: as it is now.
        session: of the browser; None for a program.
        token: of the program; None for a browser.
    """

    account: Account
    session: Session | None = None
    token: Token | None = None

    @property
    def is_admin(self) -> bool:
        """An administrator, whose token says so where it came by one."""
        return self.account.admin and (self.token is None or "admin" in self.token.scopes)

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains whose accounts it looks after, where a token doesn't keep it from that."""
        administers = self.token is None or "admin" in self.token.scopes
        return self.account.looks_after if administers else ()

    @property
    def administers(self) -> bool:
        """Whether it looks after any account."""
        return self.is_admin or bool(self.domains)

    def looks_after(self, domain: str) -> bool:
        return self.is_admin or domain in self.domains

    @property
    def actor(self) -> Actor:
        """As the audit stream names it; where from, its visit says."""
        token = self.token
        way = "web" if token is None else f"token {token.id} ({token.name})"
        return Actor(str(self.account.address), way)

    def may(self, scope: str | None) -> bool:
        """Whether what shows itself suffices for `scope`: a session does for all."""
        return self.token is None or (scope is not None and scope in self.token.scopes)
