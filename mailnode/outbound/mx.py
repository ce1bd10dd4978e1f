"""Which hosts take a domain's mail, and in which order (RFC 5321 section 5, RFC 7505)."""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailnode.errors import MailError, NoSuchName, Refused
from mailnode.records import Records

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

MOST_HOSTS = 30  # of one domain; a thousand of them is an attack
MOST_ADDRESSES = 16  # of one host

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


class TakesNoMail(Refused):
    """The domain says so itself: a null MX (RFC 7505 section 4)."""

    smtp_code, enhanced = 556, "5.1.10"
    text = "That domain takes no mail"


class NoMailHost(Refused):
    """The domain is there, and no host of it has an address."""

    smtp_code, enhanced = 550, "5.4.4"
    text = "That domain has no mail host with an address"


class LeadsBack(Refused):
    """The best host for the domain is this one, which doesn't serve it."""

    smtp_code, enhanced = 554, "5.4.6"
    text = "Mail for that domain leads back to this host, which does not serve it"


@frozen
class MxHost:
    """A host that takes the domain's mail.

    Attributes:
        name: in A-labels, or the address literal with its brackets.
        addresses: IPv6 before IPv4, each in the DNS's order.
        authenticated: DNSSEC vouches for the way from the domain to these addresses.
        canonical: the name that the host's CNAMEs end at; `name` without any.
    """

    name: str
    preference: int
    addresses: tuple[str, ...]
    authenticated: bool = False
    canonical: str = ""


async def find_hosts(
    resolver: IResolver,
    domain: str,
    *,
    own: Collection[str] = (),
    chance: random.Random | None = None,
) -> list[MxHost]:
    """The hosts to try for mail to `domain`, best first; equal ones in an order of chance.

    A host whose addresses can't be found now is left out while there are others.

    Args:
        domain: A-labels, or an address literal.
        own: names of this host: those that are not better than it are left out.

    Raises:
        NoSuchName, TakesNoMail, NoMailHost, LeadsBack: for good, with their answers.
        LookupFailed: for now.
    """
    if domain.startswith("["):
        address = domain[1:-1].removeprefix("IPv6:")
        return [MxHost(domain, 0, (address,), canonical=domain)]
    try:
        found: Records = await resolver.look_up(domain, "MX")
    except NoSuchName:
        raise NoSuchName(f"There is no domain {domain}") from None
    wanted = _in_order(_usable(domain, found), chance or random.SystemRandom())
    wanted = _better_than(own, wanted, domain)
    hosts = [_find_host(resolver, preference, name) for preference, name in wanted[:MOST_HOSTS]]
    outcomes: list[MxHost | MailError] = await gatherResults(map(Deferred.fromCoroutine, hosts))
    usable = [each for each in outcomes if isinstance(each, MxHost) and each.addresses]
    if usable:
        return [
            evolve(each, authenticated=found.authenticated and each.authenticated)
            for each in usable
        ]
    for each in outcomes:
        if isinstance(each, MailError) and each.temporary:
            raise each
    raise NoMailHost(f"The domain {domain} has no mail host with an address")


def _usable(domain: str, found: Records) -> list[tuple[int, str]]:
    """(preference, name) of the hosts that are named; without an MX, the domain itself."""
    if not found.values:
        return [(0, domain)]
    named = [(preference, name) for preference, name in found.values if name]
    if not named:  # "." alone
        raise TakesNoMail(f"The domain {domain} takes no mail")
    return [each for each in named if _HOST.fullmatch(each[1])]


def _in_order(named: list[tuple[int, str]], chance: random.Random) -> list[tuple[int, str]]:
    shuffled = list(named)
    chance.shuffle(shuffled)
    shuffled.sort(key=lambda each: each[0])
    once = {name: preference for preference, name in reversed(shuffled)}
    return [each for each in shuffled if once.pop(each[1], None) is not None]


def _better_than(
    own: Collection[str], wanted: list[tuple[int, str]], domain: str
) -> list[tuple[int, str]]:
    """Those before this host itself (RFC 5321 section 5.1)."""
    ours = {name.rstrip(".").lower() for name in own}
    limit = min((preference for preference, name in wanted if name in ours), default=None)
    if limit is None:
        return wanted
    better = [each for each in wanted if each[0] < limit]
    if not better:
        raise LeadsBack(f"Mail for {domain} leads back to this host, which does not serve it")
    return better


async def _find_host(resolver: IResolver, preference: int, name: str) -> MxHost | MailError:
    try:
        found = await find_addresses(resolver, name)
    except MailError as error:
        return error
    return MxHost(name, preference, found.values, found.authenticated, found.name)


async def find_addresses(resolver: IResolver, name: str) -> Records:
    """The IPv6 and IPv4 addresses of a host, asked for side by side.

    What one of the two look-ups finds is used though the other fails.

    Raises:
        NoSuchName, LookupFailed.
    """
    asked = [Deferred.fromCoroutine(_try(resolver, name, kind)) for kind in ("AAAA", "A")]
    outcomes: list[Records | MailError] = await gatherResults(asked)
    found = [each for each in outcomes if isinstance(each, Records)]
    failed = [each for each in outcomes if isinstance(each, MailError)]
    values = [value for each in found for value in each.values[:MOST_ADDRESSES]]
    if failed and not values:
        # One that may work later tells more than one that says there is no such name.
        raise next((each for each in failed if each.temporary), failed[0])
    return Records(
        tuple(values),
        all(each.authenticated for each in found if each.values or not values),
        min(each.expires_in_s for each in found),
        next((each.name for each in found if each.values), found[0].name),
    )


async def _try(resolver: IResolver, name: str, kind: str) -> Records | MailError:
    try:
        records: Records = await resolver.look_up(name, kind)
    except MailError as error:
        return error
    return records
