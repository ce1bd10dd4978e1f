"""The language of search: what a person types, read into what is looked for.

    report "exact words" -draft from:alice subject:budg* has:attachment is:unread in:Archive
    before:2026-01-31 after:2025-12-01 larger:1M smaller:10M to:"Bob Miller"

All that is given must be so. A word is found whatever its case and accents; `wor*` finds what
begins so. `-` in front of anything turns it around. A name with a colon that is none of these is a
word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Any

from attrs import evolve, field, frozen

from mailnode.errors import MailError

QUERY_CHARACTERS = 1_000
MOST_TERMS = 40
MOST_OCTETS = 1 << 50
PREFIX_OCTETS = 3  # in UTF-8: what is shorter begins too many words to be gathered in time

TEXT_FIELDS = ("from", "to", "subject", "file")
NAMES = (*TEXT_FIELDS, "has", "is", "in", "before", "after", "larger", "smaller")

_TERM = re.compile(
    r"""\s*(?P<minus>-)?(?:(?P<name>[A-Za-z]{2,12}):(?!//))?
    (?:"(?P<quoted>[^"]*)(?P<end>"?)(?P<quoted_star>\*)?|(?P<bare>[^\s"]*))""",
    re.X,
)
_UNKNOWN = re.compile(r"(?<!\S)-?([A-Za-z]{2,12}):(?=\S)(?!//)")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmg]?)(?:i?b)?", re.I)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3}
_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")


class BadQuery(MailError):
    """What was typed can't be looked for; the text says what would be."""

    smtp_code, enhanced, pop3_code, http_status = 550, "5.0.0", "SYS/PERM", 400
    exit_code = 65
    text = "This can't be looked for"


@frozen
class Words:
    """Words that stand next to each other.

    Attributes:
        text: letters and digits with blanks between; never empty of them.
        where: "from", "to", "subject" or "file"; "" for anywhere.
        prefix: the last word may go on.
        without: it must not be there.
    """

    text: str
    where: str = ""
    prefix: bool = False
    without: bool = False


@frozen
class Query:
    """What is looked for; all of it must be so.

    Attributes:
        has_attachment, unread, flagged: None where it doesn't matter.
        folders: names of which it must lie in one, as they were typed; none for any.
        not_in: names of which it must lie in none.
        since, before: of when it came, UTC epoch seconds; since counts, before doesn't.
        larger, smaller: octets that it has more, or less, than.
        hints: sentences about what was looked for as a word, and was perhaps meant otherwise.
    """

    words: tuple[Words, ...] = ()
    has_attachment: bool | None = None
    unread: bool | None = None
    flagged: bool | None = None
    folders: tuple[str, ...] = ()
    not_in: tuple[str, ...] = ()
    since: float | None = None
    before: float | None = None
    larger: int | None = None
    smaller: int | None = None
    hints: tuple[str, ...] = ()


@frozen
class _Term:
    name: str
    value: str
    quoted: bool
    prefix: bool
    minus: bool = field(default=False)


def read_query(typed: str, zone: tzinfo | None = UTC) -> Query:
    """What somebody typed.

    Args:
        zone: in which days begin; None for this machine's.

    Raises:
        BadQuery: with a sentence for whoever typed it.
    """
    if len(typed) > QUERY_CHARACTERS:
        raise BadQuery(f"That is over {QUERY_CHARACTERS:,} characters: look for less")
    reading = _Reading(zone)
    hints = dict.fromkeys(filter(None, map(_hint, _UNKNOWN.findall(typed))))
    for count, term in enumerate(_terms(typed)):
        if count >= MOST_TERMS:
            raise BadQuery(f"That is over {MOST_TERMS} words: look for less")
        reading.take(term)
    return evolve(reading.query(), hints=tuple(hints))


def _hint(name: str) -> str:
    """What a name with a colon may have been meant for; "" where it is one, or like none."""
    near = get_close_matches(name.lower(), NAMES, 1, 0.7)
    if name.lower() in NAMES or not near:
        return ""
    return f'"{name}:" is no field and was looked for as a word; did you mean {near[0]}:?'


def _terms(typed: str) -> Iterator[_Term]:
    """The terms as they are written; whatever is typed can be parted so."""
    text = "".join(" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in typed)
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None or found.end() == at:
            at += 1
            continue
        at = found.end()
        name, quoted, bare = found["name"] or "", found["quoted"], found["bare"] or ""
        if name.lower() not in NAMES and name:
            bare, name = f"{name}:{bare}", ""
            if quoted is not None:
                yield _Term("", bare, False, False, bool(found["minus"]))
                bare = ""
        value = bare if quoted is None else quoted
        prefix = bool(found["quoted_star"]) if quoted is not None else bare.endswith("*")
        if quoted is not None and not found["end"]:
            raise BadQuery(f'A quotation mark is missing behind "{quoted.strip()}')
        if value or name or quoted is not None or found["minus"]:
            yield _Term(name.lower(), value, quoted is not None, prefix, bool(found["minus"]))


class _Reading:
    """Terms so far."""

    def __init__(self, zone: tzinfo | None) -> None:
        self.zone = zone
        self.words: list[Words] = []
        self.facts: dict[str, Any] = {}
        self.folders: list[str] = []
        self.not_in: list[str] = []
        self.bounds: dict[str, float] = {}

    def query(self) -> Query:
        larger, smaller = self.bounds.get("larger"), self.bounds.get("smaller")
        return Query(
            tuple(self.words),
            folders=tuple(self.folders),
            not_in=tuple(self.not_in),
            since=self.bounds.get("since"),
            before=self.bounds.get("before"),
            larger=None if larger is None else int(larger),
            smaller=None if smaller is None else int(smaller),
            **self.facts,
        )

    def take(self, term: _Term) -> None:
        if not term.name or term.name in TEXT_FIELDS:
            self._take_words(term)
            return
        if not term.value.strip():
            raise BadQuery(
                f"Something must stand behind {term.name}: such as {_EXAMPLES[term.name]}"
            )
        take = getattr(self, f"_take_{term.name}")
        take(term.value.strip(), term)

    def _take_words(self, term: _Term) -> None:
        text = words_of(term.value)
        if not text:
            if term.name:
                raise BadQuery(
                    f"Something must stand behind {term.name}: such as {_EXAMPLES[term.name]}"
                )
            return  # signs alone: nothing is found by them
        if term.prefix and len(text.split()[-1].encode("utf-8", "replace")) < PREFIX_OCTETS:
            raise BadQuery(f"{term.value} begins too many words: three letters must stand before *")
        self.words.append(Words(text, term.name, term.prefix, term.minus))

    def _take_has(self, value: str, term: _Term) -> None:
        if value.lower() not in ("attachment", "attachments", "file", "files"):
            raise BadQuery(f"has:{value} is not known; there is has:attachment")
        self._fact("has_attachment", not term.minus, term)

    def _take_is(self, value: str, term: _Term) -> None:
        known = {"unread": ("unread", True), "unseen": ("unread", True), "read": ("unread", False),
                 "seen": ("unread", False), "flagged": ("flagged", True),
                 "starred": ("flagged", True), "unflagged": ("flagged", False)}  # fmt: skip
        if value.lower() not in known:
            raise BadQuery(f"is:{value} is not known; there are is:unread, is:read and is:flagged")
        name, wanted = known[value.lower()]
        self._fact(name, wanted is not term.minus, term)

    def _fact(self, name: str, wanted: bool, term: _Term) -> None:
        if self.facts.setdefault(name, wanted) is not wanted:
            raise BadQuery(f"No mail is both: {term.name}:{term.value} stands against another word")

    def _take_in(self, value: str, term: _Term) -> None:
        (self.not_in if term.minus else self.folders).append(value)

    def _take_before(self, value: str, term: _Term) -> None:
        self._bound("since" if term.minus else "before", self._day(value, term))

    def _take_after(self, value: str, term: _Term) -> None:
        self._bound("before" if term.minus else "since", self._day(value, term))

    def _day(self, value: str, term: _Term) -> float:
        """When that day begins."""
        found = _DAY.fullmatch(value)
        try:
            if not found:
                raise ValueError
            year, month, day = map(int, found.groups())
            return datetime(year, month, day, tzinfo=self.zone).timestamp()
        except (ValueError, OverflowError, OSError):
            raise BadQuery(
                f"{term.name}:{value} is no day; write year, month and day, such as "
                f"{term.name}:2026-01-31"
            ) from None

    def _take_larger(self, value: str, term: _Term) -> None:
        octets = _octets(value, term)
        self._bound("smaller" if term.minus else "larger", octets + term.minus)

    def _take_smaller(self, value: str, term: _Term) -> None:
        octets = _octets(value, term)
        self._bound("larger" if term.minus else "smaller", octets - term.minus)

    def _bound(self, name: str, value: float) -> None:
        """The narrowest counts."""
        before = self.bounds.get(name, value)
        narrow = max if name in ("since", "larger") else min
        self.bounds[name] = narrow(before, value)


_EXAMPLES = {
    "from": "from:alice",
    "to": "to:alice@example.org",
    "subject": 'subject:"new plan"',
    "file": "file:invoice.pdf",
    "has": "has:attachment",
    "is": "is:unread",
    "in": "in:Archive",
    "before": "before:2026-01-31",
    "after": "after:2026-01-31",
    "larger": "larger:1M",
    "smaller": "smaller:500K",
}


def _octets(value: str, term: _Term) -> int:
    found = _SIZE.fullmatch(value)
    octets = int(float(found[1]) * 1024 ** _POWERS[found[2].lower()]) if found else -1
    if 0 <= octets <= MOST_OCTETS:
        return octets
    raise BadQuery(f"{term.name}:{value} is no size; write such as {term.name}:1M or 500K")


def words_of(text: str) -> str:
    """Its words with single blanks between, as SQLite's unicode61 parts them: at all that is
    neither letter nor number."""
    categories = [unicodedata.category(char) for char in text]
    kept = "".join(
        char if category[0] in "LNM" or category == "Co" else " "
        for char, category in zip(text, categories, strict=True)
    )
    if not any(category[0] in "LN" or category == "Co" for category in categories):
        return ""
    return " ".join(kept.split())


_NO_WORDS = {number: " " for number in range(128) if not chr(number).isalnum()}


def folded_words(text: str) -> str:
    """Its words whatever their case and accents, for `stand_in`."""
    if text.isascii():  # as most is, and this is much faster
        return " ".join(text.lower().translate(_NO_WORDS).split())
    letters = unicodedata.normalize("NFKD", text.casefold())
    return words_of("".join(char for char in letters if unicodedata.category(char) != "Mn"))


def stand_in(words: Words, text: str) -> bool:
    """Whether they stand next to each other in a text of `folded_words`.

    Whether they must or mustn't (`without`) is not asked.
    """
    end = "" if words.prefix else " "
    return f" {folded_words(words.text)}{end}" in f" {text} "
