"""The SMTP server: Twisted's ESMTP in contract, with every mend of docs/rfc.rst (S1 to S33).

A verb is a method: `do_MAIL(rest)`, `ext_AUTH(rest)`. It writes its reply and returns
None, or returns a Deferred that holds back the next command. Whatever it raises becomes the
reply, in one place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.mail import smtp
from twisted.python.failure import Failure

from mailnode.dialog import Dialog
from mailnode.errors import SignInBlocked, TooLarge, TooManyRecipients
from mailnode.model import new_mail_id
from mailnode.session import settled
from mailnode.smtp.body import taken_reply
from mailnode.smtp.paths import (
    ENVID_MAX_OCTETS,
    ORCPT_MAX_OCTETS,
    BadSyntax,
    Forward,
    Path,
    ReversePath,
    no_argument,
    parse_helo,
    parse_mail,
    parse_rcpt,
)
from mailnode.smtp.replies import BadSequence, BadVerb, NeedsSignIn, NotOffered, UnknownVerb
from mailnode.smtp.strangers import MeetingStrangers
from mailnode.smtp.trace import received_field

# What each extension adds to the length of a command
MAIL_MORE_OCTETS = (
    26  # SIZE (RFC 1870 section 3)
    + 17  # BODY (RFC 6152 section 2)
    + 10  # SMTPUTF8 (RFC 6531 section 3.1)
    + 500  # AUTH (RFC 4954 section 3)
    + len(" RET=FULL ENVID=")
    + ENVID_MAX_OCTETS
)
RCPT_MORE_OCTETS = len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + ORCPT_MAX_OCTETS


class SmtpServer(MeetingStrangers):
    """One SMTP session.

    What Twisted's class has keeps its name and meaning: `portal`, `delivery`,
    `deliveryFactory`, `challengers`, `host`, `validateFrom`, `validateTo`, `receivedHeader`,
    `extensions`, `sendCode`, `lookupMethod` and every `do_` and `ext_` verb can be overridden.

    Attributes:
        most_recipients: of one mail; past it 452 4.5.3.
        most_mails: in one session, 0 for no limit; past it 421 4.7.0.
    """

    most_recipients = 100
    most_mails = 0
    noisy = False

    # The connection's life

    def connectionMade(self) -> None:
        admitted = self.beginSession()
        if self.keep_dialog:
            self._dialog = Dialog()
        self._helo = (None, self.peer_host.encode("ascii", "replace"))
        if not admitted:
            self._reply(421, "4.7.0", f"{self.hostname()} Too many connections, try again later")
            self.turnAway()
            return
        # Only where mail needs a sign-in: a server of others may stand behind the same address.
        if self.submission and self.turn_away(self.peer_host):
            self._reply(421, "4.7.0", f"{self.hostname()} {SignInBlocked.text}")
            self.close()
            return
        self.canStartTLS = self.tls_offered
        self._meet()

    def turn_away(self, client: str) -> float:
        """A server without a factory turns nobody away."""
        return 0.0

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.endSession()
        self._leave()
        self._abandon()
        self.abandonBody()
        self._logout()

    def _reset(self) -> None:
        self._abandon()
        super()._reset()

    def _abandon(self) -> None:
        """A delivery that wants to know hears that its mail never came."""
        abandoned = getattr(self.delivery, "abandoned", None)
        if self._from is not None and abandoned is not None:
            abandoned()

    def sayGoodbye(self) -> None:
        self._reply(421, "4.3.2", f"{self.hostname()} Service is stopping, try again later")

    def sayRevoked(self) -> None:
        self._reply(421, "4.7.0", f"{self.hostname()} Your account has changed, sign in again")

    def tooManyErrors(self) -> None:
        self._reply(421, "4.7.0", f"{self.hostname()} Too many errors, closing")

    def underWay(self) -> bool:
        return self._from is not None or self.readingBody()

    def timeoutConnection(self) -> None:
        self._reply(421, "4.4.2", f"{self.hostname()} Timeout, closing")
        self.close()

    def sweepIdle(self, now: float) -> None:
        if self.readingBody():
            if self.bodyTooSlow(now):
                self.timeoutConnection()
        elif self.idle_s is not None and now - self._active_at > self.idle_s:
            self.timeoutConnection()

    def tls_context(self) -> Any:
        return self.ctx

    # Commands

    def commandReceived(self, line: bytes) -> object:
        verb, _, rest = line.partition(b" ")
        if self._dialog is not None:
            self._note_command(self._dialog, verb.upper(), line)
        if not _CLEAN_COMMAND.fullmatch(line):
            _refuse_unclean(verb, line)
        method = self.lookupMethod(verb)
        if method is None:
            raise UnknownVerb()
        return method(rest.strip(b" "))

    def _note_command(self, dialog: Dialog, verb: bytes, line: bytes) -> None:
        """What is no command may be a password: from a client that wasn't asked for it."""
        if verb == b"MAIL" and self._from is None:
            dialog.begin_mail()
        shown = line.decode("utf-8", "replace")
        if verb.startswith(b"AUTH"):
            shown = "AUTH (secret)"
        elif not (verb.isalnum() and verb.isascii() and self.lookupMethod(verb)):
            shown = "(no command)"
        dialog.note(f"C: {shown}")

    def lookupMethod(self, command: bytes | str) -> Callable[[bytes], object] | None:
        command_name, extension_name = _method_names(command)
        return getattr(self, command_name, None) or getattr(self, extension_name, None)

    def commandLimit(self, start: bytes) -> int:
        if start == b"MAIL ":
            return self.command_octets + MAIL_MORE_OCTETS
        if start == b"RCPT ":
            return self.command_octets + RCPT_MORE_OCTETS
        return super().commandLimit(start)

    def do_UNKNOWN(self, rest: bytes) -> None:
        raise UnknownVerb()

    def do_HELO(self, rest: bytes) -> None:
        self._greet(rest)
        self.esmtp = False
        self._reply(250, "", self.hostname())

    def do_EHLO(self, rest: bytes) -> None:
        self._greet(rest)
        self.esmtp = True
        extensions = self.listExtensions().decode("ascii")
        self._reply(250, "", "\n".join(filter(None, [self.hostname(), extensions])))

    def _greet(self, rest: bytes) -> None:
        helo = parse_helo(rest)
        self._helo = (helo.encode(), self.peer_host.encode("ascii", "replace"))
        self._note_helo(helo)
        self._reset()

    def extensions(self) -> dict[bytes, Any]:
        """What works in this state, and nothing else (S15)."""
        offered: dict[bytes, Any] = {
            b"PIPELINING": None,
            b"SIZE": [b"%d" % self.message_size],
            b"8BITMIME": None,
            b"SMTPUTF8": None,
            b"ENHANCEDSTATUSCODES": None,
            b"CHUNKING": None,
            b"DSN": None,
            b"LIMITS": [b"RCPTMAX=%d" % self.most_recipients]
            + ([b"MAILMAX=%d" % self.most_mails] if self.most_mails else []),
        }
        if self.tls_offered:
            offered[b"STARTTLS"] = None
        if self.challengers and self.portal and not self.authenticated and self._may_sign_in():
            offered[b"AUTH"] = self.mechanisms()
        return offered

    def do_MAIL(self, rest: bytes) -> object:
        if not self._helo[0]:
            raise BadSequence("Say EHLO first")
        if self._from is not None:
            raise BadSequence("One sender a message: RSET first")
        if self.most_mails and self.mails >= self.most_mails:
            self._reply(421, "4.7.0", f"{self.hostname()} Too many mails in one connection")
            self.close()
            return None
        origin: ReversePath | None = None
        try:
            address, parameters = parse_mail(rest)
            mail_id = new_mail_id()
            origin = ReversePath(
                address,
                mail_id=mail_id,
                client=self.client(parameters.smtputf8),
                parameters=parameters,
                dialog=lambda: self.dialog(taken_reply(mail_id)) if self._dialog else "",
            )
            if parameters.size_octets > self.message_size:
                raise TooLarge.past(self.message_size)
            if self.submission and not self.authenticated:
                raise NeedsSignIn()
            self._judge_origin(origin)
            waiting, _ = settled(self.validateFrom(self._helo, origin))
        except Exception as refusal:
            self._tell_refused(refusal, "MAIL", origin or rest.decode("utf-8", "replace"))
            raise
        self._to = []
        if waiting is None:
            self._from_valid(origin)
            return None
        waiting.addErrback(self._refused, "MAIL", origin)
        return waiting.addCallback(lambda _: self._from_valid(origin))

    def _from_valid(self, origin: ReversePath) -> None:
        self._from = origin
        self._reply(250, "2.1.0", "Ok")

    def do_RCPT(self, rest: bytes) -> object:
        origin = self._from
        if origin is None or self.readingBody():  # between two chunks it is settled who gets it
            raise BadSequence("Say MAIL first" if origin is None else "The message has begun")
        try:
            path, notify, orcpt = parse_rcpt(
                rest, self.hostname().lower(), origin.parameters.smtputf8
            )
            if len(self._to) >= self.most_recipients:
                raise TooManyRecipients()
            user = Forward(path, self._helo, self, origin, notify, orcpt)
            waiting, to = settled(self._judge_recipient(user))
        except Exception as refusal:
            self._tell_refused(refusal, "RCPT", origin, rest.decode("utf-8", "replace"))
            raise
        if waiting is None:
            self._to_valid(to, user)
            return None
        waiting.addErrback(self._refused, "RCPT", origin, str(path))
        return waiting.addCallback(self._to_valid, user)

    def _to_valid(self, to: Callable[[], Any], user: Forward) -> None:
        if self._from is not user.orig:  # the transaction that asked is over (S6)
            return
        self._to.append((user, to))
        self._reply(250, "2.1.5", "Ok")

    def do_RSET(self, rest: bytes) -> None:
        no_argument(rest)
        self._reset()
        self._reply(250, "2.0.0", "Ok")

    def do_NOOP(self, rest: bytes) -> None:
        self._reply(250, "2.0.0", "Ok")

    def do_VRFY(self, rest: bytes) -> None:
        if not rest:
            raise BadSyntax("Expected an address")
        self._reply(252, "2.5.0", "Send some mail and see")

    def do_EXPN(self, rest: bytes) -> None:
        raise NotOffered("EXPN is not offered here")

    def do_HELP(self, rest: bytes) -> None:
        self._reply(214, "2.0.0", "mailnode speaks RFC 5321; see EHLO for what it offers")

    def do_QUIT(self, rest: bytes) -> None:
        no_argument(rest)
        self._reply(221, "2.0.0", f"{self.hostname()} Bye")
        self.close()

    def validateTo(self, user: Forward) -> Any:
        if self.delivery is None:
            raise smtp.SMTPBadRcpt(user)
        return self.delivery.validateTo(user)

    def receivedHeader(
        self, helo: tuple[bytes | None, bytes], origin: Path, recipients: list[Forward]
    ) -> bytes:
        """The trace field for a foreign `IMessage` (S14)."""
        if self.delivery is not None:
            header: Any = self.delivery.receivedHeader(helo, origin, recipients)
            return header.encode() if isinstance(header, str) else bytes(header or b"")
        only = str(recipients[0]) if len(recipients) == 1 else ""
        mail_id = getattr(origin, "mail_id", "") or new_mail_id()
        return received_field(self.client(), self.hostname(), mail_id, only)[:-2]


_CLEAN_COMMAND = re.compile(rb"[A-Za-z0-9]+(?: [ -~]*)?")


@lru_cache(maxsize=256)
def _method_names(command: bytes | str) -> tuple[str, str]:
    name = (command.decode("ascii") if isinstance(command, bytes) else command).upper()
    return f"do_{name}", f"ext_{name}"


def _refuse_unclean(verb: bytes, line: bytes) -> None:
    """What is wrong with a command that isn't a verb and printable ASCII; UTF-8 may be right."""
    if not verb.isalnum() or not verb.isascii():
        raise BadVerb() if verb else UnknownVerb("Empty command")
    if any(octet < 0x20 or octet == 0x7F for octet in line):
        raise BadSyntax("Control characters are not allowed")
