"""Makes SMTP sessions: a `smtp.SMTPFactory` that hands each one its limits and its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.mail import smtp

from mailnode.admission import Sessions
from mailnode.config import Config
from mailnode.events import Event
from mailnode.smtp.server import SmtpServer

if TYPE_CHECKING:
    from mailnode.arrival.arrival import Arrival


@frozen(kw_only=True)
class SmtpRules:
    """What a session may cost; the units are in the names, 0 mails means no limit."""

    message_octets: int = 75 << 20
    recipients: int = 100
    mails: int = 0
    errors: int = 10
    sign_in_failures: int = 3
    idle_s: float = 300.0
    body_octets_a_second: int = 1024
    body_s: float = 3600.0
    keep_dialog: bool = False

    @classmethod
    def of(cls, config: Config) -> SmtpRules:
        """What the settings say."""
        limits = config.limits
        return cls(
            message_octets=limits.message_size,
            recipients=limits.recipients,
            mails=limits.mails_per_connection,
            errors=limits.errors,
            sign_in_failures=limits.sign_in_failures,
            idle_s=limits.smtp_idle,
            body_octets_a_second=limits.body_rate,
            body_s=limits.body_time,
            keep_dialog=config.journal.dialog,
        )


def _tell_nobody(event: Event) -> None:
    pass


def _let_all(client: str) -> float:
    return 0.0


class SmtpFactory(smtp.SMTPFactory):
    """What Twisted's factory is, and what our sessions share.

    Attributes:
        portal: whom sessions log in to.
        challengers: SASL mechanism names to callables that make credentials.
        tls: a TLS context factory for STARTTLS, or None.
        submission: whether MAIL needs a sign-in.
        turn_away: for how long nobody signs in from an address; 0 for who may.
        protocol: `SmtpServer`, or a subclass of yours.
        arrival: where strangers are judged before their mail is read; None where nobody is.
    """

    protocol = SmtpServer
    arrival: Arrival | None = None
    noisy = False

    def __init__(
        self,
        portal: Any,
        *,
        hostname: str,
        challengers: Mapping[bytes, Callable[[], Any]] | None = None,
        tls: Any = None,
        rules: SmtpRules | None = None,
        sessions: Sessions | None = None,
        submission: bool = False,
        tell: Callable[[Event], None] = _tell_nobody,
        clock: IReactorTime | None = None,
        turn_away: Callable[[str], float] = _let_all,
    ) -> None:
        super().__init__(portal)
        self.domain = hostname.encode("ascii")
        self.challengers = dict(challengers or {})
        self.tls = tls
        self.rules = rules or SmtpRules()
        self.sessions = sessions
        self.submission = submission
        self.tell = tell
        self.turn_away = turn_away
        self.seconds = clock.seconds if clock is not None else time.monotonic

    def buildProtocol(self, addr: IAddress | None) -> Any:
        session: Any = self.protocol(self.challengers, self.tls)
        session.factory = self
        session.portal = self.portal
        session.host = self.domain
        session.sessions = self.sessions
        session.seconds = self.seconds
        session.tell = self.tell
        session.turn_away = self.turn_away
        session.submission = self.submission
        session.arrival = self.arrival
        rules = self.rules
        session.message_size = rules.message_octets
        session.most_recipients = rules.recipients
        session.most_mails = rules.mails
        session.most_errors = rules.errors
        session.most_sign_in_failures = rules.sign_in_failures
        session.idle_s = rules.idle_s
        session.body_rate = rules.body_octets_a_second
        session.body_s = rules.body_s
        session.keep_dialog = rules.keep_dialog
        return session
