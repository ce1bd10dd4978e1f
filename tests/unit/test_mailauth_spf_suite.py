"""RFC 7208's test suite, as it comes with pyspf: every case of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.answers import FAILED, NO_SUCH_NAME, Answer, Question
from mailnode.mailauth.spf import Sending, check_host
from tests.unit.mailauth_case import settle

SUITE = Path(sys.prefix) / "share/mailnode/rfc7208-tests.yml"  # tests/install-vectors puts it there
CASES = 203
MOST_CNAMES = 9


class Zone:
    """The DNS as the suite tells it: {name: records, or the word TIMEOUT}."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.names = {name.lower(): list(self._records(rows)) for name, rows in told.items()}

    def _records(self, rows: list[Any]) -> Iterator[tuple[str, Any]]:
        """An SPF record stands for a TXT record, too, where none is told."""
        pairs = [
            ("TIMEOUT", None) if isinstance(row, str) else next(iter(row.items())) for row in rows
        ]
        own = any(kind == "TXT" for kind, _ in pairs)
        for kind, value in pairs:
            if kind == "SPF" and not own:
                yield "TXT", value
            elif value != "NONE":
                yield kind, value

    def answer(self, question: Question, deep: int = 0) -> Answer:
        name, kind = question
        if name not in self.names:
            return FAILED if name.startswith("error.") else NO_SUCH_NAME
        rows = self.names[name]
        if "CNAME" in dict(rows):
            target = dict(rows)["CNAME"].lower()
            return self.answer((target, kind), deep + 1) if deep < MOST_CNAMES else FAILED
        found = [value for each, value in rows if each == kind]
        if (not found and ("TIMEOUT", None) in rows) or "TIMEOUT" in found:
            return FAILED
        return Answer(tuple(map(self._value, found)))

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            if value and isinstance(value[0], int):
                return value[0], value[1].lower()
            return "".join(value)
        return value


class SuiteTests(SynchronousTestCase):
    if not SUITE.exists() and os.environ.get("CI") != "true":
        skip = "tests/install-vectors fetches it"

    def test_each_of_its_203_cases_ends_as_it_says(self) -> None:
        wrong, count = [], 0
        for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
            zone = Zone(scenario["zonedata"])
            for name, case in scenario["tests"].items():
                count += 1
                told = self.told(case, zone)
                if told not in self.wanted(case):
                    wrong.append((name, case["spec"], told, self.wanted(case)))
        self.assertEqual([], wrong)
        self.assertEqual(CASES, count)

    def told(self, case: dict[str, Any], zone: Zone) -> tuple[str, str]:
        sending = Sending.of(case["host"], case["mailfrom"], case["helo"], "unknown", 0)
        result = settle(partial(check_host, sending), zone)
        said = result.explanation or ("DEFAULT" if result.result == "fail" else "")
        return result.result, said if "explanation" in case else ""

    def wanted(self, case: dict[str, Any]) -> list[tuple[str, str]]:
        results = case["result"]
        results = results if isinstance(results, list) else [results]
        return [(each, case.get("explanation", "")) for each in results]
