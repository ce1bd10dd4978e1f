"""The way to a recipient: a route, an account's own provider, or the hosts that the DNS names."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from mailnode.errors import MailError, NoSuchName
from mailnode.outbound.mx import find_addresses, find_hosts
from mailnode.outbound.pool import Way
from mailnode.outbound.words import Hop, Login, TlsPolicy
from mailnode.routes import Route, SendAs

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver
    from mailnode.outbound.policy import TlsPolicies

SMTP_PORT = 25


class NoWay(MailError):
    """A route can't be gone at the moment: a secret is missing, say."""

    smtp_code, enhanced = 451, "4.3.5"
    text = "The route to this address is not set up rightly"


class Unseals(Protocol):
    """What `sealing.Seal` is to the relay."""

    def unseal(self, sealed: bytes, about: bytes) -> bytes: ...


@define(eq=False)
class Ways:
    """Finds the next hops.

    Attributes:
        policies: how the TLS of a domain's hosts is judged.
        read_password: the one that a file holds, read in a thread.
        hostname: ours; hosts that are no better than it are not asked (a loop).
        port: where other domains' hosts listen.
    """

    resolver: IResolver
    policies: TlsPolicies
    seal: Unseals
    read_password: Callable[[Path], Awaitable[str]]
    hostname: str
    port: int = field(default=SMTP_PORT)

    async def by_route(self, route: Route, domain: str) -> list[Way]:
        """The hops of a route that leads somewhere, best first.

        Raises:
            MailError: for now or for good, as its answer says.
        """
        if route.kind == "mx":
            return await self._by_mx(route, domain)
        login = None
        if route.user:
            login = Login(route.user, await self._secret(route.password_file))
        lmtp = route.kind == "lmtp"
        if route.host.startswith("/"):
            return [Way(Hop("localhost", route.host, 0, lmtp=lmtp), TlsPolicy("none"), login)]
        implicit = route.kind == "smtps"
        level = route.tls
        if level == "may" and (implicit or login):
            level = "verify" if login and not _is_address(route.host) else "must"
        policy = TlsPolicy(level, source="route")
        return [
            Way(
                Hop(route.host, address, route.port, lmtp=lmtp, implicit_tls=implicit),
                policy,
                login,
            )
            for address in await self._addresses(route.host)
        ]

    async def by_provider(self, send_as: SendAs) -> list[Way]:
        """The submission server of an account's outside address; always inside TLS."""
        password = self.seal.unseal(send_as.sealed_password, send_as.about).decode()
        login = Login(send_as.user, password)
        policy = TlsPolicy("verify", source="send-as")
        return [
            Way(
                Hop(send_as.host, address, send_as.port, implicit_tls=send_as.implicit_tls),
                policy,
                login,
            )
            for address in await self._addresses(send_as.host)
        ]

    async def _by_mx(self, route: Route, domain: str) -> list[Way]:
        hosts = await find_hosts(self.resolver, domain, own=(self.hostname,))
        if route.tls == "may":
            chosen = await self.policies.choose(domain, hosts, self.port)
        else:
            chosen = [(host, TlsPolicy(route.tls, source="route")) for host in hosts]
        return [
            Way(Hop(host.name, address, self.port), policy, domain=domain)
            for host, policy in chosen
            for address in host.addresses
        ]

    async def _addresses(self, host: str) -> list[str]:
        if _is_address(host):
            return [host.strip("[]")]
        if host == "localhost":
            return ["127.0.0.1", "::1"]
        try:
            found = (await find_addresses(self.resolver, host)).values
        except NoSuchName:  # no fault of the recipient's
            found = ()
        if not found:
            raise NoWay(f"The next hop {host} has no address", enhanced="4.4.4")
        return list(found)

    async def _secret(self, path: str) -> str:
        try:
            return await self.read_password(Path(path))
        except OSError as error:
            raise NoWay(detail=f"{path}: {error.strerror}") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
