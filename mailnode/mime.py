"""A mail as Python's `email` reads it, whatever a stranger has written."""

from __future__ import annotations

import email
import re
from contextlib import suppress
from email.errors import InvalidHeaderDefect
from email.header import decode_header, make_header
from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

_SUBJECT = re.compile(rb"subject:[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.I)
_UNSTRUCTURED = HeaderRegistry(use_default_map=False)


class _Lenient(HeaderRegistry):
    """Fields that are text where they can't be parsed.

    `email` parses a field when it is first asked for, and its parsers raise all sorts of errors at
    some that are malformed, such as ``Message-ID: <((``: that would be the reader's to catch.
    """

    def __call__(self, name: str, value: str) -> BaseHeader:
        try:
            return super().__call__(name, value)
        except Exception as error:
            field: Any = _UNSTRUCTURED(name, value)
            field._defects.append(InvalidHeaderDefect(f"{type(error).__name__}: {error}"))
            return field  # type: ignore[no-any-return]


# Fields are written as they came: folding anew those that are long fails on octets beyond ASCII.
_POLICY = SMTP.clone(header_factory=_Lenient(), refold_source="none")


def read_mail(raw: bytes) -> EmailMessage:
    """What is wrong with a mail or a field is in its `defects`: no field raises an error.

    `bytes(mail)` are its lines as they came, but for a space behind each field's colon.
    """
    return email.message_from_bytes(raw, policy=_POLICY)


def subject_of(header: bytes) -> str:
    """The subject for lists: decoded, on one line, at most 200 characters."""
    lower = header.lower()  # to find it in that is much faster than by an expression
    at = 0 if lower.startswith(b"subject:") else lower.find(b"\nsubject:") + 1
    found = _SUBJECT.match(header, at)
    if not found:
        return ""
    text = found.group(1)[:2000].decode("utf-8", "replace")
    if "=?" in text:
        with suppress(Exception):  # a charset or encoding that nobody knows: shown as it came
            text = str(make_header(decode_header(text)))
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text[:200]
