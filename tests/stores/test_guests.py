"""Web sessions and tokens: they are known by their hash, and end with the sign-in of before."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from mailnode.addresses import parse_address
from mailnode.errors import AccountError, NotFound
from mailnode.store import guests as guests_module
from mailnode.store import tokens
from mailnode.store.database import Database
from mailnode.store.directory import Account
from mailnode.store.guests import (
    IDLE_S,
    LONGEST_S,
    MOST_SESSIONS,
    REMEMBER_S,
    USED_EVERY_S,
    Guests,
)
from mailnode.store.tokens import MOST_TOKENS, delete_token
from mailnode.store.verify import verify
from tests.stores.support import StoreCase

AT = 1_800_000_000.0


class GuestCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = AT
        self.accounts: dict[int, Account] = {}
        for number, name in enumerate(("alice", "bob"), 1):
            address = parse_address(f"{name}@example.test")
            self.accounts[number] = Account(number, address, address.key, "h", admin=number == 1)
        self.reads = 0
        self.guests = self.make_guests()

    def make_guests(self) -> Guests:
        made = Guests(self.database, lambda: self.now, self.accounts.get)
        read = Database.read

        def counted(database: Database, function: Any) -> Any:
            self.reads += 1
            return read(database, function)

        self.patch(Database, "read", counted)
        return made

    def change(self, account_id: int, **facts: Any) -> None:
        facts = {"sign_in_changed_at": self.now} | facts
        self.accounts[account_id] = evolve(self.accounts[account_id], **facts)

    async def sign_in(self, account_id: int = 1) -> str:
        secret, _session = await self.guests.open_session(
            self.accounts[account_id], "192.0.2.1", "Browser/1"
        )
        return secret

    async def counts(self, secret: str) -> bool:
        return await self.guests.session(secret) is not None


class SessionTests(GuestCase):
    async def test_what_the_cookie_says_is_kept_as_its_hash_alone(self) -> None:
        secret = await self.sign_in()
        self.assertGreaterEqual(len(secret), 43)
        ((key_hash, account_id, agent),) = self.rows(
            "SELECT key_hash, account_id, agent FROM web_session"
        )
        self.assertEqual(hashlib.sha256(secret.encode()).digest(), key_hash)
        self.assertEqual((1, "Browser/1"), (account_id, agent))
        session = await self.guests.session(secret)
        assert session is not None
        self.assertEqual((1, "192.0.2.1"), (session.account_id, session.client))
        self.assertFalse(await self.counts(secret[:-1]))
        self.assertFalse(await self.counts("\ud800"))
        self.assertEqual(list(verify(self.data)), [])

    async def test_two_sign_ins_share_nothing(self) -> None:
        first, second = await self.sign_in(), await self.sign_in()
        self.assertNotEqual(first, second)
        sessions = await self.guests.sessions(1)
        self.assertEqual(2, len({each.csrf for each in sessions}))

    async def test_it_ends_after_a_fortnight_without_use_and_after_ninety_days_in_any_case(
        self,
    ) -> None:
        idle, used = await self.sign_in(), await self.sign_in()
        self.now = AT + IDLE_S - 1
        self.assertTrue(await self.counts(used))
        self.now = AT + IDLE_S
        self.assertFalse(await self.counts(idle))
        self.assertTrue(await self.counts(used))
        while self.now < AT + LONGEST_S - IDLE_S / 2:
            self.now += IDLE_S / 2
            self.assertTrue(await self.counts(used))
        self.now = AT + LONGEST_S
        self.assertFalse(await self.counts(used))
        self.assertEqual([], await self.guests.sessions(1))
        await self.guests.sweep()
        self.assertEqual([(0,)], self.rows("SELECT count(*) FROM web_session"))

    async def test_a_new_password_ends_what_came_before_and_not_what_came_after(self) -> None:
        before, other = await self.sign_in(), await self.sign_in(2)
        self.now += 5
        self.change(1)
        self.assertFalse(await self.counts(before))
        after = await self.sign_in()
        self.assertTrue(await self.counts(after))
        self.assertTrue(await self.counts(other))
        await self.guests.end_all_of({1})
        self.assertTrue(await self.counts(after))
        self.assertEqual([(2,)], self.rows("SELECT count(*) FROM web_session"))

    async def test_a_clock_that_was_set_back_keeps_nobody_out(self) -> None:
        self.change(1, sign_in_changed_at=AT + 3600)
        self.assertTrue(await self.counts(await self.sign_in()))

    async def test_a_disabled_or_deleted_account_has_none(self) -> None:
        secret, bobs = await self.sign_in(), await self.sign_in(2)
        self.change(1, disabled=True)
        self.assertFalse(await self.counts(secret))
        del self.accounts[2]
        self.assertFalse(await self.counts(bobs))
        await self.guests.end_all_of({1, 2})
        self.assertEqual([(0,)], self.rows("SELECT count(*) FROM web_session"))

    async def test_one_is_read_once_for_a_while_and_its_end_counts_at_once(self) -> None:
        secret = await self.sign_in()
        self.reads = 0
        for _ in range(5):
            self.assertTrue(await self.counts(secret))
        self.assertEqual(1, self.reads)
        session = await self.guests.session(secret)
        assert session is not None
        self.assertFalse(await self.guests.end_session(2, session.key_hash))
        self.assertTrue(await self.counts(secret))
        self.assertTrue(await self.guests.end_session(1, session.key_hash))
        self.assertFalse(await self.counts(secret))

    async def test_what_another_process_ended_counts_no_more_within_seconds(self) -> None:
        secret = await self.sign_in()
        self.assertTrue(await self.counts(secret))
        await self.write("DELETE FROM web_session")
        self.now += REMEMBER_S
        self.assertFalse(await self.counts(secret))

    async def test_an_end_while_one_is_read_is_not_forgotten(self) -> None:
        secret = await self.sign_in()
        reading = Deferred.fromCoroutine(self.guests.session(secret))
        self.guests.forget()
        self.assertIsNotNone(await reading)
        await self.write("DELETE FROM web_session")
        self.assertFalse(await self.counts(secret))

    async def test_a_use_is_written_once_a_minute_at_most(self) -> None:
        secret = await self.sign_in()
        for _ in range(10):
            self.now += USED_EVERY_S / 4
            await self.counts(secret)
        await self.write("DELETE FROM token")  # behind what was written
        ((used_at,),) = self.rows("SELECT used_at FROM web_session")
        self.assertGreater(used_at, AT)
        self.assertLess(self.database.stats.jobs, 8)

    async def test_all_others_end_and_this_one_stays(self) -> None:
        kept, gone = await self.sign_in(), await self.sign_in()
        session = await self.guests.session(kept)
        assert session is not None
        self.assertEqual(1, await self.guests.end_sessions(1, session.key_hash))
        self.assertEqual((True, False), (await self.counts(kept), await self.counts(gone)))

    async def test_whose_sessions_and_tokens_ended_is_told(self) -> None:
        told: list[Any] = []
        self.guests.on_end.append(told.append)
        session = await self.guests.session(await self.sign_in(2))
        assert session is not None
        await self.guests.end_session(2, session.key_hash)
        await self.guests.end_sessions(1)
        _secret, token = await self.guests.make_token(2, "script", ["read"], None)
        await self.guests.end_token(2, token.id)
        await self.guests.end_all_of({1, 2})
        self.guests.forget()  # what the bell calls
        self.assertEqual([{2}, {1}, {2}, {1, 2}, None], [each and set(each) for each in told])

    async def test_the_one_unused_for_longest_makes_room(self) -> None:
        self.patch(guests_module, "MOST_SESSIONS", 3)
        self.assertGreater(MOST_SESSIONS, 3)
        first = await self.sign_in()
        for _ in range(3):
            self.now += 1
            last = await self.sign_in()
        self.guests.forget()
        self.assertEqual((False, True), (await self.counts(first), await self.counts(last)))


class TokenTests(GuestCase):
    async def make(self, **facts: Any) -> str:
        given = {"account_id": 1, "name": "script", "scopes": ["read"], "expires_at": None} | facts
        secret, _token = await self.guests.make_token(**given)
        return secret

    async def test_it_is_shown_once_and_kept_as_its_hash(self) -> None:
        secret = await self.make(scopes=["send", "read", "send"])
        self.assertTrue(secret.startswith("mailnode_"))
        token = await self.guests.token(secret, "192.0.2.9")
        assert token is not None
        self.assertEqual((1, ("read", "send")), (token.account_id, token.scopes))
        ((kept,),) = self.rows("SELECT key_hash FROM token")
        self.assertEqual(hashlib.sha256(secret.encode()).digest(), kept)
        self.assertIsNone(await self.guests.token(secret + "x", ""))

    async def test_its_use_is_told_with_where_from(self) -> None:
        secret = await self.make()
        await self.guests.token(secret, "192.0.2.9")
        await self.guests.token(secret, "192.0.2.10")
        await self.write("DELETE FROM web_session")
        (token,) = await self.guests.tokens(1)
        self.assertEqual((AT, "192.0.2.9"), (token.used_at, token.used_from))

    async def test_it_ends_when_its_time_is_over_or_it_is_revoked(self) -> None:
        short, long = await self.make(expires_at=AT + 60), await self.make()
        self.now = AT + 59
        self.assertIsNotNone(await self.guests.token(short, ""))
        self.now = AT + 60
        self.assertIsNone(await self.guests.token(short, ""))
        token = await self.guests.token(long, "")
        assert token is not None
        with self.assertRaises(NotFound):
            await self.guests.end_token(2, token.id)
        self.assertIsNotNone(await self.guests.token(long, ""))
        await self.guests.end_token(1, token.id)
        self.assertIsNone(await self.guests.token(long, ""))

    async def test_one_that_was_revoked_beside_the_node_counts_no_more_when_the_bell_rings(
        self,
    ) -> None:
        secret = await self.make()
        self.assertIsNotNone(await self.guests.token(secret, ""))
        await self.database.transact("test", lambda connection: delete_token(connection, 1))
        self.guests.forget()  # what the bell calls
        self.assertIsNone(await self.guests.token(secret, ""))

    async def test_a_new_password_voids_it(self) -> None:
        secret = await self.make()
        self.now += 1
        self.change(1)
        self.assertIsNone(await self.guests.token(secret, ""))
        self.assertIsNotNone(await self.guests.token(await self.make(), ""))

    async def test_numbers_are_never_given_again(self) -> None:
        await self.make()
        await self.guests.end_token(1, 1)
        await self.make()
        self.assertEqual([2], [each.id for each in await self.guests.tokens(1)])

    async def test_without_a_name_or_a_scope_or_with_too_many_there_is_none(self) -> None:
        for facts in ({"name": " "}, {"name": "x" * 81}, {"scopes": []}, {"scopes": ["root"]}):
            with self.assertRaises(AccountError):
                await self.make(**facts)
        self.patch(tokens, "MOST_TOKENS", 1)
        self.assertGreater(MOST_TOKENS, 1)
        await self.make()
        with self.assertRaises(AccountError):
            await self.make()


class WallTests(StoreCase):
    async def test_times_are_those_of_the_wall(self) -> None:
        account = Account(1, parse_address("a@example.test"), "a@example.test", "h")
        guests = Guests(self.database, time.time, {1: account}.get)
        _secret, session = await guests.open_session(account, "", "")
        self.assertLess(abs(session.made_at - time.time()), 60)


class AppPasswordTests(GuestCase):
    async def make(self, *scopes: str, account_id: int = 1) -> str:
        secret, _token = await self.guests.make_token(account_id, "phone", scopes, None)
        return secret

    async def test_one_is_found_and_its_use_is_noted_when_somebody_is_let_in(self) -> None:
        secret = await self.make("smtp", "pop3")
        token = await self.guests.find_token(secret)
        assert token is not None
        self.assertTrue(token.is_app_password)
        await self.write("DELETE FROM web_session")
        self.assertEqual([None], [each.used_at for each in await self.guests.tokens(1)])
        self.guests.note_token(token, "192.0.2.9")
        await self.write("DELETE FROM web_session")
        (used,) = await self.guests.tokens(1)
        self.assertEqual((AT, "192.0.2.9"), (used.used_at, used.used_from))

    async def test_on_the_web_it_is_found_however_it_is_typed(self) -> None:
        secret = await self.make("read", "smtp")
        self.assertIsNotNone(await self.guests.token(secret.replace("-", " ").upper(), ""))

    async def test_which_of_some_count_still_is_told(self) -> None:
        for _ in range(3):
            await self.make("smtp")
        bobs = await self.make("smtp", account_id=2)
        tokens = [each.id for each in await self.guests.tokens(1)]
        theirs = await self.guests.find_token(bobs)
        assert theirs is not None
        await self.guests.end_token(1, tokens[0])
        self.change(2)
        self.now += 1
        self.change(2)
        asked = [*tokens, theirs.id, 99]
        self.assertEqual(set(tokens[1:]), await self.guests.counting(asked))

    async def test_what_proves_one_is_kept_and_read_for_proofs_alone(self) -> None:
        asked: list[tuple[int, str]] = []

        async def prove(account: Account, secret: str) -> bytes:
            asked.append((account.id, secret))
            return b"keys"

        self.guests.prove = prove
        secret = await self.make("pop3")
        await self.make("read")
        self.assertEqual([(1, secret)], asked)
        (token,) = await self.guests.provable_tokens(1)
        self.assertEqual(b"keys", token.proof_keys)
        self.assertEqual({None}, {each.proof_keys for each in await self.guests.tokens(1)})
        self.assertEqual([], await self.guests.provable_tokens(2))
        self.change(1, disabled=True)
        self.assertEqual([], await self.guests.provable_tokens(1))

    async def test_other_processes_are_told_of_an_end(self) -> None:
        told: list[str] = []
        self.guests.told = lambda: told.append("guests")
        secret = await self.make("smtp")
        token = await self.guests.find_token(secret)
        assert token is not None
        await self.guests.end_token(1, token.id)
        self.assertEqual(["guests"], told)
        self.guests.forget()
        self.assertEqual(["guests"], told)
