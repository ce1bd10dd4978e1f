"""The DNS records that a domain needs for mail, and a zone file of them. Asks nobody."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from mailnode.mailauth.keys import key_record

TTL_S = 3600
STRING_MAX = 255  # octets of one string in a TXT record (RFC 1035 section 3.3.14)
SPF = "v=spf1 mx ~all"
STANDARD_PORTS = {"submissions": 465, "submission": 587, "pop3s": 995}
SERVICES = ("submissions", "submission", "pop3s", "pop3", "imaps", "imap")


@frozen
class Record:
    """One record that should be published.

    Attributes:
        name: without its last dot.
        kind: MX, TXT, SRV, PTR.
        value: as it stands in a zone; of TXT the whole text, in one piece and unquoted.
        about: what it does, in one line.
        needed: mail is refused, or taken for spam, without it.
        enough: of SPF, the terms of which any one does.
    """

    name: str
    kind: str
    value: str
    about: str
    needed: bool = True
    enough: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """A line of a zone file."""
        value = quoted(self.value) if self.kind == "TXT" else self.value
        return f"{self.name}. IN {self.kind} {value}"


class PublicKey(Protocol):
    """What of a DKIM key is published."""

    @property
    def selector(self) -> str: ...

    @property
    def algorithm(self) -> str: ...

    @property
    def public_key(self) -> str: ...


def quoted(text: str) -> str:
    """A TXT record's strings, none too long."""
    parts = [text[at : at + STRING_MAX] for at in range(0, len(text), STRING_MAX)] or [""]
    escaped = (part.replace("\\", "\\\\").replace('"', '\\"') for part in parts)
    return " ".join(f'"{part}"' for part in escaped)


def key_records(domain: str, keys: Iterable[PublicKey]) -> list[Record]:
    """Where receivers find the keys that verify the domain's signatures."""
    return [
        Record(
            f"{key.selector}._domainkey.{domain}",
            "TXT",
            key_record(key.algorithm, key.public_key),
            f"DKIM: verifies what {key.selector} ({key.algorithm}) has signed",
        )
        for key in keys
    ]


def wanted_records(
    domain: str,
    host: str,
    keys: Sequence[PublicKey],
    ports: Mapping[str, int],
    addresses: Sequence[str] = (),
) -> list[Record]:
    """Every record of a domain whose mail goes to and from `host`.

    Args:
        ports: of the services that people's mail programs reach, named as in `SERVICES`.
        addresses: that the host sends from; an SPF record may name them instead of it.
    """
    own = {f"ip{6 if ':' in address else 4}:{address}" for address in addresses}
    about_helo = "SPF of the host itself, for bounces"
    helo = Record(host, "TXT", "v=spf1 a -all", about_helo, False, frozenset({"a", *own}))
    senders = frozenset({"mx", f"mx:{domain}", f"a:{host}", *own})
    reports = f"mailto:postmaster@{domain}"
    return [
        Record(domain, "MX", f"10 {host}.", "where mail for the domain goes"),
        Record(domain, "TXT", SPF, "SPF: its mail comes from where it goes", enough=senders),
        *([helo] if host != domain else []),
        *key_records(domain, keys),
        Record(
            f"_dmarc.{domain}",
            "TXT",
            f"v=DMARC1; p=none; rua={reports}",
            "DMARC: who sends as the domain without SPF and DKIM; in time p=quarantine, p=reject",
        ),
        Record(
            f"_mta-sts.{domain}",
            "TXT",
            f"v=STSv1; id={_policy_id(host)}",
            "MTA-STS: senders insist on TLS; only with the policy below, a new id for a new policy",
            needed=False,
        ),
        Record(
            f"_smtp._tls.{domain}",
            "TXT",
            f"v=TLSRPTv1; rua={reports}",
            "TLS-RPT: senders tell of TLS that failed",
            needed=False,
        ),
        *_service_records(domain, host, ports),
    ]


def _service_records(domain: str, host: str, ports: Mapping[str, int]) -> Iterator[Record]:
    for service in SERVICES:
        port = ports.get(service)
        yield Record(
            f"_{service}._tcp.{domain}",
            "SRV",
            f"0 1 {port} {host}." if port else "0 0 0 .",
            f"mail programs find {service} here" if port else f"there is no {service}",
            needed=False,
        )


def pointer_record(address: str, host: str) -> Record:
    name = ipaddress.ip_address(address).reverse_pointer
    return Record(name, "PTR", f"{host}.", f"the name of {address}")


def policy_url(domain: str) -> str:
    return f"https://mta-sts.{domain}/.well-known/mta-sts.txt"


def policy_text(host: str) -> str:
    """An MTA-STS policy to begin with (RFC 8461 section 3.2): failures are told, mail comes."""
    return f"version: STSv1\r\nmode: testing\r\nmx: {host}\r\nmax_age: 604800\r\n"


def _policy_id(host: str) -> str:
    return hashlib.sha256(policy_text(host).encode()).hexdigest()[:16]


def zone_text(domain: str, host: str, records: Iterable[Record], addresses: Sequence[str]) -> str:
    """A zone file to paste; what stands in other people's zones is a comment.

    Args:
        addresses: of this machine, as far as it knows them.
    """
    lines = [
        f"; What {domain} publishes so that {host} takes and sends its mail.",
        f"; docs/dns.rst says why; `mailnode dns check {domain}` compares.",
        f"$TTL {TTL_S}",
        "",
        *_host_lines(host, addresses),
    ]
    for record in records:
        ours = is_below(record.name, domain)
        where = "" if ours else f"; in the zone of {record.name}"
        lines += ["", f"; {record.about}{where}", str(record) if ours else f"; {record}"]
    lines += ["", f"; The policy of MTA-STS, at {policy_url(domain)} on any web server:"]
    lines += [f";   {line}" for line in policy_text(host).splitlines()]
    return "\n".join(lines) + "\n"


def _host_lines(host: str, addresses: Sequence[str]) -> Iterator[str]:
    if "." not in host:
        yield f"; {host} is no name that others can look up: set node.hostname first."
    yield "; The host needs its addresses, and each address the host's name (PTR, set where the"
    yield "; address is rented). This machine has:"
    for address in addresses:
        kind = "AAAA" if ":" in address else "A"
        yield f";   {host}. IN {kind} {address}"
        if is_public(address):
            yield f";   {pointer_record(address, host)}"
        else:
            yield ";   (not reachable from outside: publish the address that others see)"
    if not addresses:
        yield ";   no address that leads outside"


def is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global
