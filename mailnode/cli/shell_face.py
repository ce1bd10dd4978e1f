"""How `mailnode shell` speaks with whoever sits there: questions with defaults, and ways back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from attrs import define

from mailnode.cli import output
from mailnode.cli.shell_menu import Asked, Deed, Menu, read_yes
from mailnode.cli.typed import read_until_dot

NO_TEXT = "That line is no text in UTF-8: type it once more."
ANYWHERE = "Ctrl-C goes back a level, Ctrl-D leaves."


class Back(Exception):
    """A level up: somebody has pressed Ctrl-C."""


class Interrupted(Back):
    """The same in the midst of a text: what was typed until then."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Leave(Exception):
    """Away: somebody has pressed Ctrl-D, or said so."""


@define(eq=False)
class Face:
    """A terminal, or what stands for one in a test.

    Attributes:
        read: shows a question and gives the line that was typed; raises KeyboardInterrupt or
            EOFError.
        say: shows a line.
    """

    read: Callable[[str], str]
    say: Callable[[str], object] = output.say

    def ask(self, question: str, default: str = "", help: str = "") -> str:
        """What was typed, or the default; `?` explains."""
        shown = f" [{default}]" if default else ""
        while True:
            try:
                typed = self.read(f"{question}{shown}: ").strip()
                typed.encode()  # of a terminal in another charset
            except UnicodeError:
                self.say(NO_TEXT)
                continue
            except KeyboardInterrupt:
                self.say("")
                raise Back from None
            except EOFError:
                self.say("")
                raise Leave from None
            if typed == "?":
                gap = "\n" if "\n" in help else " "
                self.say(f"{help}{gap}{ANYWHERE}".strip())
                continue
            return typed or default

    def ask_yes(self, question: str, *, default: bool, help: str = "") -> bool:
        while True:
            typed = self.ask(question, "yes" if default else "no", help)
            if (found := read_yes(typed, default)) is not None:
                return found
            self.say(f"{typed!r} is neither yes nor no.")

    def choose(self, menu: Menu) -> Asked:
        """What is to be done, of this menu; leaving raises `Leave`."""
        while True:
            self.say(menu.line)
            help = "\n".join([menu.help, *menu.lines])
            asked = menu.read(self.ask(menu.title.rstrip(":"), menu.default.value, help))
            if asked.deed is None:
                self.say(asked.words)
            elif asked.deed is Deed.HELP:
                self.say(f"{help}\n{ANYWHERE}")
            elif asked.deed is Deed.LEAVE:
                raise Leave
            else:
                return asked

    def ask_text(self) -> str:
        """Lines until a full stop alone; Ctrl-D ends them, too.

        Raises:
            Interrupted: Ctrl-C does.
        """
        lines = list[str]()
        try:
            return read_until_dot(self._lines(), lines)
        except Back:
            raise Interrupted("".join(lines)) from None

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                line = self.read("")
                line.encode()
                yield line + "\n"
            except UnicodeError:
                self.say(f"{NO_TEXT} The lines before it stand.")
            except KeyboardInterrupt:
                self.say("")
                raise Back from None
            except EOFError:
                self.say("")
                return


def terminal() -> Face:
    """The one that the program runs on; its lines can be edited."""
    with suppress(ImportError):
        import readline

        if sys.stdin.isatty():
            readline.parse_and_bind("set enable-bracketed-paste off")
            readline.parse_and_bind("tab: self-insert")
            readline.set_auto_history(False)
    return Face(input)
