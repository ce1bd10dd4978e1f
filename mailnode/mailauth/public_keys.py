"""The keys that domains publish: read with suspicion, and used (RFC 6376, 8301, 8463)."""

from __future__ import annotations

import hashlib

from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailnode.mailauth.answers import Answers, Question
from mailnode.mailauth.dkim import ED25519
from mailnode.mailauth.tags import BadTags, read_base64, read_tags, words

LEAST_BITS = 1024  # RFC 8301 section 3.2: less proves nothing
MOST_BITS = 8192  # a verification takes the square of them
MOST_EXPONENT_BITS = 33  # 65537 is what there is; a long one makes a verification slow
MOST_CHARACTERS = 8192  # of a record; a key of 8,192 bits takes 1,400

_KINDS = {ED25519: "ed25519"}


@frozen
class PublicKey:
    """A key that can be used.

    Attributes:
        testing: the domain is only trying it (`t=y`).
        strict: i= must be at d= itself (`t=s`).
    """

    key: RSAPublicKey | Ed25519PublicKey
    testing: bool = False
    strict: bool = False

    def verifies(self, value: bytes, data: bytes) -> bool:
        """Whether `value` is its signature over `data`; some 40 microseconds for RSA-2048."""
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(value, hashlib.sha256(data).digest())
            else:
                self.key.verify(value, data, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


@frozen
class NoKey:
    """Why there is none that can be used, as RFC 8601's result and in words."""

    result: str
    reason: str


def find_key(question: Question, algorithm: str, answers: Answers) -> PublicKey | NoKey:
    """The key, or why there is none; each is read once.

    Raises:
        Lacking: nobody has asked for it.
    """
    answer = answers.find(*question)
    if answer.failed:
        return NoKey("temperror", f"the key at {question[0]} could not be looked up")
    if not answer.values:
        return NoKey("permerror", f"there is no key at {question[0]}")
    return answers.once(_read_keys, answer.values, algorithm)


def _read_keys(records: tuple[str, ...], algorithm: str) -> PublicKey | NoKey:
    """Of several records, the one that can be used; two that can are none (section 3.6.2.2)."""
    read = [read_key(each, algorithm) for each in records[:10]]
    keys = [each for each in read if isinstance(each, PublicKey)]
    if len(keys) > 1:
        return NoKey("permerror", "more than one key stands there")
    return keys[0] if keys else read[0]


def read_key(record: str, algorithm: str) -> PublicKey | NoKey:
    """The key of a TXT record, or why it is none for signatures of this algorithm."""
    if len(record) > MOST_CHARACTERS:
        return NoKey("permerror", "the key's record is too long to be one")
    try:
        tags = read_tags(record)
        if tags.get("v", "DKIM1") != "DKIM1":
            return NoKey("permerror", "the key's record has another version")
        if tags.get("k", "rsa").lower() != _KINDS.get(algorithm, "rsa"):
            return NoKey("permerror", "the key is for another algorithm")
        if "sha256" not in words(tags.get("h", "sha256").lower()):
            return NoKey("permerror", "the key is not for SHA-256")
        if not {"*", "email"} & set(words(tags.get("s", "*").lower())):
            return NoKey("permerror", "the key is not for mail")
        if "p" not in tags:
            return NoKey("permerror", "the key's record has no key")
        octets = read_base64(tags["p"])
    except BadTags as bad:
        return NoKey("permerror", f"the key's record can't be read: {bad}")
    if not octets:
        return NoKey("permerror", "the key was revoked")
    flags = words(tags.get("t", "").lower())
    key = _load(octets, algorithm)
    return key if isinstance(key, NoKey) else PublicKey(key, "y" in flags, "s" in flags)


def _load(octets: bytes, algorithm: str) -> RSAPublicKey | Ed25519PublicKey | NoKey:
    try:
        if algorithm == ED25519:
            return Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return NoKey("permerror", "what is published is no key")
    if not isinstance(key, RSAPublicKey):
        return NoKey("permerror", "the key is for another algorithm")
    if not LEAST_BITS <= key.key_size <= MOST_BITS:
        reason = f"a key of {key.key_size} bits is not believed; {LEAST_BITS} to {MOST_BITS} are"
        return NoKey("policy", reason)
    if key.public_numbers().e.bit_length() > MOST_EXPONENT_BITS:
        return NoKey("policy", "the key's exponent is longer than any that is used")
    return key
