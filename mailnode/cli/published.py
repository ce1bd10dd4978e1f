"""What a domain publishes, compared with what it should: `dns check`, and `dkim rotate`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

import dns.exception
import dns.nameserver
import dns.resolver
from attrs import frozen

from mailnode.cli.frame import EX_CONFIG, EX_TEMPFAIL, EX_USAGE, Mistake
from mailnode.cli.records import Record, is_public, pointer_record
from mailnode.config import Config

RIGHT = "right"
MISSING = "missing"
DIFFERS = "differs"
UNKNOWN = "unknown"

DNS_PORT = 53
LIFETIME_S = 10.0

LookUp = Callable[[str, str], tuple[str, ...] | None]


@frozen
class Compared:
    """A record beside what is published.

    Attributes:
        status: "right", "missing", "differs"; "unknown" where no server could tell.
        published: what stands there of its kind, TXT in one piece and unquoted.
    """

    record: Record
    status: str
    published: tuple[str, ...] = ()


def read_server(text: str) -> tuple[str, int]:
    """Address and port of a DNS server: `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon or (":" in host and not host.endswith("]")):
        host, port = text, str(DNS_PORT)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port")
    return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)


def make_look_up(config: Config, server: str | None) -> LookUp:
    """Asks that server, or else `outbound.resolvers`, or else this machine's resolvers.

    What it gives is None when the servers can't tell (SERVFAIL, REFUSED); it raises a
    `Mistake` (75) when none answers at all.
    """
    try:
        servers = [
            read_server(each) for each in ([server] if server else config.outbound.resolvers)
        ]
    except ValueError as error:
        where, code = ("--server", EX_USAGE) if server else ("outbound.resolvers", EX_CONFIG)
        raise Mistake(
            f"{where} names a DNS server such as 192.0.2.1 or 192.0.2.1:5353: {error}", code
        ) from None
    resolver = _make_resolver(servers)

    def look_up(name: str, kind: str) -> tuple[str, ...] | None:
        try:
            answer = resolver.resolve(
                f"{name}.", kind, raise_on_no_answer=False, lifetime=LIFETIME_S
            )
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.resolver.NoNameservers, dns.resolver.YXDOMAIN):
            return None
        except dns.exception.Timeout:
            told = ", ".join(map(str, resolver.nameservers)) or "none"
            raise Mistake(
                f"no DNS server answers ({told}); name another by --server ADDRESS", EX_TEMPFAIL
            ) from None
        return tuple(_text_of(rdata) for rdata in answer.rrset or ())

    return look_up


def _make_resolver(servers: Sequence[tuple[str, int]]) -> dns.resolver.Resolver:
    if servers:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in servers]
        return resolver
    try:
        return dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise Mistake(
            f"this machine knows no DNS server ({error}); name one by --server ADDRESS", EX_CONFIG
        ) from None


def _text_of(rdata: object) -> str:
    strings = getattr(rdata, "strings", None)
    if strings is None:
        return str(rdata)
    return b"".join(strings).decode("utf-8", "replace")


def compare(records: Iterable[Record], look_up: LookUp) -> Iterator[Compared]:
    """Each record, in its order, with how it stands."""
    for record in records:
        published = look_up(record.name, record.kind)
        if published is None:
            yield Compared(record, UNKNOWN)
            continue
        beside = tuple(value for value in published if _competes(record, value))
        yield Compared(record, _judge(record, beside), beside)


def compare_host(host: str, own: Iterable[str], look_up: LookUp) -> Iterator[Compared]:
    """The host's addresses, and the name that each of them leads back to.

    Args:
        own: addresses of this machine; those that nobody outside sees don't count.
    """
    public = [address for address in own if is_public(address)]
    answers = {kind: look_up(host, kind) for kind in ("A", "AAAA")}
    published = tuple(value for values in answers.values() for value in values or ())
    wanted = Record(host, "A", " ".join(public), "the host's addresses")
    status = RIGHT if published else UNKNOWN if None in answers.values() else MISSING
    if published and public and not set(public) & set(published):
        status = DIFFERS
    yield Compared(wanted, status, published)
    pointers = (pointer_record(address, host) for address in dict.fromkeys([*published, *public]))
    yield from compare(pointers, look_up)


def _competes(record: Record, value: str) -> bool:
    """Whether a published value says the same kind of thing: a TXT may say anything."""
    if record.kind != "TXT":
        return True
    return "._domainkey." in record.name or _version(value) == _version(record.value)


def _version(text: str) -> str:
    return text.replace(";", " ").strip().partition(" ")[0].lower()


def _judge(record: Record, published: Sequence[str]) -> str:
    if not published:
        return MISSING
    if record.kind == "TXT" and len(published) > 1:
        return DIFFERS  # SPF, DKIM, DMARC and the others: two are as good as none
    return RIGHT if any(_serves(record, value) for value in published) else DIFFERS


def _serves(record: Record, value: str) -> bool:
    """Whether a published value does what the record is for; an owner may say it otherwise."""
    words, wanted = value.lower().split(), record.value.lower().split()
    if record.kind == "MX":
        return words[1:] == wanted[1:]  # any preference
    if record.kind == "SRV":
        return words[2:] == wanted[2:]  # any priority and weight
    if record.kind != "TXT":
        return words == wanted
    version = _version(record.value)
    if version == "v=spf1":
        return not record.enough.isdisjoint(word.removeprefix("+") for word in words)
    tags, wanted_tags = read_tags(value), read_tags(record.value)
    if version == "v=dkim1":
        same_kind = tags.get("k", "rsa") == wanted_tags["k"]
        return same_kind and "".join(tags.get("p", "").split()) == wanted_tags["p"]
    if version == "v=dmarc1":
        return tags.get("p", "").lower() in ("none", "quarantine", "reject")
    return wanted_tags.keys() <= tags.keys()  # MTA-STS and TLS-RPT: any id, any place for reports


def read_tags(text: str) -> dict[str, str]:
    """`v=DKIM1; p=...` as a mapping; names in lower case."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
