"""In and out: the same portal that SMTP and POP3 ask, as slow for guessers as there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from zope.interface import implementer

from mailnode.errors import SignInBusy, SignInRefused
from mailnode.web.guard import Guard, safe_next
from mailnode.web.guest import IWebGuest
from mailnode.web.refusals import InClear, NotAllowed
from mailnode.web.routes import Answer, Need, Route, see_other
from mailnode.web.templates import Templates

if TYPE_CHECKING:
    from mailnode.store.directory import Account
    from mailnode.store.guests import Guests
    from mailnode.web.visit import Visit

WRONG = "That name and password do not fit."
BUSY = "Too many sign in at the moment. Try again in a few seconds."
MOST_NAME, MOST_PASSWORD = 320, 1000


@implementer(IUsernamePassword)
@define(eq=False)
class FormCredentials:
    """What was typed.

    Attributes:
        client: the address of the other end.
        device: what tells its browser from others; "" where somebody is signed in already.
        service: to whom it was said.
        awaits_code: it was right, and a code of a second factor is still to come.
    """

    service = "web"

    username: bytes
    password: bytes = field(repr=False)
    client: str
    device: str = ""
    awaits_code: bool = field(default=False, init=False)

    def checkPassword(self, password: bytes) -> bool:
        """Whoever compares like this asks for what was typed; in constant time."""
        return compare_digest(self.password, password)


def _no_half(visit: Visit, account: Account, wanted: str) -> Answer:
    raise NotAllowed("Nobody asks for a code here")


@define(eq=False)
class SignIns:
    """The pages of signing in and out.

    Args:
        demo_accounts: those whose passwords are published.
        notice: what an account is told of its password, "" for nothing.
        half: where an account with a second factor goes on (`pages.signin_code`).
    """

    templates: Templates
    guard: Guard
    guests: Guests
    portal: Any
    find_account: Callable[[int], Account | None]
    demo_accounts: Callable[[], Sequence[Account]]
    notice: Callable[[Account], str] = field(default=lambda account: "")
    half: Callable[[Visit, Account, str], Answer] = field(default=_no_half)

    def routes(self) -> Sequence[Route]:
        return (
            Route("/sign-in", ("GET",), self.show, "The sign-in", Need.NOBODY),
            Route(
                "/sign-in",
                ("POST",),
                self.sign_in,
                "Signs in: ``name``, ``password``, ``next``",
                Need.NOBODY,
            ),
            Route("/sign-out", ("POST",), self.sign_out, "Ends the session"),
        )

    async def show(self, visit: Visit) -> Answer:
        return self.page(visit, next=safe_next(visit.query("next")))

    def page(self, visit: Visit, status: int = 200, **values: Any) -> Answer:
        can = visit.peer.may_sign_in
        demo = self.demo_accounts() if visit.peer.local else ()
        known = {"name": "", "next": "", "fault": "", "demo": demo, "title": "Sign in"}
        known["clear"] = "" if can else f"{InClear.text}."
        return self.templates.page(visit, "sign_in.html", status, **(known | values))

    async def sign_in(self, visit: Visit) -> Answer:
        """Signed in, with a session of its own; the one before, if any, is left alone."""
        if not visit.peer.may_sign_in:
            raise InClear()
        form = visit.form
        name, wanted = form.get("name").strip(), safe_next(form.get("next"))
        password = form.get("password")
        if len(name) > MOST_NAME or len(password) > MOST_PASSWORD:
            return self.page(visit, 401, fault=WRONG, next=wanted)
        device, cookie = self.guard.device(visit.request, visit.peer)
        typed = FormCredentials(name.encode(), password.encode(), visit.peer.client, device)
        try:
            _interface, avatar, _logout = await self.portal.login(typed, None, IWebGuest)
        except (SignInRefused, UnauthorizedLogin):
            return self.page(visit, 401, fault=WRONG, name=name, next=wanted)
        except SignInBusy:
            return self.page(visit, 503, fault=BUSY, name=name, next=wanted)
        account = self.find_account(avatar.account_id)
        if account is None:
            return self.page(visit, 401, fault=WRONG, name=name, next=wanted)
        if typed.awaits_code:
            return self.half(visit, account, wanted)
        begun = await self.begin(visit, account, wanted or "/", self.notice(account))
        return begun.with_cookies(cookie)

    async def begin(self, visit: Visit, account: Account, path: str, told: str = "") -> Answer:
        """A new session, and there, where that is told first."""
        agent = visit.request.header("User-Agent")
        agent = "".join(c for c in agent if c.isprintable())
        secret, session = await self.guests.open_session(account, visit.peer.client, agent)
        if told:
            self.templates.flashes.add_for(session.key_hash, told)
        max_age_s = int(session.expires_at - session.made_at)
        cookie = self.guard.session_cookie(visit.request, visit.peer, secret, max_age_s)
        return see_other(path).with_cookies(cookie)

    async def sign_out(self, visit: Visit) -> Answer:
        session = visit.guest.session
        if session is not None:
            await self.guests.end_session(session.account_id, session.key_hash)
        cookie = self.guard.session_cookie(visit.request, visit.peer, "", 0)
        return see_other("/sign-in").with_cookies(cookie)
