"""`mailnode.web.api.checking`: JSON is read to the letter and in bounds, whatever is sent."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from mailnode.web.api.checking import MOST_DEPTH, MOST_VALUES, faults_of, read_json
from mailnode.web.api.orders import ORDER
from mailnode.web.api.problems import MOST_FAULTS
from mailnode.web.refusals import BadRequest


class JsonTests(SynchronousTestCase):
    def test_what_is_no_json_to_the_letter_is_refused(self) -> None:
        for octets in (
            b"", b"{", b"[1,]", b"NaN", b"[-Infinity]", b'{"a": 1, "a": 2}', b'"\\ud800"', b"\xff",
            b'"a\nb"', b"1" * 5000, b'"', b'"\\',
        ):  # fmt: skip
            self.assertRaises(BadRequest, read_json, octets)

    def test_it_is_neither_deep_nor_of_many_values(self) -> None:
        deep, many = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH, b"[" + b"1," * (MOST_VALUES - 1) + b"1]"
        self.assertIsInstance(read_json(deep), list)
        self.assertEqual(MOST_VALUES, len(read_json(many)))
        for octets in (b"[" + deep + b"]", many[:-1] + b",1]", b'{"a":"\\\\",' + many[1:]):
            with self.assertRaisesRegex(BadRequest, "nested deeper|more than 4,000 values"):
                read_json(octets)

    def test_what_stands_in_a_text_counts_for_nothing(self) -> None:
        for text in ("[{," * 5000, '\\"[' * 5000, '"' * 5000):
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            self.assertEqual({"text": text}, read_json(f'{{"text": "{quoted}"}}'.encode()))

    def test_the_largest_is_read_in_a_memory_that_is_a_few_times_its_own(self) -> None:
        for octets in (b'{"to":[' + b"1," * (4 << 20), b"[" * (8 << 20), b'["",' + b'"",' * 2**21):
            tracemalloc.start()
            try:
                self.assertRaises(BadRequest, read_json, octets)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 3 * len(octets))


class FaultTests(SynchronousTestCase):
    def test_no_more_are_named_than_anybody_reads(self) -> None:
        value = {f"subjec{at}": 1 for at in range(MOST_VALUES)}
        self.assertEqual(MOST_FAULTS, len(faults_of(value, ORDER)))
