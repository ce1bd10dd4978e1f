"""Text in parameters of SMTP: xtext (RFC 3461 section 4) and UTF-8 in ASCII (RFC 6533 section 3).

An ORCPT goes `rfc822;` with xtext or `utf-8;` with the other, on the wire and in a report; here
and in the queue it is the type and the bare text.
"""

from __future__ import annotations

import re

XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_SPECIAL = re.compile(r"[^!-*,-<>-~]")

_PLAIN = r"!-*,-<>-\[\]-~"
_HEXPOINT = "20|2B|3D|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2,4}|10[0-9A-F]{4}"
_UNITEXT = re.compile(rf"(?:[{_PLAIN}\u0080-\U0010ffff]|\\x\{{(?:{_HEXPOINT})\}})+")
_POINT = re.compile(r"\\x\{([0-9A-F]+)\}")
_CODED = re.compile(rf"[^{_PLAIN}]")
_CODED_BESIDE_UTF8 = re.compile(rf"[^{_PLAIN}\u0080-\U0010ffff]")


def to_xtext(text: str) -> str:
    """Printable ASCII, spaces too, as xtext.

    Raises:
        ValueError: it is not printable ASCII, which xtext can't tell.
    """
    if not (text.isascii() and text.isprintable()):
        raise ValueError("only printable ASCII can be xtext")
    return _SPECIAL.sub(lambda found: f"+{ord(found.group()):02X}", text)


def from_xtext(text: str) -> str:
    """What xtext stands for: printable ASCII, for it ends in a header field.

    Raises:
        ValueError: it is no xtext, or stands for something else.
    """
    if not XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    plain = _HEX.sub(lambda found: chr(int(found.group(1), 16)), text)
    if not (plain.isascii() and plain.isprintable()):
        raise ValueError("xtext of what is not printable ASCII")
    return plain


def to_addr_xtext(text: str, *, bare_utf8: bool = False) -> str:
    r"""An address with UTF-8 in ASCII (`utf-8-addr-xtext`): `jos\x{E9}@example.org`.

    Args:
        bare_utf8: UTF-8 stays as it is, and only what a parameter can't hold is coded.
    """
    coded = _CODED_BESIDE_UTF8 if bare_utf8 else _CODED
    return coded.sub(lambda found: f"\\x{{{ord(found.group()):X}}}", text)


def from_addr_xtext(text: str) -> str:
    """The address that `utf-8-addr-xtext`, or -unitext with its bare UTF-8, stands for.

    Raises:
        ValueError: it is neither.
    """
    if not _UNITEXT.fullmatch(text):
        raise ValueError("not an address in UTF-8")
    return _POINT.sub(lambda found: chr(int(found.group(1), 16)), text)


def orcpt_on_wire(orcpt: str, smtputf8: bool) -> str:
    """The value of ORCPT for a remote that offers DSN.

    Args:
        orcpt: type and address, "utf-8;josé@example.org".
        smtputf8: whether this mail goes with SMTPUTF8, so that UTF-8 may stand bare.
    Raises:
        ValueError: its type is rfc822 and it is not printable ASCII.
    """
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind};{to_xtext(address)}"
    return f"utf-8;{to_addr_xtext(address, bare_utf8=smtputf8)}"
