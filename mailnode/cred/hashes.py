"""What is kept of a password so that it can be verified: argon2id, or what another system had.

All of it takes its time: not for the reactor thread.
"""

from __future__ import annotations

import unicodedata

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from mailnode.cred.foreign import foreign_fits, is_foreign
from mailnode.errors import SignInBusy

_HASHER = argon2.PasswordHasher(
    time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16
)

# Of 32 random octets that nobody kept: it costs what a real one costs, and fits nothing.
DUMMY_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$v+jAJNwOyytRLeCvCs53yA"
    "$zyxfxKQEGB1Bejx1x2DFS9JQrPFlg3VvE8TvNdQs78c"
)


def hash_password(password: str) -> str:
    """A PHC string for users.db. Takes some 40 ms."""
    return _HASHER.hash(normal(password))


def password_matches(password_hash: str, password: str) -> bool:
    """Whether it is the password; a hash that is empty or none costs what a real one costs."""
    if is_foreign(password_hash):
        return foreign_fits(password_hash, password)
    try:
        argon2.extract_parameters(password_hash)
    except InvalidHashError:
        password_hash = DUMMY_HASH
    try:
        return _HASHER.verify(password_hash, normal(password))
    except VerifyMismatchError:
        return False
    except VerificationError as error:  # no memory, or a hash that is cut short
        raise SignInBusy(detail=f"argon2: {error}") from error


def is_outdated(password_hash: str) -> bool:
    """Whether a hash that was verified is another system's, or costs less than those of today."""
    try:
        return is_foreign(password_hash) or _HASHER.check_needs_rehash(password_hash)
    except InvalidHashError:
        return True


def normal(password: str) -> str:
    """One spelling for what looks the same on two keyboards (RFC 8265, OpaqueString)."""
    return unicodedata.normalize("NFC", password)
