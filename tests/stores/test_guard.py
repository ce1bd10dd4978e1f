"""What is kept of those who guess, in a file of its own."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import MailError, NotFound
from mailnode.networks import BadBan, read_network
from mailnode.store import guard
from mailnode.store.guard import NAME, Ban, Block, GuardFile, read_kept_out

AT = 1_700_000_000.0
DAY_S = 86400.0
KEY, OTHER = b"k" * 16, b"o" * 16


def ban(network: str, until: float | None = None) -> Ban:
    return Ban(network, AT, until, "guessed", "command")


class GuardCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.file = self.open()

    def open(self) -> GuardFile:
        opened = GuardFile(self.data)
        self.addCleanup(opened.close)
        return opened

    def block(self, address: str, account_id: int = 0, until: float = AT + 60) -> None:
        self.file.write([], [(address, account_id, 0, AT, until, 1)], [])


class KeepingTests(GuardCase):
    def test_what_was_written_is_read_by_the_next_process_and_replaced_by_what_is_newer(
        self,
    ) -> None:
        failures = [("address", KEY, 2.5, AT), ("name", KEY, 1.0, AT)]
        guessers = [("192.0.2.1", 0, 3, AT, 0.0, 0)]
        self.file.write(failures, guessers, [(1, KEY, AT), (2, KEY, AT)])
        self.file.write([("name", KEY, 3.0, AT + 1)], [("192.0.2.1", 0, 0, AT, AT + 60, 1)], [])
        self.file.write([], [], [(1, KEY, AT + DAY_S)])
        kept = self.open().read()
        self.assertEqual([failures[0], ("name", KEY, 3.0, AT + 1)], list(kept.failures))
        self.assertEqual([("192.0.2.1", 0, 0, AT, AT + 60, 1)], list(kept.guessers))
        self.assertEqual([(2, KEY, AT), (1, KEY, AT + DAY_S)], list(kept.known))

    def test_the_file_is_its_owners_alone_and_is_made_where_there_is_none(self) -> None:
        self.file.read()
        self.assertEqual(0o600, (self.data / NAME).stat().st_mode & 0o777)

    def test_nothing_is_kept_for_longer_than_it_is_of_use(self) -> None:
        self.file.write(
            [("name", KEY, 1.0, AT), ("name", OTHER, 1.0, AT + 600)],
            [("192.0.2.1", 0, 1, AT, 0.0, 0), ("192.0.2.2", 0, 1, AT, AT + 3 * DAY_S, 1)],
            [(1, KEY, AT - 90 * DAY_S), (1, OTHER, AT)],
        )
        self.file.ban(ban("192.0.2.0/24", AT + 1))
        self.file.ban(ban("198.51.100.0/24"))
        self.file.trim(AT + 1000, 90 * DAY_S)
        kept = self.file.read()
        self.assertEqual([OTHER], [row[1] for row in kept.failures])
        self.assertEqual([OTHER], [row[1] for row in kept.known])
        self.assertEqual(["198.51.100.0/24"], [each.network for each in kept.bans])
        self.assertEqual(2, len(kept.guessers))
        self.file.trim(AT + 8 * DAY_S, 90 * DAY_S)
        self.assertEqual(["192.0.2.2"], [row[0] for row in self.file.read().guessers])

    def test_rows_are_bounded_and_the_oldest_go(self) -> None:
        self.patch(guard, "MOST_FAILURES", 3)
        self.patch(guard, "MOST_GUESSERS", 3)
        self.file.write(
            [("name", bytes([n]) * 16, 1.0, AT + n) for n in range(200)],
            [(f"192.0.2.{n}", 0, 1, AT + n, 0.0, 0) for n in range(200)],
            [],
        )
        self.file.trim(AT + 200, DAY_S)
        kept = self.file.read()
        self.assertEqual([197, 198, 199], [row[1][0] for row in kept.failures])
        self.assertEqual({"192.0.2.197", "192.0.2.198", "192.0.2.199"},
                         {row[0] for row in kept.guessers})  # fmt: skip

    def test_of_a_deleted_account_nothing_is_left(self) -> None:
        self.file.write([], [("192.0.2.1", 1, 1, AT, 0.0, 0), ("192.0.2.1", 0, 1, AT, 0.0, 0)],
                        [(1, KEY, AT), (2, KEY, AT)])  # fmt: skip
        self.assertEqual({1, 2}, self.file.account_ids())
        self.file.forget([1])
        self.assertEqual({2}, self.file.account_ids())
        self.assertEqual([0], [row[1] for row in self.file.read().guessers])

    def test_a_damaged_file_is_begun_anew_and_says_so(self) -> None:
        self.file.write([], [], [(1, KEY, AT)])
        self.file.close()
        (self.data / NAME).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 32)
        for beside in ("-wal", "-shm"):
            (self.data / f"{NAME}{beside}").unlink(missing_ok=True)
        again = self.open()
        with self.assertRaises(MailError):
            again.read()
        self.assertEqual([], list(again.read().known))
        self.assertTrue(again.begun_anew)


class BanTests(GuardCase):
    def test_a_ban_is_there_until_it_is_over_or_lifted(self) -> None:
        self.file.ban(ban("192.0.2.0/24", AT + 60))
        self.file.ban(ban("198.51.100.7/32"))
        self.assertEqual(2, len(read_kept_out(self.data, AT)[0]))
        self.assertEqual(1, len(read_kept_out(self.data, AT + 60)[0]))
        self.file.lift("198.51.100.7/32", AT)
        self.assertEqual([], read_kept_out(self.data, AT + 60)[0])
        with self.assertRaises(NotFound):
            self.file.lift("198.51.100.7/32", AT)

    def test_one_that_is_there_gets_another_time(self) -> None:
        self.file.ban(ban("192.0.2.0/24", AT + 60))
        self.file.ban(ban("192.0.2.0/24"))
        self.assertEqual([ban("192.0.2.0/24")], read_kept_out(self.data, AT)[0])

    def test_with_a_network_the_blocks_in_it_are_lifted(self) -> None:
        self.block("192.0.2.1")
        self.block("192.0.2.1", account_id=3)
        self.block("198.51.100.7")
        self.block("2001:db8::/64")
        self.assertEqual(4, len(read_kept_out(self.data, AT)[1]))
        self.assertEqual([("192.0.2.1", 0), ("192.0.2.1", 3)],
                         sorted(self.file.lift("192.0.2.0/24", AT).addresses))  # fmt: skip
        self.file.lift("2001:db8::5/128", AT)
        self.assertEqual([Block("198.51.100.7", 0, AT + 60, 1)], read_kept_out(self.data, AT)[1])

    def test_what_another_process_wrote_is_seen_and_ones_own_is_not(self) -> None:
        other = self.open()
        self.assertIsNotNone(self.file.look())
        self.block("192.0.2.1")
        self.assertIsNone(self.file.look())
        other.ban(ban("192.0.2.0/24"))
        look = self.file.look()
        assert look is not None
        self.assertEqual(([ban("192.0.2.0/24")], {("192.0.2.1", 0)}), look)

    def test_there_are_so_many_and_no_more(self) -> None:
        self.patch(guard, "MOST_BANS", 2)
        self.file.ban(ban("192.0.2.1/32"))
        self.file.ban(ban("192.0.2.2/32"))
        with self.assertRaises(BadBan):
            self.file.ban(ban("192.0.2.3/32"))

    def test_without_a_file_nobody_is_kept_out(self) -> None:
        self.assertEqual(([], []), read_kept_out(self.data, AT))


class NetworkTests(SynchronousTestCase):
    def test_addresses_and_networks_are_read_in_all_their_spellings(self) -> None:
        for text, meant in (
            ("192.0.2.7", "192.0.2.7/32"),
            (" 192.0.2.7/24 ", "192.0.2.0/24"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ):
            self.assertEqual(meant, read_network(text))

    def test_what_is_none_or_has_this_machine_in_it_is_refused(self) -> None:
        for text in ("", "example.org", "192.0.2.0/33", "192.0.2", "127.0.0.1", "127.8.0.0/16",
                     "::1", "0.0.0.0/0", "::/0", "::ffff:127.0.0.1", "x" * 9999):  # fmt: skip
            with self.assertRaises(BadBan, msg=text):
                read_network(text)
