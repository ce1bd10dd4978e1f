"""What the supervisor and its workers say to each other: one JSON array a line.

The first element is a word, the rest belongs to it. Both ends are of one version.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import define, frozen

from mailnode.config import Config
from mailnode.settings import SECTIONS

# Descriptors of a worker; the listening sockets come behind them.
FROM_SUPERVISOR, TO_LOG, TO_SUPERVISOR, COUNTS = 0, (1, 2), 3, 4
READ_OCTETS = 1 << 16

OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)  # they are sent to all; the supervisor speaks for us


def pack(*words: object) -> bytes:
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


@define(eq=False)
class Lines:
    """Cuts what comes through a pipe into messages."""

    _rest: bytes = b""

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def call(hearer: object, message: list[Any]) -> None:
    """`hearer.hear_WORD(*rest)`."""
    word, *rest = message
    hear: Callable[..., object] = getattr(hearer, f"hear_{word}")
    hear(*rest)


@frozen
class Task:
    """What a worker is told before anything else.

    Attributes:
        number: from 0; its column of the counts.
        version: of the supervisor.
        config: as `pack_config` made it.
        auth: descriptions of checkers (`--auth`).
        as_json: the form of the log.
        ports: (kind, where, descriptors) each.
        workers: how many there are.
        secret: of the counts, in hexadecimal.
        guard: what is known of those who guess (`Guard.told`).
    """

    number: int
    version: str
    hostname: str
    config: Mapping[str, Mapping[str, Any]]
    auth: list[str]
    as_json: bool
    ports: list[tuple[str, str, list[int]]]
    workers: int
    secret: str
    guard: Sequence[Sequence[Any]] = ((), (), ())


def read_task(descriptor: int) -> tuple[Task, bytes]:
    """The task, and what was read behind it; waits for it.

    Raises:
        EOFError: the supervisor is gone.
    """
    data = b""
    while b"\n" not in data:
        piece = os.read(descriptor, READ_OCTETS)
        if not piece:
            raise EOFError
        data += piece
    line, _, rest = data.partition(b"\n")
    return Task(**json.loads(line)[0]), rest


def pack_config(config: Config) -> dict[str, dict[str, Any]]:
    return {section: attrs.asdict(getattr(config, section)) for section in SECTIONS}


def unpack_config(packed: Mapping[str, Mapping[str, Any]]) -> Config:
    sections = {
        section: SECTIONS[section](
            **{key: tuple(value) if isinstance(value, list) else value for key, value in it.items()}
        )
        for section, it in packed.items()
    }
    return Config(**sections)
