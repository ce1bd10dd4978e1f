"""How an SMTP session treats strangers: when it greets them, what it asks before it takes mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall

from mailnode.errors import MailError
from mailnode.smtp.paths import Forward, Path, ReversePath
from mailnode.smtp.signing_in import SigningIn

if TYPE_CHECKING:
    from mailnode.arrival.arrival import Arrival
    from mailnode.arrival.visit import Visit


class MeetingStrangers(SigningIn):
    """The part of the SMTP server that knows who is a stranger.

    Attributes:
        arrival: where strangers are judged; None where nobody is.
        visit: what is known of who is connected; None for who is no stranger.
        submission: whether MAIL needs a sign-in: nobody who sends is a stranger there.
    """

    arrival: Arrival | None = None
    visit: Visit | None = None
    submission = False
    _held: IDelayedCall | None = None

    def greeting(self) -> bytes:
        return bytes(self.host) + b" ESMTP mailnode"

    def _meet(self) -> None:
        """Greet who is there; a stranger may have to wait for it."""
        arrival = self.arrival
        if arrival is not None and not self.submission:
            self.visit = arrival.visit(self.peer_host, self.loopback)
            if self.visit is not None and (delay_s := self.visit.rules.banner_delay_s):
                self._busy = True  # what he says meanwhile waits
                self._held = arrival.clock.callLater(delay_s, self._greet_late, self.visit)
                return
        self.sendLine(b"220 " + self.greeting())

    def _greet_late(self, visit: Visit) -> None:
        self._held = None
        if self._input:
            visit.speaks_early("before the greeting")
        self.sendLine(b"220 " + self.greeting())
        self._step_done(None)

    def _leave(self) -> None:
        """He isn't greeted any more."""
        held, self._held = self._held, None
        if held is not None:
            held.cancel()
            self._busy = False

    def drain(self) -> None:
        """The node stops: who is not greeted yet has nothing under way."""
        self._leave()
        super().drain()

    def _note_helo(self, helo: str) -> None:
        if self.visit is not None:
            self.visit.enquiry.name_helo(helo)
            if self._at < len(self._input):  # nobody knows what may be pipelined (RFC 2920, 3.1)
                self.visit.speaks_early("behind HELO")

    def _judge_origin(self, origin: ReversePath) -> None:
        if self.visit is not None:
            self.visit.begins_mail(origin.address)
            origin.found = self.visit.found

    def _judge_recipient(self, user: Forward) -> Any:
        """What `validateTo` says of a recipient, once nothing speaks against who names him."""
        recipient = user.dest.address if isinstance(user.dest, Path) else None
        if self.visit is None or recipient is None:
            return self.validateTo(user)
        judging = self.visit.names_recipient(recipient)
        if judging is None:
            return self.validateTo(user)
        return judging.addCallback(lambda _: self._judged(user))

    def _judged(self, user: Forward) -> Any:
        if self._gone:
            raise MailError("Connection lost")
        return self.validateTo(user)

    def validateTo(self, user: Forward) -> Any:
        """Whoever takes the mail says it."""
        raise NotImplementedError

    def _signed_in(self, avatar: Any, credentials_: Any) -> None:
        super()._signed_in(avatar, credentials_)
        if self.authenticated and self.arrival is not None and self.visit is not None:
            self.arrival.signed_in(self.peer_host)
            self.visit = None
