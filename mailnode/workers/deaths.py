"""Which deaths of workers the node survives, and which would only come again."""

from __future__ import annotations

from attrs import define, field

from mailnode.premises import EX_IOERR, EX_SOFTWARE
from mailnode.workers.process import WorkerProcess

AT_ONCE_S = 3.0
MOST_DEATHS_AT_ONCE, DEATHS_S = 3, 60.0
FLUSHES_S = 60.0


@define(eq=False)
class Deaths:
    """Those of one node, as far back as they count."""

    _at_once: list[float] = field(factory=list, init=False)
    _flush_failed_at: float = field(default=float("-inf"), init=False)

    def why_not_again(
        self, worker: WorkerProcess, now: float, *, started: bool
    ) -> tuple[int, str] | None:
        """(exit code, why the node must stop); None where another worker may do better.

        Args:
            now: on the clock.
            started: whether all workers have served already.
        """
        said = worker.cannot_start
        if said is not None and not started:
            return said
        if worker.exit_code == EX_IOERR:
            if now - self._flush_failed_at < FLUSHES_S:
                return EX_IOERR, "flushes fail again and again"
            self._flush_failed_at = now
        if now - worker.began_at < AT_ONCE_S:
            recent = [at for at in self._at_once if now - at < DEATHS_S]
            self._at_once = [*recent, now]
        if len(self._at_once) < MOST_DEATHS_AT_ONCE:
            return None
        code, why = said or (EX_SOFTWARE, f"{worker.name} ended {worker.how}")
        return code, f"workers end as soon as they begin: {why}"
