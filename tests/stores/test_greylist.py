"""Who is to come again, in a file of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from mailnode.addresses import parse_address
from mailnode.model import Client, Remote
from mailnode.settings import ArrivalSettings
from mailnode.store.greylist import NAME, Greylist, rules_of
from mailnode.store.greylist_rows import (
    DAY_S,
    NEW,
    SEEN,
    WAITED,
    WAITS,
    WRITTEN,
    WRITTEN_KEEP_S,
    GreylistRules,
)
from mailnode.store.sqlite import connect
from tests.stores.support import StoreCase, envelope, message

HOUR_S = 3600
NET, ANNA, ALICE = "192.0.2.0/24", "anna@sender.example", "alice@example.test"


class GreylistCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.at = 1_700_000_000.0
        self.lines: list[str] = []

        def hear(event):
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.greylist = self.open()

    def open(self, rules: GreylistRules | None = GreylistRules(), **more) -> Greylist:  # noqa: B008
        opened = Greylist(self.data, reactor.callFromThread, lambda: self.at, **more)
        opened.apply(rules)
        self.addCleanup(opened.stop)
        return opened

    async def ask(self, network=NET, sender=ANNA, recipient=ALICE, *, of=None):
        """(seconds to wait, why)."""
        look = await (of or self.greylist).look(network, sender, recipient)
        return look.wait_s, look.because

    def rows(self, table: str) -> int:
        connection = connect(self.data / NAME, read_only=True)
        try:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        finally:
            connection.close()
        return count


class WaitingTests(GreylistCase):
    async def test_who_is_unknown_waits_five_minutes_and_is_let_through_until_four_hours(self):
        self.assertEqual((300.0, NEW), await self.ask())
        self.at += 120
        self.assertEqual((180.0, WAITS), await self.ask())
        self.at += 180
        self.assertEqual((0.0, WAITED), await self.ask())
        self.assertEqual((0.0, SEEN), await self.ask())

    async def test_who_comes_too_late_begins_anew(self):
        await self.ask()
        self.at += 4 * HOUR_S + 1
        self.assertEqual((300.0, NEW), await self.ask())
        self.at += 300
        self.assertEqual((0.0, WAITED), await self.ask())

    async def test_another_network_sender_or_recipient_begins_for_itself(self):
        await self.ask()
        self.at += 300
        for other in (
            {"network": "192.0.3.0/24"},
            {"sender": "berta@sender.example"},
            {"recipient": "bob@example.test"},
            {"sender": ""},
        ):
            self.assertEqual((300.0, NEW), await self.ask(**other), other)

    async def test_once_let_through_a_network_and_domain_stay_so_for_36_days_since_last_seen(self):
        await self.ask()
        self.at += 300
        await self.ask()
        for _ in range(3):
            self.at += 35 * DAY_S
            self.assertEqual((0.0, SEEN), await self.ask(sender="x@sender.example"))
        self.assertEqual((300.0, NEW), await self.ask(sender="x@other.example"))
        self.at += 37 * DAY_S
        self.assertEqual((300.0, NEW), await self.ask())

    async def test_the_case_of_letters_is_not_minded(self):
        await self.ask()
        self.at += 300
        self.assertEqual(
            (0.0, WAITED), await self.ask(sender=ANNA.upper(), recipient="Alice@example.test")
        )

    async def test_those_who_ask_together_are_each_answered(self):
        asked = [self.greylist.look(NET, ANNA, f"r{each}@example.test") for each in range(1_000)]
        looks = await gatherResults(asked)
        self.assertEqual({NEW}, {look.because for look in looks})
        self.assertEqual(1_000, self.rows("waiting"))

    async def test_the_same_asked_twice_at_once_is_one(self):
        looks = await gatherResults([self.greylist.look(NET, ANNA, ALICE) for _ in range(3)])
        self.assertEqual([NEW, WAITS, WAITS], sorted([look.because for look in looks]))
        self.assertEqual(1, self.rows("waiting"))

    async def test_a_clock_that_went_back_begins_anew(self):
        await self.ask()
        self.at -= DAY_S
        self.assertEqual((300.0, NEW), await self.ask())

    async def test_what_no_address_can_be_is_kept_like_another(self):
        for sender in ("x" * 10_000, "\0", "\udcff", "a@b@c"):
            self.assertEqual((300.0, NEW), await self.ask(sender=sender))
            self.at += 300
            self.assertEqual((0.0, WAITED), await self.ask(sender=sender))


class WrittenTests(GreylistCase):
    async def test_whom_an_account_has_written_to_never_waits(self):
        self.greylist.wrote_to([parse_address("Anna@sender.example")])
        self.assertEqual((0.0, WRITTEN), await self.ask())
        self.assertEqual((300.0, NEW), await self.ask(sender="berta@sender.example"))

    async def test_that_is_kept_over_a_year_and_a_restart(self):
        self.greylist.wrote_to([parse_address(ANNA)])
        await self.ask()
        await self.greylist.stop()
        self.at += WRITTEN_KEEP_S - DAY_S
        self.greylist = self.open()
        self.assertEqual((0.0, WRITTEN), await self.ask())

    async def test_nobody_is_the_null_reverse_path(self):
        self.greylist.wrote_to([])
        self.assertEqual((300.0, NEW), await self.ask(sender=""))


class SeedTests(StoreCase):
    async def test_a_new_list_learns_from_the_journal_whom_accounts_have_written_to(self):
        alice = Client(host="192.0.2.1", account="alice@example.test")

        def sent(client, *remotes):
            to = tuple(remotes)
            return self.messages.file_message(envelope(client=client, remotes=to), message())

        await sent(alice, Remote(parse_address(ANNA)))
        await sent(alice, Remote(parse_address("captured@sender.example"), captured=True))
        await sent(Client(host="192.0.2.1"), Remote(parse_address("bounced@sender.example")))
        greylist = Greylist(self.data, reactor.callFromThread, lambda: 1_700_000_000.0)
        self.addCleanup(greylist.stop)
        greylist.apply(GreylistRules())
        told = [
            (await greylist.look(NET, f"{name}@sender.example", ALICE)).because
            for name in ("anna", "captured", "bounced")
        ]
        self.assertEqual([WRITTEN, NEW, NEW], told)


class FileTests(GreylistCase):
    async def test_it_is_its_owner_s_alone_and_a_restart_keeps_it(self):
        await self.ask()
        self.assertEqual(0o600, (self.data / NAME).stat().st_mode & 0o777)
        await self.greylist.stop()
        self.at += 300
        self.greylist = self.open()
        self.assertEqual((0.0, WAITED), await self.ask())

    async def test_processes_share_it(self):
        other = self.open()
        await self.ask()
        self.assertEqual((300.0, WAITS), await self.ask(of=other))
        self.at += 300
        self.assertEqual((0.0, WAITED), await self.ask(of=other))
        self.assertEqual((0.0, SEEN), await self.ask())

    async def test_while_it_is_off_there_is_no_file_and_nobody_waits(self):
        off = Greylist(self.data / "off", reactor.callFromThread, lambda: self.at)
        self.assertEqual((0.0, ""), await self.ask(of=off))
        off.wrote_to([parse_address(ANNA)])
        self.assertFalse((self.data / "off").exists())
        await off.stop()

    def test_the_settings_say_whether_and_how_long(self):
        self.assertIsNone(rules_of(ArrivalSettings()))
        self.assertEqual(GreylistRules(), rules_of(ArrivalSettings(greylist=True)))

    async def test_it_can_be_switched_off_and_on(self):
        await self.ask()
        self.greylist.apply(None)
        self.assertEqual((0.0, ""), await self.ask())
        self.greylist.apply(GreylistRules())
        self.assertEqual((300.0, WAITS), await self.ask())

    async def test_what_is_damaged_is_told_and_begun_anew(self):
        await self.ask()
        for damaged in (b"", b"no database" * 1000, None):
            await self.greylist.stop()
            if damaged is None:  # its header is whole
                with (self.data / NAME).open("r+b") as file:
                    file.seek(4096)
                    file.write(b"\xff" * 4096 * 20)
            else:
                (self.data / NAME).write_bytes(damaged)
            self.lines.clear()
            self.greylist = self.open()
            self.assertEqual((300.0, NEW), await self.ask())
            told = "the greylist lets everybody through" in "\n".join(self.lines)
            self.assertEqual(damaged != b"", told, damaged)

    async def test_one_that_was_deleted_is_begun_anew_by_whoever_notices(self):
        other = self.open()
        await self.ask()
        await self.ask(of=other)
        for path in self.data.glob(f"{NAME}*"):
            path.unlink()
        self.assertEqual((300.0, NEW), await self.ask())
        self.assertEqual((300.0, WAITS), await self.ask(of=other))

    async def test_one_that_is_locked_lets_everybody_through(self):
        await self.ask()
        holder = sqlite3.connect(self.data / NAME, isolation_level=None)
        self.addCleanup(holder.close)
        holder.execute("BEGIN IMMEDIATE")
        self.assertEqual((0.0, ""), await self.ask(sender="new@sender.example"))
        holder.execute("ROLLBACK")
        self.assertEqual((300.0, NEW), await self.ask(sender="new@sender.example"))

    async def test_at_the_stop_who_waits_is_let_through(self):
        asked = [self.greylist.look(NET, ANNA, f"r{each}@example.test") for each in range(600)]
        stopped = self.greylist.stop()
        looks = await gatherResults(asked)
        self.assertEqual("", looks[-1].because)
        await stopped


class TrimTests(GreylistCase):
    async def fill(self, count: int, sender: str = "a@{}.example") -> None:
        await gatherResults(
            [self.greylist.look(NET, sender.format(each), ALICE) for each in range(count)]
        )

    async def test_the_oldest_go_where_there_are_too_many(self):
        await self.greylist.stop()
        self.greylist = self.open(most_rows=5_000)
        await self.ask()
        for _ in range(3):
            self.at += 10
            await self.fill(5_000, f"{self.at:.0f}@{{}}.example")
        self.assertLessEqual(self.rows("waiting"), 10_300)
        self.at += 300
        self.assertEqual((300.0, NEW), await self.ask())
        self.assertEqual((0.0, WAITED), await self.ask(sender=f"{self.at - 300:.0f}@4999.example"))

    async def test_what_is_over_is_gone(self):
        await self.fill(100)
        self.at += 300
        await self.fill(100)
        self.assertEqual((0, 100), (self.rows("waiting"), self.rows("let_through")))
        await self.fill(100, "b@other{}.example")
        self.at += 37 * DAY_S
        await self.fill(5_000, "c@{}.example")
        self.assertEqual((5_000, 0), (self.rows("waiting"), self.rows("let_through")))
