"""A visit to a mailbox: deletions are kept until it ends, and a lost connection is found again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from attrs import define, field, frozen

from mailnode.client.maildrop import Maildrop
from mailnode.client.trouble import Denied, InUse, Unreachable

WAITS = 10  # for a server that has not noticed yet that our last session is over
PAUSE_S = 1.0
TRIES = 2

LOST = "the connection was lost, and this server can't tell them from others"

T = TypeVar("T")


@frozen
class Ended:
    """What became of the deletions.

    Attributes:
        deleted: how many mails are gone.
        kept: how many are still there.
        why: what the server said of these, or that nobody knows.
    """

    deleted: int = 0
    kept: int = 0
    why: str = ""


@define(eq=False)
class Visit:
    """One person's look at a mailbox, over as many sessions as it takes.

    A mail is known by its UIDL, so that a deletion is of the same mail in the next session. One
    without, or whose UIDL another has, too, is known by its number, and in one session alone.
    Nothing is said to the server before `end`: whatever breaks off until then deletes nothing.

    Attributes:
        open: signs in.
        told: hears what became of a lost connection.
        pause: waits so many seconds.
    """

    open: Callable[[], Maildrop]
    told: Callable[[str], object]
    pause: Callable[[float], object] = time.sleep
    sizes: dict[int, int] = field(factory=dict, init=False)
    _words: dict[int, str] = field(factory=dict, init=False)
    _marked: list[tuple[str, ...]] = field(factory=list, init=False)  # as they were asked for
    _maildrop: Maildrop | None = field(default=None, init=False)
    _sessions: int = field(default=0, init=False)

    @property
    def has_begun(self) -> bool:
        return self._sessions > 0

    @property
    def numbers(self) -> Sequence[int]:
        return list(self.sizes)

    def begin(self) -> None:
        """Sign in and look.

        Raises:
            Mistake, MailError: as `open` does.
        """
        self._enter()

    def work(self, numbers: Collection[int], do: Callable[[Maildrop, list[int]], T]) -> T:
        """Do something with these mails; once more in a new session, where the old one is lost.

        Args:
            do: is given their numbers, which a new session may have changed.

        Raises:
            Denied: the server refuses it, or one of them is gone.
            Mistake, MailError: there is no session to be had.
        """
        words = [self._words[number] for number in numbers]
        if self._maildrop is None:
            self._enter_again("it was interrupted")
        try:
            return self._try(words, do)
        except Unreachable as error:
            self._enter_again(error.text)
        return self._try(words, do)

    def refresh(self) -> int:
        """Look again for new mail; how many there are."""
        before = self._words
        self._quit()
        self._enter_patiently()
        self._tell_lost()
        known = set(filter(_is_lasting, before.values()))
        new = sum(word not in known for word in self._words.values() if _is_lasting(word))
        others = len(self._words) - len(before) - (self._lasting - len(known))
        return new + max(0, others)

    @property
    def _lasting(self) -> int:
        """How many mails the next session knows again."""
        return sum(map(_is_lasting, self._words.values()))

    # Deletions

    @property
    def marked(self) -> list[int]:
        """The mails that go when the visit ends."""
        words = {word for batch in self._marked for word in batch}
        return [number for number, word in self._words.items() if word in words]

    def mark(self, numbers: Iterable[int]) -> list[int]:
        """These go when the visit ends; which of them were not to go before."""
        before = set(self.marked)
        new = [number for number in numbers if number not in before]
        if new:
            self._marked.append(tuple(self._words[number] for number in new))
        return new

    def unmark(self, numbers: Collection[int] = ()) -> list[int]:
        """These stay, or what was marked last; which of them were to go."""
        if not self._marked:
            return []
        words = {self._words[number] for number in numbers} or set(self._marked[-1])
        stay = [number for number in self.marked if self._words[number] in words]
        left = [tuple(word for word in batch if word not in words) for batch in self._marked]
        self._marked = [batch for batch in left if batch]
        return stay

    # The end

    def end(self) -> Ended:
        """Delete what is marked, and leave.

        Raises:
            Mistake, MailError: there was no session to do it in; nothing was deleted.
        """
        asked = len(self.marked)
        if not asked:
            self._quit()
            return Ended()
        for _ in range(TRIES):
            try:
                ended = self._end(asked)
            except Unreachable:
                self.leave()
                continue
            if ended is not None:
                return ended
        self._enter_patiently()  # or the reason why there is no session
        left = len(self.marked) + self._lost
        self.leave()
        return Ended(asked - left, left, "the connection broke off each time")

    def _end(self, asked: int) -> Ended | None:
        """None when the connection was lost behind QUIT, and some are still there."""
        if self._maildrop is None:
            self._enter_patiently()
        maildrop, marked, lost = self._maildrop, self.marked, self._lost
        assert maildrop is not None
        refused = maildrop.delete(marked)
        try:
            maildrop.quit()
        except Denied as refusal:
            self.leave()
            return Ended(0, asked, f"the server says that it could not: {refusal.text}")
        except Unreachable:
            return self._look_what_is_left(asked)
        self._maildrop = None
        why = refused[0][1].text if refused else LOST if lost else ""
        kept = len(refused) + lost
        return Ended(asked - kept, kept, why)

    @property
    def _lost(self) -> int:
        """How many of the marked were known by their numbers in a session that is over."""
        there = set(self._words.values())
        marked = (word for batch in self._marked for word in batch)
        return sum(not _is_lasting(word) and word not in there for word in marked)

    def _look_what_is_left(self, asked: int) -> Ended | None:
        """Nobody has said whether they are gone: the next session shows it."""
        self.leave()
        try:
            self._enter_patiently()
        except Unreachable:
            why = "the connection was lost while they were being deleted: nobody knows"
            return Ended(0, asked, why)
        if self.marked:
            return None
        lost = self._lost
        self.leave()
        return Ended(asked - lost, lost, f"{LOST}; nobody knows" if lost else "")

    def leave(self) -> None:
        """Go; nothing that is marked is deleted."""
        maildrop, self._maildrop = self._maildrop, None
        if maildrop is not None:
            maildrop.leave()

    def _quit(self) -> None:
        """Politely, where nothing is to be deleted."""
        maildrop, self._maildrop = self._maildrop, None
        if maildrop is not None:
            with suppress(Unreachable, Denied):
                maildrop.quit()

    # Sessions

    def _try(self, words: Sequence[str], do: Callable[[Maildrop, list[int]], T]) -> T:
        numbers = {word: number for number, word in self._words.items()}
        if any(word not in numbers for word in words):
            raise Denied(
                "that mail is no longer there, or nobody can tell which it was; list again"
            )
        with self._dropped_on_error() as maildrop:
            return do(maildrop, [numbers[word] for word in words])

    @contextmanager
    def _dropped_on_error(self) -> Iterator[Maildrop]:
        """What was left in the middle of a reply is of no use any more.

        Raises:
            Unreachable: in place of a refusal that was the server's last word.
        """
        maildrop = self._maildrop
        assert maildrop is not None
        try:
            yield maildrop
        except Denied as refusal:
            try:
                maildrop.keep_alive()
            except (Unreachable, Denied):
                self.leave()
                raise Unreachable(refusal.text) from None
            raise
        except BaseException:
            self.leave()
            raise

    def _enter(self) -> None:
        maildrop = self.open()
        try:
            self.sizes = maildrop.sizes()
            self._sessions += 1
            try:
                found = maildrop.unique_ids()
            except Denied:
                found = {}
            often = Counter(found.values())
            self._words = {}
            for number in self.sizes:
                word = found.get(number, "")
                if often[word] != 1 or not _is_lasting(word):
                    word = f"{self._sessions} {number}"  # each session has names of its own
                self._words[number] = word
        except BaseException:
            maildrop.leave()
            raise
        self._maildrop = maildrop

    def _enter_patiently(self) -> None:
        for _ in range(WAITS):
            try:
                self._enter()
                return
            except InUse:
                self.pause(PAUSE_S)
        self._enter()

    def _enter_again(self, why: str) -> None:
        before = dict(self._words)
        self._enter_patiently()
        why = why.rstrip(".")
        self.told(f"The connection was lost ({why}). It is there again; nothing was deleted.")
        self._tell_lost()
        if any(self._words.get(number) != word for number, word in before.items()):
            self.told("The numbers of the mails have changed: list them again.")

    def _tell_lost(self) -> None:
        """Marks of mails that aren't there any more are gone, too."""
        there = set(self._words.values())
        asked = sum(map(len, self._marked))
        left = [tuple(word for word in batch if word in there) for batch in self._marked]
        self._marked = [batch for batch in left if batch]
        kept = sum(map(len, self._marked))
        if kept:
            self.told(f"Still to be deleted when you leave: {mails_with_numbers(self.marked)}.")
        if gone := asked - kept:
            mails = "1 mail, which is" if gone == 1 else f"{gone} mails, which are"
            self.told(
                f"No longer to be deleted: {mails} gone, or which this server can't tell from "
                "others."
            )


def mails_with_numbers(numbers: Sequence[int]) -> str:
    """`1 mail (number 2)`, `2 mails (numbers 2, 5)`: a count alone reads as a mail's number."""
    named = ", ".join(map(str, numbers))
    return (
        f"1 mail (number {named})"
        if len(numbers) == 1
        else f"{len(numbers)} mails (numbers {named})"
    )


def _is_lasting(word: str) -> bool:
    """Whether it is a UIDL (RFC 1939 section 7): these have no blanks."""
    return bool(word) and all("!" <= each <= "~" for each in word)
