"""A text for somebody's telephone, by a program of the administrator's.

The number is its last argument and the text its standard input, so nothing that a person wrote
reaches a shell. It is given little time, for somebody waits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

TIMEOUT_S = 20.0
MOST_TOLD = 300  # octets of what it says that the log keeps
_PARTS = re.compile(r"[\s().\-/]")
_NUMBER = re.compile(r"\+?[0-9]{5,15}")


class TextFailed(Exception):
    """The program ended otherwise than with 0, or not in time; it says why, for the log."""


def read_number(typed: str) -> str | None:
    """A telephone number without what parts its digits; None for what is none."""
    number = _PARTS.sub("", typed[:100])
    return number if _NUMBER.fullmatch(number) else None


class _Texting(ProcessProtocol):
    transport: Any

    def __init__(self, text: str) -> None:
        self.done: Deferred[None] = Deferred()
        self._text, self._told, self._late = text, b"", ""

    def connectionMade(self) -> None:
        self.transport.write(self._text.encode())
        self.transport.closeStdin()

    def errReceived(self, data: bytes) -> None:
        self._told = (self._told + data)[:MOST_TOLD]

    def give_up(self, why: str) -> None:
        """Nobody waits for it any more, nor for what it has started itself."""
        self._late = why
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        if self._late:
            self.done.errback(TextFailed(self._late))
            return
        if reason.check(ProcessDone):
            self.done.callback(None)
            return
        told = self._told.decode("utf-8", "replace").strip()
        told = "".join(each if each.isprintable() else " " for each in told)
        self.done.errback(TextFailed(f"{reason.getErrorMessage()} {told}".strip()))


async def send_text(
    reactor: Any, command: Sequence[str], number: str, text: str, timeout_s: float = TIMEOUT_S
) -> None:
    """The program has taken it.

    Args:
        command: the program and its arguments.
        number: as `read_number` gives it: it can't look like an option.

    Raises:
        TextFailed: it hasn't.
    """
    texting = _Texting(text)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ}
    try:
        reactor.spawnProcess(
            texting, command[0], [*command, number], env=environment | {"LC_ALL": "C.UTF-8"}
        )
    except OSError as error:
        raise TextFailed(f"{command[0]}: {error.strerror}") from error

    why = f"it took over {timeout_s:g} s, and was ended"
    late = reactor.callLater(timeout_s, texting.give_up, why)
    try:
        await texting.done
    finally:
        if late.active():
            late.cancel()
