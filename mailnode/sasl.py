"""The SASL dialog of SMTP and POP3 (RFC 4954, RFC 5034), whatever the mechanism."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from mailnode.errors import MailError, SignInRefused

SASL_OCTETS = 12288


class BadBase64(MailError):
    smtp_code, enhanced, pop3_code = 501, "5.5.2", ""
    text = "Not base64"


class BadSaslResponse(MailError):
    smtp_code, enhanced, pop3_code = 501, "5.5.2", ""
    text = "Malformed response"


class SaslCancelled(MailError):
    smtp_code, enhanced, pop3_code = 501, "5.7.0", ""
    text = "Authentication cancelled"


def next_challenge(credentials: Any) -> bytes:
    """What to ask, in base64."""
    return base64.b64encode(credentials.getChallenge())


def take_response(credentials: Any, encoded: bytes) -> bool:
    """Give the credentials what the client said; whether they are whole.

    Raises:
        BadBase64, BadSaslResponse: it can't be read.
        SignInRefused: it names nobody who could sign in.
    """
    try:
        credentials.setResponse(strict_base64(encoded))
    except MailError:
        raise
    except Exception as error:  # Twisted's own mechanisms raise what they like
        raise BadSaslResponse() from error
    return not credentials.moreChallenges()


def strict_base64(encoded: bytes) -> bytes:
    """Decode; whatever another encoder would not have written is refused.

    Raises:
        BadBase64: foreign octets, wrong padding, bits that say nothing.
    """
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadBase64() from None
    if base64.b64encode(decoded) != encoded:
        raise BadBase64()
    return decoded


@frozen
class LastWords:
    """What is said after a right proof, before the success (RFC 4422, section 5).

    Attributes:
        taken: called once the client has answered it with nothing.
        ended: called when it never does.
    """

    taken: Callable[[], object]
    ended: Callable[[], object]


class SaslDialog:
    """The part of a session that signs somebody in by SASL.

    Attributes:
        service: what credentials are told that they are for.
        shown: the credentials that were last given, right or wrong.
        challengers: mechanism names to callables that make credentials. One that needs a channel
            to bind to has a true `binds_channel`, and is offered where there is one.
    """

    service = ""
    shown: Any = None
    challengers: Mapping[bytes, Callable[[], Any]] = {}
    most_sign_in_failures = 3
    sign_in_failures = 0
    secure: bool

    _sasl: Any = None

    @property
    def token_id(self) -> int | None:
        """Of the app password that let the client in; None where none did."""
        return getattr(self.shown, "token_id", None)

    @property
    def in_sasl(self) -> bool:
        """Whether the next line is a response."""
        return self._sasl is not None

    def mechanisms(self) -> list[bytes]:
        """Those that work on this connection as it is."""
        return sorted(
            name
            for name, make in self.challengers.items()
            if self.secure or not getattr(make, "binds_channel", False)
        )

    def makeCredentials(self, mechanism: bytes) -> Any:
        """Of a mechanism that is offered; None where it isn't."""
        name = mechanism.upper()
        return self.challengers[name]() if name in self.mechanisms() else None

    def beginSasl(self, credentials: Any, initial: bytes | None) -> object:
        """Start the dialog; `initial` is the initial response in base64, `=` for an empty one."""
        credentials.client = self.peer_host
        credentials.service = self.service
        credentials.channel = self.channel()
        self._sasl = self.shown = credentials
        challenge = next_challenge(credentials)
        if initial is not None:
            return self._sasl_response(b"" if initial == b"=" else initial)
        self.saslChallenge(challenge)
        return None

    def sayLast(
        self, credentials: Any, taken: Callable[[], object], ended: Callable[[], object]
    ) -> None:
        """Somebody is let in: `taken` is called, after what is to be said before, if anything.

        Args:
            ended: called in its place when the client leaves, or says something else.
        """
        words: bytes | None = getattr(credentials, "last_words", None)
        if words is None:
            taken()
        else:
            self._sasl = LastWords(taken, ended)
            self.saslChallenge(base64.b64encode(words))

    def saslLine(self, line: bytes) -> object:
        """Take a response."""
        if self._dialog is not None:
            self._dialog.note("C: (secret)")
        if line == b"*":
            self.endSasl()
            raise SaslCancelled()
        if isinstance(self._sasl, LastWords):
            if line not in (b"", b"="):
                raise BadSaslResponse()
            last, self._sasl = self._sasl, None
            return last.taken()
        return self._sasl_response(line)

    def _sasl_response(self, encoded: bytes) -> object:
        credentials, self._sasl = self._sasl, None
        try:
            whole = take_response(credentials, encoded)
        except SignInRefused as error:
            self.refuse(error)
            self.signInFailed()
            return None
        if whole:
            return self.saslFinished(credentials)
        self._sasl = credentials
        self.saslChallenge(next_challenge(credentials))
        return None

    def endSasl(self) -> None:
        """No response is waited for any more."""
        left, self._sasl = self._sasl, None
        if isinstance(left, LastWords):
            left.ended()

    def signInFailed(self) -> None:
        """Count a failed sign-in; past three the session ends."""
        self.sign_in_failures += 1
        if self.sign_in_failures >= self.most_sign_in_failures and self._closing_since is None:
            self.tooManyErrors()
            self.close()

    # What a session and a server give

    peer_host: str
    _dialog: Any
    _closing_since: float | None

    def channel(self) -> Any:
        """What credentials may be bound to; None where there is nothing."""

    def refuse(self, error: BaseException) -> None:
        """Answer a failed command."""

    def close(self) -> None:
        """End the session."""

    def tooManyErrors(self) -> None:
        """Tell the client that it has made too many errors."""

    def saslChallenge(self, encoded: bytes) -> None:
        """Send a challenge in base64."""

    def saslFinished(self, credentials: Any) -> object:
        """The credentials are whole: log in; a Deferred is waited for."""
