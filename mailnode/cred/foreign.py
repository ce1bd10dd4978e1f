"""Hashes that other mail servers keep, as Dovecot writes them: bcrypt and SHA-512-crypt.

They let somebody in once: at that sign-in ours takes their place. What a hash costs is read from
itself, so one that costs more than any server's is no hash here: it would keep a thread for hours.
"""

from __future__ import annotations

import re

import bcrypt

from mailnode.errors import AccountError

MOST_BCRYPT_COST = 14  # a second; twice that for each one more
MOST_ROUNDS = 1_000_000  # half a second
MOST_BCRYPT_OCTETS = 72  # of a password: what bcrypt reads of it
MOST_CRYPT_OCTETS = 1024

_SCHEME = re.compile(r"\{([A-Za-z0-9.-]{1,30})\}")
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_CRYPT = re.compile(
    r"\$(?P<kind>[56])\$(?:rounds=(?P<rounds>[1-9][0-9]{3,8})\$)?"
    r"(?P<salt>[./A-Za-z0-9]{0,16})\$(?P<sum>[./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})"
)
_LETTERS = {"5": 43, "6": 86}  # of a checksum
_SCHEMES = {"BLF-CRYPT": "2", "SHA512-CRYPT": "6", "SHA256-CRYPT": "5", "CRYPT": ""}


class ForeignHashRefused(AccountError):
    """A hash that nobody could sign in with, and why."""


def read_foreign(text: str) -> str:
    """The hash in what another system wrote, such as ``{BLF-CRYPT}$2y$10$...`` or ``$6$...``.

    Raises:
        ForeignHashRefused: its scheme is none of ours, it is malformed, or costs too much.
    """
    text = text.strip()
    scheme = ""
    if match := _SCHEME.match(text):
        scheme, text = match[1].upper().removesuffix(".B64"), text[match.end() :]
        if scheme not in _SCHEMES:
            known = ", ".join(f"{{{each}}}" for each in _SCHEMES)
            raise ForeignHashRefused(f"{{{scheme}}} is no scheme that can be taken over: {known}")
    if match := _BCRYPT.fullmatch(text):
        if not 4 <= int(match[1]) <= MOST_BCRYPT_COST:
            raise ForeignHashRefused(
                f"its cost is {int(match[1])}: bcrypt's is 4 to {MOST_BCRYPT_COST} here"
            )
    elif match := _CRYPT.fullmatch(text):
        if len(match["sum"]) != _LETTERS[match["kind"]]:
            raise ForeignHashRefused("it is cut short, or is no hash of its scheme")
        if not 1000 <= int(match["rounds"] or 5000) <= MOST_ROUNDS:
            raise ForeignHashRefused(f"it has more than {MOST_ROUNDS:,} rounds")
    else:
        raise ForeignHashRefused("it is neither bcrypt ($2y$...) nor SHA-crypt ($6$..., $5$...)")
    if not text.startswith(f"${_SCHEMES.get(scheme, '')}"):
        raise ForeignHashRefused(f"it is no hash of {{{scheme}}}")
    return text


def is_foreign(password_hash: str) -> bool:
    """Whether another system made it; what `read_foreign` refuses is no hash at all."""
    if not password_hash.startswith(("$2", "$5$", "$6$")):
        return False
    try:
        read_foreign(password_hash)
    except ForeignHashRefused:
        return False
    return True


def foreign_fits(password_hash: str, password: str) -> bool:
    """Whether it is the password: its octets as they were typed, as those systems took them."""
    octets = password.encode()
    if b"\0" in octets or len(octets) > MOST_CRYPT_OCTETS:
        return False
    if password_hash.startswith("$2"):
        return bcrypt.checkpw(octets[:MOST_BCRYPT_OCTETS], password_hash.encode())
    from passlib.hash import sha256_crypt, sha512_crypt  # 20 ms that most processes are spared

    kind = sha512_crypt if password_hash.startswith("$6$") else sha256_crypt
    return bool(kind.verify(octets, password_hash))
