"""What a client says to sign in: a name and a password, given outright or by SASL.

SMTP and POP3 share the SASL dialogs: `getChallenge` is what to send, `setResponse` takes
what came back, and while `moreChallenges` says so it goes on (Twisted's
`IChallengeResponse`). Each has Twisted's `IUsernamePassword`, so that anybody's checker
can judge it.
"""

from __future__ import annotations

import hmac
from typing import Any

from attrs import define, field
from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailnode.errors import MailError, SignInRefused


class BadResponse(MailError):
    """A response that the mechanism doesn't allow."""

    smtp_code, enhanced, pop3_code, http_status = 501, "5.5.2", "", 400
    text = "Malformed authentication response"


@implementer(IUsernamePassword)
@define(eq=False)
class PasswordCredentials:
    """A name and a password, as POP3's USER and PASS give them.

    Attributes:
        username: UTF-8.
        password: UTF-8.
        client: the address of the other end in text, "" when it has none.
        service: to whom it was said: smtp or pop3.
        channel: the TLS connection that it came by (`sasl.SaslDialog`).
        token_id, token_name: of the app password that let them in; None where it was no such.
    """

    username: bytes = b""
    password: bytes = field(default=b"", repr=False)
    client: str = ""
    service: str = ""
    channel: Any = field(default=None, repr=False)
    token_id: int | None = field(default=None, init=False)
    token_name: str | None = field(default=None, init=False)

    def checkPassword(self, password: object) -> bool:
        """Whether `password` is the one that was given; compared in constant time."""
        if isinstance(password, str):
            password = password.encode()
        return isinstance(password, bytes) and hmac.compare_digest(self.password, password)


@define(eq=False)
class PlainCredentials(PasswordCredentials):
    """SASL PLAIN (RFC 4616): all in one response, which may come with the command.

    Attributes:
        initial_first: the client speaks first; the challenge is empty.
    """

    initial_first = True

    _answered: bool = field(default=False, init=False)

    def getChallenge(self) -> bytes:
        return b""

    def moreChallenges(self) -> bool:
        return not self._answered

    def setResponse(self, response: bytes) -> None:
        """Take `authzid NUL authcid NUL password`.

        Raises:
            BadResponse: it is not of that form.
            SignInRefused: it names nobody, has no password, or would act for another.
        """
        self._answered = True
        parts = response.split(b"\0")
        if len(parts) != 3 or not _is_utf8(response):
            raise BadResponse()
        authzid, self.username, self.password = parts
        if not self.username or not self.password:
            raise SignInRefused(detail="no name or no password")
        if authzid not in (b"", self.username):
            raise SignInRefused(detail="would act for another")


@define(eq=False)
class LoginCredentials(PasswordCredentials):
    """LOGIN: two questions. A response that comes with the command is the name."""

    initial_first = False

    _taken: int = field(default=0, init=False)

    def getChallenge(self) -> bytes:
        return b"Password:" if self._taken else b"Username:"

    def moreChallenges(self) -> bool:
        return self._taken < 2

    def setResponse(self, response: bytes) -> None:
        """Take the name, then the password.

        Raises:
            BadResponse: it has a NUL or isn't UTF-8.
            SignInRefused: it is empty.
        """
        self._taken += 1
        if b"\0" in response or not _is_utf8(response):
            raise BadResponse()
        if not response:
            raise SignInRefused(detail="no name or no password")
        if self._taken == 1:
            self.username = response
        else:
            self.password = response


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
