"""DKIM signatures for mail that is submitted, made away from the reactor's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import define, field

from mailnode.errors import MailError, SigningFailed
from mailnode.mailauth.dkim import RSA, BodyHash, DkimKey, sign
from mailnode.mailauth.keys import seal_label, unpack_key
from mailnode.model import Message
from mailnode.sealing import Seal
from mailnode.threads import Threads


class SealedKey(Protocol):
    """A key as users.db has it."""

    @property
    def selector(self) -> str: ...

    @property
    def algorithm(self) -> str: ...

    @property
    def sealed_key(self) -> bytes: ...


class KeyDirectory(Protocol):
    """Who knows the keys that sign for a domain now: the directory in memory."""

    def signing_keys(self, domain: str) -> Sequence[SealedKey]: ...


@define(eq=False)
class Signer:
    """Signs for the domains that have keys.

    A key that can't be used is a temporary failure, never a mail without a signature: behind
    a DMARC policy of `reject` an unsigned one is lost at the receiver with nobody told, while a
    submitter that hears 451 keeps the mail and its owner sees why. One broken key of two is
    no better: which of the two a receiver knows is not ours to guess.
    """

    _directory: KeyDirectory
    _seal: Seal
    _threads: Threads
    # Keys in clear, by domain, beside the sealed ones that they were made of: once the
    # directory has others, these are forgotten.
    _open: dict[str, tuple[tuple[SealedKey, ...], tuple[DkimKey, ...]]] = field(
        factory=dict, init=False
    )

    def body_hash(self, domain: str) -> BodyHash | None:
        """To be fed with the octets behind the header, as they are stored; None without a key."""
        return BodyHash() if self.has_key(domain) else None

    async def sign(self, domain: str, header: bytes, body_hash: bytes, at: int) -> bytes:
        """The DKIM-Signature fields to put in front of the mail, each with its CRLFs.

        Args:
            domain: of From, in A-labels; for any other, receivers' DMARC counts it for nothing.
            header: as it will leave, with the fields that we add.
            body_hash: `BodyHash.digest()` of the body.
            at: UTC epoch seconds.
        Returns:
            b"" when the domain has no active key.
        Raises:
            SigningFailed: a key is broken (451 4.7.5); the detail says which, for the log.
            TooMuchWaiting: no thread was free (451).
        """
        keys = await self._keys(domain)
        if not keys:
            return b""
        return await self._threads.run(sign, header, body_hash, keys, at)

    def has_key(self, domain: str) -> bool:
        return bool(self._directory.signing_keys(domain))

    async def seal(self, domain: str, message: Message, authserv_id: str, at: int) -> bytes:
        """The ARC set of a domain to put in front of a mail; b"" where none may be.

        By its RSA key if it has one: receivers know no other algorithm of ARC (RFC 8617 section
        4.1.2) for sure.

        Raises:
            SigningFailed, TooMuchWaiting: as `sign` does.
        """
        keys = await self._keys(domain)
        if not keys or message.sealable is None:
            return b""
        key = min(keys, key=lambda each: each.algorithm != RSA)
        return await self._threads.run(message.sealable.seal, message.prefix, authserv_id, key, at)

    async def _keys(self, domain: str) -> tuple[DkimKey, ...]:
        sealed = tuple(self._directory.signing_keys(domain))
        if not sealed:
            self._open.pop(domain, None)
            return ()
        known, keys = self._open.get(domain, ((), ()))
        if known != sealed:
            keys = await self._threads.run(self._unseal, domain, sealed)
            self._open[domain] = sealed, keys
        return keys

    async def sign_mail(self, domain: str, mail: bytes, at: int) -> bytes:
        """The same for a mail of ours that is in memory, header and body; b"" without a key."""
        body_hash = self.body_hash(domain)
        if body_hash is None:
            return b""
        header, _, body = mail.partition(b"\r\n\r\n")
        await self._threads.run(body_hash.feed, body)
        return await self.sign(domain, header + b"\r\n", body_hash.digest(), at)

    def _unseal(self, domain: str, sealed: Sequence[SealedKey]) -> tuple[DkimKey, ...]:
        return tuple(self._unseal_one(domain, key) for key in sealed)

    def _unseal_one(self, domain: str, key: SealedKey) -> DkimKey:
        try:
            der = self._seal.unseal(key.sealed_key, seal_label(domain, key.selector))
            return unpack_key(domain, key.selector, key.algorithm, der)
        except (MailError, ValueError, OSError) as error:
            raise SigningFailed(
                detail=f"the DKIM key {key.selector} of {domain} can't be used: {error}; "
                f"new ones: `mailnode dkim rotate {domain} --now`"
            ) from error
