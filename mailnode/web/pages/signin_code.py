"""The second half of a sign-in: whose password was right, of an account with a second factor, shows
a code.

Until then there is no session. What there is lies in memory under what a cookie of its own says,
made anew with each right password: nobody can have put it there before. It lasts five minutes and
five wrong codes, and ends with the password that was right.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mailnode.errors import NotSent, SignInBlocked, TooManyCodes, WrongCode
from mailnode.events import CodeAwaited, Event
from mailnode.web.guard import HALF
from mailnode.web.passing import Passing
from mailnode.web.refusals import InClear
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.cred.second_factor import SecondFactors, SentCode
    from mailnode.store.directory import Account
    from mailnode.store.factors import Factor
    from mailnode.web.pages.signin import SignIns
    from mailnode.web.visit import Visit

HALF_S = 300.0
MOST_TRIES = 5
MOST_HALVES = 20  # of an account; the oldest makes room, and nobody else's does
PAGE = "/sign-in/code"
AGAIN = "Sign in again: that took too long, or too many codes were wrong."


@define(eq=False)
class Half:
    """Half of a sign-in.

    Attributes:
        since: when the account's sign-in had last changed (`Account.sign_in_changed_at`).
        wanted: the page to go to, "" for the first.
        sent: the code that was last sent.
        tries: wrong codes that are left.
    """

    account_id: int
    since: float
    wanted: str
    sent: SentCode | None = field(default=None, init=False)
    tries: int = field(default=MOST_TRIES, init=False)


@define(eq=False)
class SignInCodes:
    """Its pages.

    Args:
        tell: takes the events that have no commit of their own.
        seconds: of a clock that nobody sets.
    """

    sign_ins: SignIns
    factors: SecondFactors
    tell: Callable[[Event], object]
    seconds: Callable[[], float]
    halves: Passing[Half] = field(init=False)
    _keys_of: Passing[deque[bytes]] = field(init=False)  # of an account's halves, by its id

    def __attrs_post_init__(self) -> None:
        self.halves = Passing(self.seconds, HALF_S)
        self._keys_of = Passing(self.seconds, HALF_S)

    def routes(self) -> Sequence[Route]:
        return (
            Route(PAGE, ("GET",), self.show, "The page that asks for a code", Need.NOBODY),
            Route(
                PAGE,
                ("POST",),
                self.sign_in,
                "Signs in: ``code``, of a second factor or for recovery",
                Need.NOBODY,
            ),
            Route(
                f"{PAGE}/send",
                ("POST",),
                self.send,
                "Sends a code by mail or as a text: ``factor``",
                Need.NOBODY,
            ),
        )

    def begin(self, visit: Visit, account: Account, wanted: str) -> Answer:
        """The password was right: a code is asked for, in this browser."""
        self.halves.drop(self._key(visit))
        secret = secrets.token_urlsafe(32)
        self._keep(_hash(secret), Half(account.id, account.sign_in_changed_at, wanted))
        self.tell(CodeAwaited(client=visit.peer.client, detail={"account": str(account.address)}))
        cookie = self.sign_ins.guard.half_cookie(visit.request, visit.peer, secret, int(HALF_S))
        return see_other(PAGE).with_cookies(cookie)

    def _keep(self, key: bytes, half: Half) -> None:
        keys = self._keys_of.find(half.account_id) or deque[bytes]()
        if len(keys) >= MOST_HALVES:
            self.halves.drop(keys.popleft())
        keys.append(key)
        self._keys_of.keep(half.account_id, keys)
        self.halves.keep(key, half)

    async def show(self, visit: Visit) -> Answer:
        found = self._found(visit)
        return self._page(visit, *found) if found else see_other("/sign-in")

    async def sign_in(self, visit: Visit) -> Answer:
        """Signed in, with a session of its own."""
        self._require_let_in(visit)
        found = self._found(visit)
        if found is None:
            return self._over(visit)
        half, account = found
        if half.tries <= 0:
            return self._over(visit)
        half.tries -= 1  # before anybody looks: many that come at once are as many
        client, name = visit.peer.client, str(account.address)
        try:
            how = await self.factors.judge(account.id, visit.form.get("code"), client, half.sent)
        except (WrongCode, TooManyCodes) as error:
            await self.sign_ins.portal.code_failed(client, name, error.detail)
            if half.tries <= 0:
                return self._over(visit)
            return self._page(visit, half, account, error.http_status, fault=f"{error.text}.")
        if self._found(visit) is None:
            return self._over(visit)
        self.halves.drop(self._key(visit))
        device, device_cookie = self.sign_ins.guard.device(visit.request, visit.peer)
        self.sign_ins.portal.code_fitted(client, name, how, device)
        told = self.sign_ins.notice(account)
        answer = await self.sign_ins.begin(visit, account, half.wanted or "/", told)
        return answer.with_cookies(self._no_cookie(visit), device_cookie)

    async def send(self, visit: Visit) -> Answer:
        self._require_let_in(visit)
        found = self._found(visit)
        if found is None:
            return self._over(visit)
        half, account = found
        wanted = visit.form.get("factor")
        factor = next((each for each in self._sendable(account) if str(each.id) == wanted), None)
        if factor is None:
            return self._page(visit, half, account, 422, fault="That way is there no more.")
        try:
            half.sent = await self.factors.send(account, factor)
        except NotSent as error:
            return self._page(visit, half, account, error.http_status, fault=f"{error.text}.")
        return self._page(visit, half, account)

    def _require_let_in(self, visit: Visit) -> None:
        """
        Raises:
            SignInBlocked: its address guessed too often, or was banned, since the password came.
        """
        if left_s := self.sign_ins.guard.turn_away(visit.peer.client):
            raise SignInBlocked.until(left_s)

    def _found(self, visit: Visit) -> tuple[Half, Account] | None:
        """What this browser is in the middle of, while its account's sign-in is as it was."""
        if not visit.peer.may_sign_in:
            raise InClear()
        half = self.halves.find(self._key(visit))
        account = self.sign_ins.find_account(half.account_id) if half is not None else None
        if half is None or account is None or account.disabled:
            return None
        return (half, account) if account.sign_in_changed_at == half.since else None

    def _key(self, visit: Visit) -> bytes:
        return _hash(self.sign_ins.guard.cookie(visit.request, visit.peer, HALF))

    def _sendable(self, account: Account) -> list[Factor]:
        senders = self.factors.senders
        return [each for each in self.factors.factors_of(account.id) if each.kind in senders]

    def _page(
        self, visit: Visit, half: Half, account: Account, status: int = 200, fault: str = ""
    ) -> Answer:
        kinds = {each.kind for each in self.factors.factors_of(account.id)}
        return self.sign_ins.templates.page(
            visit,
            "sign_in_code.html",
            status,
            title="Sign in",
            account=account,
            fault=fault,
            has_device="totp" in kinds,
            sendable=[(each.id, told_target(each)) for each in self._sendable(account)],
            sent=half.sent and told_target(half.sent),
        )

    def _over(self, visit: Visit) -> Answer:
        self.halves.drop(self._key(visit))
        answer = self.sign_ins.page(visit, 401, fault=AGAIN)
        return answer.with_cookies(self._no_cookie(visit))

    def _no_cookie(self, visit: Visit) -> str:
        return self.sign_ins.guard.half_cookie(visit.request, visit.peer, "", 0)


def told_target(factor: Any) -> str:
    """Where a code goes, as far as somebody who only knows the password is told."""
    target: str = factor.target
    if factor.kind == "mail":
        local, _, domain = target.rpartition("@")
        return f"a mail to {local[:1]}…@{domain}"
    return f"a text to …{target[-3:]}"


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
