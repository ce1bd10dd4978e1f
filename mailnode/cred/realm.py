"""Whoever signed in, or nobody, as the avatar that a server asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mailnode.addresses import Address, parse_address
from mailnode.cred.checkers import SignInDenied
from mailnode.errors import AccountError

if TYPE_CHECKING:
    from mailnode.store.directory import Account, LiveDirectory

Logout = Callable[[], None]
Avatar = tuple[type[Interface], object, Logout]
Factory = Callable[["Account | None"], "tuple[object, Logout] | Deferred[tuple[object, Logout]]"]


@implementer(IRealm)
@define(eq=False)
class Realm:
    """Twisted's realm over the accounts.

    Attributes:
        factories: what makes the avatar of an interface: given the account (None for an
            anonymous client; a factory that has nothing for those raises
            `UnauthorizedLogin`), it returns the avatar and the callable that ends it, or a
            Deferred of them.
        create_account: makes an account for a name that a foreign checker let in; the
            directory must know it when the Deferred fires.
    """

    _log = Logger()

    directory: LiveDirectory
    factories: Mapping[type[Interface], Factory]
    create_account: Callable[[Address], Deferred[Account]] | None = None
    _creating: DeferredLock = field(factory=DeferredLock, init=False)

    def requestAvatar(
        self, avatarId: bytes | str | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Avatar | Deferred[Avatar]:
        """(interface, avatar, logout) for the first interface that somebody makes.

        Args:
            avatarId: a sign-in name, as the checkers return it, or `ANONYMOUS`.

        Raises:
            SignInDenied: the name has no account, or a disabled one.
            NotImplementedError: nobody makes any of the interfaces.
        """
        if avatarId == ANONYMOUS:
            return self._avatar(None, interfaces)
        try:
            name = avatarId.decode() if isinstance(avatarId, bytes) else str(avatarId)
        except UnicodeDecodeError:
            raise SignInDenied(detail="the name is not UTF-8") from None
        account = self.directory.find_sign_in(name)
        if account is None:
            return self._for_unknown(name, interfaces)
        if account.disabled:
            raise SignInDenied(detail="the account is disabled")
        return self._avatar(account, interfaces)

    def _avatar(
        self, account: Account | None, interfaces: tuple[type[Interface], ...]
    ) -> Avatar | Deferred[Avatar]:
        for interface in interfaces:
            factory = self.factories.get(interface)
            if factory is None:
                continue
            made = factory(account)
            if isinstance(made, Deferred):
                return made.addCallback(_avatar_of, interface)
            return _avatar_of(made, interface)
        raise NotImplementedError(f"no avatar for any of {interfaces}")

    def _for_unknown(self, name: str, interfaces: tuple[type[Interface], ...]) -> Deferred[Avatar]:
        key = self.directory.sign_in_key(name)
        address = parse_address(key) if key is not None else None
        if address is None or not self.directory.is_local(address.domain):
            self._log.warn(
                "{name} was let in by a checker but is no address of a domain here;"
                " see: mailnode domain list",
                name=name,
            )
            raise SignInDenied(detail="not an address of this node")
        if self.create_account is None:
            self._log.warn(
                "{name} was let in by a checker but has no account;"
                " add it with: mailnode user add {name}"
                " (or set [accounts] create_on_sign_in)",
                name=name,
            )
            raise SignInDenied(detail="no such account")
        return Deferred.fromCoroutine(self._create(address, interfaces))

    async def _create(self, address: Address, interfaces: tuple[type[Interface], ...]) -> Avatar:
        assert self.create_account is not None
        async with self._creating:
            account = self.directory.find(address)
            if account is None:
                try:
                    account = await self.create_account(address)
                except AccountError as error:
                    self._log.warn(
                        "no account was made for {name}: {why}", name=str(address), why=str(error)
                    )
                    raise SignInDenied(detail=str(error)) from error
        if account.disabled:
            raise SignInDenied(detail="the account is disabled")
        made = self._avatar(account, interfaces)
        return await made if isinstance(made, Deferred) else made


def _avatar_of(made: tuple[object, Logout], interface: type[Interface]) -> Avatar:
    avatar, logout = made
    return interface, avatar, logout
