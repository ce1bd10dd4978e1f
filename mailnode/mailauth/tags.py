"""Tag lists, `v=1; a=...; b=...`: of signatures, key records and DMARC (RFC 6376 section 3.2)."""

from __future__ import annotations

import base64
import binascii
import re

MOST_TAGS = 50

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = re.compile(r"[ \t\r\n]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


class BadTags(Exception):
    """What breaks the grammar, in words."""


def read_tags(text: str) -> dict[str, str]:
    """Values by their tags, in order, without the blanks around them.

    An empty place between semicolons is passed over, as everybody does.

    Raises:
        BadTags: it is no such list, names a tag twice, or more tags than there can be.
    """
    specs = text.split(";", MOST_TAGS + 1)
    if len(specs) > MOST_TAGS + 1:
        raise BadTags(f"it has more than {MOST_TAGS} tags")
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip(" \t\r\n")
        if not equals and not name:
            continue
        if not equals or not _NAME.fullmatch(name):
            raise BadTags(f"{spec.strip()!r:.40} is no tag with a value")
        if name in tags:
            raise BadTags(f"{name:.40}= stands there twice")
        tags[name] = value.strip(" \t\r\n")
    return tags


def words(value: str) -> list[str]:
    """The parts of a value that colons part."""
    return [each.strip(" \t\r\n") for each in value.split(":")]


def without_blanks(value: str) -> str:
    return _BLANKS.sub("", value)


def read_base64(value: str) -> bytes:
    """Its octets; blanks may stand anywhere in it.

    Raises:
        BadTags: it is no base64.
    """
    text = without_blanks(value)
    if not _BASE64.fullmatch(text):
        raise BadTags("what should be base64 is none")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        raise BadTags("what should be base64 is none") from None
