"""Who gets the reports of a domain: what its record names, and whether those want them.

RFC 7489 sections 6.2 and 7.1, RFC 9990 sections 3.5 and 4: an address elsewhere gets them only
where its domain says that it takes them, or anybody could have anybody flooded with reports.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from mailnode.addresses import Address
from mailnode.errors import MailError, NoSuchName
from mailnode.mailauth.dmarc_record import is_record, read_uris
from mailnode.outbound.daily_mail import read_mailto
from mailnode.reading.domains import registrable

MOST_PLACES = 5  # that a record names
MOST_NAME = 253

_SIZE = re.compile(r"(?P<uri>.*)!(?P<size>[0-9]{1,12})(?P<unit>[kmgt]?)", re.I)
_POWERS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


@frozen
class Place:
    """Where reports go.

    Attributes:
        most_octets: of the mail that brings one; None for any.
    """

    address: Address
    most_octets: int | None = None

    def takes(self, octets: int) -> bool:
        return self.most_octets is None or octets <= self.most_octets


def read_place(uri: str) -> Place | None:
    """Of a URI with its size behind an exclamation mark; None for none that we write to."""
    most: int | None = None
    if found := _SIZE.fullmatch(uri):
        uri, most = found["uri"], int(found["size"]) << _POWERS[found["unit"].lower()]
    address = read_mailto(uri)
    if address is None or address.domain.startswith("["):
        return None
    return Place(address, most)


def read_places(uris: Sequence[str]) -> list[Place]:
    """Those that we write to, each address once, the first so many."""
    found = [place for uri in uris if (place := read_place(uri)) is not None]
    return list({each.address: each for each in reversed(found)}.values())[::-1][:MOST_PLACES]


def is_own(domain: str, place: Place) -> bool:
    """Whether it belongs to whoever has the domain."""
    host = place.address.domain
    return host == domain or registrable(host) == registrable(domain)


def question(domain: str, place: Place) -> str:
    """The name at which somebody elsewhere says that he takes reports about the domain."""
    return f"{domain}._report._dmarc.{place.address.domain}"


def confirmed(place: Place, texts: Sequence[str]) -> list[Place]:
    """Where it is to go by what stands at that name; [] for nowhere.

    Another address of the same host may stand there instead; one of another host makes all void.
    """
    records = [each for each in texts if is_record(each)]
    if not records:
        return []
    instead = [uri for each in records for uri in read_uris(each)]
    if not instead:
        return [place]
    places = read_places(instead)
    if any(each.address.domain != place.address.domain for each in places):
        return []
    return places


@frozen
class Found:
    """Who gets reports.

    Attributes:
        places: that want them.
        unwilling: addresses elsewhere whose domain doesn't say so.
        unsure: of which nobody could say.
    """

    places: tuple[Place, ...]
    unwilling: tuple[Address, ...] = ()
    unsure: tuple[Address, ...] = ()


async def find_places(
    domain: str, uris: Sequence[str], look_up: Callable[[str], Awaitable[Sequence[str]]]
) -> Found:
    """Who gets the reports of a domain.

    Args:
        uris: as its record has them.
        look_up: TXT of a name; raises `NoSuchName`, or another `MailError` where nobody could say.
    """
    places, unwilling, unsure = list[Place](), list[Address](), list[Address]()
    for place in read_places(uris):
        if is_own(domain, place):
            places.append(place)
            continue
        name = question(domain, place)
        try:
            texts = await look_up(name) if len(name) <= MOST_NAME else ()
        except NoSuchName:
            texts = ()
        except MailError:
            unsure.append(place.address)
            continue
        there = confirmed(place, texts)
        places += there
        if not there:
            unwilling.append(place.address)
    unique = {each.address: each for each in places}
    return Found(tuple(unique.values()), tuple(unwilling), tuple(unsure))
