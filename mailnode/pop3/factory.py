"""Makes POP3 sessions: the factory that Twisted lacks, which hands each its limits and parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.mail import pop3
from zope.interface import implementer

from mailnode import __version__
from mailnode.admission import Sessions
from mailnode.config import Config
from mailnode.events import Event
from mailnode.pop3.server import Pop3Server


@frozen(kw_only=True)
class Pop3Rules:
    """What a session may cost; the units are in the names."""

    errors: int = 10
    sign_in_failures: int = 3
    idle_s: float = 600.0

    @classmethod
    def of(cls, config: Config) -> Pop3Rules:
        """What the settings say."""
        limits = config.limits
        return cls(
            errors=limits.errors,
            sign_in_failures=limits.sign_in_failures,
            idle_s=limits.pop3_idle,
        )


def _tell_nobody(event: Event) -> None:
    pass


def _let_all(client: str) -> float:
    return 0.0


@implementer(pop3.IServerFactory)
class Pop3Factory(ServerFactory):
    """Says what the sessions share.

    Attributes:
        portal: whom sessions log in to, for an `IMailbox`.
        challengers: SASL mechanism names to callables that make credentials.
        tls: a TLS context factory for STLS, or None.
        turn_away: for how long nobody signs in from an address; 0 for who may.
        protocol: `Pop3Server`, or a subclass of yours.
    """

    protocol = Pop3Server
    noisy = False

    def __init__(
        self,
        portal: Any,
        *,
        hostname: str,
        challengers: Mapping[bytes, Callable[[], Any]] | None = None,
        tls: Any = None,
        rules: Pop3Rules | None = None,
        sessions: Sessions | None = None,
        tell: Callable[[Event], None] = _tell_nobody,
        clock: IReactorTime | None = None,
        turn_away: Callable[[str], float] = _let_all,
    ) -> None:
        self.portal = portal
        self.domain = hostname.encode("ascii")
        self.challengers = dict(challengers or {})
        self.tls = tls
        self.rules = rules or Pop3Rules()
        self.sessions = sessions
        self.tell = tell
        self.turn_away = turn_away
        self.seconds = clock.seconds if clock is not None else time.monotonic

    def buildProtocol(self, addr: IAddress | None) -> Any:
        session: Any = self.protocol()
        session.factory = self
        session.portal = self.portal
        session.host = self.domain
        session.challengers = self.challengers
        session.tls = self.tls
        session.sessions = self.sessions
        session.seconds = self.seconds
        session.tell = self.tell
        session.turn_away = self.turn_away
        session.most_errors = self.rules.errors
        session.most_sign_in_failures = self.rules.sign_in_failures
        session.idle_s = self.rules.idle_s
        return session

    # IServerFactory

    def cap_IMPLEMENTATION(self) -> bytes:
        return b"mailnode-" + __version__.encode()

    def cap_EXPIRE(self) -> int | None:
        """No mail is ever deleted but by its owner."""
        return None

    def perUserExpiration(self) -> bool:
        return False

    def cap_LOGIN_DELAY(self) -> int:
        return 0

    def perUserLoginDelay(self) -> bool:
        return False
