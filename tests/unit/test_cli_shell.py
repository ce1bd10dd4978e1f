"""The shell's menus as a model, its questions, and its flows without a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli.frame import Mistake
from mailnode.cli.shell import Shell
from mailnode.cli.shell_face import Back, Face, Interrupted, Leave
from mailnode.cli.shell_menu import (
    MAIN,
    MANAGE,
    UNSENT,
    Asked,
    Deed,
    Page,
    Which,
    page_of,
    read_which,
    read_yes,
)
from mailnode.client.profiles import Profile
from mailnode.client.trouble import SignInRefused, Unreachable
from mailnode.outbound.words import Answer
from tests.unit.test_client_visit import Box, Session

C, D = KeyboardInterrupt, EOFError


class Menus(SynchronousTestCase):
    def test_numbers_words_and_their_beginnings_mean_the_same(self) -> None:
        for typed, deed, rest in (
            ("1", Deed.LIST, ""), ("list", Deed.LIST, ""), (" LIST ", Deed.LIST, ""),
            ("l", Deed.LIST, ""), ("3 7", Deed.READ, "7"), ("rea  7 8", Deed.READ, "7 8"),
            ("read my invoice", Deed.READ, "my invoice"), ("rm 3", Deed.DELETE, "3"),
            ("b", Deed.BACK, ""), ("undelete 3", Deed.UNDO, "3"), ("", Deed.READ, ""),
            ("?", Deed.HELP, ""), ("help", Deed.HELP, ""), ("quit", Deed.LEAVE, ""),
        ):  # fmt: skip
            self.assertEqual(Asked(deed, rest), MANAGE.read(typed), typed)
        self.assertEqual(Deed.LIST, MANAGE.with_default(Deed.LIST).read("").deed)

    def test_what_means_nothing_or_too_much_is_said(self) -> None:
        for typed, words in (
            ("9", "There is no 9: 1 list"), ("0", "There is no 0"),
            ("9" * 5000, "There is no 999"), ("re", "read or refresh"),
            ("write", "'write' is none of these"),
        ):  # fmt: skip
            asked = MANAGE.read(typed)
            self.assertIsNone(asked.deed, typed)
            self.assertRegex(asked.words, words)

    def test_each_menu_has_its_default_and_no_word_that_another_hides(self) -> None:
        for menu in (MAIN, MANAGE, UNSENT):
            self.assertIn(menu.default, [each.deed for each in menu.entries])
            for at, each in enumerate(menu.entries, 1):
                self.assertEqual(each.deed, menu.read(each.deed.value).deed)
                self.assertEqual(each.deed, menu.read(str(at)).deed)
                self.assertIn(f"{at} {each.deed.value}", menu.line)

    def test_mails_are_named_in_many_ways(self) -> None:
        there = (1, 2, 3, 5, 8)
        for typed, which in (
            ("3", Which((3,))), ("3 5", Which((3, 5))), ("3,5,3", Which((3, 5))),
            ("2-5", Which((2, 3, 5))), ("5 - 2", Which((2, 3, 5))), ("all", Which(there)),
            ("Last", Which((8,))), ("", Which((5,))), ("invoice 3", Which(words="invoice 3")),
            ("4", Which(trouble="There is no mail 4; they are 1 to 8.")),
            ("3 9", Which(trouble="There is no mail 9; they are 1 to 8.")),
            ("6-7", Which(trouble="There is no mail 6 to 7; they are 1 to 8.")),
            ("9" * 5000, Which(trouble=f"There is no mail {'9' * 5000}; they are 1 to 8.")),
            ("1-" + "9" * 5000, Which(words="1-" + "9" * 5000)),
        ):  # fmt: skip
            self.assertEqual(which, read_which(typed, there, 5), typed)
        self.assertEqual("There is no mail.", read_which("1", ()).trouble)
        self.assertEqual("There is no mail 2; there is 1 alone.", read_which("2", (1,)).trouble)
        self.assertEqual(Which(), read_which("", there))

    def test_pages_begin_with_the_newest(self) -> None:
        there = tuple(range(1, 46))
        self.assertEqual(Page(there[25:], 0, True), page_of(there, 0))
        self.assertEqual(Page(there[5:25], 1, True), page_of(there, 1))
        self.assertEqual(Page(there[:5], 2, False), page_of(there, 2))
        self.assertEqual(2, page_of(there, 9).at)
        self.assertEqual(Page((), 0, False), page_of((), 3))
        self.assertEqual(Page(there[:20], 0, False), page_of(there[:20], 0))

    def test_yes_and_no(self) -> None:
        self.assertEqual((True, False, None), (read_yes("Y", False), read_yes("no", True),
                                               read_yes("x", True)))  # fmt: skip
        self.assertTrue(read_yes(" ", True))


class Typist(Face):
    """Types what it is given, and keeps what was said."""

    def __init__(self, *typed: str | type[BaseException]) -> None:
        self.typed, self.shown = list(typed), list[str]()
        super().__init__(self._read, self.shown.append)

    def _read(self, question: str) -> str:
        self.shown.append(question)
        if not self.typed:
            raise AssertionError(f"nobody answers {question!r}: {self.shown[-8:]}")
        said = self.typed.pop(0)
        if isinstance(said, str):
            return said
        raise said

    @property
    def text(self) -> str:
        return "\n".join(self.shown)


class Faces(SynchronousTestCase):
    def test_a_question_has_a_default_help_and_ways_out(self) -> None:
        face = Typist("?", " said ", "", C, D)
        self.assertEqual("said", face.ask("To", "bob", "An address."))
        self.assertIn("An address. Ctrl-C goes back a level, Ctrl-D leaves.", face.shown)
        self.assertEqual("bob", face.ask("To", "bob"))
        self.assertIn("To [bob]: ", face.shown)
        self.assertRaises(Back, face.ask, "To")
        self.assertRaises(Leave, face.ask, "To")

    def test_yes_or_no_is_asked_until_it_is_one(self) -> None:
        face = Typist("perhaps", "n", "")
        self.assertFalse(face.ask_yes("Sure?", default=True))
        self.assertIn("'perhaps' is neither yes nor no.", face.shown)
        self.assertTrue(face.ask_yes("Sure?", default=True))

    def test_a_menu_is_shown_again_after_help_and_mistakes(self) -> None:
        face = Typist("?", "help", "x", "2")
        self.assertEqual(Deed.MANAGE, face.choose(MAIN).deed)
        self.assertEqual(3, face.shown.count(MAIN.line))
        self.assertEqual(2, face.text.count("write a mail and send it"))
        self.assertRaises(Leave, Typist("quit").choose, MAIN)

    def test_what_is_no_text_is_asked_for_again(self) -> None:
        broken = UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "no")
        face = Typist(broken, "caf\udce9", "café")
        self.assertEqual("café", face.ask("Subject"))
        self.assertEqual(2, face.shown.count("That line is no text in UTF-8: type it once more."))
        face = Typist("a", broken, "caf\udce9", "b", ".")
        self.assertEqual("a\nb\n", face.ask_text())
        self.assertEqual(2, face.text.count("type it once more. The lines before it stand."))

    def test_a_text_ends_with_a_full_stop_or_ctrl_d(self) -> None:
        self.assertEqual("a\n..\n", Typist("a", "..", ".", "rest").ask_text())
        self.assertEqual("a\n", Typist("a", D).ask_text())
        self.assertEqual("a\n", self.assertRaises(Interrupted, Typist("a", C).ask_text).text)


class Shells(SynchronousTestCase):
    """Flows with a place that gives neither mailbox nor server but what a test says."""

    def setUp(self) -> None:
        self.addCleanup(os.chdir, Path.cwd())
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)
        self.answers: list[Any] = []
        self.sent: list[Any] = []
        self.place: Any = SimpleNamespace(
            profile=Profile(name="Me"), user="", address="", user_was_said=False,
            likely_address=lambda: "me@x.test", maildrop=self.maildrop, forget=lambda: None,
            is_captured=lambda recipient: recipient == "eve@away.test",
            require_running=lambda: None,
        )  # fmt: skip

    def maildrop(self) -> object:
        raise Unreachable("nobody is there")

    def hand_over(self, place: object, letter: Any) -> list[tuple[str, Answer]]:
        self.sent.append(letter)
        found = self.answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        return [(each, found.get(each, Answer(250, "2.0.0", "Ok", "dot")))
                for each in letter.recipients]  # fmt: skip

    def run_shell(self, *typed: str | type[BaseException]) -> str:
        face = Typist(*typed)
        with patch("mailnode.cli.shell_writing.hand_over", self.hand_over):
            Shell(self.place, face).run()
        self.assertEqual([], face.typed)
        return face.text

    MAIL = ("write", "", "bob@x.test, Al <al@x.test>", "", "hello", "", "text", ".")

    def test_a_mail_is_sent_and_said_to_be(self) -> None:
        self.answers = [{}]
        text = self.run_shell(*self.MAIL, "3")
        self.assertIn("sent to bob@x.test: 250 Ok\nsent to al@x.test: 250 Ok\nSent (", text)
        (letter,) = self.sent
        raw = letter.open().read()
        self.assertIn(b"From: Me <me@x.test>\r\n", raw)
        self.assertIn(b"To: bob@x.test, Al <al@x.test>\r\n", raw)

    def test_what_the_node_keeps_by_its_gear_is_told(self) -> None:
        self.answers = [{}]
        text = self.run_shell("write", "", "eve@away.test", "", "hello", "", "text", ".", "3")
        self.assertIn("sent to eve@away.test: 250 Ok\n", text)
        self.assertIn("eve@away.test", text.partition("250 Ok\n")[2])

    def test_the_next_mail_has_the_same_people_as_defaults(self) -> None:
        self.answers = [{}, {}]
        text = self.run_shell(*self.MAIL, "1", "", "", "", "", "", ".", D)
        self.assertIn("To [bob@x.test, Al <al@x.test>]: ", text)
        self.assertEqual(self.sent[0].recipients, self.sent[1].recipients)

    def test_only_who_has_not_got_it_is_tried_again_with_the_same_mail(self) -> None:
        later = Answer(450, "4.2.0", "busy", "RCPT")
        self.answers = [{"al@x.test": later}, Unreachable("gone"), {}]
        text = self.run_shell(*self.MAIL, "again", "1", D)
        self.assertIn("not taken now for al@x.test: 450 4.2.0 busy", text)
        self.assertIn("It was not sent: gone", text)
        self.assertEqual([("bob@x.test", "al@x.test"), ("al@x.test",), ("al@x.test",)],
                         [each.recipients for each in self.sent])  # fmt: skip
        self.assertEqual(1, len({each.open().read() for each in self.sent}))

    def test_what_was_not_sent_is_kept_unless_it_is_thrown_away(self) -> None:
        for typed, kept in ((("",), 1), (("keep",), 2), ((C,), 3), (("drop",), 3), ((D,), 4)):
            self.answers = [Unreachable("gone")]
            end = () if typed == (D,) else (D,)
            self.run_shell(*self.MAIL, *typed, *end)
            self.assertEqual(kept, len(list(Path().glob("hello*.eml"))), typed)

    def test_who_was_refused_is_named_anew_and_the_text_is_kept(self) -> None:
        refused = Answer(550, "5.1.1", "no such user", "RCPT")
        self.answers = [{"al@x.test": refused}, {}]
        text = self.run_shell(*self.MAIL, "change", "alan@x.test, bob@x.test", D)
        self.assertIn("To whom instead [al@x.test]: ", text)
        self.assertEqual(("alan@x.test",), self.sent[1].recipients)
        raw = self.sent[1].open().read()
        self.assertIn(b"To: bob@x.test, alan@x.test\r\n", raw)
        self.assertIn(b"text", raw)
        self.answers = [{"al@x.test": refused}]
        text = self.run_shell(*self.MAIL, "change", C, "2", "bob@x.test", "keep", D)
        self.assertIn("nobody who has not got it already", text)

    def test_a_text_that_ctrl_c_breaks_off_is_kept(self) -> None:
        text = self.run_shell(*self.MAIL[:-2], "all that I said", C, D)
        self.assertIn("Kept as hello.eml.", text)
        self.assertIn("all that I said", Path("hello.eml").read_text())
        self.run_shell(*self.MAIL[:-2], C, D)
        self.assertEqual(1, len(list(Path().glob("*.eml"))))

    def test_a_mail_whose_file_is_gone_by_now_is_kept_without_it(self) -> None:
        Path("plan").write_text("x")
        typist = Typist(*self.MAIL[:5], "plan", "text", ".", D)
        read = typist.read

        def and_remove(question: str) -> str:
            said = read(question)
            if said == "text":
                Path("plan").unlink()
            return said

        typist.read = and_remove
        Shell(self.place, typist).run()
        self.assertIn("It can't be sent so: plan: No such file", typist.text)
        self.assertIn("Kept as hello.eml.", typist.text)

    def test_a_stopped_node_is_told_before_the_first_question(self) -> None:
        def stopped() -> None:
            raise Mistake("the node in this folder does not run")

        self.place.require_running = stopped
        text = self.run_shell("1", C, D)
        self.assertLess(text.index("It can't be sent now: the node"), text.index("From ["))

    def test_a_subject_that_is_too_long_is_asked_about(self) -> None:
        self.answers = [{}]
        long = "s" * 151
        text = self.run_shell("1", "", "", "", long, "", long, "yes", "", ".", D)
        self.assertEqual(2, text.count("subject: 151 characters: many programs show 150"))
        self.assertIn(b"s" * 60, self.sent[0].open().read())

    def test_a_mailbox_that_cannot_be_had_leads_back(self) -> None:
        text = self.run_shell("2", "", "3")
        self.assertIn("Your address [me@x.test]: ", text)
        self.assertIn("That did not work: nobody is there", text)
        forgotten: list[bool] = []
        self.place.forget = lambda: forgotten.append(True)

        def refuse() -> object:
            raise SignInRefused("me is not let in")

        self.place.maildrop = refuse
        self.assertIn("me is not let in", self.run_shell("2", "other@x.test", "3"))
        self.assertTrue(forgotten)

    def test_a_folder_of_nobody_is_asked_for_again(self) -> None:
        self.answers = [{}]
        name = "~nosuchuser-of-this-machine"
        mail = ("1", "", "", "", "hello", f"{name}/x", "", "text", ".", D)
        text = self.run_shell(*mail)
        self.assertIn(f"That is not right: {name}/x: nobody knows that user's folder", text)
        self.assertIn("Sent (", text)
        self.place.maildrop = lambda: Session(Box(["a"]), ["a"])
        text = self.run_shell("2", "", "save 1", name, C, D)
        self.assertIn(f"That is not right: {name}: nobody knows that user's folder", text)
        self.assertIn("In which folder [mails]: ", text[text.index("That is not right") :])

    def test_a_question_says_what_becomes_of_the_mails(self) -> None:
        self.place.maildrop = lambda: Session(Box(["a"]), ["a"])
        text = self.run_shell("2", "", "5", C, "4", C, "3", C, C, D)
        for words in (
            "Delete which mails [1]: ",
            "Save which mails [1]: ",
            "Read which mail [1]: ",
        ):
            self.assertIn(words, text)

    def test_a_fault_of_ours_lets_nobody_believe_that_mails_are_deleted(self) -> None:
        box = Box(["a", "b"])
        self.place.maildrop = lambda: box.open()
        face = Typist("2", "", "delete 1", ZeroDivisionError())
        shell = Shell(self.place, face)
        self.assertRaises(ZeroDivisionError, shell.run)
        self.assertEqual("Nothing was deleted; what you had marked stays: 1 mail.", face.shown[-1])
        self.assertEqual(["a", "b"], box.mails)

    def test_ctrl_c_goes_back_and_ctrl_d_leaves_from_anywhere(self) -> None:
        text = self.run_shell("1", "", C, "2", C, C, D)
        self.assertIn("Nothing was sent.", text)
        self.assertIn("To leave: 3, or Ctrl-D.", text)
        self.assertTrue(self.run_shell("1", D).endswith("Goodbye."))
