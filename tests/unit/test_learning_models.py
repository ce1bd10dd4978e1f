"""Models learn what is wanted, and what they learned can be taken back."""

from __future__ import annotations

import random
import threading
from array import array

from twisted.trial.unittest import SynchronousTestCase

from mailnode.learning import fisher, model
from mailnode.learning.features import Likeness, likeness_of
from mailnode.learning.fisher import (
    MOST_NAMES,
    Counts,
    chi_square_tail,
    combine,
    probabilities,
    refine,
    strongest,
)
from mailnode.learning.judging import judge
from mailnode.learning.logistic import Weights, as_probability
from mailnode.learning.model import LEAST_OF_EACH, UNWANTED, WANTED, Model, evidence
from tests.unit.learning_case import BITS, mail, some, taught


def probability(of: Likeness, node: Model | None, account: Model | None = None) -> float:
    return judge(of, node, account).probability


class Fisher(SynchronousTestCase):
    def test_the_tail_is_that_of_the_tables(self) -> None:
        # The 5 % and 1 % points of chi-square with 2, 10 and 100 degrees of freedom.
        for value, pairs, tail in (
            (5.991, 1, 0.05), (18.307, 5, 0.05), (124.342, 50, 0.05), (135.807, 50, 0.01),
        ):  # fmt: skip
            self.assertAlmostEqual(chi_square_tail(value, pairs), tail, 4)
        self.assertEqual(chi_square_tail(0, 7), 1)
        self.assertEqual(chi_square_tail(1e6, 150), 0)

    def test_nothing_and_as_much_of_both_sides_come_out_in_the_middle(self) -> None:
        self.assertEqual(combine([]), 0)
        self.assertAlmostEqual(combine([0.99] * 20 + [0.01] * 20), 0)
        self.assertGreater(combine([0.99] * 5), 4)
        self.assertLess(combine([0.01] * 5), -4)

    def test_of_many_names_the_strongest_are_asked(self) -> None:
        found = [0.7] * 500 + [0.001] * 149 + [0.55] * 99 + [0.999]
        strong = strongest(found)
        self.assertEqual(len(strong), MOST_NAMES)
        self.assertEqual({found[at] for at in strong}, {0.001, 0.999})
        self.assertEqual(strongest([0.5, 0.59, 0.41]), [])

    def test_is_heard_where_the_weights_know_nothing(self) -> None:
        node = taught()
        node.weights = Weights.empty(1 << BITS)
        self.assertGreater(probability(some(UNWANTED, 1)[0], node), 0.6)
        self.assertLess(probability(some(WANTED, 1)[0], node), 0.4)

    def test_counts_of_one_kind_alone_are_not_heard(self) -> None:
        own = Model.empty(BITS)
        for each in some(UNWANTED, 20):
            own.train(each, UNWANTED)
        numbers = some(WANTED, 1)[0].numbers
        self.assertEqual(evidence(numbers, None, own)[1], [])
        self.assertEqual(evidence(numbers, taught(), own)[1], evidence(numbers, taught(), None)[1])

    def test_a_name_is_drawn_to_the_middle_while_it_is_rare(self) -> None:
        counts = Counts(array("H", [0, 0, 50, 0]), array("H", [0, 1, 50, 90]), 100, 100)
        never, once, both, often = probabilities([0, 1, 2, 3], counts)
        self.assertEqual(never, 0.5)
        self.assertEqual(both, 0.5)
        self.assertTrue(0.5 < once < 0.9 < often < 1)

    def test_kinds_of_which_more_was_seen_are_not_thought_likelier(self) -> None:
        counts = Counts(array("H", [10]), array("H", [100]), 100, 1000)
        self.assertAlmostEqual(probabilities([0], counts)[0], 0.5)

    def test_what_an_account_saw_outweighs_what_its_node_did(self) -> None:
        node = Counts(array("H", [0, 0]), array("H", [500, 500]), 1000, 1000)
        own = Counts(array("H", [30, 0]), array("H", [0, 0]), 100, 100)
        found = probabilities([0, 1], node)
        refined = refine(found, node, [0, 1], own, [0, 1])
        self.assertGreater(found[0], 0.99)
        self.assertLess(refined[0], 0.3)
        self.assertEqual(refined[1], found[1])


class Steps(SynchronousTestCase):
    def test_go_on_until_the_judgement_is_right(self) -> None:
        weights = Weights.empty(64)
        errors = weights.learn(range(40), True, as_probability)
        self.assertGreaterEqual(as_probability(weights.score(range(40))), 0.95)
        self.assertEqual(weights.learn(range(40), True, as_probability), ())
        self.assertTrue(errors)

    def test_the_last_that_was_learned_can_be_taken_back_whole(self) -> None:
        weights = Weights.empty(64)
        weights.learn(range(10, 30), False, as_probability)
        before = weights.weights[:], weights.bias
        errors = weights.learn(range(5, 20), True, as_probability)
        weights.unlearn(range(5, 20), errors)
        self.assertTrue(
            all(abs(a - b) < 1e-5 for a, b in zip(before[0], weights.weights, strict=True))
        )
        self.assertAlmostEqual(before[1], weights.bias)
        self.assertEqual(set(weights.weights[5:10]), {0.0})

    def test_names_that_are_known_elsewhere_move_less(self) -> None:
        weights = Weights.empty(4)
        weights.learn([0, 1], True, as_probability, known=[9.0, 0.0])
        self.assertLess(5 * weights.weights[0], weights.weights[1])


class Lessons(SynchronousTestCase):
    def test_tell_mails_apart_that_were_not_among_them(self) -> None:
        node = taught()
        for each in some(WANTED, 30, seed=2):
            self.assertLess(probability(each, node), 0.5)
        for each in some(UNWANTED, 30, seed=2):
            self.assertGreater(probability(each, node), 0.5)

    def test_the_same_twice_are_one(self) -> None:
        node, (one, *_) = taught(), some(UNWANTED, 1, seed=3)
        self.assertTrue(node.train(one, UNWANTED))
        counts, weights = node.counts.unwanted[:], node.weights.weights[:]
        self.assertFalse(node.train(one, UNWANTED))
        self.assertEqual((node.counts.unwanted, node.weights.weights), (counts, weights))
        self.assertEqual(node.taught(one), UNWANTED)

    def test_the_other_kind_takes_the_place_of_the_first(self) -> None:
        node, other, (one, *_) = taught(), taught(), some(UNWANTED, 1, seed=3)
        node.train(one, UNWANTED)
        self.assertTrue(node.train(one, WANTED))
        other.train(one, WANTED)
        self.assertEqual(node.counts.wanted, other.counts.wanted)
        self.assertEqual(node.counts.unwanted, other.counts.unwanted)
        self.assertEqual((node.taught(one), node.mails), (WANTED, (41, 40)))

    def test_forgotten_ones_leave_the_model_as_it_was(self) -> None:
        node = taught()
        before = taught()
        lies = some(UNWANTED, 25, seed=4)
        for each in lies:
            node.train(each, WANTED)
        self.assertLess(probability(lies[0], node), 0.5)
        for each in reversed(lies):
            self.assertTrue(node.forget(each))
        self.assertEqual(node.counts.wanted, before.counts.wanted)
        self.assertEqual(node.mails, before.mails)
        self.assertEqual(node.lessons, before.lessons)
        for one, other in zip(node.weights.weights, before.weights.weights, strict=True):
            self.assertAlmostEqual(one, other, 4)

    def test_poison_can_be_taken_back_in_any_order(self) -> None:
        node, clean = taught(), taught()
        lies = some(UNWANTED, 60, seed=5)
        tried = some(UNWANTED, 20, seed=6) + some(WANTED, 20, seed=6)
        for each in lies:
            node.train(each, WANTED)
        worst = max(abs(probability(each, node) - probability(each, clean)) for each in tried)
        random.Random(1).shuffle(lies)
        for each in lies:
            node.forget(each)
        self.assertEqual(node.counts.wanted, clean.counts.wanted)
        for each in tried:
            self.assertLess(abs(probability(each, node) - probability(each, clean)), worst / 3)

    def test_what_was_never_taught_cannot_be_forgotten(self) -> None:
        node = taught()
        before = node.counts.wanted[:]
        self.assertFalse(node.forget(likeness_of(mail("never seen"))))
        self.assertEqual(node.counts.wanted, before)

    def test_are_forgotten_with_the_facts_that_they_had(self) -> None:
        node, before = taught(), taught()
        raw = mail("one more mail of words")
        node.train(likeness_of(raw, ["spf=fail", "known=no"]), UNWANTED)
        node.forget(likeness_of(raw, ["spf=pass"]))
        self.assertEqual(node.counts.unwanted, before.counts.unwanted)

    def test_facts_are_learned_like_words(self) -> None:
        node = Model.empty(BITS)
        for number, each in enumerate(some(WANTED, 40)):
            bad = number % 2
            fact = (f"fact spf={'fail' if bad else 'pass'}",)
            node.train(Likeness(each.names, fact), UNWANTED if bad else WANTED)
        (names, *_) = (each.names for each in some(WANTED, 1, seed=9))
        failed, passed = (Likeness(names, (f"fact spf={how}",)) for how in ("fail", "pass"))
        self.assertGreater(probability(failed, node), probability(passed, node) + 0.2)

    def test_of_the_oldest_no_more_than_so_many_are_kept(self) -> None:
        self.patch(model, "MOST_LESSONS", 10)
        node = taught(20)
        self.assertEqual(len(node.lessons), 10)
        self.assertFalse(node.forget(some(WANTED, 1)[0]))
        self.assertEqual(node.mails, (20, 20))

    def test_old_ones_fade_before_counts_end(self) -> None:
        self.patch(fisher, "MOST_MAILS", 50)
        node = taught(49)
        first, second = some(WANTED, 2, seed=7)
        node.train(first, WANTED)
        self.assertEqual((node.mails, len(node.lessons)), ((50, 49), 99))
        node.train(second, WANTED)
        self.assertEqual((node.mails, len(node.lessons)), ((26, 24), 1))
        self.assertLess(probability(some(WANTED, 1, seed=8)[0], node), 0.5)

    def test_a_kind_that_is_none_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            taught(1).train(some(WANTED, 1)[0], "spam")


class Accounts(SynchronousTestCase):
    def test_a_correction_holds_for_the_mail_and_one_like_it(self) -> None:
        node, own = taught(), Model.empty(BITS)
        bad = likeness_of(
            mail("meeting draft patch for the raffle of our club", sender="c@club.example")
        )
        like = likeness_of(
            mail("meeting draft patch, the raffle of our club", sender="c@club.example")
        )
        self.assertLess(probability(bad, node, own), 0.9)
        own.train(bad, UNWANTED, node)
        self.assertEqual(judge(bad, node, own).verdict, UNWANTED)
        self.assertEqual(judge(like, node, own).verdict, UNWANTED)
        self.assertLess(probability(bad, node), 0.9)

    def test_one_that_was_only_shown_junk_keeps_other_mail(self) -> None:
        node, own = taught(60), Model.empty(BITS)
        for number in range(15):
            text = (
                f"common{number:c} news of this week, meeting and lunch in our shop {number * 'x'}"
            )
            own.train(likeness_of(mail(text, sender="n@shop.example")), UNWANTED, node)
        self.assertEqual(own.mails[0], 0)
        for each in some(WANTED, 30, seed=2):
            self.assertNotEqual(judge(each, node, own).verdict, UNWANTED)

    def test_may_have_fewer_slots_than_the_node(self) -> None:
        node, own = taught(), taught(30, bits=BITS - 3)
        one = some(WANTED, 1, seed=3)[0]
        own.train(one, UNWANTED, node)
        self.assertEqual(judge(one, node, own).verdict, UNWANTED)
        self.assertTrue(own.forget(one, node))
        self.assertLess(probability(one, node, own), 0.5)

    def test_what_one_learns_is_not_heard_by_another(self) -> None:
        node, one, other = taught(), Model.empty(BITS), Model.empty(BITS)
        bad = some(WANTED, 1, seed=3)[0]
        before = probability(bad, node, other)
        one.train(bad, UNWANTED, node)
        self.assertEqual(probability(bad, node, other), before)

    def test_one_without_a_node_that_knows_anything_learns_alone(self) -> None:
        own = taught()
        for node in (None, Model.empty(BITS)):
            self.assertGreater(probability(some(UNWANTED, 1, seed=2)[0], node, own), 0.5)

    def test_moving_there_and_back_leaves_no_mark(self) -> None:
        node, own = taught(), taught(LEAST_OF_EACH)
        before = own.weights.weights[:], own.counts.wanted[:]
        one = some(WANTED, 1, seed=3)[0]
        own.train(one, UNWANTED, node)
        own.forget(one, node)
        self.assertEqual(own.counts.wanted, before[1])
        for is_, was in zip(own.weights.weights, before[0], strict=True):
            self.assertAlmostEqual(is_, was, 4)


class Threads(SynchronousTestCase):
    def test_judging_goes_on_while_others_teach_and_forget(self) -> None:
        node, failed = taught(12), list[Exception]()
        lessons = some(UNWANTED, 60, seed=4)

        def teach(mine: list[Likeness]) -> None:
            try:
                for _ in range(3):
                    for each in mine:
                        node.train(each, UNWANTED)
                    for each in mine:
                        node.forget(each)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=teach, args=(lessons[at::3],)) for at in range(3)]
        before = node.counts.unwanted[:]
        for thread in threads:
            thread.start()
        for _ in range(200):
            self.assertTrue(0 <= probability(lessons[0], node) <= 1)
        for thread in threads:
            thread.join(60)
        self.assertEqual(failed, [])
        self.assertEqual(node.counts.unwanted, before)
        self.assertEqual(node.mails, (12, 12))
