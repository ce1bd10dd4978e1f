"""The corpus is replayed, and dialogs that Hypothesis makes are held; `make fuzz` goes on.

Hypothesis draws the same dialogs in each run. FUZZ_EXAMPLES=10000 draws more, and others.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import mailnode
from tests.fuzz import planted
from tests.fuzz.client import Planned
from tests.fuzz.script import MOST_OCTETS, Script
from tests.fuzz.targets import TARGETS, corpus_of, words_of

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
LETTERS = {"smtp": "ltiuaAembdfpoyPSFLN", "pop3": "ltiaAeoyPSFnghbxXfDUu", "wire": "m"}


def fewer(count: int) -> settings:
    """The same `count` examples each time, unless more were asked for."""
    return settings(max_examples=EXAMPLES or count, derandomize=not EXAMPLES, deadline=None)


def dialogs(name: str) -> st.SearchStrategy[bytes]:
    """Scripts of whole commands, mostly in an order that leads somewhere, cut anywhere."""
    letters = st.lists(st.sampled_from(LETTERS[name] + "12379"), max_size=5).map("".join)
    begin = {"smtp": SMTP_BEGIN, "pop3": POP3_BEGIN, "wire": [b""]}[name]
    words = st.one_of(st.sampled_from(words_of(name)), st.binary(max_size=3))
    return st.builds(
        lambda first, start, rest: first.encode() + b"\n" + start + b"".join(rest),
        letters,
        st.sampled_from(begin),
        st.lists(words, max_size=14),
    )


_HELLO = b"EHLO client.example\r\n"
_MAIL = b"MAIL FROM:<a@b.example>\r\n"
_RCPT = b"RCPT TO:<alice@example.test>\r\n"
_SIGNED_IN = _HELLO + b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<alice@example.test>\r\n"
SMTP_BEGIN = [
    b"",
    _HELLO,
    _HELLO + _MAIL,
    _HELLO + _MAIL + _RCPT,
    _HELLO + _MAIL + _RCPT + b"DATA\r\n",
    _HELLO + _MAIL + _RCPT + b"BDAT 4\r\na\r\n.",
    _HELLO + b"AUTH LOGIN\r\n",
    _SIGNED_IN,
    _SIGNED_IN + b"RCPT TO:<x@elsewhere.example>\r\nDATA\r\n",
    _SIGNED_IN + b"RCPT TO:<x@elsewhere.example>\r\nBDAT 9\r\nBcc: a\r\n\t",
    b"STARTTLS\r\n\xfe|" + _HELLO,
]
POP3_BEGIN = [
    b"",
    b"USER alice\r\nPASS secret\r\n",
    b"USER alice\r\nPASS secret\r\nDELE 1\r\nRETR 2\r\n",
    b"STLS\r\n\xfe|AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
    b"AUTH LOGIN\r\n",
]
_PART = st.text(st.characters(codec="utf-8"), max_size=12)
_PIECE = st.sampled_from([word.decode() for word in words_of("addresses")])
ADDRESSES = st.lists(st.one_of(_PIECE, _PART), max_size=8).map(
    lambda parts: "".join(parts).encode()
)


class FuzzCase(SynchronousTestCase):
    def hold(self, name: str, octets: bytes) -> None:
        TARGETS[name](octets)
        self.flushLoggedErrors(Planned)


class CorpusTests(FuzzCase):
    """Every input that once reached something new is held again, a dialog also octet by octet."""

    def replay(self, name: str, least: int) -> None:
        paths = corpus_of(name)
        self.assertGreaterEqual(len(paths), least)
        for path in paths:
            octets = path.read_bytes()
            for each in (octets, b"1" + octets)[: 1 + (name in ("smtp", "pop3"))]:
                try:
                    TARGETS[name](each)
                except Exception as error:
                    raise AssertionError(f"corpus/{name}/{path.name}: {error}") from error
        self.flushLoggedErrors()  # of faults that are planned; others fail their target

    def test_of_smtp(self) -> None:
        self.replay("smtp", 50)

    def test_of_pop3(self) -> None:
        self.replay("pop3", 30)

    def test_of_wire(self) -> None:
        self.replay("wire", 2)

    def test_of_addresses(self) -> None:
        self.replay("addresses", 5)


class DialogTests(FuzzCase):
    """What the models of RFC 5321 and RFC 1939 don't allow is never said, nor done."""

    @fewer(500)
    @given(dialogs("smtp"))
    def test_of_smtp(self, script: bytes) -> None:
        self.hold("smtp", script)

    @fewer(500)
    @given(dialogs("pop3"))
    def test_of_pop3(self, script: bytes) -> None:
        self.hold("pop3", script)

    @fewer(500)
    @given(dialogs("wire"))
    def test_of_wire(self, script: bytes) -> None:
        self.hold("wire", script)

    @fewer(500)
    @given(ADDRESSES)
    def test_of_addresses(self, octets: bytes) -> None:
        self.hold("addresses", octets)


class ScriptTests(SynchronousTestCase):
    @fewer(200)
    @given(st.binary(max_size=200))
    def test_every_octet_string_is_one_and_not_too_long(self, octets: bytes) -> None:
        items = Script.read(octets).items
        self.assertLess(sum(len(item) for item in items), MOST_OCTETS + 2 * 64 * 256)
        self.assertNotIn(b"", items)

    def test_marks_cut_and_fill_and_stand_for_themselves(self) -> None:
        script = Script.read(b"l3\nabcd\xfe|e\xfe\xfef\xfex\x01\xfewg\xfeqh")
        self.assertEqual(script.settings, {"l", "3"})
        packets = b"".join(item for item in script.items if isinstance(item, bytes))
        self.assertEqual(packets, b"abcde\xfef" + b"x" * 64 + b"g")
        self.assertEqual(script.items[:3], (b"abc", b"d", b"e\xfef"))
        self.assertEqual((script.items[-3], script.items[-1]), ("w", "q"))


class PlantedTests(SynchronousTestCase):
    """`python -m tests.fuzz.planted` finds them; here they are held against the code."""

    def test_each_fault_can_be_planted(self) -> None:
        faults = planted.read_faults()
        self.assertGreaterEqual(len(faults), 12)
        for fault in faults:
            path = Path(mailnode.__file__).parents[1] / fault.patch.file  # the tree, or the wheel
            source = path.read_text("utf-8")
            self.assertNotEqual(fault.patch.applied(source), source)
            self.assertIn(fault.target, TARGETS)

    def test_each_has_another_name(self) -> None:
        listed = tomllib.loads(planted.PLANTED.read_text("utf-8"))["fault"]
        self.assertEqual(len({each["what"] for each in listed}), len(listed))
