"""What guessing costs who guesses, and nobody else."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred import guessing, kept_out, known
from mailnode.cred.guessing import Asked, Blocked, Guesses
from mailnode.settings import GuessingSettings
from mailnode.store.guard import Ban

AT = 1_700_000_000.0
DAY_S = 86400.0
RULES = GuessingSettings(failures=5)
THERE, ELSEWHERE, HOME = "198.51.100.7", "203.0.113.9", "192.0.2.1"


class GuessesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.blocked = Clock(), list[Blocked]()
        self.guesses = self.make()

    def make(self, rules: GuessingSettings = RULES, **more: object) -> Guesses:
        made = Guesses(self.clock, self.now, b"secret", **more)  # type: ignore[arg-type]
        made.apply(rules)
        made.on_blocked = self.blocked.append
        return made

    def now(self) -> float:
        return AT + self.clock.seconds()

    def asked(
        self, client: str = THERE, name: str = "alice", account_id: int | None = 1, guess: int = 0
    ) -> Asked:
        said = self.guesses.guess_of(name, b"%d" % guess) if guess else None
        return Asked(client, name, account_id, said)

    def guess(self, count: int, client: str = THERE, **more: object) -> None:
        for number in range(count):
            self.guesses.failed(self.asked(client, guess=number + 1, **more))  # type: ignore[arg-type]


class BlockTests(GuessesCase):
    def test_an_address_that_guesses_five_times_in_the_hour_is_closed_for_15_minutes(self) -> None:
        self.guess(4)
        self.assertEqual(0, self.guesses.closed_s(THERE))
        self.guess(1, name="bob", account_id=2)
        self.assertEqual(900, self.guesses.closed_s(THERE))
        self.assertEqual(0, self.guesses.closed_s(ELSEWHERE))
        self.assertEqual([Blocked(THERE, 0, 900.0, 1)], self.blocked)
        self.clock.advance(900)
        self.assertEqual(0, self.guesses.closed_s(THERE))

    def test_guesses_are_forgotten_when_the_window_is_over(self) -> None:
        self.guess(4)
        self.clock.advance(3600)
        self.guess(4)
        self.assertEqual(0, self.guesses.closed_s(THERE))

    def test_the_same_wrong_password_again_is_no_further_guess(self) -> None:
        """A program with an old password blocks nobody's office."""
        for _ in range(50):
            self.guesses.failed(self.asked(guess=7))
        self.assertEqual(0, self.guesses.closed_s(THERE))
        self.guess(4)
        self.assertGreater(self.guesses.closed_s(THERE), 0)

    def test_what_has_no_password_to_tell_apart_counts_each_time(self) -> None:
        for _ in range(5):
            self.guesses.failed(self.asked())
        self.assertGreater(self.guesses.closed_s(THERE), 0)

    def test_proofs_of_an_owner_s_old_password_block_nobody_s_office(self) -> None:
        """A proof is another one each time, so each counts, and only for him."""
        self.guesses.signed_in(self.asked(HOME))
        for _ in range(50):
            self.guesses.failed(self.asked(HOME))
        self.assertEqual([Blocked(HOME, 1, 900.0, 1)], self.blocked)
        self.assertFalse(self.guesses.lets_in(self.asked(HOME)))
        self.assertTrue(self.guesses.lets_in(self.asked(HOME, "bob", 2)))
        self.assertTrue(self.guesses.lets_in(self.asked(ELSEWHERE)))

    def test_proofs_of_many_owners_there_block_the_address(self) -> None:
        for number in range(1, 6):
            owner = f"user{number}", number
            self.guesses.signed_in(self.asked(HOME, *owner))
            self.guesses.failed(self.asked(HOME, *owner))
        self.assertEqual([Blocked(HOME, 0, 900.0, 1)], self.blocked)

    def test_who_comes_again_is_blocked_twice_as_long_each_time_up_to_a_day(self) -> None:
        lengths = []
        for _ in range(9):
            self.guess(5)
            lengths.append(self.guesses.closed_s(THERE) / 60)
            self.clock.advance(lengths[-1] * 60)
        self.assertEqual([15, 30, 60, 120, 240, 480, 960, 1440, 1440], lengths)
        self.clock.advance(kept_out.FORGIVEN_S + 1)
        self.guess(5)
        self.assertEqual(900, self.guesses.closed_s(THERE))

    def test_a_64_of_ipv6_is_one_address(self) -> None:
        for number in range(5):
            self.guess(1, f"2001:db8::{number + 1:x}", name=f"user{number}", account_id=None)
        self.assertGreater(self.guesses.closed_s("2001:db8::ffff"), 0)
        self.assertEqual(0, self.guesses.closed_s("2001:db8:0:1::1"))

    def test_this_machine_and_networks_that_are_never_blocked_are_not(self) -> None:
        self.guesses.apply(evolve(RULES, never=("198.51.100.0/24", "2001:db8::/32")))
        for client in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "", THERE, "2001:db8:7::1"):
            self.guess(50, client)
            self.assertEqual(0, self.guesses.closed_s(client), client)
        self.guess(5, ELSEWHERE)
        self.assertGreater(self.guesses.closed_s(ELSEWHERE), 0)

    def test_with_0_failures_nobody_is_blocked_and_without_a_delay_nobody_waits(self) -> None:
        self.guesses = self.make(GuessingSettings(failures=0, delay=0.0))
        for number in range(100):
            self.assertEqual(0, self.guesses.failed(self.asked(guess=number)))
        self.assertEqual((0, 0), (self.guesses.closed_s(THERE), self.guesses.wait_s(self.asked())))

    def test_only_one_process_of_a_node_decides_and_the_others_are_told(self) -> None:
        other = self.make(decides=False)
        for number in range(9):
            other.failed(self.asked(guess=number + 1))
        self.assertEqual(([], 0), (self.blocked, other.closed_s(THERE)))
        other.take_blocked(Blocked(THERE, 0, 60.0, 1))
        self.assertEqual(60, other.closed_s(THERE))
        other.take_blocked(Blocked(THERE, 0, 0.0, 0))
        self.assertEqual(0, other.closed_s(THERE))

    def test_memory_is_bounded_and_those_who_failed_first_go(self) -> None:
        self.patch(kept_out, "MOST_GUESSERS", 10)
        self.patch(guessing, "MOST_KEYS", 10)
        for number in range(100):
            self.guess(5, f"203.0.113.{number}", name=f"user{number}", account_id=None)
        self.assertEqual(10, len(self.guesses.guessers))
        self.assertEqual((10, 10), (len(self.guesses.addresses), len(self.guesses.names)))
        self.assertEqual(0, self.guesses.closed_s("203.0.113.1"))
        self.assertGreater(self.guesses.closed_s("203.0.113.99"), 0)


class BanTests(GuessesCase):
    def ban(self, *networks: str, until: float | None = None) -> None:
        self.guesses.bans.replace([Ban(each, AT, until, "", "command") for each in networks])

    def test_nobody_signs_in_from_a_banned_network_owners_included(self) -> None:
        self.guesses.signed_in(self.asked(THERE))
        self.ban("198.51.100.0/25", "2001:db8::/32", "203.0.113.9/32")
        for client in (THERE, "2001:db8:ffff::1", ELSEWHERE, "::ffff:198.51.100.1"):
            self.assertGreater(self.guesses.closed_s(client), 0, client)
        for client in ("198.51.100.128", "203.0.113.8", "2001:db9::1", "", "no address"):
            self.assertEqual(0, self.guesses.closed_s(client), client)

    def test_a_ban_ends_in_its_time_or_when_it_is_lifted(self) -> None:
        self.ban("198.51.100.0/24", until=AT + 60)
        self.assertEqual(60, self.guesses.closed_s(THERE))
        self.clock.advance(60)
        self.assertEqual(0, self.guesses.closed_s(THERE))
        self.ban("198.51.100.0/24")
        self.clock.advance(400 * DAY_S)
        self.assertGreater(self.guesses.closed_s(THERE), 0)
        self.ban()
        self.assertEqual(0, self.guesses.closed_s(THERE))

    def test_what_is_turned_away_is_counted(self) -> None:
        self.ban("198.51.100.0/24")
        self.guesses.turn_away(THERE)
        self.guesses.turn_away(ELSEWHERE)
        self.assertEqual(1, self.guesses.turned_away)


class OwnerTests(GuessesCase):
    """Nobody is locked out from elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.guesses.signed_in(self.asked(HOME))

    def test_a_right_password_waits_for_no_guesses_from_elsewhere_where_its_owner_is_known(
        self,
    ) -> None:
        for number in range(100):
            self.guess(4, f"203.0.113.{number}")
        self.assertEqual(0, self.guesses.wait_s(self.asked(HOME)))
        self.assertEqual(0, self.guesses.wait_s(self.asked("192.0.2.254")))  # of the same /24
        self.assertGreater(self.guesses.wait_s(self.asked("192.0.3.1")), 9)
        self.assertEqual(0, self.guesses.wait_s(self.asked("192.0.3.1", "bob", 2)))

    def test_from_an_unknown_address_a_right_password_waits_and_counts(self) -> None:
        for number in range(100):
            self.guess(1, f"203.0.113.{number}")
        asked = self.asked("192.0.3.1")
        self.assertTrue(self.guesses.lets_in(asked))
        self.clock.advance(self.guesses.wait_s(asked))
        self.assertEqual(0, self.guesses.wait_s(asked))

    def test_an_address_is_known_for_90_days_since_it_was_last_used(self) -> None:
        self.clock.advance(80 * DAY_S)
        self.guesses.signed_in(self.asked(HOME))
        self.clock.advance(80 * DAY_S)
        self.assertTrue(self.guesses.is_known(self.asked(HOME)))
        self.clock.advance(10 * DAY_S)
        self.assertFalse(self.guesses.is_known(self.asked(HOME)))
        self.assertFalse(self.guesses.is_known(self.asked(HOME, account_id=None)))

    def test_an_address_that_owners_share_with_a_guesser_stays_open_for_them_alone(self) -> None:
        self.guess(5, HOME, name="bob", account_id=2)
        self.assertEqual(0, self.guesses.closed_s(HOME))
        self.assertGreater(self.guesses.blocked_s(self.asked(HOME)), 0)
        self.assertTrue(self.guesses.lets_in(self.asked(HOME)))
        self.assertFalse(self.guesses.lets_in(self.asked(HOME, "bob", 2)))
        self.assertFalse(self.guesses.lets_in(self.asked(HOME, "nobody", None)))

    def test_one_who_guesses_at_an_owner_where_that_owner_is_known_is_blocked_as_a_pair(
        self,
    ) -> None:
        self.guess(5, HOME)
        self.assertEqual([(HOME, 0), (HOME, 1)], [(b.address, b.account_id) for b in self.blocked])
        self.assertFalse(self.guesses.lets_in(self.asked(HOME)))
        self.assertTrue(self.guesses.lets_in(self.asked("192.0.2.2")))

    def test_an_account_is_known_in_the_50_networks_that_it_used_last(self) -> None:
        for number in range(60):
            self.guesses.signed_in(self.asked(f"10.0.{number}.1"))
        known_there = [self.guesses.is_known(self.asked(f"10.0.{n}.9")) for n in range(60)]
        self.assertEqual([False] * 10 + [True] * 50, known_there)
        self.assertFalse(self.guesses.is_known(self.asked(HOME)))

    def test_only_what_is_news_is_told_to_others_once_a_day(self) -> None:
        told: list[tuple[int, str]] = []
        self.guesses.on_known = told.append
        for _ in range(5):
            self.guesses.signed_in(self.asked(HOME))
        self.assertEqual([], told)
        self.clock.advance(known.NOTED_EVERY_S)
        self.guesses.signed_in(self.asked(HOME))
        self.guesses.signed_in(self.asked(HOME))
        self.assertEqual([(1, HOME)], told)

    def test_where_no_networks_are_to_be_known_none_are(self) -> None:
        self.guesses.apply(evolve(RULES, known=0.0))
        self.guesses.signed_in(self.asked("10.0.0.1"))
        self.assertFalse(self.guesses.is_known(self.asked("10.0.0.1")))
        self.assertFalse(self.guesses.is_known(self.asked(HOME)))

    def test_of_a_deleted_account_nothing_is_left(self) -> None:
        self.guess(5, HOME)
        self.guesses.forget_account(1)
        _failures, guessers, known_rows = self.guesses.changed()
        self.assertEqual(([], []), ([row for row in guessers if row[1]], known_rows))
        self.assertFalse(self.guesses.known.anybody(self.guesses.known.key_of(HOME)))


class KeptTests(GuessesCase):
    def again(self) -> Guesses:
        """As after a restart, an hour of the clock later."""
        changed = self.guesses.changed()
        self.clock.advance(60)
        made = self.make()
        made.take(*changed)
        return made

    def test_who_was_slow_is_slow_after_a_restart_and_who_was_blocked_is_blocked(self) -> None:
        self.guesses.signed_in(self.asked(HOME))
        self.guess(5)
        self.guess(3, ELSEWHERE)
        again = self.again()
        self.assertEqual(840, again.closed_s(THERE))
        self.assertTrue(again.is_known(self.asked(HOME)))
        self.assertGreater(again.failed(self.asked(ELSEWHERE, guess=9)), 5)
        again.failed(self.asked(ELSEWHERE, guess=10))
        self.assertGreater(again.closed_s(ELSEWHERE), 0)

    def test_a_clock_that_was_set_back_makes_no_block_longer_than_the_longest(self) -> None:
        self.guess(5)
        changed = self.guesses.changed()
        back = Guesses(self.clock, lambda: AT - 400 * DAY_S, b"secret")
        back.apply(RULES)
        back.take(*changed)
        self.assertEqual(RULES.longest, back.closed_s(THERE))

    def test_another_secret_knows_nobody(self) -> None:
        self.guesses.signed_in(self.asked(HOME))
        changed = self.guesses.changed()
        other = Guesses(self.clock, self.now, b"another")
        other.take(*changed)
        self.assertFalse(other.is_known(self.asked(HOME)))
        self.assertNotIn(b"alice", repr(changed).encode())
        self.assertNotIn("192.0.2", repr(changed))

    def test_what_is_new_is_given_once(self) -> None:
        self.guess(1)
        self.assertTrue(self.guesses.is_changed)
        self.assertTrue(any(self.guesses.changed()))
        self.assertFalse(self.guesses.is_changed)
        self.assertFalse(any(self.guesses.changed()))

    def test_a_worker_that_begins_is_told_of_who_is_slow_and_who_is_blocked(self) -> None:
        self.guess(5)
        self.guesses.changed()
        other = self.make(decides=False)
        other.take(*self.guesses.told())
        self.assertEqual(900, other.closed_s(THERE))
        self.assertEqual(
            self.guesses.failed(self.asked(ELSEWHERE)), other.failed(self.asked(ELSEWHERE))
        )

    def test_what_ever_so_many_addresses_and_names_leave_to_be_kept_is_bounded(self) -> None:
        for number in range(guessing.MOST_KEYS + 5):
            there = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            self.guesses.failed(Asked(there, f"user{number}"))
        failures, guessers, _known_rows = self.guesses.changed()
        self.assertEqual(2 * guessing.MOST_KEYS, len(failures))
        self.assertLessEqual(len(guessers), kept_out.MOST_GUESSERS)
