"""users.db of mail for other hosts: routes, outside addresses, keys that sign, and the gear."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

from attrs import define, evolve

from mailnode.addresses import Address, parse_address, parse_domain
from mailnode.audited import UNTOLD, Auditor
from mailnode.errors import AccountError, AlreadyThere, BadAddress, BadRoute, NotFound
from mailnode.routes import GEARS, Gear, Route, SendAs, checked, read_pattern
from mailnode.store.elsewhere import ALGORITHMS, Elsewhere, SigningKey, bad_row
from mailnode.store.sender_rules import NO_RULES, SenderRules
from mailnode.store.users_file import UsersFile, find_domain, one

_ROUTE = """
SELECT id, pattern, kind, host, port, user, password_file, tls FROM route ORDER BY id
"""

_SEND_AS = """
SELECT id, account_id, address, host, port, implicit_tls, user, sealed_password
  FROM send_as ORDER BY id
"""

_KEY = """
SELECT dkim_key.id, dkim_key.selector, dkim_key.algorithm, dkim_key.sealed_key, domain.name,
       dkim_key.public_key, dkim_key.active, dkim_key.created_at
  FROM dkim_key JOIN domain ON domain.id = dkim_key.domain_id ORDER BY dkim_key.id
"""

_SET = "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_GEAR, _ALLOW = "gear", "gear-allow"  # names of settings; patterns stand one a line


@define(eq=False)
class Outside:
    """What an administrator, or an account's owner, set about mail for other hosts."""

    file: UsersFile
    auditor: Auditor = UNTOLD

    # Routes

    def add_route(self, route: Route) -> None:
        """Mail to the addresses of its pattern goes this way from now on.

        Args:
            route: as `routes.read_route` gave it.

        Raises:
            AlreadyThere: the pattern has one.
        """
        with self.file.change() as sql:
            if one(sql, "SELECT 1 FROM route WHERE pattern = ?", route.pattern):
                raise AlreadyThere(
                    f"{route.pattern} has a route already; first: "
                    f"mailnode route delete '{route.pattern}'"
                )
            sql.execute(
                "INSERT INTO route (pattern, kind, host, port, user, password_file, tls,"
                " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(route.pattern, route.kind, route.host, route.port),
                    *(route.user, route.password_file, route.tls, time.time()),
                ),
            )
        self.auditor.tell("route-added", pattern=route.pattern, target=route.target)

    def routes(self) -> list[Route]:
        """All of them, oldest first."""
        with self.file.look() as sql:
            return list(_routes(sql))

    def delete_route(self, pattern: str) -> None:
        """Raises NotFound: it has none."""
        try:
            read = read_pattern(pattern)
        except BadRoute:
            read = pattern  # as somebody else may have written it
        with self.file.change() as sql:
            if not sql.execute(
                "DELETE FROM route WHERE pattern IN (?, ?)", (read, pattern)
            ).rowcount:
                raise NotFound(f"{pattern} has no route of its own; see: mailnode route list")
        self.auditor.tell("route-deleted", pattern=read)

    # Outside addresses

    def add_send_as(self, entry: SendAs) -> SendAs:
        """The account may send as this address, by its provider.

        Args:
            entry: its id is not looked at; the password is sealed about `entry.about`.

        Returns:
            The same with its id.

        Raises:
            AlreadyThere: the account has that address.
            AccountError: the address is of a domain here.
            NotFound: there is no such account.
        """
        address = parse_address(entry.address)
        with self.file.change() as sql:
            owner = _refuse_taken(sql, entry.account_id, address)
            (send_as_id,) = one(
                sql,
                "INSERT INTO send_as (account_id, address, key, host, port, implicit_tls, user,"
                " sealed_password, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                *(entry.account_id, entry.address, address.key, entry.host, entry.port),
                *(entry.implicit_tls, entry.user, entry.sealed_password, time.time()),
            )
        self.auditor.tell("outside-address-added", owner, address=entry.address, host=entry.host)
        return evolve(entry, id=send_as_id)

    def require_free(self, account_id: int, address: Address) -> None:
        """Nothing; raises what `add_send_as` would, before a password is asked for."""
        with self.file.look() as sql:
            _refuse_taken(sql, account_id, address)

    def send_as(self, account_id: int | None = None) -> list[SendAs]:
        """All outside addresses, or those of one account, oldest first."""
        with self.file.look() as sql:
            return [
                each
                for each in _send_as(sql)
                if account_id is None or each.account_id == account_id
            ]

    def delete_send_as(self, account_id: int, address: Address) -> None:
        """Raises NotFound: the account has no such outside address."""
        with self.file.change() as sql:
            if not sql.execute(
                "DELETE FROM send_as WHERE account_id = ? AND key = ?", (account_id, address.key)
            ).rowcount:
                raise NotFound(
                    f"{address} is no outside address of that account; see: mailnode send-as list"
                )
            owner = _owner(sql, account_id)
        self.auditor.tell("outside-address-deleted", owner, address=str(address))

    # Keys that sign

    def add_key(
        self, domain: str, selector: str, algorithm: str, sealed_key: bytes, public_key: str
    ) -> SigningKey:
        """Mail of the domain is signed with this key, too, from now on.

        Raises:
            AlreadyThere: the domain has a key with that selector.
            AccountError: it is no selector, or nobody knows the algorithm.
            NotFound: the domain isn't ours.
        """
        if algorithm not in ALGORITHMS:
            raise AccountError(f"{algorithm!r} is none of {', '.join(ALGORITHMS)}")
        selector, now = _read_selector(selector), time.time()
        with self.file.change() as sql:
            domain_id = find_domain(sql, domain)
            if one(
                sql,
                "SELECT 1 FROM dkim_key WHERE domain_id = ? AND selector = ?",
                domain_id,
                selector,
            ):
                raise AlreadyThere(f"{domain} has a key with selector {selector} already")
            sql.execute(
                "INSERT INTO dkim_key (domain_id, selector, algorithm, sealed_key, public_key,"
                " active, created_at) VALUES (?, ?, ?, ?, ?, 1, ?)",
                (domain_id, selector, algorithm, sealed_key, public_key, now),
            )
        name = parse_domain(domain)
        self.auditor.tell("key-added", domain=name, selector=selector, algorithm=algorithm)
        return SigningKey(selector, algorithm, sealed_key, name, public_key, True, now)

    def keys(self, domain: str | None = None) -> list[SigningKey]:
        """All keys, active or not, or those of one domain; oldest first.

        Raises:
            NotFound: the domain isn't ours.
        """
        with self.file.look() as sql:
            if domain is None:
                return list(_keys(sql))
            find_domain(sql, domain)
            name = parse_domain(domain)
            return [key for key in _keys(sql) if key.domain == name]

    def set_key_active(self, domain: str, selector: str, active: bool) -> None:
        """An active key signs.

        Raises:
            NotFound: there is no such key, or domain.
        """
        self._at_key("UPDATE dkim_key SET active = ?", domain, selector, active)
        self.auditor.tell("key-changed", domain=domain, selector=selector, active=active)

    def delete_key(self, domain: str, selector: str) -> None:
        """Raises NotFound: there is no such key, or domain."""
        self._at_key("DELETE FROM dkim_key", domain, selector)
        self.auditor.tell("key-deleted", domain=domain, selector=selector)

    def _at_key(self, statement: str, domain: str, selector: str, *values: object) -> None:
        with self.file.change() as sql:
            where = (find_domain(sql, domain), selector.lower())
            if not sql.execute(
                f"{statement} WHERE domain_id = ? AND selector = ?", (*values, *where)
            ).rowcount:
                raise NotFound(f"{domain} has no key with selector {selector}")

    # The gear

    def gear(self) -> Gear:
        """How far mail goes; "capture" as long as nobody set it."""
        with self.file.look() as sql:
            return _gear(sql)

    def set_gear(self, gear: Gear) -> None:
        """Mail goes this far from now on; the allow list stays for later with other gears.

        Raises:
            BadRoute: the list holds what is no pattern.
            AccountError: there is no such gear.
        """
        if gear.name not in GEARS:
            raise AccountError(f"{gear.name!r} is none of {', '.join(GEARS)}")
        allowed = dict.fromkeys(map(read_pattern, gear.allowed))
        with self.file.change() as sql:
            sql.execute(_SET, (_GEAR, gear.name))
            if allowed:
                sql.execute(_SET, (_ALLOW, "\n".join(allowed)))
            else:
                sql.execute("DELETE FROM setting WHERE name = ?", (_ALLOW,))
        self.auditor.tell("gear-set", gear=gear.name, allowed=list(allowed) or None)


def _owner(sql: sqlite3.Connection, account_id: int) -> str:
    """Its address; "" where it is gone."""
    row = one(
        sql,
        "SELECT account.local, domain.name FROM account"
        " JOIN domain ON domain.id = account.domain_id WHERE account.id = ?",
        account_id,
    )
    return str(Address(*row)) if row is not None else ""


def _refuse_taken(sql: sqlite3.Connection, account_id: int, address: Address) -> str:
    """Whose it may become."""
    owner = _owner(sql, account_id)
    if not owner:
        raise NotFound("That account is gone")
    if one(sql, "SELECT 1 FROM domain WHERE name = ?", address.domain):
        raise AccountError(
            f"{address} is of a domain here, where its account or an alias that leads to it sends "
            f"as it: mailnode alias add {address} ACCOUNT"
        )
    query = "SELECT 1 FROM send_as WHERE account_id = ? AND key = ?"
    if one(sql, query, account_id, address.key):
        raise AlreadyThere(
            f"{address} is an outside address of that account already; delete it first"
        )
    return owner


def _read_selector(text: str) -> str:
    try:
        if not text.startswith("["):
            return parse_domain(text)
    except BadAddress:
        pass
    raise AccountError(f"{text!r} is no selector, which is such as s2027")


# What a node reads


def read_elsewhere(sql: sqlite3.Connection, senders: SenderRules = NO_RULES) -> Elsewhere:
    """All of it as the transaction sees it.

    Raises:
        StoreBroken: a row that none of our commands writes; the text names it.
    """
    return Elsewhere.of(_routes(sql), _send_as(sql), _keys(sql), _gear(sql), senders)


def _routes(sql: sqlite3.Connection) -> Iterator[Route]:
    for route_id, *values in sql.execute(_ROUTE):
        route = Route(*values)
        try:
            yield checked(route)
        except BadRoute as error:
            said = f"{route.pattern!r} to {route.kind!r}"
            raise bad_row("route", f"id = {route_id}", said, error.text) from None


def _send_as(sql: sqlite3.Connection) -> Iterator[SendAs]:
    for row in sql.execute(_SEND_AS):
        entry = SendAs(*row)
        entry = evolve(entry, implicit_tls=bool(entry.implicit_tls))
        if why := _wrong_with(entry):
            raise bad_row("send_as", f"id = {entry.id}", f"{entry.address!r}", why)
        yield entry


def _wrong_with(entry: SendAs) -> str:
    texts = (entry.address, entry.host, entry.user)
    if not all(isinstance(text, str) and text for text in texts):
        return "a text is empty or none"
    if not isinstance(entry.sealed_password, bytes):
        return "its password is not sealed"
    if not isinstance(entry.port, int) or not 0 < entry.port < 1 << 16:
        return f"{entry.port!r} is no port"
    try:
        parse_address(entry.address)
    except BadAddress as error:
        return error.text
    return ""


def _keys(sql: sqlite3.Connection) -> Iterator[SigningKey]:
    for key_id, *values in sql.execute(_KEY):
        key = SigningKey(*values)
        key = evolve(key, active=bool(key.active))
        if key.algorithm not in ALGORITHMS or not isinstance(key.sealed_key, bytes):
            why = "its algorithm is unknown, or its key not sealed"
            said = f"{key.selector!r} of {key.domain}"
            raise bad_row("dkim_key", f"id = {key_id}", said, why)
        yield key


def _gear(sql: sqlite3.Connection) -> Gear:
    settings = dict(sql.execute("SELECT name, value FROM setting").fetchall())
    name, allow = settings.get(_GEAR, "capture"), str(settings.get(_ALLOW, ""))
    if name not in GEARS:
        why = f"a gear is {', '.join(GEARS)}"
        raise bad_row("setting", f"name = '{_GEAR}'", repr(name), why)
    try:
        allowed = tuple(read_pattern(pattern) for pattern in allow.split("\n") if pattern)
    except BadRoute as error:
        raise bad_row("setting", f"name = '{_ALLOW}'", repr(allow), error.text) from None
    return Gear(name, allowed)
