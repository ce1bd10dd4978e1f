"""Addresses and what stands around them, held against the grammar of RFC 5321 section 4.1.2."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from mailnode.addresses import Address, parse_address, parse_domain, parse_path, split_path
from mailnode.errors import MailError
from mailnode.sasl import strict_base64
from mailnode.smtp.paths import Path, parse_helo, parse_mail, parse_rcpt, safe_helo
from mailnode.xtext import orcpt_on_wire
from tests.fuzz.client import Wrong

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PATH = re.compile(r'<(?:"(?:\\.|[^"\\])*"|[^">])*>', re.S)


def run(data: bytes) -> None:
    """Read an input as each of the things in which an address may stand.

    Raises:
        Wrong: what isn't one is taken for one, or the other way about.
        Exception: a parser raises what is no MailError.
    """
    text = data.decode("utf-8", "replace")
    _address(text)
    _path(text)
    _split(text)
    for rest in (data, b"FROM:" + data, b"FROM:<a@b.example> " + data):
        _tried(parse_mail, rest)
    for rest in (data, b"TO:" + data, b"TO:<" + data + b">", b"TO:<a@b.example> " + data):
        found = _tried(parse_rcpt, rest, "mx.example.test", False)
        if found is not None and not str(found[0]).isascii():
            raise Wrong(f"{found[0]} needs SMTPUTF8")
    _told_of(text)
    _helo(data)
    encoded = _tried(strict_base64, data)
    if encoded is not None and not re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", data):
        raise Wrong(f"{data!r} is taken for base64")


def _tried(parse: Callable[..., Any], *args: object) -> Any:
    """What it says; None for what it refuses."""
    try:
        return parse(*args)
    except MailError as refusal:
        if not 500 <= refusal.smtp_code <= 559:
            raise Wrong(f"{args} is answered {refusal.smtp_code}") from None
        return None


def _is_address(text: str) -> bool | None:
    """By the RFC; None where only SMTPUTF8 or the length of quotes decide."""
    if not text.isascii():
        return None
    found = _LOCAL.match(text)
    if found is None or text[found.end() : found.end() + 1] != "@":
        return False
    if len(found.group()) > 64:
        return None if text.startswith('"') else False
    return _is_domain(text[found.end() + 1 :])


def _is_domain(text: str) -> bool:
    if text.startswith("["):
        kind: Any = ipaddress.IPv4Address
        inside = text[1:-1]
        if inside[:5].lower() == "ipv6:":
            kind, inside = ipaddress.IPv6Address, inside[5:]
        try:
            kind(inside)
        except ValueError:
            return False
        return text.endswith("]")
    return len(text) <= 255 and all(_LABEL.fullmatch(label) for label in text.split("."))


def _address(text: str) -> None:
    found: Address | None = _tried(parse_address, text)
    expected = _is_address(text)
    if expected is not None and expected != (found is not None):
        raise Wrong(f"{text!r} is {'no' if found else 'an'} address and was read as {found}")
    if found is None:
        return
    written = str(found)
    if _tried(parse_address, written) != found or parse_domain(found.domain) != found.domain:
        raise Wrong(f"{text!r} becomes {found!r}, which is read back as another")
    if any(ord(char) < 32 or ord(char) == 127 for char in written):
        raise Wrong(f"{text!r} smuggles a control character: {written!r}")
    if len(found.local.encode()) > 64 or not found.domain.isascii():
        raise Wrong(f"{found!r} is longer or wider than an address may be")
    key = _tried(parse_address, f"{Address(found.key.rpartition('@')[0], found.domain)}")
    if key is not None and key.key != found.key:
        raise Wrong(f"{found!r} has a key of another: {found.key}, {key.key}")
    path = Path(found)
    if b"@".join((path.local, path.domain)).decode() != written:
        raise Wrong(f"{path.local!r} and {path.domain!r} are not {written}")


def _path(text: str) -> None:
    if text[:1] != "<":
        text = f"<{text}>"
    found = _tried(parse_path, text)
    inside = text[1:-1]
    if not text.endswith(">") or len(text.encode()) > 256:
        if found is not None:
            raise Wrong(f"{text!r} is taken for a path")
    elif inside and not inside.startswith("@") and found != _tried(parse_address, inside):
        raise Wrong(f"{text!r} is another as a path")


def _split(text: str) -> None:
    cut = _tried(split_path, text)
    found = _PATH.match(text)
    if (cut[0] if cut else None) != (found.group() if found else None):
        raise Wrong(f"{text!r} is cut at {cut}, not {found}")
    if cut and "".join(cut) != text:
        raise Wrong(f"{text!r} loses something: {cut}")


def _told_of(text: str) -> None:
    """What a client asks of reports, and what of it would stand in their fields."""
    mail = _tried(parse_mail, f"FROM:<a@b.example> ENVID={text}".encode())
    if mail is not None and not (mail[1].envid.isascii() and mail[1].envid.isprintable()):
        raise Wrong(f"{text!r} smuggles {mail[1].envid!r} into a field")
    for kind in ("rfc822", "utf-8"):
        rcpt = _tried(parse_rcpt, f"TO:<a@b.example> ORCPT={kind};{text}".encode(), "x", True)
        if rcpt is None or not rcpt[2]:
            continue
        if any(ord(char) < 32 or ord(char) == 127 for char in rcpt[2]):
            raise Wrong(f"{text!r} smuggles {rcpt[2]!r} into a field")
        for utf8 in (True, False):
            again = f"TO:<a@b.example> ORCPT={orcpt_on_wire(rcpt[2], utf8)}".encode()
            found = _tried(parse_rcpt, again, "x", utf8)
            if len(again) < 500 and (found is None or found[1:] != rcpt[1:]):
                raise Wrong(f"{text!r} becomes {again!r}, which is {found}")


def _helo(data: bytes) -> None:
    helo = _tried(parse_helo, data)
    if helo is not None and not re.fullmatch(r"[A-Za-z0-9.:\[\]_?-]+", safe_helo(helo)):
        raise Wrong(f"{helo!r} may not stand in a header field")
