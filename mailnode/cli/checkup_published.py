"""What the world sees of a host and its domains: names, records, and whether port 25 is open."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence

from mailnode.cli import output
from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.cli.checkup_network import host_name
from mailnode.cli.frame import Mistake
from mailnode.cli.published import DIFFERS, RIGHT, UNKNOWN, Compared, LookUp, compare, compare_host
from mailnode.cli.records import Record, wanted_records
from mailnode.config import Config
from mailnode.store.accounts import Directory

# Nobody can answer mail from these (RFC 2606, RFC 6761, RFC 6762, and what is meant for a house).
RESERVED = ("test", "example", "invalid", "localhost", "local", "internal", "localdomain")
RESERVED_DOMAINS = ("example.com", "example.net", "example.org")

PROBE_S = 10.0
SHOWN = 120  # characters of what is published


def is_reserved(domain: str) -> bool:
    """Whether it is for examples or a house, and nobody outside can look it up."""
    return domain.rpartition(".")[2] in RESERVED or domain in RESERVED_DOMAINS


def check_published(
    config: Config, directory: Directory, look_up: LookUp, own: Sequence[str]
) -> Iterator[Finding]:
    """The host's addresses and their names, and the records of each domain, as published.

    Args:
        own: addresses that this machine reaches others from.
    """
    host = host_name(config)
    domains = [name for name in directory.domains if not is_reserved(name)]
    try:
        published: tuple[str, ...] = ()
        if "." in host and not is_reserved(host):  # else that is a finding of its own
            addresses, *pointers = compare_host(host, own, look_up)
            published = addresses.published
            yield from _judge_host(host, addresses, pointers)
        for domain in domains:
            wanted = wanted_records(domain, host, directory.signing_keys(domain), {}, published)
            needed = [record for record in wanted if record.needed]
            for each in compare(needed, look_up):
                yield from _judge_record(domain, each)
    except Mistake as error:  # no server answers: the next question would wait as long
        yield not_looked_at(error)


def not_looked_at(error: Mistake) -> Finding:
    """There is no DNS server, or none that answers."""
    return warning(
        "dns",
        f"what is published could not be looked at: {error.message.partition(';')[0]}",
        "see that outbound.resolvers, or /etc/resolv.conf, names a server that answers",
    )


def _judge_host(host: str, addresses: Compared, pointers: list[Compared]) -> Iterator[Finding]:
    if addresses.status == UNKNOWN:
        yield _could_not_tell(addresses.record)
    elif addresses.status == DIFFERS:
        ours = addresses.record.value
        yield fault(
            "address",
            f"{host} leads to {_shown(addresses)}, and this machine sends from {ours}: receivers "
            "refuse a host whose name is another's",
            f"publish {ours} as an address of {host}",
        )
    elif addresses.status != RIGHT:
        yield fault(
            "address",
            f"{host} has no address in the DNS: receivers refuse a host that they can't look up",
            f"publish one, A or AAAA{f': {addresses.record.value}' * bool(addresses.record.value)}",
        )
    for each in pointers:
        if each.status == UNKNOWN:
            yield _could_not_tell(each.record)
        elif each.status != RIGHT:
            address = each.record.about.removeprefix("the name of ")
            leads = f"leads to {_shown(each)}, not to {host}" if each.published else "has no name"
            yield fault(
                "ptr",
                f"{address} {leads} in the DNS: most receivers refuse its mail",
                f"where the address is rented, name it {host} (PTR)",
            )


def _judge_record(domain: str, each: Compared) -> Iterator[Finding]:
    record = each.record
    if each.status == UNKNOWN:
        yield _could_not_tell(record)
    elif record.kind == "MX" and each.published:  # another host takes the mail: ours only sends
        return
    elif each.status != RIGHT:
        state = f"is not published ({record.about})"
        if each.published:
            state = f"is published as {_shown(each)}, which does not do ({record.about})"
        yield warning(
            _topic(record),
            f"{record.kind} of {record.name} {state}",
            f"publish what `mailnode dns show {domain}` prints; then mailnode dns check {domain}",
        )


def _could_not_tell(record: Record) -> Finding:
    return warning(
        "dns",
        f"the DNS servers could not tell {record.kind} of {record.name}",
        "try again, or ask others: outbound.resolvers",
    )


def _topic(record: Record) -> str:
    if record.kind != "TXT":
        return record.kind.lower()
    version = record.value.partition(";")[0].partition(" ")[0]
    return {"v=spf1": "spf", "v=DKIM1": "dkim", "v=DMARC1": "dmarc"}.get(version, "dns")


def _shown(each: Compared) -> str:
    text = output.printable(" and ".join(each.published))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def check_port_out(config: Config, domain: str, look_up: LookUp) -> Iterator[Finding]:
    """Whether a mail host of others can be reached: the best of `domain`, which is greeted."""
    port = config.outbound.port
    mend = (
        "many providers close port 25 until they are asked; or send by another host: mailnode "
        "route add '*' smtps://USER@HOST --password-file FILE"
    )
    try:
        exchanges = sorted((look_up(domain, "MX") or ()), key=_preference)
        host = exchanges[0].split()[1].rstrip(".") if exchanges else domain
        kinds = ("A", "AAAA") if host else ()  # "" is a null MX
        addresses = [each for kind in kinds for each in look_up(host, kind) or ()]
    except Mistake as error:
        yield not_looked_at(error)
        return
    if not addresses:
        yield warning(
            "port",
            f"{domain} has no mail host to try port {port} with",
            "name another by --probe",
        )
        return
    try:
        greeting = greet(addresses[0], port)
    except OSError as error:
        why = error.strerror or "no answer"
        yield fault("port", f"{host} [{addresses[0]}] can't be reached at port {port}: {why}", mend)
        return
    if not greeting.startswith("220"):
        yield warning(
            "port", f"{host} [{addresses[0]}] greets with {greeting!r}", "ask whose host it is why"
        )
    else:
        yield good("port", f"{host} [{addresses[0]}] answers at port {port}")


def _preference(value: str) -> int:
    number = value.partition(" ")[0]
    return int(number) if number.isdigit() else 1 << 16


def greet(address: str, port: int) -> str:
    """What a mail host says first; it is told QUIT.

    Raises:
        OSError: it can't be reached, or says nothing.
    """
    with socket.create_connection((address, port), timeout=PROBE_S) as connection:
        said = connection.recv(512)
        with contextlib.suppress(OSError):
            connection.sendall(b"QUIT\r\n")
    return output.printable(said.decode("ascii", "replace").partition("\r")[0])
