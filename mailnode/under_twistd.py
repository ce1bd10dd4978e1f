"""A node under twistd: its log, its user, its end; and why it can't start."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IProcess, IService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger

import mailnode
import twisted
from mailnode.foreground import Foreground
from mailnode.house import House
from mailnode.interpreter import tune_interpreter
from mailnode.listening import KINDS
from mailnode.premises import EX_NOPERM, EX_USAGE, StartFailed
from mailnode.reach import barred_at
from mailnode.service import Node
from mailnode.telemetry import LogWriter
from mailnode.workers.supervisor import Supervisor

_log = Logger(namespace="mailnode")


def end_at_once(code: int, why: str) -> NoReturn:
    """The process ends before it has begun, and says why on standard error."""
    print(f"mailnode: {why}", file=sys.__stderr__)
    sys.exit(code)


class CannotStart(Exception):
    """The node can't start, behind a terminal that twistd has left."""


class UnderTwistd(House):
    """A node under twistd: it has the log written its way, and says why it can't start."""

    log_writer: LogWriter
    daemon = False
    foreground: Foreground | None = None
    pid_file = ""
    uid: int | None = None
    gid: int | None = None

    def setServiceParent(self, parent: Any) -> None:
        if hasattr(parent, "setComponent") and not IService.providedBy(parent):
            parent.setComponent(ILogObserver, self.log_writer)
            process = IProcess(parent)
            process.uid, process.gid = self.uid, self.gid
        super().setServiceParent(parent)

    @property
    def command(self) -> str:
        """The `mailnode` command as it must be typed to reach this node's files."""
        beside = Path(sys.argv[0]).with_name("mailnode")
        command = str(beside) if "/" in sys.argv[0] and beside.exists() else "mailnode"
        if self.config.path:
            command += f" --config {self.config.path}"
        for option, name in (("users", "users.db"), ("data", "var")):
            if getattr(self.config.node, option) != name:
                command += f" --{option} {getattr(self.config.node, option)}"
        return command

    def privilegedStartService(self) -> None:
        self._or_say_why(self._bind_something)

    def _bind_something(self) -> None:
        if not any(getattr(self.config.listen, kind) for kind in KINDS):
            why = "nothing to listen on; say, for a start: --smtp 2525 --pop3 1100"
            raise StartFailed(EX_USAGE, why)
        super().privilegedStartService()

    def startService(self) -> None:
        self._or_say_why(self._start_reaching_all)
        tune_interpreter()

    def _start_reaching_all(self) -> None:
        if self.uid is not None:  # root may have shown it what it can't see any more
            self._require_reach(self.uid)
        super().startService()

    def _require_reach(self, uid: int) -> None:
        """The user that we became can read what is installed, and use the node's files."""
        user = _name_of(uid)
        for what, module in (("mailnode", mailnode), ("Twisted", twisted), ("Python", os)):
            if (bar := barred_at(Path(str(module.__file__)), os.R_OK)) is not None:
                self._fail(
                    EX_NOPERM,
                    f"user {user} may not read {bar}, where {what} is installed: "
                    f"chmod o+rX {bar}, or make the environment elsewhere, in /opt/mailnode say",
                )
        whole = os.R_OK | os.W_OK | os.X_OK
        for path, mode in ((self.config.users_path, os.R_OK), (self.config.data_path, whole)):
            if (bar := barred_at(path, mode)) is not None:
                ours = bar in (path.absolute(), path.absolute().parent)
                mend = f"chown -R {user}: {bar}" if ours else f"chmod o+x {bar}"
                self._fail(EX_NOPERM, f"user {user} may not use {bar}, for {path}: {mend}")

    def stopService(self) -> Deferred[None]:
        """As a node's; Ctrl-C once more cuts off what is still under way.

        Twisted's own handlers would stop the reactor a second time, which is an error.
        """
        if self._standing:
            hurry = self.reactor.callFromThread
            signal.signal(signal.SIGINT, lambda *_: hurry(self.cut_off))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().stopService()

    def _or_say_why(self, start: Callable[[], None]) -> None:
        try:
            start()
        except StartFailed as failed:
            _remove_own_pid_file(self.pid_file)
            if self.daemon:
                _log.critical("the node can't start: {why}", why=failed.why)
                if self.foreground is None:  # twistd's parent says some of an exception's text
                    raise CannotStart(failed.why) from None
                self.foreground.tell(int(failed.code or 0), failed.why)
                raise
            end_at_once(int(failed.code or 0), failed.why)

    def start_failed(self, why: str) -> None:
        """It is said on standard error, once."""


class TwistdNode(UnderTwistd, Node):
    """A node of one process."""


class TwistdSupervisor(UnderTwistd, Supervisor):
    """A node of several processes."""

    def end_process(self, code: int, why: str) -> None:
        _remove_own_pid_file(self.pid_file)
        super().end_process(code, why)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _remove_own_pid_file(name: str) -> None:
    """What twistd wrote for this process and leaves behind a failed start; no other node's."""
    try:
        if name and Path(name).read_text().strip() == str(os.getpid()):
            Path(name).unlink()
    except OSError as error:
        _log.info("{name} stays: {error}", name=name, error=str(error))
