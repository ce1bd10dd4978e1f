"""A mail as Python's `email` reads it, whatever a stranger has written."""

from __future__ import annotations

import email
from email.errors import InvalidHeaderDefect
from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

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
