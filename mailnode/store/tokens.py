"""Tokens: what programs show to be let in. Their rows, for the node and for commands beside it.

A token is 256 random bits, shown once; the database has its SHA-256. One that mail programs show
in place of a password is typed by people, so it is an *app password*: 100 random bits in five
groups of four letters and digits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
from collections.abc import Collection

from attrs import field, frozen

from mailnode.errors import AccountError, NotFound
from mailnode.store.sqlite import padded

MOST_TOKENS = 100  # of an account
TOKEN_PREFIX = "mailnode_"  # noqa: S105  # what they begin with, for who finds one that was lost
SCOPES = ("read", "send", "manage", "admin", "smtp", "pop3")
MAIL_SCOPES = ("smtp", "pop3")  # what mail programs do with it
NAME_CHARACTERS = 80
APP_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32, and none looks like another
APP_GROUPS, APP_GROUP = 5, 4
_APP_PASSWORD = re.compile(f"[{APP_LETTERS}]{{{APP_GROUPS * APP_GROUP}}}")


@frozen
class Token:
    """What a program shows to be let in.

    Attributes:
        key_hash: SHA-256 of the token.
        name: what its owner calls it.
        scopes: some of `SCOPES`, in their order.
        made_at: UTC epoch seconds; `expires_at` and `used_at` likewise, or None.
        used_from: the address that it was last used from.
        proof_keys: of an app password: what its proofs are judged by (`cred.app_passwords`); None
            where they were not asked for.
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
    proof_keys: bytes | None = field(default=None, repr=False)

    @property
    def is_app_password(self) -> bool:
        """Whether mail programs show it."""
        return _are_of_mail(self.scopes)

    @property
    def called(self) -> str:
        """For people."""
        return _called(self.scopes)

    def is_over(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


_TOKEN = (
    "SELECT id, key_hash, account_id, name, scopes, made_at, expires_at, used_at, used_from"  # noqa: S105
    " FROM token"
)


def _are_of_mail(scopes: Collection[str]) -> bool:
    return any(scope in MAIL_SCOPES for scope in scopes)


def _called(scopes: Collection[str]) -> str:
    return "app password" if _are_of_mail(scopes) else "token"


def hash_secret(secret: str) -> bytes:
    """What the database has of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def make_secret(scopes: Collection[str]) -> str:
    """What is shown once of a token: an app password, where a mail program is to show it."""
    if not _are_of_mail(scopes):
        return TOKEN_PREFIX + secrets.token_urlsafe(32)
    letters = [secrets.choice(APP_LETTERS) for _ in range(APP_GROUPS * APP_GROUP)]
    return _grouped("".join(letters))


def app_password_of(typed: str) -> str | None:
    """What was typed as an app password is spelled, with or without what parts its groups.

    None for what can be none. Some passwords that people chose look like one.
    """
    if len(typed) > 2 * APP_GROUPS * APP_GROUP:
        return None
    plain = typed.replace("-", "").replace(" ", "").lower()
    if _APP_PASSWORD.fullmatch(plain) is None:
        return None
    return _grouped(plain)


def _grouped(plain: str) -> str:
    return "-".join(plain[at : at + APP_GROUP] for at in range(0, len(plain), APP_GROUP))


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
    secret: str,
    proof_keys: bytes | None = None,
) -> Token:
    """A new token, as it is kept.

    Args:
        secret: what `make_secret` made for these scopes.

    Raises:
        AccountError: without a name or scope, or there are too many.
    """
    name = " ".join(name.split())
    if not name or len(name) > NAME_CHARACTERS or not name.isprintable():
        what = "an app password" if _are_of_mail(scopes) else "a token"
        raise AccountError(f"{what} needs a name of 1 to {NAME_CHARACTERS} characters")
    chosen = read_scopes(scopes)
    (there,) = connection.execute(
        "SELECT count(*) FROM token WHERE account_id = ?", (account_id,)
    ).fetchone()
    if there >= MOST_TOKENS:
        raise AccountError(
            f"an account has {MOST_TOKENS} tokens and app passwords at most; revoke one"
        )
    values = hash_secret(secret), account_id, name, " ".join(chosen), made_at, expires_at
    row = connection.execute(
        "INSERT INTO token (key_hash, account_id, name, scopes, made_at, expires_at, proof_keys)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (*values, proof_keys),
    ).fetchone()
    return select_token(connection, row[0])


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


def select_provable(connection: sqlite3.Connection, account_id: int) -> list[Token]:
    """Those of an account that can be proved."""
    select = _TOKEN.replace(" FROM", ", proof_keys FROM")
    where = "account_id = ? AND proof_keys IS NOT NULL"
    return list(map(_token_of, connection.execute(f"{select} WHERE {where}", (account_id,))))


def select_counting(connection: sqlite3.Connection, token_ids: Collection[int]) -> list[Token]:
    """Those of them that there still are."""
    marks, values = padded(list(token_ids))
    return list(map(_token_of, connection.execute(f"{_TOKEN} WHERE id IN ({marks})", values)))


def find_token(connection: sqlite3.Connection, key_hash: bytes) -> Token | None:
    """The one that this is the hash of."""
    row = connection.execute(f"{_TOKEN} WHERE key_hash = ?", (key_hash,)).fetchone()
    return None if row is None else _token_of(row)
