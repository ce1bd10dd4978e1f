"""Secrets that the node must be able to read again: providers' passwords, keys that sign.

They stand in users.db sealed under a key of the data folder, so that a copy of users.db alone
gives none of them away.
"""

from __future__ import annotations

import hmac
import os
import tempfile
from pathlib import Path

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mailnode.durable import flush, make_folder, own_as
from mailnode.errors import SealBroken

KEY_FILE = Path("keys") / "seal.key"
KEY_OCTETS = 32
NONCE_OCTETS = 12
VERSION = b"\x01"  # AES-256-GCM: version, nonce, sealed octets with their tag


@frozen
class Seal:
    """The key of a data folder."""

    path: Path
    _key: bytes = field(repr=False)

    @classmethod
    def open(cls, data: Path) -> Seal:
        """The data folder's key, made durably at first use, its owner's alone.

        Raises:
            SealBroken: what is there is no key.
            OSError: it can't be read or made.
        """
        path = data / KEY_FILE
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
        if len(key) != KEY_OCTETS:
            raise SealBroken(detail=f"{path} holds {len(key)} octets, a key has {KEY_OCTETS}")
        return cls(path, key)

    def secret_for(self, purpose: bytes) -> bytes:
        """A secret of 32 octets for one purpose: the same at each start, unlike any other's."""
        return hmac.digest(self._key, b"mailnode secret for " + purpose, "sha256")

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """`plain`, unreadable and unchangeable without the key.

        Args:
            about: what it belongs to; it opens for nothing else, so that nobody who writes to
                users.db can have a password sent to another host.
        """
        nonce = os.urandom(NONCE_OCTETS)
        return VERSION + nonce + AESGCM(self._key).encrypt(nonce, plain, about)

    def unseal(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed about the same thing.

        Raises:
            SealBroken: it was not, or under another key.
        """
        version, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_OCTETS], sealed[1 + NONCE_OCTETS :]
        try:
            if version != VERSION or len(nonce) != NONCE_OCTETS:
                raise InvalidTag
            return AESGCM(self._key).decrypt(nonce, rest, about)
        except InvalidTag:
            raise SealBroken(
                detail=f"it was sealed under another key than {self.path}, or changed since: put "
                "that key back, or delete what is sealed and add it again"
            ) from None


def _make_key(path: Path) -> None:
    """The key is there, ours or that of a process that was first."""
    make_folder(path.parent.parent)
    folder = make_folder(path.parent)
    fd, name = tempfile.mkstemp(dir=folder, prefix=f"{path.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(os.urandom(KEY_OCTETS))
        own_as(unfinished, folder)
        flush(unfinished)
        try:
            os.link(unfinished, path)  # unlike a rename, it replaces nobody's key
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    flush(folder)


def read_password_file(path: Path) -> str:
    """The password on the first line of a file.

    Raises:
        SealBroken: there is none in it.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        line = file.readline(4096).rstrip(b"\r\n")
    try:
        password = line.decode()
    except UnicodeDecodeError:
        password = ""
    if not password:
        raise SealBroken("A password file holds no password", detail=f"{path}: its first line")
    return password
