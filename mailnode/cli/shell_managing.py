"""Looking after one's mail in `mailnode shell`: pages of a list, and what is done to mails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from attrs import define, field

from mailnode.cli import output
from mailnode.cli.frame import told
from mailnode.cli.maildrop import (
    fetch,
    find,
    lines_about,
    save_mails,
    saved_line,
    show_lines,
    show_mail,
)
from mailnode.cli.places import Place
from mailnode.cli.shell_face import Back, Face
from mailnode.cli.shell_menu import MANAGE, Deed, page_of, read_which
from mailnode.client.saving import Shelf
from mailnode.client.trouble import SignInRefused
from mailnode.client.visit import Visit
from mailnode.errors import MailError
from mailnode.filenames import expanded

FOLDER = "mails"
_TROUBLE = (click.ClickException, MailError, OSError)


@define(eq=False)
class Managing:
    """One's mailbox, for as long as the shell runs."""

    place: Place
    face: Face
    visit: Visit = field(init=False)
    _page: int = field(default=0, init=False)
    _current: int | None = field(default=None, init=False)
    _folder: str = field(default=FOLDER, init=False)

    def __attrs_post_init__(self) -> None:
        self.visit = Visit(self.place.maildrop, self.face.say)

    def manage(self) -> None:
        """Until somebody wants to go back."""
        if not self._begin():
            return
        self._list(0)
        while True:
            default = Deed.READ if self.visit.sizes else Deed.REFRESH
            try:
                asked = self.face.choose(MANAGE.with_default(default))
            except Back:
                return
            if asked.deed is Deed.BACK:
                return
            assert asked.deed is not None
            try:
                self._deeds[asked.deed](asked.rest)
            except Back:
                continue
            except (KeyboardInterrupt, click.Abort):
                self.face.say("Stopped.")
            except _TROUBLE as error:
                self.face.say(f"That did not work: {told(error)[1]}")

    @property
    def _deeds(self) -> dict[Deed, Callable[[str], None]]:
        return {
            Deed.LIST: lambda _: self._list(0),
            Deed.OLDER: lambda _: self._older(),
            Deed.READ: self._read,
            Deed.SAVE: self._save,
            Deed.DELETE: self._delete,
            Deed.UNDO: self._undo,
            Deed.REFRESH: lambda _: self._refresh(),
        }

    def _begin(self) -> bool:
        """Whether there is a mailbox to look at."""
        if self.visit.has_begun:
            return True
        try:
            self._ask_whose()
            self.visit.begin()
        except (KeyboardInterrupt, click.Abort):
            self.face.say("Stopped.")
        except SignInRefused as refusal:
            self.face.say(f"That did not work: {refusal.text}")
            self.place.forget()
        except _TROUBLE as error:
            self.face.say(f"That did not work: {told(error)[1]}")
        return self.visit.has_begun

    def _ask_whose(self) -> None:
        if not self.place.user_was_said:
            default = self.place.address or self.place.likely_address()
            help = "Whose mail you want to see: the address that you sign in with."
            said = self.face.ask("Your address", default, help)
            if said != self.place.address:
                self.place.forget()
            self.place.address = said

    # Looking

    def _list(self, at: int) -> None:
        visit = self.visit
        page = page_of(visit.numbers, at)
        if not page.numbers:
            self.face.say(f"The mailbox of {self.place.user} is empty.")
            return
        lines = visit.work(
            page.numbers, lambda maildrop, numbers: lines_about(maildrop, numbers, visit.sizes)
        )
        self._page = page.at
        show_lines(lines, visit.marked)
        older = "; older shows more" if page.has_older else ""
        first, last, count = page.numbers[0], page.numbers[-1], len(visit.sizes)
        self.face.say(f"{first} to {last} of {output.count(count, 'mail')}{older}.")

    def _older(self) -> None:
        if page_of(self.visit.numbers, self._page).has_older:
            self._list(self._page + 1)
        else:
            self.face.say("There are no older ones.")

    def _refresh(self) -> None:
        new = self.visit.refresh()
        self.face.say(f"{output.count(new, 'new mail')}.")
        self._list(0)

    def _read(self, rest: str) -> None:
        for number in self._which("Read which mail", rest):
            octets = self.visit.work([number], lambda maildrop, found: fetch(maildrop, found[0]))
            show_mail(octets)
            self._current = number

    # Doing

    def _save(self, rest: str) -> None:
        numbers = self._which("Save which mails", rest)
        if not numbers:
            return
        shelf = Shelf(self._ask_folder(), self.place.user)
        try:
            for number in numbers:
                saved, refused = self.visit.work(
                    [number], lambda maildrop, found: save_mails(maildrop, shelf, found)
                )
                for each in saved:
                    self.face.say(saved_line(each))
                for why in refused.values():
                    self.face.say(f"Mail {number} was not saved: {why}")
        finally:
            shelf.close()

    def _ask_folder(self) -> Path:
        help = "A folder; it is made where it is missing, and nothing in it is overwritten."
        while True:
            said = self.face.ask("In which folder", self._folder, help)
            try:
                folder = expanded(said)
            except OSError as error:
                self.face.say(f"That is not right: {told(error)[1]}")
            else:
                self._folder = said
                return folder

    def _delete(self, rest: str) -> None:
        numbers = self._which("Delete which mails", rest)
        new = self.visit.mark(numbers)
        if numbers and not new:
            self.face.say("Deleted already.")
        elif new:
            self.face.say(
                f"Deleted: {_named(new)}. It takes effect when you leave; undo takes it back."
            )

    def _undo(self, rest: str) -> None:
        marked = self.visit.marked
        if not marked:
            self.face.say("Nothing is deleted.")
            return
        which = read_which(rest, marked) if rest else None
        if which is not None and (which.trouble or which.words):
            self.face.say(f"Deleted are {_named(marked)}: undo, undo {marked[0]}, or undo all.")
            return
        stay = self.visit.unmark(which.numbers if which is not None else ())
        self.face.say(f"Not deleted any more: {_named(stay)}.")

    def _which(self, question: str, rest: str) -> tuple[int, ...]:
        """The mails that are meant; none where there are none, which is said."""
        visit = self.visit
        if not visit.numbers:
            self.face.say("There is no mail.")
            return ()
        there = self._current in visit.sizes
        default = self._current if there and self._current is not None else visit.numbers[-1]
        help = "Its number in the list, several such as 1 3 or 1-5, all, or words of a subject."
        said = rest or self.face.ask(question, str(default), help)
        which = read_which(said, visit.numbers, default)
        if which.trouble:
            self.face.say(which.trouble)
        if which.words:
            return (visit.work((), lambda maildrop, _: find(maildrop, which.words, visit.sizes)),)
        return which.numbers


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
