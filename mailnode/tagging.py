"""A word at the begin of a mail's Subject, put in as it is served: what came stays as it is stored.

Nothing is taken out or written anew: the tag stands between the colon of the first Subject and
what follows it, encoded or folded as that may be. So it costs the same octets in each mail.
"""

from __future__ import annotations

import re

from mailnode.model import SUBJECT_MADE, SUBJECT_TAGGED

HEADER_OCTETS = 65536  # as far as a Subject is looked for

_SUBJECT = re.compile(rb"^subject[ \t]*:", re.I | re.M)
_END = re.compile(rb"\A\r\n|\r\n\r\n")


def how_to_tag(begin: bytes) -> int:
    """`SUBJECT_TAGGED`, `SUBJECT_MADE`, or 0 where that can't be said.

    Args:
        begin: of a mail, as it came: `HEADER_OCTETS` of it, or its header.
    """
    if _place(begin) is not None:
        return SUBJECT_TAGGED
    return SUBJECT_MADE if len(begin) < HEADER_OCTETS or _END.search(begin) else 0


def octets_of_tag(tag: bytes, how: int) -> int:
    """By so many a mail grows."""
    return len(_in_place(tag) if how == SUBJECT_TAGGED else field_of(tag))


def field_of(tag: bytes) -> bytes:
    """A Subject for a mail that has none."""
    return b"Subject:%b\r\n" % _in_place(tag)


def put_tag(begin: bytes, tag: bytes) -> bytes:
    """A mail's begin with the tag in its Subject."""
    at = _place(begin)
    return begin if at is None else begin[:at] + _in_place(tag) + begin[at:]


def _in_place(tag: bytes) -> bytes:
    return b" " + tag


def _place(begin: bytes) -> int | None:
    """Behind the colon of the first Subject."""
    end = _END.search(begin, 0, HEADER_OCTETS)
    found = _SUBJECT.search(begin, 0, end.end() if end else HEADER_OCTETS)
    return found.end() if found else None
