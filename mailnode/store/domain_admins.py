"""Who looks after which domain's accounts, as users.db keeps it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping

from attrs import define

from mailnode.audited import Auditor
from mailnode.errors import AlreadyThere, NotFound
from mailnode.store.people import Account
from mailnode.store.users_file import UsersFile, find_domain

_ALL = """
SELECT account_id, name FROM domain_admin JOIN domain ON domain.id = domain_id
"""
Find = Callable[[sqlite3.Connection, str], Account]


@define(eq=False)
class DomainAdmins:
    """The rows.

    Args:
        find: the account of a name; raises NotFound.
    """

    file: UsersFile
    auditor: Auditor
    _find: Find

    def add(self, name: str, domain: str) -> Account:
        """The account looks after the domain from now on.

        Raises:
            AlreadyThere: it did.
            NotFound: there is no such account, or domain.
        """
        with self.file.change() as sql:
            account, domain_id = self._find(sql, name), find_domain(sql, domain)
            added = sql.execute(
                "INSERT INTO domain_admin (account_id, domain_id, created_at) VALUES (?, ?, ?)"
                " ON CONFLICT (account_id, domain_id) DO NOTHING",
                (account.id, domain_id, time.time()),
            ).rowcount
            if not added:
                raise AlreadyThere(f"{account.address} looks after {domain} already")
            account = self._find(sql, name)
        self.auditor.tell("domain-admin-added", str(account.address), domain=domain)
        return account

    def remove(self, name: str, domain: str) -> Account:
        """It does so no more.

        Raises:
            NotFound: it did not; or there is no such account, or domain.
        """
        with self.file.change() as sql:
            account, domain_id = self._find(sql, name), find_domain(sql, domain)
            removed = sql.execute(
                "DELETE FROM domain_admin WHERE account_id = ? AND domain_id = ?",
                (account.id, domain_id),
            ).rowcount
            if not removed:
                raise NotFound(f"{account.address} does not look after {domain}")
            account = self._find(sql, name)
        self.auditor.tell("domain-admin-removed", str(account.address), domain=domain)
        return account


def read_domain_admins(
    sql: sqlite3.Connection, account_id: int | None = None
) -> Mapping[int, tuple[str, ...]]:
    """The domains that each account looks after, by its id; of all, or of one."""
    found: dict[int, tuple[str, ...]] = {}
    where, values = ("", ()) if account_id is None else (" WHERE account_id = ?", (account_id,))
    for whose, name in sql.execute(f"{_ALL}{where} ORDER BY domain.id", values):
        found[whose] = (*found.get(whose, ()), name)
    return found
