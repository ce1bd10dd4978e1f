"""Asks lists in the DNS for a client's address, and for the domains that it names."""

from __future__ import annotations

from attrs import frozen

from mailnode.dnslists import DnsList, turned
from mailnode.errors import MailError, one_line
from mailnode.interfaces import IResolver
from mailnode.reading.domains import ascii_domain, registrable

MOST_WORDS = 200


@frozen
class Listing:
    """Something stands on a list.

    Attributes:
        subject: what: the address or domain, as a person writes it.
        words: the list's own (its TXT), "" for none.
    """

    zone: str
    subject: str
    weight: int
    words: str = ""

    def __str__(self) -> str:
        return f"{self.subject} is listed by {self.zone}"


def subjects_of(name: str) -> tuple[str, ...]:
    """As which lists are asked for a domain: itself, and what somebody registered of it.

    Some lists hold hosts, some hold registered domains, and each says nothing of the other.
    """
    domain = ascii_domain(name)
    if "." not in domain or domain.rpartition(".")[2].isdigit():  # the latter is an address
        return ()
    return tuple(dict.fromkeys((domain, registrable(domain))))


async def ask_for_address(
    resolver: IResolver, each: DnsList, address: str, *, words: bool
) -> Listing | None:
    """Whether a list has an address; None where it hasn't, or can't be asked.

    Args:
        words: whether the list's own are asked for, too.
    """
    return await _ask(resolver, each, turned(address), address, words)


async def ask_for_domain(
    resolver: IResolver, each: DnsList, domains: tuple[str, ...], *, words: bool
) -> Listing | None:
    """Whether a list has one of these domains; the first that it has counts."""
    for domain in domains:
        listing = await _ask(resolver, each, domain, domain, words)
        if listing is not None:
            return listing
    return None


async def _ask(
    resolver: IResolver, each: DnsList, asked: str, subject: str, words: bool
) -> Listing | None:
    name = each.name_for(asked)
    if name is None:
        return None
    try:
        answers = await resolver.look_up(name, "A")
    except MailError:
        return None
    if not any(map(each.lists, answers.values)):
        return None
    told = await _words(resolver, name) if words and each.weight > 0 else ""
    return Listing(each.zone, subject, each.weight, told)


async def _words(resolver: IResolver, name: str) -> str:
    try:
        texts = (await resolver.look_up(name, "TXT")).values
    except MailError:
        return ""
    return one_line(texts[0])[:MOST_WORDS] if texts else ""
