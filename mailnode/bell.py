"""One bell: something changed, look. A hint, never the truth, which is read from the store.

In this process ringing is a call. Other processes (the command line) ring with one datagram
on `bell.sock` in the data folder: the topic in ASCII.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

SOCKET_NAME = "bell.sock"

_log = Logger()


@define(eq=False)
class Bell:
    """Calls whoever wants to know of a topic."""

    _ears: dict[str, list[Callable[[], None]]] = field(factory=dict)

    def on(self, topic: str, call: Callable[[], None]) -> None:
        self._ears.setdefault(topic, []).append(call)

    def ring(self, topic: str) -> None:
        for call in self._ears.get(topic, ()):
            try:
                call()
            except Exception:
                _log.failure("{topic} was rung, and somebody failed", topic=topic)


class BellListener(DatagramProtocol):
    """Rings for the datagrams of other processes."""

    noisy = False

    def __init__(self, bell: Bell) -> None:
        self.bell = bell

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.bell.ring(datagram[:64].decode("ascii", "replace"))


def listen_for_others(bell: Bell, reactor: Any, data: Path) -> Any:
    """A port on which other processes ring; None where there can be none.

    Too long a path, say: what they changed is seen by the poll all the same.
    """
    path = data / SOCKET_NAME
    path.unlink(missing_ok=True)
    try:
        return reactor.listenUNIXDatagram(os.fspath(path), BellListener(bell), mode=0o600)
    except Exception as error:
        _log.info("no bell at {path}: {error}", path=str(path), error=str(error))
        return None


def ring_from_outside(data: Path, topic: str) -> bool:
    """Ring a running node's bell; False when none hears (it will see the change by itself)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(topic.encode("ascii"), os.fspath(data / SOCKET_NAME))
        except OSError:
            return False
    return True
