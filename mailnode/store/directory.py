"""Who has a mailbox here: domains, accounts and aliases in memory.

A `Directory` is a snapshot of users.db. Look-ups are plain calls that never touch the
disk, so they may be made on the reactor thread. `LiveDirectory` holds the one that counts
now; the node replaces it whenever users.db changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from attrs import define, field, frozen
from twisted.logger import Logger

from mailnode.addresses import Address, fold_local, parse_address
from mailnode.errors import AliasLoop, BadAddress, MailboxDisabled, NoSuchMailbox, RelayDenied
from mailnode.model import Recipient, Remote
from mailnode.routes import Route, SendAs
from mailnode.store.elsewhere import NOTHING, Elsewhere, SigningKey, bad_row
from mailnode.store.factors import Factor
from mailnode.store.people import Account, Alias, Domain
from mailnode.store.sign_in import KeptKeys

__all__ = ["EMPTY", "Account", "Alias", "Directory", "Domain", "LiveDirectory"]

ALIAS_DEPTH = 10
MOST_KNOWN = 4096
CATCH_ALL = "*"
POSTMASTER = "postmaster"


@frozen
class Directory:
    """What users.db said when it was last read.

    Attributes:
        domains: in the order of their ids.
        elsewhere: what it said of mail for other hosts.
        scram_keys: of each account that has some, by its id.
        factors: second factors, likewise.
    """

    domains: tuple[str, ...]
    demo_accounts: tuple[Account, ...]
    elsewhere: Elsewhere
    scram_keys: Mapping[int, KeptKeys] = field(repr=False)
    factors: Mapping[int, tuple[Factor, ...]] = field(repr=False)
    _local: frozenset[str]
    _by_key: Mapping[str, Account]
    _by_id: Mapping[int, Account]
    _aliases: Mapping[str, tuple[Address, ...]]
    _subaddress: str
    _leading_to: Mapping[str, tuple[str, ...]]  # aliases by what they lead to
    # What `expand` answers again and again: each mail of a list asks for the same ones.
    _known: dict[Address, tuple[Recipient]] = field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def of(
        cls,
        domains: Iterable[Domain] = (),
        accounts: Iterable[Account] = (),
        aliases: Iterable[Alias] = (),
        subaddress: str = "+",
        elsewhere: Elsewhere = NOTHING,
        scram_keys: Mapping[int, KeptKeys] | None = None,
        factors: Mapping[int, tuple[Factor, ...]] | None = None,
    ) -> Directory:
        """A directory of these.

        Args:
            domains: in the order of their ids; bare sign-in names mean the first.
            accounts: in the order of their ids.
            subaddress: what parts `alice` from `alice+detail`; "" for no subaddresses.

        Raises:
            StoreBroken: an alias has no address, as only a foreign program writes it.
        """
        names = tuple(domain.name for domain in domains)
        by_id = {account.id: account for account in accounts}
        targets: dict[str, list[Address]] = {}
        leading: dict[str, list[str]] = {}
        for alias in aliases:
            try:
                source, target = parse_address(alias.source).key, parse_address(alias.target)
            except BadAddress as error:
                said = f"{alias.source!r} to {alias.target!r}"
                raise bad_row("alias", f"id = {alias.id}", said, error.text) from None
            targets.setdefault(source, []).append(target)
            leading.setdefault(target.key, []).append(source)
        return cls(
            domains=names,
            demo_accounts=tuple(account for account in by_id.values() if account.demo),
            elsewhere=elsewhere,
            scram_keys=scram_keys or {},
            factors=factors or {},
            local=frozenset(names),
            by_key={account.key: account for account in by_id.values()},
            by_id=by_id,
            aliases={source: tuple(found) for source, found in targets.items()},
            subaddress=subaddress,
            leading_to={target: tuple(sources) for target, sources in leading.items()},
        )

    @property
    def first_domain(self) -> str | None:
        return self.domains[0] if self.domains else None

    def is_local(self, domain: str) -> bool:
        """Whether mail to `domain` (A-labels, lower case) is filed here."""
        return domain in self._local

    def find(self, address: Address) -> Account | None:
        """The account with exactly this address: no alias, no subaddress."""
        return self._by_key.get(address.key)

    def find_by_id(self, account_id: int) -> Account | None:
        return self._by_id.get(account_id)

    def sign_in_key(self, name: str) -> str | None:
        """What all spellings of a sign-in name share, whether or not it has an account.

        Returns:
            None when it can't name an account, however it is read.
        """
        if "@" not in name:
            if self.first_domain is None:
                return None
            name = f"{name}@{self.first_domain}"
        try:
            return parse_address(name).key
        except BadAddress:
            return None

    def find_sign_in(self, name: str) -> Account | None:
        """The account that signs in as `name`: a full address, or a bare local part of the
        first domain. It may be disabled."""
        key = self.sign_in_key(name)
        return None if key is None else self._by_key.get(key)

    def accounts(self) -> tuple[Account, ...]:
        """All of them, oldest first."""
        return tuple(self._by_id.values())

    def expand(self, address: Address, limit: int = 1000) -> tuple[Recipient | Remote, ...]:
        """The mailboxes, and addresses elsewhere, that a mail to `address` goes to, each once.

        An account comes before an alias, these before the account or alias that a
        subaddress belongs to, and the catch-all takes what is left. Members of an alias
        that take no mail are passed over as long as one does. `postmaster` of a local
        domain always reaches somebody while the node has an account.

        Args:
            limit: the most mailboxes and addresses that one address may reach.

        Raises:
            RelayDenied: the domain isn't ours.
            NoSuchMailbox, MailboxDisabled: nobody takes it.
            AliasLoop: too deep, too many, or nothing but a circle.
        """
        known = self._known.get(address)
        if known is not None:
            return known
        if address.domain not in self._local:
            raise RelayDenied()
        account = self._by_key.get(address.key)
        if account is not None and not account.disabled:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[address] = known = (_recipient(address, account),)
            return known
        try:
            return self._walk(address, limit)
        except (NoSuchMailbox, MailboxDisabled, AliasLoop):
            stand_in = self._postmaster(address)
            if stand_in is None:
                raise
            return (_recipient(address, stand_in),)

    def _walk(self, address: Address, limit: int) -> tuple[Recipient | Remote, ...]:
        found: dict[int | str, Recipient | Remote] = {}
        seen: set[str] = set()
        circle = disabled = False
        todo = deque([(address, 0)])
        while todo:
            target, depth = todo.popleft()
            taker = self._taker(target)
            if isinstance(taker, Account):
                if taker.disabled:
                    disabled = True
                else:
                    found.setdefault(taker.id, _recipient(address, taker))
            elif taker is None:
                if target.domain not in self._local:
                    found.setdefault(target.key, Remote(target, alias=address))
            elif taker in seen:
                circle = True
            else:
                if depth == ALIAS_DEPTH:
                    raise AliasLoop(detail=f"aliases of {address} are over {ALIAS_DEPTH} deep")
                seen.add(taker)
                todo.extend((member, depth + 1) for member in self._aliases[taker])
            if len(found) > limit:
                raise AliasLoop(detail=f"{address} reaches over {limit} mailboxes")
        if found:
            return tuple(found.values())
        if disabled:
            raise MailboxDisabled()
        raise AliasLoop() if circle else NoSuchMailbox()

    def _taker(self, address: Address) -> Account | str | None:
        """The account, or the key of the alias, that takes mail for `address`; else None."""
        if address.domain not in self._local:
            return None
        base = self._base_of(address)
        for key in (address.key, base) if base is not None else (address.key,):
            if account := self._by_key.get(key):
                return account
            if key in self._aliases:
                return key
        catch_all = f"{CATCH_ALL}@{address.domain}"
        return catch_all if catch_all in self._aliases else None

    def _base_of(self, address: Address) -> str | None:
        """The key of what it is a subaddress of; None for what is none."""
        base, separator, _ = address.local.partition(self._subaddress or "\0")
        return address.with_local(base).key if base and separator else None

    def owner_of(self, subaddress: Address) -> Account | None:
        """The account that it is a subaddress of, whatever else takes mail for it."""
        base = self._base_of(subaddress)
        return None if base is None else self._by_key.get(base)

    def _postmaster(self, address: Address) -> Account | None:
        """Who stands in when `address` is postmaster's and nobody was named for it."""
        if fold_local(address.local) != POSTMASTER:
            return None
        enabled = [account for account in self._by_id.values() if not account.disabled]
        ours = [account for account in enabled if account.address.domain == address.domain]
        return next(iter(ours or enabled), None)

    # What belongs elsewhere

    @property
    def gear(self) -> str:
        """How far mail goes: one of `routes.GEARS`."""
        return self.elsewhere.gear.name

    def may_leave(self, address: Address) -> bool:
        """Whether the gear lets mail out to `address`."""
        return self.elsewhere.gear.lets_out(address)

    def route_for(self, address: Address) -> Route:
        """The most specific route; `BY_MX` where none was set."""
        return self.elsewhere.route_for(address)

    def send_as(self, account_id: int, address: Address) -> SendAs | None:
        """The outside address of an account, and its provider; none is of a domain here."""
        if address.domain in self._local:
            return None
        return self.elsewhere.send_as(account_id, address)

    def send_as_by_id(self, send_as_id: int) -> SendAs | None:
        return self.elsewhere.send_as_by_id(send_as_id)

    def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign mail of exactly this domain."""
        return self.elsewhere.signing_keys(domain)

    def speaks_for(self, account_id: int, address: Address) -> bool:
        """Whether an account may send as `address`.

        It may as itself, with any subaddress, as every alias that leads to it, a catch-all
        included, and as its outside addresses.
        """
        if self.send_as(account_id, address) is not None:
            return True
        seen: set[str] = set()
        todo = deque([address])
        while todo:
            taker = self._taker(todo.popleft())
            if isinstance(taker, Account):
                if taker.id == account_id:
                    return True
            elif taker is not None and taker not in seen:
                seen.add(taker)
                todo.extend(self._aliases[taker])
        return False

    def own_addresses(self, account_id: int, limit: int = 200) -> tuple[Address, ...]:
        """What an account may send as, its own address first: aliases that lead to it, and outside
        addresses; subaddresses, and what a catch-all takes, are without number and left out."""
        account = self._by_id.get(account_id)
        if account is None:
            return ()
        found = {account.key: account.address}
        todo = deque([account.key])
        while todo and len(found) < limit:
            for source in self._leading_to.get(todo.popleft(), ()):
                if source not in found and not source.startswith(f"{CATCH_ALL}@"):
                    address = parse_address(source)
                    if self.speaks_for(account_id, address):
                        found[source] = address
                        todo.append(source)
        for outside in self.elsewhere.send_as_of(account_id):
            address = parse_address(outside.address)
            if address.domain not in self._local:
                found.setdefault(address.key, address)
        return tuple(found.values())[:limit]

    def changed_since(self, earlier: Directory) -> set[int]:
        """Ids of accounts whose earlier sign-in no longer holds: a new password, disabled,
        enabled or deleted, or a second factor where there was none. A hash that was renewed is of
        the same password."""
        return {
            account_id
            for account_id, was in earlier._by_id.items()
            if (now := self._by_id.get(account_id)) is not was
            and (
                now is None
                or now.sign_in_changed_at != was.sign_in_changed_at
                or now.disabled != was.disabled
            )
        } | (self.factors.keys() - earlier.factors.keys()) & earlier._by_id.keys()


def _recipient(asked_for: Address, account: Account) -> Recipient:
    return Recipient(
        asked_for,
        account.id,
        str(account.address),
        junk=account.junk,
        tagged=account.tag_subject,
    )


EMPTY = Directory.of()


@define(eq=False)
class LiveDirectory:
    """The directory that counts now."""

    _log = Logger()

    current: Directory = EMPTY
    _listeners: list[Callable[[set[int]], None]] = field(factory=list, init=False)

    @property
    def first_domain(self) -> str | None:
        return self.current.first_domain

    @property
    def demo_accounts(self) -> tuple[Account, ...]:
        return self.current.demo_accounts

    def is_local(self, domain: str) -> bool:
        return self.current.is_local(domain)

    def find(self, address: Address) -> Account | None:
        return self.current.find(address)

    def find_by_id(self, account_id: int) -> Account | None:
        return self.current.find_by_id(account_id)

    def sign_in_key(self, name: str) -> str | None:
        return self.current.sign_in_key(name)

    def find_sign_in(self, name: str) -> Account | None:
        return self.current.find_sign_in(name)

    def owner_of(self, subaddress: Address) -> Account | None:
        return self.current.owner_of(subaddress)

    def scram_keys(self, account_id: int) -> KeptKeys | None:
        return self.current.scram_keys.get(account_id)

    def factors(self, account_id: int) -> tuple[Factor, ...]:
        return self.current.factors.get(account_id, ())

    def accounts(self) -> tuple[Account, ...]:
        return self.current.accounts()

    def expand(self, address: Address, limit: int = 1000) -> tuple[Recipient | Remote, ...]:
        return self.current.expand(address, limit)

    @property
    def domains(self) -> tuple[str, ...]:
        return self.current.domains

    @property
    def gear(self) -> str:
        return self.current.gear

    def may_leave(self, address: Address) -> bool:
        return self.current.may_leave(address)

    def route_for(self, address: Address) -> Route:
        return self.current.route_for(address)

    def send_as(self, account_id: int, address: Address) -> SendAs | None:
        return self.current.send_as(account_id, address)

    def send_as_by_id(self, send_as_id: int) -> SendAs | None:
        return self.current.send_as_by_id(send_as_id)

    def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        return self.current.signing_keys(domain)

    def speaks_for(self, account_id: int, address: Address) -> bool:
        return self.current.speaks_for(account_id, address)

    def own_addresses(self, account_id: int) -> tuple[Address, ...]:
        return self.current.own_addresses(account_id)

    def subscribe(self, callback: Callable[[set[int]], None]) -> None:
        """`callback(ids)` is called with the accounts whose sign-in changed, if any did."""
        self._listeners.append(callback)

    def replace(self, directory: Directory) -> None:
        """From now on `directory` counts, and everyone who subscribed knows."""
        changed = directory.changed_since(self.current)
        self.current = directory
        if not changed:
            return
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                self._log.failure("a listener failed on changed accounts")
