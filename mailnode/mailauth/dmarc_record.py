"""What a domain asks of those who get mail in its name: a DMARC record, read.

RFC 9989 section 4.7, and what RFC 7489 had besides (`pct`, `ruf`). What is wrong in a record is as
if it weren't there, but for its policy: without one that can be read there is no record.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

MOST_CHARACTERS = 4096
MOST_TAGS = 50
MOST_REPORTS_TO = 10

POLICIES: Final = ("none", "quarantine", "reject")

_VERSION = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}:[!-+\--~]{1,400}")
_PERCENT = re.compile(r"[0-9]{1,3}")


@frozen
class DmarcRecord:
    """A record that counts.

    Attributes:
        policy: for the domain itself: "none", "quarantine", "reject".
        subdomains, missing: for those below it, and for those below it that don't exist; "" where
            nothing is said.
        strict_dkim, strict_spf: the domains must be the same, not only of one organization.
        percent: of failing mails that the policy is for.
        testing: the domain wants one step less than it says (`t=y`).
        psd: "y" for a public suffix, "n" for the top of an organization, "u" for what isn't said.
        aggregate, failures: URIs that reports go to, as they are written.
        options: `fo`, for reports of failures.
        text: as it was published, cut.
    """

    policy: str
    subdomains: str = ""
    missing: str = ""
    strict_dkim: bool = False
    strict_spf: bool = False
    percent: int = 100
    testing: bool = False
    psd: str = "u"
    aggregate: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    options: str = "0"
    text: str = ""


def is_record(text: str) -> bool:
    """Whether it says of itself that it is one."""
    return _VERSION.match(text) is not None


def read_records(texts: tuple[str, ...]) -> DmarcRecord | None:
    """The record among all that stands at a name; more than one are none (section 4.10)."""
    records = [each for each in texts if is_record(each)]
    return read_record(records[0]) if len(records) == 1 else None


def read_record(text: str) -> DmarcRecord | None:
    """What a record says; None where it can't count.

    Args:
        text: one of which `is_record` is true.
    """
    if len(text) > MOST_CHARACTERS:
        return None
    tags = _tags(text)
    aggregate = _uris(tags.get("rua", ""))
    asked = {tag: tags[tag].lower() for tag in ("p", "sp", "np") if tag in tags}
    if "p" not in asked or any(each not in POLICIES for each in asked.values()):
        if not aggregate:
            return None
        asked = {"p": "none"}  # it wants reports, and that is all that can be read
    percent = tags.get("pct", "")
    return DmarcRecord(
        asked["p"],
        asked.get("sp", ""),
        asked.get("np", ""),
        tags.get("adkim", "").lower() == "s",
        tags.get("aspf", "").lower() == "s",
        min(int(percent), 100) if _PERCENT.fullmatch(percent) else 100,
        tags.get("t", "").lower() == "y",
        tags["psd"].lower() if tags.get("psd", "").lower() in ("y", "n") else "u",
        aggregate,
        _uris(tags.get("ruf", "")),
        tags.get("fo", "0")[:20],
        text,
    )


def read_uris(text: str) -> tuple[str, ...]:
    """Of `rua` alone, whatever else a record says: one that takes reports for others has no policy.

    Args:
        text: one of which `is_record` is true.
    """
    return _uris(_tags(text[:MOST_CHARACTERS]).get("rua", ""))


def _tags(text: str) -> dict[str, str]:
    """Values by their tags; the first of a name counts, what is no tag is passed over."""
    tags: dict[str, str] = {}
    for spec in text.split(";")[:MOST_TAGS]:
        name, equals, value = spec.partition("=")
        if equals:
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    return tags


def _uris(value: str) -> tuple[str, ...]:
    parts = [each.strip(" \t") for each in value.split(",")[:MOST_REPORTS_TO]]
    return tuple(each for each in parts if _URI.fullmatch(each))
