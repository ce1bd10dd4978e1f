"""The mail client's commands before they connect: where they would go, and what they say."""

from __future__ import annotations

import os
import time
from unittest.mock import patch

import click
from attrs import define

from mailnode.cli import output, places
from mailnode.cli.frame import Mistake
from mailnode.cli.places import ClientCommand, Place
from mailnode.client.trouble import SignInRefused
from tests.unit.cli_case import CommandCase


@define
class Opened:
    """What a session was opened with."""

    passwords: list[str]
    right: str

    def open(self, _connection: object, _user: str, password: str) -> str:
        self.passwords.append(password)
        if password != self.right:
            raise SignInRefused("bob is not let in")
        return "in"


class StoppedNodeTests(CommandCase):
    def test_a_node_here_that_does_not_run_is_named(self) -> None:
        self.make_accounts("bob@example.test")
        for line in ("list bob@example.test", "list bob", "stat"):
            self.assertIn("the node in this folder does not run", self.refusal(line, 75), line)

    def test_mail_of_another_domain_is_none_of_its_business(self) -> None:
        self.make_accounts("bob@example.test")
        with patch.object(places, "discover", side_effect=Mistake("asked")) as asked:
            self.refusal("list bob@elsewhere.test", 65)
        asked.assert_called_once_with("bob@elsewhere.test")

    def test_without_a_node_the_domain_is_asked(self) -> None:
        with patch.object(places, "discover", side_effect=Mistake("asked")):
            self.assertIn("asked", self.refusal("list bob@example.test", 65))


class CapturedTests(CommandCase):
    def place(self) -> Place:
        command = ClientCommand("x", example="x")
        place = Place(click.Context(command))
        place.is_node = True
        return place

    def test_what_the_gear_keeps_here_is_known(self) -> None:
        self.make_accounts("bob@example.test")
        place = self.place()
        self.assertTrue(place.is_captured("eve@elsewhere.test"))
        self.assertFalse(place.is_captured("bob@example.test"))
        self.run_command("gear set allow-list --allow elsewhere.test")
        self.assertFalse(place.is_captured("eve@elsewhere.test"))

    def test_of_other_servers_nothing_is_said(self) -> None:
        self.make_accounts("bob@example.test")
        place = self.place()
        place.is_node = False
        self.assertFalse(place.is_captured("eve@elsewhere.test"))


class PasswordTests(CommandCase):
    def sign_in(
        self, right: str, typed: list[str], kept: str | None = None, **chosen: str
    ) -> list[str]:
        """The passwords that were tried."""
        ctx = click.Context(ClientCommand("x", example="x"))
        for name, value in {"pop3": "localhost:1", "user": "bob", **chosen}.items():
            places.choose(ctx, name, value)
        opened = Opened([], right)
        with (
            patch.object(places, "stdin_is_terminal", return_value=True),
            patch.object(places.click, "prompt", side_effect=typed),
            patch.object(places.passwords, "from_keyring", return_value=kept),
            patch.object(places.passwords, "has_keyring", return_value=False),
            patch.object(places, "Connection"),
            patch.object(places.Maildrop, "open", opened.open),
        ):
            self.outcome = None
            try:
                Place(ctx).maildrop()
            except SignInRefused as refusal:
                self.outcome = refusal
        return opened.passwords

    def test_a_wrong_one_is_asked_for_again_three_times_in_all(self) -> None:
        self.assertEqual(["a", "b"], self.sign_in("b", ["a", "b"]))
        self.assertEqual(["a", "b", "c"], self.sign_in("d", ["a", "b", "c"]))
        self.assertIsInstance(self.outcome, SignInRefused)

    def test_one_of_the_keyring_that_is_wrong_by_now_is_asked_for(self) -> None:
        self.assertEqual(["old", "new"], self.sign_in("new", ["new"], kept="old"))
        self.assertIsNone(self.outcome)

    def test_one_that_stands_in_a_file_is_not_asked_for(self) -> None:
        (self.folder / "pw").write_text("wrong\n")
        self.assertEqual(["wrong"], self.sign_in("b", [], password_file="pw"))
        self.assertIsInstance(self.outcome, SignInRefused)


class ShownTests(CommandCase):
    def test_a_date_that_no_clock_shows_is_not_shown(self) -> None:
        for at in (1e300, -1e300, float("inf"), float("nan"), 253402300799.0 + 86400):
            self.assertEqual("", output.day_and_time(at))
        with patch.dict(os.environ, {"TZ": "UTC"}):
            time.tzset()
            self.addCleanup(time.tzset)
            self.assertEqual("1970-01-01 00:01", output.day_and_time(60.0))
