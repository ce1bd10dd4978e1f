"""Where `dkim` and `dns` find the keys that sign: users.db, and the seal that they lie under."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import click

from mailnode.cli.frame import config_of
from mailnode.cli.node import open_accounts
from mailnode.cli.records import PublicKey


class KeptKey(PublicKey, Protocol):
    """A row of users.db's keys."""

    @property
    def active(self) -> bool: ...

    @property
    def created_at(self) -> float: ...


class KeyShelf(Protocol):
    """The keys in users.db; every call with a domain raises NotFound when it is not ours."""

    def keys(self, domain: str) -> Sequence[KeptKey]:
        """All of a domain's keys, oldest first."""

    def add_key(
        self,
        domain: str,
        selector: str,
        algorithm: str,
        sealed_key: bytes,
        public_key: str,
    ) -> object:
        """The key is there, and active."""

    def set_key_active(self, domain: str, selector: str, active: bool) -> None: ...

    def delete_key(self, domain: str, selector: str) -> None: ...


class Sealer(Protocol):
    def seal(self, plain: bytes, about: bytes) -> bytes: ...


@contextlib.contextmanager
def open_keys(ctx: click.Context, *, change: bool = False) -> Iterator[KeyShelf]:
    """The node's keys; after a `change` that went well its bell is rung."""
    with open_accounts(ctx, change=change) as accounts:
        yield accounts.outside  # type: ignore[attr-defined]


def open_seal(ctx: click.Context) -> Sealer:
    """The data folder's seal, made at first use."""
    from mailnode.sealing import Seal  # type: ignore[import-not-found]

    seal: Sealer = Seal.open(config_of(ctx).data_path)
    return seal
