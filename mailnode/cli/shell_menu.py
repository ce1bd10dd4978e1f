"""The menus of `mailnode shell` as a pure model: what was typed, and what is to be done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

import attrs
from attrs import field, frozen

PAGE = 20
DIGITS = 18  # that a number of a mail has at most: Python turns none of 5,000 into a number
_RANGE = re.compile(rf"(\d{{1,{DIGITS}}})\s*-\s*(\d{{1,{DIGITS}}})")
_BETWEEN = re.compile(r"[\s,;]+")


class Deed(Enum):
    """What one can want."""

    WRITE = "write"
    MANAGE = "manage"
    LIST = "list"
    OLDER = "older"
    READ = "read"
    SAVE = "save"
    DELETE = "delete"
    UNDO = "undo"
    REFRESH = "refresh"
    BACK = "back"
    LEAVE = "leave"
    AGAIN = "again"
    CHANGE = "change"
    KEEP = "keep"
    DROP = "drop"
    HELP = "help"


# Words that people type for the same.
_ALSO = {
    "quit": Deed.LEAVE, "exit": Deed.LEAVE, "bye": Deed.LEAVE, "send": Deed.WRITE,
    "new": Deed.WRITE, "inbox": Deed.MANAGE, "show": Deed.READ, "open": Deed.READ,
    "remove": Deed.DELETE, "erase": Deed.DELETE, "undelete": Deed.UNDO, "restore": Deed.UNDO,
    "ls": Deed.LIST, "rm": Deed.DELETE, "more": Deed.OLDER, "next": Deed.OLDER,
    "reload": Deed.REFRESH, "retry": Deed.AGAIN, "up": Deed.BACK, "?": Deed.HELP,
}  # fmt: skip


@frozen
class Entry:
    """A line of a menu."""

    deed: Deed
    words: str


@frozen
class Asked:
    """What was typed means.

    Attributes:
        deed: None when it means nothing; `words` says so then.
        rest: what stood behind the word.
    """

    deed: Deed | None
    rest: str = ""
    words: str = ""


@frozen
class Menu:
    """Some things that can be done, each with a number and a word.

    Attributes:
        default: what an empty line means.
        help: what stands above the lines when help is asked for.
    """

    title: str
    entries: tuple[Entry, ...]
    default: Deed
    help: str = field(default="", repr=False)

    def with_default(self, deed: Deed) -> Menu:
        return attrs.evolve(self, default=deed)

    @property
    def line(self) -> str:
        """All of it in one line."""
        return "  ".join(f"{at} {each.deed.value}" for at, each in enumerate(self.entries, 1))

    @property
    def lines(self) -> list[str]:
        return [f"  {at}  {each.deed.value:8} {each.words}"
                for at, each in enumerate(self.entries, 1)]  # fmt: skip

    def read(self, typed: str) -> Asked:
        """By number, by word, or by the beginning of one; empty for the default."""
        first, _, rest = typed.strip().partition(" ")
        first, rest = first.casefold(), rest.strip()
        if not first:
            return Asked(self.default)
        if first.isdecimal():
            at = int(first[:DIGITS])
            if 1 <= at <= len(self.entries):
                return Asked(self.entries[at - 1].deed, rest)
            return Asked(None, words=f"There is no {first}: {self.line}; ? explains them.")
        there = {each.deed.value: each.deed for each in self.entries}
        deed = there.get(first) or self._other(first)
        if deed is None:
            near = [each for word, each in there.items() if word.startswith(first)]
            if len(near) > 1:
                words = " or ".join(each.value for each in near)
                return Asked(None, words=f"{first!r} may be {words}: a letter more tells.")
            deed = near[0] if near else None
        if deed is None:
            return Asked(None, words=f"{first!r} is none of these: {self.line}; ? explains them.")
        return Asked(deed, rest)

    def _other(self, word: str) -> Deed | None:
        """By another word for what is in this menu; leaving and help are in each."""
        deed = _ALSO.get(word) or (Deed(word) if word in ("leave", "help") else None)
        if deed in (Deed.LEAVE, Deed.HELP) or any(each.deed is deed for each in self.entries):
            return deed
        return None


MAIN = Menu(
    "What next?",
    (
        Entry(Deed.WRITE, "write a mail and send it"),
        Entry(Deed.MANAGE, "list, read, save and delete your mail"),
        Entry(Deed.LEAVE, "leave"),
    ),
    Deed.WRITE,
    "Type a number or a word and press Enter. Enter alone takes what stands in brackets.",
)
MANAGE = Menu(
    "Your mail:",
    (
        Entry(Deed.LIST, f"show the newest {PAGE}"),
        Entry(Deed.OLDER, f"show the {PAGE} before those"),
        Entry(Deed.READ, "show a mail: read 3, or read and words of its subject"),
        Entry(Deed.SAVE, "keep mails as files: save 3, save 1-5, save all"),
        Entry(Deed.DELETE, "delete mails: delete 3, delete 1-5; they go when you leave"),
        Entry(Deed.UNDO, "take back what you deleted last: undo, undo 3, undo all"),
        Entry(Deed.REFRESH, "look for new mail"),
        Entry(Deed.BACK, "back to the beginning"),
    ),
    Deed.READ,
    "A mail's number stands in front of it in the list. What you delete is kept until you leave.",
)
UNSENT = Menu(
    "It has not reached everybody. What now?",
    (
        Entry(Deed.AGAIN, "try again"),
        Entry(Deed.CHANGE, "change who gets it: other addresses for those who have not got it"),
        Entry(Deed.KEEP, "keep it as a file here, and go back"),
        Entry(Deed.DROP, "throw it away"),
    ),
    Deed.KEEP,
    "Nothing is lost until you throw it away.",
)


@frozen
class Which:
    """Mails that were named.

    Attributes:
        words: of a subject, where no numbers were given.
        trouble: what is wrong; "" for nothing.
    """

    numbers: tuple[int, ...] = ()
    words: str = ""
    trouble: str = ""


def read_which(typed: str, there: Sequence[int], default: int | None = None) -> Which:
    """3, `3 5`, `3,5`, `3-5`, `all`, `last`, or words of a subject; empty for the default."""
    said = typed.strip()
    if not there:
        return Which(trouble="There is no mail.")
    if not said:
        return Which(() if default is None else (default,))
    if said.casefold() == "all":
        return Which(tuple(there))
    if said.casefold() in ("last", "newest"):
        return Which((there[-1],))
    numbers = list[int]()
    for part in _BETWEEN.split(_RANGE.sub(r"\1-\2", said)):
        if not part:
            continue
        if match := _RANGE.fullmatch(part):
            first, last = sorted((int(match[1]), int(match[2])))
            found = [number for number in there if first <= number <= last]
            if not found:
                return Which(trouble=f"There is no mail {first} to {last}; {_span(there)}")
            numbers += found
        elif part.isdecimal():
            if len(part) > DIGITS or int(part) not in there:
                return Which(trouble=f"There is no mail {part}; {_span(there)}")
            numbers.append(int(part))
        else:
            return Which(words=said)
    return Which(tuple(dict.fromkeys(numbers)))


def _span(there: Sequence[int]) -> str:
    if len(there) == 1:
        return f"there is {there[0]} alone."
    return f"they are {there[0]} to {there[-1]}."


@frozen
class Page:
    """Some mails of the list.

    Attributes:
        at: 0 for the newest.
    """

    numbers: tuple[int, ...]
    at: int
    has_older: bool


def page_of(there: Sequence[int], at: int) -> Page:
    """The page, or the last one where there are fewer."""
    at = max(0, min(at, (len(there) - 1) // PAGE))
    end = len(there) - at * PAGE
    begin = max(0, end - PAGE)
    return Page(tuple(there[begin:end]), at, begin > 0)


def read_yes(typed: str, default: bool) -> bool | None:
    """None when it is neither yes nor no."""
    said = typed.strip().casefold()
    if not said:
        return default
    if said in ("y", "yes", "1", "j", "ja", "ok"):
        return True
    if said in ("n", "no", "0", "nein"):
        return False
    return None
