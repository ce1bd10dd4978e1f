"""Recipients elsewhere: what the queue is told of each, and what their mail's header says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress
from mailnode.model import Remote
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.smtp.paths import ReversePath
    from mailnode.smtp.transaction import Counter
    from mailnode.store.directory import Account

FIRST, USUAL, LAST = range(3)

_BULK = re.compile(rb"^(?:list-id[ \t]*:|precedence[ \t]*:[ \t]*(?:bulk|list|junk)\b)", re.I | re.M)
_REPLY = re.compile(rb"^(?:in-reply-to|references)[ \t]*:", re.I | re.M)
_PASSED = re.compile(rb"^delivered-to[ \t]*:", re.I | re.M)


def led_out(
    counter: Counter, remote: Remote, origin: ReversePath, account: Account | None
) -> Remote:
    """The recipient as the queue keeps it.

    What an alias forwards for a stranger leaves with a reverse-path of ours, because theirs doesn't
    allow this host to use it (SPF); that of a domain here does.
    """
    directory, reverse = counter.directory, origin.address
    sender = remote.sender
    forwarded = account is None and remote.alias is not None
    if forwarded and reverse is not None and not directory.is_local(reverse.domain):
        sender = counter.srs_forward(reverse)
    return evolve(remote, sender=sender, captured=not directory.may_leave(remote.address))


def priority_of(sender: Address | None, header: bytes) -> int:
    """When its turn comes: reports first, then replies, all others, and at last what lists send.

    A reply on a list goes to thousands, so it is a list's mail.
    """
    if sender is None:
        return FIRST
    if _BULK.search(header):
        return LAST
    return FIRST if _REPLY.search(header) else USUAL


def without_loops(remotes: tuple[Remote, ...], header: bytes) -> tuple[Remote, ...]:
    """Those that no alias of ours has sent this mail to already, by its Delivered-To fields."""
    if not _PASSED.search(header) or not any(remote.alias for remote in remotes):
        return remotes
    passed = set(_keys(value for name, value in header_fields(header) if name == b"delivered-to"))
    return tuple(each for each in remotes if each.alias is None or each.alias.key not in passed)


def _keys(values: Iterable[bytes]) -> Iterable[str]:
    for value in values:
        try:
            yield parse_address(value.decode("utf-8", "replace")).key
        except BadAddress:  # another host's: ours can be read
            continue
