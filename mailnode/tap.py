"""What `twistd mailnode` is told: the options, and how they make a `Node`."""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.logger import Logger
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from mailnode import __version__
from mailnode.config import Config, ConfigError, load_config
from mailnode.cred.checkers import mended
from mailnode.foreground import Foreground
from mailnode.listening import KINDS
from mailnode.premises import EX_CONFIG, EX_USAGE
from mailnode.telemetry import LogWriter, log_to_people
from mailnode.under_twistd import TwistdNode, TwistdSupervisor, end_at_once
from mailnode.welcome import welcome

_log = Logger(namespace="mailnode")

LOG_ROTATE_OCTETS = 100 << 20

_PORT_HELP = {
    "smtp": ("SMTP with STARTTLS", "--smtp 2525 or --smtp tcp:25"),
    "submission": ("submission: SMTP for those who sign in", "--submission tcp:587"),
    "smtps": ("submission inside TLS", "--smtps tcp:465"),
    "pop3": ("POP3 with STLS", "--pop3 1100 or --pop3 tcp:110"),
    "pop3s": ("POP3 inside TLS", "--pop3s tcp:995"),
    "http": ("the web, health and metrics over HTTP", "--http 8080"),
    "https": ("the same inside TLS", "--https 8443 or --https tcp:443"),
}


def _port_option(kind: str) -> Callable[[Any, str], None]:
    about, example = _PORT_HELP[kind]

    def option(self: Options, where: str) -> None:
        self.ports.setdefault(kind, []).append(where)

    option.__doc__ = (
        f"Listen for {about}. A number is a port on this machine alone (0 picks one), an "
        f"endpoint string listens where it says; may be given several times. "
        f"Example: {example}"
    )
    return option


class Options(UsageOptions, AuthOptionMixin):
    """The options of `twistd mailnode`.

    A mistake is one line on standard error and exit code 64.
    """

    synopsis = "[options]"
    longdesc = (
        "A mail server: SMTP in, a durable store, POP3 out. "
        "Try it: twistd -n mailnode --smtp 2525 --pop3 1100. "
        "For others than this machine: --smtp tcp:25 --pop3s tcp:995. "
        "All other settings stand in the file that --config names (docs/configuration.rst)."
    )
    optParameters = [
        ["users", "u", None, "File of domains, accounts and aliases. Example: --users users.db"],
        ["data", "d", None, "Folder of mail, keys and locks. Example: --data var"],
        ["config", "c", None, "TOML file of settings. Example: --config mailnode.toml"],
        ["workers", "w", None, "Processes that serve. Example: --workers 4"],
        [
            "clock",
            None,
            None,
            "manual: `mailnode clock` moves it, for tests. Example: --clock manual",
        ],
        ["hostname", "H", None, "Name in greetings. Example: --hostname mx.example.org"],
        ["tls-cert", None, None, "Certificate chain, PEM. Example: --tls-cert fullchain.pem"],
        ["tls-key", None, None, "Its private key, PEM. Example: --tls-key privkey.pem"],
    ]
    supportedInterfaces = (IUsernamePassword,)
    authOutput: IO[str] = sys.stdout

    def __init__(self) -> None:
        self.ports: dict[str, list[str]] = {}
        self.auth: list[str] = []
        self.uid: int | None = None
        self.gid: int | None = None
        super().__init__()

    for _kind in KINDS:
        locals()[f"opt_{_kind}"] = _port_option(_kind)
    del _kind

    def opt_auth(self, description: str) -> None:
        kind, _, rest = description.partition(":")  # what follows may be a password
        if kind == "file" and rest.strip():
            _require_readable(rest)
        try:
            super().opt_auth(description)
        except UsageError as error:
            why = str(error).removeprefix("Unexpected error: ")
            raise UsageError(f"--auth {kind}: {why}; see twistd mailnode --help-auth") from None
        self.auth.append(description)

    opt_auth.__doc__ = (
        "Ask this checker who may sign in, in place of the passwords in users.db; may be given "
        "several times, --help-auth lists what there is. Example: --auth file:passwords"
    )

    def opt_uid(self, name: str) -> None:
        """Become this user once every port is bound; started as root. Example: --uid mailnode"""
        try:
            self.uid = int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
            if self.gid is None:
                self.gid = pwd.getpwuid(self.uid).pw_gid
        except KeyError:
            mend = f"make one: useradd --system {name}"
            if name.isdecimal():
                mend = "give --gid before --uid, or the name of a user"
            raise UsageError(f"--uid {name}: this machine has no such user; {mend}") from None

    def opt_gid(self, name: str) -> None:
        """Become this group as well, in place of the user's own. Example: --gid mail"""
        try:
            self.gid = int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
        except KeyError:
            raise UsageError(
                f"--gid {name}: this machine has no such group; make one: groupadd --system {name}"
            ) from None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"mailnode {__version__}")
        sys.exit(0)

    def parseArgs(self, *args: str) -> None:
        if args:
            raise UsageError(f'"{args[0]}" is no option; see twistd mailnode --help')

    def parseOptions(self, options: list[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except UsageError as error:
            end_at_once(EX_USAGE, str(error) + self._nearest(str(error)))

    def _nearest(self, wrong: str) -> str:
        """What was meant by an option that is none, in words; "" where nothing is like it."""
        found = re.fullmatch(r"option --?(\S+) not recognized", wrong)
        if not found:
            return ""
        word = found.group(1)
        twistd = dict.fromkeys(self.parent.synonyms if self.parent else (), "in front of mailnode")
        known = {name.replace("_", "-"): where for name, where in twistd.items()}
        known |= dict.fromkeys(map(str, self.synonyms), "")
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            if not near:
                return "; see twistd mailnode --help"
            word = near[0]
            dashes = "-" if len(word) == 1 else "--"
            return f"; did you mean {dashes}{word}{known[word] and f', {known[word]}'}?"
        return f": it is twistd's own and stands {known[word]}"

    def load(self) -> Config:
        """The settings that these options, the environment and the file give.

        Raises:
            ConfigError.
        """
        given: dict[str, tuple[object, str]] = {}
        for kind, places in self.ports.items():
            given[f"listen.{kind}"] = (tuple(places), f"--{kind}")
        for option, name in _SETTING_OPTIONS.items():
            if self[option] is not None:
                given[name] = (self[option], f"--{option}")
        return load_config(self["config"] or os.environ.get("MAILNODE_CONFIG"), options=given)


_SETTING_OPTIONS = {
    "users": "node.users",
    "data": "node.data",
    "workers": "node.workers",
    "clock": "node.clock",
    "hostname": "node.hostname",
    "tls-cert": "tls.cert",
    "tls-key": "tls.key",
}


def _require_readable(name: str) -> None:
    """Twisted's `file:` takes a file that isn't there, and refuses everybody later."""
    try:
        Path(name).open("rb").close()
    except OSError as error:
        raise UsageError(
            f"--auth file: can't read {name}: {error.strerror}; it holds lines name:password"
        ) from None


def _end_by_interrupts_until_it_runs(reactor: Any) -> None:
    """Ctrl-C ends a node that isn't up as SIGTERM does: at once, without a traceback.

    Twisted takes the signal for itself where it finds Python's own handler.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    by_python = signal.default_int_handler
    reactor.addSystemEventTrigger("before", "startup", signal.signal, signal.SIGINT, by_python)


def makeService(options: Options) -> TwistdNode | TwistdSupervisor:
    """What twistd calls: the node that the options describe."""
    from twisted.internet import reactor

    if hasattr(signal, "SIGHUP"):  # until the node takes it up, it must not end the process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if not reactor.running:
        _end_by_interrupts_until_it_runs(reactor)
    # Durations run on the monotonic clock; set before any timer is.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    try:
        config = options.load()
    except ConfigError as error:
        end_at_once(EX_CONFIG, str(error))
    if config.path is not None:  # where parts of one's own lie beside the settings
        sys.path.insert(0, str(config.path.resolve().parent))
    out = _log_file(options.parent or {})
    people = log_to_people(out)
    form = config.log.format
    log_writer = LogWriter(out, as_json=form == "json" or (form == "auto" and not people))
    more: dict[str, Any] = {"reload_config": options.load}
    more["on_started"] = welcome if people else None
    node: TwistdNode | TwistdSupervisor
    if config.node.workers == 1:
        checkers = [mended(each) for each in options.get("credCheckers") or ()]
        node = TwistdNode(config, reactor, checkers=checkers, **more)
    else:
        more |= {"as_json": log_writer.as_json, "write_log": log_writer.pass_on}
        node = TwistdSupervisor(config, reactor, auth=options.auth, **more)
    twistd: Any = options.parent or {}
    node.daemon = not twistd.get("nodaemon", True)
    node.foreground = Foreground.wait_here() if node.daemon else None
    node.pid_file = twistd.get("pidfile") or ""
    node.log_writer = log_writer
    node.uid = twistd.get("uid") if options.uid is None else options.uid
    node.gid = twistd.get("gid") if options.gid is None else options.gid
    return node


def _log_file(twistd: Any) -> IO[str]:
    """Where twistd's own options say that the log goes."""
    name = twistd.get("logfile")
    if name == "-" or (not name and twistd.get("nodaemon", True)):
        return sys.__stdout__ or sys.stdout
    file: Any = LogFile.fromFullPath(
        name or "twistd.log", rotateLength=LOG_ROTATE_OCTETS, defaultMode=0o600
    )
    return file  # type: ignore[no-any-return]
