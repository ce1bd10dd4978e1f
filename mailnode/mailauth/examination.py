"""All that is found out of who sent a mail: what to hash and to ask for it, and what is said.

The steps of one mail: `read_mail` on its header, its body into `bodies`, then `judge` with the
answers of the DNS. No I/O; each step belongs into a thread, since a header may be large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from mailnode.mailauth.answers import Answers, Question
from mailnode.mailauth.arc import ArcResult, Chain, read_chain, verify_chain
from mailnode.mailauth.arc_seal import seal
from mailnode.mailauth.canonical import (
    RELAXED,
    BodyHashes,
    BodyKind,
    Field,
    Hashed,
    Header,
    read_fields,
)
from mailnode.mailauth.dkim import DkimKey
from mailnode.mailauth.dmarc import DmarcResult, author_domains
from mailnode.mailauth.results import Finding, write_results
from mailnode.mailauth.signatures import DkimResult, Signature, key_question
from mailnode.mailauth.spf import SpfResult
from mailnode.mailauth.verifying import read_signatures, verify_all
from mailnode.reading.domains import registrable

HEADER_OCTETS = 256 << 10  # of a mail that is judged; no mailer writes a tenth of that
MOST_LINES = 5000  # in it
TOO_LARGE = "the header is too large to be verified"

_FROM = re.compile(rb"^from[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.I | re.M)


@define(eq=False)
class Examination:
    """One mail while it is judged.

    Attributes:
        signatures: those of DKIM, read.
        authors: the domains in From.
        hashes: of the body, once it has ended.
    """

    header: Header
    signatures: Sequence[Signature | DkimResult]
    chain: Chain
    authors: Sequence[str]
    bodies: BodyHashes
    hashes: dict[BodyKind, Hashed] = field(factory=dict, init=False)

    @property
    def questions(self) -> list[Question]:
        """Where the keys are that the signatures and seals need, each once."""
        found = [each.question for each in self.signatures if isinstance(each, Signature)]
        if self.chain.latest is not None:
            found.append(self.chain.latest.question)
            found += [key_question(each.seal.about) for each in self.chain.sets]
        return list(dict.fromkeys(found))

    def end_body(self) -> None:
        """All of the body was fed."""
        self.hashes = self.bodies.end()

    def judge(self, answers: Answers, now: float) -> tuple[tuple[DkimResult, ...], ArcResult]:
        """What becomes of its signatures and of its chain.

        Raises:
            Lacking
        """
        dkim = verify_all(self.signatures, self.header, self.hashes, answers, now)
        return dkim, verify_chain(self.chain, self.header, self.hashes, answers, now)


def read_mail(octets: bytes, whole: bool = True, sealing: bool = False) -> Examination:
    """A mail's header, with what it asks for.

    Args:
        octets: the header, up to its blank line; as much as is looked at of one that is too large,
            of which only the author is found.
        whole: False for such a one: nothing that is made over it can be verified.
        sealing: its body is hashed for a seal of ours, too.
    """
    signatures: list[Signature | DkimResult]
    if whole and octets.count(b"\n") <= MOST_LINES:
        header = Header(list(read_fields(octets)))
        signatures, chain = read_signatures(header), read_chain(header)
    else:
        header = Header([Field(b"from", each) for each in _FROM.findall(octets)])
        signatures, chain = [DkimResult("permerror", TOO_LARGE)], Chain(broken=TOO_LARGE)
    kinds = [each.kind for each in signatures if isinstance(each, Signature)]
    sealing = sealing and chain.broken != TOO_LARGE
    kinds += [*chain.kinds, *([RELAXED] if sealing else [])]
    authors = author_domains(header)
    for each in authors:
        registrable(
            each
        )  # the first of all reads the list of public suffixes: not later, elsewhere
    return Examination(header, signatures, chain, authors, BodyHashes.of(kinds))


def octets_of_authors(header: bytes) -> int:
    """How much stands in its From fields."""
    return sum(map(len, _FROM.findall(header)))


@frozen
class Authenticated:
    """What was found out of who sent a mail.

    Attributes:
        spf: of the reverse-path's domain, or of the HELO where that is `<>`.
        helo: of the HELO besides; None where that was not asked for.
        dkim: of each signature from the top; () for none.
        arc, chain: of the sets that hosts on the way added.
        dmarc: with the policy that its domain wants for this mail; it was not carried out.
        findings: all of it, as Authentication-Results has it.
        field: that field, with its CRLFs, to put in front.
        body_hash: of the relaxed form, for a seal; b"" where none was wished, or not all was read.
        header: as it came, for a seal; empty where none can be made.
    """

    spf: SpfResult
    helo: SpfResult | None
    dkim: tuple[DkimResult, ...]
    arc: ArcResult
    chain: Chain
    dmarc: DmarcResult
    findings: tuple[Finding, ...]
    field: bytes
    body_hash: bytes = b""
    header: tuple[Field, ...] = ()

    def seal(self, prefix: bytes, authserv_id: str, key: DkimKey, at: int) -> bytes:
        """An ARC set for the mail as it leaves, behind a prefix; see `arc_seal.seal`.

        b"" where the mail was not read whole: what nobody has verified, nobody vouches for.
        """
        if not self.body_hash:
            return b""
        header = prefix + b"".join(each.raw + b"\r\n" for each in self.header)
        return seal(
            header, self.body_hash, self.chain, self.arc, authserv_id, self.findings, key, at
        )


def conclude(
    authserv_id: str,
    sender: str,
    helo: str,
    spf: SpfResult,
    spf_helo: SpfResult | None,
    dkim: tuple[DkimResult, ...],
    arc: ArcResult,
    dmarc: DmarcResult,
    examination: Examination | None,
) -> Authenticated:
    """All results as one value, and as the field that tells them.

    Args:
        sender: the reverse-path, "" for `<>`.
        examination: None where the mail could not be read.
    """
    findings = tuple(_findings(sender, helo, spf, spf_helo, dkim, arc, dmarc))
    hashed = examination.hashes.get(RELAXED) if examination is not None else None
    return Authenticated(
        spf,
        spf_helo,
        dkim,
        arc,
        examination.chain if examination is not None else Chain(),
        dmarc,
        findings,
        write_results(authserv_id, findings),
        hashed.digest if hashed is not None else b"",
        tuple(examination.header.fields) if examination is not None and hashed is not None else (),
    )


def _findings(
    sender: str,
    helo: str,
    spf: SpfResult,
    spf_helo: SpfResult | None,
    dkim: Sequence[DkimResult],
    arc: ArcResult,
    dmarc: DmarcResult,
) -> Iterator[Finding]:
    about = ("smtp.mailfrom", sender if sender.isascii() else spf.domain)
    yield Finding("spf", spf.result, spf.reason, (about if sender else ("smtp.helo", helo),))
    if spf_helo is not None and spf_helo.result != "none":
        yield Finding("spf", spf_helo.result, spf_helo.reason, (("smtp.helo", helo),))
    if not dkim:
        yield Finding("dkim", "none")
    for each in dkim:
        properties = (
            ("header.d", each.domain),
            ("header.i", each.identity),
            ("header.s", each.selector),
            ("header.a", each.algorithm),
            ("header.b", each.shown),
        )
        yield Finding("dkim", each.result, each.reason, properties)
    if arc.result != "none":
        yield Finding("arc", arc.result, arc.reason)
    wanted = dmarc.apply if dmarc.record is not None else ""
    author = (("header.from", dmarc.domain), ("policy.dmarc", wanted))
    yield Finding("dmarc", dmarc.result, dmarc.reason, author)
