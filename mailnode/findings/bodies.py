"""Bodies: whether they are what their encoding and their charset say."""

from __future__ import annotations

import binascii
import re

from mailnode.findings.charsets import codec_of, fits
from mailnode.findings.parameters import without_comments
from mailnode.findings.parts import Part
from mailnode.findings.rules import DOUBTFUL, Report, shown

_IDENTITY = ("7bit", "8bit", "binary")
_B64_TEXT = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_QP_FAULT = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)|[\x80-\xff]")
_LONG_LINE = re.compile(rb"[^\r\n]{77}")
_BASE64_GARBAGE = re.compile(rb"[^A-Za-z0-9+/=\s]")
_MULTIPART_MEND = (
    "a multipart and an attached mail are never encoded themselves, only their parts are"
)


def encoding_of(part: Part) -> str:
    field = part.header.first("content-transfer-encoding")
    return without_comments(field.text).lower() if field else "7bit"


def check_body(part: Part, raw: bytes, report: Report) -> bytes | None:
    """Its decoded octets; None where it has none or they can't be decoded."""
    encoding, kind = encoding_of(part), part.content.kind
    _check_encoding(part, encoding, report)
    if kind.startswith("multipart/"):
        return None
    body = raw[part.start : part.end]
    if encoding == "7bit" and not body.isascii():
        report.add(
            "octets-in-7bit",
            part.where("Content-Transfer-Encoding"),
            "octets over 127 stand in a 7bit body, where servers may drop or change them; write"
            " `Content-Transfer-Encoding: 8bit` or encode it as quoted-printable",
        )
    if not body.strip():
        _tell_empty(part, report)
        return None
    data = _decoded(part, body, encoding, report)
    if data is not None and kind.startswith("text/"):
        _check_charset(part, data, report)
    return data


def _check_encoding(part: Part, encoding: str, report: Report) -> None:
    where, kind = part.where("Content-Transfer-Encoding"), part.content.kind
    if encoding in ("base64", "quoted-printable"):
        if kind.startswith("multipart/") or kind == "message/rfc822":
            report.add("encoding-on-multipart", where, f"{kind} in {encoding}: {_MULTIPART_MEND}")
    elif encoding not in _IDENTITY:
        report.add(
            "encoding-unknown",
            where,
            f"nobody knows the encoding {shown(encoding)!r}, so readers can't show this; take 7bit,"
            " 8bit, quoted-printable or base64",
        )
    elif encoding == "binary" and not kind.startswith("multipart/"):
        report.add(
            "encoding-binary",
            where,
            "binary needs BINARYMIME at every server on the way, and most don't have it; take"
            " base64",
        )


def _tell_empty(part: Part, report: Report) -> None:
    if not part.number:
        return  # no-body says it
    attached = part.disposition.kind == "attachment"
    report.add(
        "part-empty",
        part.where(),
        f"this {'attachment' if attached else 'part'} is empty; leave it out if it needn't be",
        DOUBTFUL if attached else "",
    )


def _decoded(part: Part, body: bytes, encoding: str, report: Report) -> bytes | None:
    if encoding in _IDENTITY:
        return body
    where = part.where("Content-Transfer-Encoding")
    if encoding == "base64":
        _check_length(body, encoding, where, report)
        return _decoded_base64(body, where, report)
    if encoding != "quoted-printable":
        return None
    _check_length(body, encoding, where, report)
    if found := _QP_FAULT.search(body):
        piece = shown(body[found.start() : found.start() + 3])
        report.add(
            "quoted-printable-broken",
            where,
            f"{piece!r} stands there: in quoted-printable two hexadecimal digits or a line's end"
            " follow each =, and octets over 127 are written so",
        )
    return binascii.a2b_qp(body)


def _decoded_base64(body: bytes, where: str, report: Report) -> bytes | None:
    text = body.translate(None, b" \t\r\n")
    whole = len(text) % 4 == 0
    if whole and _B64_TEXT.fullmatch(text):
        return binascii.a2b_base64(text)
    if found := _BASE64_GARBAGE.search(body):
        why = f"{shown(body[found.start() : found.start() + 1])!r} stands in it"
    elif not whole:
        why = "its length is no multiple of four, so its end is missing"
    else:
        why = "something stands behind its padding"
    report.add("base64-broken", where, f"this is no base64: {why}; readers show garbage or nothing")
    return None


def _check_length(body: bytes, encoding: str, where: str, report: Report) -> None:
    if _LONG_LINE.search(body):
        report.add(
            "encoded-line-too-long",
            where,
            f"lines of {encoding} must have at most 76 characters; some decoders cut longer"
            " ones off",
        )


def _check_charset(part: Part, data: bytes, report: Report) -> None:
    where, charset = part.where("Content-Type"), part.content.parameters.get("charset")
    if not charset:
        if not data.isascii() and part.content.kind in ("text/plain", "text/html"):
            report.add(
                "charset-missing",
                where,
                f"{part.content.kind} has octets over 127 and no charset, so readers guess which"
                " letters they are; write charset=utf-8 if they are",
            )
        return
    codec = codec_of(charset)
    if codec is None:
        report.add(
            "charset-unknown",
            where,
            f"nobody knows the charset {shown(charset)!r}, so readers guess; take utf-8",
        )
    elif not fits(data, codec):
        report.add(
            "charset-mismatch",
            where,
            f"it says charset={shown(charset)}, but its octets are none; readers show wrong"
            " letters",
        )
