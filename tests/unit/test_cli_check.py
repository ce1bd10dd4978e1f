"""`mailnode check`: a mail in a file or on standard input, judged in words and by the exit code."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from tests.unit.cli_case import CommandCase


def letter(more: str = "") -> bytes:
    """A mail of now, in which nothing is wrong unless `more` brings it."""
    return (
        f"Date: {formatdate()[:-5]}+0000\r\nFrom: Alice <alice@example.org>\r\nTo: b@x.example\r\n"
        f"Message-ID: <1@example.org>\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n{more}\r\nHello\r\n"
    ).encode()


DOUBTFUL = "X-Note : x\r\n"
WRONG = "Content-Type: multipart/mixed\r\n"


class CheckTests(CommandCase):
    def file(self, raw: bytes) -> str:
        Path("letter.eml").write_bytes(raw)
        return "letter.eml"

    def test_a_good_mail_is_called_good_and_exits_with_0(self) -> None:
        result = self.run_command(f"check {self.file(letter())}")
        self.assertEqual("good: nothing is wrong with this mail\n", result.stdout)

    def test_what_is_wrong_is_told_in_a_line_and_exits_with_65(self) -> None:
        result = self.run_command(f"check {self.file(letter(WRONG))}", exit_code=65)
        heads, finding, total = result.stdout.splitlines()
        self.assertEqual(heads.split("  ")[0], "how bad")
        for word in ("wrong", "Content-Type", "boundary-missing", "RFC 2046 section 5.1.1"):
            self.assertIn(word, finding)
        self.assertEqual("1 wrong", total)

    def test_what_is_doubtful_exits_with_0_and_with_65_when_strict(self) -> None:
        name = self.file(letter(DOUBTFUL))
        result = self.run_command(f"check {name}")
        self.assertEqual("nothing wrong, 1 doubtful", result.stdout.splitlines()[-1])
        self.run_command(f"check --strict {name}", exit_code=65)

    def test_notes_leave_a_mail_good_even_when_strict(self) -> None:
        name = self.file(letter().replace(b"\r\n", b"\n"))
        result = self.run_command(f"check --strict {name}")
        self.assertEqual(
            "good: nothing is wrong with this mail (1 note)", result.stdout.splitlines()[-1]
        )

    def test_standard_input_is_read_for_a_dash(self) -> None:
        result = self.run_command("check -", letter(WRONG), exit_code=65)
        self.assertIn("boundary-missing", result.stdout)

    def test_json_has_all_of_it(self) -> None:
        raw = letter(WRONG + DOUBTFUL)
        told = self.run_json(f"check {self.file(raw)}", exit_code=65)
        findings = told.pop("findings")
        self.assertEqual(
            {"good": False, "octets": len(raw), "wrong": 1, "doubtful": 1, "notes": 0}, told
        )
        self.assertEqual(["boundary-missing", "space-before-colon"], [f["name"] for f in findings])
        self.assertEqual({"severity", "name", "where", "words", "rfc"}, set(findings[0]))

    def test_a_date_is_held_against_now(self) -> None:
        raw = letter().replace(letter()[: letter().index(b"\r\n")], b"Date: 1 Jan 2199 00:00 +0000")
        self.assertIn("date-in-future", self.run_command(f"check {self.file(raw)}").stdout)

    def test_what_a_stranger_wrote_does_not_steer_the_terminal(self) -> None:
        raw = letter("Content-Type: \x1b[2Jx\r\n")
        told = self.run_command(f"check {self.file(raw)}", exit_code=65).stdout
        self.assertNotIn("\x1b", told)

    def test_on_a_terminal_the_words_stay_readable_in_80_columns(self) -> None:
        name = self.file(letter(WRONG))
        with patch(
            "mailnode.cli.output.console",
            lambda: Console(width=80, force_terminal=True, color_system=None),
        ):
            lines = self.run_command(f"check {name}", exit_code=65).stdout.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertTrue(any("without a boundary: nobody can tell" in line for line in lines), lines)
        self.assertTrue(any("[boundary-missing, RFC 2046" in line for line in lines), lines)

    def test_where_a_node_is_is_no_option_of_it(self) -> None:
        for line in ("check", "sendmail", "backups list"):
            told = self.run_command(f"{line} --help").stdout
            self.assertIn("--json", told)
            for option in ("--users", "--data", "--config"):
                self.assertNotIn(option, told, line)
        self.assertIn("--users", self.run_command("list --help").stdout)
        self.run_command(f"check {self.file(letter())} --users elsewhere.db")

    def test_a_missing_file_a_folder_and_nothing_are_each_one_line(self) -> None:
        self.assertIn("there is no file x.eml", self.refusal("check x.eml", 66))
        self.assertIn("is a folder", self.refusal("check .", 66))
        self.assertIn("letter.eml is empty", self.refusal(f"check {self.file(b'')}", 65))
        self.assertIn("standard input is empty", self.refusal("check -", 65, b""))

    def test_a_file_that_is_no_mail_by_its_size_is_not_read(self) -> None:
        name = self.file(letter())
        with patch("mailnode.cli.check.MOST_OCTETS", 20):
            self.assertIn("letter.eml is over 20 B", self.refusal(f"check {name}", 65))
