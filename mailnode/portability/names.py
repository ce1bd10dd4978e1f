"""Names of files that are made of subjects, which strangers write."""

from __future__ import annotations

import unicodedata

MOST_OCTETS = 100
NO_SUBJECT = "no subject"
_SEPARATORS = '/\\:*?"<>|'
_RESERVED = {
    "con", "prn", "aux", "nul", "clock$", "conin$", "conout$",
    *(f"{name}{number}" for name in ("com", "lpt") for number in "0123456789¹²³"),
}  # fmt: skip


def safe_name(subject: str, most_octets: int = MOST_OCTETS) -> str:
    """A name that is safe on every system, without an ending; "no subject" where nothing is left.

    No separators, no dot in front, no control characters and none that turn the direction of
    writing, none of Windows' devices, and at most so many octets of UTF-8.
    """
    text = unicodedata.normalize("NFC", subject)
    kept = "".join(
        "-" if character in _SEPARATORS else " " if character.isspace() else character
        for character in text
        if character.isspace() or _is_harmless(character)
    )
    name = _cut(" ".join(kept.split()).lstrip(". "), most_octets).rstrip(". ")
    if name.partition(".")[0].rstrip().lower() in _RESERVED:
        name = _cut(f"_{name}", most_octets).rstrip(". ")
    return name or NO_SUBJECT


def numbered(name: str, number: int, ending: str) -> str:
    """The name of the `number`th file that would have it."""
    return f"{name}{ending}" if number == 1 else f"{name} ({number}){ending}"


def _is_harmless(character: str) -> bool:
    """Neither steers anything nor is invisible: no control, format, surrogate or private one."""
    return not unicodedata.category(character).startswith("C")


def _cut(text: str, octets: int) -> str:
    return text.encode("utf-8", "replace")[:octets].decode("utf-8", "ignore")
