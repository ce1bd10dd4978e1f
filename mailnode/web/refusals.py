"""What a browser or program is told when it doesn't get what it asked for: `MailError`s of HTTP."""

from __future__ import annotations

from mailnode.errors import MailError
from mailnode.telling import size


class WebRefused(MailError):
    """The request will never do as it is.

    Attributes:
        title: of the page that says it.
        closes: nothing more is read from this connection.
    """

    smtp_code, enhanced, http_status, exit_code = 550, "5.7.1", 400, 65
    title = "That did not work"
    closes = False


class BadRequest(WebRefused):
    text = "The request is malformed"


class NoSuchPage(WebRefused):
    http_status = 404
    title = "Not found"
    text = "There is nothing here"


class WrongMethod(WebRefused):
    """
    Attributes:
        allowed: the methods that would do.
    """

    http_status = 405
    title = "Not allowed"
    text = "That can't be done with this page"
    allowed: tuple[str, ...] = ()


class MustSignIn(WebRefused):
    http_status = 401
    title = "Sign in"
    text = "Sign in first"


class MustChangePassword(WebRefused):
    """Who is signed in can do nothing but that."""

    http_status = 403
    title = "Your password is too old"
    text = "Choose another password in the settings first"


class BadToken(MustSignIn):
    text = "The token is unknown, revoked or expired"


class NotAllowed(WebRefused):
    http_status = 403
    title = "Not allowed"
    text = "That is not for you"


class InClear(NotAllowed):
    text = (
        "Signing in needs TLS, but for this machine: use an https:// address (--https), or name "
        "the proxy in front in listen.proxy_from"
    )


class Forged(NotAllowed):
    title = "This page is out of date"
    text = "The request did not come from a page of this session: load the page again"


class WrongHost(WebRefused):
    http_status = 421
    title = "Another name"
    text = "This server does not go by that name; its own names stand in web.names"


class BodyTooLarge(WebRefused):
    http_status = 413
    title = "Too large"
    text = "What was sent is larger than is taken here"
    closes = True

    @classmethod
    def past(cls, most_octets: int) -> BodyTooLarge:
        return cls(f"What was sent is larger than the {size(most_octets)} that are taken here")


class HeaderTooLarge(WebRefused):
    http_status = 431
    title = "Too large"
    closes = True

    @classmethod
    def past(cls, most_octets: int, most_fields: int) -> HeaderTooLarge:
        return cls(
            f"The header is over {size(most_octets)} or {most_fields} fields; it may be that the "
            "browser keeps too many cookies of this address"
        )


class AddressTooLong(WebRefused):
    http_status = 414
    title = "Too long"
    text = "The address of the page is too long"
    closes = True


class Broken(MailError):
    """A bug of ours: the log has it."""

    http_status, exit_code = 500, 70
    title = "Something went wrong"
    text = "Something went wrong here; the log of the server says what"


class NoRoom(MailError):
    http_status = 507
    text = "The disk is nearly full: nothing large is taken now"


class TooManyStreams(WebRefused):
    http_status = 429
    title = "Too many"
    text = "Too many event streams are open for this account"


class TooManyBodies(WebRefused):
    http_status = 429
    title = "Too many"
    text = "Too much is being sent at once: wait until some of it is there"
    closes = True


class TakesTooLong(MailError):
    http_status = 503
    title = "This mail takes too long to show"
    text = "This mail takes too long to show; its source can be looked at, and saved"
