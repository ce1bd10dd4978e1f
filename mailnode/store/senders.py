"""Whom accounts and domains allow and block, as users.db keeps it: rows of its settings."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from attrs import define

from mailnode.addresses import parse_address, parse_domain
from mailnode.audited import UNTOLD, Auditor
from mailnode.errors import AccountError, BadAddress, NotFound
from mailnode.store.elsewhere import bad_row
from mailnode.store.sender_rules import ALLOW, BLOCK, SenderRule, SenderRules
from mailnode.store.users_file import UsersFile, find_domain, one

MOST_RULES = 2_000  # of one owner

_OF_ACCOUNT, _OF_DOMAIN = "senders-account-", "senders-domain-"  # with an id: names of settings
_SET = "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def read_pattern(text: str) -> str:
    """An address or a domain, as rules are kept; `*@example.net` and `@example.net` are domains.

    Raises:
        BadAddress
    """
    text = text.removeprefix("*").strip("@") if text.startswith("*@") else text.strip("@")
    return parse_address(text).key if "@" in text else parse_domain(text)


def read_new_pattern(text: str) -> str:
    """The same of a rule to be made, of somebody whom there can be.

    Raises:
        BadAddress: as for a domain of a single word: it would never fit.
    """
    pattern = read_pattern(text)
    domain = pattern.rpartition("@")[2]
    if "." not in domain and ":" not in domain:
        raise BadAddress(f"{domain!r} is no whole domain, such as {domain}.com")
    if "*" in pattern:
        raise BadAddress("a * stands for all of a domain, as in *@example.net, and nothing else")
    return pattern


@define(eq=False)
class Senders:
    """The rules in users.db."""

    file: UsersFile
    auditor: Auditor = UNTOLD

    def set(self, owner: str, sender: str, verdict: str) -> SenderRule:
        """From now on that is the owner's verdict on the sender; one before it counts no more.

        Args:
            owner: an account's address, or a domain of ours.

        Raises:
            NotFound: nobody here is called so.
            AccountError: the owner has too many rules.
            BadAddress: the sender is neither an address nor a domain.
        """
        pattern = read_new_pattern(sender)
        with self.file.change() as sql:
            name, whose = _owner(sql, owner)
            rules = _read(sql, name, whose)
            if pattern not in rules and len(rules) >= MOST_RULES:
                raise AccountError(f"{whose} has {MOST_RULES:,} rules already; remove some first")
            rules[pattern] = made = SenderRule(whose, pattern, verdict)
            _write(sql, name, rules)
        self.auditor.tell("sender-rule-set", whose, sender=pattern, verdict=verdict)
        return made

    def remove(self, owner: str, sender: str) -> None:
        """Raises NotFound: the owner has no rule for exactly that address or domain."""
        pattern = read_pattern(sender)
        with self.file.change() as sql:
            name, whose = _owner(sql, owner)
            rules = _read(sql, name, whose)
            if rules.pop(pattern, None) is None:
                raise NotFound(f"{whose} has no rule for {pattern}; see: mailnode sender list")
            _write(sql, name, rules)
        self.auditor.tell("sender-rule-removed", whose, sender=pattern)

    def rules(self, owner: str | None = None) -> list[SenderRule]:
        """All, or those of one owner, by owner and pattern."""
        with self.file.look() as sql:
            if owner is not None:
                found = list(_read(sql, *_owner(sql, owner)).values())
            else:
                found = [
                    rule
                    for name, whose, _key in _owners(sql)
                    for rule in _read(sql, name, whose).values()
                ]
        return sorted(found, key=lambda rule: (rule.owner, rule.pattern))


def read_senders(sql: sqlite3.Connection) -> SenderRules:
    """All of them as the transaction sees it.

    Raises:
        StoreBroken: a row that none of our commands writes; the text names it.
    """
    of_account: dict[int, Mapping[str, SenderRule]] = {}
    of_domain: dict[str, Mapping[str, SenderRule]] = {}
    for name, whose, number in _owners(sql):
        rules = _read(sql, name, whose)
        if name.startswith(_OF_ACCOUNT):
            of_account[number] = rules
        else:
            of_domain[whose] = rules
    return SenderRules(of_account, of_domain)


def forget_account(sql: sqlite3.Connection, account_id: int) -> None:
    """Its rules are gone with it."""
    sql.execute("DELETE FROM setting WHERE name = ?", (f"{_OF_ACCOUNT}{account_id}",))


def forget_domain(sql: sqlite3.Connection, domain_id: int) -> None:
    """Its rules are gone with it."""
    sql.execute("DELETE FROM setting WHERE name = ?", (f"{_OF_DOMAIN}{domain_id}",))


_OWNERS = f"""
SELECT setting.name, account.local || '@' || domain.name, account.id
  FROM setting JOIN account ON setting.name = '{_OF_ACCOUNT}' || account.id
  JOIN domain ON domain.id = account.domain_id
UNION ALL
SELECT setting.name, domain.name, domain.id
  FROM setting JOIN domain ON setting.name = '{_OF_DOMAIN}' || domain.id
"""


def _owners(sql: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """(name of the setting, whose rules they are, id) of those who have any."""
    return sql.execute(_OWNERS).fetchall()


def _owner(sql: sqlite3.Connection, owner: str) -> tuple[str, str]:
    """The name of the setting, and whose it is."""
    if "@" not in owner:
        return f"{_OF_DOMAIN}{find_domain(sql, owner)}", parse_domain(owner)
    address = parse_address(owner)
    row = one(sql, "SELECT id FROM account WHERE key = ?", address.key)
    if row is None:
        raise NotFound(f"there is no account {owner}; see: mailnode user list")
    return f"{_OF_ACCOUNT}{row[0]}", str(address)


def _read(sql: sqlite3.Connection, name: str, whose: str) -> dict[str, SenderRule]:
    row = one(sql, "SELECT value FROM setting WHERE name = ?", name)
    rules: dict[str, SenderRule] = {}
    for line in str(row[0]).split("\n") if row else ():
        verdict, _, sender = line.partition(" ")
        try:
            pattern = read_pattern(sender)
        except BadAddress as error:
            raise bad_row("setting", f"name = '{name}'", repr(line), error.text) from None
        if verdict not in (ALLOW, BLOCK):
            why = f"a sender is {ALLOW}ed or {BLOCK}ed"
            raise bad_row("setting", f"name = '{name}'", repr(line), why)
        rules[pattern] = SenderRule(whose, pattern, verdict)
    return rules


def _write(sql: sqlite3.Connection, name: str, rules: Mapping[str, SenderRule]) -> None:
    if not rules:
        sql.execute("DELETE FROM setting WHERE name = ?", (name,))
        return
    lines = [f"{rule.verdict} {rule.pattern}" for rule in rules.values()]
    sql.execute(_SET, (name, "\n".join(lines)))
