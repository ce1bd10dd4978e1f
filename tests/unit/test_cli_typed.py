"""`send` on a terminal: what was typed is kept where it can't be sent."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from mailnode.cli import typed
from mailnode.cli.unsent import with_others
from mailnode.client.trouble import SignInRefused, Unreachable
from mailnode.composing.drafts import Draft
from mailnode.composing.people import read_mailboxes
from mailnode.outbound.words import Answer
from tests.unit.cli_case import CommandCase

send = importlib.import_module("mailnode.cli.send")  # the package has the command by this name

TAKEN = Answer(250, "2.0.0", "Ok", "dot")
UNKNOWN = Answer(550, "5.1.1", "no such user", "RCPT")
WHERE = "send --smtp localhost:1 --from a@x.test"


class Typing(io.StringIO):
    """Lines of a text, and what interrupts it."""

    def __init__(self, text: str, end: type[BaseException] | None = None) -> None:
        super().__init__(text)
        self.end = end

    def __iter__(self) -> Iterator[str]:
        yield from io.StringIO(self.getvalue())
        if self.end is not None:
            raise self.end


class TypedTests(CommandCase):
    def send(
        self,
        *answers: Any,
        words: str = WHERE,
        code: int = 0,
        prompts: tuple[Any, ...] = (),
        text: str = "Dear Bob\n.\n",
        end: type[BaseException] | None = None,
    ) -> str:
        """What is said on standard error; `prompts` are answered one by one."""
        self.handed: list[Any] = []
        coming = list(answers)

        def hand_over(_place: object, letter: Any) -> Any:
            self.handed.append(letter)
            found = coming.pop(0)
            if isinstance(found, BaseException):
                raise found
            return [(each, found.get(each, TAKEN)) for each in letter.recipients]

        asked = ["bob@x.test", "hello", *prompts]
        with (
            patch.object(send, "stdin_is_terminal", return_value=True),
            patch.object(typed, "hand_over", hand_over),
            patch.object(typed.click, "prompt", side_effect=asked) as self.prompt,
            patch.object(typed, "sys", SimpleNamespace(stdin=Typing(text, end))),
        ):
            return self.run_command(words, exit_code=code).stderr

    def kept(self) -> str:
        (found,) = Path().glob("*.eml")
        text = found.read_text()
        found.unlink()
        return text

    def test_it_is_kept_where_no_server_takes_it(self) -> None:
        for trouble, code in (
            (Unreachable("there is no connection"), 75), (SignInRefused("not let in"), 77),
            (KeyboardInterrupt(), 130), (typed.click.Abort(), 130),
        ):  # fmt: skip
            self.assertIn("the mail is kept as hello.eml", self.send(trouble, code=code))
            self.assertIn("Dear Bob", self.kept())

    def test_who_is_refused_is_named_anew(self) -> None:
        told = self.send({"bob@x.test": UNKNOWN}, {}, prompts=("nonsense", "ben@x.test"))
        self.assertIn("refused for bob@x.test: 550 5.1.1 no such user", told)
        self.assertIn("'nonsense' has no @", told)
        self.assertEqual(("ben@x.test",), self.handed[1].recipients)
        self.assertIn(b"Dear Bob", self.handed[1].open().read())
        self.assertEqual([], list(Path().glob("*.eml")))

    def test_nobody_else_is_an_end_that_keeps_it(self) -> None:
        for prompt in ("", typed.click.Abort()):
            told = self.send({"bob@x.test": UNKNOWN}, code=69, prompts=(prompt,))
            self.assertIn("the mail is kept as hello.eml", told)
            self.assertIn("To: bob@x.test", self.kept())

    def test_what_a_server_may_take_later_is_kept(self) -> None:
        later = Answer(450, "4.2.0", "busy", "RCPT")
        self.assertIn("kept as hello.eml", self.send({"bob@x.test": later}, code=75))

    def test_a_text_that_is_interrupted_is_kept(self) -> None:
        told = self.send(text="Dear B\n", end=KeyboardInterrupt, code=130)
        self.assertIn("stopped; the mail is kept as hello.eml", told)
        self.assertIn("Dear B", self.kept())
        self.assertIn("nothing was changed", self.send(text="", end=KeyboardInterrupt, code=130))

    def test_what_makes_it_vain_is_said_before_the_first_question(self) -> None:
        self.assertIn("gone: No such file", self.send(words=f"{WHERE} --attach gone", code=66))
        self.assertFalse(self.prompt.called)
        self.assertIn("gone: No such file", self.send(words=f"{WHERE} --html gone", code=66))
        self.assertFalse(self.prompt.called)
        self.make_accounts("a@x.test")
        for line in ("send", "send --from a@x.test"):
            told = self.send(words=line, code=75)
            self.assertIn("the node in this folder does not run", told)
            self.assertFalse(self.prompt.called)


class OtherPeople(CommandCase):
    def test_they_stand_where_the_first_of_those_stood(self) -> None:
        a, b, c, d = read_mailboxes("a@x.test, b@x.test, c@x.test, d@x.test")
        draft = Draft(sender=a, to=(a, b), cc=(c,))
        changed = with_others(draft, {"b@x.test", "c@x.test"}, [d])
        self.assertEqual(((a, d), ()), (changed.to, changed.cc))
