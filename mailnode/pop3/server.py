"""The POP3 server: Twisted's POP3 in contract, with every mend of docs/rfc.rst (P1 to P20).

A verb is a method: `do_LIST(number=None)`, its arguments bytes, counted before it is called.
It writes its reply and returns None, or returns a Deferred (or is `async`) that holds back the
next command. Whatever it raises becomes the reply, in one place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import CoroutineType
from typing import Any

from twisted.cred import credentials, error
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.mail import pop3
from twisted.python.failure import Failure

from mailnode.errors import MailError, PasswordTooOld, SignInBlocked, SignInRefused
from mailnode.events import Event
from mailnode.pop3.capabilities import capabilities_of
from mailnode.pop3.drop import BadArgument, OpenDrop, read_number
from mailnode.pop3.sending import Sending
from mailnode.session import LineSession

LINE_OCTETS = 255
AHEAD_S = 10.0


class BadCommand(MailError):
    smtp_code, enhanced, pop3_code = 500, "5.5.1", ""
    text = "Unknown command"


class WrongState(BadCommand):
    text = "Not now"


class NeedsTls(MailError):
    smtp_code, enhanced, pop3_code = 538, "5.7.11", ""
    text = "Signing in needs encryption: use STLS first"


class UsernamePassword(credentials.UsernamePassword):
    """What USER and PASS gave, and from where."""

    client, service = "", "pop3"
    token_id: int | None = None
    token_name: str | None = None


class Pop3Server(Sending, LineSession, pop3.POP3):
    """One POP3 session.

    What Twisted's class has keeps its name and meaning: `portal`, `factory`, `mbox`,
    `AUTH_CMDS`, `successResponse`, `failResponse`, `listCapabilities`,
    `authenticateUserPASS` and every `do_` verb can be overridden.

    Attributes:
        AUTH_CMDS: verbs of the AUTHORIZATION state; any other needs a sign-in.
        SIGN_IN_CMDS: those of them that nobody may use once signed in.
        LEFT_OUT: verbs of Twisted's class that this server doesn't know (P6).
        challengers: SASL mechanism names to callables that make credentials.
        tls: a TLS context factory for STLS, or None.
        drop: the maildrop as this session sees it, None before sign-in.
    """

    AUTH_CMDS = [b"CAPA", b"USER", b"PASS", b"AUTH", b"STLS", b"UTF8", b"QUIT"]
    SIGN_IN_CMDS = [b"USER", b"PASS", b"AUTH", b"STLS", b"UTF8"]
    LEFT_OUT = [b"APOP", b"RPOP", b"LAST"]

    service = "pop3"
    command_octets = LINE_OCTETS
    idle_s = 600.0
    noisy = False
    host = b"localhost"
    portal: Any = None
    challengers: dict[bytes, Callable[[], Any]] = {}
    tls: Any = None
    drop: OpenDrop | None = None
    _leaving = False  # QUIT is deleting: the maildrop is freed after that

    def tell(self, event: Event) -> None:
        """Events go nowhere for a server without a factory."""

    # The connection's life

    def connectionMade(self) -> None:
        if not self.beginSession():
            self.sendLine(b"-ERR [SYS/TEMP] Too many connections, please try again later")
            self.turnAway()
            return
        if left_s := self.turn_away(self.peer_host):
            self.commandFailed(SignInBlocked.until(left_s))
            self.close()
            return
        self.successResponse(self.greeting())

    def turn_away(self, client: str) -> float:
        """A server without a factory turns nobody away."""
        return 0.0

    def greeting(self) -> bytes:
        """Without a stamp: APOP needs passwords in clear, and curl would try it (P6)."""
        return self.host + b" POP3 ready"

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.endSession()
        self.outputDrained()
        if not self._leaving:
            self._log_out()

    def _log_out(self) -> None:
        logout, self._onLogout = self._onLogout, None
        try:
            if self.drop is not None:
                self.drop.ahead.forget()
        finally:
            self.mbox = self.drop = None
            if logout is not None:
                logout()

    def sayGoodbye(self) -> None:
        self.sendLine(b"-ERR [SYS/TEMP] Service is stopping, please try again later")

    def sayRevoked(self) -> None:
        self.sendLine(b"-ERR [AUTH] Your account has changed, sign in again")

    def underWay(self) -> bool:
        return self.drop is not None and bool(self.drop.marked)

    def sweepIdle(self, now: float) -> None:
        quiet_s = now - self._active_at
        if self.idle_s is not None and quiet_s > self.idle_s:
            self.close()  # without a word, and nothing is deleted (RFC 1939 section 3)
        elif self.drop is not None and quiet_s > AHEAD_S:
            self.drop.ahead.forget()

    def tls_context(self) -> Any:
        return self.tls

    # Replies

    def successResponse(self, message: object = b"") -> None:
        text = message if isinstance(message, bytes) else str(message).encode()
        self.sendLine(b"+OK " + text if text else b"+OK")

    def failResponse(self, message: object = b"") -> None:
        text = message if isinstance(message, bytes) else str(message).encode()
        self.sendLine(b"-ERR " + text if text else b"-ERR")

    def commandFailed(self, answer: MailError) -> None:
        code = answer.pop3_code
        mark = f"[{code}] " if code and (answer.temporary or code != "SYS/TEMP") else ""
        self.failResponse(f"{mark}{answer.text}")

    # Commands

    def commandReceived(self, line: bytes) -> object:
        verb, *args = line.split(b" ")
        verb = verb.upper()
        method = self.lookupVerb(verb)
        if method is None:
            raise BadCommand()
        if self.drop is None and verb not in self.AUTH_CMDS:
            raise WrongState("Sign in first")
        if self.drop is not None and verb in self.SIGN_IN_CMDS:
            raise WrongState("Signed in already")
        function = getattr(method, "__func__", None)
        least, most = _arity(function or method, function is not None)
        if not least <= len(args) <= most:
            raise BadCommand("Wrong number of arguments")
        result = method(*args)
        return Deferred.fromCoroutine(result) if isinstance(result, CoroutineType) else result

    def lookupVerb(self, verb: bytes) -> Callable[..., object] | None:
        """The method of an upper-case verb, or None."""
        name = _method_name(verb)
        return None if name is None or verb in self.LEFT_OUT else getattr(self, name, None)

    def do_CAPA(self) -> None:
        self.successResponse(b"Capabilities follow")
        for capability in self.listCapabilities():
            self.sendLine(capability)
        self.sendLine(b".")

    def listCapabilities(self) -> list[bytes]:
        return capabilities_of(self)

    def do_NOOP(self) -> None:
        self.successResponse()

    async def do_QUIT(self) -> None:
        """UPDATE: what was marked is deleted, the maildrop is freed, then +OK (P9)."""
        fault: Exception | None = None
        if self.drop is not None:
            self._leaving = True
            try:
                await maybeDeferred(self.drop.mailbox.sync)
            except Exception as failed:
                fault = failed
            self._log_out()
        if fault is None:
            self.successResponse(b"Bye")
        else:
            self.failGently(fault)
        self.close()

    # AUTHORIZATION

    def do_STLS(self) -> None:
        if self.secure:
            raise WrongState("TLS is active already")
        if not self.tls_offered:
            raise BadCommand("TLS is not offered here")
        self._userIs = None
        self.successResponse(b"Begin TLS")
        self.startTls()

    def do_UTF8(self) -> None:
        self.successResponse(b"UTF-8 it is")

    def maySignIn(self) -> bool:
        """Passwords travel inside TLS, or never leave this machine (P13)."""
        return self.secure or self.loopback

    def do_USER(self, user: bytes) -> None:
        if not self.maySignIn():
            raise NeedsTls()
        if not user:
            raise BadArgument("Expected a name")
        self._userIs = user
        self.successResponse(b"Send PASS")

    def do_PASS(self, password: bytes, *words: bytes) -> object:
        if not self.maySignIn():
            raise NeedsTls()
        user, self._userIs = self._userIs, None
        if user is None:
            raise WrongState("Say USER first")
        password = b" ".join((password, *words))
        login = maybeDeferred(self.authenticateUserPASS, user, password)
        return Deferred.fromCoroutine(self._sign_in(login, user))

    def authenticateUserPASS(self, user: bytes, password: bytes) -> Any:
        if self.portal is None:
            raise error.UnauthorizedLogin()
        asked = UsernamePassword(user, password)
        asked.client = self.peer_host
        self.shown = asked
        return self.portal.login(asked, None, pop3.IMailbox)

    def do_AUTH(self, mechanism: bytes = b"", initial: bytes | None = None) -> object:
        if self.portal is None or not self.challengers:
            raise BadCommand("AUTH is not offered here")
        if not self.maySignIn():
            raise NeedsTls()
        if not mechanism:
            self.successResponse(b"Mechanisms follow")
            for name in self.mechanisms():
                self.sendLine(name)
            self.sendLine(b".")
            return None
        credentials_ = self.makeCredentials(mechanism)
        if credentials_ is None:
            raise BadArgument("Unknown mechanism")
        return self.beginSasl(credentials_, initial)

    def saslChallenge(self, encoded: bytes) -> None:
        self.sendLine(b"+ " + encoded)

    def saslFinished(self, credentials: Any) -> object:
        login: Deferred[Any] = maybeDeferred(self.portal.login, credentials, None, pop3.IMailbox)
        name = getattr(credentials, "username", None) or b""
        return Deferred.fromCoroutine(self._sign_in(login, name, credentials))

    async def _sign_in(self, login: Deferred[Any], name: bytes, credentials: Any = None) -> None:
        """The client is in TRANSACTION, or told why not; logout is called once (P4).

        An account that changes while its maildrop is opened lets nobody in.
        """
        self.account = name.decode("utf-8", "replace")
        try:
            _interface, mailbox, self._onLogout = await login
            drop = None if self._gone else await OpenDrop.of(mailbox)
        except Exception as refusal:
            self._revoked = False
            self._end_unsigned()
            self._sign_in_refused(refusal)
            return
        if drop is None or self._gone or self._revoked:
            self._log_out()
            return
        self.account = str(getattr(mailbox, "address", ""))
        self.sayLast(credentials, lambda: self._begin(mailbox, drop), self._end_unsigned)

    def _end_unsigned(self) -> None:
        self.account = ""
        self._log_out()

    def _begin(self, mailbox: Any, drop: OpenDrop) -> None:
        self.mbox, self.drop = mailbox, drop
        drop.belongs_to(self.peer_host, self.tls_name())
        self.successResponse(b"%d messages (%d octets)" % (drop.mails, drop.octets))

    def _sign_in_refused(self, refusal: Exception) -> None:
        if self._gone:
            return
        if isinstance(refusal, SignInBlocked):
            self.refuse(refusal)
            self.signInFailed()
            return
        if not isinstance(refusal, error.LoginFailed | error.Unauthorized | SignInRefused):
            self.failGently(refusal)  # in use, too busy, a fault of ours
            return
        self.errors += 1
        told = refusal if isinstance(refusal, PasswordTooOld) else SignInRefused()
        self.commandFailed(told)
        self.signInFailed()

    # TRANSACTION

    @property
    def _open(self) -> OpenDrop:
        assert self.drop is not None, "verbs outside AUTH_CMDS run signed in"
        return self.drop

    def do_STAT(self) -> None:
        self.successResponse(b"%d %d" % (self._open.mails, self._open.octets))

    def do_LIST(self, number: bytes | None = None) -> object:
        drop = self._open
        if number is None:
            first = b"+OK %d messages (%d octets)\r\n" % (drop.mails, drop.octets)
            return self.sendList(first, drop.size_lines, len(drop.sizes))
        index = drop.index_of(number)
        self.successResponse(b"%d %d" % (index + 1, drop.sizes[index]))
        return None

    def do_UIDL(self, number: bytes | None = None) -> object:
        drop = self._open
        if number is None:
            return self.sendList(b"+OK\r\n", drop.uidl_lines, len(drop.sizes))
        index = drop.index_of(number)
        self.successResponse(b"%d %b" % (index + 1, drop.uidl(index)))
        return None

    async def do_DELE(self, number: bytes) -> None:
        drop = self._open
        index = drop.index_of(number)
        await drop.ask(drop.mailbox.deleteMessage, index)
        drop.mark(index)
        self.successResponse(b"Marked")

    async def do_RSET(self) -> None:
        drop = self._open
        await drop.ask(drop.mailbox.undeleteMessages)
        drop.unmark_all()
        self.successResponse(b"%d messages (%d octets)" % (drop.mails, drop.octets))

    def do_RETR(self, number: bytes) -> object:
        drop = self._open
        return self.sendMail(drop, drop.index_of(number), following=self._is_plain())

    @classmethod
    def _is_plain(cls) -> bool:
        """Whether nobody overrides what a RETR goes through, and so would miss one."""
        ours = Pop3Server
        return (
            cls.do_RETR is ours.do_RETR
            and cls.lookupVerb is ours.lookupVerb
            and cls.commandReceived is ours.commandReceived
        )

    def do_TOP(self, number: bytes, lines: bytes) -> object:
        return self.sendTop(self._open, self._open.index_of(number), read_number(lines))


@lru_cache(maxsize=256)
def _method_name(verb: bytes) -> str | None:
    return "do_" + verb.decode("ascii") if verb.isalnum() and verb.isascii() else None


@lru_cache(maxsize=256)
def _arity(function: Callable[..., object], bound: bool) -> tuple[int, float]:
    """The least and the most arguments that a verb takes."""
    least, most = -int(bound), -float(bound)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
    return least, most
