"""`mailnode.endpoints`: what is wrong with an endpoint is said without the parser's insides."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.endpoints import why_no_endpoint


class EndpointTests(SynchronousTestCase):
    def why(self, read: Any, text: str) -> str:
        try:
            read(MemoryReactorClock(), text)
        except Exception as error:
            return why_no_endpoint(text, error)
        raise AssertionError(f"{text} is one")

    def test_of_a_client(self) -> None:
        for text, why in (
            ("3310", "it has no kind, such as tcp: or unix:"),
            ("smtp:localhost",
             "no kind of endpoint is 'smtp'; tcp, ssl, unix and systemd are some"),
            ("localhost:3310", "no kind of endpoint is 'localhost'; to connect say "
             "tcp:host=localhost:port=3310, to listen tcp:3310:interface=localhost"),
            ("tcp:localhost", "it names no port"),
            ("tcp:", "it names no port"),
            ("tcp", "it names no host and port"),
            ("tcp:localhost:x", "'x' is no number"),
            ("unix:/run/x:bogus=1", "there is no bogus= in it"),
        ):  # fmt: skip
            self.assertEqual(why, self.why(clientFromString, text), text)

    def test_of_a_server(self) -> None:
        for text, why in (
            ("tcp", "it names no port"),
            ("tcp:smtp", "'smtp' is no number"),
            ("ssl:465:privateKey=/no/such.pem", "/no/such.pem: No such file or directory"),
            ("systemd:domain=INET:name=x", "there is no 'x'"),
            ("systemd:domain=INET:index=0", "it can't be read"),
        ):
            self.assertEqual(why, self.why(serverFromString, text), text)
