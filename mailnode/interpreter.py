"""The interpreter, as a process wants it that is a node and nothing else."""

from __future__ import annotations

import gc

GARBAGE_THRESHOLDS = (20_000, 50, 50)


def tune_interpreter() -> None:
    """Garbage is looked for less often.

    What lives from the start on is never garbage, and a mail leaves no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
