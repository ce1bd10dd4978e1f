"""What the journal may tell an owner of a mail: no word of what others do with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from attrs import evolve, frozen

from mailnode.events import Event
from mailnode.learning.facts import BY as LEARNED
from mailnode.stories import Fate, Line, as_asked, fates_of, is_unexplained, tell_story

# Of who sent it, whose sign-in and session only the sender and administrators are told of.
_SENDERS_OWN = ("account", "dialog")
# A recipient's state is told; which mailbox stands behind its address isn't.
_STATES = {"delivered": "delivered", "captured": "captured: it is kept, and never leaves"}


@frozen
class Told:
    """A mail's story.

    Attributes:
        lines: what happened to the copies of who asks.
        fates: what became of each recipient, where who asks sent it.
    """

    lines: tuple[Line, ...]
    fates: tuple[Fate, ...]


def tell_owner(
    mail_id: str,
    events: Sequence[Event],
    is_own: Callable[[str], bool],
    folder_ids: Collection[int],
) -> Told:
    """The story of a mail for who has a copy of it.

    Others have copies, too: that they do, and what they do with theirs, is theirs; who sent it
    learns what became of each recipient that was named.

    Args:
        is_own: whether a sign-in name is that of who asks.
        folder_ids: of who asks.
    """
    sent = any(each.name == "accepted" and is_own(_signed_in(each)) for each in events)
    lines = tell_story(mail_id, list(_own(events, sent, folder_ids))).lines
    fates = tuple(map(_plain, fates_of(as_asked(events)))) if sent else ()
    return Told(lines, fates)


def why_unwanted(events: Sequence[Event], folder_ids: Collection[int]) -> tuple[str, ...]:
    """Why a mail was filed in Junk, by each who judged so, in words; empty where nobody did.

    What one's own mails or rules say of the copy stands for what the same judge says of others'.

    Args:
        events: of that mail, as the journal has them.
        folder_ids: of who asks.
    """
    judged: dict[object, Any] = {}
    of_all = [each for each in events if each.name == "accepted"]
    of_own = [each for each in events if each.name == "delivered" and each.folder_id in folder_ids]
    for event in (*of_all, *of_own):
        for each in event.detail.get("judged") or ():  # type: ignore[attr-defined]
            judged[each.get("by")] = each
    found = [each for each in judged.values() if each.get("unwanted")]
    return tuple(
        f"{each.get('by')}: {'; '.join(each.get('reasons') or ()) or 'it is unwanted'}"
        for each in found
    )


def is_to_be_explained(events: Sequence[Event], folder_ids: Collection[int]) -> bool:
    """Whether the mail was judged by what was learned, and no reasons were kept.

    Args:
        events, folder_ids: as for `why_unwanted`.
    """
    return any(
        is_unexplained(each.detail, LEARNED)
        for each in events
        if each.name == "accepted" or (each.name == "delivered" and each.folder_id in folder_ids)
    )


def _signed_in(event: Event) -> str:
    return str(event.detail.get("account") or "")


def _own(events: Sequence[Event], sent: bool, folder_ids: Collection[int]) -> Iterator[Event]:
    for event in events:
        if event.name == "accepted":
            told = {k: v for k, v in event.detail.items() if sent or k not in _SENDERS_OWN}
            yield evolve(event, detail=told)
        elif event.folder_id is not None and event.folder_id in folder_ids:
            yield event


def _plain(fate: Fate) -> Fate:
    return evolve(fate, words=_STATES.get(fate.state, fate.words))
