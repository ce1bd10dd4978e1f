"""The audit stream: what is appended stays, in order, and what was done to it afterwards shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.audited import EVENTS, Actor, Auditor, Entry
from mailnode.events import SignedIn, SignInFailed
from mailnode.store.audit import (
    FAILURES_OF_ADDRESS,
    FAILURES_OF_ALL,
    SIGN_INS_OF_ACCOUNT,
    Audit,
    entry_of,
)
from mailnode.store.audit_file import AuditFile
from mailnode.store.audit_lines import (
    HEAD,
    LINE_OCTETS,
    Head,
    files,
    kept_head,
    lines_back,
    read_back,
    read_head_text,
    stamp,
    verify,
)

AT = 1_800_000_000.0  # 2027-01-15
DAY_S = 86400.0


class AuditCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.now = AT
        self.file = AuditFile(self.data, now=lambda: self.now)

    def append(self, *events: str) -> Head:
        return self.file.append([Entry(event, "a@example.test", at=self.now) for event in events])

    def events(self) -> list[str]:
        return [line.entry.event for line in read_back(self.data)][::-1]

    def faults(self, expected: Head | None = None) -> list[str]:
        return [each.what for each in verify(self.data, expected).faults]

    def path(self) -> Path:
        return files(self.data)[-1]

    def rewrite(self, was: bytes, now: bytes) -> None:
        octets = self.path().read_bytes()
        assert was in octets
        self.path().write_bytes(octets.replace(was, now, 1))


class LineTests(AuditCase):
    def test_what_is_told_is_read_again_with_who_did_it_and_from_where(self) -> None:
        actor = Actor("alice@example.test", "web", "192.0.2.7")
        auditor = Auditor(self.file.keep).of(actor)
        auditor.tell("account-changed", "bob@example.test", admin=True, left_out=None)
        (line,) = read_back(self.data)
        self.assertEqual(line.entry.actor, actor)
        self.assertEqual(line.entry.account, "bob@example.test")
        self.assertEqual(line.entry.detail, {"admin": True})

    def test_a_stranger_s_words_make_no_line_of_their_own(self) -> None:
        self.file.append([Entry("sign-in-failed", 'x\n{"n":9}\u2028', detail={"reason": "\n\r"})])
        self.assertEqual(len(self.path().read_bytes().splitlines()), 1)
        self.assertEqual(self.faults(), [])

    def test_a_line_has_an_end_however_much_is_said(self) -> None:
        self.file.append([Entry("sign-in-failed", "x" * 100_000, detail={"reason": "y" * 100_000})])
        self.assertLess(self.path().stat().st_size, LINE_OCTETS)
        self.assertEqual(self.faults(), [])

    def test_lines_are_read_from_the_end_across_blocks(self) -> None:
        for number in range(40):
            self.file.append([Entry("gear-set", detail={"n": number, "x": "x" * 5000})] * 3)
        numbers = [line.head.number for line in read_back(self.data)]
        self.assertEqual(numbers, list(range(120, 0, -1)))

    def test_only_its_owner_reads_it(self) -> None:
        self.append("gear-set")
        for path in (self.data / "audit").iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path.name)


class ChainTests(AuditCase):
    def test_a_whole_stream_has_no_fault_and_its_head_is_the_last_line(self) -> None:
        self.append("account-added", "gear-set")
        head = self.append("account-deleted")
        found = verify(self.data)
        self.assertEqual((found.lines, found.head, found.faults), (3, head, ()))
        self.assertEqual(kept_head(self.data), head)
        self.assertEqual(read_head_text(str(head)), head)

    def test_a_line_that_was_changed_shows(self) -> None:
        self.append("account-added", "gear-set", "account-deleted")
        self.rewrite(b"gear-set", b"gear-sat")
        self.assertEqual(len(self.faults()), 1)

    def test_a_line_that_was_cut_out_shows(self) -> None:
        self.append("account-added", "gear-set", "account-deleted")
        lines = self.path().read_bytes().splitlines(keepends=True)
        self.path().write_bytes(lines[0] + lines[2])
        self.assertTrue(self.faults())

    def test_the_last_line_that_was_changed_shows_by_the_head(self) -> None:
        self.append("account-added", "gear-set")
        self.rewrite(b"gear-set", b"gear-sat")
        self.assertEqual(self.faults(), ["line 2 is another than was written"])

    def test_an_end_that_was_cut_off_shows_and_still_does_behind_more_lines(self) -> None:
        self.append("account-added", "gear-set", "account-deleted")
        lines = self.path().read_bytes().splitlines(keepends=True)
        self.path().write_bytes(lines[0])
        self.assertEqual(self.faults(), ["the end was cut: there was a line 3, and 1 is last"])
        self.append("domain-added")
        self.assertIn("audit-broken", self.events())
        self.assertTrue(self.faults())
        self.flushLoggedErrors()

    def test_a_stream_whose_files_are_gone_shows_by_the_head(self) -> None:
        self.append("account-added", "gear-set")
        self.path().unlink()
        self.assertEqual(self.faults(), ["the end was cut: there was a line 2, and 0 is last"])

    def test_who_rewrites_all_of_it_is_found_by_a_head_that_was_kept_elsewhere(self) -> None:
        head = self.append("account-added", "gear-set")
        for path in (self.path(), self.data / "audit" / HEAD):
            path.unlink()
        self.append("account-added", "domain-added")
        self.assertEqual(self.faults(), [])
        self.assertEqual(
            self.faults(head), ["line 2 is not the one that was expected: changed, or gone"]
        )

    def test_a_head_of_before_is_still_there_later(self) -> None:
        head = self.append("account-added", "gear-set")
        self.append("account-deleted")
        self.assertEqual(self.faults(head), [])

    def test_a_line_of_no_json_is_told_and_the_stream_goes_on(self) -> None:
        self.append("account-added")
        with self.path().open("ab") as file:
            file.write(b"nonsense\n")
        self.append("gear-set")
        self.assertIn("it can't be read", self.faults())
        self.flushLoggedErrors()


class CrashTests(AuditCase):
    def test_half_a_line_of_a_crash_is_taken_off_and_is_no_fault(self) -> None:
        self.append("account-added")
        with self.path().open("ab") as file:
            file.write(b'{"n":2,"at":"2027')
        self.append("gear-set")
        self.assertEqual(self.events(), ["account-added", "gear-set"])
        self.assertEqual(self.faults(), [])

    def test_a_head_that_a_power_cut_left_behind_is_no_fault(self) -> None:
        early = self.append("account-added")
        self.append("gear-set")
        (self.data / "audit" / HEAD).write_text(f"{early}\n")
        self.assertEqual(self.faults(), [])
        self.append("gear-set")
        self.assertEqual(self.faults(), [])

    def test_what_can_not_be_written_is_counted_and_told_by_the_next_line(self) -> None:
        self.file.keep([Entry("gear-set")])
        folder = self.data / "audit"
        self.path().rename(self.data / "kept")
        self.path_is_a_folder = folder / "2027-01.jsonl"
        self.path_is_a_folder.mkdir()
        self.file.keep([Entry("gear-set"), Entry("gear-set")])
        self.assertEqual((self.file.written, self.file.lost), (1, 2))
        self.path_is_a_folder.rmdir()
        (self.data / "kept").rename(folder / "2027-01.jsonl")
        self.file.keep([Entry("domain-added")])
        lost = [line.entry.detail for line in read_back(self.data)][1]
        self.assertEqual(lost, {"entries": 2})
        self.assertEqual(self.faults(), [])


class MonthTests(AuditCase):
    def test_each_month_has_its_file_and_the_chain_goes_on(self) -> None:
        self.append("account-added")
        self.now += 31 * DAY_S
        self.append("gear-set")
        self.assertEqual([each.name for each in files(self.data)],
                         ["2027-01.jsonl", "2027-02.jsonl"])  # fmt: skip
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.events(), ["account-added", "gear-set"])

    def test_a_clock_that_is_set_back_writes_into_no_month_of_before(self) -> None:
        self.append("account-added")
        self.now -= 60 * DAY_S
        self.append("gear-set")
        self.assertEqual(len(files(self.data)), 1)
        self.assertEqual(self.faults(), [])

    def test_a_month_that_was_kept_long_enough_goes_and_the_stream_says_so(self) -> None:
        for _month in range(4):
            self.append("account-added", "gear-set")
            self.now += 31 * DAY_S
        self.append("account-deleted")
        gone = self.file.prune(50 * DAY_S, 1 << 30)
        self.assertEqual(gone, ["2027-01.jsonl", "2027-02.jsonl"])
        self.assertEqual(self.events()[-1], "audit-pruned")
        self.assertEqual(self.faults(), [])

    def test_the_oldest_go_above_the_size_and_the_newest_stays(self) -> None:
        for _month in range(3):
            self.append("account-added", "gear-set")
            self.now += 31 * DAY_S
        self.file.prune(1e9, 1)
        self.assertEqual([each.name for each in files(self.data)],
                         ["2027-03.jsonl", "2027-04.jsonl"])  # fmt: skip
        self.assertEqual(self.faults(), [])

    def test_a_month_that_somebody_deletes_shows(self) -> None:
        self.append("account-added")
        self.now += 31 * DAY_S
        self.append("gear-set")
        files(self.data)[0].unlink()
        self.assertEqual(self.faults(), ["what came before number 2 is gone, and not pruned"])


class ProcessTests(AuditCase):
    def test_many_processes_append_and_the_chain_is_whole(self) -> None:
        program = (
            "import sys; from pathlib import Path; from mailnode.audited import Entry\n"
            "from mailnode.store.audit_file import AuditFile\n"
            "file = AuditFile(Path(sys.argv[1]))\n"
            "for number in range(20): file.append([Entry('gear-set')] * 2)\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", program, os.fspath(self.data)])
            for _ in range(4)
        ]
        self.assertEqual([each.wait(60) for each in running], [0] * 4)
        found = verify(self.data)
        self.assertEqual((found.lines, found.faults), (160, ()))


class HearingTests(AuditCase):
    """What a process of a node makes of its events."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.file.now = lambda: AT + self.clock.seconds()
        self.audit = Audit(self.file, _at_once, self.clock)
        self.addCleanup(lambda: self.audit._threads.stop())

    def written(self) -> list[Entry]:
        """What waits, as `flush` would write it."""
        waiting, self.audit._waiting = self.audit._waiting, []
        return waiting

    def fail(self, client: str, name: str = "bob@example.test") -> None:  # type: ignore[override]
        self.audit.hear(SignInFailed(client=client, detail={"name": name, "reason": "no"}))

    def sign_in(self, service: str = "pop3", client: str = "192.0.2.7", **more: object) -> None:
        detail = {"account": "bob@example.test", "service": service, **more}
        self.audit.hear(SignedIn(at=self.file.now(), client=client, detail=detail))

    def minute(self) -> None:
        self.clock.advance(60)
        self.audit._look_at_minute()

    def test_a_sign_in_is_by_the_account_and_says_by_what(self) -> None:
        event = SignedIn(
            client="192.0.2.7",
            detail={"account": "bob@example.test", "service": "pop3", "token": "phone"},
        )
        entry = entry_of(event)
        self.assertEqual(entry.actor, Actor("bob@example.test", "pop3 by phone", "192.0.2.7"))

    def test_failures_of_an_address_past_ten_a_minute_are_one_line(self) -> None:
        for _ in range(1000):
            self.fail("192.0.2.7")
        self.assertEqual(len(self.written()), FAILURES_OF_ADDRESS)
        self.minute()
        (summed,) = self.written()
        self.assertEqual(summed.event, "sign-ins-failed")
        self.assertEqual(summed.detail["failures"], 1000 - FAILURES_OF_ADDRESS)

    def test_failures_of_ten_thousand_addresses_fill_no_disk(self) -> None:
        for number in range(10_000):
            self.fail(f"10.{number >> 8}.{number & 255}.1")
        self.assertEqual(len(self.written()), FAILURES_OF_ALL)
        self.minute()
        (summed,) = self.written()
        self.assertEqual(summed.detail["failures"], 10_000 - FAILURES_OF_ALL)
        self.assertEqual(summed.detail["addresses"], 1000)

    def test_the_next_minute_tells_anew(self) -> None:
        for _ in range(11):
            self.fail("192.0.2.7")
        self.minute()
        self.written()
        self.fail("192.0.2.7")
        self.assertEqual(len(self.written()), 1)

    def test_a_program_that_looks_each_minute_is_told_once_an_hour_and_how_often(self) -> None:
        for _ in range(60):
            self.sign_in()
            self.minute()
        self.minute()
        first, again = self.written()
        self.assertNotIn("times", first.detail)
        self.assertEqual(("signed-in-again", 59), (again.event, again.detail["times"]))

    def test_a_summary_has_the_time_when_it_is_made_and_says_when_the_last_sign_in_was(
        self,
    ) -> None:
        for _ in range(3):
            self.sign_in()
            self.minute()
        for _ in range(60):
            self.minute()
        _first, again = self.written()
        self.assertEqual((AT + 3600, stamp(AT + 120)), (again.at, again.detail["last"]))

    def test_another_address_or_program_is_told_at_once(self) -> None:
        self.sign_in()
        self.sign_in()
        self.sign_in(client="192.0.2.8")
        self.sign_in(service="smtp")
        self.sign_in(token="phone")
        self.assertEqual(len(self.written()), 4)

    def test_each_sign_in_on_the_web_is_told(self) -> None:
        self.sign_in("web")
        self.sign_in("web")
        self.assertEqual(len(self.written()), 2)

    def test_sign_ins_of_an_account_without_end_fill_no_disk(self) -> None:
        for number in range(1000):
            self.sign_in("web", device=str(number))
            self.sign_in(client=f"2001:db8::{number:x}")
        self.assertEqual(len(self.written()), SIGN_INS_OF_ACCOUNT + 1)
        event = SignedIn(client="192.0.2.8", detail={"account": "eve@example.test"})
        self.audit.hear(event)
        self.assertEqual(len(self.written()), 1)  # another's are told as ever
        for _ in range(61):
            self.minute()
        (summed,) = self.written()
        self.assertEqual(summed.detail["times"], 2000 - SIGN_INS_OF_ACCOUNT - 1)
        self.sign_in("web")
        self.assertEqual(len(self.written()), 1)

    def test_who_tells_more_than_can_wait_is_counted(self) -> None:
        for _ in range(10_005):
            self.audit.tell(Entry("gear-set"))
        self.assertEqual(self.file.lost, 5)
        self.flushLoggedErrors()

    def test_every_event_that_is_audited_has_a_name_of_the_stream(self) -> None:
        from mailnode import events

        for each in events.Event.__subclasses__():
            if each.audited:
                self.assertIn(each.name, EVENTS)


def _at_once(function: object, *arguments: object) -> None:
    raise AssertionError("nothing is written here")


class BackTests(AuditCase):
    def test_a_file_without_any_end_of_line_has_no_lines(self) -> None:
        path = self.data / "x"
        path.write_bytes(b"x" * 300_000)
        self.assertEqual(list(lines_back(path)), [])
