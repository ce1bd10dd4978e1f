"""May this client send for that domain? SPF, RFC 7208.

`check_host` works on a table of answers (`mailnode.mailauth.answers`): it raises `Lacking` until
all is there that it needs. The limits of section 4.6.4 bound how much that can be.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

from attrs import define, evolve, field, frozen

from mailnode.addresses import IpAddress, ip_address
from mailnode.errors import one_line
from mailnode.mailauth.answers import Answer, Answers
from mailnode.mailauth.spf_record import (
    BadRecord,
    Macro,
    Mechanism,
    Record,
    Text,
    is_record,
    read_record,
    read_text,
)

MOST_LOOKUPS = 10  # terms that ask the DNS
MOST_VOID_LOOKUPS = 2  # of them with nothing for an answer
MOST_HOSTS = 10  # of an MX, and names of a client
MOST_DOMAIN = 253
MOST_EXPANDED = 4096  # characters that a term's macros may become
EXPLANATION_CHARACTERS = 400

_LABELS = re.compile(r"(?:[^.]{1,63}\.)+[^.]{1,63}\.?")


@frozen
class Sending:
    """What a client says at the door.

    Attributes:
        client: its address.
        local, domain: of the reverse-path; where that is `<>`, `postmaster` and the HELO.
        helo: as it was given.
        receiver: the name of this host, for macros.
        at: UTC epoch seconds, for macros.
    """

    client: IpAddress
    local: str
    domain: str
    helo: str
    receiver: str = "unknown"
    at: int = 0

    @classmethod
    def of(cls, client: str, sender: str, helo: str, receiver: str, at: int) -> Sending:
        """Of what came in text; an IPv4 address in the dress of IPv6 is taken out of it.

        Args:
            sender: "local@domain"; "" for `<>`, and then the HELO stands for it.

        Raises:
            ValueError: the client's address is none.
        """
        address = ip_address(client)
        local, _, domain = sender.rpartition("@")
        return cls(
            getattr(address, "ipv4_mapped", None) or address,
            local or "postmaster",
            (domain or helo).rstrip("."),
            helo,
            receiver,
            at,
        )


@frozen
class SpfResult:
    """What came out.

    Attributes:
        result: "pass", "fail", "softfail", "neutral", "none", "permerror", "temperror".
        domain: which was asked.
        reason: in plain words, printable.
        explanation: the domain's own words for who is refused; ASCII, "" for none.
    """

    result: str
    domain: str
    reason: str = ""
    explanation: str = ""


class _Ended(Exception):
    """The whole check ends here, wherever in it this is."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(result, reason)
        self.result, self.reason = result, reason


def check_host(sending: Sending, answers: Answers) -> SpfResult:
    """Whether the client may send for the domain, and why.

    Raises:
        Lacking: more has to be asked.
    """
    check = _Check(sending, answers)
    try:
        found = check.run(sending.domain)
        if found.result == "fail":
            found = evolve(found, explanation=check.explain(found))
    except _Ended as ended:
        found = _Found(ended.result, ended.reason)
    return SpfResult(found.result, sending.domain, one_line(found.reason), found.explanation)


@frozen
class _Found:
    """What one record comes to; with `said_by` and `exp` for its explanation."""

    result: str
    reason: str
    said_by: str = ""
    exp: Text | None = None
    explanation: str = ""


@define(eq=False)
class _Check:
    """One run over the answers that are there."""

    sending: Sending
    answers: Answers
    _lookups: int = field(default=0, init=False)
    _void: int = field(default=0, init=False)
    _number: int = field(init=False)
    _size: int = field(init=False)
    _names: list[str] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._number, self._size = int(self.sending.client), self.sending.client.max_prefixlen

    def run(self, domain: str) -> _Found:
        """check_host() of section 4 for a domain; of `include` and `redirect` too."""
        if len(domain) > MOST_DOMAIN or domain[0:1] == "[" or not _LABELS.fullmatch(domain):
            return _Found("none", f"{domain!r:.80} is no domain that could have a record")
        record = self._find_record(domain)
        if record is None:
            return _Found("none", f"{domain} has no SPF record")
        size, number = self._size, self._number
        for mechanism in record.mechanisms:
            if (network := mechanism.network) is not None:
                matches = network[0] == size and number >> network[1] == network[2]
            else:
                matches = self._matches(mechanism, domain)
            if matches:
                reason = f"{mechanism.text:.120} in the record of {domain}"
                return _Found(mechanism.result, reason, domain, record.explanation)
        if record.redirect is None:
            return _Found("neutral", f"the record of {domain} says nothing of this client")
        return self._redirected(record.redirect, domain)

    def _redirected(self, redirect: Text, domain: str) -> _Found:
        self._count()
        target = self._expand_domain(redirect, domain)
        found = self.run(target)
        if found.result == "none":
            raise _Ended("permerror", f"{domain} redirects to {target}, which has no SPF record")
        return found

    def _find_record(self, domain: str) -> Record | None:
        answer = self._ask(domain, "TXT")
        records = [each for each in answer.values if is_record(each)]
        if not records:
            return None
        if len(records) > 1:
            raise _Ended("permerror", f"{domain} has more than one SPF record")
        record = self.answers.once(read_record, records[0])
        if isinstance(record, BadRecord):
            raise _Ended("permerror", f"the record of {domain}: {record}")
        return record

    def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.kind == "all":
            return True
        self._count()
        target = self._expand_domain(mechanism.target, domain)
        match mechanism.kind:
            case "include":
                return self._includes(target, domain)
            case "exists":
                return bool(self._look(target, "A").values)
            case "ptr":
                return any(_is_below(name, target) for name in self._client_names())
            case "mx":
                answer = self._look(target, "MX")
                if len(answer.values) > MOST_HOSTS:
                    raise _Ended("permerror", f"{target} has more than {MOST_HOSTS} mail hosts")
                hosts = [host for _preference, host in answer.values if host]
            case _:
                hosts = [target]
        away = self._size - mechanism.bits[self._size == 128]
        wanted = self._number >> away
        return any(each >> away == wanted for each in self._addresses(hosts))

    def _includes(self, target: str, domain: str) -> bool:
        found = self.run(target)
        if found.result == "none":
            raise _Ended("permerror", f"{domain} includes {target}, which has no SPF record")
        return found.result == "pass"

    def _addresses(self, hosts: list[str]) -> Iterator[int]:
        """Of the client's family, as numbers."""
        kind = self._kind
        self.answers.find_all([(host, kind) for host in hosts])  # so that all are asked at once
        for host in hosts:
            yield from self.answers.once(_numbers, self._look(host, kind).values, self._size)

    def _client_names(self) -> list[str]:
        """Names of the client that lead back to it (section 5.5); failures are no names."""
        if self._names is None:
            found = self.answers.find(self.sending.client.reverse_pointer, "PTR")
            names = [name for name in found.values[:MOST_HOSTS] if name]
            back = self.answers.find_all([(name, self._kind) for name in names])
            self._names = [
                name
                for name, answer in zip(names, back, strict=True)
                if self._number in self.answers.once(_numbers, answer.values, self._size)
            ]
        return self._names

    @property
    def _kind(self) -> str:
        return "A" if self._size == 32 else "AAAA"

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MOST_LOOKUPS:
            raise _Ended("permerror", f"more than {MOST_LOOKUPS} look-ups are needed")

    def _look(self, name: str, kind: str) -> Answer:
        """The answer to a term's question; too many without anything end the check."""
        answer = self._ask(name, kind)
        self._void += not answer.values
        if self._void > MOST_VOID_LOOKUPS:
            reason = f"more than {MOST_VOID_LOOKUPS} look-ups found nothing, the last one {kind} of"
            raise _Ended("permerror", f"{reason} {name}")
        return answer

    def _ask(self, name: str, kind: str) -> Answer:
        answer = self.answers.find(name, kind)
        if answer.failed:
            raise _Ended("temperror", f"{kind} of {name} could not be looked up")
        return answer

    # Macros

    def _expand_domain(self, text: Text, domain: str) -> str:
        """The domain that a term names; from one that is too long, labels go on the left."""
        if not text:
            return domain
        name = self._expand(text, domain).removesuffix(".")
        while len(name) > MOST_DOMAIN:
            name = name.partition(".")[2]
        return name

    def _expand(self, text: Text, domain: str) -> str:
        pieces: list[str] = []
        left = MOST_EXPANDED
        for each in text:
            piece = each if isinstance(each, str) else self._value(each, domain)
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise _Ended("permerror", f"macros of {domain} become too long")
        return "".join(pieces)

    def _value(self, macro: Macro, domain: str) -> str:
        value = self._letter(macro.letter, domain)
        if macro.reverse or macro.labels or macro.delimiters != ".":
            parts = value.translate(dict.fromkeys(map(ord, macro.delimiters), "\0")).split("\0")
            if macro.reverse:
                parts.reverse()
            value = ".".join(parts[-macro.labels :])
        return quote(value, safe="") if macro.escaped else value

    def _letter(self, letter: str, domain: str) -> str:
        sending = self.sending
        match letter:
            case "s":
                return f"{sending.local}@{sending.domain}"
            case "l":
                return sending.local
            case "o":
                return sending.domain
            case "d":
                return domain
            case "i":
                if sending.client.version == 4:
                    return str(sending.client)
                return ".".join(sending.client.exploded.replace(":", "").upper())
            case "p":
                return self._best_name(domain)
            case "v":
                return "in-addr" if sending.client.version == 4 else "ip6"
            case "h":
                return sending.helo
            case "c":
                return str(sending.client)
            case "r":
                return sending.receiver
        return str(sending.at)

    def _best_name(self, domain: str) -> str:
        names = self._client_names() or ["unknown"]
        below = [name for name in names if _is_below(name, domain)]
        same = [name for name in below if name == domain.lower()]
        return [*same, *below, *names][0]

    def explain(self, found: _Found) -> str:
        """The domain's own words for a fail (section 6.2); "" without any that can be read."""
        if found.exp is None:
            return ""
        try:
            name = self._expand_domain(found.exp, found.said_by)
            answer = self._ask(name, "TXT")
            if len(answer.values) != 1:
                return ""
            text = self.answers.once(explaining_text, answer.values[0][:EXPLANATION_CHARACTERS])
            said = "" if text is None else self._expand(text, found.said_by)
        except _Ended:
            return ""
        told = said[:EXPLANATION_CHARACTERS]
        return told if all(" " <= each <= "~" for each in told) else ""


def explaining_text(text: str) -> Text | None:
    """An explanation as its pieces; None for one that breaks the grammar."""
    try:
        return read_text(text, blanks=True)
    except BadRecord:
        return None


def _numbers(values: tuple[str, ...], size: int) -> tuple[int, ...]:
    """Addresses as numbers; what is none, or of the other family, is passed over."""
    family = socket.AF_INET if size == 32 else socket.AF_INET6
    numbers: list[int] = []
    for value in values:
        with suppress(OSError, ValueError):
            numbers.append(int.from_bytes(socket.inet_pton(family, value), "big"))
    return tuple(numbers)


def _is_below(name: str, domain: str) -> bool:
    return f".{name}".lower().endswith(f".{domain.lower()}")
