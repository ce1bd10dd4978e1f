"""Second factors: what is shown beside a password on the web, judged once and not often.

A code of a device (`cred.totp`) or one that was sent has six digits, so few are tried: each is
counted for its account before it is looked at, on the disk, and after ten wrong ones none counts
for a quarter of an hour. A recovery code can't be guessed and counts all the same: who knows a
password and guesses codes keeps its owner out of nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from mailnode.cred import totp
from mailnode.errors import MailError, NotSent, SealBroken, TooManyCodes, TooManySent, WrongCode

if TYPE_CHECKING:
    from mailnode.sealing import Seal
    from mailnode.store.factors import Factor
    from mailnode.store.people import Account

RECOVERY_CODES = 10
RECOVERY_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
RECOVERY_GROUP = 5  # letters, twice: 50 bits under a key that stands outside users.db
SENT_S = 600.0
MOST_SENT, SENT_WITHIN_S = 5, 3600.0
MOST_REMEMBERED = 10_000

_RECOVERY = re.compile(f"[{RECOVERY_LETTERS}]{{{2 * RECOVERY_GROUP}}}")
_DIGITS = re.compile(f"[0-9]{{{totp.DIGITS}}}")


class Use(Protocol):
    """What `store.code_use.CodeUse` is here."""

    async def take_step(self, factor_id: int, account_id: int, step: int, client: str) -> bool: ...
    async def count_try(self, account_id: int) -> bool: ...
    async def forget_tries(self, account_id: int) -> None: ...


Send = Callable[["Account", str, str], Awaitable[None]]  # account, where to, the code


@define(eq=False)
class SentCode:
    """A code on its way to somebody; it counts once, in the browser that asked for it.

    Attributes:
        factor_id: by which it is sent; 0 for one that isn't confirmed yet.
        until: UTC epoch seconds.
    """

    factor_id: int
    kind: str
    target: str
    until: float
    _code: str = field(repr=False)
    _spent: bool = field(default=False, init=False)

    def take(self, code: str, now: float) -> bool:
        """Whether it is this one; then it counts no more."""
        fits = not self._spent and now < self.until and hmac.compare_digest(self._code, code)
        self._spent = self._spent or fits
        return fits


@frozen
class Enrolment:
    """A factor that its owner has not confirmed yet.

    Attributes:
        secret: of totp, else "".
        sent: the code that confirms it; None for totp.
    """

    kind: str
    name: str
    target: str
    secret: str = field(default="", repr=False)
    sent: SentCode | None = None


@define(eq=False)
class SecondFactors:
    """Judges codes, and sends them.

    Args:
        factors_of: an account's, by its id, from memory.
        use_recovery: whether an account's recovery code, by the hash of one, counts; it counts no
            more.
        senders: by kind: sends a code.
        now: UTC epoch seconds.
        seconds: of a clock that nobody sets.
    """

    factors_of: Callable[[int], Sequence[Factor]]
    _seal: Seal
    _use: Use
    _use_recovery: Callable[[int, bytes], Awaitable[bool]]
    senders: Mapping[str, Send]
    _now: Callable[[], float]
    _seconds: Callable[[], float]
    _sent_at: OrderedDict[int, list[float]] = field(factory=OrderedDict, init=False)

    # Codes that somebody shows

    async def judge(
        self, account_id: int, said: str, client: str, sent: SentCode | None = None
    ) -> str:
        """By what somebody showed to be the account's owner: a factor's kind, or "recovery".

        Args:
            sent: the code that this browser had sent.

        Raises:
            WrongCode: by nothing.
            TooManyCodes: nobody looked.
            MailError: nobody could.
        """
        code = _plain(said)
        if _RECOVERY.fullmatch(code):
            if await self._use_recovery(account_id, self.recovery_hash(account_id, code)):
                return "recovery"
            raise WrongCode(detail="no recovery code, or a used one")
        if not _DIGITS.fullmatch(code):
            raise WrongCode(detail="no code")
        if not await self._use.count_try(account_id):
            raise TooManyCodes(detail="too many codes were tried")
        kind = await self._taken(account_id, code, client, sent)
        await self._use.forget_tries(account_id)
        return kind

    async def _taken(self, account_id: int, code: str, client: str, sent: SentCode | None) -> str:
        factors = {each.id: each for each in self.factors_of(account_id)}
        if sent is not None and sent.factor_id in factors and sent.take(code, self._now()):
            # Its use is told like that of a step, and each is later than the one before.
            await self._use.take_step(sent.factor_id, account_id, int(self._now()), client)
            return sent.kind
        why = "wrong code"
        for factor in factors.values():
            step = self._step_of(factor, code)
            if step is None:
                continue
            if await self._use.take_step(factor.id, account_id, step, client):
                return factor.kind
            why = "a code that was used before"
        raise WrongCode(detail=why)

    def _step_of(self, factor: Factor, code: str) -> int | None:
        if factor.kind != "totp":
            return None
        try:
            secret = self._seal.unseal(factor.sealed_secret, _about(factor.account_id)).decode()
        except SealBroken as error:
            raise MailError(detail=error.detail) from error
        return totp.matching_step(secret, code, self._now())

    # Codes that are sent

    async def send(self, account: Account, factor: Factor) -> SentCode:
        """A code is on its way to its owner.

        Raises:
            NotSent: or none is.
        """
        return await self._send(account, factor.kind, factor.target, factor.id)

    async def _send(self, account: Account, kind: str, target: str, factor_id: int) -> SentCode:
        sender = self.senders.get(kind)
        if sender is None:
            raise NotSent(detail=f"no way to send a code by {kind} is set up")
        self._count_sent(account.id)
        code = f"{secrets.randbelow(10**totp.DIGITS):0{totp.DIGITS}}"
        try:
            await sender(account, target, code)
        except NotSent:
            raise
        except MailError as error:
            raise NotSent(detail=str(error)) from error
        return SentCode(factor_id, kind, target, self._now() + SENT_S, code)

    def _count_sent(self, account_id: int) -> None:
        now = self._seconds()
        at = [each for each in self._sent_at.get(account_id, []) if each > now - SENT_WITHIN_S]
        if len(at) >= MOST_SENT:
            raise TooManySent(detail=f"{len(at)} codes were sent within the hour")
        self._sent_at[account_id] = [*at, now]
        self._sent_at.move_to_end(account_id)
        if len(self._sent_at) > MOST_REMEMBERED:
            self._sent_at.popitem(last=False)

    # Factors to come

    async def enrol(self, account: Account, kind: str, name: str, target: str) -> Enrolment:
        """A factor that a code confirms.

        Raises:
            NotSent: no code is on its way there.
        """
        if kind == "totp":
            return Enrolment(kind, name, "", totp.make_secret())
        return Enrolment(kind, name, target, sent=await self._send(account, kind, target, 0))

    def confirmed_by(self, enrolment: Enrolment, said: str) -> int | None:
        """The step whose code confirms it, 0 for a code that was sent; None where it doesn't."""
        code, now = _plain(said), self._now()
        if enrolment.sent is not None:
            return 0 if _DIGITS.fullmatch(code) and enrolment.sent.take(code, now) else None
        return totp.matching_step(enrolment.secret, code, now)

    def sealed(self, enrolment: Enrolment, account_id: int) -> bytes:
        """What is kept of its secret."""
        if not enrolment.secret:
            return b""
        return self._seal.seal(enrolment.secret.encode(), _about(account_id))

    async def note_confirmed(self, factor: Factor, step: int, client: str) -> None:
        """The code that confirmed it signs nobody in."""
        await self._use.take_step(factor.id, factor.account_id, step, client)

    def uri_of(self, enrolment: Enrolment, account: Account, issuer: str) -> str:
        """What a device reads of the QR code."""
        return totp.uri_of(enrolment.secret, str(account.address), issuer)

    # Recovery codes

    def make_recovery_codes(self, account_id: int) -> tuple[list[str], list[bytes]]:
        """Ten of them, as their owner sees them once, and what is kept."""
        codes = [_make_recovery_code() for _ in range(RECOVERY_CODES)]
        return codes, [self.recovery_hash(account_id, _plain(code)) for code in codes]

    def recovery_hash(self, account_id: int, code: str) -> bytes:
        key = self._seal.secret_for(b"recovery codes of account %d" % account_id)
        return hmac.digest(key, code.encode(), "sha256")


def _make_recovery_code() -> str:
    letters = [secrets.choice(RECOVERY_LETTERS) for _ in range(2 * RECOVERY_GROUP)]
    return f"{''.join(letters[:RECOVERY_GROUP])}-{''.join(letters[RECOVERY_GROUP:])}"


def _plain(said: str) -> str:
    """As it is compared: people part digits, and phones begin with a capital."""
    return "".join(said[:100].split()).replace("-", "").lower()


def _about(account_id: int) -> bytes:
    return b"second factor of account %d" % account_id
