"""One's own account: where it is signed in, tokens for programs, a new password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from mailnode.audited import Entry
from mailnode.errors import AccountError, NotFound, SignInBusy, SignInRefused, WeakPassword
from mailnode.model import INBOX, JUNK
from mailnode.web.guest import IWebGuest
from mailnode.web.pages.signin import FormCredentials, SignIns
from mailnode.web.refusals import NoSuchPage, NotAllowed
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import Templates

if TYPE_CHECKING:
    from mailnode.audited import Actor
    from mailnode.cred.ageing import Ageing
    from mailnode.store.directory import Account
    from mailnode.store.factors import Factor
    from mailnode.store.guests import Guests
    from mailnode.store.seen_rows import SeenRow
    from mailnode.store.tokens import Token
    from mailnode.web.pages.lists import Shelf
    from mailnode.web.visit import Visit

TAGGED = "tagged"
DAY_S = 86400.0
WAYS = {"web": "a browser", "pop3": "a mail program (POP3)", "smtp": "a mail program (SMTP)"}
MOST_DAYS = 3650
SCOPES = {
    "read": "read mail",
    "send": "send mail",
    "manage": "mark, move and delete mail",
    "admin": "look after the node",
}
MAIL_SCOPES = {"pop3": "fetch mail (POP3)", "smtp": "send mail (SMTP)"}


async def _nowhere(account_id: int) -> Sequence[SeenRow]:
    return ()


def _untold(entry: Entry) -> None:
    """There is no stream."""


@define(eq=False)
class Settings:
    """The settings page, and what can be done there.

    Args:
        now: UTC epoch seconds.
        set_password: gives an account a new password, as done by an actor; raises WeakPassword
            for one that may not be set; everybody knows of it when the Deferred fires.
        set_junk: files an account's unwanted mail in that folder from now on, and says whether POP3
            serves it under a tagged Subject; likewise.
        shelf: the folders of who asks, beside the page.
        passwords_here: False where another checker judges them (`--auth`): they are set elsewhere.
        least_characters: of a password.
        ageing: how old one may be; None where another checker judges them.
        factors_of: an account's second factors, by its id.
        recent: where an account signed in from, the last one first.
        tell: the audit stream, what changes here and not in users.db.
    """

    templates: Templates
    guests: Guests
    sign_ins: SignIns
    now: Callable[[], float]
    set_password: Callable[[Account, str, Actor], Awaitable[None]]
    set_junk: Callable[[Account, str, bool, Actor], Awaitable[None]]
    shelf: Callable[[Visit], Awaitable[Shelf]]
    passwords_here: bool = True
    least_characters: Callable[[], int] = field(default=lambda: 1)
    ageing: Ageing | None = None
    factors_of: Callable[[int], Sequence[Factor]] = field(default=lambda account_id: ())
    recent: Callable[[int], Awaitable[Sequence[SeenRow]]] = field(default=_nowhere)
    tell: Callable[[Entry], object] = field(default=_untold)

    def routes(self) -> Sequence[Route]:
        return (
            Route("/settings", ("GET",), self.show, "The settings page"),
            Route(
                "/settings/sessions/<key>/end", ("POST",), self.end_session, "Signs a browser out"
            ),
            Route("/settings/sessions/end", ("POST",), self.end_sessions, "Signs all others out"),
            Route(
                "/settings/tokens",
                ("POST",),
                self.make_token,
                "Makes a token, which is shown once: ``name``, ``scope`` (several), ``days``",
            ),
            Route(
                "/settings/tokens/<int:number>/revoke",
                ("POST",),
                self.revoke_token,
                "Revokes a token",
            ),
            Route(
                "/settings/app-passwords",
                ("POST",),
                self.make_app_password,
                "Makes an app password, which is shown once: ``name``, ``scope`` (several)",
            ),
            Route(
                "/settings/junk",
                ("POST",),
                self.choose_junk,
                "Says where unwanted mail lies: ``junk``, ``Junk``, ``INBOX`` or ``tagged``",
            ),
            Route(
                "/settings/password",
                ("POST",),
                self.change_password,
                "Sets a new password: ``now``, ``new``, ``again``",
            ),
        )

    async def show(
        self, visit: Visit, secret: str = "", status: int = 200, app_password: str = ""
    ) -> Answer:
        account_id = visit.guest.account.id
        tokens = await self.guests.tokens(account_id)
        may = [(scope, about) for scope, about in SCOPES.items() if scope != "admin"]
        if visit.guest.administers:
            may.append(("admin", SCOPES["admin"]))
        return self.templates.page(
            visit,
            "settings.html",
            status,
            title="Settings",
            shelf=await self.shelf(visit),
            sessions=await self.guests.sessions(account_id),
            recent=await self.recent(account_id),
            ways=WAYS,
            tokens=[each for each in tokens if not each.is_app_password],
            app_passwords=[each for each in tokens if each.is_app_password],
            scopes=may,
            mail_scopes=MAIL_SCOPES,
            factors=self.factors_of(account_id),
            secret=secret,
            app_password=app_password,
            least=self.least_characters(),
            ends_at=self.ageing.ends_at(visit.guest.account) if self.ageing is not None else None,
            junk=_choice_of(visit.guest.account),
            passwords_here=self.passwords_here,
        )

    async def choose_junk(self, visit: Visit) -> Answer:
        choice = visit.form.get("junk")
        folder = INBOX if choice in (INBOX, TAGGED) else JUNK
        await self.set_junk(visit.guest.account, folder, choice == TAGGED, visit.actor)
        words = {INBOX: "the inbox, marked", TAGGED: "the inbox, its subject tagged for POP3"}
        self._say(visit, f"Unwanted mail lies in {words.get(choice, 'Junk')}, from now on.")
        return see_other("/settings")

    async def end_session(self, visit: Visit, key: str) -> Answer:
        try:
            key_hash = bytes.fromhex(key)
        except ValueError:
            raise NoSuchPage() from None
        if await self.guests.end_session(visit.guest.account.id, key_hash):
            self._say(visit, "That browser is signed out.")
        else:
            self._say(visit, "That browser was signed out already.")
        return see_other("/settings")

    async def end_sessions(self, visit: Visit) -> Answer:
        session = visit.guest.session
        but = session.key_hash if session is not None else b""
        count = await self.guests.end_sessions(visit.guest.account.id, but)
        self._say(visit, f"Signed out elsewhere: {count}.")
        return see_other("/settings")

    async def make_token(self, visit: Visit) -> Answer:
        form, account = visit.form, visit.guest.account
        scopes = [each for each in form.all("scope") if each not in MAIL_SCOPES]
        if "admin" in scopes and not visit.guest.administers:
            return await self._refused(visit, "Only administrators have tokens that administer.")
        days = form.get("days", "90")
        if not (days.isascii() and days.isdigit()) or len(days) > 4 or int(days) > MOST_DAYS:
            return await self._refused(visit, f"A token ends within {MOST_DAYS} days, or never.")
        until = self.now() + int(days) * DAY_S if int(days) else None
        try:
            secret, token = await self.guests.make_token(
                account.id, form.get("name"), scopes, until
            )
        except AccountError as error:
            return await self._refused(visit, f"{error.text}.")
        self._tell_made(visit, token)
        return await self.show(visit, secret)

    async def make_app_password(self, visit: Visit) -> Answer:
        form, account = visit.form, visit.guest.account
        scopes = [each for each in form.all("scope") if each in MAIL_SCOPES]
        if not scopes:
            return await self._refused(visit, "Choose what the app password is for.")
        try:
            secret, token = await self.guests.make_token(account.id, form.get("name"), scopes, None)
        except (AccountError, SignInBusy) as error:
            return await self._refused(visit, f"{error.text}.")
        self._tell_made(visit, token)
        return await self.show(visit, app_password=secret)

    async def revoke_token(self, visit: Visit, number: int) -> Answer:
        try:
            gone = await self.guests.end_token(visit.guest.account.id, number)
        except NotFound:
            self._say(visit, "That one was revoked already.")
        else:
            account = str(visit.guest.account.address)
            detail = {"name": gone.name, "token": number}
            self.tell(Entry("token-revoked", account, visit.actor, detail))
            self._say(visit, f"The {gone.called} lets nobody in any more.")
        return see_other("/settings")

    async def change_password(self, visit: Visit) -> Answer:
        """A new one; every session and token ends, and this browser gets a new session."""
        if not self.passwords_here:
            raise NotAllowed("Passwords of this node are set elsewhere")
        form, account = visit.form, visit.guest.account
        new = form.get("new")
        if new != form.get("again"):
            return await self._refused(visit, "The two new passwords differ.")
        typed = FormCredentials(
            str(account.address).encode(), form.get("now").encode(), visit.peer.client
        )
        try:
            await self.sign_ins.portal.login(typed, None, IWebGuest)
        except SignInRefused:
            return await self._refused(visit, "The current password is wrong.")
        except SignInBusy as error:
            return await self._refused(visit, f"{error.text}.", 503)
        try:
            await self.set_password(account, new, visit.actor)
        except WeakPassword as error:
            return await self._refused(visit, f"{error.text}.")
        except SignInBusy as error:
            return await self._refused(visit, f"{error.text}.", 503)
        changed = self.sign_ins.find_account(account.id)
        if changed is None:
            return see_other("/sign-in")
        told = (
            "The password is changed; other browsers are signed out, and tokens and app passwords"
            " have ended."
        )
        return await self.sign_ins.begin(visit, changed, "/settings", told)

    def _tell_made(self, visit: Visit, token: Token) -> None:
        detail = {"name": token.name, "scopes": list(token.scopes), "token": token.id}
        self.tell(Entry("token-made", str(visit.guest.account.address), visit.actor, detail))

    def _say(self, visit: Visit, text: str) -> None:
        self.templates.flashes.add(visit, text)

    async def _refused(self, visit: Visit, why: str, status: int = 422) -> Answer:
        self.templates.flashes.add(visit, why, "failed")
        return await self.show(visit, status=status)


def _choice_of(account: Account) -> str:
    return TAGGED if account.tag_subject else account.junk
