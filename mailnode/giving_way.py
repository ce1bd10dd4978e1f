"""Long work in a thread, that the reactor's has its turns all the same: pure."""

from __future__ import annotations

import time

PAUSE_S = 0.0001


def give_way() -> None:
    """Others may use the interpreter: called in a thread, after each millisecond of its work.

    A thread that works without an end keeps the interpreter for five milliseconds when another one
    wants it; and the reactor's wants it anew behind each call to the system, many times for a mail.
    """
    time.sleep(PAUSE_S)
