"""What the disk last failed at, for the log and for `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from attrs import define, field
from twisted.logger import Logger

from mailnode.errors import StoreBroken
from mailnode.store.sqlite import mail_error

_log = Logger()

REMEMBERED_S = 60.0  # who is told "not ready" sends nothing that could show it is over


@define(eq=False)
class Trouble:
    """Set by a failure, over with the next success, or when it is old. Any thread may call."""

    clock: Callable[[], float] = time.monotonic
    _text: str = field(default="", init=False)
    _at: float = field(default=0.0, init=False)

    def begins(self, text: str) -> None:
        self._at = self.clock()
        self._text = text

    def is_over(self) -> None:
        if self._text:
            self._text = ""

    @property
    def text(self) -> str:
        """In words; "" when all is well."""
        return self._text if self.clock() - self._at < REMEMBERED_S else ""


def told_of(error: Exception, name: str, trouble: Trouble) -> Exception:
    """What the caller gets for `error`; the log gets a fault of the store."""
    told = cast(Exception, mail_error(error))
    if isinstance(told, StoreBroken) and told is not error:
        trouble.begins(told.detail)
        _log.error(
            "The mail database has a fault ({name}): {detail}", name=name, detail=told.detail
        )
    return told
