"""`mailnode.workers.supervisor`: workers begin, are told, replaced, and end."""

from __future__ import annotations

import json
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from mailnode.config import Config
from mailnode.premises import EX_IOERR, EX_SOFTWARE
from mailnode.workers.deaths import AT_ONCE_S, DEATHS_S
from mailnode.workers.process import WorkerProcess
from mailnode.workers.supervisor import LATE_STOP_S, UNHEARD_S, Supervisor
from mailnode.workers.words import COUNTS, TO_SUPERVISOR, Task, pack, unpack_config
from tests.unit.node_case import NodeCase


class FakeProcess:
    """A worker's process: what it was told, and what it would say."""

    def __init__(self, protocol: WorkerProcess, pid: int, arguments: Any, files: Any) -> None:
        self.protocol, self.pid, self.arguments, self.files = protocol, pid, arguments, files
        self.told: list[list[Any]] = []
        self.pipes = {descriptor: FakePipe(self, descriptor) for descriptor in range(4)}
        self.signals: list[str] = []

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        self.told += [json.loads(line) for line in data.splitlines()]

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        self.end(number=signal.SIGKILL)

    @property
    def task(self) -> Task:
        return Task(**self.told[0][0])

    def words(self) -> list[str]:
        return [message[0] for message in self.told[1:]]

    def says(self, *words: object) -> None:
        self.protocol.childDataReceived(TO_SUPERVISOR, pack(*words))

    def end(self, code: int = 0, number: int | None = None) -> None:
        self.protocol.processEnded(Failure(self.why(code, number)))

    def why(self, code: int = 0, number: int | None = None) -> Exception:
        status = number if number is not None else code << 8
        return ProcessTerminated(code or None, number, status) if code or number else ProcessDone(0)


class FakePipe:
    """One of its pipes; with the last the process has ended."""

    def __init__(self, process: FakeProcess, descriptor: int) -> None:
        self.process, self.descriptor = process, descriptor

    def connectionLost(self, reason: Failure) -> None:
        del self.process.pipes[self.descriptor]
        if not self.process.pipes:
            self.process.end(number=signal.SIGKILL)


class SupervisorCase(NodeCase):
    """Two workers, whose processes are a test's."""

    def setUp(self) -> None:
        super().setUp()
        self.spawned: list[FakeProcess] = []
        self.log: list[str] = []
        self.given_up: list[tuple[int, str]] = []
        self.again: list[Config] = []

        def spawn(protocol: Any, _path: str, arguments: Any, env: Any, childFDs: Any) -> Any:
            process = FakeProcess(protocol, 1000 + len(self.spawned), arguments, childFDs)
            protocol.makeConnection(process)
            self.spawned.append(process)
            return process

        self.reactor.spawnProcess = spawn  # type: ignore[attr-defined]

    def fails(self, *_: Any, **__: Any) -> None:
        raise PermissionError("python3")

    def supervisor(self, **more: object) -> Supervisor:
        node = Supervisor(
            self.config(**{"node__workers": 2} | more),
            self.reactor,
            auth=["memory:a:b"],
            write_log=self.log.append,
            reload_config=lambda: self.again[-1],
        )
        self.patch(node, "end_process", lambda code, why: self.given_up.append((code, why)))
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        node.privilegedStartService()
        node.startService()
        self.addCleanup(self.end, node)
        return node

    def serving(self, **more: object) -> Supervisor:
        node = self.supervisor(**more)
        for process in self.spawned:
            process.says("serves")
        return node

    async def end(self, node: Supervisor) -> None:
        stopped = node.stopService()
        for process in self.spawned:
            if process.protocol in node.workers.values():
                process.end()
        await self.waited(stopped)


class StartTests(SupervisorCase):
    def test_workers_get_the_sockets_and_the_supervisor_accepts_nobody(self) -> None:
        self.supervisor(listen__pop3=("1100",), listen__http=("8080",))
        open_ports = self.reactor.open_ports()
        reads = {port.address.port for port in open_ports if port.reads}
        self.assertEqual({8080}, reads)
        self.assertEqual(2, len(self.spawned))
        for process in self.spawned:
            sockets = {to: of for to, of in process.files.items() if to > COUNTS}
            self.assertEqual([2525, 2525, 1100, 1100], list(sockets.values()))
            given = [(kind, to) for kind, _, each in process.task.ports for to in each]
            self.assertEqual([*zip(["smtp", "smtp", "pop3", "pop3"], sockets, strict=True)], given)

    def test_each_has_a_number_and_the_same_settings_and_no_secret_is_an_argument(self) -> None:
        node = self.supervisor()
        tasks = [process.task for process in self.spawned]
        self.assertEqual([0, 1], [task.number for task in tasks])
        for task, process in zip(tasks, self.spawned, strict=True):
            self.assertEqual(node.config, unpack_config(task.config))
            self.assertEqual(["memory:a:b"], task.auth)
            self.assertNotIn("memory", "".join(process.arguments))
            self.assertNotIn(task.secret, "".join(process.arguments))

    def test_it_has_started_when_all_of_them_serve(self) -> None:
        node = self.supervisor()
        first, second = self.spawned
        first.says("serves")
        self.reactor.advance(0)
        self.assertFalse(node.started)
        self.assertFalse((self.data / "listening.json").exists())
        self.assertIn("worker 2", node.readiness())
        second.says("serves")
        self.reactor.advance(0)
        self.assertTrue(node.started)
        self.assertTrue((self.data / "listening.json").exists())
        self.assertEqual({}, node.readiness())
        self.assertIn("info: worker 2 serves: process 1001", self.lines)

    async def test_what_keeps_the_first_from_starting_stops_the_node_with_its_code(self) -> None:
        self.supervisor()
        first, second = self.spawned
        first.says("cannot_start", 78, "there is no such filter")
        first.end(78)
        second.end()
        await self.until(lambda: bool(self.given_up))
        self.assertEqual([(78, "there is no such filter")], self.given_up)
        self.assertTrue(self.folder_is_free())

    async def test_a_python_that_its_user_may_not_run_is_77(self) -> None:
        self.reactor.spawnProcess = self.fails  # type: ignore[attr-defined]
        self.supervisor()
        await self.until(lambda: bool(self.given_up))
        self.assertEqual([(77, "no worker can be started: python3")], self.given_up)


class WordsTests(SupervisorCase):
    def test_their_lines_reach_the_log_whole(self) -> None:
        self.serving()
        first, second = self.spawned
        first.protocol.childDataReceived(1, b"one\ntw")
        second.protocol.childDataReceived(1, b"three\n")
        first.protocol.childDataReceived(1, "ö\nla".encode())
        first.end(1)
        self.assertEqual(["one\n", "three\n", "twö\n", "la\n"], self.log)

    def test_what_one_rings_is_heard_by_all_others(self) -> None:
        node = self.serving()
        heard: list[str] = []
        node.bell.on("queue", lambda: heard.append("queue"))
        first, second = self.spawned
        first.says("ring", "queue")
        self.assertEqual(["queue"], heard)
        self.assertEqual([["ring", "queue"]], second.told[1:])
        self.assertEqual([], first.told[1:])
        node.bell.ring("accounts")
        self.assertEqual(["ring", "accounts"], first.told[-1])

    def test_a_failed_sign_in_is_told_to_others_and_to_those_that_begin_later(self) -> None:
        self.serving()
        first, second = self.spawned
        first.says("failed", [["192.0.2.1", "alice"]])
        self.assertEqual(["failed", [["192.0.2.1", "alice"]]], second.told[-1])
        self.reactor.advance(AT_ONCE_S)
        first.end(number=9)
        addresses, names = self.spawned[-1].task.failures
        self.assertEqual(("192.0.2.1", "alice"), (addresses[0][0], names[0][0]))
        self.assertGreater(addresses[0][1], 0.9)

    def test_guesses_on_the_web_and_at_a_worker_count_together(self) -> None:
        node = self.serving(listen__http=("8080",))
        assert node.portal is not None
        first, second = self.spawned
        first.says("failed", [["192.0.2.1", "alice@example.test"]])
        self.assertEqual(1, node.portal._names.recent("alice@example.test"))
        node.portal.failed_here("192.0.2.7", "bob@example.test")
        for process in (first, second):
            self.assertIn(["failed", [["192.0.2.7", "bob@example.test"]]], process.told)
        self.assertEqual(1, node._addresses.recent("192.0.2.7"))

    def test_folders_that_one_filled_are_told_to_the_others_and_read_here(self) -> None:
        node = self.serving()
        first, second = self.spawned
        first.says("changed", [3, 4])
        self.assertEqual([["changed", [3, 4]]], second.told[1:])
        self.assertEqual([], first.words())
        self.assertTrue(node.messages.behind)

    def test_settings_that_are_read_again_reach_all_but_those_that_need_a_restart(self) -> None:
        node = self.serving()
        self.again.append(self.config(limits__errors=3, node__workers=9, node__data="elsewhere"))
        node.reload()
        for process in self.spawned:
            (config,) = [told[1] for told in process.told[1:] if told[0] == "settings"]
            self.assertEqual(3, config["limits"]["errors"])
            self.assertEqual(
                (2, str(self.data)), (config["node"]["workers"], config["node"]["data"])
            )
            self.assertIn(["ring", "accounts"], process.told)
        self.assertIn("warn: [node] changed: it needs a restart", self.lines)

    def test_what_the_web_takes_lies_in_files_from_the_size_on_that_is_set(self) -> None:
        node = self.serving(listen__http=("0",), store__blob_over=1000)
        assert node.taking is not None
        self.assertEqual(1000, node.taking.counter.blob_over)

    async def test_an_account_is_known_to_all_before_its_maker_goes_on(self) -> None:
        self.serving()
        first, second = self.spawned
        first.says("made_account")
        self.assertEqual(["accounts"], second.words())
        self.assertNotIn("known", first.words())
        second.says("accounts")
        self.assertEqual(["known"], first.words())
        first.says("made_account")
        self.reactor.advance(1)
        self.assertEqual(["known", "known"], first.words(), "one that is late holds nobody up")

    async def test_no_blob_goes_that_a_worker_has_in_hand_or_may_have(self) -> None:
        node = self.serving()
        first, second = self.spawned
        await self.until(lambda: self.answer_all() and node.sweep.done_once)
        key = "ab" * 16
        path = node.blobs.path_of(key)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"on its way")

        async def swept() -> list[object]:
            for process in self.spawned:
                if process.protocol in node.workers.values():
                    process.says("report", {}, {}, {})
                process.told.clear()
            gone: list[object] = []
            Deferred.fromCoroutine(node.sweep.delete_orphans()).addBoth(gone.append)
            await self.until(lambda: ["in_hand"] in first.told)
            first.says("in_hand", [key] if held else [])
            self.answer(second)
            await self.until(lambda: bool(gone))
            return gone

        held = True
        self.assertEqual(([0], True), (await swept(), path.exists()))
        held = False
        self.answer = lambda process: self.reactor.advance(31)  # type: ignore[method-assign]
        (failed,) = await swept()
        self.assertIsInstance(failed, Failure)
        self.assertTrue(path.exists(), "the second has not answered")
        self.answer = lambda process: process.end(number=9)  # type: ignore[method-assign]
        self.assertEqual(([1], False), (await swept(), path.exists()))

    def answer(self, process: FakeProcess) -> None:
        process.says("in_hand", [])

    def answer_all(self) -> bool:
        for process in self.spawned:
            while ["in_hand"] in process.told:
                process.told.remove(["in_hand"])
                self.answer(process)
        return True


class HealthTests(SupervisorCase):
    def test_metrics_are_the_sums_of_all_and_keep_those_of_the_dead(self) -> None:
        node = self.serving()
        first, second = self.spawned
        values = {
            "mailnode_events_total": {'event="accepted"': 2},
            "mailnode_sessions": {'server="smtp"': 3},
            "mailnode_accepted_octets_total": 5,
            "mailnode_accounts": 0,
        }
        first.says("report", values, {}, {})
        second.says("report", values, {}, {})
        text = node.metrics_text()
        for line in (
            'mailnode_events_total{event="accepted"} 4',
            'mailnode_sessions{server="smtp"} 6',
            "mailnode_accepted_octets_total 10",
            "mailnode_workers 2",
            "mailnode_workers_replaced_total 0",
            "mailnode_accounts 0",
        ):
            self.assertIn(f"\n{line}\n", text)
        first.end(number=9)
        text = node.metrics_text()
        for line in (
            'mailnode_events_total{event="accepted"} 4',
            'mailnode_sessions{server="smtp"} 3',
            "mailnode_workers 1",
            "mailnode_workers_replaced_total 1",
        ):
            self.assertIn(f"\n{line}\n", text)

    def test_who_asks_waits_for_the_workers_but_not_for_one_that_hangs(self) -> None:
        node = self.serving()
        first, second = self.spawned
        fresh = node.refresh()
        first.says("report", {}, {}, {})
        self.assertNoResult(fresh)
        second.says("report", {}, {}, {})
        self.assertIs(None, self.successResultOf(fresh))
        late = node.refresh()
        self.reactor.advance(1)
        self.assertIs(None, self.successResultOf(late))

    def test_a_worker_that_is_not_ready_is_named(self) -> None:
        node = self.serving()
        second = self.spawned[1]
        second.says("report", {}, {"store": "malformed"}, {})
        self.assertEqual({"worker 2, store": "malformed"}, node.readiness())
        self.assertEqual({}, node.warnings())
        second.says("report", {}, {}, {"dns": "no names"})
        self.assertEqual({"dns": "no names"}, node.warnings())
        self.reactor.pump([1.0] * 4)
        second.says("report", {}, {}, {})
        self.reactor.pump([1.0] * 2)
        self.assertEqual({"worker 1": "it does not answer"}, node.readiness())

    def test_hints_for_one_that_hangs_are_not_kept(self) -> None:
        self.serving()
        first, second = self.spawned
        self.reactor.pump([1.0] * 6)
        second.says("changed", [1])
        self.assertEqual([], first.words())
        first.says("report", {}, {}, {})
        self.assertEqual([["changed", None]], first.told[1:])

    def test_one_that_hangs_is_not_asked_again_and_again(self) -> None:
        node = self.serving()
        self.reactor.pump([1.0] * 6)
        self.spawned[1].says("report", {}, {}, {})
        fresh = node.refresh()
        self.assertEqual([], self.spawned[0].words())
        self.spawned[1].says("report", {}, {}, {})
        self.assertIs(None, self.successResultOf(fresh))

    def test_hints_for_one_that_never_comes_to_serve_are_not_kept(self) -> None:
        self.supervisor()
        first, second = self.spawned
        second.says("serves")
        self.reactor.pump([1.0] * 6)
        second.says("changed", [1])
        self.assertEqual([], first.words())
        first.says("serves")
        self.assertEqual([["changed", None]], first.told[1:])


class DeathTests(SupervisorCase):
    def test_one_whose_pipes_another_program_holds_is_replaced_all_the_same(self) -> None:
        self.serving()
        second = self.spawned[1]
        second.protocol.processExited(Failure(second.why(number=signal.SIGKILL)))
        self.reactor.advance(0.9)
        self.assertEqual(2, len(self.spawned), "what it said last may be on the way")
        self.reactor.advance(0.1)
        self.assertEqual(1, self.spawned[2].task.number)
        self.assertEqual([], self.reactor_calls_of(second))

    def reactor_calls_of(self, process: FakeProcess) -> list[object]:
        return [
            call
            for call in self.reactor.getDelayedCalls()
            if getattr(call.func, "__self__", None) is process.protocol
        ]

    def test_one_that_dies_is_replaced_at_once_under_its_number(self) -> None:
        node = self.serving()
        first, second = self.spawned
        node.counts.add(1, "smtp", "192.0.2.1", 1)
        second.end(number=9)
        third = self.spawned[-1]
        self.assertEqual(1, third.task.number)
        self.assertEqual(0, node.counts.total("smtp"))
        self.assertIn("error: worker 2 ended by signal 9: another begins", self.lines)
        self.assertIn(["changed", None], first.told, "it may have committed and not told")
        self.assertEqual(["worker 2"], list(node.readiness()))
        third.says("serves")
        self.assertEqual({}, node.readiness())

    async def test_three_that_end_as_soon_as_they_begin_stop_the_node(self) -> None:
        node = self.serving()
        survivor = self.spawned[1]
        for _ in range(2):
            (process,) = [each for each in self.spawned if each.protocol is node.workers[0]]
            self.reactor.advance(1)
            process.end(number=11)
            self.assertEqual([], self.given_up)
        self.spawned[-1].end(number=11)
        self.assertIn("stop", survivor.words())
        survivor.end()
        await self.until(lambda: bool(self.given_up))
        ((code, why),) = self.given_up
        self.assertEqual(EX_SOFTWARE, code)
        self.assertIn("as soon as they begin: worker 1 ended by signal 11", why)
        self.assertTrue(self.folder_is_free())

    def test_those_that_lived_a_while_are_replaced_for_ever(self) -> None:
        node = self.serving()
        for _ in range(10):
            self.reactor.advance(AT_ONCE_S)
            (process,) = [each for each in self.spawned if each.protocol is node.workers[0]]
            process.end(number=9)
        self.assertEqual((10, []), (node.replaced, self.given_up))

    def test_deaths_at_once_that_are_far_apart_are_no_row(self) -> None:
        node = self.serving()
        for _ in range(6):
            (process,) = [each for each in self.spawned if each.protocol is node.workers[0]]
            process.end(number=9)
            self.reactor.advance(DEATHS_S / 2)
        self.assertTrue(node.started)

    async def test_a_second_failed_flush_within_a_minute_ends_the_node_with_74(self) -> None:
        self.serving()
        first, second = self.spawned
        self.reactor.advance(AT_ONCE_S)
        first.end(EX_IOERR)
        self.assertEqual(3, len(self.spawned))
        self.reactor.advance(AT_ONCE_S)
        second.end(EX_IOERR)
        self.spawned[-1].end()
        await self.until(lambda: bool(self.given_up))
        self.assertEqual(EX_IOERR, self.given_up[0][0])

    async def test_a_replacement_that_can_not_start_says_why_in_the_end(self) -> None:
        node = self.serving()
        survivor = self.spawned[1]
        self.reactor.advance(AT_ONCE_S)
        self.spawned[0].end(number=9)
        for _ in range(3):
            self.spawned[-1].says("cannot_start", 75, "version 1 runs and 2 is installed")
            self.spawned[-1].end(75)
        survivor.end()
        await self.until(lambda: bool(self.given_up))
        self.assertEqual(75, self.given_up[0][0])
        self.assertIn("version 1 runs and 2 is installed", self.given_up[0][1])
        self.assertFalse(node.started)

    async def test_no_process_to_be_had_stops_the_node(self) -> None:
        self.serving()
        first, second = self.spawned
        self.reactor.advance(AT_ONCE_S)

        def fails(*_: Any, **__: Any) -> None:
            raise OSError("no memory")

        self.reactor.spawnProcess = fails  # type: ignore[attr-defined]
        first.end(number=9)
        second.end()
        await self.until(lambda: bool(self.given_up))
        self.assertEqual((75, "no worker can be started: no memory"), self.given_up[0])


class StopTests(SupervisorCase):
    async def test_a_stop_in_a_hurry_has_workers_cut_off_what_is_under_way(self) -> None:
        node = self.serving()
        self.reactor.advance(0)
        node.stopService()
        node.cut_off()
        for process in self.spawned:
            self.assertEqual(["stop", "cut_off"], process.words()[-2:])

    async def test_workers_end_first_and_nothing_is_left(self) -> None:
        node = self.serving()
        self.reactor.advance(0)
        stopped = node.stopService()
        self.assertEqual([], self.reactor.open_ports())
        for process in self.spawned:
            self.assertEqual("stop", process.words()[-1])
        self.spawned[0].end()
        self.reactor.advance(20)
        self.assertNoResult(stopped)
        self.assertFalse(self.folder_is_free())
        self.spawned[1].end()
        await self.waited(stopped)
        self.assertTrue(self.folder_is_free())
        self.assertFalse((self.data / "listening.json").exists())
        self.assertEqual(2, len(self.spawned), "nobody was replaced")

    async def test_one_that_does_not_end_is_killed(self) -> None:
        node = self.serving(limits__stop="5s")
        stopped = node.stopService()
        self.spawned[0].end()
        self.reactor.pump([1.0] * (5 + int(LATE_STOP_S)))
        await self.waited(stopped)
        self.assertEqual(["KILL"], self.spawned[1].signals)

    async def test_a_stop_before_they_serve_stops_them(self) -> None:
        node = self.supervisor()
        stopped = node.stopService()
        for process in self.spawned:
            self.assertEqual(["stop"], process.words())
            process.end()
        await self.waited(stopped)
        self.assertTrue(self.folder_is_free())


class HangTests(SupervisorCase):
    """A worker that hangs may hold the lock that all commits need."""

    def pass_seconds(self, seconds: int, *, heard: int) -> None:
        """The worker of that number tells of itself each second."""
        for _ in range(seconds):
            self.spawned[heard].says("report", {}, {}, {})
            self.reactor.advance(1)

    def test_a_worker_that_is_not_heard_for_long_is_killed_and_replaced(self) -> None:
        self.serving()
        self.pass_seconds(UNHEARD_S - 1, heard=1)
        self.assertEqual([[], []], [each.signals for each in self.spawned])
        self.pass_seconds(2, heard=1)
        self.assertEqual([["KILL"], []], [each.signals for each in self.spawned[:2]])
        self.assertEqual(3, len(self.spawned))
        self.assertEqual(0, self.spawned[2].task.number)

    def test_a_supervisor_that_was_held_up_itself_kills_nobody(self) -> None:
        self.serving()
        self.reactor.advance(10 * UNHEARD_S)
        self.assertEqual([[], []], [each.signals for each in self.spawned])

    def test_one_that_does_not_serve_yet_has_its_time(self) -> None:
        self.supervisor()
        for _ in range(2 * UNHEARD_S):
            self.reactor.advance(1)
        self.assertEqual([[], []], [each.signals for each in self.spawned])
