"""`mailnode.web.api.happenings`: who listens to an account is told what happens in its folders."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBusy
from mailnode.store.folder_lists import Copy, Folder
from mailnode.web.api.happenings import (
    GATHER_S,
    KEEP_S,
    KEPT_EVENTS,
    MOST_NEW,
    MOST_OF_ACCOUNT,
    Happening,
    Happenings,
    Listener,
    TooManyListen,
    frames,
)
from mailnode.web.changes import Changes

INBOX = Folder(7, 1, "INBOX", 1, 0, 0, modseq=1)


class FakeFolders:
    """An account's folders that a test changes."""

    def __init__(self) -> None:
        self.there = {7: INBOX, 8: Folder(8, 1, "Trash", 1, 0, 0, modseq=1)}
        self.looks = 0
        self.fails = False

    async def folders(self, account_id: int) -> list[Folder]:
        self.looks += 1
        if self.fails:
            raise StoreBusy()
        return list(self.there.values())

    def page(
        self, account_id: int, folder_id: int, *, after: int, limit: int
    ) -> Deferred[list[Copy]]:
        uids = range(after + 1, self.there[folder_id].uid_next)[:limit]
        return succeed([_copy(folder_id, uid) for uid in uids][::-1])

    def change(self, folder_id: int = 7, **more: Any) -> None:
        folder = self.there[folder_id]
        self.there[folder_id] = evolve(folder, modseq=folder.modseq + 1, **more)

    def file(self, count: int = 1) -> None:
        folder = self.there[7]
        self.change(uid_next=folder.uid_next + count, mails=folder.mails + count)


def _copy(folder_id: int, uid: int) -> Copy:
    return Copy(folder_id, uid, uid, f"M{uid}", "alice@example.test", 0, 100, 1.0, "b@x.example",
                f"Mail {uid}")  # fmt: skip


class HappeningsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.folders = Clock(), FakeFolders()
        self.changes = Changes()
        self.happenings = Happenings(self.folders, self.changes, self.clock)  # type: ignore[arg-type]

    def listen(self, mark: str = "", account_id: int = 1) -> Listener:
        listener: Listener = self.successResultOf(
            Deferred.fromCoroutine(self.happenings.listen(account_id, mark))
        )
        return listener

    def told(self, listener: Listener) -> list[Happening]:
        """What it was told by now."""
        waiting = Deferred.fromCoroutine(listener.next(1.0))
        if not waiting.called:
            self.clock.advance(1.0)
        told: list[Happening] = self.successResultOf(waiting)
        return told

    def happen(self) -> None:
        self.changes.tell(1, 7)
        self.clock.advance(GATHER_S)

    def test_who_listens_is_told_of_a_mail_that_comes_and_of_the_folders_counts(self) -> None:
        listener = self.listen()
        waiting = Deferred.fromCoroutine(listener.next(60.0))
        self.assertNoResult(waiting)
        self.folders.file()
        self.happen()
        (mail, *_rest) = self.successResultOf(waiting)
        self.assertEqual(("mail", "7-1"), (mail.kind, mail.facts["id"]))
        (flags,) = self.told(listener)
        self.assertEqual(("flags", 1), (flags.kind, flags.facts["mails"]))

    def test_nothing_happens_within_the_time(self) -> None:
        self.assertEqual([], self.told(self.listen()))

    def test_what_goes_on_is_gathered_into_one_look(self) -> None:
        listener = self.listen()
        looks = self.folders.looks
        for _ in range(100):
            self.folders.file()
            self.changes.tell(1, 7)
        self.clock.advance(GATHER_S)
        self.assertEqual(looks + 1, self.folders.looks)
        self.assertEqual("reset", self.told(listener)[0].kind)

    def test_other_accounts_cost_nothing_and_hear_nothing(self) -> None:
        self.listen()
        looks = self.folders.looks
        self.changes.tell(2, 7)
        self.clock.advance(GATHER_S)
        self.assertEqual(looks, self.folders.looks)

    def test_marks_and_other_names_are_told(self) -> None:
        listener = self.listen()
        self.folders.change()
        self.happen()
        self.assertEqual(["flags"], [each.kind for each in self.told(listener)])
        self.folders.there[9] = Folder(9, 1, "Work", 1, 0, 0, modseq=1)
        self.happen()
        self.assertEqual(["folders"], [each.kind for each in self.told(listener)])

    def test_who_comes_back_is_told_what_he_missed(self) -> None:
        listener = self.listen()
        self.folders.file()
        self.happen()
        (mail, _flags) = self.told(listener)
        listener.close()
        self.folders.file()
        self.happen()
        again = self.listen(listener.mark(mail))
        self.assertEqual(["flags", "mail", "flags"], [each.kind for each in self.told(again)])

    def test_who_comes_back_too_late_or_with_another_mark_must_look_at_everything(self) -> None:
        listener = self.listen()
        self.folders.file()
        self.happen()
        (mail, _flags) = self.told(listener)
        listener.close()
        self.clock.advance(KEEP_S)
        for mark in (listener.mark(mail), "other-1", "nothing", f"{self.happenings.epoch}-9999"):
            with_mark = self.listen(mark)
            self.assertEqual(["reset"], [each.kind for each in self.told(with_mark)], mark)
            with_mark.close()

    def test_so_many_mails_at_once_are_not_told_one_by_one(self) -> None:
        listener = self.listen()
        self.folders.file(MOST_NEW + 1)
        self.happen()
        self.assertEqual(["reset"], [each.kind for each in self.told(listener)])

    def test_who_does_not_listen_to_what_he_is_told_is_told_to_look_at_everything(self) -> None:
        listener = self.listen()
        for _ in range(KEPT_EVENTS + 10):
            self.folders.change()
            self.happen()
        told = self.told(listener)
        self.assertEqual("reset", told[0].kind)
        self.assertLessEqual(len(told), KEPT_EVENTS)

    def test_an_account_has_so_many_listeners_at_most(self) -> None:
        there = [self.listen() for _ in range(MOST_OF_ACCOUNT)]
        refused = Deferred.fromCoroutine(self.happenings.listen(1))
        self.failureResultOf(refused, TooManyListen)
        there[0].close()
        there[0].close()
        self.assertEqual(MOST_OF_ACCOUNT - 1, len(self.happenings))
        self.listen()

    def test_what_cannot_be_read_now_is_told_later(self) -> None:
        listener = self.listen()
        self.folders.file()
        self.folders.fails = True
        self.happen()
        self.folders.fails = False
        waiting = Deferred.fromCoroutine(listener.next(60.0))
        self.assertNoResult(waiting)
        self.clock.advance(1.0)
        self.assertEqual("mail", self.successResultOf(waiting)[0].kind)

    def test_a_listener_that_could_not_begin_is_gone(self) -> None:
        self.folders.fails = True
        self.failureResultOf(Deferred.fromCoroutine(self.happenings.listen(1)), StoreBusy)
        self.assertEqual(0, len(self.happenings))

    def test_at_the_stop_nobody_waits_any_more_and_no_timer_is_left(self) -> None:
        listener = self.listen()
        waiting = Deferred.fromCoroutine(listener.next(60.0))
        self.changes.tell(1, 7)
        self.happenings.stop()
        self.assertEqual([], self.successResultOf(waiting))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_events_are_written_as_a_browser_reads_them(self) -> None:
        listener = self.listen()
        (frame,) = frames(listener, [Happening(3, "folders", {"a": "x\ny"})])
        mark = f"{self.happenings.epoch}-3"
        self.assertEqual(f'id: {mark}\nevent: folders\ndata: {{"a": "x\\ny"}}\n\n', frame.decode())
