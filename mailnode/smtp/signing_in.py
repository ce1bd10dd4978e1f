"""Who the client of an SMTP session is: STARTTLS, AUTH, and the portal's avatar that delivers."""

from __future__ import annotations

from typing import Any

from twisted.cred import error
from twisted.cred.credentials import Anonymous
from twisted.internet.defer import Deferred
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure

from mailnode.errors import MailError, SignInBlocked, SignInRefused, answer_for
from mailnode.session import settled
from mailnode.smtp.body import BodyReading
from mailnode.smtp.paths import BadSyntax, Path, no_argument
from mailnode.smtp.replies import BadSequence, NeedsSignIn, NeedsTls, NoSuchMechanism, NotOffered


class SigningIn(BodyReading):
    """The part of the SMTP server that knows for whom it works."""

    service = "smtp"

    # STARTTLS and AUTH

    def ext_STARTTLS(self, rest: bytes) -> None:
        no_argument(rest)
        if self.secure:
            raise BadSequence("TLS is active already")
        if not self.tls_offered:
            raise NotOffered("TLS is not offered here")
        self._reply(220, "2.0.0", "Ready to start TLS")
        self._reset()
        self._logout()
        self._helo = (None, self._helo[1])
        self.startTls()
        self.startedTLS = True

    def _may_sign_in(self) -> bool:
        return self.secure or self.loopback

    def ext_AUTH(self, rest: bytes) -> object:
        if not self._helo[0] or self.authenticated or self._from is not None:
            raise BadSequence()
        if self.portal is None or not self.challengers:
            raise NotOffered("Authentication is not offered here")
        if not self._may_sign_in():
            raise NeedsTls()
        words = rest.split()
        if not 1 <= len(words) <= 2:
            raise BadSyntax("Expected AUTH mechanism [initial-response]")
        credentials_ = self.makeCredentials(words[0])
        if credentials_ is None:
            raise NoSuchMechanism()
        return self.beginSasl(credentials_, words[1] if len(words) == 2 else None)

    def saslChallenge(self, encoded: bytes) -> None:
        # By what SCRAM says here passwords could be tried, and keys for that are kept under a seal.
        self.sendLine(b"334 " + encoded, shown=b"334 (secret)" if encoded else None)

    def saslFinished(self, credentials_: Any) -> object:
        portal: Any = self.portal
        login: Deferred[Any] = portal.login(
            credentials_, None, IMessageDeliveryFactory, IMessageDelivery
        )
        login.addCallbacks(self._signed_in, self._sign_in_refused, callbackArgs=(credentials_,))
        return login

    def _signed_in(self, avatar: Any, credentials_: Any) -> None:
        if self._gone:
            avatar[2]()
            return
        self._logout()
        self._take_avatar(avatar)
        name = getattr(self.deliveryFactory or self.delivery, "account_name", None)
        said: bytes = getattr(credentials_, "username", b"")
        self.account = str(name or said.decode("utf-8", "replace"))
        self.sayLast(credentials_, self._begin_signed_in, self._logout)

    def _begin_signed_in(self) -> None:
        self.authenticated = True
        self._reply(235, "2.7.0", "Authentication successful")

    def _sign_in_refused(self, failure: Failure) -> None:
        if self._gone:
            return
        if failure.check(error.UnauthorizedLogin, error.LoginFailed):
            refused: MailError = SignInRefused()
        else:
            refused = answer_for(failure.value)
            if not isinstance(failure.value, MailError):
                self._log.failure("sign-in failed", failure)
                refused = MailError(code=454, enhanced="4.7.0")
        if refused.temporary and not isinstance(refused, SignInBlocked):
            self.commandFailed(refused)
        else:
            self.refuse(refused)
            self.signInFailed()

    def _logout(self) -> None:
        logout, self._onLogout = self._onLogout, None
        self.delivery = self.deliveryFactory = None
        self.authenticated, self.account = False, ""
        if logout is not None:
            logout()

    # Who delivers

    def _take_avatar(self, avatar: Any) -> None:
        interface, delivery, logout = avatar
        self._onLogout = logout
        if issubclass(interface, IMessageDeliveryFactory):
            self.deliveryFactory, self.delivery = delivery, None
        else:
            self.deliveryFactory, self.delivery = None, delivery

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: Path) -> Any:
        """The delivery's word on the reverse-path; a stranger logs in as `Anonymous`."""
        if self.deliveryFactory is not None:
            self.delivery = self.deliveryFactory.getMessageDelivery()
        if self.delivery is not None:
            return self.delivery.validateFrom(helo, origin)
        if self.portal is None:
            raise smtp.SMTPBadSender(origin)
        login = self.portal.login(Anonymous(), None, IMessageDeliveryFactory, IMessageDelivery)
        waiting, avatar = settled(login)
        if waiting is None:
            self._take_avatar(avatar)
            return self.validateFrom(helo, origin)
        login.addCallbacks(self._anonymous, self._anonymous_refused)
        login.addCallback(lambda _: self.validateFrom(helo, origin))
        return login

    def _anonymous(self, avatar: Any) -> None:
        if self._gone:
            avatar[2]()
            raise MailError("Connection lost")
        self._take_avatar(avatar)

    def _anonymous_refused(self, failure: Failure) -> Any:
        if failure.check(error.UnauthorizedLogin, error.UnhandledCredentials):
            raise NeedsSignIn()
        return failure
