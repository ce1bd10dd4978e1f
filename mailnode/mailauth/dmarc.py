"""Is the mail from whom it says? DMARC: RFC 9989, and RFC 7489 where that goes on.

A policy is found by the walk of RFC 9989 section 4.10: from the author's domain up to its top, at
most eight names, asked side by side. Where an organization ends, the records on that walk say with
`psd`; where none of them does, Mozilla's list of public suffixes, as RFC 7489 has it, because few
domains publish `psd` yet. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from attrs import frozen

from mailnode.addresses import parse_address_list
from mailnode.errors import MailError, one_line
from mailnode.mailauth.answers import Answers
from mailnode.mailauth.canonical import Header
from mailnode.mailauth.dmarc_record import POLICIES, DmarcRecord, read_records
from mailnode.mailauth.signatures import DkimResult
from mailnode.mailauth.spf import SpfResult
from mailnode.reading.domains import ascii_domain, registrable
from mailnode.reading.fields import addresses_of, decoded

MOST_NAMES = 8  # of a walk
MOST_AUTHORS = 5  # domains in From that are judged
FROM_OCTETS = 8 << 10  # of all From fields
LENIENT_CHARACTERS = 4096  # of a From that breaks the grammar

_FOLD = re.compile(r"\r\n[ \t]+")


@frozen
class DmarcResult:
    """What came out.

    Attributes:
        result: "pass", "fail", "none" (no policy), "permerror" (no author, or one who can't be
            read), "temperror".
        domain: the author's, in A-labels; "" for none.
        reason: in plain words, printable.
        organization: that the author's domain belongs to.
        policy_domain: where the policy was found; "" for none.
        policy: what it asks for failing mails of this author.
        apply: what is to be done with this mail by it: "none", "quarantine" or "reject".
        record: the policy's; None without one.
        dkim_aligned, spf_aligned: whether a signature, or the envelope's domain, is the author's.
    """

    result: str
    domain: str = ""
    reason: str = ""
    organization: str = ""
    policy_domain: str = ""
    policy: str = "none"
    apply: str = "none"
    record: DmarcRecord | None = None
    dkim_aligned: bool = False
    spf_aligned: bool = False


def author_domains(header: Header) -> list[str]:
    """The domains of all who stand in From, the first so many, in A-labels.

    Behind them "" for others, who can't be read or are too many.
    """
    found: list[str] = []
    fields, left = header.named(b"from"), FROM_OCTETS
    for each in fields[:MOST_AUTHORS]:
        octets = each.raw.partition(b":")[2]
        found += _domains(_FOLD.sub(" ", octets[: max(left, 0)].decode("utf-8", "replace")).strip())
        left -= len(octets)
    named = list(dict.fromkeys(filter(None, found)))
    are_all = "" not in found and left >= 0 and max(len(fields), len(named)) <= MOST_AUTHORS
    return named[:MOST_AUTHORS] + ([] if are_all else [""])


def _domains(value: str) -> list[str]:
    try:
        addresses = [each.domain for each in parse_address_list(value)]
    except MailError:  # as those read it who show it all the same
        cut = value[:LENIENT_CHARACTERS]
        shown = addresses_of([cut, decoded(cut)] if "=?" in cut else [cut])
        addresses = [each.rpartition("@")[2].strip("<>'\" ") for _, each in shown if "@" in each]
        addresses += [""] * (cut != value)
    return list(map(ascii_domain, addresses))


def judge_authors(
    domains: Sequence[str],
    spf: SpfResult,
    dkim: Sequence[DkimResult],
    answers: Answers,
    roll: int,
) -> DmarcResult:
    """What DMARC says of a mail; of several authors, what is worst.

    Args:
        domains: `author_domains` of the mail.
        spf: of the envelope's domain.
        dkim: of all signatures.
        roll: 0 to 99, by chance: which of a hundred mails this is, for `pct`.

    Raises:
        Lacking
    """
    if not domains:
        return DmarcResult("permerror", reason="From names no author")
    named = [each for each in domains if each]
    answers.find_all([_question(name) for domain in named for name in walk(domain)])
    results = [_judge(each, spf, dkim, answers, roll) for each in named]
    if len(named) < len(domains):
        results.append(DmarcResult("permerror", reason="From names others who can't be judged"))
    return max(results, key=_badness)


def _badness(result: DmarcResult) -> tuple[int, int]:
    ranked = ("pass", "none", "temperror", "fail", "permerror")
    return POLICIES.index(result.apply), ranked.index(result.result)


def _judge(
    domain: str, spf: SpfResult, dkim: Sequence[DkimResult], answers: Answers, roll: int
) -> DmarcResult:
    """One author (RFC 9989 section 4.12)."""
    top = organization(domain, answers)
    found = _find_record(domain, top, answers)
    if found is None:
        about = partial(DmarcResult, domain=domain, organization=top)
        if any(answers.find(*_question(name)).failed for name in walk(domain)):
            return about("temperror", reason=f"the policy of {domain} could not be looked up")
        return about("none", reason=f"{domain} has no DMARC policy")
    policy_domain, record = found
    aligned = partial(_is_aligned, domain, top, answers)
    by_dkim = [each for each in dkim if each.domain and aligned(each.domain, record.strict_dkim)]
    by_spf = bool(spf.domain) and aligned(spf.domain, record.strict_spf)
    dkim_passes = any(each.result == "pass" for each in by_dkim)
    spf_passes = by_spf and spf.result == "pass"
    asked = _policy(domain, policy_domain, record, answers)
    about = partial(
        DmarcResult,
        domain=domain,
        organization=top,
        policy_domain=policy_domain,
        policy=asked,
        record=record,
        dkim_aligned=dkim_passes,
        spf_aligned=spf_passes,
    )
    if dkim_passes or spf_passes:
        ways = [word for word, passed in (("DKIM", dkim_passes), ("SPF", spf_passes)) if passed]
        return about("pass", reason=f"{domain} is proved by {' and '.join(ways)}")
    unsure = [each.reason for each in by_dkim if each.result == "temperror"]
    unsure += [spf.reason] if by_spf and spf.result == "temperror" else []
    if unsure:
        return about("temperror", reason=one_line(unsure[0]))
    apply, why = _apply(asked, record, roll)
    reason = f"neither SPF nor DKIM proves {domain}, whose policy is {asked}{why}"
    return about("fail", reason=reason, apply=apply)


def _policy(domain: str, policy_domain: str, record: DmarcRecord, answers: Answers) -> str:
    if domain == policy_domain:
        return record.policy
    subdomains = record.subdomains or record.policy
    if record.missing and record.missing != subdomains and not _exists(domain, answers):
        return record.missing
    return subdomains


def _exists(domain: str, answers: Answers) -> bool:
    """Whether a domain has mail or addresses; so it has while nobody can say."""
    found = answers.find_all([(domain, kind) for kind in ("MX", "A", "AAAA")])
    if any(not each.exists for each in found):
        return False
    return any(each.values or each.failed for each in found)


def _apply(policy: str, record: DmarcRecord, roll: int) -> tuple[str, str]:
    """What is to be done, and in words why it is less than is asked."""
    if policy == "none":
        return policy, ""
    less = POLICIES[POLICIES.index(policy) - 1]
    if record.testing:
        return less, f", which it is testing: {less}"
    if roll >= record.percent:
        return less, f" for {record.percent} of a hundred mails, of which this isn't one: {less}"
    return policy, ""


# Where organizations end


def walk(domain: str) -> list[str]:
    """The names at which a policy may stand, from the domain to its top (section 4.10)."""
    labels = domain.split(".")
    kept = labels if len(labels) <= MOST_NAMES else labels[-(MOST_NAMES - 1) :]
    names = [".".join(kept[at:]) for at in range(len(kept))]
    return names if names[0] == domain else [domain, *names]


def _question(name: str) -> tuple[str, str]:
    return f"_dmarc.{name}", "TXT"


def _record_at(name: str, answers: Answers) -> DmarcRecord | None:
    """Raises Lacking."""
    return answers.once(read_records, answers.find(*_question(name)).values)


def organization(domain: str, answers: Answers) -> str:
    """The domain under which one owner has all.

    Raises:
        Lacking
    """
    names = walk(domain)
    answers.find_all([_question(name) for name in names])
    labels = domain.split(".")
    for name in names:
        record = _record_at(name, answers)
        if record is not None and record.psd == "n":
            return name
        if record is not None and record.psd == "y":
            return ".".join(labels[-(name.count(".") + 2) :])
    return registrable(domain)


def _find_record(domain: str, top: str, answers: Answers) -> tuple[str, DmarcRecord] | None:
    """The record that an author's domain is under: its own, its organization's, the one between
    that stands highest, or the one of the public suffix above."""
    there = [(name, each) for name in walk(domain) if (each := _record_at(name, answers))]
    own = [each for each in there if each[0] == domain]
    inside = [each for each in there if len(each[0]) >= len(top)]
    above = [each for each in there if each[1].psd == "y"]
    return next(iter([*own, *reversed(inside), *above]), None)


def _is_aligned(author: str, top: str, answers: Answers, domain: str, strict: bool) -> bool:
    """Whether a domain that was proved is the author's (section 4.4)."""
    domain = ascii_domain(domain)
    if not domain or strict or domain == author:
        return domain == author
    if domain.split(".")[-2:] != author.split(".")[-2:]:
        return False  # no walk leads to one organization
    return organization(domain, answers) == top
