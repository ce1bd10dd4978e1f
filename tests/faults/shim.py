"""What stands between a program and the system, built; and what powercut.c recorded, read."""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import SkipTest

from attrs import frozen

CREATE, WRITE, TRUNCATE, FLUSH, FLUSH_FOLDER, RENAME, LINK, UNLINK, MKDIR, SAID = range(1, 11)
_HEAD = struct.Struct("=IIIIQQ")


@cache
def build(name: str = "powercut") -> Path:
    """The shim, ready for LD_PRELOAD: powercut.c, or another here.

    Raises:
        SkipTest: there is no C compiler, and this is not CI.
    """
    if not shutil.which("gcc") and os.environ.get("CI") != "true":
        raise SkipTest(f"needs gcc and libc6-dev, which build tests/faults/{name}.c")
    folder = Path(tempfile.mkdtemp(prefix="mailnode-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library, source = folder / f"{name}.so", Path(__file__).with_name(f"{name}.c")
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


@frozen
class Step:
    """One thing that the program did.

    Attributes:
        path: below the recorded folder, "" for the folder itself.
        data: what was written; the second name; what was said.
    """

    op: int
    path: str
    inode: int
    offset: int
    data: bytes


def read_steps(log: Path) -> Iterator[Step]:
    with log.open("rb") as file:
        while head := file.read(_HEAD.size):
            op, path_octets, data_octets, _, inode, offset = _HEAD.unpack(head)
            path = file.read(path_octets).decode()
            yield Step(op, path, inode, offset, file.read(data_octets))


def say(fd: int, text: bytes) -> None:
    """A program that is recorded notes in the log what it was promised by now."""
    os.write(fd, _HEAD.pack(SAID, 0, len(text), 0, 0, 0) + text)
