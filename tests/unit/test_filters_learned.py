"""`mailnode.filters.learned`: the node's model judges for all, an account's for its owner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.addresses import parse_address
from mailnode.errors import StoreBroken
from mailnode.filters.learned import FEW_ACCOUNTS, MOST_OWN, SMALL_OCTETS, Learned
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.learning import judging
from mailnode.learning.facts import facts_of
from mailnode.learning.features import likeness_of
from mailnode.learning.judging import Band
from mailnode.learning.model import LEAST_OF_EACH, UNWANTED, WANTED, Model
from mailnode.learning.reasons import Reason
from mailnode.model import Blob, Envelope, Judgement, Message, Recipient, Verdict
from mailnode.threads import TooMuchWaiting
from tests.unit.learning_case import BAD, BITS, GOOD, mail, taught


class FakeShelf:
    def __init__(self, **models: Model) -> None:
        self.models = {int(name[1:]): model for name, model in models.items()}
        self.asked: list[int] = []
        self.are_at_hand = False

    def at_hand(self, account_ids: Iterable[int]) -> dict[int, Model | None] | None:
        return {each: self.model(each) for each in account_ids} if self.are_at_hand else None

    @property
    def is_empty(self) -> bool:
        return not self.models

    def model(self, account_id: int) -> Model | None:
        self.asked.append(account_id)
        return self.models.get(account_id)


def to(*account_ids: int) -> Envelope:
    here = [
        Recipient(parse_address(f"u{each}@example.test"), each, f"u{each}@example.test")
        for each in account_ids
    ]
    return Envelope("ID", None, tuple(here))


def message(words: list[str], *judgements: Judgement) -> Message:
    body = mail(" ".join(words))
    return Message(b"", body, len(body), b"", judgements=judgements)


def no_blob(key: str, head: bytes) -> Any:
    raise AssertionError("there is none")


class LearnedTests(SynchronousTestCase):
    def learned(self, shelf: FakeShelf, **more: Any) -> Learned:
        return Learned(shelf=shelf, **({"in_thread": execute, "open_octets": no_blob} | more))

    def judge(self, learned: Learned, envelope: Envelope, judged: Message) -> Verdict:
        found: Verdict = self.successResultOf(
            Deferred.fromCoroutine(learned.judge(envelope, judged))
        )
        return found

    def test_it_is_asked_behind_the_others(self) -> None:
        self.assertTrue(verifyObject(ILateFilter, self.learned(FakeShelf())))

    def test_without_a_model_or_a_recipient_here_it_wants_none(self) -> None:
        taught_one = self.learned(FakeShelf(_0=taught()))
        self.assertTrue(verifyObject(ISomeMailFilter, taught_one))
        self.assertTrue(taught_one.wants(to(1)))
        self.assertFalse(taught_one.wants(to()))
        self.assertFalse(self.learned(FakeShelf()).wants(to(1)))

    def test_the_node_s_judgement_is_for_all_and_says_why(self) -> None:
        verdict = self.judge(self.learned(FakeShelf(_0=taught())), to(1, 2), message(BAD))
        self.assertTrue(verdict.unwanted)
        self.assertEqual({}, verdict.of_copies)
        self.assertRegex(verdict.reasons[0], r'^the word "\w+" \(in \d+ of 40 unwanted mails')
        self.assertEqual(("unwanted", "node"), (verdict.facts["verdict"], verdict.facts["model"]))
        self.assertRegex(verdict.facts["probability"], r"^\d\d %$|^100 %$")

    def test_a_wanted_or_an_unsure_one_is_told_as_a_fact_alone(self) -> None:
        learned = self.learned(FakeShelf(_0=taught()))
        for words, expected in ((GOOD, "wanted"), (["nothing", "known", "here"], "unsure")):
            verdict = self.judge(learned, to(1), message(words))
            self.assertEqual(((), False), (verdict.reasons, verdict.unwanted))
            self.assertEqual(expected, verdict.facts["verdict"])

    def test_a_mail_is_not_read_while_too_little_was_learned_to_judge_it(self) -> None:
        young = taught(LEAST_OF_EACH - 1)
        blob = Message(b"", Blob("key"), 1 << 20, b"")  # that can't be read
        for shelf in (FakeShelf(_0=young), FakeShelf(_0=young, _1=young), FakeShelf(_2=taught())):
            self.assertEqual(Verdict(), self.judge(self.learned(shelf), to(1), blob))
        learned = self.learned(FakeShelf(_0=young, _1=taught(LEAST_OF_EACH)))
        self.assertEqual([1], list(self.judge(learned, to(1, 2), message(BAD)).of_copies))

    def test_words_are_made_of_unwanted_mails_alone(self) -> None:
        made: list[str] = []
        self.patch(judging, "say", lambda name, *_: made.append(name) or Reason(name, 1.0))
        learned = self.learned(FakeShelf(_0=taught(), _1=taught()))
        self.judge(learned, to(1, 2), message(GOOD))
        self.assertEqual([], made)
        self.judge(learned, to(2), message(BAD))
        self.assertNotEqual([], made)

    def test_an_account_s_own_judgement_is_its_alone(self) -> None:
        own = Model.empty(BITS)
        node = taught()
        for number in range(12):
            likes = mail(" ".join([*BAD, "z" + chr(97 + number)]))
            own.train(likeness_of(likes), WANTED, node)
        verdict = self.judge(self.learned(FakeShelf(_0=node, _2=own)), to(1, 2), message(BAD))
        self.assertTrue(verdict.unwanted)
        self.assertEqual([2], list(verdict.of_copies))
        self.assertFalse(verdict.of_copies[2].unwanted)
        self.assertEqual("account", verdict.of_copies[2].facts["model"])

    def test_where_all_have_their_own_the_node_s_says_nothing(self) -> None:
        shelf = FakeShelf(_0=taught(), _1=taught())
        verdict = self.judge(self.learned(shelf), to(1), message(BAD))
        self.assertEqual((False, (), {}), (verdict.unwanted, verdict.reasons, verdict.facts))
        self.assertTrue(verdict.of_copies[1].unwanted)
        self.assertTrue(verdict.of_copies[1].reasons[0].startswith("the word"))

    def test_an_account_s_model_judges_where_the_node_has_none(self) -> None:
        verdict = self.judge(self.learned(FakeShelf(_1=taught())), to(1, 2), message(BAD))
        self.assertFalse(verdict.unwanted)
        self.assertEqual({1: True}, {key: each.unwanted for key, each in verdict.of_copies.items()})

    def test_from_where_on_a_mail_is_unwanted_is_a_setting(self) -> None:
        shelf = FakeShelf(_0=taught())
        some = message([*BAD[:2], *GOOD[:1], "else"])
        (found, strict) = (
            self.judge(self.learned(shelf, band=Band(unwanted_from=bound)), to(1), some)
            for bound in (0.5, 0.999)
        )
        self.assertEqual(found.facts["probability"], strict.facts["probability"])
        self.assertEqual((True, False), (found.unwanted, strict.unwanted))

    def test_what_other_checks_found_is_heard(self) -> None:
        node = Model.empty(BITS)
        for number in range(15):
            words = "common words all over" + f" z{chr(97 + number)}"
            node.train(likeness_of(mail(words), ["spf=fail"]), UNWANTED)
            node.train(likeness_of(mail(words + " x2"), ["spf=pass"]), WANTED)
        learned = self.learned(FakeShelf(_0=node))
        verdicts = [
            self.judge(
                learned,
                to(1),
                message(
                    ["common", "words", "all", "over"],
                    Judgement("authentication", facts={"spf": f"{result} example.org"}),
                ),
            ).facts["probability"]
            for result in ("fail", "pass")
        ]
        fail_percent, pass_percent = (int(each.removesuffix(" %")) for each in verdicts)
        self.assertGreater(fail_percent, pass_percent + 30)

    def test_a_mail_in_a_blob_is_read_there_and_let_go(self) -> None:
        closed: list[str] = []

        class Octets(bytes):
            def close(self) -> None:
                closed.append("closed")

        octets = Octets(mail(" ".join(BAD)))
        learned = self.learned(FakeShelf(_0=taught()), open_octets=lambda key, head: octets)
        verdict = self.judge(learned, to(1), Message(b"", Blob("key"), 1 << 20, b""))
        self.assertTrue(verdict.unwanted)
        self.assertEqual(["closed"], closed)

    def test_what_can_t_be_judged_now_is_taken(self) -> None:
        for error in (TooMuchWaiting(), StoreBroken()):
            learned = self.learned(FakeShelf(_0=taught()), in_thread=lambda *_, e=error: fail(e))
            verdict = self.judge(learned, to(1), message(BAD))
            self.assertEqual((False, "accept"), (verdict.unwanted, verdict.action))
            self.assertIn("it was not judged", verdict.reasons[0])

    def test_a_small_mail_is_judged_without_a_thread_by_models_that_are_at_hand(self) -> None:
        shelf = FakeShelf(_0=taught(), _1=taught())
        threads: list[object] = []

        def in_thread(function: Any, *args: Any) -> Any:
            threads.append(function)
            return execute(function, *args)

        learned = self.learned(shelf, in_thread=in_thread)
        small = message(BAD)
        by_thread = self.judge(learned, to(1, 2), small)
        self.assertEqual(1, len(threads))
        shelf.are_at_hand = True
        self.assertEqual(by_thread, self.judge(learned, to(1, 2), small))
        self.assertEqual(1, len(threads))
        self.judge(learned, to(*range(1, FEW_ACCOUNTS + 2)), small)
        assert isinstance(small.body, bytes)
        more = small.body + b"more words\r\n" * SMALL_OCTETS
        for field in (
            b"Content-Type: multipart/mixed",
            b"Content-Transfer-Encoding: base64",
            b"Content-Type: text/plain; charset=utf-7",
            b"From: " + b"a@b.example, " * 100,
            "X-Name: \u4e00".encode(),
        ):
            more_fields = small.body.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n", 1)
            self.judge(learned, to(1), evolve(small, body=more_fields))
        self.judge(learned, to(1), evolve(small, body=more))
        usual = b'\r\nContent-Type: text/plain; charset="utf-8"\r\n\r\n'
        self.judge(learned, to(1), evolve(small, body=small.body.replace(b"\r\n\r\n", usual, 1)))
        self.assertEqual(8, len(threads))

    def test_so_many_recipients_models_are_asked_and_no_more(self) -> None:
        shelf = FakeShelf(_0=taught())
        self.judge(self.learned(shelf), to(*range(1, 1000)), message(BAD))
        self.assertEqual(MOST_OWN + 1, len(shelf.asked))


class FactsTests(SynchronousTestCase):
    def test_what_a_check_says_of_one_mail_alone_is_left_out(self) -> None:
        found = {
            "spf": "fail example.org",
            "dkim": "pass example.org, fail example.net, 2 more",
            "dmarc": "fail example.org (policy reject)",
            "reverse": "confirmed",
            "reverse_name": "mx.example.org",
            "lists": "zen.example dbl.example",
            "score": "5.3",
        }
        self.assertEqual(
            [
                "spf=fail", "dkim=pass", "dkim=fail", "dmarc=fail", "reverse=confirmed",
                "lists=zen.example", "lists=dbl.example",
            ],
            list(facts_of("any", False, found)),
        )  # fmt: skip

    def test_that_a_check_finds_it_unwanted_is_one_but_no_judgement_of_its_own(self) -> None:
        self.assertEqual(["rspamd=unwanted"], list(facts_of("rspamd", True, {})))
        self.assertEqual([], list(facts_of("learned", True, {"verdict": "unwanted"})))


class KnownTests(SynchronousTestCase):
    """Whom an account has written to is not put into its Junk by words alone."""

    def setUp(self) -> None:
        self.asked: list[tuple[int, str, str]] = []

    def judge(
        self, *facts: str, to_: Envelope | None = None, body: bytes | None = None, **more: Any
    ) -> Verdict:
        """What is said of an unwanted mail; account 1 has written to its author."""

        async def has_written(account_id: int, mailbox: str, address: Any) -> bool:
            self.asked.append((account_id, mailbox, str(address)))
            return account_id == 1

        found = dict(each.split("=", 1) for each in facts)
        judged = message(BAD, *([Judgement("authentication", facts=found)] if found else []))
        if body is not None:
            judged = evolve(judged, body=body)
        asked: dict[str, Any] = {"has_written": has_written} | more
        asked = {"shelf": FakeShelf(_0=taught())} | asked
        learned = Learned(in_thread=execute, open_octets=no_blob, **asked)
        verdict: Verdict = self.successResultOf(
            Deferred.fromCoroutine(learned.judge(to_ or to(1, 2), judged))
        )
        return verdict

    def test_a_correspondent_who_is_proved_is_spared_by_who_wrote_to_him(self) -> None:
        verdict = self.judge("dmarc=pass example.org (policy none)")
        self.assertTrue(verdict.unwanted)  # for all others
        self.assertEqual([1], list(verdict.of_copies))
        spared = verdict.of_copies[1]
        self.assertFalse(spared.unwanted or spared.wanted)
        self.assertEqual(
            "you have written to a@example.org, and it is proved that the mail is from there",
            spared.reasons[0],
        )
        self.assertIn("the word", spared.reasons[1])
        self.assertEqual("unwanted", spared.facts["verdict"])
        mailboxes = [(each, f"u{each}@example.test", "a@example.org") for each in (1, 2)]
        self.assertEqual(mailboxes, self.asked)

    def test_spf_or_dkim_of_his_domain_prove_him_where_there_is_no_dmarc(self) -> None:
        for proof in ("spf=pass bounce.example.org", "dkim=fail x.example, pass example.org"):
            self.assertIn(1, self.judge("dmarc=none example.org", proof).of_copies, proof)

    def test_who_is_not_proved_is_not_known_and_nobody_is_asked(self) -> None:
        for facts in (
            (),
            ("dmarc=fail example.org", "spf=pass example.org"),
            ("dmarc=none example.org", "spf=pass example.net"),
            ("dmarc=temperror example.org",),
        ):
            self.assertEqual({}, self.judge(*facts).of_copies, facts)
        two = mail(" ".join(BAD), sender="a@example.org, b@example.org")
        self.assertEqual({}, self.judge("dmarc=pass example.org", body=two).of_copies)
        self.assertEqual([], self.asked)

    def test_what_his_own_model_says_is_spared_too(self) -> None:
        shelf = FakeShelf(_0=taught(), _1=taught())
        verdict = self.judge("dmarc=pass example.org", shelf=shelf)
        self.assertFalse(verdict.of_copies[1].unwanted)
        self.assertEqual("account", verdict.of_copies[1].facts["model"])

    def test_a_mail_that_is_wanted_anyway_asks_for_nobody(self) -> None:
        good = mail(" ".join(GOOD))
        self.assertEqual({}, self.judge("dmarc=pass example.org", body=good).of_copies)
        self.assertEqual([], self.asked)

    def test_where_it_can_t_be_looked_up_nobody_is_known(self) -> None:
        async def broken(*_: Any) -> bool:
            raise StoreBroken

        verdict = self.judge("dmarc=pass example.org", has_written=broken)
        self.assertEqual((True, {}), (verdict.unwanted, verdict.of_copies))

    def test_of_many_recipients_so_many_are_looked_up(self) -> None:
        many = to(*range(2, MOST_OWN + 10))
        self.judge("dmarc=pass example.org", to_=many)
        self.assertEqual(MOST_OWN, len(self.asked))
