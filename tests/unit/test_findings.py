"""What is wrong with a mail is found, and nothing else: the table is vectors/findings.toml.

FINDINGS_MIB=10 for worst mails of that size, 1 else.
"""

from __future__ import annotations

import os
import re
import time
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.findings import DOUBTFUL, NOTE, RULES, WRONG, Finding, find
from mailnode.findings.header import MOST_FIELD_OCTETS
from mailnode.findings.kinds import BY_EXTENSION, KINDS, PROGRAMS, kind_of
from mailnode.findings.rules import MOST_OF_A_KIND

VECTORS = Path(__file__).parents[1] / "vectors"
TABLE = tomllib.loads((VECTORS / "findings.toml").read_text("utf-8"))
GOOD = sorted([*(VECTORS / "mails").glob("*.eml"), *(VECTORS / "reports").glob("*.eml")])
NOW = 1_795_831_200  # Sat, 28 Nov 2026 02:00:00 +0000
MIB = 1024 * 1024
WORST_MIB = int(os.environ.get("FINDINGS_MIB", "1"))

_FIELDS = {
    "Date": "Sat, 28 Nov 2026 01:00:00 +0000",
    "From": "Alice <alice@example.org>",
    "To": "bob@example.net",
    "Message-ID": "<1@example.org>",
    "Subject": "Hello",
    "MIME-Version": "1.0",
}


def _nested(depth: int) -> str:
    """Multiparts b0 (the mail's own) to b<depth>, each closed."""
    opened = "".join(
        f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n" for n in range(depth)
    )
    closed = "".join(f"--b{n}--\n" for n in reversed(range(depth)))
    return f"{opened}--b{depth}\n\nHello\n--b{depth}--\n{closed}"


_FILL: dict[str, Callable[[int], str]] = {
    "long": lambda count: "x" * count,
    "fields": lambda count: "\n".join(f"X-{n}: x" for n in range(count)),
    "nested": _nested,
    "parts": lambda count: "--b\n\nHello\n" * count,
}


def _filled(text: str) -> str:
    return re.sub(r"\{(\w+):(\d+)\}", lambda found: _FILL[found[1]](int(found[2])), text)


def mail_of(case: dict[str, Any]) -> bytes:
    """The octets that a row of the table means."""
    if "raw" in case:
        return str(case["raw"]).encode("latin-1")
    changed = _filled(case.get("fields", ""))
    names = {line.partition(":")[0].lower() for line in changed.split("\n")}
    left = [
        f"{name}: {value}"
        for name, value in _FIELDS.items()
        if name.lower() not in names and name not in case.get("without", ())
    ]
    lines = [*case.get("first", "").splitlines(), *left, *changed.split("\n")]
    text = "\n".join(filter(None, lines)) + "\n\n" + _filled(case.get("body", "Hello\n"))
    return text.replace("\n", "\r\n").encode("latin-1")


def names_of(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings}


class TableTests(SynchronousTestCase):
    def test_each_smallest_mail_has_its_finding_and_nothing_else(self) -> None:
        for case in TABLE["case"]:
            findings = find(mail_of(case), at=NOW)
            wanted = {case["finds"], *case.get("also", ())}
            self.assertEqual(wanted, names_of(findings), case)
            severities = {each.severity for each in findings if each.name == case["finds"]}
            rule = RULES[case["finds"]]
            self.assertEqual({case.get("severity", rule.severity)}, severities, case)

    def test_every_rule_has_one(self) -> None:
        self.assertEqual(set(RULES), {case["finds"] for case in TABLE["case"]})

    def test_nothing_is_found_where_it_only_looks_so(self) -> None:
        for case in TABLE["good"]:
            self.assertEqual([], find(mail_of(case), at=NOW), case["why"])

    def test_each_says_where_and_why_on_one_line_without_what_steers_a_terminal(self) -> None:
        for case in TABLE["case"]:
            for finding in find(mail_of(case), at=NOW):
                self.assertRegex(finding.where, r"^(line \d+|part [\d.]+|body|[A-Z][\w-]+)$")
                self.assertGreater(len(finding.words), 20)
                self.assertNotIn("\n", finding.words)
                self.assertRegex(finding.rfc, r"^(RFC \d+( section [\d.]+)?)?$")

    def test_names_are_in_kebab_case(self) -> None:
        for name in RULES:
            self.assertRegex(name, r"^[a-z0-9]+(-[a-z0-9]+)*$")


class GoodMails(SynchronousTestCase):
    def test_nothing_above_a_note_is_found_in_mails_of_programs(self) -> None:
        self.assertGreater(len(GOOD), 15)
        for path in GOOD:
            raw = path.read_bytes().replace(b"\n", b"\r\n")
            bad = [each for each in find(raw, at=NOW) if each.severity != NOTE]
            self.assertEqual([], bad, path.name)

    def test_with_the_line_ends_of_a_file_there_is_one_note_more(self) -> None:
        for path in GOOD:
            raw = path.read_bytes()
            there = names_of(find(raw.replace(b"\n", b"\r\n"), at=NOW))
            self.assertEqual(there | {"lf-line-ends"}, names_of(find(raw, at=NOW)), path.name)


class Places(SynchronousTestCase):
    def test_a_line_is_counted_from_the_mails_first_one(self) -> None:
        raw = mail_of(
            {
                "fields": "Content-Type: multipart/mixed; boundary=b",
                "body": "--b\n\nOne\n--b\nX-Note : x\n\nTwo\n--b\nno colon\n\nThree\n--b--\n",
            }
        )
        lines = raw.decode().split("\r\n")
        found = {each.name: each.where for each in find(raw, at=NOW)}
        self.assertEqual(
            {
                "space-before-colon": f"line {lines.index('X-Note : x') + 1}",
                "not-a-field": f"line {lines.index('no colon') + 1}",
            },
            found,
        )

    def test_parts_are_numbered_as_imap_does(self) -> None:
        raw = mail_of(
            {
                "fields": "Content-Type: multipart/mixed; boundary=b",
                "body": "--b\n\nOne\n--b\nContent-Type: multipart/mixed; boundary=c\n\n"
                "--c\n\nTwo\n--c\nContent-Transfer-Encoding: x\n\nThree\n--c--\n--b--\n",
            }
        )
        (finding,) = find(raw, at=NOW)
        self.assertEqual(("part 2.2", "encoding-unknown"), (finding.where, finding.name))

    def test_the_worst_comes_first(self) -> None:
        raw = mail_of({"without": ["Subject", "Message-ID", "From"]})
        severities = [each.severity for each in find(raw, at=NOW)]
        self.assertEqual([WRONG, DOUBTFUL, NOTE], severities)

    def test_of_many_of_a_kind_the_rest_is_counted(self) -> None:
        raw = mail_of({"fields": "\n".join(["X-Note : x"] * (MOST_OF_A_KIND + 7))})
        findings = find(raw, at=NOW)
        self.assertEqual(MOST_OF_A_KIND + 1, len(findings))
        self.assertEqual("and 7 more of this kind", findings[-1].words)

    def test_without_a_time_a_date_is_held_against_none(self) -> None:
        raw = mail_of({"fields": "Date: Mon, 30 Nov 2099 01:00:00 +0000"})
        self.assertEqual([], find(raw))


_ZIP = b"PK\x03\x04" + bytes(26)


class Kinds(SynchronousTestCase):
    def test_octets_tell_what_they_are(self) -> None:
        program = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0"
        beginnings = {
            "PDF": b"%PDF-1.7\n",
            "PNG": b"\x89PNG\r\n\x1a\n",
            "JPEG": b"\xff\xd8\xff\xe0",
            "GIF": b"GIF89a",
            "WebP": b"RIFF\x00\x00\x00\x00WEBP",
            "WAV": b"RIFF\x00\x00\x00\x00WAVE",
            "TIFF": b"II*\0",
            "BMP": b"BM" + bytes(30),
            "Ogg": b"OggS\0",
            "MP4": b"\0\0\0\x18ftypmp42",
            "zip": _ZIP + b"a.txt",
            "Word document": _ZIP + b"word/document.xml",
            "Excel sheet": _ZIP + b"xl/workbook.xml",
            "PowerPoint": _ZIP + b"ppt/presentation.xml",
            "OpenDocument": _ZIP + b"mimetypeapplication/vnd.oasis",
            "EPUB": _ZIP + b"mimetypeapplication/epub+zip",
            "Java archive": _ZIP + b"META-INF/MANIFEST.MF",
            "Android app": _ZIP + b"AndroidManifest.xml",
            "gzip": b"\x1f\x8b\x08",
            "bzip2": b"BZh91AY&SY",
            "xz": b"\xfd7zXZ\0",
            "Zstandard": b"\x28\xb5\x2f\xfd",
            "7z": b"7z\xbc\xaf\x27\x1c",
            "RAR": b"Rar!\x1a\x07\x00",
            "Windows program": program,
            "ELF program": b"\x7fELF\2",
            "Mach-O program": b"\xcf\xfa\xed\xfe",
            "script": b"#!/usr/bin/env python3\n",
            "OLE2 document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "RTF": b"{\\rtf1",
            "HTML": b"\xef\xbb\xbf \n<!doctype HTML>",
            "calendar": b"BEGIN:VCALENDAR\r\n",
            "address card": b"\r\nbegin:vcard",
        }
        self.assertEqual(set(KINDS), set(beginnings))
        for name, data in beginnings.items():
            self.assertIs(KINDS[name], kind_of(data), name)
            self.assertTrue(KINDS[name].may_be(kind_of(data)), name)
        for data in (b"", b"Hello", b"<p>Hello", b"#! comment", b"MZ", b"BMW is a car" * 9):
            self.assertIsNone(kind_of(data), data)

    def test_every_kind_has_an_extension_and_those_of_programs_are_known_as_such(self) -> None:
        names = {kind.name for kind in BY_EXTENSION.values()}
        self.assertEqual(set(KINDS), names)
        self.assertEqual({"exe", "jar", "apk"} - PROGRAMS, set())


_MAILS = [mail_of(case) for case in TABLE["case"]] + [path.read_bytes() for path in GOOD]
_PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"--", b"--b", b"--b--", b":", b";", b"=", b'"', b"\\", b"(", b")",
    b"<", b">", b"@", b",", b"=?", b"?=", b"?q?", b"?b?", b"*", b"%", b"'", b"\0", b"\xff",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: ", b"From: ", b"Date: ",
    b"Subject: =?utf-8?q?x?=\r\n", b"Content-Transfer-Encoding: base64\r\n", b"filename*0*=",
    b"List-Unsubscribe: <", b"PK\x03\x04", b"MZ", b"\r\n\r\n", b"text/plain; charset=utf-7",
]  # fmt: skip
_SETTINGS = settings(
    max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class Hostile(SynchronousTestCase):
    def check(self, raw: bytes) -> None:
        for finding in find(raw, at=NOW):
            self.assertIn(finding.name, RULES)
            self.assertEqual(1, len(finding.words.splitlines()))
            finding.words.encode()  # no half of a character

    def test_what_is_quoted_of_a_mail_breaks_no_line(self) -> None:
        raw = b'Content-Type: multipart/mixed; boundary="a\r\x0b\xc2\x85b"\r\n\r\nx\r\n'
        (words,) = [each.words for each in find(raw, NOW) if each.name == "boundary-unused"]
        self.assertEqual(1, len(words.splitlines()))

    @_SETTINGS
    @given(st.binary(max_size=2000))
    def test_random_octets_raise_nothing(self, raw: bytes) -> None:
        self.check(raw)

    @_SETTINGS
    @given(st.lists(st.sampled_from(_PIECES), max_size=60))
    def test_pieces_of_mails_in_any_order_raise_nothing(self, pieces: list[bytes]) -> None:
        self.check(b"".join(pieces))

    @_SETTINGS
    @given(
        st.sampled_from(_MAILS),
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(_PIECES))),
    )
    def test_mails_that_were_changed_raise_nothing(
        self, raw: bytes, changes: list[tuple[int, int, bytes]]
    ) -> None:
        for at, cut, piece in changes:
            at %= len(raw) + 1
            raw = raw[:at] + piece + raw[at + cut :]
        self.check(raw)


def _times(piece: bytes, octets: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + piece * (octets // len(piece)) + tail


def _fields(piece: bytes, octets: int, head: bytes) -> bytes:
    """A field twice, as long as they are looked at, and a body that fills the mail."""
    field = _times(piece, min(octets // 2, _FIELD_OCTETS), head) + b"\r\n"
    return _times(b"Hello\r\n", octets - 2 * len(field), 2 * field + b"\r\n")


_FIELD_OCTETS = 1_000_000
_MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
WORST: dict[str, Callable[[int], bytes]] = {
    "blank lines": lambda size: _times(b"\r\n", size),
    "fields": lambda size: _times(b"a:\r\n", size),
    "strays": lambda size: _times(b"a\n", size),
    "folds": lambda size: _fields(b"\r\n a", size, b"Subject: "),
    "blank folds": lambda size: _fields(b" \r\n", size, b"Subject:\r\n"),
    "bare CRs": lambda size: _times(b"\r", size),
    "NULs": lambda size: _times(b"\0", size),
    "long lines": lambda size: _times(b"x" * 79 + b"\n", size),
    "addresses": lambda size: _fields(b"a@b.example,", size, b"To: "),
    "quotes in To": lambda size: _fields(b'"\\"', size, b"To: "),
    "comments in To": lambda size: _fields(b"(", size, b"To: "),
    "comments in Date": lambda size: _fields(b"()", size, b"Date: "),
    "encoded-words": lambda size: _fields(b"=?a?q?b?= ", size, b"Subject: "),
    "begun words": lambda size: _fields(b"=?a?q?", size, b"Subject: "),
    "question marks": lambda size: _fields(b"=?", size, b"Subject: "),
    "words in quotes": lambda size: _fields(b'"=?a?q?b', size, b"To: "),
    "parameters": lambda size: _fields(b";a", size, b"Content-Type: text/plain"),
    "named parameters": lambda size: _fields(b";a=b", size, b"Content-Type: text/plain"),
    "sections": lambda size: _fields(b"%41", size, b"Content-Type: text/plain; a*=''"),
    "comments in a type": lambda size: _fields(b"(", size, b"Content-Type: text/plain"),
    "escapes in a type": lambda size: _fields(b"\\", size, b'Content-Type: text/plain; a="'),
    "links": lambda size: _fields(b"<a:b>,", size, b"List-Unsubscribe: "),
    "blanks in links": lambda size: _fields(b", ", size, b"List-Unsubscribe: "),
    "delimiters": lambda size: _times(b"--b\r\n", size, _MULTIPART),
    "delimiters of none": lambda size: _times(b"--c\r\n", size, _MULTIPART),
    "closings": lambda size: _times(b"--b--\n", size, _MULTIPART),
    "nested": lambda size: b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n)
        for n in range(size // 60)
    ),
    "base64": lambda size: _times(b"AAAA", size, b"Content-Transfer-Encoding: base64\r\n\r\n"),
    "equals": lambda size: _times(b"=", size, b"Content-Transfer-Encoding: base64\r\n\r\n"),
    "blanks in qp": lambda size: _times(
        b" ", size, b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=", b"x"
    ),
    "utf-7": lambda size: _fields(b"+AGE-", size, b"Content-Type: text/plain; charset=utf-7\n\n"),
    "iso-2022": lambda size: _times(
        b"\x1b$B", size, b"Content-Type: text/plain; charset=iso-2022-jp\n\n"
    ),
    "blanks before a page": lambda size: _times(b"<!--", size, b"\n\n"),
    "zips in a zip": lambda size: _times(b"PK\x03\x04", size, b"Content-Type: a/b\n\n"),
}
HEAVY = ("fields", "blank folds", "quotes in To", "sections", "delimiters", "nested", "NULs")


class Bounds(SynchronousTestCase):
    timeout = 600

    def test_the_worst_mails_take_time_by_their_size(self) -> None:
        """A square of time would be minutes here, so the bound is loose: others use the machine."""
        for name, make in WORST.items():
            raw = make(WORST_MIB * MIB)
            self.assertGreater(len(raw), 0.9 * WORST_MIB * MIB, name)
            began = time.process_time()
            findings = find(raw, at=NOW)
            took_s = time.process_time() - began
            self.assertLess(took_s, 2.5 * WORST_MIB, name)
            self.assertLess(len(findings), len(RULES) * (MOST_OF_A_KIND + 1), name)

    def test_memory_is_bounded_by_the_longest_field_that_is_looked_at(self) -> None:
        """A hundred times its size at most; one that is too long for that costs its own alone."""
        for name in HEAVY:
            size = MIB // 8
            self.assertLess(self.peak(WORST[name](2 * size)), 100 * size, name)
        too_long = _times(b"%41", 2 * MOST_FIELD_OCTETS, b"Content-Type: text/plain; a*=''")
        self.assertLess(self.peak(too_long), 2 * len(too_long))

    def peak(self, raw: bytes) -> int:
        """The most octets that looking at it had at once."""
        tracemalloc.start()
        try:
            find(raw, at=NOW)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
