"""What hosts on the way found of a mail, and whether their chain holds: ARC, RFC 8617.

Verified as DKIM is (`mailnode.mailauth.verifying`): the header says which sets there are, keys are
looked up side by side, the judgement is made of them. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from mailnode.errors import one_line
from mailnode.mailauth.answers import Answers
from mailnode.mailauth.canonical import BodyKind, Field, Header
from mailnode.mailauth.public_keys import NoKey, find_key
from mailnode.mailauth.signatures import (
    BadSignature,
    DkimResult,
    Signature,
    check_signer,
    describe,
    key_question,
    read_field_tags,
    read_signature,
    without_value,
)
from mailnode.mailauth.tags import BadTags, read_base64
from mailnode.mailauth.verifying import Hashes, verify

MOST_SETS = 50  # RFC 8617 section 4.2.1
TOLD_CHARACTERS = 2000

_INSTANCE = re.compile(r"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,3})[ \t\r\n]*;(.*)", re.S)


class _Broken(Exception):
    """The chain can't be right, whatever the keys are."""


class _Closed(_Broken):
    """Somebody has found it so before."""


@frozen
class Seal:
    """An ARC-Seal field.

    Attributes:
        about: who sealed, and how.
        validation: cv=, what the sealer found of the chain below.
    """

    field: Field
    about: DkimResult
    value: bytes
    validation: str


@frozen
class ArcSet:
    """What one host added.

    Attributes:
        told: its results, unfolded.
    """

    results: Field
    message: Field
    seal: Seal
    told: str

    @property
    def fields(self) -> tuple[Field, Field, Field]:
        """In the order in which they are sealed."""
        return self.results, self.message, self.seal.field


@frozen
class Chain:
    """The sets of a mail, or why they are no chain.

    Attributes:
        sets: from the first to the last; empty where the chain is broken.
        latest: the last one's ARC-Message-Signature.
        broken: why it is no chain; "" for one that may hold, or none.
        instances: the highest number that stands there.
        closed: its last seal says that it is broken; nobody adds to it.
    """

    sets: tuple[ArcSet, ...] = ()
    latest: Signature | None = None
    broken: str = ""
    instances: int = 0
    closed: bool = False

    @property
    def kinds(self) -> list[BodyKind]:
        """Of the body's hashes that are needed."""
        return [self.latest.kind] if self.latest is not None else []


@frozen
class ArcResult:
    """What became of the chain.

    Attributes:
        result: "none", "pass", "fail"; "temperror" where a key could not be looked up.
        reason: in plain words, printable.
        instances: sets that there are, or the highest number of one.
        sealers: the domains that sealed, from the first to the last; empty unless it passed.
        told: what each said in its ARC-Authentication-Results, printable.
    """

    result: str
    reason: str = ""
    instances: int = 0
    sealers: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def read_chain(header: Header) -> Chain:
    """The sets that a header has; what is wrong with them is said, not raised."""
    seals = header.named(b"arc-seal")
    messages = header.named(b"arc-message-signature")
    results = header.named(b"arc-authentication-results")
    if not seals and not messages and not results:
        return Chain()
    counts = len(seals), len(messages), len(results)
    instances = min(max(counts), MOST_SETS)
    if max(counts) > MOST_SETS:
        return Chain(broken=f"there are more than {MOST_SETS} sets", instances=MOST_SETS)
    try:
        numbers = [_numbered(fields) for fields in (results, messages, seals)]
        instances = max(number for each in numbers for number in each)
        return _read(numbers, instances)
    except (_Broken, BadTags, BadSignature) as error:
        closed = isinstance(error, _Closed)
        return Chain(broken=one_line(str(error)), instances=instances, closed=closed)


def _numbered(fields: Sequence[Field]) -> dict[int, Field]:
    numbered: dict[int, Field] = {}
    for each in fields:
        number = _instance(each)
        if number in numbered:
            raise _Broken(f"set {number} has a field twice")
        numbered[number] = each
    return numbered


def _instance(field: Field) -> int:
    """i=, which stands first in the results and anywhere in the others."""
    if field.name == b"arc-authentication-results":
        found = _INSTANCE.match(_value_of(field))
        text = found.group(1) if found else ""
    else:
        text = read_field_tags(field).get("i", "")
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_SETS:
        raise _Broken("a field has no i= that can be")
    return int(text)


def _value_of(field: Field) -> str:
    return field.raw.partition(b":")[2].decode("utf-8", "replace")


def _read(numbers: Sequence[dict[int, Field]], count: int) -> Chain:
    results, messages, seals = numbers
    wanted = set(range(1, count + 1))
    if any(set(each) != wanted for each in numbers):
        raise _Broken("a field of a set is missing")
    sets = [
        ArcSet(results[number], messages[number], _seal(seals[number], number), "")
        for number in sorted(wanted)
    ]
    if sets[-1].seal.validation == "fail":
        raise _Closed(f"{sets[-1].seal.about.domain} found it broken before")
    for number, each in enumerate(sets, 1):
        if each.seal.validation != ("none" if number == 1 else "pass"):
            raise _Broken(f"cv= of seal {number} is not what it must be")
    latest = read_signature(messages[count], arc=True)
    if isinstance(latest, DkimResult):
        raise _Broken(f"its last signature: {latest.reason}")
    if b"arc-seal" in latest.names:
        raise _Broken("its last signature covers seals")
    told = [evolve(each, told=_told(each.results)) for each in sets]
    return Chain(tuple(told), latest, instances=count)


def _seal(field: Field, number: int) -> Seal:
    tags = read_field_tags(field)
    about = describe(tags, arc=True)
    try:
        check_signer(tags, about)
    except BadSignature as bad:
        raise _Broken(f"seal {number}: {bad.reason}") from None
    if "h" in tags or "bh" in tags:
        raise _Broken(f"seal {number} has tags of a signature")
    return Seal(field, about, read_base64(tags["b"]), tags.get("cv", "").lower())


def _told(field: Field) -> str:
    found = _INSTANCE.match(_value_of(field))
    return one_line(found.group(2)[: TOLD_CHARACTERS * 2])[:TOLD_CHARACTERS] if found else ""


def verify_chain(
    chain: Chain, header: Header, hashes: Hashes, answers: Answers, now: float
) -> ArcResult:
    """Whether the chain holds; takes milliseconds, and belongs into a thread.

    Args:
        hashes: of the kinds that the chain needs.
        now: UTC epoch seconds.

    Raises:
        Lacking: with all keys that have to be asked for.
    """
    if chain.broken:
        return ArcResult("fail", chain.broken, chain.instances)
    if chain.latest is None:
        return ArcResult("none")
    seals = [each.seal for each in chain.sets]
    questions = [chain.latest.question, *(key_question(each.about) for each in seals)]
    answers.find_all(questions)
    result, reason = _judge(chain, chain.latest, header, hashes, answers, now)
    if result != "pass":
        return ArcResult(result, one_line(reason), chain.instances)
    return ArcResult(
        "pass",
        instances=chain.instances,
        sealers=tuple(each.about.domain for each in seals),
        told=tuple(each.told for each in chain.sets),
    )


def _judge(
    chain: Chain,
    latest: Signature,
    header: Header,
    hashes: Hashes,
    answers: Answers,
    now: float,
) -> tuple[str, str]:
    """Section 5.2: the last signature over the mail, then every seal from the last to the first."""
    found = verify(latest, header, hashes, answers, now)
    if found.result != "pass":
        result = "temperror" if found.result == "temperror" else "fail"
        return result, f"the signature of {found.domain}: {found.reason}"
    sealed = list(_sealed(chain.sets))
    for number in range(len(chain.sets), 0, -1):
        seal = chain.sets[number - 1].seal
        key = find_key(key_question(seal.about), seal.about.algorithm, answers)
        if isinstance(key, NoKey):
            result = "temperror" if key.result == "temperror" else "fail"
            return result, f"seal {number} of {seal.about.domain}: {key.reason}"
        if not key.verifies(seal.value, sealed[number - 1]):
            return "fail", f"seal {number} of {seal.about.domain} doesn't fit what it seals"
    return "pass", ""


def _sealed(sets: Sequence[ArcSet]) -> Iterator[bytes]:
    """What each seal is made over: all sets below it, its own, and itself without its value."""
    below = b""
    for each in sets:
        own = b"".join(field.relaxed + b"\r\n" for field in (each.results, each.message))
        yield below + own + without_value(each.seal.field).relaxed
        below += own + each.seal.field.relaxed + b"\r\n"
