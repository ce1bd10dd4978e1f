"""Programs that say anything at all: a filter ends with a verdict, or an answer for the client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import FilterFailed, Refused
from mailnode.filters.clamd import Clamd
from mailnode.filters.limits import Outside
from mailnode.filters.milter import Milter
from mailnode.filters.packets import packet
from mailnode.filters.rspamd import Rspamd
from mailnode.filters.spamd import Spamd
from mailnode.intake import _heeded
from mailnode.model import Verdict
from tests.unit.filters_case import FakeEndpoint, FilterCase, message_of

ANY = st.binary(max_size=60)
WORDS = {
    Clamd: [b"stream: ", b"OK", b" FOUND", b" ERROR", b"\0", b"\r\n"],
    Spamd: [
        b"SPAMD/1.1 0 EX_OK\r\n",
        b"Content-length: 30\r\n",
        b"Spam: True ; 6.0 / 5.0\r\n",
        b"\r\n",
        b" 1.0 A_RULE  words\r\n",
        b"                            more words\r\n",
    ],
    Rspamd: [
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Length: 40\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"28\r\n",
        b'{"action": "add header", "symbols": {}} ',
        b"\r\n0\r\n\r\n",
    ],
    Milter: [
        packet(b"O", pack(">III", 6, 0, 0)),
        packet(b"O", pack(">III", 6, 0, 0x0F_FFFF & ~0x800)),
        *[packet(bytes([letter]), b"X-A\0b\0") for letter in b"+-2abcdefhimpqrsty4"],
        packet(b"i", pack(">I", 1) + b"X-A\0b\r\n\r\nc\0"),
        packet(b"y", b"550 5.7.1 No\r\n250 Yes\0"),
        *[packet(b"c")] * 10,
        b"\0\0",
    ],
}  # fmt: skip

# From nothing, or from where the answer proper begins: a milter that is told of the end alone.
STARTS = {
    Clamd: [b""],
    Spamd: [b"", b"SPAMD/1.1 0 EX_OK\r\nContent-length: 90\r\nSpam: True ; 6.0 / 5.0\r\n\r\n"],
    Rspamd: [b"", b"HTTP/1.1 200 OK\r\n"],
    Milter: [b"", packet(b"O", pack(">III", 6, 0, 0x2FF & ~0x100))],
}


class AnythingTests(SynchronousTestCase):
    def check(self, kind: type[Outside], pieces: Sequence[bytes]) -> None:
        clock = Clock()
        endpoint = FakeEndpoint(clock)
        outside = kind(endpoint=endpoint, clock=clock, name="judge")
        results: list[Verdict | Failure] = []
        FilterCase.judge(self, outside, message_of()).addBoth(results.append)  # type: ignore[arg-type]
        for piece in pieces:
            endpoint.wire.say(piece)
        endpoint.wire.lose()
        clock.advance(31)
        clock.advance(0)
        (result,) = results
        if isinstance(result, Failure):
            error = result.value
            assert isinstance(error, (Refused, FilterFailed)), result.getTraceback()
            self.assertEqual("5" if isinstance(error, Refused) else "4", error.enhanced[0])
            self.assertEqual(error.enhanced[0], str(error.smtp_code)[0])
            self.assertTrue(error.text.isascii() and error.text.isprintable())
        else:
            self.assertIs(result, _heeded(result, "judge"))  # it is one that the intake takes
            for reason in result.reasons:
                self.assertTrue(reason.isprintable(), reason)
        self.assertEqual([], clock.getDelayedCalls())

    @settings(max_examples=600, deadline=None)
    @given(st.data())
    def test_any_words_in_any_order(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(list(WORDS)))
        words = st.one_of(st.sampled_from(WORDS[kind]), st.sampled_from(WORDS[kind]), ANY)
        start = data.draw(st.sampled_from(STARTS[kind]))
        self.check(kind, [start, *data.draw(st.lists(words, max_size=25))])

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=8), inner, max_size=3)
                | st.fixed_dictionaries(
                    {},
                    optional={
                        name: inner
                        for name in (
                            "action score required_score symbols messages smtp_message name"
                            " description options is_skipped error"
                        ).split()
                    },
                )
            ),
            max_leaves=12,
        ),
        st.sampled_from(["no action", "reject", "soft reject", "add header", None]),
    )
    def test_any_json_of_rspamd(self, answer: object, action: str | None) -> None:
        if isinstance(answer, dict) and action is not None:
            answer["action"] = action
        body = json.dumps(answer).encode()
        self.check(Rspamd, [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body])
