"""A judgement is a probability, a verdict, and the reasons in words."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from mailnode.learning.features import Likeness, likeness_of
from mailnode.learning.judging import MOST_REASONS, Band, judge
from mailnode.learning.model import LEAST_OF_EACH, UNSURE, UNWANTED, WANTED, Model
from mailnode.learning.reasons import FORMS, called, say
from tests.unit.learning_case import BITS, mail, some, taught


class Verdicts(SynchronousTestCase):
    def test_follow_the_band(self) -> None:
        band = Band(0.2, 0.9)
        told = [band.verdict(each) for each in (0, 0.19, 0.2, 0.89, 0.9, 1)]
        self.assertEqual(told, [WANTED, WANTED, UNSURE, UNSURE, UNWANTED, UNWANTED])

    def test_the_band_is_who_asks_to_set(self) -> None:
        one, node = some(UNWANTED, 1, seed=2)[0], taught()
        self.assertEqual(judge(one, node, band=Band(0.1, 0.2)).verdict, UNWANTED)
        self.assertEqual(judge(one, node, band=Band(0.1, 1.1)).verdict, UNSURE)

    def test_a_mail_of_which_nothing_is_known_is_unsure(self) -> None:
        for raw in (b"", mail("zzqq qqzz vvww wwvv")):
            self.assertEqual(judge(likeness_of(raw), taught()).verdict, UNSURE)

    def test_who_has_learned_too_little_says_so(self) -> None:
        young = taught(LEAST_OF_EACH - 1)
        for node, account in ((None, None), (young, None), (Model.empty(BITS), young)):
            said = judge(some(UNWANTED, 1)[0], node, account)
            self.assertEqual((said.probability, said.verdict), (0.5, UNSURE))
            self.assertIn(f"from {LEAST_OF_EACH} of each on it judges", said.reasons[0].words)
        self.assertIn(f"{LEAST_OF_EACH - 1} wanted", said.reasons[0].words)
        self.assertNotEqual(judge(some(UNWANTED, 1)[0], taught(LEAST_OF_EACH)).probability, 0.5)


class Reasons(SynchronousTestCase):
    def test_are_the_weightiest_and_say_where_a_name_was_seen(self) -> None:
        node = taught()
        said = judge(likeness_of(mail("viagra casino lottery common")), node)
        self.assertTrue(0 < len(said.reasons) <= MOST_REASONS)
        weights = [abs(each.weight) for each in said.reasons]
        self.assertEqual(weights, sorted(weights, reverse=True))
        (told,) = [each for each in said.reasons if "viagra" in each.words]
        self.assertGreater(told.weight, 0)
        found = re.fullmatch(
            r'the word "viagra" \(in (\d+) of 40 unwanted mails, in (none|\d+) of 40 wanted ones\)',
            told.words,
        )
        assert found, told.words
        slot = node.slots(Likeness(("word viagra",)).numbers)[0]
        self.assertEqual(int(found[1]), node.counts.unwanted[slot])

    def test_speak_for_the_other_side_too(self) -> None:
        said = judge(likeness_of(mail("viagra casino meeting kernel draft")), taught())
        signs = {each.weight > 0 for each in said.reasons}
        self.assertEqual(signs, {True, False})
        (told,) = [each for each in said.reasons if "kernel" in each.words]
        self.assertLess(told.weight, 0)
        self.assertRegex(told.words, r"wanted ones, in (none|\d+) of 40 unwanted mails\)$")

    def test_of_an_account_count_its_own_mails(self) -> None:
        said = judge(likeness_of(mail("viagra casino lottery")), taught(), taught(12))
        self.assertTrue([each for each in said.reasons if "of your 12 unwanted" in each.words])

    def test_name_every_kind_in_words_of_people(self) -> None:
        for name, words in (
            ("word a", 'the word "a"'),
            ("subject a", '"a" in the subject'),
            ("from a", '"a" in the name of the sender'),
            ("sender a@b.example", "the sender a@b.example"),
            ("sender @b.example", "a sender at b.example"),
            ("sender .example", "a sender under .example"),
            ("link b.example", "a link to b.example"),
            ("link .top", "a link under .top"),
            ("file .exe", "a file that ends in .exe"),
            ("fact spf=fail", "what was found: spf=fail"),
            ("form hidden text", "text in its page that is not to be seen"),
        ):
            self.assertEqual(called(name), words)
        self.assertEqual(say("word a", 1.0).words, 'the word "a" (not seen before)')

    def test_every_form_that_is_found_has_words(self) -> None:
        raw = mail("!! http://a@10.0.0.1/", subject="SHOUTING LOUD").replace(b"To: b", b"X: b")
        more = (
            b"From: a@x.example, b@y.example\r\nReply-To: c@z.example\r\n"
            b"To: a@x, b@x, c@x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n"
            b"\r\nPHAgc3R5bGU9ImRpc3BsYXk6bm9uZSI+"
        )
        names = {*likeness_of(raw).names, *likeness_of(more).names, *likeness_of(b"").names}
        forms = {each for each in names if each.startswith("form ")}
        self.assertGreater(len(forms), 11)
        self.assertLessEqual(forms, FORMS.keys())
