"""App passwords: what a mail program shows in place of its owner's password.

They are tokens (`store.tokens`) with the scope of a service. A mail program says one outright, or
proves it by SCRAM: so that one salt fits whatever it was given, the keys of an app password are
made with the salt that its account is shown. No thread is needed for one that is said: 100 random
bits have a plain hash. What is none, or counts no more, is judged as a password, and takes as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailnode.cred.checkers import SignInDenied
from mailnode.cred.scram import IScramProof, ScramBook
from mailnode.cred.stored import KEY_OCTETS, SALT_OCTETS, ScramKeys
from mailnode.errors import PasswordTooOld, SealBroken, SignInRefused

if TYPE_CHECKING:
    from mailnode.sealing import Seal
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.people import Account
    from mailnode.store.tokens import Token

MAIL_SERVICES = ("smtp", "pop3")
NEEDS_APP_PASSWORD = "needs an app password"  # noqa: S105  # what the log says
_ABOUT = b"proof keys of an app password of account %d"
_ITERATIONS_OCTETS = 4
_NOBODY = 0


class Tokens(Protocol):
    """What `store.guests.Guests` is here."""

    async def find_token(self, secret: str) -> Token | None: ...
    async def provable_tokens(self, account_id: int) -> list[Token]: ...
    def note_token(self, token: Token, client: str) -> None: ...


@define(eq=False)
class Proofs:
    """Makes and reads what proofs of app passwords are judged by."""

    _book: ScramBook
    _seal: Seal

    @classmethod
    def of(cls, directory: LiveDirectory, seal: Seal) -> Proofs:
        return cls(ScramBook(directory, seal), seal)

    def make(self, account: Account, secret: str) -> bytes:
        """What is kept of it. Takes some 20 ms: not for the reactor thread."""
        shown = self._book.keys_for(str(account.address))
        keys = ScramKeys.of(secret, shown.salt, shown.iterations)
        sealed = self._seal.seal(keys.stored_key + keys.server_key, _ABOUT % account.id)
        return keys.salt + keys.iterations.to_bytes(_ITERATIONS_OCTETS, "big") + sealed

    def read(self, token: Token, shown: ScramKeys) -> ScramKeys | None:
        """Its keys; None where it has none that fit the salt that was shown."""
        kept = token.proof_keys or b""
        salt, rest = kept[:SALT_OCTETS], kept[SALT_OCTETS:]
        iterations = int.from_bytes(rest[:_ITERATIONS_OCTETS], "big")
        if (salt, iterations) != (shown.salt, shown.iterations):
            return None
        try:
            keys = self._seal.unseal(rest[_ITERATIONS_OCTETS:], _ABOUT % token.account_id)
        except SealBroken:
            return None
        return ScramKeys(salt, iterations, keys[:KEY_OCTETS], keys[KEY_OCTETS:])


@define(eq=False)
class AppPasswords:
    """Whom an app password lets in.

    Args:
        spell: an app password as it is kept, however it was typed; None for what is none.
    """

    _directory: LiveDirectory
    _tokens: Tokens
    _book: ScramBook
    _proofs: Proofs
    _spell: Callable[[str], str | None]

    async def whose(self, credentials: Any) -> Account | None:
        """The account that shows one of its own, for the service that it is for.

        The credentials have in `token_id` and `token_name` which one it was.

        Raises:
            WrongService: it is one for something else.
            MailError: nobody can look.
        """
        account = self._account(credentials)
        if IScramProof.providedBy(credentials):
            token = await self._proved(credentials, account)
        elif IUsernamePassword.providedBy(credentials):
            token = await self._said(credentials, account)
        else:
            return None
        if token is None or account is None:
            return None
        if credentials.service not in token.scopes:
            raise WrongService(detail=f"an app password that is not for {credentials.service}")
        self._tokens.note_token(token, getattr(credentials, "client", ""))
        credentials.token_id, credentials.token_name = token.id, token.name
        return account

    def _account(self, credentials: Any) -> Account | None:
        try:
            account = self._directory.find_sign_in(credentials.username.decode())
        except (AttributeError, UnicodeDecodeError):
            return None
        return None if account is None or account.disabled else account

    async def _said(self, credentials: Any, account: Account | None) -> Token | None:
        try:
            secret = self._spell(credentials.password.decode())
        except UnicodeDecodeError:
            return None
        token = await self._tokens.find_token(secret) if secret is not None else None
        whose = account.id if account is not None else _NOBODY
        return token if token is not None and token.account_id == whose else None

    async def _proved(self, credentials: Any, account: Account | None) -> Token | None:
        """Of a name without an account, as many are looked for."""
        shown = self._book.keys_for(credentials.username.decode())
        whose = account.id if account is not None else _NOBODY
        for token in await self._tokens.provable_tokens(whose):
            keys = self._proofs.read(token, shown)
            if keys is not None and credentials.proves(keys):
                return token
        return None


class WrongService(SignInDenied):
    """An app password that counts, but not here."""


@implementer(ICredentialsChecker)
@define(eq=False)
class FactorGate:
    """A checker behind which a password alone is not always enough.

    Mail programs may show an app password, and of an account with a second factor they must. On
    the web such an account's right password is half of a sign-in: the credentials' `awaits_code`
    says so.

    Args:
        inner: judges passwords, or proofs.
        has_factor: whether an account has a second factor, by its id.
    """

    _inner: Any
    _app_passwords: AppPasswords
    _directory: LiveDirectory
    _has_factor: Callable[[int], bool]

    @property
    def credentialInterfaces(self) -> Any:
        return self._inner.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """As the inner one; or the canonical address of the account, in UTF-8.

        Raises:
            SignInDenied: no.
            SignInBusy: too many ask at once.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: Any) -> Any:
        service = getattr(credentials, "service", "")
        because: SignInDenied | None = None
        if service in MAIL_SERVICES:
            try:
                account = await self._app_passwords.whose(credentials)
            except WrongService as error:
                because = error
            else:
                if account is not None:
                    return str(account.address).encode()
        try:
            avatar_id = await maybeDeferred(self._inner.requestAvatarId, credentials)
        except PasswordTooOld as error:
            name = getattr(credentials, "username", b"")
            if self._needs_more(name):  # that it is the right one is told to nobody
                raise SignInDenied(detail=NEEDS_APP_PASSWORD) from error
            raise
        except (UnauthorizedLogin, SignInRefused):
            if because is None:
                raise
            raise because from None
        if avatar_id and self._needs_more(avatar_id):
            if service != "web":
                raise SignInDenied(detail=NEEDS_APP_PASSWORD)
            credentials.awaits_code = True
        return avatar_id

    def _needs_more(self, avatar_id: Any) -> bool:
        name = avatar_id.decode("utf-8", "replace") if isinstance(avatar_id, bytes) else avatar_id
        account = self._directory.find_sign_in(str(name))
        return account is not None and self._has_factor(account.id)
