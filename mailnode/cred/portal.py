"""The way in: Twisted's portal, which slows down those who guess and turns them away.

A failure is answered after half a second, twice that for each recent one, ten seconds at
most; counted for the client's address and for the name, and forgotten within 15 minutes.
Names count alike whether or not they have an account, and the time runs from the question,
so that it tells nothing of what was done to find the answer.

A right password is answered at once, but while a failure of the same name from the same
address, or ten of that address, are still to be answered: whoever doesn't wait for a no
would else know by the missing yes, and guess on. What `guessing` judges, this page does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import Anonymous, IAnonymous, ICredentials, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import Interface

from mailnode.cred.checkers import SignInDenied
from mailnode.cred.guessing import Asked, Guesses
from mailnode.cred.realm import Avatar
from mailnode.cred.turns import Turns
from mailnode.errors import PasswordTooOld, SignInBlocked, SignInBusy, SignInRefused
from mailnode.events import Event, SignedIn, SignInFailed

NAME_CHARACTERS = 320


def _same(name: str) -> str:
    return name.casefold()


def _untold(event: Event) -> None:
    pass


def _nobodys(name: str) -> int | None:
    return None


class SignInPortal(Portal):
    """Twisted's portal: slow for guessers, quick for the anonymous, and it tells.

    Credentials may have `client`, the address they came from. What is refused is refused
    with `SignInDenied`, whatever the checker raised.

    Attributes:
        guesses: what is known of those who guess.
        turns: whose password is checked next.
    """

    _log = Logger()

    def __init__(
        self,
        realm: IRealm,
        checkers: Iterable[ICredentialsChecker] = (),
        *,
        clock: IReactorTime,
        tell: Callable[[Event], object] = _untold,
        sign_in_key: Callable[[str], str | None] = _same,
        account_of: Callable[[str], int | None] = _nobodys,
        guesses: Guesses | None = None,
    ) -> None:
        """A portal to `realm`.

        Args:
            tell: is given `SignedIn` and `SignInFailed`, with the name and never a password.
            sign_in_key: what all spellings of a name share (`LiveDirectory.sign_in_key`).
            account_of: whose name it is.
            guesses: shared with others of the process; without it nobody is blocked.
        """
        self._anonymous_pass = False
        self._clock, self._tell, self._sign_in_key = clock, tell, sign_in_key
        self._account_of = account_of
        self.guesses = guesses if guesses is not None else Guesses(clock)
        self.turns = Turns()
        super().__init__(realm, checkers)

    def registerChecker(
        self, checker: ICredentialsChecker, *credentialInterfaces: type[Any]
    ) -> None:
        super().registerChecker(checker, *credentialInterfaces)
        self._anonymous_pass = type(self.checkers.get(IAnonymous)) is AllowAnonymousAccess

    def login(
        self, credentials: ICredentials, mind: object, *interfaces: type[Interface]
    ) -> Deferred[Any]:
        """(interface, avatar, logout); when the Deferred is cancelled, no avatar is left over.

        Raises:
            SignInDenied: no, after a delay.
            PasswordTooOld: not until it is changed.
            SignInBlocked: nobody signs in from there for some time.
            SignInBusy: too many ask at once.
        """
        if type(credentials) is Anonymous and self._anonymous_pass:
            try:
                avatar = self.realm.requestAvatar((), mind, *interfaces)
            except Exception:
                return fail()
            return avatar if isinstance(avatar, Deferred) else succeed(avatar)
        if IAnonymous.providedBy(credentials):
            return super().login(credentials, mind, *interfaces)
        return Deferred.fromCoroutine(self._sign_in(credentials, mind, interfaces))

    async def _sign_in(
        self, credentials: ICredentials, mind: object, interfaces: tuple[type[Interface], ...]
    ) -> Avatar:
        began_s = self._clock.seconds()
        name, how, guesses = _name_of(credentials), _how(credentials), self.guesses
        asked = self._asked(name, credentials)
        blocked_s = self._turn_away(asked, name, how)
        try:
            avatar_id, waited_s = await self._find(asked, credentials)
            made = self.realm.requestAvatar(avatar_id, mind, *interfaces)
            avatar = await _kept(made) if isinstance(made, Deferred) else made
        except PasswordTooOld as error:  # it was right: no guess
            self._tell_failed(asked, name, how, error.text)
            raise
        except (UnauthorizedLogin, SignInRefused) as error:
            reason = getattr(error, "detail", "") or str(error)
            delay_s = guesses.failed(self._guessed(asked, credentials))
            self._tell_failed(asked, name, how, reason, delay_s=round(delay_s, 1))
            await deferLater(self._clock, max(0.0, began_s + delay_s - self._clock.seconds()))
            if blocked_s:
                raise SignInBlocked.until(blocked_s) from error
            if isinstance(error, SignInDenied):
                raise
            raise SignInDenied(detail=reason) from error
        except SignInBusy as error:
            self._tell_failed(asked, name, how, error.detail)
            if pace_s := guesses.pace_s(asked):
                await deferLater(self._clock, pace_s)
            raise
        if getattr(credentials, "awaits_code", False):
            return avatar  # half of a sign-in: whoever asked tells of it
        guesses.signed_in(asked)
        facts: dict[str, object] = {"account": _printable(avatar_id)} | how
        if (token_name := getattr(credentials, "token_name", None)) is not None:
            facts["token"] = token_name
        if waited_s:
            facts["delay_s"] = round(waited_s, 1)
        self._tell(SignedIn(client=asked.client, detail=facts))
        return avatar

    def _tell_failed(
        self, asked: Asked, name: str, how: dict[str, object], reason: str, **more: object
    ) -> None:
        detail = {"name": name, **how, "reason": reason, **more}
        self._tell(SignInFailed(client=asked.client, detail=detail))

    async def _find(self, asked: Asked, credentials: ICredentials) -> tuple[Any, float]:
        """Whose credentials these are, once that may be told, and how long it had to wait.

        Raises:
            PasswordTooOld: they are right, which is told no sooner.
        """
        guesses, too_old = self.guesses, None
        try:
            async with self.turns.turn(first=guesses.is_known(asked)):
                avatar_id = await self._avatar_id(credentials)
        except PasswordTooOld as error:
            too_old = error
        if not guesses.lets_in(asked):
            raise SignInDenied(detail="too many guesses from there")
        if waited_s := guesses.wait_s(asked):
            await deferLater(self._clock, waited_s)
            return await self._avatar_id(credentials), waited_s  # it may have changed meanwhile
        if too_old is not None:
            raise too_old
        return avatar_id, 0.0

    def _asked(self, name: str, credentials: ICredentials) -> Asked:
        client = str(getattr(credentials, "client", "") or "")
        password = getattr(credentials, "password", b"")
        return self._of(client, name, password if isinstance(password, bytes) else b"")

    def _of(self, client: str, name: str, password: bytes = b"") -> Asked:
        key = self._sign_in_key(name) or _same(name)
        guess = self.guesses.guess_of(key, password)
        return Asked(client, key, self._account_of(name), guess)

    def _guessed(self, asked: Asked, credentials: ICredentials) -> Asked:
        """With what tells the guess from another, where only the checker could find it."""
        former_key = getattr(credentials, "former_key", b"")
        if not former_key:
            return asked
        return evolve(asked, guess=self.guesses.guess_of(asked.name, former_key))

    def _turn_away(self, asked: Asked, name: str, how: dict[str, object]) -> float:
        """How long its address is blocked yet, where an owner may be there all the same.

        Raises:
            SignInBlocked: nobody is asked about its password.
        """
        left_s = self.guesses.turn_away(asked.client)
        blocked_s = self.guesses.blocked_s(asked)
        if not left_s and blocked_s and self.guesses.is_crowded(asked):
            left_s = blocked_s
        if left_s:
            self._tell_failed(asked, name, how, "blocked")
            raise SignInBlocked.until(left_s)
        return blocked_s

    async def _avatar_id(self, credentials: ICredentials) -> Any:
        if IUsernamePassword.providedBy(credentials) and not (
            credentials.username and credentials.password
        ):
            # Some checkers take an empty password for "don't check" (RFC 4513 section 5.1.2).
            raise SignInDenied(detail="no name or no password")
        for interface, checker in self.checkers.items():
            if interface.providedBy(credentials):
                return await maybeDeferred(checker.requestAvatarId, credentials)
        raise UnhandledCredentials(f"no checker for {type(credentials).__name__}")

    async def code_failed(self, client: str, name: str, reason: str) -> None:
        """A wrong code after a right password: counted and answered like a wrong password."""
        asked = self._of(client, name)
        delay_s = self.guesses.failed(asked)
        how: dict[str, object] = {"service": "web"}
        self._tell_failed(asked, _printable(name), how, reason, delay_s=round(delay_s, 1))
        await deferLater(self._clock, delay_s)

    def code_fitted(self, client: str, name: str, factor: str, device: str = "") -> None:
        """A right code after a right password: somebody is signed in on the web.

        Args:
            device: what tells the browser from others.
        """
        self.guesses.signed_in(self._of(client, name))
        detail = {"account": name, "service": "web", "factor": factor}
        if device:
            detail["device"] = device
        self._tell(SignedIn(client=client, detail=detail))


def _kept(making: Deferred[Avatar]) -> Deferred[Avatar]:
    """The avatar, or when nobody waits for it any more, its end (S7)."""
    waiting: Deferred[Avatar] = Deferred(lambda _: None)

    def made(avatar: Avatar) -> None:
        if waiting.called:
            avatar[2]()
        else:
            waiting.callback(avatar)

    def failed(failure: Any) -> None:
        if not waiting.called:
            waiting.errback(failure)

    making.addCallbacks(made, failed).addErrback(
        lambda failure: SignInPortal._log.failure("an avatar nobody waits for did not end", failure)
    )
    return waiting


def _name_of(credentials: ICredentials) -> str:
    return _printable(getattr(credentials, "username", b""))


def _how(credentials: ICredentials) -> dict[str, object]:
    """By whom they were asked for, and what is known of the program that gave them."""
    said = {name: getattr(credentials, name, "") for name in ("service", "device")}
    return {name: _printable(value) for name, value in said.items() if value}


def _printable(name: object) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    text = text[:NAME_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
