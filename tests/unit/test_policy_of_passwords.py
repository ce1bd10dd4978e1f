"""Which passwords may be set, and how old they get."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.cred.ageing import Ageing
from mailnode.cred.hashes import hash_password
from mailnode.cred.policy import PasswordPolicy, require_text
from mailnode.errors import PasswordTooOld, WeakPassword
from mailnode.settings import PasswordSettings
from tests.unit.test_directory import account

ALICE = parse_address("Alice@example.test")
GOOD = "seven sleepy owls"
DAY_S = 86400.0


class PolicyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = PasswordSettings()
        self.policy = PasswordPolicy(lambda: self.settings)

    def why_not(self, password: str, former: tuple[str, ...] = ()) -> str:
        return self.assertRaises(WeakPassword, self.policy.judge, password, ALICE, former).text

    def test_one_that_is_long_and_hard_to_guess_will_do(self) -> None:
        for password in (GOOD, "k3#Vw9!pQz", "äöüÄÖÜßéüñ", "x" * 0 + "tr0ub4dor&3 horse"):
            self.policy.judge(password, ALICE)

    def test_a_short_one_is_refused_whatever_it_is_made_of(self) -> None:
        self.assertIn("at least 10 characters", self.why_not("k3#Vw9!pQ"))
        self.settings = PasswordSettings(least_characters=17)
        self.assertIn("at least 17 characters", self.why_not("sixteen#Vw9!pQz8"))

    def test_one_that_is_easy_to_guess_is_refused_with_advice(self) -> None:
        for password in (
            "password1234",
            "qwertyuiop",
            "1234567890",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
        ):
            why = self.why_not(password)
            self.assertIn("easy to guess. ", why)
            self.assertNotIn(":", why)
            self.assertFalse(why.endswith("."), why)

    def test_the_name_and_the_address_are_refused_and_what_is_made_of_them(self) -> None:
        self.assertIn("not the name", self.why_not("ALICE@example.test"))
        self.assertIn("easy to guess", self.why_not("alicealice12"))
        longer = parse_address("alexandra-longname@example.test")
        refused = self.assertRaises(WeakPassword, self.policy.judge, "Alexandra-Longname", longer)
        self.assertIn("not the name", refused.text)

    def test_none_of_the_last_ones_comes_back(self) -> None:
        former = tuple(hash_password(f"{GOOD} {number}") for number in range(6))
        for number in range(5):
            self.assertIn("choose one that is new", self.why_not(f"{GOOD} {number}", former))
        self.policy.judge(f"{GOOD} 5", ALICE, former)
        self.settings = PasswordSettings(remembered=0)
        self.policy.judge(f"{GOOD} 0", ALICE, former)
        self.policy.judge(GOOD, ALICE, ("",))

    def test_a_score_of_none_asks_for_length_alone(self) -> None:
        self.settings = PasswordSettings(least_score=0)
        self.policy.judge("password1234", ALICE)

    def test_what_is_no_line_of_text_is_none(self) -> None:
        for text in ("", "   ", "with\x00 zero octet", "two\nlines here", "half \ud800 a letter"):
            self.assertRaises(WeakPassword, require_text, text)
        self.assertIn("at most 1,000", self.why_not("owl " * 251))

    def test_only_the_begin_of_a_long_one_is_judged_for_zxcvbn_takes_its_cube(self) -> None:
        judged: list[str] = []

        def judge(password: str, names: list[str]) -> dict[str, object]:
            judged.append(password)
            return {"score": 4}

        self.patch(__import__("zxcvbn"), "zxcvbn", judge)
        self.policy.judge("4@8({[<3611!|0$5+7%2" * 40, ALICE)
        self.assertEqual([40], [len(each) for each in judged])


class AgeingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = PasswordSettings(max_age=90 * DAY_S, notice=14 * DAY_S, grace=7 * DAY_S)
        self.now = 0.0
        self.ageing = Ageing(lambda: self.settings, lambda: self.now)
        self.alice = evolve(account(1, "alice"), password_changed_at=0.0)

    def state(self, day: float) -> tuple[bool, bool, bool]:
        """Whether it is soon, over, and too old for mail programs."""
        self.now = day * DAY_S
        try:
            self.ageing.require_young(self.alice, "pop3")
        except PasswordTooOld:
            refused = True
        else:
            refused = False
        self.ageing.require_young(self.alice, "")
        return self.ageing.is_soon(self.alice), self.ageing.is_over(self.alice), refused

    def test_its_owner_is_told_then_the_web_wants_another_then_programs_are_refused(self) -> None:
        self.assertEqual((False, False, False), self.state(75.9))
        self.assertEqual((True, False, False), self.state(76))
        self.assertEqual((True, False, False), self.state(89.9))
        self.assertEqual((True, True, False), self.state(90))
        self.assertEqual((True, True, False), self.state(96.9))
        self.assertEqual((True, True, True), self.state(97))

    def test_without_a_greatest_age_and_for_demo_accounts_nothing_ages(self) -> None:
        self.alice = evolve(self.alice, demo=True)
        self.assertEqual((False, False, False), self.state(1000))
        self.alice, self.settings = evolve(self.alice, demo=False), PasswordSettings()
        self.assertEqual((False, False, False), self.state(1000))
        self.assertIsNone(self.ageing.ends_at(self.alice))
