"""Where accounts sign in from: what is new of it, how often it is told, and what is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.audited import Actor, Entry
from mailnode.errors import StoreBroken
from mailnode.store.audit_file import AuditFile
from mailnode.store.audit_lines import Head, Line, stamp
from mailnode.store.seen import NAME, News, People, Seen
from mailnode.store.seen_rows import (
    ALL,
    MOST_KNOWN,
    MOST_SEEN,
    SHOWN,
    SIGN_INS,
    Notice,
    forget_others,
    recent_of,
    take_lines,
)
from mailnode.store.sqlite import schema_scripts

AT = 1_800_000_000.0
BOB, CAROL = "bob@example.test", "carol@example.test"
IDS = {BOB: 2, CAROL: 3}


def sign_in(
    client: str, way: str = "pop3", at: float = AT, account: str = BOB, **detail: object
) -> Line:
    return line("signed-in", Actor(account, way, client), at, account, **detail)


def line(event: str, actor: Actor, at: float = AT, account: str = BOB, **detail: object) -> Line:
    return Line(Head(1), "", Entry(event, account, actor, detail, at))


class SeenCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.sql = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(self.sql.close)
        for _version, script in sorted(schema_scripts("seen").items()):
            self.sql.executescript(script)

    def take(self, *lines: Line, most: int = 5, told: bool = True) -> list[Notice]:
        return take_lines(self.sql, lines, IDS.get, lambda account_id: told, most, AT)


class NewsTests(SeenCase):
    def test_the_first_sign_in_of_all_is_no_news_and_the_next_network_is(self) -> None:
        self.assertEqual([], self.take(sign_in("192.0.2.7")))
        self.assertEqual([], self.take(sign_in("192.0.2.200")))
        self.assertEqual([2], [each.account_id for each in self.take(sign_in("198.51.100.1"))])
        self.assertEqual([], self.take(sign_in("198.51.100.9", "smtp")))

    def test_of_ipv6_a_64_is_one_place(self) -> None:
        self.take(sign_in("2001:db8:0:1::1"))
        self.assertEqual([], self.take(sign_in("2001:db8:0:1:ffff::2")))
        self.assertEqual(1, len(self.take(sign_in("2001:db8:0:2::1"))))

    def test_a_browser_that_is_known_may_be_anywhere(self) -> None:
        self.take(sign_in("192.0.2.7", "web", device="laptop"))
        self.assertEqual([], self.take(sign_in("198.51.100.1", "web", device="laptop")))

    def test_another_browser_is_news_even_at_a_place_that_is_known(self) -> None:
        self.take(sign_in("192.0.2.7", "web", device="laptop"))
        self.assertEqual(1, len(self.take(sign_in("192.0.2.7", "web", device="phone"))))

    def test_the_first_browser_at_the_place_of_a_mail_program_is_none(self) -> None:
        self.take(sign_in("192.0.2.7"))
        self.assertEqual([], self.take(sign_in("192.0.2.7", "web", device="laptop")))

    def test_the_first_browser_elsewhere_is_news(self) -> None:
        self.take(sign_in("192.0.2.7"))
        self.assertEqual(1, len(self.take(sign_in("198.51.100.1", "web", device="laptop"))))

    def test_a_password_that_is_asked_for_once_more_is_no_sign_in(self) -> None:
        self.take(sign_in("192.0.2.7"))
        self.assertEqual([], self.take(sign_in("198.51.100.1", "web")))
        self.assertEqual(1, len(recent_of(self.sql, 2)))

    def test_places_of_one_account_are_not_those_of_another(self) -> None:
        self.take(sign_in("192.0.2.7"), sign_in("198.51.100.1", account=CAROL))
        self.assertEqual(1, len(self.take(sign_in("198.51.100.1"))))

    def test_changes_of_a_sign_in_are_news_and_other_changes_are_not(self) -> None:
        admin = Actor("alice@example.test", "web", "192.0.2.1")
        for event, count in (
            ("password-changed", 1), ("factor-added", 1), ("factor-removed", 1),
            ("token-made", 1), ("account-changed", 0), ("sign-in-failed", 0),
        ):  # fmt: skip
            self.assertEqual(count, len(self.take(line(event, admin), most=50)), event)

    def test_what_is_a_day_old_is_taken_up_and_told_to_nobody(self) -> None:
        self.take(sign_in("192.0.2.7", at=AT - 200_000))
        self.assertEqual([], self.take(sign_in("198.51.100.1", at=AT - 100_000)))
        self.assertEqual(2, len(recent_of(self.sql, 2)))

    def test_who_has_no_account_here_is_told_nothing(self) -> None:
        stranger = sign_in("192.0.2.7", account="x@far.example")
        self.assertEqual([], self.take(stranger, stranger))


class BoundsTests(SeenCase):
    def test_an_account_gets_so_many_a_day_and_the_last_says_so(self) -> None:
        self.take(sign_in("10.0.0.1"))
        lines = [sign_in(f"10.0.{number}.1") for number in range(1, 20)]
        notices = self.take(*lines, most=3)
        self.assertEqual(["", "", SIGN_INS], [each.last for each in notices])
        self.assertEqual([], self.take(sign_in("10.1.0.1"), most=3))
        tomorrow = sign_in("10.2.0.1", at=AT + 80_000)
        self.assertEqual(1, len(self.take(tomorrow, most=3)))

    def test_sign_ins_never_take_the_place_of_a_changed_password_or_factor(self) -> None:
        self.take(sign_in("10.0.0.1"))
        for number in range(1, 9):
            self.take(sign_in(f"10.0.{number}.1"), most=3)
        changes = [line("factor-removed", Actor(by="root")) for _ in range(9)]
        notices = self.take(*changes, most=3)
        self.assertEqual(["", "", ALL], [each.last for each in notices])
        self.assertEqual([], self.take(line("token-made", Actor(by="root")), most=3))

    def test_none_are_told_where_that_is_off(self) -> None:
        self.take(sign_in("192.0.2.7"))
        self.assertEqual([], self.take(sign_in("198.51.100.1"), most=0))
        self.assertEqual([], self.take(sign_in("203.0.113.1"), told=False))

    def test_rows_of_an_account_are_bounded_and_the_newest_stay(self) -> None:
        lines = [sign_in(f"10.{n >> 8}.{n & 255}.1", at=AT + n) for n in range(MOST_KNOWN + 50)]
        self.take(*lines)
        for table, most in (("seen", MOST_SEEN), ("known", MOST_KNOWN)):
            (count,) = self.sql.execute(f"SELECT count(*) FROM {table}").fetchone()
            self.assertEqual(most, count, table)
        recent = recent_of(self.sql, 2)
        self.assertEqual(SHOWN, len(recent))
        self.assertEqual(lines[-1].entry.actor.client, recent[0].client)

    def test_sign_ins_that_are_alike_are_one_row_with_a_count(self) -> None:
        self.take(sign_in("192.0.2.7"), sign_in("192.0.2.7", at=AT + 60, times=59))
        (row,) = recent_of(self.sql, 2)
        self.assertEqual((AT, AT + 60, 60), (row.first_at, row.last_at, row.times))
        actor = Actor(BOB, "pop3", "192.0.2.7")
        self.take(line("signed-in-again", actor, AT + 3600, times=5, last=stamp(AT + 120)))
        (row,) = recent_of(self.sql, 2)
        self.assertEqual((AT, AT + 120, 65), (row.first_at, row.last_at, row.times))

    def test_of_accounts_that_are_gone_nothing_is_kept(self) -> None:
        self.take(sign_in("192.0.2.7"), sign_in("192.0.2.7", account=CAROL))
        forget_others(self.sql, {3})
        self.assertEqual([], recent_of(self.sql, 2))
        self.assertEqual(1, len(recent_of(self.sql, 3)))


class FollowingTests(SynchronousTestCase):
    """The file and the stream; what its thread does is called here."""

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.audit = AuditFile(self.data, now=lambda: AT)
        self.seen = Seen(self.data, lambda *_: None, lambda: AT)
        self.addCleanup(lambda: self.seen._file.close())
        self.people = People(IDS.get, lambda account_id: True, set(IDS.values()))

    def append(self, *clients: str) -> None:
        self.audit.append([sign_in(client).entry for client in clients])

    def look(self) -> News | None:
        return self.seen._look(self.people, 5)

    def keep(self, news: News | None) -> None:
        assert news is not None
        self.seen._keep(news, self.people, 5)

    def begin(self) -> None:
        """Nothing of before is told."""
        self.append("192.0.2.7")
        self.assertIsNone(self.look())

    def test_a_node_that_is_new_here_tells_nothing_of_the_past(self) -> None:
        self.append("192.0.2.7", "198.51.100.1")
        self.assertIsNone(self.look())
        self.assertIsNone(self.look())

    def test_what_is_new_is_found_once_it_is_kept_no_more(self) -> None:
        self.begin()
        self.append("192.0.2.7", "198.51.100.1")
        news = self.look()
        assert news is not None
        self.assertEqual(1, len(news.notices))
        again = self.look()  # a crash before it was kept
        assert again is not None
        self.assertEqual(1, len(again.notices))
        self.keep(again)
        self.assertIsNone(self.look())
        self.append("198.51.100.2")
        later = self.look()
        assert later is not None
        self.assertEqual(0, len(later.notices))

    def test_a_stream_that_was_begun_anew_is_followed_from_its_end(self) -> None:
        self.begin()
        self.append("192.0.2.8")
        self.keep(self.look())
        for path in (self.data / "audit").iterdir():
            path.unlink()
        self.append("192.0.2.9")
        self.assertIsNone(self.look())
        self.append("198.51.100.1")
        self.assertIsNotNone(self.look())

    def test_a_file_that_is_damaged_is_begun_anew(self) -> None:
        self.begin()
        self.seen._file.close()
        (self.data / NAME).write_bytes(b"x" * 8192)
        self.append("192.0.2.8")
        with self.assertRaises(StoreBroken):
            self.look()
        self.assertIsNone(self.look())
        self.append("192.0.2.9")
        self.keep(self.look())

    def test_nobody_looks_twice_at_a_stream_that_is_as_it_was(self) -> None:
        self.begin()
        self.patch(Seen, "_find", None)
        self.assertIsNone(self.look())
