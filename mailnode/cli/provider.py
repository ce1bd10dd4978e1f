"""Signs in at an account's provider, as the relay will, to see whether its password is right."""

from __future__ import annotations

import socket
from collections.abc import Coroutine, Sequence
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from mailnode.cli.checkup_network import host_name
from mailnode.cli.frame import EX_DATAERR, EX_TEMPFAIL, Mistake
from mailnode.cli.reacting import run_in
from mailnode.config import Config
from mailnode.routes import SendAs

PATIENCE_S = 60.0


def try_sign_in(config: Config, entry: SendAs, password: str) -> str:
    """The provider lets this password in: the TLS that it was said in.

    Raises:
        Mistake: it does not, or can't be reached; the text has its words.
    """
    from twisted.internet import reactor

    outbound = import_module("mailnode.outbound.sender")  # the other commands start without it
    sender = outbound.Sender(reactor, host_name(config), outbound.Trust(config.outbound.trust))
    addresses = find_addresses(entry)
    return str(_wait(reactor, sign_in(outbound, sender, entry, password, addresses)))


def find_addresses(entry: SendAs) -> list[str]:
    """IP addresses of the provider's server.

    Raises:
        Mistake: it has none.
    """
    try:
        found = socket.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Mistake(f"{entry.host} can't be found: {error.strerror}", EX_TEMPFAIL) from None
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


async def sign_in(
    outbound: Any, sender: Any, entry: SendAs, password: str, addresses: Sequence[str]
) -> str:
    """Sign in at the first address that answers, with a verified certificate.

    Args:
        outbound: the module `mailnode.outbound.sender`, for its words.

    Raises:
        Mistake: refused, or there is no answer.
    """
    policy = outbound.TlsPolicy(level="verify")
    login = outbound.Login(entry.user, password)
    failure = Mistake(f"{entry.host} has no address", EX_TEMPFAIL)
    for address in addresses:
        hop = outbound.Hop(entry.host, address, entry.port, implicit_tls=entry.implicit_tls)
        try:
            session = await sender.connect(hop, policy, login)
        except outbound.CannotSend as error:
            failure = _refusal(entry, address, error.answer)
            if error.answer.code or error.answer.stage != "connect":
                break
        else:
            tls = str(session.tls)
            await session.quit()
            return tls
    raise failure


def _refusal(entry: SendAs, address: str, answer: Any) -> Mistake:
    code = f"{answer.code} " if answer.code else ""
    words = f"{code}{answer.text} (at {answer.stage})"
    if answer.stage == "AUTH" and answer.code >= 500:
        return Mistake(f"{entry.host} does not let {entry.user} in: {words}", EX_DATAERR)
    later = EX_DATAERR if answer.code >= 500 else EX_TEMPFAIL
    where = "" if address == entry.host else f" ({address})"
    return Mistake(f"{entry.host}{where} port {entry.port}: {words}", later)


def _wait(reactor: Any, work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    try:
        return run_in(reactor, work, PATIENCE_S)
    except TimeoutError:
        why = f"the host gave no answer within {PATIENCE_S:.0f} s"
        raise Mistake(why, EX_TEMPFAIL) from None
