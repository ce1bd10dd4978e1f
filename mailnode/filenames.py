"""Names of files that are made of what strangers write: safe, short, and none twice."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

NAME_OCTETS = 100
TRIES = 100_000
_SEPARATORS = re.compile(r'[/\\:*?"<>|]+')
_BLANKS = re.compile(r"\s+")
# Windows opens these as devices, whatever stands behind a dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.I)


def expanded(path: str) -> Path:
    """The path with the folder of a user in place of `~` or `~name`.

    Raises:
        FileNotFoundError: there is no such user, or nobody knows whose home it is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "nobody knows that user's folder", path) from None


def safe_name(text: str, otherwise: str, most_octets: int = NAME_OCTETS) -> str:
    """`text` as a file's name: no separator, no leading dot, nothing unseen, not too long.

    Args:
        otherwise: where nothing is left of it.
    """
    text = unicodedata.normalize("NFC", text)
    text = _SEPARATORS.sub("-", _BLANKS.sub(" ", text))
    text = "".join(c for c in text if _is_seen(c)).strip(" .-")
    stem, dot, ending = text.rpartition(".")
    if not (dot and 0 < len(ending) <= 8 and ending.isalnum()):
        stem, dot, ending = text, "", ""
    stem = _cut(stem, most_octets - len((dot + ending).encode())).strip(" .-")
    name = stem + dot + ending if stem else ""
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return name or otherwise


def _is_seen(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ"


def _cut(text: str, most_octets: int) -> str:
    return text.encode()[: max(0, most_octets)].decode(errors="ignore")


def open_new(folder_fd: int, name: str, mode: int = 0o600) -> tuple[int, str]:
    """A new file in the folder, of this name or with a number in it: (descriptor, name).

    Nothing that is there is opened, and no link followed.

    Raises:
        OSError.
    """
    return _make_new(
        name,
        lambda each: os.open(
            each,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            mode,
            dir_fd=folder_fd,
        ),
    )


def make_folder(folder_fd: int, name: str, mode: int = 0o700) -> tuple[int, str]:
    """A new folder in the folder, likewise: (descriptor, name)."""

    def make(each: str) -> int:
        os.mkdir(each, mode, dir_fd=folder_fd)
        return os.open(each, _FOLDER, dir_fd=folder_fd)

    return _make_new(name, make)


def enter_folder(folder_fd: int, name: str, mode: int = 0o700) -> int:
    """A folder of this name in the folder; it is made where it is missing, no link is followed."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=folder_fd)
    return os.open(name, _FOLDER, dir_fd=folder_fd)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def numbered(name: str) -> Iterator[str]:
    """The name, and the ones that it becomes where it is taken: `a.txt`, `a (2).txt`, ..."""
    yield name
    path = PurePosixPath(name)
    for number in range(2, TRIES):
        yield f"{path.stem} ({number}){path.suffix}"


def _make_new(name: str, make: Callable[[str], int]) -> tuple[int, str]:
    for tried in numbered(name):
        try:
            return make(tried), tried
        except FileExistsError:
            continue
    raise FileExistsError(f"{name}: there are {TRIES} of them")
