"""DKIM signatures over a mail: RFC 6376, with rsa-sha256 and ed25519-sha256 (RFC 8463).

No I/O. Who signs has the hash of the body already, fed to a `BodyHash` as the body came, so
that signing takes the header alone, however large the mail is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from attrs import field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mailnode.mailauth.canonical import BodyHash, Field, Header, read_fields

__all__ = ["ED25519", "RSA", "BodyHash", "DkimKey", "sign"]

RSA = "rsa-sha256"
ED25519 = "ed25519-sha256"
LINE_MAX = 77

# What a reader sees and replies to, what ties mails together, and what says how the body is
# read. Not Received, Return-Path and whatever else changes on the way (RFC 6376 section 5.4.1).
SIGNED = (
    "From To Cc Subject Date Message-ID Reply-To In-Reply-To References MIME-Version Content-Type"
    " Content-Transfer-Encoding List-Id List-Help List-Unsubscribe List-Unsubscribe-Post"
    " List-Subscribe List-Post List-Owner List-Archive"
).split()


@frozen
class DkimKey:
    """A key that signs for a domain.

    Attributes:
        domain: A-labels; `d=`.
        selector: where below `_domainkey` its record stands; `s=`.
        algorithm: "rsa-sha256" or "ed25519-sha256"; `a=`.
    """

    domain: str
    selector: str
    algorithm: str
    private_key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)


def sign(header: bytes, body_hash: bytes, keys: Sequence[DkimKey], at: int) -> bytes:
    """A DKIM-Signature field for each key, each with its CRLFs, to put in front of the header.

    Each covers the header as it is given and none of the others, so a verifier that knows
    only one of the algorithms has all that it needs.

    Args:
        header: of the mail as it will leave, CRLF lines; what follows an empty line is not read.
        body_hash: `BodyHash.digest()` of its body.
        at: UTC epoch seconds. There is no `x=`: a mail that waits in a queue, or is looked at
            next year, is as genuine as it was.
    """
    found = Header(list(read_fields(header)))
    names = list(names_to_sign(found.fields))
    return b"".join(_signature(key, found, names, body_hash, at) for key in keys)


def names_to_sign(fields: Sequence[Field]) -> Iterator[str]:
    """`h=`: each name as often as it is there, and once more what a mail has only once.

    A second From, Subject or Content-Type that somebody adds breaks the signature then (RFC
    6376 section 8.15). One that was missing may be added, as some hosts do; but never From.
    """
    there = Counter(each.name for each in fields)
    for name in SIGNED:
        count = there[name.lower().encode()]
        once_more = name == "From" or (count > 0 and not name.startswith("List-"))
        for _ in range(count + once_more):
            yield name


def _signature(
    key: DkimKey, header: Header, names: Sequence[str], body_hash: bytes, at: int
) -> bytes:
    def hashed(own: Field) -> bytes:
        return header.hashed([name.lower().encode() for name in names], own)

    tags = ["v=1;", *message_tags(key, names, body_hash, at)]
    return signed_field("DKIM-Signature", tags, key, hashed)


def message_tags(key: DkimKey, names: Sequence[str], body_hash: bytes, at: int) -> list[str]:
    """The tags of a signature over a mail in its relaxed form, but for `b=`."""
    return [
        f"a={key.algorithm};",
        "c=relaxed/relaxed;",
        f"d={key.domain};",
        f"s={key.selector};",
        f"t={at};",
        *_list_tag("h", names),
        f"bh={base64.b64encode(body_hash).decode()};",
    ]


def signed_field(
    name: str, tags: Sequence[str], key: DkimKey, hashed: Callable[[Field], bytes]
) -> bytes:
    """A field that ends with its `b=`, with its CRLFs.

    Args:
        tags: the others, each with its semicolon.
        hashed: gives the octets to sign, of the field as it is before.
    """
    unsigned = _folded(f"{name}:", [*tags, "b="])
    data = hashed(Field(name.lower().encode(), unsigned))
    value = base64.b64encode(_signed(key, data)).decode()
    return unsigned + _wrapped(value, unsigned) + b"\r\n"


def _signed(key: DkimKey, data: bytes) -> bytes:
    if isinstance(key.private_key, Ed25519PrivateKey):
        return key.private_key.sign(hashlib.sha256(data).digest())  # RFC 8463 section 3
    return key.private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _list_tag(tag: str, items: Sequence[str]) -> Iterator[str]:
    """Words of `h=From:To;` that a line may be folded between."""
    for index, item in enumerate(items):
        yield (f"{tag}=" if not index else "") + item + (":" if index + 1 < len(items) else ";")


def _folded(line: str, words: Sequence[str]) -> bytes:
    """Words on lines that are no longer than they may be; a blank stands only between tags."""
    lines: list[str] = []
    after_tag = True
    for word in words:
        blank = " " if after_tag else ""
        if len(line) + len(blank) + len(word) > LINE_MAX:
            lines.append(line)
            line, blank = "", "\t"
        line += blank + word
        after_tag = word.endswith(";")
    return "\r\n".join([*lines, line]).encode()


def _wrapped(value: str, before: bytes) -> bytes:
    """Base64 behind `b=`, cut where the lines are full."""
    room = LINE_MAX - len(before.rpartition(b"\r\n")[2])
    first, rest = value[:room], value[room:]
    return "\r\n\t".join([first, *re.findall(f".{{1,{LINE_MAX - 1}}}", rest)]).encode()
