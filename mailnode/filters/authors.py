"""Who wrote a mail, as it says, and whether it is proved that he did."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress
from mailnode.model import Blob, Message
from mailnode.reading.domains import registrable
from mailnode.reading.fields import addresses_of, read_fields
from mailnode.reading.octets import Octets
from mailnode.wire import header_of

HEAD_OCTETS = 64 << 10
MOST_AUTHORS = 5
BY = "authentication"  # who proves that a mail is from its author


def authors_of(body: bytes | Blob, open_octets: Callable[[str, bytes], Octets]) -> list[Address]:
    """Those in From; belongs into a thread.

    Args:
        open_octets: as `learned.Learned` has it.
    """
    octets = body if isinstance(body, bytes) else open_octets(body.key, b"")
    try:
        fields = read_fields(header_of(octets[:HEAD_OCTETS]))
    finally:
        close = getattr(octets, "close", None)
        if close is not None:
            close()
    return list(_addresses(fields.get("from", [])[:2]))


def _addresses(values: list[str]) -> Iterator[Address]:
    for _name, address in addresses_of(values)[:MOST_AUTHORS]:
        try:
            yield parse_address(address)
        except BadAddress:
            continue


def is_proved(author: Address, message: Message) -> bool | None:
    """By DMARC, or by SPF or DKIM of his domain; None where nobody has looked."""
    facts = next((each.facts for each in message.judgements if each.by == BY), None)
    if facts is None:
        return None
    dmarc, _, rest = facts.get("dmarc", "").partition(" ")
    if dmarc in ("pass", "fail"):
        # A From that is no list of addresses may have been read in another way there.
        return dmarc == "pass" and rest.partition(" ")[0] == author.domain
    said = f"{facts.get('spf', '')},{facts.get('dkim', '')}".split(",")
    passed = [each.split()[1:2] for each in said if each.split()[:1] == ["pass"]]
    proved = {registrable(where.rpartition("@")[2]) for each in passed for where in each}
    return registrable(author.domain) in proved
