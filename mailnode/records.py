"""What a DNS answer says: pure, on dnspython's messages (RFC 1035, 2181, 2308, 6891)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import frozen

from mailnode.errors import NoSuchName
from mailnode.short_answers import UDP_OCTETS, ShortAnswer, name_text, read_short

MOST_RECORDS = 256  # of one answer: long names, packed, take two milliseconds each to unpack
MOST_TTL_S = 86400.0
MOST_NEGATIVE_TTL_S = 10800.0  # RFC 2308 section 5
WITHOUT_SOA_S = 5.0


Parsed = dns.message.QueryMessage | ShortAnswer


@frozen
class Records:
    """What a name has of one kind.

    Attributes:
        values: by the kind: A and AAAA an address; MX (preference, host); TXT its strings joined;
            CNAME, NS and PTR a name; TLSA (usage, selector, matching, data); SRV (priority, weight,
            port, host); of any other kind the text that a zone file has. Names are in lower case,
            without the last dot. Empty: the name has none of this kind.
        authenticated: a validating resolver on this machine says that DNSSEC vouches for it.
        expires_in_s: how long it may be kept.
        name: whose values they are: the end of the CNAMEs that stood in between.
    """

    values: tuple[Any, ...] = ()
    authenticated: bool = False
    expires_in_s: float = 0.0
    name: str = ""


@frozen
class Reading:
    """An answer, read.

    Attributes:
        exists: False for a name that isn't there (NXDOMAIN).
        complete: False when a CNAME leads to a name of which the answer says nothing.
    """

    records: Records
    exists: bool = True
    complete: bool = True


class ServerFault(Exception):
    """A server answered that it can't: SERVFAIL, REFUSED, or nonsense. Another may know."""


def _edns() -> Any:
    query = dns.message.QueryMessage()
    query.use_edns(0, 0, UDP_OCTETS)
    return query.opt


_EDNS = _edns()


def make_query(name: str, kind: str) -> dns.message.QueryMessage:
    """A question with a random id, EDNS, and the wish to hear whether DNSSEC vouches for it.

    Args:
        name: A-labels; a last dot may stand there.

    Raises:
        NoSuchName: it can't be in the DNS: an empty label, one over 63 octets, beyond ASCII.
    """
    try:
        if not name.isascii():
            raise dns.exception.SyntaxError
        asked = dns.name.from_text(name)
    except dns.exception.DNSException:
        raise NoSuchName(detail=f"{name!r} is no name of the DNS") from None
    query = dns.message.QueryMessage(int.from_bytes(os.urandom(2), "big"))
    # RFC 6840 section 5.7: AD without the signatures.
    query.flags = dns.flags.RD | dns.flags.AD
    of_kind = dns.rdatatype.from_text(kind)
    query.find_rrset(
        query.question, asked, dns.rdataclass.IN, of_kind, create=True, force_unique=True
    )
    query.opt = _EDNS  # made anew, it takes as long as the rest of all this
    return query


def count_records(data: bytes) -> int:
    """How many records a message says that it holds."""
    return sum(int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10))


def parse_answer(data: bytes, query: dns.message.Message) -> Parsed | None:
    """The message, when it is one and answers `query`: same id, same question; else None.

    A truncated one may end anywhere: its flag TC is what counts. One of more than `MOST_RECORDS`
    answers nothing.
    """
    if data[:2] != query.id.to_bytes(2, "big"):  # most of what a forger sends ends here
        return None
    if count_records(data) > MOST_RECORDS:
        return None
    if (short := read_short(data, query)) is not None:
        return short
    try:
        answer = dns.message.from_wire(
            data, one_rr_per_rrset=False, raise_on_truncation=True, ignore_trailing=True
        )
    except dns.message.Truncated as error:
        answer = error.message()
    except (dns.exception.DNSException, ValueError, IndexError):
        return None
    if not isinstance(answer, dns.message.QueryMessage) or not query.is_response(answer):
        return None
    return answer


def read_answer(answer: Parsed, trusted: bool) -> Reading:
    """What it says; CNAMEs are followed inside it.

    Args:
        trusted: the way to the server is safe, so that its AD bit can be believed.

    Raises:
        ServerFault: it says nothing about the name.
    """
    authenticated = trusted and bool(answer.flags & dns.flags.AD)
    if isinstance(answer, ShortAnswer):
        ttl_s = min(answer.ttl_s, MOST_TTL_S if answer.values else MOST_NEGATIVE_TTL_S)
        return Reading(Records(answer.values, authenticated, ttl_s, answer.name), answer.exists)
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise ServerFault(dns.rcode.to_text(code))
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException as error:
        raise ServerFault(f"an answer that can't be: {type(error).__name__}") from None
    rdatas = list(chain.answer) if chain.answer is not None else []
    soa = any(each.rdtype == dns.rdatatype.SOA for each in answer.authority)
    exists = code != dns.rcode.NXDOMAIN
    complete = bool(rdatas or soa or not exists or not chain.cnames)
    if rdatas:
        ttl_s = min(float(chain.minimum_ttl), MOST_TTL_S)
    elif not complete:
        ttl_s = min(MOST_TTL_S, *(float(each.ttl) for each in chain.cnames))
    else:
        ttl_s = min(float(chain.minimum_ttl), MOST_NEGATIVE_TTL_S if soa else WITHOUT_SOA_S)
    (question,) = answer.question
    read = _READ.get(dns.rdatatype.to_text(question.rdtype), str)
    records = Records(
        tuple([read(each) for each in rdatas]),
        authenticated=authenticated,
        expires_in_s=ttl_s,
        name=name_text(chain.canonical_name),
    )
    return Reading(records, exists, complete)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "A": lambda rdata: rdata.address,
    "AAAA": lambda rdata: rdata.address,
    "MX": lambda rdata: (rdata.preference, name_text(rdata.exchange)),
    "TXT": lambda rdata: b"".join(rdata.strings).decode("utf-8", "replace"),
    "CNAME": lambda rdata: name_text(rdata.target),
    "NS": lambda rdata: name_text(rdata.target),
    "PTR": lambda rdata: name_text(rdata.target),
    "TLSA": lambda rdata: (rdata.usage, rdata.selector, rdata.mtype, rdata.cert),
    "SRV": lambda rdata: (rdata.priority, rdata.weight, rdata.port, name_text(rdata.target)),
}
