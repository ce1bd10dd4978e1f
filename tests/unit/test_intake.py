"""`mailnode.intake`: the filters judge side by side, and what they let through is filed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from mailnode.addresses import parse_address
from mailnode.errors import FilterFailed, StoreBusy, TooLarge
from mailnode.intake import FILTER_S, Intake, RefusedByFilter
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.model import (
    ACCEPT,
    SUBJECT_TAGGED,
    Envelope,
    Judgement,
    Message,
    Recipient,
    Remote,
    Verdict,
)
from tests.fakes import FakeMessages

ALICE = parse_address("alice@example.test")
ENVELOPE = Envelope("ID", None, (Recipient(ALICE, 1, "alice@example.test"),))
MESSAGE = Message(b"Received: x\r\n", b"\r\n", 2, b"")


class FakeFilter:
    def __init__(self, answer: Any = None, name: str = "fake") -> None:
        self.name, self.answer = name, answer
        self.asked: list[tuple[Envelope, Message]] = []

    def judge(self, envelope: Envelope, message: Message) -> Any:
        self.asked.append((envelope, message))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


class SuccessReportTests(SynchronousTestCase):
    """NOTIFY=SUCCESS: the mail is filed before its report is."""

    def accept(self, report: Any) -> Any:
        self.messages = FakeMessages()
        asked = evolve(ENVELOPE, recipients=(evolve(ENVELOPE.recipients[0], notify="SUCCESS"),))
        intake = Intake(self.messages, (), report)  # type: ignore[arg-type]
        return self.successResultOf(intake.accept(asked, MESSAGE))

    def check_accepted(self, report: Any, error: type[Exception]) -> None:
        (filed,) = self.accept(report)
        self.assertEqual("a@example.test", filed.mailbox)
        self.assertEqual(1, len(self.messages.filed))
        self.assertEqual(1, len(self.flushLoggedErrors(error)))

    def test_a_report_that_can_t_be_filed_refuses_no_mail_that_is(self) -> None:
        def begin_to_fail(*_: Any) -> Any:
            self.messages.failure = StoreBusy()
            return ENVELOPE, MESSAGE

        self.check_accepted(begin_to_fail, StoreBusy)

    def test_nor_does_one_that_can_t_be_made(self) -> None:
        def broken(*_: Any) -> Any:
            raise ValueError

        self.check_accepted(broken, ValueError)


class IntakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.messages = FakeMessages()

    def accept(self, *answers: Any) -> Deferred[Any]:
        self.filters = [FakeFilter(answer, f"filter{n}") for n, answer in enumerate(answers)]
        self.intake = Intake(self.messages, self.filters)  # type: ignore[arg-type]
        return self.intake.accept(ENVELOPE, MESSAGE)

    def refused(self, kind: type[Exception], *answers: Any) -> Any:
        failure = self.failureResultOf(self.accept(*answers), kind)
        self.assertEqual([], self.messages.filed)
        return failure.value

    def filed(self) -> Message:
        ((envelope, message),) = self.messages.filed
        self.assertIs(ENVELOPE, envelope)
        return message

    def test_without_filters_a_mail_is_filed_as_it_is(self) -> None:
        (filed,) = self.successResultOf(self.accept())
        self.assertEqual("a@example.test", filed.mailbox)
        self.assertIs(MESSAGE, self.filed())

    def test_a_filter_that_has_nothing_to_say_lets_it_through(self) -> None:
        for answer in (None, ACCEPT, lambda: succeed(None), lambda: succeed(ACCEPT)):
            self.messages.filed.clear()
            self.successResultOf(self.accept(answer))
            self.assertIs(MESSAGE, self.filed())
            self.assertEqual([(ENVELOPE, MESSAGE)], self.filters[0].asked)

    def test_a_filter_that_never_ends_is_given_up_before_the_client_is(self) -> None:
        clock, judging = Clock(), Deferred[Verdict]()
        hanging = FakeFilter(lambda: judging)
        intake = Intake(self.messages, [hanging], clock=clock)  # type: ignore[arg-type]
        done = intake.accept(ENVELOPE, MESSAGE)
        clock.advance(FILTER_S - 1)
        self.assertNoResult(done)
        clock.advance(1)
        self.failureResultOf(done, FilterFailed)
        self.assertEqual(1, len(self.flushLoggedErrors(TimeoutError)))
        self.assertEqual([], self.messages.filed)

    def test_headers_stand_in_front_in_the_order_of_the_filters(self) -> None:
        first: Deferred[Verdict] = Deferred()
        done = self.accept(lambda: first, Verdict(headers=b"B: 2\r\n"), Verdict(), None)
        self.assertNoResult(done)
        first.callback(Verdict(headers=b"A: 1\r\n folded\r\n"))
        self.successResultOf(done)
        self.assertEqual(b"Received: x\r\nA: 1\r\n folded\r\nB: 2\r\n", self.filed().prefix)

    def test_what_one_finds_unwanted_goes_to_junk_and_says_why(self) -> None:
        found = Verdict(unwanted=True, reasons=("the word\r\nviagra",) + ("x" * 900,) * 20)
        self.successResultOf(self.accept(Verdict(facts={"spf": "fail\r\n x"}), None, found))
        ((envelope, message),) = self.messages.filed
        self.assertEqual(["Junk"], [to.folder for to in envelope.recipients])
        spf, words = message.judgements
        self.assertEqual(Judgement("filter0", facts={"spf": "fail x"}), spf)
        self.assertEqual(
            ("filter2", True, "the word viagra"), (words.by, words.unwanted, words.reasons[0])
        )
        self.assertEqual((10, 200), (len(words.reasons), len(words.reasons[1])))

    def test_what_is_said_of_one_copy_is_for_that_copy_and_its_owner(self) -> None:
        bob = Recipient(parse_address("bob@example.test"), 2, "bob@example.test")
        envelope = evolve(ENVELOPE, recipients=(*ENVELOPE.recipients, bob))
        for unwanted in (True, False):
            copy = Verdict(unwanted=not unwanted, reasons=("the word\r\nx",))
            found = Verdict(unwanted=unwanted, facts={"model": "node"}, of_copies={2: copy})
            self.messages.filed.clear()
            intake = Intake(self.messages, [FakeFilter(found)])  # type: ignore[arg-type]
            self.successResultOf(intake.accept(envelope, MESSAGE))
            ((filed, _message),) = self.messages.filed
            folders = ["Junk", "INBOX"] if unwanted else ["INBOX", "Junk"]
            self.assertEqual(folders, [to.folder for to in filed.recipients])
            self.assertEqual((), filed.recipients[0].judgements)
            (own,) = filed.recipients[1].judgements
            self.assertEqual(("fake", ("the word x",)), (own.by, own.reasons))

    def test_what_another_filter_finds_unwanted_is_so_for_every_copy(self) -> None:
        copy = Verdict(of_copies={1: Verdict(facts={"verdict": "wanted"})})
        self.successResultOf(self.accept(copy, Verdict(unwanted=True)))
        ((envelope, _message),) = self.messages.filed
        self.assertEqual(["Junk"], [to.folder for to in envelope.recipients])

    def unwanted(self, *more: Any, junk: str = "INBOX", **verdict: Any) -> tuple[Any, Message]:
        """What is filed of an unwanted mail to one who reads by POP3, and to others."""
        pop3 = evolve(ENVELOPE.recipients[0], junk=junk)
        envelope = evolve(ENVELOPE, recipients=(pop3, *more))
        found = FakeFilter(Verdict(unwanted=True, **verdict))
        intake = Intake(self.messages, [found])  # type: ignore[arg-type]
        self.successResultOf(intake.accept(envelope, MESSAGE))
        ((filed, message),) = self.messages.filed
        return [to.folder for to in filed.recipients], message

    def test_who_wants_it_in_the_inbox_finds_it_there_and_marked(self) -> None:
        bob = Recipient(parse_address("bob@example.test"), 2, "bob@example.test")
        folders, message = self.unwanted(bob)
        self.assertEqual(["INBOX", "Junk"], folders)
        self.assertEqual(b"Received: x\r\nX-Spam-Flag: YES\r\n", message.prefix)

    def test_in_junk_it_has_no_mark_and_one_that_has_it_gets_no_other(self) -> None:
        folders, message = self.unwanted(junk="Junk")
        self.assertEqual((["Junk"], b"Received: x\r\n"), (folders, message.prefix))
        self.messages.filed.clear()
        _folders, message = self.unwanted(headers=b"X-Spam-Flag: YES\r\n")
        self.assertEqual(b"Received: x\r\nX-Spam-Flag: YES\r\n", message.prefix)

    def test_who_wants_it_tagged_has_it_so_whoever_else_gets_it(self) -> None:
        pop3 = evolve(ENVELOPE.recipients[0], junk="INBOX", tagged=True)
        bob = Recipient(parse_address("bob@example.test"), 2, "bob@example.test", junk="INBOX")
        carol = evolve(bob, account_id=3, tagged=True)
        found = FakeFilter(Verdict(unwanted=True, of_copies={3: Verdict()}))
        intake = Intake(self.messages, [found])  # type: ignore[arg-type]
        envelope = evolve(ENVELOPE, recipients=(pop3, bob, carol))
        self.successResultOf(intake.accept(envelope, evolve(MESSAGE, taggable=SUBJECT_TAGGED)))
        ((filed, _message),) = self.messages.filed
        self.assertEqual([SUBJECT_TAGGED, 0, 0], [to.flags for to in filed.recipients])

    def test_what_one_here_alone_finds_unwanted_leaves_without_a_mark(self) -> None:
        pop3 = evolve(ENVELOPE.recipients[0], junk="INBOX")
        for unwanted in (False, True):
            self.messages.filed.clear()
            envelope = evolve(ENVELOPE, recipients=(pop3,), remotes=(Remote(ALICE),))
            found = Verdict(unwanted=unwanted, of_copies={1: Verdict(unwanted=True)})
            intake = Intake(self.messages, [FakeFilter(found)])  # type: ignore[arg-type]
            self.successResultOf(intake.accept(envelope, MESSAGE))
            self.assertEqual(unwanted, b"X-Spam" in self.messages.filed[0][1].prefix)

    def test_a_mail_that_somebody_wants_has_no_mark(self) -> None:
        bob = Recipient(parse_address("bob@example.test"), 2, "bob@example.test")
        folders, message = self.unwanted(bob, of_copies={2: Verdict()})
        self.assertEqual((["INBOX", "INBOX"], b"Received: x\r\n"), (folders, message.prefix))

    def test_what_somebody_wants_lies_in_his_inbox_whatever_others_find(self) -> None:
        allowed = Verdict(of_copies={1: Verdict(wanted=True, reasons=("alice allows it",))})
        self.successResultOf(self.accept(Verdict(unwanted=True), allowed))
        ((envelope, _message),) = self.messages.filed
        (to,) = envelope.recipients
        self.assertEqual(("INBOX", True), (to.folder, to.judgements[0].wanted))

    def test_late_ones_see_what_the_others_found(self) -> None:
        intake = Intake(self.messages, [])  # type: ignore[arg-type]
        late, early = (
            FakeFilter(None, "late"),
            FakeFilter(Verdict(facts={"spf": "fail"}, headers=b"A: 1\r\n"), "early"),
        )
        directlyProvides(late, ILateFilter)
        intake.filters = [late, early]
        self.successResultOf(intake.accept(ENVELOPE, MESSAGE))
        ((_envelope, seen),) = late.asked
        self.assertEqual((Judgement("early", facts={"spf": "fail"}),), seen.judgements)
        self.assertEqual(b"Received: x\r\nA: 1\r\n", seen.prefix)
        self.assertEqual([(ENVELOPE, MESSAGE)], early.asked)
        self.assertEqual(["INBOX"], [to.folder for to in self.messages.filed[0][0].recipients])

    def test_what_each_said_is_counted_whoever_answers(self) -> None:
        broken, refuse, unwanted = KeyError(), Verdict("refuse"), Verdict(unwanted=True)
        self.refused(RefusedByFilter, None, unwanted, refuse, Verdict("defer"), broken, TooLarge())
        self.flushLoggedErrors(KeyError)
        said = ["accepted", "unwanted", "refused", "deferred", "deferred", "refused"]
        told = {(f"filter{at}", each): 1 for at, each in enumerate(said)}
        self.assertEqual(told, self.intake.judged)

    def test_whose_business_a_mail_is_not_is_not_counted(self) -> None:
        other, asked = FakeFilter(ACCEPT, "other"), FakeFilter(ACCEPT, "asked")
        for each, wanted in ((other, False), (asked, True)):
            each.wants = lambda envelope, wanted=wanted: wanted  # type: ignore[attr-defined]
            directlyProvides(each, ISomeMailFilter)
        intake = Intake(self.messages, [other, asked])  # type: ignore[arg-type]
        self.successResultOf(intake.accept(ENVELOPE, MESSAGE))
        self.assertEqual({("asked", "accepted"): 1}, intake.judged)
        self.assertEqual(([], [(ENVELOPE, MESSAGE)]), (other.asked, asked.asked))

    def test_a_refusal_is_for_good_and_says_why(self) -> None:
        error = self.refused(RefusedByFilter, Verdict("refuse", "No lunch is free"))
        self.assertEqual((550, "5.7.1"), (error.smtp_code, error.enhanced))
        self.assertEqual(("No lunch is free", "by filter filter0"), (error.text, error.detail))
        self.assertEqual("Message refused", self.refused(RefusedByFilter, Verdict("refuse")).text)

    def test_a_deferral_is_for_now(self) -> None:
        error = self.refused(FilterFailed, Verdict("defer", "Come back later"))
        self.assertEqual((451, "4.7.1"), (error.smtp_code, error.enhanced))
        self.assertEqual("Come back later", error.text)
        self.assertIn("could not be checked", self.refused(FilterFailed, Verdict("defer")).text)

    def test_a_reason_is_one_line_of_ascii_to_the_client(self) -> None:
        for action, kind in (("refuse", RefusedByFilter), ("defer", FilterFailed)):
            error = self.refused(kind, Verdict(action, "K\u00e4se\r\n250 2.0.0 taken\x00"))
            self.assertEqual("K?se 250 2.0.0 taken?", error.text)

    def test_a_filter_may_answer_as_a_mail_error_does(self) -> None:
        self.assertEqual(552, self.refused(TooLarge, TooLarge()).smtp_code)
        self.refused(TooLarge, lambda: fail(TooLarge()))

    def test_a_filter_that_breaks_is_for_now_and_its_traceback_is_logged(self) -> None:
        async def breaks() -> Verdict:
            raise KeyError("later")

        for answer in (KeyError("now"), lambda: fail(KeyError("soon")), breaks):
            error = self.refused(FilterFailed, answer)
            self.assertEqual(451, error.smtp_code)
            self.assertEqual("filter filter0 broke", error.detail)
            self.assertNotIn("filter0", error.text)
            self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_an_answer_that_is_no_verdict_lets_nothing_through(self) -> None:
        for answer in (True, False, "refuse", Verdict("reject"), Verdict("")):
            error = self.refused(FilterFailed, lambda answer=answer: succeed(answer))
            self.assertEqual("filter filter0 broke", error.detail)
            self.assertEqual(1, len(self.flushLoggedErrors()))

    def test_headers_that_would_break_the_mail_let_nothing_through(self) -> None:
        for headers in (
            b"X-Spam: no end", b"X: a\n", b"X: a\r\n\r\n", b"\r\n", b"X: a\rb\r\n", b"X: a\x00\r\n",
            b" folds into what stands before\r\n", b"no field\r\n", "X: text\r\n",
        ):  # fmt: skip
            error = self.refused(FilterFailed, Verdict(headers=headers))  # type: ignore[arg-type]
            self.assertEqual("filter filter0 broke", error.detail)
            self.assertEqual(1, len(self.flushLoggedErrors()), headers)

    def test_a_coroutine_is_waited_for(self) -> None:
        gate: Deferred[None] = Deferred()

        async def judge() -> Verdict:
            await gate
            return Verdict(headers=b"A: 1\r\n")

        done = self.accept(judge)
        self.assertNoResult(done)
        self.assertEqual([], self.messages.filed)
        gate.callback(None)
        self.successResultOf(done)
        self.assertTrue(self.filed().prefix.endswith(b"A: 1\r\n"))

    def test_all_are_asked_at_once_and_the_first_in_order_that_refuses_answers(self) -> None:
        gates: list[Deferred[Verdict]] = [Deferred() for _ in range(3)]
        asks: list[Callable[[], Any]] = [lambda gate=gate: gate for gate in gates]  # type: ignore[misc]
        done = self.accept(*asks)
        self.assertEqual([1, 1, 1], [len(each.asked) for each in self.filters])
        gates[2].callback(Verdict("defer", "third"))
        gates[1].callback(Verdict("refuse", "second"))
        self.assertNoResult(done)
        gates[0].callback(ACCEPT)
        self.assertEqual("second", self.failureResultOf(done, RefusedByFilter).value.text)
        self.assertEqual([], self.messages.filed)

    def test_a_store_that_fails_is_told_behind_filters_too(self) -> None:
        self.messages.failure = StoreBusy()
        self.failureResultOf(self.accept(ACCEPT), StoreBusy)
