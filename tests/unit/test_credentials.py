"""PLAIN and LOGIN, and what a client may not say in them."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.cred.credentials import (
    BadResponse,
    LoginCredentials,
    PasswordCredentials,
    PlainCredentials,
)
from mailnode.errors import SignInRefused


def plain(response: bytes) -> PlainCredentials:
    credentials = PlainCredentials()
    credentials.setResponse(response)
    return credentials


class PlainTests(SynchronousTestCase):
    def test_one_response_says_it_all(self) -> None:
        credentials = PlainCredentials()
        self.assertTrue(credentials.initial_first)
        self.assertEqual(b"", credentials.getChallenge())
        self.assertTrue(credentials.moreChallenges())
        credentials.setResponse("\0alice@example.test\0gr\u00fc\u00df dich ".encode())
        self.assertFalse(credentials.moreChallenges())
        self.assertEqual(b"alice@example.test", credentials.username)
        self.assertEqual("gr\u00fc\u00df dich ".encode(), credentials.password)

    def test_acting_for_oneself_is_allowed_and_for_another_refused(self) -> None:
        self.assertEqual(b"alice", plain(b"alice\0alice\0secret").username)
        for authzid in (b"bob", b"Alice", b"alice "):
            self.assertRaises(SignInRefused, plain, authzid + b"\0alice\0secret")

    def test_nobody_and_no_password_are_refused(self) -> None:
        for response in (b"\0\0", b"\0alice\0", b"\0\0secret", b"alice\0\0"):
            self.assertRaises(SignInRefused, plain, response)

    def test_another_form_is_501_5_5_2(self) -> None:
        for response in (
            b"",
            b"alice",
            b"alice\0secret",
            b"\0a\0b\0c",
            b"\0al\xff\0p",
            b"\0a\0\xe9",
        ):
            error = self.assertRaises(BadResponse, plain, response)
            self.assertEqual((501, "5.5.2"), (error.smtp_code, error.enhanced))


class LoginTests(SynchronousTestCase):
    def test_it_asks_for_the_name_and_then_the_password(self) -> None:
        credentials = LoginCredentials()
        self.assertFalse(credentials.initial_first)
        self.assertEqual(b"Username:", credentials.getChallenge())
        credentials.setResponse(b"alice")
        self.assertTrue(credentials.moreChallenges())
        self.assertEqual(b"Password:", credentials.getChallenge())
        credentials.setResponse(b"secret")
        self.assertFalse(credentials.moreChallenges())
        self.assertEqual((b"alice", b"secret"), (credentials.username, credentials.password))

    def test_a_name_that_comes_with_the_command_is_not_asked_for(self) -> None:
        credentials = LoginCredentials()
        credentials.setResponse(b"alice")
        self.assertEqual(b"Password:", credentials.getChallenge())

    def test_empty_answers_are_refused(self) -> None:
        self.assertRaises(SignInRefused, LoginCredentials().setResponse, b"")
        credentials = LoginCredentials()
        credentials.setResponse(b"alice")
        self.assertRaises(SignInRefused, credentials.setResponse, b"")

    def test_nul_and_what_is_not_utf_8_are_malformed(self) -> None:
        for response in (b"a\0b", b"\xff"):
            self.assertRaises(BadResponse, LoginCredentials().setResponse, response)


class PasswordTests(SynchronousTestCase):
    def test_each_is_a_username_and_password_to_twisted(self) -> None:
        for kind in (PasswordCredentials, PlainCredentials, LoginCredentials):
            verifyObject(IUsernamePassword, kind())

    def test_only_the_same_password_is_the_same(self) -> None:
        credentials = PasswordCredentials(b"alice", "gr\u00fc\u00df".encode())
        self.assertTrue(credentials.checkPassword("gr\u00fc\u00df".encode()))
        self.assertTrue(credentials.checkPassword("gr\u00fc\u00df"))
        for other in (b"gr", b"", "gr", None, 7):
            self.assertFalse(credentials.checkPassword(other), other)

    def test_a_password_does_not_show_in_a_log(self) -> None:
        for credentials in (PasswordCredentials(b"alice", b"sesame"), plain(b"\0alice\0sesame")):
            self.assertNotIn("sesame", repr(credentials))
