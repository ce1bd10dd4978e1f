"""ARC sets of our own, for mail that we forward (RFC 8617 section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from mailnode.mailauth.arc import MOST_SETS, ArcResult, Chain
from mailnode.mailauth.canonical import Field, Header, read_fields
from mailnode.mailauth.dkim import DkimKey, message_tags, names_to_sign, signed_field
from mailnode.mailauth.results import Finding, fold, payload


def seal(
    header: bytes,
    body_hash: bytes,
    chain: Chain,
    found: ArcResult,
    authserv_id: str,
    findings: Sequence[Finding],
    key: DkimKey,
    at: int,
) -> bytes:
    """An ARC set to put in front of the header: seal, signature, results, each with its CRLFs.

    b"" where nothing may be added: to a chain that was sealed as broken before, or has 50 sets, or
    of which we don't know whether it holds.

    Args:
        header: of the mail as it will leave, without this.
        body_hash: `BodyHash.digest()` of its body.
        chain, found: of this header, and what became of it.
        findings: of the mail, as Authentication-Results has them.
        at: UTC epoch seconds.
    """
    number = found.instances + 1
    if number > MOST_SETS or chain.closed or found.result == "temperror":
        return b""
    words = [f"i={number};", *payload(authserv_id, findings)]
    results = fold(["ARC-Authentication-Results:", *words])
    message = _signature(Header(list(read_fields(header))), number, body_hash, key, at)
    own = [
        Field(b"arc-authentication-results", results.removesuffix(b"\r\n")),
        Field(b"arc-message-signature", message.removesuffix(b"\r\n")),
    ]
    # In a chain that is broken may stand anything: such a seal is about its own set alone.
    below = [each for one in chain.sets for each in one.fields] if found.result == "pass" else []

    def sealed(unsigned: Field) -> bytes:
        return b"".join(each.relaxed + b"\r\n" for each in [*below, *own]) + unsigned.relaxed

    tags = [
        f"i={number};",
        f"a={key.algorithm};",
        f"cv={found.result};",
        f"d={key.domain};",
        f"s={key.selector};",
        f"t={at};",
    ]
    return signed_field("ARC-Seal", tags, key, sealed) + message + results


def _signature(header: Header, number: int, body_hash: bytes, key: DkimKey, at: int) -> bytes:
    """Over the mail as DKIM does it, and over the signatures that it came with."""
    names = [
        *names_to_sign(header.fields),
        *["DKIM-Signature"] * len(header.named(b"dkim-signature")),
    ]

    def hashed(own: Field) -> bytes:
        return header.hashed([name.lower().encode() for name in names], own)

    tags = [f"i={number};", *message_tags(key, names, body_hash, at)]
    return signed_field("ARC-Message-Signature", tags, key, hashed)
