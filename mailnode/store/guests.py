"""Who is let in on the web: sessions of browsers, and tokens of programs.

A secret is 256 random bits; the database has its SHA-256. One counts while its account is there
and enabled, and its sign-in has not changed since: `account.sign_in_changed_at` is read from memory
with each request, so a new password ends what came before it, wherever it was set.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve, field, frozen

from mailnode.store.database import Database
from mailnode.store.tokens import (
    MAIL_SCOPES,
    Token,
    app_password_of,
    delete_token,
    find_token,
    hash_secret,
    insert_token,
    make_secret,
    read_scopes,
    select_counting,
    select_provable,
    select_tokens,
)

if TYPE_CHECKING:
    from mailnode.store.directory import Account

T = TypeVar("T")

Prove = Callable[["Account", str], Awaitable["bytes | None"]]

SINCE_SCHEMA = 4
IDLE_S = 14 * 86400.0
LONGEST_S = 90 * 86400.0
USED_EVERY_S = 60.0
REMEMBER_S = 10.0
MOST_REMEMBERED = 10_000
MOST_SESSIONS = 100  # of an account; the oldest makes room
AGENT_CHARACTERS = 200


@frozen
class Session:
    """A browser that is signed in.

    Attributes:
        key_hash: SHA-256 of what its cookie says.
        made_at, used_at, expires_at: UTC epoch seconds.
        client: the address that it was made from.
        agent: what the browser calls itself.
        csrf: what its unsafe requests must say.
    """

    key_hash: bytes = field(repr=False)
    account_id: int
    made_at: float
    used_at: float
    expires_at: float
    client: str
    agent: str
    csrf: str = field(repr=False)

    def is_over(self, now: float) -> bool:
        return now >= min(self.expires_at, self.used_at + IDLE_S)


_SESSION = (
    "SELECT key_hash, account_id, made_at, used_at, expires_at, client, agent, csrf"
    " FROM web_session"
)


def has_guests(connection: sqlite3.Connection) -> bool:
    """Whether the mail database is of a version that has them."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version) >= SINCE_SCHEMA


def _nobody() -> None:
    """There is one process."""


async def _no_proofs(account: Account, secret: str) -> bytes | None:
    return None


@define(eq=False)
class Guests:
    """Sessions and tokens of a running node.

    Args:
        now: UTC epoch seconds.
        find_account: an account by its id, from memory.

    Attributes:
        on_end: called with whose sessions or tokens were ended, None for anybody's; what is open
            looks whether it still may.
        told: called when a token was ended here, for the other processes of the node.
        prove: makes of an app password what its proofs are judged by.
    """

    _database: Database
    _now: Callable[[], float]
    _find_account: Callable[[int], Account | None]
    on_end: list[Callable[[Collection[int] | None], None]] = field(factory=list, init=False)
    told: Callable[[], object] = field(default=_nobody, init=False)
    prove: Prove = field(default=_no_proofs, init=False)
    _sessions: OrderedDict[bytes, tuple[Session, float]] = field(factory=OrderedDict, init=False)
    _tokens: OrderedDict[bytes, tuple[Token, float]] = field(factory=OrderedDict, init=False)
    _noted: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)
    _ends: int = field(default=0, init=False)

    # Sessions

    async def open_session(self, account: Account, client: str, agent: str) -> tuple[str, Session]:
        """What the cookie is to say, and the session."""
        secret, now = secrets.token_urlsafe(32), self._now()
        made_at = max(now, account.sign_in_changed_at)
        session = Session(
            hash_secret(secret),
            account.id,
            made_at,
            made_at,
            made_at + LONGEST_S,
            client,
            agent[:AGENT_CHARACTERS],
            secrets.token_urlsafe(32),
        )

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM web_session WHERE key_hash IN (SELECT key_hash FROM web_session"
                " WHERE account_id = ? ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
                (account.id, MOST_SESSIONS - 1),
            )
            connection.execute(
                "INSERT INTO web_session VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    session.key_hash,
                    session.account_id,
                    session.made_at,
                    session.used_at,
                    session.expires_at,
                    session.client,
                    session.agent,
                    session.csrf,
                ),
            )

        await self._database.transact("open web session", insert)
        return secret, session

    async def session(self, secret: str) -> Session | None:
        """The session that a cookie stands for, if it still counts; its use is noted."""
        return await self.session_of(hash_secret(secret))

    async def session_of(self, key_hash: bytes) -> Session | None:
        """The same by its hash, which lets nobody in by itself."""
        now = self._now()
        known = self._sessions.get(key_hash)
        if known is not None and 0 <= now - known[1] < REMEMBER_S:
            session = known[0]
        else:
            ends = self._ends
            row = await self._database.read(
                lambda connection: connection.execute(
                    f"{_SESSION} WHERE key_hash = ?", (key_hash,)
                ).fetchone()
            )
            if row is None:
                return None
            session = Session(*row)
            session = evolve(session, used_at=max(session.used_at, self._noted.get(key_hash, 0)))
            if ends == self._ends:
                _remember(self._sessions, key_hash, (session, now))
        if session.is_over(now) or not self._counts(session.account_id, session.made_at):
            return None
        if now - session.used_at >= USED_EVERY_S:
            session = evolve(session, used_at=now)
            if key_hash in self._sessions:
                self._sessions[key_hash] = session, self._sessions[key_hash][1]
            self._note(key_hash, "UPDATE web_session SET used_at = ? WHERE key_hash = ?")
        return session

    async def sessions(self, account_id: int) -> list[Session]:
        """Those of an account that count, last used first."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                f"{_SESSION} WHERE account_id = ? ORDER BY used_at DESC", (account_id,)
            ).fetchall()
        )
        now = self._now()
        return [
            each
            for each in (Session(*row) for row in rows)
            if not each.is_over(now) and self._counts(account_id, each.made_at)
        ]

    async def end_session(self, account_id: int, key_hash: bytes) -> bool:
        """Whether there was one of this account; nobody is signed in by it any more."""
        return bool(
            await self._end(
                "DELETE FROM web_session WHERE account_id = ? AND key_hash = ?",
                account_id,
                key_hash,
            )
        )

    async def end_sessions(self, account_id: int, but: bytes = b"") -> int:
        """All of an account but one; how many."""
        return await self._end(
            "DELETE FROM web_session WHERE account_id = ? AND key_hash <> ?", account_id, but
        )

    # Tokens

    async def make_token(
        self, account_id: int, name: str, scopes: Collection[str], expires_at: float | None
    ) -> tuple[str, Token]:
        """A token, which nobody can be shown again, and what is kept of it.

        Raises:
            AccountError: without a name or scope, or there are too many.
        """
        account = self._find_account(account_id)
        made_at = max(self._now(), account.sign_in_changed_at if account else 0.0)
        secret, proof_keys = make_secret(scopes), None
        if account is not None and any(scope in MAIL_SCOPES for scope in read_scopes(scopes)):
            proof_keys = await self.prove(account, secret)

        def insert(connection: sqlite3.Connection) -> Token:
            return insert_token(
                connection, account_id, name, scopes, made_at, expires_at, secret, proof_keys
            )

        return secret, await self._database.transact("make token", insert)

    async def token(self, secret: str, client: str) -> Token | None:
        """The token that a program shows, if it still counts; its use is noted."""
        token = await self.find_token(app_password_of(secret) or secret)
        if token is not None:
            self.note_token(token, client)
        return token

    async def find_token(self, secret: str) -> Token | None:
        """The token that this is, if it still counts."""
        key_hash, now = hash_secret(secret), self._now()
        known = self._tokens.get(key_hash)
        if known is not None and 0 <= now - known[1] < REMEMBER_S:
            token = known[0]
        else:
            ends = self._ends
            found = await self._database.read(lambda connection: find_token(connection, key_hash))
            if found is None:
                return None
            token = found
            if ends == self._ends:
                _remember(self._tokens, key_hash, (token, now))
        return token if self._token_counts(token, now) else None

    def note_token(self, token: Token, client: str) -> None:
        """Somebody was let in by it."""
        noted = self._noted.get(token.key_hash, 0.0)
        if self._now() - max(token.used_at or 0.0, noted) >= USED_EVERY_S:
            statement = "UPDATE token SET used_at = ?, used_from = ? WHERE key_hash = ?"
            self._note(token.key_hash, statement, client)

    async def counting(self, token_ids: Collection[int]) -> set[int]:
        """Those of these tokens that still let somebody in."""
        found = await self._database.read(lambda connection: select_counting(connection, token_ids))
        now = self._now()
        return {token.id for token in found if self._token_counts(token, now)}

    async def provable_tokens(self, account_id: int) -> list[Token]:
        """App passwords of an account that still let somebody in, with what proves them."""
        found = await self._database.read(
            lambda connection: select_provable(connection, account_id)
        )
        now = self._now()
        return [each for each in found if self._token_counts(each, now)]

    async def tokens(self, account_id: int) -> list[Token]:
        """Those of an account, oldest first."""
        return await self._database.read(lambda connection: select_tokens(connection, account_id))

    async def end_token(self, account_id: int, token_id: int) -> Token:
        """It lets nobody in any more; which one it was.

        Raises:
            NotFound: the account has none of that number.
        """
        gone = await self._database.transact(
            "end token", lambda connection: delete_token(connection, token_id, account_id)
        )
        self.forget((account_id,))
        self.told()
        return gone

    # Ends

    async def end_all_of(self, account_ids: Collection[int]) -> None:
        """The sign-in of these accounts has changed: what was made before is gone."""
        stale = []
        for account_id in account_ids:
            account = self._find_account(account_id)
            gone = account is None or account.disabled
            before = float("inf") if account is None or gone else account.sign_in_changed_at
            stale.append((account_id, before))

        def delete(connection: sqlite3.Connection) -> None:
            for table in ("web_session", "token"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE account_id = ? AND made_at < ?", stale
                )

        self.forget(account_ids)
        await self._database.transact("end guests", delete, frees=True)

    async def sweep(self) -> None:
        """What is over takes no room."""
        now = self._now()

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM web_session WHERE expires_at <= ? OR used_at <= ?", (now, now - IDLE_S)
            )
            connection.execute("DELETE FROM token WHERE expires_at <= ?", (now - IDLE_S,))

        await self._database.transact("sweep guests", delete, frees=True)

    def forget(self, account_ids: Collection[int] | None = None) -> None:
        """Nothing is remembered: something was ended, of these accounts, or nobody says of whom."""
        self._ends += 1
        self._sessions.clear()
        self._tokens.clear()
        for listener in self.on_end:
            listener(account_ids)

    async def _end(self, statement: str, account_id: int, key_hash: bytes) -> int:
        count = await self._database.transact(
            "end web session",
            lambda connection: connection.execute(statement, (account_id, key_hash)).rowcount,
        )
        self.forget((account_id,))
        return count

    def _token_counts(self, token: Token, now: float) -> bool:
        return not token.is_over(now) and self._counts(token.account_id, token.made_at)

    def _counts(self, account_id: int, made_at: float) -> bool:
        account = self._find_account(account_id)
        return (
            account is not None and not account.disabled and made_at >= account.sign_in_changed_at
        )

    def _note(self, key_hash: bytes, statement: str, *more: object) -> None:
        """A use is written with the next batch; that it was is all the same to who waits."""
        now = self._now()
        _remember(self._noted, key_hash, now)
        written = self._database.transact(
            "note use",
            lambda connection: connection.execute(statement, (now, *more, key_hash)).close(),
        )
        written.addErrback(lambda _failure: None)  # a full disk: the log has it already


def _remember(known: OrderedDict[bytes, T], key: bytes, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST_REMEMBERED:
        known.popitem(last=False)
