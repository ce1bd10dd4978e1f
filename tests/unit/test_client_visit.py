"""A visit to a mailbox over sessions that break off: what is deleted, and what is not."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from mailnode.client.maildrop import Maildrop
from mailnode.client.trouble import Denied, InUse, SignInRefused, Unreachable
from mailnode.client.visit import Ended, Visit
from tests.unit.client_case import ScriptedConnection


@define(eq=False)
class Box:
    """A mailbox on a server that breaks off where it is told to.

    Attributes:
        mails: UIDLs.
        breaks: verbs at which a session ends; each counts once.
        leaves_out: the number of a mail that the list of UIDLs lacks.
        marks_numbers: whether a deletion is of one mail, where several have its UIDL.
        applies: whether a QUIT that breaks off has deleted.
        refuses: verbs that are answered with -ERR, and the words; each counts once.
        in_use: so often a sign-in finds another session.
    """

    mails: list[str]
    breaks: list[str] = field(factory=list)
    applies: bool = False
    refuses: dict[str, str] = field(factory=dict)
    in_use: int = 0
    has_uidl: bool = True
    leaves_out: int = 0
    marks_numbers: bool = False
    sessions: int = 0
    down: bool = False

    def open(self) -> Session:
        if self.down:
            raise Unreachable("nobody is there")
        if self.in_use:
            self.in_use -= 1
            raise InUse("another session")
        self.sessions += 1
        return Session(self, list(self.mails))


@define(eq=False)
class Session:
    box: Box
    there: list[str]
    marked: set[str] = field(factory=set)
    numbers: set[int] = field(factory=set)
    over: bool = False

    def _hear(self, verb: str) -> None:
        if self.over or self.box.down:
            raise Unreachable("it is over")
        if verb in self.box.breaks:
            self.box.breaks.remove(verb)
            self.over = True
            raise Unreachable("broken off.")
        if verb in self.box.refuses:
            raise Denied(self.box.refuses.pop(verb))

    def sizes(self) -> dict[int, int]:
        self._hear("LIST")
        return {at: 100 for at, _ in enumerate(self.there, 1)}

    def unique_ids(self) -> dict[int, str]:
        if not self.box.has_uidl:
            raise Denied("no UIDL")
        found = dict(enumerate(self.there, 1))
        found.pop(self.box.leaves_out, None)
        return found

    def heads(self, numbers: Iterable[int]) -> Iterable[tuple[int, bytes]]:
        return [(number, b"Subject: " + self.there[number - 1].encode()) for number in numbers]

    def read(self, number: int) -> str:
        self._hear("RETR")
        return self.there[number - 1]

    def keep_alive(self) -> None:
        self._hear("NOOP")

    def delete(self, numbers: Iterable[int]) -> list[tuple[int, Denied]]:
        refused = []
        for number in numbers:
            try:
                self._hear("DELE")
                self.marked.add(self.there[number - 1])
                self.numbers.add(number)
            except Denied as refusal:
                refused.append((number, refusal))
        return refused

    def quit(self) -> None:
        try:
            self._hear("QUIT")
        except Unreachable:
            if self.box.applies:
                self._apply()
            raise
        self._apply()
        self.over = True

    def _apply(self) -> None:
        if self.box.marks_numbers:
            numbered = enumerate(self.there, 1)
            self.box.mails = [each for number, each in numbered if number not in self.numbers]
            return
        self.box.mails = [each for each in self.box.mails if each not in self.marked]

    def leave(self) -> None:
        self.over = True


class SignIn(SynchronousTestCase):
    def test_a_mailbox_in_use_is_told_from_a_wrong_password(self) -> None:
        for words, kind in ((b"[IN-USE] busy", InUse), (b"[AUTH] no", SignInRefused)):
            connection = ScriptedConnection(
                b"+OK\r\n", [b"-ERR\r\n", b"+OK\r\n", b"-ERR " + words + b"\r\n"]
            )
            error = self.assertRaises(kind, Maildrop.open, connection, "bob", "pw")
            self.assertIn(words.decode(), str(error))


class Visits(SynchronousTestCase):
    def visit(self, *mails: str, **facts: object) -> Visit:
        self.box = Box(list(mails) or ["a", "b", "c"], **facts)  # type: ignore[arg-type]
        self.told: list[str] = []
        self.pauses: list[float] = []
        visit = Visit(self.box.open, self.told.append, self.pauses.append)  # type: ignore[arg-type]
        visit.begin()
        return visit

    def read(self, visit: Visit, number: int) -> str:
        return str(visit.work([number], lambda session, found: session.read(found[0])))  # type: ignore[attr-defined]

    def test_what_is_marked_goes_at_the_end_and_not_before(self) -> None:
        visit = self.visit()
        self.assertEqual([1, 3], visit.mark([1, 3]))
        self.assertEqual([], visit.mark([3]))
        self.assertEqual(["a", "b", "c"], self.box.mails)
        self.assertEqual(Ended(2), visit.end())
        self.assertEqual(["b"], self.box.mails)

    def test_who_leaves_deletes_nothing(self) -> None:
        visit = self.visit()
        visit.mark([1])
        visit.leave()
        self.assertEqual(["a", "b", "c"], self.box.mails)

    def test_deletions_are_taken_back_by_turns_or_by_number(self) -> None:
        visit = self.visit("a", "b", "c", "d")
        visit.mark([1, 2])
        visit.mark([3])
        self.assertEqual([3], visit.unmark())
        self.assertEqual([1, 2], visit.marked)
        self.assertEqual([2], visit.unmark([2, 4]))
        self.assertEqual([1], visit.unmark())
        self.assertEqual(([], []), (visit.unmark(), visit.marked))
        self.assertEqual(Ended(), visit.end())
        self.assertEqual(4, len(self.box.mails))

    def test_a_lost_session_is_followed_by_another_that_knows_what_was_marked(self) -> None:
        visit = self.visit(breaks=["RETR"])
        visit.mark([3])
        self.box.mails = ["b", "c", "d"]
        self.assertEqual("b", self.read(visit, 2))
        self.assertEqual(
            ["The connection was lost (broken off). It is there again; nothing was deleted.",
             "Still to be deleted when you leave: 1 mail (number 2).",
             "The numbers of the mails have changed: list them again."],
            self.told,
        )  # fmt: skip
        self.assertEqual([2], visit.marked)
        visit.end()
        self.assertEqual(["b", "d"], self.box.mails)

    def test_a_farewell_before_the_end_of_a_silent_session_is_no_refusal(self) -> None:
        visit = self.visit(refuses={"RETR": "Disconnected for inactivity"}, breaks=["NOOP"])
        self.assertEqual("a", self.read(visit, 1))
        self.assertIn("Disconnected for inactivity", self.told[0])

    def test_a_refusal_is_one(self) -> None:
        visit = self.visit(refuses={"RETR": "no"})
        self.assertRaisesRegex(Denied, "no", self.read, visit, 1)
        self.assertEqual(("a", 1), (self.read(visit, 1), self.box.sessions))

    def test_a_mail_that_is_gone_is_not_mistaken_for_another(self) -> None:
        visit = self.visit(breaks=["RETR"])
        visit.mark([1])
        self.box.mails = ["b", "c"]
        self.assertRaisesRegex(Denied, "nobody can tell which", self.read, visit, 1)
        self.assertIn("No longer to be deleted: 1", self.told[1])
        self.assertEqual(([], Ended()), (visit.marked, visit.end()))

    def test_without_uidl_nothing_that_might_be_another_mail_is_deleted(self) -> None:
        visit = self.visit(breaks=["RETR"], has_uidl=False)
        visit.mark([2])
        self.assertRaises(Denied, self.read, visit, 2)
        self.assertEqual(Ended(), visit.end())
        self.assertEqual(3, len(self.box.mails))
        self.assertEqual(Ended(1), self.ended(has_uidl=False), "in one session it does")

    def test_a_uidl_that_several_mails_have_names_none_of_them(self) -> None:
        for uidls in (["h", "h", "c"], ["", "", ""], ["a b", "\x1b", "1 1"], ["", "h", "h"]):
            visit = self.visit(*uidls, marks_numbers=True)
            self.assertEqual(([1], [1]), (visit.mark([1]), visit.marked))
            numbers: list[int] = []
            visit.work([1, 2, 3], lambda _, found, numbers=numbers: numbers.extend(found))  # type: ignore[misc]
            self.assertEqual([1, 2, 3], numbers)
            self.assertEqual(Ended(1), visit.end())
            self.assertEqual(uidls[1:], self.box.mails)

    def test_nor_is_it_known_again_in_the_next_session(self) -> None:
        for before, after in ((["h", "h", "c"], ["h", "c"]), (["h", "c"], ["h", "h", "c"])):
            visit = self.visit(*before, marks_numbers=True, breaks=["RETR"])
            visit.mark([1])
            self.box.mails = list(after)
            self.assertEqual("c", self.read(visit, len(before)))
            self.assertEqual(([], Ended()), (visit.marked, visit.end()))
            self.assertEqual(after, self.box.mails)
            self.assertIn("No longer to be deleted: 1", self.told[1])

    def test_a_mail_without_a_uidl_is_not_the_one_that_has_its_number_later(self) -> None:
        visit = self.visit(breaks=["RETR"], leaves_out=2)
        visit.mark([2])
        self.assertEqual("a", self.read(visit, 1))
        self.assertEqual(([], Ended()), (visit.marked, visit.end()))

    def test_what_nobody_can_tell_at_the_end_is_not_said_to_be_deleted(self) -> None:
        for facts, kept in (
            ({"breaks": ["DELE"]}, 1),
            ({"breaks": ["QUIT"], "applies": True}, 1),
            ({"breaks": ["QUIT"]}, 1),
            ({"breaks": ["DELE", "DELE"]}, 1),
        ):  # fmt: skip
            ended = self.ended(has_uidl=False, **facts)
            self.assertEqual((0, kept), (ended.deleted, ended.kept), facts)
            self.assertIn("can't tell them from others", ended.why)
        visit = self.visit("a", "h", "h", marks_numbers=True, breaks=["DELE"])
        visit.mark([1, 2])
        ended = visit.end()
        self.assertEqual((1, 1, ["h", "h"]), (ended.deleted, ended.kept, self.box.mails))

    def test_new_mail_is_counted_without_uidl_too(self) -> None:
        for mails in (["a", "h", "h"], ["", "", ""], ["a", "b", "c"]):
            visit = self.visit(*mails)
            self.box.mails += ["d", ""]
            self.assertEqual(2, visit.refresh(), mails)
            self.assertEqual(0, visit.refresh(), mails)

    def ended(self, **facts: object) -> Ended:
        visit = self.visit(**facts)
        visit.mark([1])
        return visit.end()

    def test_a_session_that_the_server_has_not_given_up_yet_is_waited_for(self) -> None:
        visit = self.visit(breaks=["RETR"])
        self.box.in_use = 3
        self.assertEqual("a", self.read(visit, 1))
        self.assertEqual([1.0] * 3, self.pauses)
        self.box.in_use = 99
        self.box.breaks.append("RETR")
        self.assertRaises(InUse, self.read, visit, 1)
        self.assertLess(len(self.pauses), 20)

    def test_deletions_are_said_again_where_a_session_breaks_off_amid_them(self) -> None:
        for breaks, applies in ((["DELE"], False), (["QUIT"], False), (["QUIT"], True)):
            self.assertEqual(Ended(1), self.ended(breaks=list(breaks), applies=applies), breaks)
            self.assertEqual(["b", "c"], self.box.mails)

    def test_a_server_that_breaks_off_each_time_leaves_no_doubt(self) -> None:
        ended = self.ended(breaks=["DELE", "DELE"])
        self.assertEqual((0, 1), (ended.deleted, ended.kept))
        ended = self.ended(breaks=["QUIT", "QUIT"], applies=False)
        self.assertEqual((0, 1), (ended.deleted, ended.kept))

    def test_what_the_server_refuses_to_delete_is_told(self) -> None:
        self.assertEqual(Ended(0, 1, "locked"), self.ended(refuses={"DELE": "locked"}))
        ended = self.ended(refuses={"QUIT": "some remain"})
        self.assertEqual((1, True), (ended.kept, "some remain" in ended.why))

    def test_a_server_that_is_gone_at_the_end_has_deleted_nothing(self) -> None:
        visit = self.visit()
        visit.mark([1])
        self.box.down = True
        self.assertRaises(Unreachable, visit.end)
        self.assertEqual(3, len(self.box.mails))

    def test_new_mail_is_counted_and_marks_stay(self) -> None:
        visit = self.visit()
        visit.mark([1])
        self.box.mails += ["d", "e"]
        self.assertEqual(2, visit.refresh())
        self.assertEqual(([1], [1, 2, 3, 4, 5]), (visit.marked, visit.numbers))
        self.box.breaks.append("QUIT")
        self.assertEqual(0, visit.refresh())

    def test_what_was_stopped_in_the_middle_of_a_reply_is_asked_in_a_new_session(self) -> None:
        visit = self.visit()

        def stopped(session: object, numbers: list[int]) -> None:
            raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, visit.work, [1], stopped)
        self.assertEqual(("a", 2), (self.read(visit, 1), self.box.sessions))
