"""What is fuzzed: each takes any octets and raises when something is wrong."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import addresses_target, pop3_target, smtp_target, wire_target

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Callable[[bytes], None]] = {
    "smtp": smtp_target.run,
    "pop3": pop3_target.run,
    "wire": wire_target.run,
    "addresses": addresses_target.run,
}
MOST_OCTETS = 2048

_WORD = re.compile(rb'"((?:\\.|[^"\\])*)"')


def dictionary_of(name: str) -> Path:
    """Words for mutations, as libFuzzer reads them."""
    return CORPUS.with_name(f"{name}.dict")


def words_of(name: str) -> list[bytes]:
    """The same, read."""
    found = _WORD.findall(dictionary_of(name).read_bytes())
    return [codecs.escape_decode(word)[0] for word in found]  # type: ignore[attr-defined]


def corpus_of(name: str) -> list[Path]:
    """Inputs that together reach nearly every branch, in the order of their names."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())
