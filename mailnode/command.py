"""What `mailnode` and `mailnode-sendmail` begin with: Ctrl-C ends them quietly from the start.

What commands are made of takes most of a second to read; `cli` looks after Ctrl-C once it is there.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """The `mailnode` command."""
    _run("main")


def sendmail_program() -> None:
    """`mailnode-sendmail`, which can stand where programs look for sendmail."""
    _run("sendmail_program")


def _run(name: str) -> None:
    try:
        commands = import_module("mailnode.cli")
    except KeyboardInterrupt:
        sys.stderr.write("\nmailnode: stopped, nothing was changed\n")
        sys.exit(130)  # as a command that is stopped later
    getattr(commands, name)()
