"""The pages of the documentation as tests read them: text, links, blocks that are tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.rst"
PAGES = sorted([README, ROOT / "CHANGES.rst", *DOCS.glob("*.rst"), *ROOT.glob("changes/*.rst")])

_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. (?P<mark>tested|file: (?P<name>\S+))\n"  # a comment in reStructuredText
    r"(?:(?P=indent)\n|\n)*"
    r"(?P=indent)::\n\n"
    r"(?P<text>(?:(?P=indent) +.*\n|\n)+)",
    re.M,
)
_LINK = re.compile(r"(?<!`)`[^`<>]+ <(?P<target>[^>\n]+)>`_")


def read(page: Path) -> str:
    return page.read_text("utf-8")


def _dedented(match: re.Match[str]) -> str:
    lines = match["text"].rstrip("\n").split("\n")
    depth = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[depth:] for line in lines) + "\n"


def shown_blocks(page: Path) -> list[str]:
    """Literal blocks behind the comment `.. tested`, in order."""
    return [_dedented(each) for each in _BLOCK.finditer(read(page)) if each["mark"] == "tested"]


def shown_lines(page: Path) -> list[str]:
    return [line for block in shown_blocks(page) for line in block.splitlines() if line.strip()]


def files(page: Path) -> dict[str, str]:
    """File name to text, of literal blocks behind the comment `.. file: NAME`."""
    return {each["name"]: _dedented(each) for each in _BLOCK.finditer(read(page)) if each["name"]}


def links(page: Path) -> Iterator[str]:
    for each in _LINK.finditer(read(page)):
        yield each["target"]


def section(page: Path, title: str) -> str:
    """The text from a heading to the next of its kind or a higher one."""
    found = re.search(
        rf"^{re.escape(title)}\n(?P<line>([-~=])\2*)\n(?P<text>.*?)(?=^\S[^\n]*\n(?:\2+|=+)\n|\Z)",
        read(page),
        re.M | re.S,
    )
    assert found, f"{page.name} has no section {title}"
    return found["text"]
