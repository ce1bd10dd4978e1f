"""A node's folder whose domains have DKIM keys, and a DNS in a dict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from attrs import evolve, frozen

from mailnode.errors import AlreadyThere, NotFound
from tests.unit.cli_case import CommandCase

# The package has the commands themselves under these names.
DKIM = import_module("mailnode.cli.dkim")
DNS = import_module("mailnode.cli.dns")


@frozen
class Key:
    selector: str
    algorithm: str
    sealed_key: bytes
    public_key: str
    active: bool = True
    created_at: float = 1_795_000_000.0


class FakeShelf:
    """The keys of users.db, in memory."""

    def __init__(self, *domains: str) -> None:
        self.domains: dict[str, list[Key]] = {domain: [] for domain in domains}

    def keys(self, domain: str) -> list[Key]:
        if domain not in self.domains:
            raise NotFound(f"{domain} is no domain here")
        return list(self.domains[domain])

    def add_key(self, domain: str, *facts: Any) -> object:
        added = Key(*facts)
        if any(key.selector == added.selector for key in self.keys(domain)):
            raise AlreadyThere()
        self.domains[domain].append(added)
        return added

    def set_key_active(self, domain: str, selector: str, active: bool) -> None:
        self.domains[domain] = [
            evolve(key, active=active) if key.selector == selector else key
            for key in self.keys(domain)
        ]

    def delete_key(self, domain: str, selector: str) -> None:
        self.domains[domain] = [key for key in self.keys(domain) if key.selector != selector]


class FakeSeal:
    """Sealed is what it is about, a colon, and the plain octets."""

    def seal(self, plain: bytes, about: bytes) -> bytes:
        return about + b":" + plain

    def unseal(self, sealed: bytes, about: bytes) -> bytes:
        assert sealed.startswith(about + b":")
        return sealed.removeprefix(about + b":")


class FakeDns(dict[tuple[str, str], Sequence[str] | None]):
    """(name, kind) to values; None where servers can't tell."""

    def look_up(self, name: str, kind: str) -> tuple[str, ...] | None:
        values = self.get((name, kind), ())
        return None if values is None else tuple(values)


class KeysCase(CommandCase):
    addresses: tuple[str, ...] = ("192.0.2.7",)

    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@example.org")
        self.shelf, self.seal, self.dns = FakeShelf("example.org"), FakeSeal(), FakeDns()
        self.asked: list[str | None] = []
        for module in (DKIM, DNS):
            self.patch(module, "open_keys", self.open_keys)
            self.patch(module, "make_look_up", self.make_look_up)
        self.patch(DKIM, "open_seal", lambda _ctx: self.seal)
        self.patch(DNS, "outward_addresses", lambda: self.addresses)

    @contextlib.contextmanager
    def open_keys(self, _ctx: object, *, change: bool = False) -> Iterator[FakeShelf]:
        yield self.shelf

    def make_look_up(self, _config: object, server: str | None) -> Any:
        self.asked.append(server)
        return self.dns.look_up

    def publish(self, records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            kind = record.get("type", "TXT")
            self.dns[record["name"], kind] = [record["value"]]
