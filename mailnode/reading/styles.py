"""Style attributes of a stranger: the declarations that can do no harm, written anew.

A value passes if it is one of a small language: words, numbers, colours, quoted names, a few
functions; no backslash, no brace, no at-sign. So little can't be read in two ways, and nothing that
loads or moves over something else is in it; the full grammar of CSS, which tinycss2 would bring,
would let in more and cost 30 microseconds a declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MOST_CHARACTERS = 8192
_PROPERTIES = frozenset(
    """
    background background-color background-image background-position background-repeat
    background-size border border-bottom border-bottom-color border-bottom-left-radius
    border-bottom-right-radius border-bottom-style border-bottom-width border-collapse border-color
    border-left border-left-color border-left-style border-left-width border-radius border-right
    border-right-color border-right-style border-right-width border-spacing border-style border-top
    border-top-color border-top-left-radius border-top-right-radius border-top-style
    border-top-width border-width box-sizing caption-side clear color direction display
    empty-cells float font font-family font-size font-stretch font-style font-variant font-weight
    height letter-spacing line-height list-style list-style-position list-style-type margin
    margin-bottom margin-left margin-right margin-top max-height max-width min-height min-width
    opacity overflow overflow-wrap padding padding-bottom padding-left padding-right padding-top
    table-layout text-align text-decoration text-decoration-color text-decoration-line
    text-decoration-style text-indent text-overflow text-transform unicode-bidi vertical-align
    visibility white-space width word-break word-spacing word-wrap
    """.split()
)
_DISPLAYS = frozenset(
    "block inline inline-block inline-table list-item none table table-caption table-cell"
    " table-column table-column-group table-footer-group table-header-group table-row"
    " table-row-group".split()
)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.S)
_DECLARATION = re.compile(
    r"""\s*+(?P<name>[A-Za-z-]++)\s*+:"""
    r"""(?P<value>(?:[^;"'()]++|"[^"]*+"|'[^']*+'|\([^()]*+\))*+)(?:;|\Z)"""
)
_VALUE = re.compile(
    r"""(?:(?:rgba?|hsla?|calc)\([A-Za-z0-9%.,+\-*/ ]*+\)|[A-Za-z0-9#%.+\-]++(?!\()|[ ,/]"""
    r"""|"[\w .,\-]*+"|'[\w .,\-]*+')++""",
    re.I,
)
_URL = re.compile(r"""\burl\(\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'()]*+))\s*+\)""", re.I)
_IMPORTANT = re.compile(r"!\s*important\b", re.I)
_UNSAFE_IN_URL = re.compile(r"""[^!#$%&*+,\-./0-9:;=?@A-Z_a-z~]""")


def safe_style(style: str, picture: Callable[[str], str | None]) -> str:
    """What may stay, such as ``color:red;margin:0``; "" if nothing may.

    Args:
        picture: the address at which a background may be loaded, or None.
    """
    text = _COMMENT.sub(" ", style[:MOST_CHARACTERS])
    kept, at = list[str](), 0
    while at < len(text):
        found = _DECLARATION.match(text, at)
        if found is None:
            end = text.find(";", at)
            at = end + 1 if end >= 0 else len(text)
            continue
        at = found.end()
        name = found["name"].lower()
        value = _safe_value(name, found["value"], picture) if name in _PROPERTIES else ""
        if value:
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def _safe_value(name: str, value: str, picture: Callable[[str], str | None]) -> str:
    value = " ".join(_IMPORTANT.sub("", value).split())
    loads = ""
    if name in ("background", "background-image") and (load := _URL.search(value)):
        loads = picture(load.group(1) or load.group(2) or load.group(3) or "") or ""
        value = _URL.sub("", value).strip(" ,")
        if loads:
            loads = _UNSAFE_IN_URL.sub(lambda each: _escaped(each.group()), loads)
            loads = f'url("{loads}")'
    if value and (not _VALUE.fullmatch(value) or "/*" in value or "*/" in value):
        return loads
    if name == "display" and value.lower() not in _DISPLAYS:
        return ""
    if name.startswith("margin") and re.search(r"(?<![A-Za-z0-9])-", value):
        return ""  # it would lay one thing over another
    return f"{loads} {value}".strip()


def _escaped(character: str) -> str:
    return "".join(f"%{octet:02X}" for octet in character.encode("utf-8", "replace"))
