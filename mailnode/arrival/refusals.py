"""What a stranger is told whose mail is turned away before its body."""

from __future__ import annotations

from mailnode.errors import MailError, Refused


class Listed(Refused):
    smtp_code, enhanced = 554, "5.7.1"
    text = "You are listed"


class Nameless(Refused):
    enhanced = "5.7.25"  # RFC 7372
    text = "Your address has no name in the DNS that leads back to it"


class BadHelo(Refused):
    text = "The name that you gave yourself is not yours"


class TooEager(Refused):
    smtp_code, enhanced = 554, "5.5.1"
    text = "You spoke before you were answered"


class Greylisted(MailError):
    """It is to come again: what sends spam once and never again does not."""

    is_fault = False
    smtp_code, enhanced, http_status = 450, "4.7.1", 429
    text = "You are unknown here, try again later"


class TooMuch(MailError):
    """More than is taken within an hour."""

    is_fault = False
    smtp_code, enhanced, http_status = 450, "4.7.1", 429
    text = "Too much mail within an hour, try again later"
