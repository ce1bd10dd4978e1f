"""Encoded-words: text beyond ASCII in a header (RFC 2047)."""

from __future__ import annotations

import binascii
import re

from mailnode.findings.charsets import codec_of, fits
from mailnode.findings.fields import ADDRESS_FIELDS
from mailnode.findings.header import Field
from mailnode.findings.parts import Part
from mailnode.findings.rules import Report, shown

MOST_CHARACTERS = 75

_TEXT_FIELDS = {"subject", "comments", "keywords", "content-description"}
_PARAMETER_FIELDS = {"content-type", "content-disposition"}
_WORD = re.compile(r"=\?([^?\s]{1,100})\?([^?\s]{0,20})\?([^?]*)\?=")
_BEGIN = re.compile(r"=\?[\w.:*+-]{1,100}\?[bq]\?", re.I | re.A)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.S)
_Q_TEXT = re.compile(r"(?:[!-<>@-~]|=[0-9A-Fa-f]{2})*")
_B_TEXT = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def check_words(part: Part, report: Report) -> None:
    for each in part.header.fields:
        if "=?" not in each.text:
            continue
        if each.name in _PARAMETER_FIELDS:
            _check_parameters(each, report)
        elif each.name in _TEXT_FIELDS or each.name in ADDRESS_FIELDS:
            _check_field(each, report)


def _check_parameters(each: Field, report: Report) -> None:
    if found := _WORD.search(each.text):
        report.add(
            "encoded-word-in-parameter",
            f"line {each.line}",
            f"{each.spelled} has the encoded-word {shown(found.group())!r} in a parameter, where"
            " many readers show it as it is; write filename*=UTF-8''... with %-escapes",
        )


def _check_field(each: Field, report: Report) -> None:
    text, where = each.text, f"line {each.line}"
    if each.name in ADDRESS_FIELDS:
        for quoted in _QUOTED.finditer(text):
            if found := _WORD.search(quoted.group()):
                report.add(
                    "encoded-word-in-quotes",
                    where,
                    f"{shown(found.group())!r} stands between quotes, where it means itself; leave"
                    " the quotes out",
                )
                return
    whole = 0
    for found in _WORD.finditer(text):
        whole += 1
        _check_word(found, where, report)
        if each.name in _TEXT_FIELDS and not _is_separated(text, found):
            report.add(
                "encoded-word-unseparated",
                where,
                f"{shown(found.group())!r} touches the text beside it, so readers show it as it is;"
                " put a blank between them",
            )
    if len(_BEGIN.findall(text)) > whole:
        report.add(
            "encoded-word-malformed",
            where,
            f"{each.spelled} has the beginning of an encoded-word that doesn't end with ?=, so"
            " readers show it as it is",
        )


def _is_separated(text: str, found: re.Match[str]) -> bool:
    before = text[max(found.start() - 1, 0) : found.start()]
    behind = text[found.end() : found.end() + 1]
    return before in ("", " ", "\t") and behind in ("", " ", "\t")


def _check_word(found: re.Match[str], where: str, report: Report) -> None:
    charset, encoding, text = found.groups()
    word = shown(found.group())
    if len(found.group()) > MOST_CHARACTERS:
        report.add(
            "encoded-word-too-long",
            where,
            f"{word!r} has {len(found.group())} characters: more than {MOST_CHARACTERS} need not be"
            " decoded; cut it into several",
        )
    data = _decoded(encoding.lower(), text)
    codec = codec_of(charset.partition("*")[0])
    if data is None:
        report.add(
            "encoded-word-malformed",
            where,
            f"{word!r} can't be decoded: behind its charset stands q or b, then text without blanks"
            " that is quoted-printable or base64",
        )
    elif codec is None:
        report.add(
            "encoded-word-charset-unknown",
            where,
            f"nobody knows the charset {shown(charset)!r}, so it can't be shown; take utf-8",
        )
    elif not fits(data, codec):
        report.add(
            "encoded-word-broken",
            where,
            f"the octets of {word!r} are no {shown(charset)}: another charset, or a character is"
            " cut in two between words; each word must be whole",
        )


def _decoded(encoding: str, text: str) -> bytes | None:
    if encoding == "q" and _Q_TEXT.fullmatch(text):
        return binascii.a2b_qp(text.replace("_", " ").encode("ascii"), header=True)
    if encoding == "b" and len(text) % 4 == 0 and _B_TEXT.fullmatch(text):
        return binascii.a2b_base64(text)
    return None
