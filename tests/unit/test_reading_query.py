"""What a person types into a search is read whole, and what can't be looked for is told."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading.query import MOST_TERMS, NAMES, BadQuery, Query, Words, read_query, words_of

DAY = datetime(2026, 1, 31, tzinfo=UTC).timestamp()
PIECES = st.sampled_from(
    [*(f"{name}:" for name in NAMES), "-", '"', "*", " ", "(", ")", "NEAR", "AND", "'", "\0", "{",
     "}", "^", "+", ":", "2026-01-31", "1M", "unread", "ä", "\u0301", "名前", "\ud800"]
)  # fmt: skip


class QueryTests(SynchronousTestCase):
    def words(self, typed: str) -> list[Words]:
        return list(read_query(typed).words)

    def refusal(self, typed: str) -> str:
        return str(self.assertRaises(BadQuery, read_query, typed))

    def test_words_phrases_prefixes_and_what_must_not_be_there(self):
        self.assertEqual(
            self.words('report "exact  words" -draft wor* "half a wor"* -"two words"'),
            [
                Words("report"),
                Words("exact words"),
                Words("draft", without=True),
                Words("wor", prefix=True),
                Words("half a wor", prefix=True),
                Words("two words", without=True),
            ],
        )

    def test_words_of_one_field(self):
        self.assertEqual(
            self.words('from:alice TO:"Bob Miller" subject:budg* -file:a.pdf'),
            [
                Words("alice", "from"),
                Words("Bob Miller", "to"),
                Words("budg", "subject", prefix=True),
                Words("a pdf", "file", without=True),
            ],
        )

    def test_an_address_is_its_words_next_to_each_other(self):
        self.assertEqual(self.words("from:a.b@example.org"), [Words("a b example org", "from")])

    def test_a_name_that_is_nearly_one_is_a_word_and_a_hint(self):
        found = read_query("form:bob -subjct:x from:a note:b https://x.example at 10:30")
        self.assertEqual(
            (
                '"form:" is no field and was looked for as a word; did you mean from:?',
                '"subjct:" is no field and was looked for as a word; did you mean subject:?',
            ),
            found.hints,
        )
        self.assertIn(Words("form bob"), found.words)

    def test_a_name_that_is_none_and_a_web_address_are_words(self):
        self.assertEqual(
            self.words('re:plan https://example.org/x sms:"a b"'),
            [Words("re plan"), Words("https example org x"), Words("sms"), Words("a b")],
        )

    def test_what_is_typed_in_capitals_or_like_a_search_engine_s_own_words_is_a_word(self):
        self.assertEqual(
            self.words("this AND (that) NEAR/3"),
            [Words("this"), Words("AND"), Words("that"), Words("NEAR 3")],
        )

    def test_facts(self):
        query = read_query("has:attachment is:unread is:flagged in:Archive in:INBOX -in:Junk")
        self.assertEqual(
            query,
            Query(
                has_attachment=True,
                unread=True,
                flagged=True,
                folders=("Archive", "INBOX"),
                not_in=("Junk",),
            ),
        )
        self.assertEqual(read_query("-has:attachment -is:unread"), read_query("-has:file is:read"))

    def test_a_folder_s_name_may_have_blanks(self):
        self.assertEqual(read_query('in:"My letters"').folders, ("My letters",))

    def test_days_and_sizes(self):
        query = read_query("before:2026-01-31 after:2025-1-2 larger:1M smaller:2.5MiB")
        self.assertEqual(query.before, DAY)
        self.assertEqual(query.since, datetime(2025, 1, 2, tzinfo=UTC).timestamp())
        self.assertEqual((query.larger, query.smaller), (1 << 20, 5 << 19))

    def test_of_two_bounds_the_narrower_counts(self):
        query = read_query("larger:1K larger:1M larger:2K before:2026-02-01 before:2026-01-31")
        self.assertEqual((query.larger, query.before), (1 << 20, DAY))

    def test_a_bound_that_is_turned_around(self):
        self.assertEqual(read_query("-before:2026-01-31").since, DAY)
        self.assertEqual(read_query("-larger:10").smaller, 11)
        self.assertEqual(read_query("-smaller:10").larger, 9)

    def test_what_can_t_be_looked_for_says_what_can(self):
        for typed, wanted in {
            "before:yesterday": "such as before:2026-01-31",
            "after:2026-02-30": "such as after:2026-01-31",
            "larger:huge": "such as larger:1M",
            "larger:-1": "such as larger:1M",
            "is:blue": "is:unread",
            "has:wings": "has:attachment",
            "from:": "from:alice",
            "from:!!": "from:alice",
            "in: x": "in:Archive",
            '"half open': "quotation mark",
            "ab*": "three letters",
            "is:unread is:read": "No mail is both",
            "x " * (MOST_TERMS + 1): "look for less",
            "x" * 1001: "look for less",
        }.items():
            self.assertIn(wanted, self.refusal(typed), typed)

    def test_signs_alone_look_for_nothing(self):
        self.assertEqual(read_query("  - *  !! \0 "), Query())

    @given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=20).map("".join)))
    def test_whatever_is_typed_is_a_query_or_told(self, typed):
        try:
            query = read_query(typed)
        except BadQuery as error:
            self.assertTrue(str(error))
            return
        for words in query.words:
            self.assertEqual(words_of(words.text), words.text)
            self.assertNotIn('"', words.text)
            self.assertNotIn("\0", words.text)
