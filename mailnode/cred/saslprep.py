"""One spelling of a password for SCRAM, as its clients make it (RFC 4013, SASLprep)."""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """The text prepared; as it is where the profile has no form for it.

    Clients differ about such texts. Most send the octets as they were typed, and characters that
    are younger than the profile's Unicode 3.2 pass.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(prohibits(c) for c in prepared for prohibits in _PROHIBITED):
        return text
    return prepared if _reads_one_way(prepared) else text


def _reads_one_way(text: str) -> bool:
    """RFC 3454, section 6: from right to left whole, or not at all."""
    if not any(stringprep.in_table_d1(character) for character in text):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(stringprep.in_table_d2(character) for character in text)
