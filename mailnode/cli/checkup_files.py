"""The data folder, its databases, and the machine below."""

from __future__ import annotations

import os
import resource
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from mailnode.cli import output
from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.config import Config
from mailnode.machine import connection_room
from mailnode.store.lists import MAIL_DATABASE, quick_check

OPEN_FILES_AT_LEAST = 4096
BORN = 1767225600.0  # 2026-01-01: no clock that is right stands before it
CLOCK_SLACK_S = 120.0
NAMED_AT_MOST = 5


def check_files(config: Config) -> Iterator[Finding]:
    """Files that others may read, or that this user may not."""
    data = config.data_path
    if not data.exists():
        yield good("files", f"there is no {data} yet: the node makes it")
    elif not data.is_dir():
        yield fault("files", f"{data} is no folder", "move it away, or set node.data")
        return
    elif not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield fault(
            "files",
            f"{data} can't be read and written by this user",
            "run this and the node as the user whom it belongs to, or chown -R it",
        )
        return
    loose, foreign = _loose_and_foreign(config)
    if loose:
        yield warning(
            "files",
            f"others than their owner may read {_some(loose)}",
            f"chmod -R go= {data}; chmod 600 {config.users_path}",
        )
    if foreign:
        yield fault(
            "files",
            f"{_some(foreign)} can't be written by this user",
            "chown them to the user whom the node runs as",
        )
    if not loose and not foreign:
        yield good("files", f"{data} and {config.users_path} are their owner's alone")


def _loose_and_foreign(config: Config) -> tuple[list[Path], list[Path]]:
    loose, foreign = [], []
    for path in _files(config):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            continue
        if mode & 0o077 and not stat.S_ISSOCK(mode):
            loose.append(path)
        if not os.access(path, os.W_OK):
            foreign.append(path)
    return loose, foreign


def _files(config: Config) -> Iterator[Path]:
    yield config.users_path
    if config.tls.key:
        yield Path(config.tls.key)
    if not config.data_path.is_dir():
        return
    yield config.data_path
    for folder, folders, files in os.walk(config.data_path):
        yield from (Path(folder, name) for name in (*folders, *files))


def _some(paths: list[Path]) -> str:
    named = ", ".join(str(path) for path in paths[:NAMED_AT_MOST])
    more = len(paths) - NAMED_AT_MOST
    return f"{named} and {more} more" if more > 0 else named


def check_database(config: Config) -> Iterator[Finding]:
    """PRAGMA quick_check of both databases."""
    for path in (config.users_path, config.data_path / MAIL_DATABASE):
        if not path.is_file() or not os.access(path, os.R_OK):
            continue
        faults = list(quick_check(path))
        if faults:
            yield fault(
                "database",
                f"{path} is damaged: {faults[0]}",
                "stop the node and `mailnode repair`, which keeps all that can be read; "
                "`mailnode verify` names every mail concerned",
            )
        else:
            yield good("database", f"{path} is whole")


def check_machine(config: Config) -> Iterator[Finding]:
    """Room on the disk, the clock, and how many files may be open."""
    yield _check_room(config)
    yield from _check_clock(config)
    yield from _check_descriptors(config)


def _check_descriptors(config: Config) -> Iterator[Finding]:
    """Whether there are as many as `limits.connections` wants, which the node would lower."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.limits.connections
    mend = "LimitNOFILE=65536 in the service's unit, or `ulimit -Hn 65536`"
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_AT_LEAST:
        what = f"only {hard} files and connections may be open at once"
        yield warning("descriptors", what, mend)
    elif (room := connection_room(wanted, 2, hard)).each < wanted:
        what = (
            f"limits.connections is {wanted}, and with {hard} descriptors a server lets in "
            f"{room.each} ({room.together} together)"
        )
        chosen = config.sources.get("limits.connections", "default") != "default"
        yield warning("descriptors", what, mend) if chosen else good("descriptors", what)


def _check_room(config: Config) -> Finding:
    place = config.data_path.absolute()
    while not place.exists():
        place = place.parent
    room = os.statvfs(place)
    free, wanted = room.f_bavail * room.f_frsize, config.store.free_space
    if free < wanted:
        return fault(
            "disk",
            f"{output.size(free)} are free for {config.data_path}; below {output.size(wanted)} "
            "no mail is taken",
            "make room, or set store.free_space lower",
        )
    if free < 4 * wanted:
        return warning(
            "disk",
            f"{output.size(free)} are free for {config.data_path}; below {output.size(wanted)} "
            "no mail is taken",
            "make room soon",
        )
    if room.f_files and room.f_favail < 1000:
        return fault(
            "disk",
            f"only {room.f_favail} more files can be made beside {config.data_path}",
            "delete small files there, or give it a file system of its own",
        )
    return good("disk", f"{output.size(free)} are free for {config.data_path}")


def _check_clock(config: Config) -> Iterator[Finding]:
    now = time.time()
    if now < BORN:
        yield fault(
            "clock", f"the clock says {output.when(now)}", "set it: timedatectl set-ntp true"
        )
        return
    written = [
        path.stat().st_mtime
        for path in (config.users_path, config.data_path / MAIL_DATABASE)
        if path.exists()
    ]
    if written and max(written) > now + CLOCK_SLACK_S:
        yield warning(
            "clock",
            f"the clock says {output.when(now)}, but files were written at "
            f"{output.when(max(written))}",
            "set it: timedatectl set-ntp true",
        )
    else:
        yield good("clock", f"the clock says {output.when(now)}")
