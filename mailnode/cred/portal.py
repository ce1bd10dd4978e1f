"""The way in: Twisted's portal, which slows down those who guess.

A failure is answered after half a second, twice that for each recent one, ten seconds at
most; counted for the client's address and for the name, and forgotten within 15 minutes.
Names count alike whether or not they have an account.

A right password is answered at once, but while a failure of the same name from the same
address, or ten of that address, are still to be answered: whoever doesn't wait for a no
would else know by the missing yes, and guess on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
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
from mailnode.cred.realm import Avatar
from mailnode.errors import PasswordTooOld, SignInBusy, SignInRefused
from mailnode.events import Event, SignedIn, SignInFailed
from mailnode.machine import address_key, is_loopback

FIRST_DELAY_S = 0.5
MOST_DELAY_S = 10.0
DECAY_S = 900.0
MOST_FAILURES = 6.0  # the sixth is past ten seconds; what counts on would only decay later
MOST_KEYS = 10_000
MOST_UNANSWERED = 10  # failures of an address, from which on a right password waits, too
MOST_WAIT_HERE_S = 2.0  # for a right password of this machine, which has other ways to guess
NAME_CHARACTERS = 320


@define(eq=False)
class Failures:
    """How often each key failed lately, for the 10,000 keys that failed last."""

    _clock: IReactorTime
    _counts: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._counts)

    def recent(self, key: str) -> float:
        """Failures that still count: each set fades to nothing in 15 minutes."""
        count, at = self._counts.get(key, (0.0, 0.0))
        return max(0.0, count * (1 - (self._clock.seconds() - at) / DECAY_S))

    def delay_s(self, key: str) -> float:
        """How long the next failure waits for its answer."""
        return float(min(MOST_DELAY_S, FIRST_DELAY_S * 2 ** self.recent(key)))

    def add(self, key: str) -> None:
        count = min(MOST_FAILURES, self.recent(key) + 1)
        self._counts[key] = (count, self._clock.seconds())
        self._counts.move_to_end(key)
        if len(self._counts) > MOST_KEYS:
            self._counts.popitem(last=False)

    def told(self) -> list[tuple[str, float]]:
        """(key, failures that still count), for another process."""
        return [(key, self.recent(key)) for key in self._counts]

    def take(self, told: Iterable[tuple[str, float]]) -> None:
        """Know what another process told."""
        for key, count in told:
            self._counts[key] = (count, self._clock.seconds())


@define(eq=False)
class Unanswered:
    """Until when each key's failures wait for their answers, whether or not anybody is left to
    hear them.

    Args:
        enough: failures that must be waiting for anything else to wait.
    """

    _clock: IReactorTime
    _enough: int
    _until: OrderedDict[str, deque[float]] = field(factory=OrderedDict, init=False)

    def wait_s(self, key: str) -> float:
        """How long until the last is answered; 0 where fewer than enough wait."""
        now = self._clock.seconds()
        left = [until - now for until in self._until.get(key, ()) if until > now]
        return max(left) if len(left) >= self._enough else 0.0

    def add(self, key: str, delay_s: float) -> None:
        self._until.setdefault(key, deque(maxlen=self._enough)).append(
            self._clock.seconds() + delay_s
        )
        self._until.move_to_end(key)
        if len(self._until) > MOST_KEYS:
            self._until.popitem(last=False)


def _same(name: str) -> str:
    return name.casefold()


def _untold(event: Event) -> None:
    pass


def _nobody(address: str, name: str) -> None:
    pass


class SignInPortal(Portal):
    """Twisted's portal: slow for guessers, quick for the anonymous, and it tells.

    Credentials may have `client`, the address they came from. What is refused is refused
    with `SignInDenied`, whatever the checker raised.

    Attributes:
        failed_here: hears of each failure: the address and the name that are slow for it.
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
    ) -> None:
        """A portal to `realm`.

        Args:
            tell: is given `SignedIn` and `SignInFailed`, with the name and never a password.
            sign_in_key: what all spellings of a name share (`LiveDirectory.sign_in_key`).
        """
        self._anonymous_pass = False
        self._clock, self._tell, self._sign_in_key = clock, tell, sign_in_key
        self._addresses, self._names = Failures(clock), Failures(clock)
        self._unanswered = Unanswered(clock, 1)  # of a name from an address
        self._unanswered_there = Unanswered(clock, MOST_UNANSWERED)
        self.failed_here: Callable[[str, str], object] = _nobody
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
        client = str(getattr(credentials, "client", "") or "")
        name = _name_of(credentials)
        address, key, waited_s = address_key(client), self._sign_in_key(name) or _same(name), 0.0
        try:
            avatar_id = await self._avatar_id(credentials)
            if waited_s := self._wait_s(client, address, key):
                await deferLater(self._clock, waited_s)
                avatar_id = await self._avatar_id(credentials)  # it may have changed meanwhile
            made = self.realm.requestAvatar(avatar_id, mind, *interfaces)
            avatar = await _kept(made) if isinstance(made, Deferred) else made
        except PasswordTooOld as error:  # it was right: no guess
            self._tell(SignInFailed(client=client, detail={"name": name, "reason": error.text}))
            raise
        except (UnauthorizedLogin, SignInRefused) as error:
            reason = getattr(error, "detail", "") or str(error)
            delay_s = self._failed(address, key)
            detail = {"name": name, "reason": reason, "delay_s": round(delay_s, 1)}
            self._tell(SignInFailed(client=client, detail=detail))
            await deferLater(self._clock, max(0.0, delay_s - waited_s))
            if isinstance(error, SignInDenied):
                raise
            raise SignInDenied(detail=reason) from error
        except SignInBusy as error:
            self._tell(SignInFailed(client=client, detail={"name": name, "reason": error.detail}))
            raise
        if getattr(credentials, "awaits_code", False):
            return avatar  # half of a sign-in: whoever asked tells of it
        told: dict[str, object] = {"account": _printable(avatar_id)}
        if waited_s:
            told["delay_s"] = round(waited_s, 1)
        self._tell(SignedIn(client=client, detail=told))
        return avatar

    def _wait_s(self, client: str, address: str, key: str) -> float:
        """How long a right password waits, that is no sooner answered than guesses before it."""
        wait_s = max(
            self._unanswered.wait_s(_pair(address, key)), self._unanswered_there.wait_s(address)
        )
        return min(wait_s, MOST_WAIT_HERE_S) if is_loopback(client) else wait_s

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
        delay_s = self._failed(address_key(client), self._sign_in_key(name) or _same(name))
        detail = {"name": _printable(name), "reason": reason, "delay_s": round(delay_s, 1)}
        self._tell(SignInFailed(client=client, detail=detail))
        await deferLater(self._clock, delay_s)

    def code_fitted(self, client: str, name: str, factor: str) -> None:
        """A right code after a right password: somebody is signed in."""
        self._tell(SignedIn(client=client, detail={"account": name, "factor": factor}))

    def _failed(self, address: str, key: str) -> float:
        """Count a failure; how long its answer waits."""
        delay_s = self.note_failure(address, key)
        self.failed_here(address, key)
        return delay_s

    def note_failure(self, address: str, key: str) -> float:
        """From now on this address and this name are slow, wherever it was that they failed.

        Returns:
            How long the answer waits.
        """
        delay_s = max(self._addresses.delay_s(address), self._names.delay_s(key))
        self._addresses.add(address)
        self._names.add(key)
        self._unanswered.add(_pair(address, key), delay_s)
        self._unanswered_there.add(address, delay_s)
        return delay_s

    def take_failures(
        self, addresses: Iterable[tuple[str, float]], names: Iterable[tuple[str, float]]
    ) -> None:
        """Know what failed before this process began (`Failures.told`)."""
        self._addresses.take(addresses)
        self._names.take(names)


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


def _pair(address: str, key: str) -> str:
    return f"{address} {key}"


def _name_of(credentials: ICredentials) -> str:
    return _printable(getattr(credentials, "username", b""))


def _printable(name: object) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    text = text[:NAME_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
