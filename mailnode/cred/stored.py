"""All that is kept of a password: a hash to verify it by, and keys by which its owner proves it.

Both are made here, wherever a password is set. SCRAM's keys are sealed under the key of the data
folder: with them alone somebody could try passwords against a hash that costs less than argon2id's.
"""

from __future__ import annotations

import hmac
import os
from hashlib import pbkdf2_hmac, sha256
from typing import TYPE_CHECKING

from attrs import field, frozen

from mailnode.cred.hashes import hash_password, is_outdated
from mailnode.cred.saslprep import saslprep
from mailnode.errors import SealBroken
from mailnode.sealing import Seal

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.store.people import Account
    from mailnode.store.sign_in import KeptKeys

ITERATIONS = 100_000
SALT_OCTETS = 16
KEY_OCTETS = 32


@frozen
class ScramKeys:
    """What RFC 5802 has a server keep; nobody signs in with it."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def of(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
        """Of a password. Takes some 20 ms: not for the reactor thread."""
        salted = pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
        stored = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        return cls(salt, iterations, stored, hmac.digest(salted, b"Server Key", "sha256"))


@frozen
class StoredPassword:
    """A password as users.db keeps it.

    Attributes:
        password_hash: a PHC string.
        scram: None where only a hash is known.
    """

    password_hash: str = field(repr=False)
    scram: ScramKeys | None = None
    _seal: Seal | None = None

    def kept_keys(self, account_id: int, *, is_published: bool) -> bytes:
        """Its keys, sealed about the account.

        Args:
            is_published: it is a demo account's: the keys stay as they are, for its users.db is
                used in any folder.
        """
        assert self.scram is not None
        keys = self.scram.stored_key + self.scram.server_key
        if is_published:
            return keys
        assert self._seal is not None
        return self._seal.seal(keys, _about(account_id))


def store_password(password: str, address: Address, seal: Seal | None) -> StoredPassword:
    """What is kept of it. Takes some 60 ms: not for the reactor thread.

    Args:
        address: of the account that gets it.
        seal: None for a demo account's.
    """
    salt = os.urandom(SALT_OCTETS) if seal is None else salt_of(address.key, seal)
    return StoredPassword(hash_password(password), ScramKeys.of(password, salt), seal)


def salt_of(name: str, seal: Seal) -> bytes:
    """That whoever signs in by a name is shown, whether or not it has an account.

    It stays the same where an account is made, shut, or gets another password: a salt that changes
    would say that there is one.

    Args:
        name: what all its spellings share.
    """
    return hmac.digest(seal.secret_for(b"scram salt"), b"s" + name.encode(), "sha256")[:SALT_OCTETS]


def read_kept(account: Account, kept: KeptKeys | None, seal: Seal) -> ScramKeys | None:
    """An account's keys; None where there are none, or none that can be read."""
    if kept is None:
        return None
    keys = kept.keys
    if not account.demo:
        try:
            keys = seal.unseal(keys, _about(account.id))
        except SealBroken:
            return None
    if len(keys) != 2 * KEY_OCTETS:
        return None
    return ScramKeys(kept.salt, kept.iterations, keys[:KEY_OCTETS], keys[KEY_OCTETS:])


def _about(account_id: int) -> bytes:
    return b"scram keys of account %d" % account_id


def renew_password(password: str, password_hash: str, salt: bytes, seal: Seal) -> StoredPassword:
    """What is kept of a password that fits `password_hash`, which stays where it is good.

    Args:
        salt: that its account is shown: app passwords go on to fit it.
    """
    keys = ScramKeys.of(password, salt)
    if is_outdated(password_hash):
        password_hash = hash_password(password)
    return StoredPassword(password_hash, keys, seal)
