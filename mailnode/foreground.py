"""What the process in front says of a node that goes to the background and can't start.

twistd forks, and its parent waits for a word. Of a failure it takes 100 octets, puts them between
quotes, and ends with 1, whatever the fault.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from attrs import frozen


@frozen
class Foreground:
    """The process that was started, as long as it waits for the one behind it.

    Attributes:
        inlet: a pipe to it. Its kernel raises SIGIO there, so that the wait of twistd ends; a
            signal of ours would be refused once the node has shed root.
    """

    inlet: int

    @classmethod
    def wait_here(cls) -> Foreground | None:
        """This process is the one in front; None where no pipe raises a signal."""
        if sys.platform != "linux":
            return None
        outlet, inlet = os.pipe()
        signal.signal(signal.SIGIO, lambda *_: _end_as_told(outlet))
        fcntl.fcntl(outlet, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(outlet, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        return cls(inlet)

    def tell(self, code: int, why: str) -> None:
        """It says why, in one line, and ends with that code."""
        os.write(self.inlet, f"{code} {why}".encode()[:4096])  # whole, or not at all


def _end_as_told(outlet: int) -> None:
    code, _, why = os.read(outlet, 4096).decode("utf-8", "replace").partition(" ")
    print(f"mailnode: {why}", file=sys.__stderr__, flush=True)
    os._exit(int(code))
