"""A node's folder whose domains have DKIM keys, and a DNS in a dict."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mailnode.store.accounts import Accounts
from mailnode.store.elsewhere import SigningKey
from tests.unit.cli_case import CommandCase

# The package has the commands themselves under these names.
DKIM = import_module("mailnode.cli.dkim")
DNS = import_module("mailnode.cli.dns")


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
        self.dns = FakeDns()
        self.asked: list[str | None] = []
        for module in (DKIM, DNS):
            self.patch(module, "make_look_up", self.make_look_up)
        self.patch(DNS, "outward_addresses", lambda: self.addresses)

    def kept(self) -> list[SigningKey]:
        accounts = Accounts.open("users.db")
        try:
            return accounts.outside.keys("example.org")
        finally:
            accounts.close()

    def make_look_up(self, _config: object, server: str | None) -> Any:
        self.asked.append(server)
        return self.dns.look_up

    def publish(self, records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            kind = record.get("type", "TXT")
            self.dns[record["name"], kind] = [record["value"]]
