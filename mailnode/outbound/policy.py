"""Which TLS a domain's hosts must have: by DANE (RFC 7672), by MTA-STS (RFC 8461), or any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define
from twisted.internet.defer import Deferred, gatherResults

from mailnode.errors import MailError, NoSuchName
from mailnode.outbound.mta_sts import MtaSts, StsPolicy
from mailnode.outbound.mx import MxHost
from mailnode.outbound.words import Tlsa, TlsPolicy

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

ANY = TlsPolicy()
DIGEST_OCTETS = {1: 32, 2: 64}
MOST_TLSA = 50  # of one host


class NoHostAllowed(MailError):
    """The domain's policy leaves no host to send to, for now: it may be mended or run out."""

    smtp_code, enhanced = 451, "4.7.5"
    text = "The domain's MTA-STS policy names none of its mail hosts"


@define(eq=False)
class TlsPolicies:
    """Says how each host of a domain is to be spoken to.

    Args:
        sts: None for no MTA-STS.
    """

    _resolver: IResolver
    _sts: MtaSts | None = None

    async def choose(
        self, domain: str, hosts: Sequence[MxHost], port: int = 25
    ) -> list[tuple[MxHost, TlsPolicy]]:
        """The hosts that may be used, in their order, each with its policy.

        DANE goes before MTA-STS: what a host's TLSA records say holds, whatever the policy on
        the web says of it (RFC 8461 section 2).

        Args:
            hosts: as `find_hosts` gives them.

        Raises:
            NoHostAllowed: the MTA-STS policy forbids all of them.
            LookupFailed: whether there are TLSA records could not be found out (RFC 7672
                section 2.1.2: then such a host is not used).
        """
        if domain.startswith("["):
            return [(host, ANY) for host in hosts]
        sts = await self._sts.find(domain) if self._sts is not None else None
        asked = [Deferred.fromCoroutine(self._find_dane(domain, each, port)) for each in hosts]
        outcomes: list[TlsPolicy | MailError | None] = await gatherResults(asked)
        chosen: list[tuple[MxHost, TlsPolicy]] = []
        failed: MailError | None = None
        for host, outcome in zip(hosts, outcomes, strict=True):
            policy = _by_sts(sts, host) if outcome is None else outcome
            if isinstance(policy, TlsPolicy):
                chosen.append((host, policy))
            else:
                failed = failed or policy
        if not chosen and failed is not None:
            raise failed
        return chosen

    async def _find_dane(
        self, domain: str, host: MxHost, port: int
    ) -> TlsPolicy | MailError | None:
        """What TLSA records ask for; None when there are none that DNSSEC vouches for."""
        if not host.authenticated:
            return None
        names = dict.fromkeys([host.canonical or host.name, host.name])  # section 2.2.2
        for name in names:
            try:
                found = await self._resolver.look_up(f"_{port}._tcp.{name}", "TLSA")
            except NoSuchName:
                continue
            except MailError as error:
                return error
            if found.values and found.authenticated:
                return _by_dane(domain, host, [Tlsa(*value) for value in found.values[:MOST_TLSA]])
        return None


def _by_dane(domain: str, host: MxHost, records: list[Tlsa]) -> TlsPolicy:
    """What they ask for; TLS with any certificate when none of them can be used (section 2.2)."""
    usable = tuple(filter(is_usable, records))
    lines = tuple(
        f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in records
    )
    if not usable:
        return TlsPolicy("must", source="DANE", lines=lines)
    names = dict.fromkeys([host.canonical or host.name, domain])  # section 3.2.2
    names.pop(host.name, None)
    return TlsPolicy("verify", tuple(names), usable, "DANE", lines=lines)


def is_usable(record: Tlsa) -> bool:
    """DANE-TA and DANE-EE are; PKIX usages are not for mail (RFC 7672 section 3.1.3)."""
    if record.usage not in (2, 3) or record.selector not in (0, 1):
        return False
    if record.matching == 0:
        return bool(record.data)
    return len(record.data) == DIGEST_OCTETS.get(record.matching, -1)


def _by_sts(policy: StsPolicy | None, host: MxHost) -> TlsPolicy | MailError:
    if policy is None or policy.mode == "none":
        return ANY
    if policy.mode == "testing":
        return TlsPolicy(source="MTA-STS testing", trial=True, lines=policy.lines)
    if not policy.allows(host.name):
        return NoHostAllowed(detail=f"{host.name} is not in the policy {policy.id}")
    return TlsPolicy("verify", source="MTA-STS", lines=policy.lines)
