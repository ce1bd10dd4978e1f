"""Whether the DNS servers answer that the node asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mailnode.cli.checkup import Finding, good, warning
from mailnode.config import Config

if TYPE_CHECKING:
    from mailnode.nameserver import Server

ANSWERS_WITHIN_S = 2.0
CANT = ("SERVFAIL", "REFUSED")
MEANS = (
    "; while none does, no name can be looked up: mail for other hosts waits, and nobody can say "
    "who sent what comes"
)


def check_resolvers(config: Config) -> Iterator[Finding]:
    """Each of them is asked for the root's servers, which every resolver knows."""
    from mailnode.nameserver import Server  # these take their time, and not all commands need them
    from mailnode.resolver import RESOLV_CONF, read_resolv_conf

    told = config.outbound.resolvers
    servers = tuple(map(Server.parse, told)) or read_resolv_conf()
    where = "outbound.resolvers" if told else str(RESOLV_CONF)
    answers = {server: ask_server(server) for server in servers}
    for server, wrong in answers.items():
        if wrong:
            what = f"the DNS server {server} does not answer: {wrong}"
            yield warning(
                "dns", what + ("" if not all(answers.values()) else MEANS), f"mend {where}"
            )
        else:
            yield good("dns", f"the DNS server {server} answers")


def ask_server(server: Server) -> str:
    """What is wrong with its answer; "" for nothing."""
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    question = dns.message.make_query(".", "NS")
    try:
        answer = dns.query.udp(question, server.host, ANSWERS_WITHIN_S, server.port)
    except dns.exception.Timeout:
        return f"nothing within {ANSWERS_WITHIN_S:g} s"
    except (OSError, dns.exception.DNSException) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    said = dns.rcode.to_text(answer.rcode())
    return f"it says {said}" if said in CANT else ""
