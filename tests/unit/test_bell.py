"""`mailnode.bell`: who wants to know of a topic hears of it, from here and from other processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailnode.bell import SOCKET_NAME, Bell, BellListener, listen_for_others, ring_from_outside


class BellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bell, self.heard = Bell(), []

    def test_all_who_listen_to_a_topic_are_called_and_nobody_else(self) -> None:
        for name in ("a", "b"):
            self.bell.on("accounts", lambda name=name: self.heard.append(name))
        self.bell.on("other", lambda: self.heard.append("other"))
        self.bell.ring("accounts")
        self.bell.ring("nobody listens to this")
        self.assertEqual(["a", "b"], self.heard)

    def test_one_who_fails_is_logged_and_the_next_one_hears_it(self) -> None:
        def fail() -> None:
            raise ValueError("deaf")

        self.bell.on("accounts", fail)
        self.bell.on("accounts", lambda: self.heard.append("b"))
        self.bell.ring("accounts")
        self.assertEqual(["b"], self.heard)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_a_datagram_rings_for_its_topic_and_nonsense_for_none(self) -> None:
        self.bell.on("accounts", lambda: self.heard.append("a"))
        listener = BellListener(self.bell)
        for datagram in (b"\xff\xfe\x00", b"", b"accounts" * 9000, b"ACCOUNTS"):
            listener.datagramReceived(datagram, None)
        self.assertEqual([], self.heard)
        listener.datagramReceived(b"accounts", None)
        self.assertEqual(["a"], self.heard)


class OutsideTests(TestCase):
    """With the socket in a folder of its own: its path has to be short."""

    timeout = 30

    def setUp(self) -> None:
        self.data = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.data)

    def listen(self, bell: Bell) -> None:
        port = listen_for_others(bell, reactor, self.data)
        self.addCleanup(port.stopListening)

    async def test_another_process_rings(self) -> None:
        bell: Bell = Bell()
        rung: Deferred[None] = Deferred()
        bell.on("accounts", lambda: rung.callback(None))
        self.listen(bell)
        self.assertTrue(ring_from_outside(self.data, "accounts"))
        await rung

    def test_the_socket_is_its_owner_s_alone(self) -> None:
        self.listen(Bell())
        self.assertEqual(0o600, (self.data / SOCKET_NAME).stat().st_mode & 0o777)

    def test_what_a_killed_node_left_there_is_taken_over(self) -> None:
        (self.data / SOCKET_NAME).write_text("left")
        self.listen(Bell())
        self.assertTrue((self.data / SOCKET_NAME).is_socket())

    def test_nobody_there_is_no_error(self) -> None:
        self.assertFalse(ring_from_outside(self.data, "accounts"))
        (self.data / SOCKET_NAME).write_text("no socket")
        self.assertFalse(ring_from_outside(self.data, "accounts"))

    def test_a_path_that_is_too_long_for_a_socket_has_no_bell_and_is_no_error(self) -> None:
        deep = self.data / ("x" * 120)
        os.mkdir(deep)
        self.assertIs(None, listen_for_others(Bell(), reactor, deep))
        self.assertFalse(ring_from_outside(deep, "accounts"))
