"""Are a mail's DKIM signatures right? RFC 6376 section 6, with RFC 8301 and 8463.

In three steps, so that the body is hashed as it comes and keys are looked up meanwhile: what the
header asks for (`read_signatures`), the body's hashes (`canonical.BodyHashes`), and the judgement
(`verify_all`). No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailnode.mailauth.answers import Answers
from mailnode.mailauth.canonical import BodyKind, Hashed, Header
from mailnode.mailauth.public_keys import NoKey, PublicKey, find_key
from mailnode.mailauth.signatures import DkimResult, Signature, read_signature

MOST_SIGNATURES = 10
SKEW_S = 300  # that clocks may differ by

Hashes = Mapping[BodyKind, Hashed]


def read_signatures(header: Header) -> list[Signature | DkimResult]:
    """The first ten from the top: those that can be verified, and what is wrong with others."""
    fields = header.named(b"dkim-signature")[:MOST_SIGNATURES]
    return [read_signature(each) for each in fields]


def verify_all(
    found: Sequence[Signature | DkimResult],
    header: Header,
    hashes: Hashes,
    answers: Answers,
    now: float,
) -> tuple[DkimResult, ...]:
    """What becomes of each, in order; takes milliseconds, and belongs into a thread.

    Args:
        hashes: of every kind that the signatures name.
        now: UTC epoch seconds.

    Raises:
        Lacking: with all keys that have to be asked for.
    """
    signatures = [each for each in found if isinstance(each, Signature)]
    answers.find_all([each.question for each in signatures])
    return tuple(
        verify(each, header, hashes, answers, now) if isinstance(each, Signature) else each
        for each in found
    )


def verify(
    signature: Signature, header: Header, hashes: Hashes, answers: Answers, now: float
) -> DkimResult:
    """What becomes of one; for DKIM's and ARC's.

    Raises:
        Lacking: its key has to be asked for.
    """
    if signature.expires_at is not None and signature.expires_at + SKEW_S < now:
        return signature.ends("policy", "it has expired")
    if signature.signed_at is not None and signature.signed_at - SKEW_S > now:
        return signature.ends("policy", "it was made in the future")
    about = signature.about
    key = find_key(signature.question, about.algorithm, answers)
    if isinstance(key, NoKey):
        return signature.ends(key.result, key.reason)
    if key.strict and about.identity.rpartition("@")[2].lower() not in ("", about.domain):
        return signature.ends("permerror", "the key is for d= itself, and i= is below it")
    result, reason = _judge(signature, header, hashes[signature.kind], key)
    if key.testing:
        reason = f"{reason}; the domain says that it is testing".removeprefix("; ")
    return signature.ends(result, reason, key.testing)


def _judge(signature: Signature, header: Header, hashed: Hashed, key: PublicKey) -> tuple[str, str]:
    most = signature.kind.most_octets
    if most is not None and most > hashed.size_octets:
        return "permerror", f"it is about {most} octets, and the body has {hashed.size_octets}"
    data = header.hashed(signature.names, signature.unsigned, signature.relaxed)
    if not key.verifies(signature.value, data):
        return "fail", "a signed field was changed, or another key signed"
    if signature.body_hash != hashed.digest:
        return "fail", "the body was changed"
    if signature.names.count(b"from") < len(header.named(b"from")):
        return "policy", "it covers one From, and another stands there, too"
    if most is not None and most < hashed.size_octets:
        # What stands behind may be anything, and with some MIME it is all that is shown.
        return "policy", f"it covers {most} of {hashed.size_octets} octets of the body only"
    return "pass", ""
