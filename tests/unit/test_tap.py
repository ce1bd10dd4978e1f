"""`mailnode.tap`: what `twistd mailnode` is told, and what it says when it can't start."""

from __future__ import annotations

import gc
import io
import os
import pwd
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Application, IProcess, IServiceCollection
from twisted.cred.checkers import FilePasswordDB
from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel
from twisted.python import log
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from mailnode import __version__, interpreter, under_twistd
from mailnode.config import Config, load_config
from mailnode.interpreter import tune_interpreter
from mailnode.listening import KINDS
from mailnode.premises import EX_CONFIG, EX_NOPERM, StartFailed
from mailnode.service import Node
from mailnode.tap import Options, makeService
from mailnode.under_twistd import CannotStart, TwistdNode, TwistdSupervisor


class TapCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.said, self.complained = io.StringIO(), io.StringIO()
        self.patch(sys, "__stdout__", self.said)
        self.patch(sys, "__stderr__", self.complained)
        self.patch(sys, "path", list(sys.path))
        others = {k: v for k, v in os.environ.items() if not k.startswith("MAILNODE_")}
        self.patch(os, "environ", others)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def options(self, *words: str) -> Options:
        options = Options()
        options.parseOptions(list(words))
        return options

    def config(self, *words: str) -> Config:
        return self.options(*words).load()

    def ends(self, code: int, call: Any, *args: Any) -> str:
        """`call` ends the process with that code; the one line that is said."""
        ended = self.assertRaises(SystemExit, call, *args)
        self.assertEqual(code, ended.code)
        (line,) = self.complained.getvalue().splitlines()
        self.assertTrue(line.startswith("mailnode: "), line)
        return line


class OptionsTests(TapCase):
    def test_every_kind_of_port_may_be_given_several_times(self) -> None:
        for kind in KINDS:
            config = self.config(f"--{kind}", "0", f"--{kind}", "tcp:25")
            self.assertEqual(("0", "tcp:25"), getattr(config.listen, kind))
            self.assertEqual(f"--{kind}", config.sources[f"listen.{kind}"])

    def test_other_options_are_settings(self) -> None:
        config = self.config(
            "--users", "u.db", "--data", "d", "--hostname", "MX.example.org",
            "--tls-cert", "c.pem", "--tls-key", "k.pem",
        )  # fmt: skip
        self.assertEqual(("u.db", "d"), (config.node.users, config.node.data))
        self.assertEqual("mx.example.org", config.node.hostname)
        self.assertEqual(("c.pem", "k.pem"), (config.tls.cert, config.tls.key))

    def test_options_go_before_the_environment_and_that_before_the_file(self) -> None:
        path = self.folder / "m.toml"
        path.write_text('[node]\nhostname = "file.example"\n[limits]\nerrors = 3\nrecipients = 4\n')
        self.patch(os, "environ", {
            "MAILNODE_LIMITS__ERRORS": "5", "MAILNODE_NODE__HOSTNAME": "env.example",
        })  # fmt: skip
        config = self.config("--config", str(path), "--hostname", "option.example")
        self.assertEqual("option.example", config.node.hostname)
        self.assertEqual((5, 4), (config.limits.errors, config.limits.recipients))

    def test_the_environment_may_name_the_file_and_the_option_goes_before_it(self) -> None:
        for name in ("one", "two"):
            (self.folder / name).write_text(f'[node]\nhostname = "{name}.example"\n')
        self.patch(os, "environ", {"MAILNODE_CONFIG": str(self.folder / "one")})
        self.assertEqual("one.example", self.config().node.hostname)
        self.assertEqual(
            "two.example", self.config("--config", str(self.folder / "two")).node.hostname
        )

    def test_a_port_given_as_an_option_replaces_those_of_the_file(self) -> None:
        path = self.folder / "m.toml"
        path.write_text('[listen]\nsmtp = ["tcp:25"]\npop3 = [1100]\n')
        listen = self.config("--config", str(path), "--smtp", "2525").listen
        self.assertEqual((("2525",), ("1100",)), (listen.smtp, listen.pop3))

    def test_a_mistake_is_one_line_and_64(self) -> None:
        for words, told in (
            (["--smpt", "2525"], "smpt"),
            (["--pop3"], "pop3"),
            (["--smtp", "0", "stray"], '"stray" is no option'),
            (["--auth", "nonsense:x"], "--auth nonsense: "),
            (["--auth", "file:nix"], "--auth file: can't read nix: No such file"),
            (["--uid", "no-such-user"], "useradd --system no-such-user"),
            (["--uid", "54321"], "give --gid"),
            (["--gid", "no-such-group"], "groupadd --system no-such-group"),
        ):
            self.complained.truncate(0)
            self.complained.seek(0)
            self.assertIn(told, self.ends(64, self.options, *words))

    def test_an_option_that_is_none_is_answered_with_the_nearest(self) -> None:
        for word, told in (
            ("--smpt", "did you mean --smtp?"),
            ("--tls-crt", "did you mean --tls-cert?"),
            ("--pidfle", "did you mean --pidfile, in front of mailnode?"),
            ("--pidfile", "it is twistd's own and stands in front of mailnode"),
            ("-n", "it is twistd's own and stands in front of mailnode"),
            ("--zzz", "see twistd mailnode --help"),
        ):
            self.complained.truncate(0)
            self.complained.seek(0)
            options = Options()
            options.parent = ServerOptions()
            self.assertIn(told, self.ends(64, options.parseOptions, [word]))

    def test_a_password_in_a_wrong_auth_is_not_shown(self) -> None:
        self.assertNotIn("secret", self.ends(64, self.options, "--auth", "nonsense:a:secret"))

    def test_the_help_has_an_example_for_every_option_of_ours(self) -> None:
        text = " ".join(str(Options()).split())
        asked = [
            *KINDS, "users", "data", "config", "workers", "clock", "hostname", "tls-cert",
            "tls-key", "auth", "uid", "gid",
        ]  # fmt: skip
        for option in asked:
            self.assertRegex(text, rf"Example: --{option} \S", option)
        self.assertIn("twistd -n mailnode --smtp 2525 --pop3 1100", text)
        ours = set(re.findall(r"--([a-z][a-z0-9-]*)=", text))
        self.assertLessEqual(ours, {*asked, "help-auth-type"})

    def test_the_version_is_printed(self) -> None:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(0, self.assertRaises(SystemExit, self.options, "--version").code)
        self.assertEqual(f"mailnode {__version__}\n", out.getvalue())


class MakeServiceTests(TapCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(reactor, "seconds", reactor.seconds)

    def make(self, *words: str, **twistd: Any) -> TwistdNode:
        options = self.options(*words)
        options.parent = twistd  # type: ignore[assignment]
        node = makeService(options)
        assert isinstance(node, TwistdNode)
        return node

    def test_it_is_a_node_as_the_options_describe_it(self) -> None:
        node = self.make("--smtp", "2525", "--hostname", "mx.example.org")
        self.assertIsInstance(node, Node)
        self.assertEqual("mx.example.org", node.hostname)
        self.assertEqual(("2525",), node.config.listen.smtp)
        self.assertFalse(node.started)
        self.assertEqual([], list(self.folder.iterdir()))

    def test_the_mends_it_names_begin_with_the_command_for_its_files(self) -> None:
        self.patch(sys, "argv", ["twistd"])
        node = self.make("--users", "/srv/users.db", "--smtp", "0")
        self.assertEqual("mailnode --users /srv/users.db", node.command.partition(" --data")[0])
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "mailnode").touch()
        self.patch(sys, "argv", [str(self.folder / "bin" / "twistd")])
        self.assertTrue(node.command.startswith(f"{self.folder}/bin/mailnode --users"))

    def test_durations_run_on_the_monotonic_clock(self) -> None:
        self.make()
        self.assertLess(abs(reactor.seconds() - time.monotonic()), 1)  # type: ignore[attr-defined]

    def test_with_workers_it_is_a_supervisor_whose_workers_make_their_own_checkers(self) -> None:
        options = self.options("--smtp", "2525", "--workers", "3", "--auth", "memory:bob:word")
        options.parent = {}  # type: ignore[assignment]
        node = makeService(options)
        assert isinstance(node, TwistdSupervisor)
        self.assertEqual((3, ["memory:bob:word"]), (node.config.node.workers, node.auth))
        self.assertTrue(node.as_json)
        node.write_log("one\ntwo\n")
        self.assertEqual("one\ntwo\n", self.said.getvalue())

    def test_a_node_that_gives_up_leaves_no_pid_file_and_says_why(self) -> None:
        ends: list[int] = []
        self.patch(os, "_exit", ends.append)
        node = TwistdSupervisor(Config(), Clock())
        pid_file = self.folder / "pid"
        pid_file.write_text(str(os.getpid()))
        node.pid_file = str(pid_file)
        node.end_process(70, "workers end")
        self.assertEqual([70], ends)
        self.assertFalse(pid_file.exists())
        self.assertEqual("mailnode: workers end\n", self.complained.getvalue())

    def test_a_mistake_in_the_settings_is_one_line_and_78(self) -> None:
        self.assertIn("none.toml", self.ends(78, self.make, "--config", "none.toml"))

    def test_settings_are_read_again_from_where_they_came(self) -> None:
        path = self.folder / "m.toml"
        path.write_text("[limits]\nerrors = 3\n")
        node = self.make("--config", str(path))
        path.write_text("[limits]\nerrors = 4\n")
        assert node._reload_config is not None
        self.assertEqual(4, node._reload_config().limits.errors)

    def test_modules_beside_the_settings_are_found(self) -> None:
        self.make()
        self.assertNotIn(str(self.folder.resolve()), sys.path)
        (self.folder / "m.toml").write_text("")
        self.make("--config", str(self.folder / "m.toml"))
        self.assertEqual(str(self.folder.resolve()), sys.path[0])

    def test_the_log_is_json_unless_people_read_it_or_the_settings_say_so(self) -> None:
        self.assertTrue(self.make().log_writer.as_json)
        self.said.isatty = lambda: True  # type: ignore[method-assign]
        self.assertFalse(self.make().log_writer.as_json)
        for form, as_json in (("json", True), ("text", False)):
            self.patch(os, "environ", {"MAILNODE_LOG__FORMAT": form})
            self.assertEqual(as_json, self.make().log_writer.as_json)

    def test_the_log_goes_where_twistd_s_options_say(self) -> None:
        for twistd in ({"nodaemon": True}, {"logfile": "-"}, {"nodaemon": False, "logfile": "-"}):
            self.assertIs(self.said, self.make(**twistd).log_writer.out, twistd)
        path = self.folder / "node.log"
        node = self.make(nodaemon=True, logfile=str(path))
        node.log_writer({"log_level": LogLevel.info, "log_time": 0.0, "log_format": "hello"})
        self.assertIn("hello", path.read_text())
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        node.log_writer.out.close()

    def test_twistd_s_application_logs_our_way(self) -> None:
        node, application = self.make(), Application("mail")
        node.setServiceParent(application)
        self.assertIs(node.log_writer, application.getComponent(ILogObserver))
        self.assertIn(node, IServiceCollection(application))

    def test_twistd_becomes_the_user_that_is_named(self) -> None:
        nobody = pwd.getpwnam("nobody")
        for words, ids in (
            (["--uid", "nobody"], (nobody.pw_uid, nobody.pw_gid)),
            (["--uid", "nobody", "--gid", "7"], (nobody.pw_uid, 7)),
            (["--gid", "7", "--uid", "54321"], (54321, 7)),
            ([], (None, None)),
        ):
            application = Application("mail")
            self.make(*words).setServiceParent(application)
            process = IProcess(application)
            self.assertEqual(ids, (process.uid, process.gid))

    def test_checkers_of_twisted_s_work_with_what_clients_say(self) -> None:
        passwords = self.folder / "passwords"
        passwords.write_text("alice:secret\n")
        node = self.make("--auth", "memory:bob:word", "--auth", f"file:{passwords}")
        in_memory, in_file = node.checkers
        bob = in_memory.requestAvatarId(UsernamePassword(b"bob", b"word"))
        self.assertEqual(b"bob", self.successResultOf(bob))
        self.assertIsInstance(in_file, FilePasswordDB)
        alice = in_file.requestAvatarId(UsernamePassword(b"alice", b"secret"))
        self.assertEqual(b"alice", self.successResultOf(alice))
        self.assertTrue(in_file.cache)

    def test_nothing_to_listen_on_is_64_and_says_what_would_do(self) -> None:
        node = self.make("--data", str(self.folder / "var"))
        line = self.ends(64, node.privilegedStartService)
        self.assertIn("--smtp 2525 --pop3 1100", line)
        self.assertFalse((self.folder / "var").exists())

    def test_a_port_that_is_none_is_64_and_told_once(self) -> None:
        node = self.make("--smtp", "70000", "--data", str(self.folder / "var"))
        self.assertIn("--smtp: there is no port 70000", self.ends(64, node.privilegedStartService))


class FailedStartTests(SynchronousTestCase):
    """Of a node behind a terminal that twistd has left: what is said is an exception's text."""

    def fail(self, pid: str) -> Path:
        pid_file = Path(self.mktemp())
        pid_file.write_text(pid)
        node = TwistdNode(Config(), Clock())
        node.daemon, node.pid_file = True, str(pid_file)

        def start() -> None:
            raise StartFailed(EX_CONFIG, "there is no such certificate")

        with self.assertRaisesRegex(CannotStart, "no such certificate"):
            node._or_say_why(start)
        return pid_file

    def test_its_pid_file_is_removed(self) -> None:
        self.assertFalse(self.fail(str(os.getpid())).exists())

    def test_the_pid_file_of_another_process_stays(self) -> None:
        self.assertEqual("1", self.fail("1").read_text())


class ReachTests(TapCase):
    """What root could read, and the user that it became can't."""

    def refusal(self, closed: Path) -> str:
        node = TwistdNode(load_config(environment={}), Clock())
        node.uid = os.getuid()
        self.patch(under_twistd, "_name_of", lambda uid: "mailnode")

        def barred_at(path: Path, mode: int) -> Path | None:
            return closed if closed in path.absolute().parents else None

        self.patch(under_twistd, "barred_at", barred_at)
        return self.ends(EX_NOPERM, node.startService)

    def test_an_environment_that_it_can_not_read_is_named_with_the_mend(self) -> None:
        place = Path(under_twistd.__file__).parents[1]
        said = self.refusal(place)
        self.assertIn(f"user mailnode may not read {place}, where mailnode is installed", said)
        self.assertIn(f"chmod o+rX {place}", said)

    def test_a_folder_that_it_can_not_use_is_named_with_the_mend(self) -> None:
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        here = Path.cwd()
        self.assertTrue(self.refusal(here).endswith(f"for users.db: chown -R mailnode: {here}"))


class TuningTests(SynchronousTestCase):
    def test_the_interpreter_is_tuned_for_a_process_that_is_a_node(self) -> None:
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.patch(log, "callWithLogger", log.callWithLogger)
        tune_interpreter()
        self.assertEqual(interpreter.GARBAGE_THRESHOLDS, gc.get_threshold())
        self.assertGreater(gc.get_freeze_count(), 0)
        self.assertIs(log.callWithLogger, interpreter.call_and_log)

    def test_what_an_event_of_a_connection_raises_is_logged_and_ends_nothing(self) -> None:
        def fail(*args: int, **named: int) -> None:
            raise ValueError(args, named)

        called = interpreter.call_and_log(object(), lambda *args, **named: (args, named), 1, a=2)
        self.assertEqual(called, ((1,), {"a": 2}))
        self.assertIsNone(interpreter.call_and_log(object(), fail, 1, a=2))
        (logged,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(logged.value.args, ((1,), {"a": 2}))

    def test_an_interrupt_in_an_event_of_a_connection_goes_on(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, interpreter.call_and_log, object(), interrupt)

    def test_the_reactor_hands_its_events_out_through_what_is_tuned(self) -> None:
        handed: list[Any] = []
        self.patch(log, "callWithLogger", lambda *args: handed.append(args))
        poller = SimpleNamespace(poll=lambda *_: [(7, 1)])
        polled: Any = SimpleNamespace(
            _poller=poller, _selectables={7: "connection"}, _doReadOrWrite="read"
        )
        EPollReactor.doPoll(polled, 0)
        self.assertEqual(handed, [("connection", "read", "connection", 7, 1)])
