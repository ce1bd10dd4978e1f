"""The second half of a sign-in: what attackers try there, too."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from mailnode.errors import MailError
from mailnode.events import CodeAwaited
from mailnode.web.pages import signin_code
from tests.unit.factor_case import CODE_PAGE, FactorCase
from tests.unit.web_case import PASSWORD

HALF = "mailnode-half-8080"
SESSION = "mailnode-8080"


class SignInTests(FactorCase):
    def test_without_a_second_factor_a_password_signs_in(self) -> None:
        self.sign_in()
        self.assertTrue(self.is_signed_in())

    def test_after_the_right_password_a_code_is_asked_for_and_nobody_is_signed_in(self) -> None:
        self.turn_on()
        reply = self.half_sign_in()
        self.assertEqual((303, CODE_PAGE), (reply.status, reply.header("location")))
        self.assertNotIn(SESSION, self.jar)
        self.assertEqual([], list(self.guests.sessions_by))
        (cookie,) = [each for each in reply.headers("set-cookie") if each.startswith(HALF)]
        for part in ("HttpOnly", "SameSite=Strict", "Max-Age=300"):
            self.assertIn(part, cookie)
        self.assertFalse(self.is_signed_in())
        page = self.ask(CODE_PAGE)
        self.assertEqual(200, page.status)
        self.assertIn("authenticator app", page.text)
        self.assertEqual([CodeAwaited.name], [each.name for each in self.told])

    def test_a_right_code_signs_in_with_a_session_of_its_own(self) -> None:
        self.turn_on()
        self.half_sign_in("/mail/7")
        half = self.jar[HALF]
        reply = self.say(self.code())
        self.assertEqual((303, "/mail/7"), (reply.status, reply.header("location")))
        self.assertNotIn(HALF, self.jar)
        self.assertNotEqual(half, self.jar[SESSION])
        self.assertTrue(self.is_signed_in())
        self.assertEqual([("127.0.0.1", "alice@example.test", "totp")], self.portal.fitted)

    def test_people_part_digits_and_clocks_differ_by_half_a_minute(self) -> None:
        self.turn_on()
        for later_s in (-30.0, 0.0, 30.0):
            self.use.steps.clear()
            self.half_sign_in()
            code = self.code(later_s)
            self.assertEqual(303, self.say(f" {code[:3]} {code[3:]} ").status)
            self.jar.clear()
        for later_s in (-60.0, 60.0):
            self.use.steps.clear()
            self.half_sign_in()
            self.assertEqual(401, self.say(self.code(later_s)).status)

    def test_a_code_counts_once_and_none_before_it_any_more(self) -> None:
        self.turn_on()
        before, code = self.code(-30.0), self.code()
        self.half_sign_in()
        self.say(code)
        self.jar.clear()
        for replayed in (code, before):
            self.half_sign_in()
            reply = self.say(replayed)
            self.assertEqual(401, reply.status)
            self.assertIn("used before", reply.text)
            self.assertNotIn(SESSION, self.jar)
        self.assertEqual("a code that was used before", self.portal.failed[-1][2])
        self.now += 30
        self.assertEqual(303, self.say(self.code()).status)

    def test_five_wrong_codes_end_it_and_the_right_one_comes_too_late(self) -> None:
        self.turn_on()
        self.half_sign_in()
        wrong = self.wrong_code()
        for _ in range(4):
            self.assertIn('name="code"', self.say(wrong).text)
        last = self.say(wrong)
        self.assertEqual(401, last.status)
        self.assertIn('name="password"', last.text)
        self.assertNotIn(HALF, self.jar)
        self.assertIn('name="password"', self.say(self.code()).text)
        self.assertFalse(self.is_signed_in())
        self.assertEqual(5, len(self.portal.failed))

    def test_a_stolen_half_that_is_kept_after_its_tries_opens_nothing(self) -> None:
        self.turn_on()
        self.half_sign_in()
        half, wrong = self.jar[HALF], self.wrong_code()
        for _ in range(5):
            self.say(wrong)
        self.jar[HALF] = half
        self.assertNotEqual(303, self.say(self.code()).status)
        self.assertFalse(self.is_signed_in())

    def test_codes_of_an_account_are_few_however_many_halves_there_are(self) -> None:
        self.turn_on()
        wrong = self.wrong_code()
        for _ in range(2):
            self.half_sign_in()
            for _ in range(5):
                self.say(wrong)
        self.half_sign_in()
        reply = self.say(self.code())
        self.assertEqual(429, reply.status)
        self.assertIn("recovery code", reply.text)
        self.assertFalse(self.is_signed_in())

    def test_after_five_minutes_it_is_over(self) -> None:
        self.turn_on()
        self.half_sign_in()
        self.now += 299
        self.assertEqual(200, self.ask(CODE_PAGE).status)
        self.now += 1
        self.assertEqual("/sign-in", self.ask(CODE_PAGE).header("location"))
        self.assertIn('name="password"', self.say(self.code()).text)
        self.assertFalse(self.is_signed_in())

    def test_it_is_this_browsers_alone(self) -> None:
        self.turn_on()
        self.half_sign_in()
        self.jar.clear()
        self.assertIn('name="password"', self.say(self.code()).text)
        self.jar[HALF] = "guessed"
        self.assertIn('name="password"', self.say(self.code()).text)
        self.assertFalse(self.is_signed_in())

    def test_what_somebody_put_into_the_browser_before_is_not_what_is_signed_in(self) -> None:
        """Fixation: neither the cookie of a session nor that of a half is taken over."""
        self.turn_on()
        self.jar[SESSION] = self.jar[HALF] = "put-there-by-somebody" * 3
        self.half_sign_in()
        self.assertNotEqual("put-there-by-somebody" * 3, self.jar[HALF])
        self.say(self.code())
        self.assertNotEqual("put-there-by-somebody" * 3, self.jar[SESSION])
        self.jar = {SESSION: "put-there-by-somebody" * 3}
        self.assertFalse(self.is_signed_in())

    def test_the_half_of_somebody_else_takes_no_code_of_mine(self) -> None:
        self.turn_on()
        self.factors_by[2] = []
        self.add_factor("mail", "mail", "b@elsewhere.example", account_id=2)
        csrf = self.ask("/sign-in").csrf
        self.ask("/sign-in", form={"csrf": csrf, "name": "bob", "password": PASSWORD})
        self.assertEqual(401, self.say(self.code()).status)
        self.assertFalse(self.is_signed_in())

    def test_a_new_password_a_disabled_or_a_deleted_account_ends_it(self) -> None:
        self.turn_on()
        account = self.accounts[1]
        for changed in (
            evolve(account, sign_in_changed_at=9.0),
            evolve(account, disabled=True),
            None,
        ):
            self.half_sign_in()
            if changed is None:
                del self.accounts[1]
            else:
                self.accounts[1] = changed
            self.assertIn('name="password"', self.say(self.code()).text)
            self.accounts[1] = account
            self.assertFalse(self.is_signed_in())

    def test_from_an_address_that_was_blocked_meanwhile_no_code_is_looked_at(self) -> None:
        self.add_factor("mail", "mail", "a@elsewhere.example")
        self.turn_on()
        self.half_sign_in()
        csrf = self.ask(CODE_PAGE).csrf
        self.guard.turn_away = {"127.0.0.1": 60.0}.__getitem__
        for path, form in (
            (CODE_PAGE, {"code": self.code()}),
            (f"{CODE_PAGE}/send", {"factor": "1"}),
        ):
            reply = self.ask(path, form={"csrf": csrf} | form)
            self.assertEqual((429, "60"), (reply.status, reply.header("retry-after")))
        self.assertEqual(({}, []), (self.use.tries, self.sent))
        self.guard.turn_away = {"127.0.0.1": 0.0}.__getitem__
        self.assertEqual(303, self.say(self.code()).status)

    def test_a_form_of_another_page_is_refused(self) -> None:
        self.turn_on()
        self.half_sign_in()
        code = self.code()
        for form in ({"code": code}, {"code": code, "csrf": "x" * 64}):
            self.assertEqual(403, self.ask(CODE_PAGE, form=form).status)
        csrf = self.ask(CODE_PAGE).csrf
        form = {"csrf": csrf, "code": code}
        self.assertEqual(403, self.ask(CODE_PAGE, "Origin: https://evil.example", form=form).status)
        self.assertFalse(self.is_signed_in())
        self.assertEqual({}, self.use.tries)

    def test_nobody_is_led_elsewhere_behind_the_code(self) -> None:
        self.turn_on()
        for wanted in (
            "//evil.example/",
            "https://evil.example/",
            "/\\evil.example",
            "javascript:1",
        ):
            self.half_sign_in(wanted)
            self.now += 30
            reply = self.say(self.code())
            self.assertEqual((303, "/"), (reply.status, reply.header("location")), wanted)
            self.jar.clear()

    def test_what_is_no_code_is_a_wrong_one(self) -> None:
        self.turn_on()
        for said in ("", "12345", "1234567", "x" * 5000, "١٢٣٤٥٦", "\0", "12345\u00b2"):
            self.half_sign_in()
            self.assertEqual(401, self.say(said).status, said)
        self.assertFalse(self.is_signed_in())

    def test_in_clear_from_elsewhere_no_code_is_taken(self) -> None:
        self.turn_on()
        self.half_sign_in()
        csrf = self.ask(CODE_PAGE).csrf
        form = {"csrf": csrf, "code": self.code()}
        reply = self.ask(CODE_PAGE, form=form, client="192.0.2.1")
        self.assertEqual(403, reply.status)

    def test_who_begins_again_and_again_pushes_out_nobody_elses_half(self) -> None:
        self.turn_on()
        self.add_factor("mail", "mail", "b@elsewhere.example", account_id=2)
        self.half_sign_in()
        alices, self.jar = self.jar, {}
        for _ in range(signin_code.MOST_HALVES + 5):
            csrf = self.ask("/sign-in").csrf
            self.ask("/sign-in", form={"csrf": csrf, "name": "bob", "password": PASSWORD})
            self.jar.clear()
        self.assertEqual(1 + signin_code.MOST_HALVES, len(self.codes.halves))
        self.jar = alices
        self.assertEqual(303, self.say(self.code()).status)

    def test_halves_are_no_more_than_a_bound(self) -> None:
        self.turn_on()
        self.codes.halves._most = 3
        for _ in range(5):
            self.jar.clear()
            self.half_sign_in()
        self.assertEqual(3, len(self.codes.halves))
        self.assertEqual(303, self.say(self.code()).status)


class RecoveryTests(FactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.turn_on()
        self.printed, hashes = self.factors.make_recovery_codes(1)
        self.recovery[1] = set(hashes)

    def test_each_signs_in_once(self) -> None:
        self.assertEqual(10, len(set(self.printed)))
        self.half_sign_in()
        self.assertEqual(303, self.say(self.printed[0].upper()).status)
        self.jar.clear()
        self.half_sign_in()
        self.assertEqual(401, self.say(self.printed[0]).status)
        self.assertEqual(303, self.say(self.printed[1].replace("-", " ")).status)
        self.assertEqual("recovery", self.portal.fitted[-1][2])

    def test_they_count_while_codes_are_guessed(self) -> None:
        self.use.tries[1] = 99
        self.half_sign_in()
        self.assertEqual(303, self.say(self.printed[3]).status)

    def test_another_accounts_count_nothing(self) -> None:
        bobs, hashes = self.factors.make_recovery_codes(2)
        self.recovery[2] = set(hashes)
        self.half_sign_in()
        self.assertEqual(401, self.say(bobs[0]).status)
        self.assertEqual(10, len(self.recovery[2]))
        self.assertNotEqual(
            self.factors.recovery_hash(1, "aaaaabbbbb"), self.factors.recovery_hash(2, "aaaaabbbbb")
        )


class SentTests(FactorCase):
    def send(self, number: int = 1) -> Any:
        csrf = self.ask(CODE_PAGE).csrf
        return self.ask(f"{CODE_PAGE}/send", form={"csrf": csrf, "factor": str(number)})

    def test_a_code_by_mail_signs_in_once_in_the_browser_that_asked(self) -> None:
        self.add_factor("mail", "mail", "a@elsewhere.example")
        self.half_sign_in()
        self.assertIn("Send a mail to a…@elsewhere.example", self.ask(CODE_PAGE).text)
        self.assertIn("on its way", self.send().text)
        ((kind, target, code),) = self.sent
        self.assertEqual(("mail", "a@elsewhere.example"), (kind, target))
        here = dict(self.jar)
        self.jar.clear()
        self.half_sign_in()
        self.assertEqual(401, self.say(code).status)
        self.jar = here
        self.assertEqual(303, self.say(code).status)
        self.jar.clear()
        self.half_sign_in()
        self.assertEqual(401, self.say(code).status)

    def test_it_counts_for_five_minutes_of_a_half_and_a_newer_one_replaces_it(self) -> None:
        self.add_factor("command", "text", "+49301234567")
        self.half_sign_in()
        self.assertIn("a text to …567", self.ask(CODE_PAGE).text)
        self.send()
        self.now += 30
        self.send()
        first, second = (code for _, _, code in self.sent)
        if first != second:
            self.assertEqual(401, self.say(first).status)
        self.assertEqual(303, self.say(second).status)

    def test_few_are_sent_in_an_hour(self) -> None:
        self.add_factor("mail", "mail", "a@elsewhere.example")
        self.half_sign_in()
        for _ in range(5):
            self.assertEqual(200, self.send().status)
        self.assertEqual(429, self.send().status)
        self.assertEqual(5, len(self.sent))
        self.now += 3600
        self.half_sign_in()
        self.assertEqual(200, self.send().status)

    def test_one_that_can_not_be_sent_is_told_and_another_way_stays(self) -> None:
        self.add_factor("mail", "mail", "a@elsewhere.example")
        self.turn_on()
        self.half_sign_in()
        self.unsendable = MailError("no")
        reply = self.send()
        self.assertEqual(503, reply.status)
        self.assertIn("could not be sent", reply.text)
        self.assertEqual(303, self.say(self.code()).status)

    def test_nobody_elses_is_sent(self) -> None:
        self.turn_on()
        self.add_factor("mail", "mail", "b@elsewhere.example", account_id=2)
        self.half_sign_in()
        self.assertEqual([422, 422, 422], [self.send(each).status for each in (1, 2, 99)])
        self.assertEqual([], self.sent)


class BoundTests(FactorCase):
    def test_the_figures_are_those_of_the_docs(self) -> None:
        self.assertEqual((300.0, 5), (signin_code.HALF_S, signin_code.MOST_TRIES))
