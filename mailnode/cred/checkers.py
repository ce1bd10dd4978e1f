"""Who may sign in: those whose password in users.db is the one that was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailnode.cred.passwords import DUMMY_HASH, Passwords
from mailnode.errors import SignInRefused

if TYPE_CHECKING:
    from mailnode.cred.ageing import Ageing
    from mailnode.cred.renewing import Renewing
    from mailnode.store.directory import Account, LiveDirectory


class SignInDenied(SignInRefused, UnauthorizedLogin):
    """No: one text for every cause, which only the log tells apart (`detail`).

    It is Twisted's `UnauthorizedLogin` too, for faces that were not written by us.
    """


@implementer(ICredentialsChecker)
@define(eq=False)
class AccountChecker:
    """Twisted's checker over the accounts.

    An unknown name, a wrong password and a disabled account go the same way and take the
    same time: one argon2 verification in the same queue.

    Args:
        ageing: how old a password may be; None: as old as it gets.
        renewing: is told of each password that was right, if anybody is.
    """

    credentialInterfaces = (IUsernamePassword,)

    _directory: LiveDirectory
    _passwords: Passwords
    _ageing: Ageing | None = None
    _renewing: Renewing | None = None

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """The canonical address of the account, in UTF-8.

        Raises:
            SignInDenied: no.
            SignInBusy: too many ask at once.
        """
        name, given = _text(credentials.username), _text(credentials.password)
        account, whose = self._claimed(name, given)
        password_hash = account.password_hash if account else DUMMY_HASH
        service = getattr(credentials, "service", "")
        if account is not None and service != "web" and self._directory.factors(account.id):
            whose = name  # it lets nobody in: a quick no would say that it is the right one
        verified = self._passwords.verify(password_hash, given or "", whose)
        return verified.addCallback(self._judge, name, account, given or "", service)

    def _judge(
        self, fits: bool, name: str | None, account: Account | None, given: str, service: str
    ) -> bytes | tuple[()]:
        """What a verified password means by now."""
        if account is None:
            raise SignInDenied(detail=self._why_nobody(name))
        now = self._directory.find_by_id(account.id)
        if not fits:
            raise SignInDenied(detail="wrong password")
        if now is None or now.disabled or now.sign_in_changed_at != account.sign_in_changed_at:
            raise SignInDenied(detail="the account changed meanwhile")
        if self._ageing is not None:
            self._ageing.require_young(now, service)
        if self._renewing is not None:
            self._renewing.saw(now, given)
        return str(now.address).encode()

    def _claimed(
        self, name: str | None, given: str | None
    ) -> tuple[Account | None, int | str | None]:
        """The account whose password counts, if any, and who asks (`Passwords.verify`)."""
        if name is None:
            return None, None
        account = self._directory.find_sign_in(name)
        if account is None or account.disabled or given is None:
            return None, self._directory.sign_in_key(name) or name
        return account, account.id

    def _why_nobody(self, name: str | None) -> str:
        account = self._directory.find_sign_in(name) if name else None
        if account is None:
            return "no such account"
        return "the account is disabled" if account.disabled else "wrong password"


@implementer(ICredentialsChecker)
@define(eq=False)
class CheckersInTurn:
    """Several checkers as one: whom the first refuses, the next is asked about."""

    checkers: Sequence[Any]

    @property
    def credentialInterfaces(self) -> tuple[Any, ...]:
        """What any of them judges."""
        kinds = [kind for checker in self.checkers for kind in checker.credentialInterfaces]
        return tuple(dict.fromkeys(kinds))

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """What the first that lets them in says.

        Raises:
            UnauthorizedLogin: none does.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: Any) -> Any:
        refused: Exception = SignInDenied(detail="no checker judges such credentials")
        for checker in self.checkers:
            if any(kind.providedBy(credentials) for kind in checker.credentialInterfaces):
                try:
                    return await maybeDeferred(checker.requestAvatarId, credentials)
                except (UnauthorizedLogin, SignInRefused) as refusal:
                    refused = refusal
        raise refused


def _text(octets: bytes) -> str | None:
    """As UTF-8; None for what no account's name or password can be."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def mended(checker: Any) -> Any:
    """A checker of Twisted's as it should be.

    `memory:` keeps text, while what clients say is bytes, so that nobody could sign in; `file:`
    reads all of its file, on the reactor, for each who asks.
    """
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        users: Any = checker.users
        checker.users = {_octets(name): _octets(word) for name, word in users.items()}
    elif isinstance(checker, FilePasswordDB):
        checker.cache = True  # read again when the file changes
    return checker


def _octets(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def judge_passwords(checkers: Sequence[Any]) -> bool:
    """Whether any of them does: those of users.db then count for nobody."""
    return any(IUsernamePassword in each.credentialInterfaces for each in checkers)
