"""The SASL dialog of SMTP and POP3 (RFC 4954, RFC 5034): base64 on the wire, and nothing else."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mailnode.errors import MailError


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
