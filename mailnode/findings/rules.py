"""What can be found in a mail: how bad it is, and which section of which RFC says so."""

from __future__ import annotations

from typing import NamedTuple

from attrs import define, field, frozen

WRONG, DOUBTFUL, NOTE = "wrong", "doubtful", "note"
MOST_OF_A_KIND = 10
_RANK = {WRONG: 0, DOUBTFUL: 1, NOTE: 2}
_SHOWN = 60


@frozen
class Finding:
    """One thing that is found in a mail.

    Attributes:
        severity: "wrong" breaks a MUST of an RFC or its grammar; "doubtful" is disliked or
            misread by many receivers; "note" may be known and meant.
        name: of its kind, for programs; the same from version to version.
        where: "line 12", "part 1.2" as IMAP numbers them, or a field's name.
        words: for people: what it is, and why it matters or what to write instead.
        rfc: "RFC 5322 section 3.6"; "" where custom, not an RFC, says so.
    """

    severity: str
    name: str
    where: str
    words: str
    rfc: str


class Rule(NamedTuple):
    severity: str
    rfc: str


RULES: dict[str, Rule] = {
    # lines
    "bare-cr": Rule(WRONG, "RFC 5322 section 2.3"),
    "bare-lf": Rule(WRONG, "RFC 5322 section 2.3"),
    "lf-line-ends": Rule(NOTE, "RFC 5322 section 2.3"),
    "nul": Rule(WRONG, "RFC 2045 section 2.7"),
    "line-over-998": Rule(WRONG, "RFC 5322 section 2.1.1"),
    "line-over-78": Rule(NOTE, "RFC 5322 section 2.1.1"),
    # the header's syntax
    "not-a-field": Rule(WRONG, "RFC 5322 section 2.2"),
    "field-name-illegal": Rule(WRONG, "RFC 5322 section 2.2"),
    "mbox-from-line": Rule(WRONG, "RFC 4155"),
    "space-before-colon": Rule(DOUBTFUL, "RFC 5322 section 4.5"),
    "fold-without-field": Rule(WRONG, "RFC 5322 section 2.2.3"),
    "fold-blank": Rule(WRONG, "RFC 5322 section 3.2.2"),
    "no-blank-line": Rule(WRONG, "RFC 5322 section 3.5"),
    "header-too-large": Rule(DOUBTFUL, ""),
    "control-characters": Rule(WRONG, "RFC 5322 section 4.1"),
    "octets-not-utf8": Rule(WRONG, "RFC 6532 section 3.2"),
    "header-utf8": Rule(NOTE, "RFC 6532 section 3"),
    # fields
    "date-missing": Rule(WRONG, "RFC 5322 section 3.6"),
    "from-missing": Rule(WRONG, "RFC 5322 section 3.6"),
    "message-id-missing": Rule(DOUBTFUL, "RFC 5322 section 3.6.4"),
    "recipient-missing": Rule(DOUBTFUL, "RFC 5322 section 3.6.3"),
    "subject-missing": Rule(NOTE, "RFC 5322 section 3.6.5"),
    "mime-version-missing": Rule(WRONG, "RFC 2045 section 4"),
    "mime-version-unknown": Rule(DOUBTFUL, "RFC 2045 section 4"),
    "field-doubled": Rule(WRONG, "RFC 5322 section 3.6"),
    "date-malformed": Rule(WRONG, "RFC 5322 section 3.3"),
    "date-obsolete": Rule(DOUBTFUL, "RFC 5322 section 4.3"),
    "date-weekday": Rule(WRONG, "RFC 5322 section 3.3"),
    "date-in-future": Rule(DOUBTFUL, "RFC 5322 section 3.6.1"),
    "date-in-past": Rule(DOUBTFUL, "RFC 5322 section 3.6.1"),
    "date-long-ago": Rule(NOTE, "RFC 5322 section 3.6.1"),
    "address-missing": Rule(WRONG, "RFC 5322 section 3.4"),
    "address-malformed": Rule(WRONG, "RFC 5322 section 3.4"),
    "address-too-long": Rule(DOUBTFUL, "RFC 5321 section 4.5.3.1"),
    "sender-missing": Rule(WRONG, "RFC 5322 section 3.6.2"),
    "sender-several": Rule(WRONG, "RFC 5322 section 3.6.2"),
    "message-id-malformed": Rule(WRONG, "RFC 5322 section 3.6.4"),
    "unsubscribe-malformed": Rule(WRONG, "RFC 2369 section 2"),
    "unsubscribe-post-malformed": Rule(WRONG, "RFC 8058 section 3.1"),
    # encoded-words
    "encoded-word-malformed": Rule(DOUBTFUL, "RFC 2047 section 2"),
    "encoded-word-charset-unknown": Rule(DOUBTFUL, "RFC 2047 section 3"),
    "encoded-word-broken": Rule(WRONG, "RFC 2047 section 5"),
    "encoded-word-too-long": Rule(WRONG, "RFC 2047 section 2"),
    "encoded-word-in-quotes": Rule(WRONG, "RFC 2047 section 5"),
    "encoded-word-in-parameter": Rule(WRONG, "RFC 2047 section 5"),
    "encoded-word-unseparated": Rule(WRONG, "RFC 2047 section 5"),
    # the structure
    "content-type-malformed": Rule(WRONG, "RFC 2045 section 5.1"),
    "disposition-malformed": Rule(WRONG, "RFC 2183 section 2"),
    "parameter-malformed": Rule(WRONG, "RFC 2045 section 5.1"),
    "parameter-doubled": Rule(WRONG, "RFC 2045 section 5"),
    "parameter-encoding-broken": Rule(WRONG, "RFC 2231 section 4"),
    "boundary-missing": Rule(WRONG, "RFC 2046 section 5.1.1"),
    "boundary-malformed": Rule(WRONG, "RFC 2046 section 5.1.1"),
    "boundary-reused": Rule(WRONG, "RFC 2046 section 5.1.2"),
    "boundary-unused": Rule(WRONG, "RFC 2046 section 5.1.1"),
    "boundary-never-closed": Rule(WRONG, "RFC 2046 section 5.1.1"),
    "text-behind-last-boundary": Rule(DOUBTFUL, "RFC 2046 section 5.1.1"),
    "nested-too-deeply": Rule(DOUBTFUL, ""),
    "too-many-parts": Rule(DOUBTFUL, ""),
    "alternative-without-text": Rule(DOUBTFUL, "RFC 2046 section 5.1.4"),
    "part-empty": Rule(NOTE, "RFC 2046 section 5.1"),
    "no-body": Rule(NOTE, "RFC 5322 section 3.5"),
    # encodings and charsets
    "encoding-unknown": Rule(WRONG, "RFC 2045 section 6.1"),
    "encoding-on-multipart": Rule(WRONG, "RFC 2045 section 6.4"),
    "encoding-binary": Rule(DOUBTFUL, "RFC 3030 section 3"),
    "base64-broken": Rule(WRONG, "RFC 2045 section 6.8"),
    "quoted-printable-broken": Rule(WRONG, "RFC 2045 section 6.7"),
    "encoded-line-too-long": Rule(WRONG, "RFC 2045 section 6.7"),
    "octets-in-7bit": Rule(WRONG, "RFC 2045 section 2.7"),
    "charset-unknown": Rule(DOUBTFUL, "RFC 2046 section 4.1.2"),
    "charset-mismatch": Rule(WRONG, "RFC 2046 section 4.1.2"),
    "charset-missing": Rule(DOUBTFUL, "RFC 2045 section 5.2"),
    # attachments
    "filename-differs": Rule(DOUBTFUL, "RFC 2183 section 2.3"),
    "filename-with-path": Rule(DOUBTFUL, "RFC 2183 section 2.3"),
    "filename-bidi": Rule(DOUBTFUL, "RFC 2183 section 5"),
    "filename-double-extension": Rule(DOUBTFUL, "RFC 2183 section 5"),
    "attachment-executable": Rule(DOUBTFUL, "RFC 2183 section 5"),
    "attachment-not-its-extension": Rule(DOUBTFUL, "RFC 2183 section 5"),
    "attachment-not-its-type": Rule(DOUBTFUL, "RFC 2045 section 5"),
}


@define(eq=False)
class Report:
    """Gathers findings; of a kind the first ones are kept, the rest is counted."""

    _found: list[Finding] = field(factory=list)
    _counts: dict[str, int] = field(factory=dict)

    def add(self, name: str, where: str, words: str, severity: str = "") -> None:
        """Args:
        severity: where it isn't the rule's.
        """
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] <= MOST_OF_A_KIND:
            rule, words = RULES[name], _printable(words)
            self._found.append(Finding(severity or rule.severity, name, where, words, rule.rfc))

    def findings(self) -> list[Finding]:
        """The worst first; within a severity as they were found, kinds together."""
        order = {name: number for number, name in enumerate(self._counts)}
        found = list(self._found)
        for name, count in self._counts.items():
            if count > MOST_OF_A_KIND:
                rule = RULES[name]
                words = f"and {count - MOST_OF_A_KIND} more of this kind"
                found.append(Finding(rule.severity, name, "elsewhere", words, rule.rfc))
        return sorted(found, key=lambda each: (_RANK[each.severity], order[each.name]))


def _printable(words: str) -> str:
    """In one line, whatever a stranger wrote into what is quoted."""
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def shown(text: str | bytes) -> str:
    """What a stranger wrote, short enough to be quoted in a line."""
    if isinstance(text, bytes):
        text = text[: 4 * _SHOWN + 4].decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
