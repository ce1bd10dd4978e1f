"""Dovecot's passwd-file: who has an account there, and the hash of each password.

A line is ``user:{SCHEME}hash:uid:gid:gecos:home:shell:extra``; what stands behind the hash is not
read. Blank lines and such as begin with ``#`` say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from mailnode.portability.letter import Lost

LINE_OCTETS = 4096


@frozen
class Entry:
    """A line.

    Attributes:
        where: it stands, for people.
        name: an address, or a bare name.
    """

    where: str
    name: str
    password_hash: str = field(repr=False)


def read_passwd_file(path: Path) -> Iterator[Entry | Lost]:
    """Its lines in their order, a name's first alone, and what of it can't be read.

    Raises:
        OSError: it can't be read at all.
    """
    seen = set[str]()
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_OCTETS):
            number += 1
            where = f"{path.name}, line {number}"
            if not line.endswith(b"\n") and len(line) == LINE_OCTETS:
                yield Lost(where, f"it is longer than {LINE_OCTETS} octets")
                while (rest := file.readline(LINE_OCTETS)) and not rest.endswith(b"\n"):
                    pass
                continue
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                yield Lost(where, "it is not UTF-8")
                continue
            if not text or text.startswith("#"):
                continue
            name, _, rest_of_line = text.partition(":")
            password_hash = rest_of_line.partition(":")[0]
            if not name or not password_hash:
                yield Lost(where, "it is no name, colon and hash of a password")
            elif name in seen:
                yield Lost(where, f"{name} stands in a line before")
            else:
                seen.add(name)
                yield Entry(where, name, password_hash)
