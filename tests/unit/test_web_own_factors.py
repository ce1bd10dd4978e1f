"""One's own second factors, on the page where they are set up and turned off."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp

from mailnode.events import FactorAdded, FactorRemoved, RecoveryCodesMade
from tests.unit.factor_case import OWN_PAGE, FactorCase
from tests.unit.web_case import PASSWORD


class OwnTests(FactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def begin(self, kind: str = "totp", password: str = PASSWORD, **more: str) -> Any:
        return self.own_page("/begin", kind=kind, password=password, **more)

    def uri(self, reply: Any) -> str:
        found = re.search(r'href="(otpauth://[^"]+)"', reply.text)
        assert found, reply.text
        return found[1].replace("&amp;", "&")

    def set_up(self) -> Any:
        """alice's device, by what the page shows."""
        uri = self.uri(self.begin())
        device = pyotp.parse_uri(uri)
        self.assertIsInstance(device, pyotp.TOTP)
        self.device = device  # type: ignore[assignment]
        return self.own_page("/confirm", code=self.code())

    def test_the_page_says_that_there_is_none(self) -> None:
        self.assertIn("your password alone signs you in", self.ask(OWN_PAGE).text)

    def test_a_device_is_set_up_by_a_qr_code_that_needs_no_picture_of_strangers(self) -> None:
        reply = self.begin(name="my phone")
        self.assertEqual(200, reply.status)
        self.assertEqual(1, len(re.findall(r'<svg [^>]*class="qr"', reply.text)))
        self.assertNotIn("style=", reply.text)
        self.assertNotIn("<img", reply.text)
        parts = urlsplit(self.uri(reply))
        self.assertEqual("totp", parts.netloc)
        asked = parse_qs(parts.query)
        self.assertEqual(["mx.example.test"], asked["issuer"])
        self.assertEqual(32, len(asked["secret"][0]))
        self.assertEqual({}, self.factors_by)

    def test_with_its_code_it_is_on_others_are_out_and_recovery_codes_are_shown_once(self) -> None:
        here = dict(self.jar)
        self.jar.clear()
        self.sign_in()
        there = self.jar
        self.jar = here
        codes = self.shown_codes(self.set_up())
        self.assertEqual(10, len(set(codes)))
        self.assertNotIn(codes[0], self.ask(OWN_PAGE).text)
        (factor,) = self.factors_by[1]
        self.assertNotIn(self.device.secret.encode(), factor.sealed_secret)
        self.assertTrue(self.is_signed_in())
        self.jar = there
        self.assertFalse(self.is_signed_in())
        self.assertEqual(
            [FactorAdded.name, RecoveryCodesMade.name], [each.name for each in self.told]
        )

    def test_the_code_that_turned_it_on_signs_nobody_in(self) -> None:
        self.set_up()
        self.jar.clear()
        self.half_sign_in()
        self.assertEqual(401, self.say(self.code()).status)

    def test_it_needs_the_password_and_a_right_code(self) -> None:
        self.assertEqual(422, self.begin(password="wrong").status)
        self.assertEqual(422, self.own_page("/confirm", code="123456").status)
        self.device = pyotp.parse_uri(self.uri(self.begin()))  # type: ignore[assignment]
        self.assertEqual(422, self.own_page("/confirm", code=self.wrong_code()).status)
        self.assertEqual({}, self.factors_by)
        self.assertEqual(200, self.own_page("/confirm", code=self.code()).status)

    def test_five_wrong_codes_or_ten_minutes_end_the_setting_up(self) -> None:
        self.device = pyotp.parse_uri(self.uri(self.begin()))  # type: ignore[assignment]
        for _ in range(5):
            self.own_page("/confirm", code=self.wrong_code())
        self.own_page("/confirm", code=self.code())
        self.assertEqual({}, self.factors_by)
        self.device = pyotp.parse_uri(self.uri(self.begin()))  # type: ignore[assignment]
        self.now += 600
        self.own_page("/confirm", code=self.code())
        self.assertEqual({}, self.factors_by)

    def test_a_code_by_mail_goes_to_an_address_that_has_shown_one_before(self) -> None:
        reply = self.begin("mail", target="a@elsewhere.example", name="other mail")
        self.assertIn("on its way to <b>a@elsewhere.example", reply.text)
        self.assertEqual({}, self.factors_by)
        ((_, _, code),) = self.sent
        self.assertEqual(200, self.own_page("/confirm", code=code).status)
        (factor,) = self.factors_by[1]
        self.assertEqual(("mail", "a@elsewhere.example"), (factor.kind, factor.target))

    def test_ones_own_mailbox_and_what_is_no_address_or_number_are_refused(self) -> None:
        for kind, target in (
            ("mail", "alice@example.test"),
            ("mail", "nowhere"),
            ("command", "--help"),
            ("command", "+49 30 12; rm"),
            ("command", ""),
            ("pigeon", "roof"),
        ):
            self.assertEqual(422, self.begin(kind, target=target).status, target)
        self.assertEqual([], self.sent)
        self.begin("command", target="+49 (30) 1234-567")
        self.assertEqual("+49301234567", self.sent[0][1])

    def test_turning_off_needs_both_and_signs_others_out(self) -> None:
        self.set_up()
        self.now += 30
        for password, code in (("wrong", self.code()), (PASSWORD, self.wrong_code())):
            reply = self.own_page("/1/remove", password=password, code=code)
            self.assertEqual(422, reply.status)
        self.assertTrue(self.factors_by[1])
        other = dict(self.jar)
        self.jar.clear()
        self.half_sign_in()
        self.say(self.code())
        self.assertTrue(self.is_signed_in())
        there, self.jar = self.jar, other
        self.now += 30
        self.own_page("/1/remove", password=PASSWORD, code=self.code())
        self.assertEqual([], self.factors_by[1])
        self.assertTrue(self.is_signed_in())
        self.jar = there
        self.assertFalse(self.is_signed_in())
        (removed,) = [each for each in self.told if each.name == FactorRemoved.name]
        self.assertEqual("alice@example.test", removed.detail["by"])

    def test_new_recovery_codes_need_both_and_replace_the_others(self) -> None:
        before = self.shown_codes(self.set_up())
        self.now += 30
        self.assertEqual(
            422, self.own_page("/recovery-codes", password=PASSWORD, code="000").status
        )
        reply = self.own_page("/recovery-codes", password=PASSWORD, code=self.code())
        after = self.shown_codes(reply)
        self.assertEqual(10, len(after))
        self.jar.clear()
        self.half_sign_in()
        self.assertEqual(401, self.say(before[0]).status)
        self.assertEqual(303, self.say(after[0]).status)

    def test_forms_of_other_pages_change_nothing(self) -> None:
        self.set_up()
        self.now += 30
        for path in ("/begin", "/confirm", "/send", "/1/remove", "/recovery-codes"):
            form = {"password": PASSWORD, "code": self.code(), "kind": "totp", "factor": "1"}
            self.assertEqual(403, self.ask(f"{OWN_PAGE}{path}", form=form).status, path)
        self.assertEqual(1, len(self.factors_by[1]))

    def test_two_of_one_name_are_told_apart_before(self) -> None:
        self.set_up()
        self.now += 30
        self.assertEqual(422, self.begin(code=self.code()).status)
        self.assertEqual(200, self.begin(name="the other", code=self.code()).status)

    def test_another_needs_a_code_of_what_is_on_beside_the_password(self) -> None:
        self.assertNotIn('name="code"', self.ask(OWN_PAGE).text)
        self.set_up()
        self.now += 30
        for more in ({}, {"code": self.wrong_code()}):
            reply = self.begin(name="mine", **more)
            self.assertEqual(422, reply.status)
            self.assertNotIn("otpauth:", reply.text)
            self.assertEqual(422, self.begin("mail", target="a@elsewhere.example", **more).status)
        self.assertEqual([], self.sent)
        self.assertIn("otpauth:", self.begin(name="mine", code=self.code()).text)

    def test_the_settings_page_leads_there(self) -> None:
        self.assertIn("Off: your password alone", self.ask("/settings").text)
        self.set_up()
        text = self.ask("/settings").text
        self.assertIn("On: Authenticator app", text)
        self.assertIn(OWN_PAGE, text)
