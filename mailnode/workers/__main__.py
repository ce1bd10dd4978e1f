"""Where a worker's process begins: `python -m mailnode.workers NUMBER FOLDER`.

Only a supervisor starts it, with the task on standard input; the arguments are for `ps`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger, globalLogBeginner

from mailnode.interpreter import tune_interpreter
from mailnode.premises import EX_SOFTWARE, StartFailed
from mailnode.telemetry import LogWriter
from mailnode.workers.words import FROM_SUPERVISOR, OF_TERMINALS, TO_SUPERVISOR, pack, read_task
from mailnode.workers.worker import Pipe, Worker

_log = Logger(namespace="mailnode")


def main() -> None:
    """Serve until the supervisor says stop, or is gone."""
    for number in OF_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_TERMINALS)
    reactor: Any = twisted_reactor
    reactor.seconds = time.monotonic
    from_supervisor = take_input()
    try:
        task, rest = read_task(from_supervisor)
    except EOFError:
        return
    globalLogBeginner.beginLoggingTo(
        [LogWriter(sys.stdout, as_json=task.as_json)], redirectStandardIO=False
    )
    pipe = Pipe(rest)

    def ended() -> None:
        pipe.over = True
        reactor.stop()

    try:
        worker = Worker(task, reactor, pipe.say, ended)
        stdio: Any = StandardIO
        stdio(pipe, from_supervisor, TO_SUPERVISOR, reactor)
        worker.privilegedStartService()
        worker.startService()
    except StartFailed as failed:
        _end(int(failed.code or 0), failed.why)
    except Exception as error:
        _log.failure("a worker can't start")
        _end(EX_SOFTWARE, f"{type(error).__name__}: {error}")
    pipe.worker = worker
    pipe.listen()
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(worker.hear_stop))
    tune_interpreter()
    reactor.run(installSignalHandlers=False)


def take_input() -> int:
    """What the supervisor says, under a descriptor that no program of a plug-in's inherits.

    Those get an empty standard input: what they read would be lost to us, "stop" included.
    """
    ours = os.dup(FROM_SUPERVISOR)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, FROM_SUPERVISOR)
    os.close(empty)
    return ours


def _end(code: int, why: str) -> None:
    os.set_blocking(TO_SUPERVISOR, True)
    os.write(TO_SUPERVISOR, pack("cannot_start", code, why))
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
