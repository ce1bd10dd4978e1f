"""Answers to a mail, and a mail passed on: to whom, about what, with which words quoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from email.utils import formataddr

from attrs import frozen

from mailnode.addresses import Address
from mailnode.composing.people import read_address
from mailnode.composing.written import Written
from mailnode.errors import BadAddress

QUOTED_CHARACTERS = 256 << 10
MOST_REFERENCES = 30
MOST_PEOPLE = 100

_RE = re.compile(r"\s*(?:(?:re|aw|sv|antw|antwort)(?:\[\d+\])?\s*:\s*)+", re.I)
_FWD = re.compile(r"\s*(?:(?:fwd?|wg|tr)(?:\[\d+\])?\s*:\s*)+", re.I)

People = tuple[tuple[str, str], ...]
"""(name, address) of each, as a stranger wrote them."""


@frozen(kw_only=True)
class Original:
    """A mail that is answered or passed on.

    Attributes:
        sender: of From.
        date: as it is shown.
        message_id: with its brackets; "" for none.
        references: likewise, of all that it answers, the nearest last.
    """

    sender: People = ()
    reply_to: People = ()
    to: People = ()
    cc: People = ()
    subject: str = ""
    date: str = ""
    text: str = ""
    message_id: str = ""
    references: tuple[str, ...] = ()


IsOwn = Callable[[Address], bool]


def reply_to(original: Original, is_own: IsOwn, *, everybody: bool = False) -> Written:
    """An answer: to whom the mail wants it, or to all who have it, but not to oneself.

    What one has written oneself is answered to those whom it went to.

    Args:
        is_own: whether an address is the writer's.
    """
    wanted = original.reply_to or original.sender
    by_oneself = bool(original.sender) and all(_is(each, is_own) for each in original.sender)
    others = _but_own(wanted, is_own)
    if by_oneself:
        to = list(original.to)
    elif everybody:
        to = [*others, *_but_own(original.to, is_own)]
    else:
        to = list(others or wanted)
    cc = _but_own(original.cc, is_own) if everybody else []
    to = _once(to, ())
    return Written(
        sender=_spoken_to(original, is_own),
        to=_listed(to),
        cc=_listed(_once(cc, to)),
        subject=f"Re: {_RE.sub('', original.subject, count=1).strip()}".strip(),
        text=f"\n\n{_attribution(original)}\n{quoted(original.text)}",
        in_reply_to=original.message_id,
        references=" ".join(_some(original.references)),
    )


def pass_on(original: Original, is_own: IsOwn) -> Written:
    """A mail that holds another's words, with who wrote them to whom; to nobody yet."""
    fields = [
        ("From", _listed(original.sender)),
        ("Date", original.date),
        ("Subject", original.subject),
        ("To", _listed(original.to)),
        ("Cc", _listed(original.cc)),
    ]
    lines = [f"{name}: {value}" for name, value in fields if value]
    head = "\n".join(["---------- Forwarded message ----------", *lines])
    return Written(
        sender=_spoken_to(original, is_own),
        subject=f"Fwd: {_FWD.sub('', original.subject, count=1).strip()}".strip(),
        text=f"\n\n{head}\n\n{original.text[:QUOTED_CHARACTERS]}",
    )


def quoted(text: str) -> str:
    """Its lines, each behind a mark; a signature is left out."""
    text = text[:QUOTED_CHARACTERS]
    own, mark, _signature = text.partition("\n-- \n")
    lines = (own if mark else text).strip("\n").split("\n")
    return "\n".join(f">{line}" if line.startswith(">") else f"> {line}".rstrip() for line in lines)


def _attribution(original: Original) -> str:
    who = next(iter(original.sender), ("", ""))
    name = who[0] or who[1] or "somebody"
    return f"On {original.date}, {name} wrote:" if original.date else f"{name} wrote:"


def _some(ids: Iterable[str]) -> list[str]:
    """The first, which begins the thread, and the nearest."""
    found = [each for each in dict.fromkeys(ids) if each]
    return found if len(found) <= MOST_REFERENCES else [found[0], *found[1 - MOST_REFERENCES :]]


def _read(address: str) -> Address | None:
    try:
        return read_address(address)
    except BadAddress:
        return None


def _is(person: tuple[str, str], is_own: IsOwn) -> bool:
    address = _read(person[1])
    return address is not None and is_own(address)


def _but_own(people: Iterable[tuple[str, str]], is_own: IsOwn) -> list[tuple[str, str]]:
    return [each for each in people if not _is(each, is_own)]


def _once(
    people: Iterable[tuple[str, str]], but: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Each address once, and none of those in `but`."""
    seen = {address.lower() for _name, address in but}
    found: list[tuple[str, str]] = []
    for name, address in people:
        if address and address.lower() not in seen and len(found) < MOST_PEOPLE:
            seen.add(address.lower())
            found.append((name, address))
    return found


def _listed(people: Iterable[tuple[str, str]]) -> str:
    return ", ".join(_shown(name, address) for name, address in people)


def _shown(name: str, address: str) -> str:
    """As it is typed, so that it reads back the same."""
    if not name or name == address:
        return address
    if name.isascii():
        return formataddr((name, address))
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    needs_quotes = any(c in name for c in ',;<>"@()\\')
    return f'"{escaped}" <{address}>' if needs_quotes else f"{name} <{address}>"


def _spoken_to(original: Original, is_own: IsOwn) -> str:
    """Which of one's addresses the mail came to or from, so that the answer comes from it."""
    for _name, address in (*original.to, *original.cc, *original.sender):
        found = _read(address)
        if found is not None and is_own(found):
            return str(found)
    return ""
