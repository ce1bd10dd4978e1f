"""What is wrong with a mail, in words: line ends, header, structure, charsets, attachments.

Pure: octets in, findings out. No input raises an error, and the work and memory that one costs
grow no faster than its size. An attached mail (message/rfc822) is octets like any other
attachment: what is wrong inside it is somebody else's.

Python's `email` is not asked: it mends silently what should be told here, knows no lines, and goes
as deep as a stranger has nested.
"""

from __future__ import annotations

from mailnode.findings.attachments import check_attachment
from mailnode.findings.bodies import check_body
from mailnode.findings.encoded_words import check_words
from mailnode.findings.fields import check_fields
from mailnode.findings.lines import check_lines
from mailnode.findings.parts import check_parts, read_parts
from mailnode.findings.rules import DOUBTFUL, NOTE, RULES, WRONG, Finding, Report

__all__ = ["DOUBTFUL", "NOTE", "RULES", "WRONG", "Finding", "find"]


def find(raw: bytes, at: float | None = None) -> list[Finding]:
    """Everything that is wrong, then what is doubtful, then notes.

    Args:
        raw: a whole mail. Lines end with CRLF; where all end with LF, as in a file of this
            machine, that is one note.
        at: UTC epoch seconds that Date is held against where no Received tells when the mail
            came; None: it isn't then.
    """
    report = Report()
    check_lines(raw, report)
    for part in read_parts(raw, report):
        if not part.number:
            check_fields(part.header, raw, report, at)
        check_words(part, report)
        check_parts(part, report)
        check_attachment(part, check_body(part, raw, report), report)
    return report.findings()
