"""`mailnode.welcome`: what people on a terminal are told at a start."""

from __future__ import annotations

import io
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from mailnode import __version__
from mailnode.config import load_config
from mailnode.listening import Listener
from mailnode.tls import Certificate
from mailnode.welcome import welcome
from tests.fakes import small_directory


class WelcomeTests(SynchronousTestCase):
    """What people on a terminal see."""

    def setUp(self) -> None:
        self.said = io.StringIO()
        self.patch(sys, "__stdout__", self.said)

    def welcome(self, accounts: Any = (), demo: Any = (), gear: str = "live", **ports: str) -> str:
        listeners = []
        for kind, where in ports.items():
            listener = Listener(kind, where)
            host, number = where.rsplit(":", 1)
            address = IPv4Address("TCP", host, int(number))
            port = SimpleNamespace(getHost=lambda address=address: address)
            listener._ports = [port]
            listeners.append(listener)
        node: Any = SimpleNamespace(
            hostname="mx.example.test",
            listeners=listeners,
            certificate=Certificate(Path("var/tls/cert.pem"), Path("k"), time.time, True),
            directory=SimpleNamespace(demo_accounts=demo, accounts=lambda: accounts, gear=gear),
            config=load_config(environment={}),
            command="mailnode",
        )
        welcome(node)
        return self.said.getvalue()

    def test_it_says_where_it_listens_and_how_others_could_reach_it(self) -> None:
        text = self.welcome(accounts=["one"], smtp="127.0.0.1:2525", pop3="127.0.0.1:1100")
        self.assertIn(f"mailnode {__version__} is mx.example.test", text)
        self.assertIn("smtp       127.0.0.1:2525   (only this machine)", text)
        self.assertIn("For others --smtp tcp:25", text)
        self.assertIn("self-signed, var/tls/cert.pem", text)
        self.assertNotIn("curl", text)
        self.assertNotIn("init --user", text)

    def test_what_others_reach_is_not_said_to_be_this_machine_s(self) -> None:
        text = self.welcome(accounts=["one"], smtp="0.0.0.0:25")
        self.assertNotIn("only this machine", text)
        self.assertNotIn("For others", text)

    def test_a_browser_is_told_where_to_go(self) -> None:
        text = self.welcome(accounts=["one"], http="127.0.0.1:8080", https="0.0.0.0:8443")
        self.assertIn("  Web        http://localhost:8080/\n", text)
        self.assertIn("  Web        https://mx.example.test:8443/\n", text)
        self.assertNotIn("Web", self.welcome(accounts=["one"], smtp="127.0.0.1:2525")[len(text) :])

    def test_mail_for_elsewhere_that_stays_here_is_said_with_the_way_out(self) -> None:
        for gear, words in {
            "capture": "never sent; ",
            "allow-list": "but for the allow list",
        }.items():
            self.said.truncate(0)
            lines = self.welcome(gear=gear, smtp="127.0.0.1:2525").splitlines()
            ((line, next_line),) = (pair for pair in pairwise(lines) if "is captured" in pair[0])
            self.assertIn(words, line)
            self.assertIn("to see it: mailnode queue list", line)
            self.assertIn("to let it out: mailnode gear set live", next_line)
        self.said.truncate(0)
        self.assertNotIn("captured", self.welcome(smtp="127.0.0.1:2525"))

    def test_what_is_said_stands_in_one_column(self) -> None:
        text = self.welcome(["one"], gear="capture", smtp="127.0.0.1:25", http="127.0.0.1:80")
        for line in filter(None, text.splitlines()[2:]):
            self.assertRegex(line, "^  .{10} [^ ]", text)

    def test_an_empty_node_says_how_the_first_account_is_made(self) -> None:
        text = self.welcome(smtp="127.0.0.1:2525")
        self.assertIn("mailnode init --user you@your.domain", text)

    def test_demo_accounts_are_shown_with_two_lines_to_paste(self) -> None:
        alice, bob, *_others = small_directory().accounts()
        demo = (evolve(alice, admin=True), bob)
        text = self.welcome(demo=demo, smtp="127.0.0.1:2525", pop3="127.0.0.1:1100")
        self.assertIn("alice@example.test   password alice-demo   (administrator)\n", text)
        self.assertIn("bob@example.test   password bob-demo\n", text)
        self.assertNotIn("For others", text)
        self.assertIn("curl smtp://127.0.0.1:2525 --mail-from bob@example.test", text)
        self.assertIn("curl pop3://127.0.0.1:1100/1 -u alice@example.test:alice-demo", text)

    def test_without_both_servers_there_is_nothing_to_paste(self) -> None:
        alice, bob, *_others = small_directory().accounts()
        text = self.welcome(demo=(alice, bob), smtp="127.0.0.1:2525")
        self.assertNotIn("curl", text)
