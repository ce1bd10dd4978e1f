"""DKIM-Signature fields, read, before anything is verified (RFC 6376 sections 3.5 and 6.1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import evolve, frozen

from mailnode.errors import one_line
from mailnode.mailauth.answers import Question
from mailnode.mailauth.canonical import BodyKind, Field
from mailnode.mailauth.dkim import ED25519, RSA
from mailnode.mailauth.tags import BadTags, read_base64, read_tags, without_blanks, words
from mailnode.reading.domains import ascii_domain

SIGNATURE_OCTETS = 16 << 10  # of one field
MOST_NAMES = 500  # in its h=
SHOWN_CHARACTERS = 8  # of b=: RFC 6008 section 4

_B_VALUE = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_FORMS = {"relaxed": True, "simple": False}
_NUMBER = re.compile(r"[0-9]{1,15}")


@frozen
class DkimResult:
    """What became of one signature.

    Attributes:
        result: "pass", "fail", "policy" (it may be right, and counts for nothing), "neutral",
            "permerror", "temperror": as RFC 8601 section 2.7.1 has them.
        reason: in plain words, printable; "" for a pass of which there is no more to say.
        domain, selector: d= and s= in A-labels; "" where they can't be read.
        identity: i=, "" where it isn't said.
        shown: the first characters of b=, by which signatures of one domain are told apart.
        testing: its key says that the domain is only trying it.
    """

    result: str
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    shown: str = ""
    testing: bool = False


class BadSignature(Exception):
    """A field that can't be verified, whatever the keys are."""

    def __init__(self, reason: str, result: str = "permerror") -> None:
        super().__init__(reason)
        self.reason, self.result = reason, result


@frozen
class Signature:
    """One that can be verified.

    Attributes:
        names: of h=, in lower case.
        kind: of the body.
        relaxed: the canonical form of the header.
        body_hash, value: bh= and b=, decoded.
        about: what its result says of it, whatever comes out.
    """

    field: Field
    about: DkimResult
    names: tuple[bytes, ...]
    kind: BodyKind
    relaxed: bool
    body_hash: bytes
    value: bytes
    signed_at: int | None = None
    expires_at: int | None = None

    @property
    def question(self) -> Question:
        """Where its key is."""
        return key_question(self.about)

    @property
    def unsigned(self) -> Field:
        return without_value(self.field)

    def ends(self, result: str, reason: str = "", testing: bool = False) -> DkimResult:
        return evolve(self.about, result=result, reason=one_line(reason), testing=testing)


def key_question(about: DkimResult) -> Question:
    return f"{about.selector}._domainkey.{about.domain}", "TXT"


def without_value(field: Field) -> Field:
    """A field as it was when it was signed: nothing stands behind its `b=`."""
    name, colon, value = field.raw.partition(b":")
    return Field(field.name, name + colon + _B_VALUE.sub(rb"\1", value, count=1))


def read_signature(field: Field, arc: bool = False) -> Signature | DkimResult:
    """The signature, or why it can't be one.

    Args:
        arc: it is an ARC-Message-Signature (RFC 8617 section 4.1.2): without v=, and i= is no
            identity.
    """
    about = DkimResult("permerror")
    try:
        tags = read_field_tags(field)
        about = describe(tags, arc)
        return _read(field, tags, about, arc)
    except BadTags as bad:
        return evolve(about, reason=one_line(str(bad)))
    except BadSignature as bad:
        return evolve(about, result=bad.result, reason=one_line(bad.reason))


def read_field_tags(field: Field) -> dict[str, str]:
    """Raises BadTags."""
    if len(field.raw) > SIGNATURE_OCTETS:
        raise BadTags(f"it is longer than {SIGNATURE_OCTETS} octets")
    return read_tags(field.raw.partition(b":")[2].decode("utf-8", "replace"))


def describe(tags: Mapping[str, str], arc: bool = False) -> DkimResult:
    """What can be said of a signature before it is known to be one."""
    return DkimResult(
        "permerror",
        domain=ascii_domain(tags.get("d", "")),
        selector=ascii_domain(tags.get("s", "")),
        identity="" if arc else one_line(without_blanks(tags.get("i", "")))[:320],
        algorithm=one_line(tags.get("a", ""))[:40],
        shown=one_line(without_blanks(tags.get("b", "")[:99]))[:SHOWN_CHARACTERS],
    )


def _read(field: Field, tags: Mapping[str, str], about: DkimResult, arc: bool) -> Signature:
    if not arc and tags.get("v") != "1":
        raise BadSignature("v= is not 1")
    check_signer(tags, about)
    names = words(tags.get("h", "").lower())
    if len(names) > MOST_NAMES:
        raise BadSignature(f"it names more than {MOST_NAMES} fields")
    if "from" not in names:
        raise BadSignature("it doesn't cover From")
    if "dns/txt" not in words(tags.get("q", "dns/txt").lower()):
        raise BadSignature("its key is not in the DNS")
    if not arc:
        _check_identity(about)
    header_form, _, body_form = without_blanks(tags.get("c", "simple")).lower().partition("/")
    if header_form not in _FORMS or (body_form or "simple") not in _FORMS:
        raise BadSignature("c= names a canonical form that there isn't")
    signed_at, expires_at = _number(tags, "t"), _number(tags, "x")
    if expires_at is not None and signed_at is not None and expires_at < signed_at:
        raise BadSignature("it expires before it was made")
    return Signature(
        field,
        about,
        tuple(name.encode("utf-8", "replace") for name in names),
        BodyKind(_FORMS[body_form or "simple"], _number(tags, "l")),
        _FORMS[header_form],
        read_base64(tags.get("bh", "")),
        read_base64(tags.get("b", "")),
        signed_at,
        expires_at,
    )


def check_signer(tags: Mapping[str, str], about: DkimResult) -> None:
    """Who signs, and how.

    Raises:
        BadSignature
    """
    if not about.domain or not about.selector:
        raise BadSignature("d= or s= is missing, or no domain")
    if not tags.get("b"):
        raise BadSignature("b= is missing")
    if about.algorithm == "rsa-sha1":
        raise BadSignature("rsa-sha1 proves nothing any more (RFC 8301)", "policy")
    if about.algorithm not in (RSA, ED25519):
        raise BadSignature(f"a={about.algorithm!r} is no algorithm that there is")


def _check_identity(about: DkimResult) -> None:
    if not about.identity:
        return
    _, at, domain = about.identity.rpartition("@")
    if not at or not f".{domain.lower()}".endswith(f".{about.domain}"):
        raise BadSignature("i= is not at d= or below it")


def _number(tags: Mapping[str, str], tag: str) -> int | None:
    if tag not in tags:
        return None
    if not _NUMBER.fullmatch(tags[tag]):
        raise BadSignature(f"{tag}= is no number that can be")
    return int(tags[tag])
