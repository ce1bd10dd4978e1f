"""users.db: the domains, accounts and aliases that an administrator keeps.

Calls are plain and take milliseconds: the command line makes them as they stand, a node
makes them in a thread. An object may be shared between threads.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mailnode.addresses import Address, fold_local, parse_address, parse_domain
from mailnode.audited import UNTOLD, Actor, Auditor
from mailnode.errors import AccountError, AlreadyThere, BadAddress, NotFound
from mailnode.store.directory import CATCH_ALL, Directory
from mailnode.store.domain_admins import DomainAdmins, read_domain_admins
from mailnode.store.factors import FactorRows, read_factors
from mailnode.store.outside import Outside, read_elsewhere
from mailnode.store.people import Account, Alias, Domain
from mailnode.store.senders import Senders, forget_account, forget_domain, read_senders
from mailnode.store.sign_in import SignInRows, hash_of, keep_keys, read_keys, remember_former
from mailnode.store.users_file import UsersFile, find_domain, one

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword

__all__ = ["Account", "Accounts", "Alias", "Directory", "Domain"]

_SUBADDRESS = "+"
NOBODY: Mapping[int, tuple[str, ...]] = {}

_ACCOUNT = """
SELECT account.id, account.local, domain.name, account.key, account.password_hash,
       account.disabled, account.demo, account.quota_octets, account.quota_mails,
       account.created_at, account.changed_at, account.admin, account.sign_in_changed_at,
       account.junk, account.tag_subject, account.password_changed_at
  FROM account JOIN domain ON domain.id = account.domain_id
"""

_ALIAS = """
SELECT alias.id, alias.local, domain.name, alias.target
  FROM alias JOIN domain ON domain.id = alias.domain_id
"""


@define(eq=False)
class Accounts:
    """The file of accounts, open.

    Attributes:
        outside: what the same file says of mail for other hosts.
        senders: whom accounts and domains allow and block.
        sign_in: what it keeps of sign-ins beside the hash.
        factors: what an account shows beside its password.
        domain_admins: who looks after a domain.
        auditor: is told of every change.
    """

    file: UsersFile
    auditor: Auditor = UNTOLD
    outside: Outside = field(init=False)
    senders: Senders = field(init=False)
    sign_in: SignInRows = field(init=False)
    factors: FactorRows = field(init=False)
    domain_admins: DomainAdmins = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sign_in, self.factors = SignInRows(self.file), FactorRows(self.file)
        self.outside = Outside(self.file, self.auditor)
        self.senders = Senders(self.file, self.auditor)
        self.domain_admins = DomainAdmins(self.file, self.auditor, _find)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = False,
        data: Path | None = None,
        auditor: Auditor = UNTOLD,
    ) -> Accounts:
        """Open users.db and bring its schema up to date.

        Args:
            create: make the file, 0600, when there is none.
            data: the data folder, where a copy is kept before an upgrade; its own, without one.

        Raises:
            NotFound: there is no such file, and none is to be made.
            NoFolder: there is none to make it in.
            StoreTooNew: a newer version of mailnode wrote it.
            StoreBroken: it can't be read, or isn't a users.db.
        """
        return cls(UsersFile.open(path, create=create, data=data), auditor)

    def by(self, actor: Actor) -> Accounts:
        """The same file, for what `actor` changes."""
        return Accounts(self.file, self.auditor.of(actor))

    @property
    def path(self) -> Path:
        return self.file.path

    def close(self) -> None:
        self.file.close()

    def data_version(self) -> int:
        """As `UsersFile.data_version`."""
        return self.file.data_version()

    # Domains

    def add_domain(self, name: str) -> Domain:
        """Mail to this domain is taken from now on."""
        name = parse_domain(name)
        with self.file.change() as sql:
            if one(sql, "SELECT id FROM domain WHERE name = ?", name):
                raise AlreadyThere(f"{name} is a domain here already")
            row = one(
                sql,
                "INSERT INTO domain (name, created_at) VALUES (?, ?) RETURNING id, created_at",
                name,
                time.time(),
            )
        self.auditor.tell("domain-added", domain=name)
        return Domain(row[0], name, row[1])

    def domains(self) -> list[Domain]:
        """All of them, the first one first."""
        with self.file.look() as sql:
            return _domains(sql)

    def delete_domain(self, name: str) -> None:
        """Mail to this domain is refused from now on; its signing keys are gone.

        Raises:
            AccountError: accounts or aliases remain in it.
        """
        with self.file.change() as sql:
            domain_id = find_domain(sql, name)
            for what, table in (("accounts", "account"), ("aliases", "alias")):
                query = f"SELECT count(*) FROM {table} WHERE domain_id = ?"
                if count := one(sql, query, domain_id)[0]:
                    raise AccountError(f"{name} still has {what} ({count}); delete them first")
            sql.execute("DELETE FROM domain WHERE id = ?", (domain_id,))
            forget_domain(sql, domain_id)
        self.auditor.tell("domain-deleted", domain=parse_domain(name))

    # Accounts

    def add_account(
        self,
        address: Address,
        password: StoredPassword | str,
        *,
        demo: bool = False,
        quota_octets: int | None = None,
        quota_mails: int | None = None,
        admin: bool = False,
    ) -> Account:
        """A mailbox and sign-in for `address`, in a domain that is ours.

        Args:
            password: or a hash alone (`store.sign_in`).

        Raises:
            AlreadyThere: an account or alias has that address.
            NotFound: the domain isn't ours.
        """
        if address.local == CATCH_ALL:
            raise AccountError("* stands for the catch-all alias and can't be an account")
        key, now = address.key, time.time()
        with self.file.change() as sql:
            domain_id = find_domain(sql, address.domain)
            _refuse_taken(sql, key, str(address), accounts=True, aliases=True)
            whose = (domain_id, address.local, key, hash_of(password), demo)
            sql.execute(
                "INSERT INTO account (domain_id, local, key, password_hash, demo, quota_octets,"
                " quota_mails, created_at, changed_at, admin, sign_in_changed_at,"
                " password_changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*whose, quota_octets, quota_mails, now, now, admin, now, now),
            )
            added = _account(one(sql, f"{_ACCOUNT} WHERE account.key = ?", key))
            keep_keys(sql, added.id, password, is_published=demo)
        self.auditor.tell("account-added", str(added.address), admin=admin, demo=demo)
        return added

    def accounts(self, domain: str | None = None) -> list[Account]:
        """All of them, or those of one domain, oldest first."""
        with self.file.look() as sql:
            if domain is None:
                return _accounts(sql)
            domain_id = find_domain(sql, domain)
            query = f"{_ACCOUNT} WHERE account.domain_id = ? ORDER BY account.id"
            looks_after = read_domain_admins(sql)
            return [_account(row, looks_after) for row in sql.execute(query, (domain_id,))]

    def account(self, name: str) -> Account:
        """The account with this full address, or this local part in the first domain.

        Raises:
            NotFound: there is none; the text names the mend.
        """
        with self.file.look() as sql:
            return _find(sql, name)

    def set_password(self, name: str, password: StoredPassword | str) -> None:
        """A demo account is one no more: its password isn't published.

        Args:
            password: or a hash alone (`store.sign_in`).
        """
        now = time.time()
        columns = "password_hash = ?, demo = 0, sign_in_changed_at = ?, password_changed_at = ?"
        with self.file.change() as sql:
            account = _find(sql, name)
            remember_former(sql, account, now)
            _set(sql, account, columns, hash_of(password), now, now)
            keep_keys(sql, account.id, password, is_published=False)
        self.auditor.tell("password-changed", str(account.address))

    def set_disabled(self, name: str, disabled: bool) -> None:
        """A disabled account takes no mail and signs in nowhere; its mail stays."""
        columns = "disabled = ?, sign_in_changed_at = ?"
        self._set(name, columns, disabled, time.time(), disabled=disabled)

    def set_admin(self, name: str, admin: bool) -> None:
        """An administrator looks after the node, on the web too."""
        self._set(name, "admin = ?", admin, admin=admin)

    def set_junk(self, name: str, folder: str, tagged: bool = False) -> None:
        """Where its unwanted mail lies: in Junk, or marked in the INBOX.

        Args:
            tagged: POP3 serves it under a Subject that begins with the tag.
        """
        self._set(name, "junk = ?, tag_subject = ?", folder, tagged, junk=folder, tagged=tagged)

    def set_quota(self, name: str, *, octets: int | None, mails: int | None) -> None:
        """None is the node's default, 0 no limit."""
        columns = "quota_octets = ?, quota_mails = ?"
        self._set(name, columns, octets, mails, quota_octets=octets, quota_mails=mails)

    def _set(self, name: str, columns: str, *values: object, **told: object) -> None:
        with self.file.change() as sql:
            account = _find(sql, name)
            _set(sql, account, columns, *values)
        self.auditor.tell("account-changed", str(account.address), **told)

    def delete_account(self, name: str, *, force: bool = False) -> None:
        """The account is gone, its outside addresses with it; its id is never used again.

        Args:
            force: aliases that lead to it go too.

        Raises:
            AccountError: aliases lead to it; the text names them.
        """
        with self.file.change() as sql:
            account = _find(sql, name)
            leading = _leading_to(sql, account)
            if leading and not force:
                names = ", ".join(alias.source for alias in leading)
                raise AccountError(f"aliases lead to {account.address}: {names}; delete them first")
            sql.executemany("DELETE FROM alias WHERE id = ?", [(alias.id,) for alias in leading])
            sql.execute("DELETE FROM account WHERE id = ?", (account.id,))
            forget_account(sql, account.id)
        gone = [alias.source for alias in leading] or None
        self.auditor.tell("account-deleted", str(account.address), aliases=gone)

    # Aliases

    def add_alias(self, source: str, target: str) -> Alias:
        """Mail to `source` goes to `target`, beside the targets that it has already.

        Args:
            source: "local@domain" in a domain that is ours, or "*@domain".
            target: the address of an account or of another alias here, or one elsewhere, to
                which the mail is forwarded.

        Raises:
            AlreadyThere: an account has the source's address, or that alias exists.
            AccountError: the target is unknown or the source itself.
        """
        (added,) = self.add_aliases(source, [target])
        return added

    def add_aliases(self, source: str, targets: Sequence[str]) -> list[Alias]:
        """`add_alias` for each target, or for none where one can't be."""
        where = parse_address(source)
        with self.file.change() as sql:
            domain_id = find_domain(sql, where.domain)
            _refuse_taken(sql, where.key, str(where), accounts=True, aliases=False)
            added = [_add_alias(sql, domain_id, where, each) for each in targets]
        for each in added:
            self.auditor.tell("alias-added", alias=each.source, target=each.target)
        return added

    def aliases(self, domain: str | None = None) -> list[Alias]:
        """All of them, or those of one domain, oldest first."""
        with self.file.look() as sql:
            if domain is None:
                return _aliases(sql)
            find_domain(sql, domain)
            name = parse_domain(domain)
            return [alias for alias in _aliases(sql) if parse_address(alias.source).domain == name]

    def leading_to(self, name: str) -> list[Alias]:
        """Those that lead to an account, or to a subaddress of it: they go with it."""
        with self.file.look() as sql:
            return _leading_to(sql, _find(sql, name))

    def delete_alias(self, source: str, target: str | None = None) -> None:
        """`source` leads to `target` no more, or without one, nowhere."""
        where = parse_address(source)
        query, values = "DELETE FROM alias WHERE key = ?", [where.key]
        if target is not None:
            query += " AND target = ?"
            values.append(str(_folded(parse_address(target))))
        with self.file.change() as sql:
            if not sql.execute(query, values).rowcount:
                leads = f" to {target}" if target is not None else ""
                raise NotFound(f"there is no alias {source}{leads}; see: mailnode alias list")
        self.auditor.tell("alias-deleted", alias=str(where), target=target)

    # What a node reads

    def load_directory(self, subaddress: str = "+") -> Directory:
        """All of it as it stands at this moment."""
        with self.file.look() as sql:
            elsewhere = read_elsewhere(sql, read_senders(sql))
            people = _domains(sql), _accounts(sql), _aliases(sql)
            return Directory.of(*people, subaddress, elsewhere, read_keys(sql), read_factors(sql))


def _domains(sql: sqlite3.Connection) -> list[Domain]:
    return [
        Domain(*row) for row in sql.execute("SELECT id, name, created_at FROM domain ORDER BY id")
    ]


def _accounts(sql: sqlite3.Connection) -> list[Account]:
    looks_after = read_domain_admins(sql)
    query = f"{_ACCOUNT} ORDER BY account.id"
    return [_account(row, looks_after) for row in sql.execute(query)]


def _account(row: tuple[Any, ...], looks_after: Mapping[int, tuple[str, ...]] = NOBODY) -> Account:
    account_id, local, domain, key, password_hash, disabled, demo, *rest = row
    whose = (account_id, Address(local, domain), key, password_hash, bool(disabled), bool(demo))
    octets, mails, created_at, changed_at, admin, since, junk, tag_subject, chosen_at = rest
    facts = (octets, mails, created_at, changed_at, bool(admin), since)
    domains = looks_after.get(account_id, ())
    return Account(*whose, *facts, junk, bool(tag_subject), chosen_at, domains)


def _set(sql: sqlite3.Connection, account: Account, columns: str, *values: object) -> None:
    sql.execute(
        f"UPDATE account SET {columns}, changed_at = ? WHERE id = ?",
        (*values, time.time(), account.id),
    )


def _aliases(sql: sqlite3.Connection) -> list[Alias]:
    return [
        Alias(alias_id, str(Address(local, domain)), target)
        for alias_id, local, domain, target in sql.execute(f"{_ALIAS} ORDER BY alias.id")
    ]


def _find(sql: sqlite3.Connection, name: str) -> Account:
    full = name
    if "@" not in name:
        first = one(sql, "SELECT name FROM domain ORDER BY id LIMIT 1")
        if first is None:
            raise NotFound("there is no domain yet; add one with: mailnode domain add DOMAIN")
        full = f"{name}@{first[0]}"
    with suppress(BadAddress):
        if row := one(sql, f"{_ACCOUNT} WHERE account.key = ?", parse_address(full).key):
            return _account(row, read_domain_admins(sql, row[0]))
    raise NotFound(f"there is no account {full}; see: mailnode user list")


def _refuse_taken(
    sql: sqlite3.Connection, key: str, name: str, *, accounts: bool, aliases: bool
) -> None:
    if accounts and one(sql, "SELECT 1 FROM account WHERE key = ?", key):
        raise AlreadyThere(f"{name} is an account here already")
    if aliases and one(sql, "SELECT 1 FROM alias WHERE key = ?", key):
        raise AlreadyThere(f"{name} is an alias here already; delete that first")


def _check_target(sql: sqlite3.Connection, source: Address, target: Address) -> None:
    if not one(sql, "SELECT 1 FROM domain WHERE name = ?", target.domain):
        return
    if source.key in (target.key, _base(str(target))):
        raise AccountError(f"{source} would lead to itself")
    for key in (target.key, _base(str(target))):
        for table in ("account", "alias"):
            if one(sql, f"SELECT 1 FROM {table} WHERE key = ?", key):
                return
    raise NotFound(f"{target} is no account or alias; add it with: mailnode user add {target}")


def _add_alias(sql: sqlite3.Connection, domain_id: int, where: Address, target: str) -> Alias:
    whither = _folded(parse_address(target))
    _check_target(sql, where, whither)
    if one(sql, "SELECT 1 FROM alias WHERE key = ? AND target = ?", where.key, str(whither)):
        raise AlreadyThere(f"{where} leads to {whither} already")
    values = domain_id, where.local, where.key, str(whither), time.time()
    row = one(
        sql,
        "INSERT INTO alias (domain_id, local, key, target, created_at)"
        " VALUES (?, ?, ?, ?, ?) RETURNING id",
        *values,
    )
    return Alias(row[0], str(where), str(whither))


def _folded(address: Address) -> Address:
    """As targets are kept, so that one target has one spelling."""
    return address.with_local(fold_local(address.local))


def _leading_to(sql: sqlite3.Connection, account: Account) -> list[Alias]:
    return [alias for alias in _aliases(sql) if _leads(sql, alias.target) == account.key]


def _leads(sql: sqlite3.Connection, target: str) -> str:
    """The key of the account or alias that takes what goes to a target."""
    key = parse_address(target).key
    query = "SELECT key FROM account WHERE key = ? UNION SELECT key FROM alias WHERE key = ?"
    return key if one(sql, query, key, key) else _base(target)


def _base(target: str) -> str:
    """The key of the mailbox that a target means, its subaddress cut off."""
    address = parse_address(target)
    base = address.local.partition(_SUBADDRESS)[0]
    return address.with_local(base or address.local).key
