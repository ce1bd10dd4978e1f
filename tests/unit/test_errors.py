"""`mailnode.errors`: every error has an answer on every wire, and none of them leaks (S16, S18)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.mail.smtp import SMTPServerError
from twisted.trial.unittest import SynchronousTestCase

from mailnode import errors
from mailnode.errors import MailError, Refused, answer_for

POP3_CODES = {"", "AUTH", "IN-USE", "SYS/TEMP", "SYS/PERM", "LOGIN-DELAY"}


def every_class(top: type[MailError] = MailError) -> Iterator[type[MailError]]:
    yield top
    for below in top.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from every_class(below)


class TreeTests(SynchronousTestCase):
    def test_the_enhanced_code_has_the_class_of_the_basic_code(self) -> None:
        for error in every_class():
            self.assertRegex(error.enhanced, r"^[45]\.\d{1,3}\.\d{1,3}$")
            self.assertEqual(error.enhanced[0], str(error.smtp_code)[0], error.__name__)

    def test_texts_are_one_line_of_printable_ascii(self) -> None:
        for error in every_class():
            self.assertTrue(re.fullmatch(r"[ -~]+", error.text), error.__name__)

    def test_pop3_codes_are_those_that_were_registered(self) -> None:
        for error in every_class():
            self.assertIn(error.pop3_code, POP3_CODES, error.__name__)

    def test_what_is_refused_is_for_good_and_http_calls_it_the_client_s_fault(self) -> None:
        for error in every_class(Refused):
            self.assertFalse(error().temporary, error.__name__)
            self.assertLess(error.http_status, 500, error.__name__)

    def test_the_store_s_faults_are_temporary(self) -> None:
        for name in ("StoreBusy", "StoreFull", "StoreBroken", "MailboxFull", "SignInBusy"):
            self.assertTrue(getattr(errors, name)().temporary, name)

    def test_the_detail_is_for_the_log_alone(self) -> None:
        error = errors.StoreBroken(detail="/srv/mail/var: disk image is malformed")
        self.assertNotIn("/srv", error.text)
        self.assertIn("/srv", str(error))


class AnswerForTests(SynchronousTestCase):
    def test_a_mail_error_answers_for_itself(self) -> None:
        error = errors.NoSuchMailbox()
        self.assertIs(answer_for(error), error)

    def test_a_bug_is_temporary_and_tells_strangers_nothing(self) -> None:
        answer = answer_for(KeyError("/secret/path"))
        self.assertEqual((answer.smtp_code, answer.enhanced), (451, "4.3.0"))
        self.assertEqual((answer.pop3_code, answer.http_status), ("SYS/TEMP", 503))
        self.assertNotIn("secret", answer.text)
        self.assertIn("KeyError: '/secret/path'", answer.detail)

    def test_twisted_s_smtp_errors_keep_their_code_and_text(self) -> None:
        answer = answer_for(SMTPServerError(554, b"No thanks"))
        self.assertEqual(
            (answer.smtp_code, answer.enhanced, answer.text), (554, "5.0.0", "No thanks")
        )
        self.assertEqual((answer.pop3_code, answer.http_status), ("SYS/PERM", 422))
        self.assertFalse(answer.temporary)

    def test_a_temporary_smtp_error_of_twisted_s_is_temporary_on_every_wire(self) -> None:
        answer = answer_for(SMTPServerError(450, b"Later"))
        self.assertEqual((answer.smtp_code, answer.enhanced), (450, "4.0.0"))
        self.assertEqual((answer.pop3_code, answer.http_status), ("SYS/TEMP", 503))

    def test_an_enhanced_code_in_its_text_is_used_when_the_class_agrees(self) -> None:
        answer = answer_for(SMTPServerError(550, b"5.7.1 Not you"))
        self.assertEqual((answer.enhanced, answer.text), ("5.7.1", "Not you"))
        answer = answer_for(SMTPServerError(450, b"5.7.1 Not you"))
        self.assertEqual((answer.enhanced, answer.text), ("4.0.0", "5.7.1 Not you"))

    def test_its_text_becomes_one_line_of_printable_ascii(self) -> None:
        for resp in (b"a\r\n250 b\0\x1b[1m", b"\xff", b"", b" \r\n"):
            self.assertTrue(re.fullmatch(r"[ -~]+", answer_for(SMTPServerError(550, resp)).text))

    def test_a_code_that_is_no_failure_is_a_bug(self) -> None:
        self.assertEqual(answer_for(SMTPServerError(250, b"OK")).smtp_code, 451)
