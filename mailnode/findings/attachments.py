"""Attachments: their names, and whether they are what name and type say."""

from __future__ import annotations

import re

from mailnode.findings.kinds import BY_EXTENSION, BY_TYPE, PROGRAMS, Kind, kind_of, words
from mailnode.findings.parts import Part
from mailnode.findings.rules import DOUBTFUL, NOTE, Report, shown

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_DOCUMENTS = words(
    "pdf doc docx xls xlsx ppt pptx odt ods rtf txt csv html htm jpg jpeg png gif bmp tif tiff mp3"
    " mp4 avi mov wav zip eml ics"
)


def check_attachment(part: Part, data: bytes | None, report: Report) -> None:
    """Args:
    data: its decoded octets; None where they couldn't be decoded or it is empty.
    """
    name = _check_names(part, report)
    if name:
        _check_name(part, name, report)
    if data is not None:
        _check_kind(part, name, data, report)


def _check_names(part: Part, report: Report) -> str:
    """The name that readers save it under, "" for none; and whether all spellings agree."""
    disposition, content = part.disposition, part.content
    spellings = [
        each
        for each in (
            disposition.parameters.get("filename"),
            disposition.plain.get("filename"),
            content.parameters.get("name"),
            content.plain.get("name"),
        )
        if each
    ]
    if not spellings:
        return ""
    first = spellings[0]
    for other in spellings[1:]:
        if other == first or "=?" in other + first:  # encoded-words are told elsewhere
            continue
        if _extension(other) != _extension(first):
            severity, why = DOUBTFUL, "readers differ in which they take, so it may open as another"
        elif first.isascii() and other.isascii():
            severity, why = NOTE, "readers differ in which they show"
        else:
            continue  # the one in ASCII stands in for the other
        words = f"it has two names, {shown(first)!r} and {shown(other)!r}: {why}"
        report.add("filename-differs", part.where("Content-Disposition"), words, severity)
        break
    return first


def _extension(name: str) -> str:
    return name.rpartition(".")[2].strip().lower() if "." in name else ""


def _check_name(part: Part, name: str, report: Report) -> None:
    where, extension = part.where("Content-Disposition"), _extension(name)
    if "/" in name or "\\" in name:
        report.add(
            "filename-with-path",
            where,
            f"the name {shown(name)!r} has a path in it, which readers cut or refuse; give the last"
            " piece alone",
        )
    if _BIDI.search(name):
        hidden = shown(_BIDI.sub("\N{REPLACEMENT CHARACTER}", name))
        report.add(
            "filename-bidi",
            where,
            f"the name {hidden!r} has characters that turn its letters round, so that it looks as"
            f" if it ended otherwise than with {shown(extension)!r}",
        )
    if extension not in PROGRAMS:
        return
    before = _extension(name.rpartition(".")[0])
    if before in _DOCUMENTS:
        report.add(
            "filename-double-extension",
            where,
            f"the name {shown(name)!r} looks like a .{before}, but is a program (.{extension}):"
            " receivers refuse that as a trick",
        )
    else:
        report.add(
            "attachment-executable",
            where,
            f"the name {shown(name)!r} is a program's (.{extension}), which many receivers refuse;"
            " offer it for download instead",
        )


def _check_kind(part: Part, name: str, data: bytes, report: Report) -> None:
    found, kind, where = kind_of(data), part.content.kind, part.where("Content-Type")
    octets = f"its octets are {_a(found.name)}" if found else "its octets begin otherwise"
    mend = "readers refuse it or open it with the wrong program"
    said, typed = BY_EXTENSION.get(_extension(name)), BY_TYPE.get(kind)
    if said and not said.may_be(found):
        report.add(
            "attachment-not-its-extension",
            where,
            f"the name {shown(name)!r} says {said.name}, but {octets}; {mend}",
        )
    elif not typed.may_be(found) if typed else _contradicts(kind, found):
        report.add("attachment-not-its-type", where, f"it says {shown(kind)}, but {octets}; {mend}")
    elif found and found.is_program and _extension(name) not in PROGRAMS:
        report.add(
            "attachment-executable",
            where,
            f"{octets}, which many receivers refuse; offer it for download instead",
        )


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def _contradicts(kind: str, found: Kind | None) -> bool:
    """Whether octets of a kind can't stand behind a type that is in no table."""
    family = kind.partition("/")[0]
    if found is None:
        return False
    if family == "text":
        return not found.is_text
    return family in ("image", "audio", "video") and not found.is_media
