"""TOTP (RFC 6238): six digits every half minute, by a secret that a person's device has, too."""

from __future__ import annotations

import hmac

import pyotp

STEP_S = 30
DIGITS = 6
SECRET_CHARACTERS = 32  # in base32: 160 bits, as many as the HMAC's hash has
STEPS_AROUND = 1  # clocks that differ, and who types slowly


def make_secret() -> str:
    """In base32."""
    return pyotp.random_base32(SECRET_CHARACTERS)


def matching_step(secret: str, code: str, now: float) -> int | None:
    """Which half minute's code it is, of those around now; None for none.

    Args:
        now: UTC epoch seconds.
    """
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    hotp = pyotp.HOTP(secret, digits=DIGITS)
    at = int(now // STEP_S)
    found = None
    for step in range(at - STEPS_AROUND, at + STEPS_AROUND + 1):
        if hmac.compare_digest(hotp.at(step), code):
            found = step
    return found


def uri_of(secret: str, account: str, issuer: str) -> str:
    """What a device reads of the QR code."""
    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    return str(totp.provisioning_uri(name=account, issuer_name=issuer))
