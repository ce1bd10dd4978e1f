"""Keys that sign: made, packed for keeping, and told to the world in a record.

No I/O: who keeps the packed key seals it first.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from mailnode.mailauth.dkim import ED25519, RSA, DkimKey

RSA_BITS = 2048  # what a TXT record of usual size carries, and every verifier takes (RFC 8301)
_RECORD_NAMES = {RSA: "rsa", ED25519: "ed25519"}

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


def make_private_key(algorithm: str) -> PrivateKey:
    """A new key; an RSA one takes a tenth of a second and more."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.generate()
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def packed(private_key: PrivateKey) -> bytes:
    """PKCS 8 in DER, in clear."""
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def unpack_key(domain: str, selector: str, algorithm: str, der: bytes) -> DkimKey:
    """The key that `packed` made these octets of.

    Its numbers are not proved again (50 ms for RSA): the seal says that they are ours.

    Raises:
        ValueError: they are no key, or one of another algorithm.
    """
    try:
        private_key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, UnsupportedAlgorithm) as error:  # a password's, or no usual curve's
        raise ValueError(str(error)) from None
    wanted = Ed25519PrivateKey if algorithm == ED25519 else RSAPrivateKey
    if algorithm not in _RECORD_NAMES or not isinstance(private_key, wanted):
        raise ValueError(f"not a key for {algorithm}")
    return DkimKey(domain, selector, algorithm, private_key)


def public_text(private_key: PrivateKey) -> str:
    """`p=` of the record, base64: RSA as SubjectPublicKeyInfo (RFC 6376 section 3.6.1), Ed25519
    as its bare 32 octets (RFC 8463 section 4)."""
    public = private_key.public_key()
    if isinstance(private_key, Ed25519PrivateKey):
        octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(octets).decode()


def key_record(algorithm: str, public_key: str) -> str:
    """The TXT record below `SELECTOR._domainkey`."""
    return f"v=DKIM1; k={_RECORD_NAMES[algorithm]}; p={public_key}"


def seal_label(domain: str, selector: str) -> bytes:
    """What a sealed key is about: taken for another domain or selector, it doesn't open."""
    return f"dkim:{domain}/{selector}".encode()
