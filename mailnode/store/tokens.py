"""Tokens: what programs show to be let in. Their rows, for the node and for commands beside it.

A token is 256 random bits, shown once; the database has its SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Collection

from attrs import field, frozen

from mailnode.errors import AccountError, NotFound

MOST_TOKENS = 100  # of an account
TOKEN_PREFIX = "mailnode_"  # noqa: S105  # what they begin with, for who finds one that was lost
SCOPES = ("read", "send", "manage", "admin")
NAME_CHARACTERS = 80


@frozen
class Token:
    """What a program shows to be let in.

    Attributes:
        key_hash: SHA-256 of the token.
        name: what its owner calls it.
        scopes: some of `SCOPES`, in their order.
        made_at: UTC epoch seconds; `expires_at` and `used_at` likewise, or None.
        used_from: the address that it was last used from.
    """

    id: int
    key_hash: bytes = field(repr=False)
    account_id: int
    name: str
    scopes: tuple[str, ...]
    made_at: float
    expires_at: float | None
    used_at: float | None
    used_from: str | None

    def is_over(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


_TOKEN = (
    "SELECT id, key_hash, account_id, name, scopes, made_at, expires_at, used_at, used_from"  # noqa: S105
    " FROM token"
)


def hash_secret(secret: str) -> bytes:
    """What the database has of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def read_scopes(names: Collection[str]) -> tuple[str, ...]:
    """In their order, each once.

    Raises:
        AccountError: there is no such scope, or none was given.
    """
    for name in names:
        if name not in SCOPES:
            raise AccountError(f"there is no scope {name[:40]!r}: they are {', '.join(SCOPES)}")
    if not names:
        raise AccountError(f"a token needs a scope: {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in names)


def _token_of(row: tuple[object, ...]) -> Token:
    token_id, key_hash, account_id, name, scopes, *rest = row
    return Token(token_id, key_hash, account_id, name, tuple(str(scopes).split()), *rest)  # type: ignore[arg-type]


def insert_token(
    connection: sqlite3.Connection,
    account_id: int,
    name: str,
    scopes: Collection[str],
    made_at: float,
    expires_at: float | None,
) -> tuple[str, Token]:
    """A new token, and what it is kept as.

    Raises:
        AccountError: without a name or scope, or there are too many.
    """
    name = " ".join(name.split())
    if not name or len(name) > NAME_CHARACTERS or not name.isprintable():
        raise AccountError(f"a token needs a name of 1 to {NAME_CHARACTERS} characters")
    chosen = read_scopes(scopes)
    (there,) = connection.execute(
        "SELECT count(*) FROM token WHERE account_id = ?", (account_id,)
    ).fetchone()
    if there >= MOST_TOKENS:
        raise AccountError(f"an account has {MOST_TOKENS} tokens at most; revoke one first")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = connection.execute(
        "INSERT INTO token (key_hash, account_id, name, scopes, made_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (hash_secret(secret), account_id, name, " ".join(chosen), made_at, expires_at),
    ).fetchone()
    return secret, select_token(connection, row[0])


def select_token(connection: sqlite3.Connection, token_id: int) -> Token:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(f"{_TOKEN} WHERE id = ?", (token_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no token {token_id}; see: mailnode token list")
    return _token_of(row)


def select_tokens(connection: sqlite3.Connection, account_id: int | None = None) -> list[Token]:
    """All of them, or those of an account, oldest first."""
    if account_id is None:
        rows = connection.execute(f"{_TOKEN} ORDER BY id").fetchall()
    else:
        rows = connection.execute(
            f"{_TOKEN} WHERE account_id = ? ORDER BY id", (account_id,)
        ).fetchall()
    return list(map(_token_of, rows))


def delete_token(
    connection: sqlite3.Connection, token_id: int, account_id: int | None = None
) -> Token:
    """It lets nobody in any more.

    Args:
        account_id: whose it must be.

    Raises:
        NotFound: there is none.
    """
    token = select_token(connection, token_id)
    if account_id is not None and token.account_id != account_id:
        raise NotFound(f"There is no token {token_id}; see: mailnode token list")
    connection.execute("DELETE FROM token WHERE id = ?", (token_id,))
    return token


def find_token(connection: sqlite3.Connection, key_hash: bytes) -> Token | None:
    """The one that this is the hash of."""
    row = connection.execute(f"{_TOKEN} WHERE key_hash = ?", (key_hash,)).fetchone()
    return None if row is None else _token_of(row)
