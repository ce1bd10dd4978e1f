"""One's own second factors: set up with a password, turned off with a code beside it.

Where one is on, another is set up with a code, too: who has only the password would else turn the
first off by a code of his own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.errors import (
    AccountError,
    BadAddress,
    NotSent,
    SignInBusy,
    SignInRefused,
    TooManyCodes,
    WrongCode,
)
from mailnode.events import Event, FactorAdded, FactorRemoved, RecoveryCodesMade
from mailnode.texting import read_number
from mailnode.web.guest import IWebGuest
from mailnode.web.pages.signin import FormCredentials
from mailnode.web.passing import Passing
from mailnode.web.qr import qr_of
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Route, see_other

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.cred.second_factor import Enrolment, SecondFactors, SentCode
    from mailnode.store.directory import Account
    from mailnode.store.factors import CodesLeft, Factor
    from mailnode.web.pages.lists import Shelf
    from mailnode.web.pages.signin import SignIns
    from mailnode.web.templates import Templates
    from mailnode.web.visit import Visit

PAGE = "/settings/second-factor"
ENROL_S = 600.0
MOST_TRIES = 5
NAMES = {"totp": "Authenticator app", "mail": "Mail", "command": "Text message"}


@define(eq=False, kw_only=True)
class FactorDesk:
    """What the pages change; every process knows of it when an Awaitable is done.

    Attributes:
        add: gives an account the factor of an enrolment; raises AccountError.
        remove: takes some from an account, by their ids; gives those that there were.
        set_recovery: an account's recovery codes, as they are kept.
        recovery: how many an account has.
        last_uses: of an account's factors, by their ids.
        is_own: whether mail to an address comes to the account itself.
        tell: takes the events.
    """

    add: Callable[[Account, Enrolment], Awaitable[Factor]]
    remove: Callable[[int, Sequence[int]], Awaitable[list[Factor]]]
    set_recovery: Callable[[int, list[bytes]], Awaitable[None]]
    recovery: Callable[[int], Awaitable[CodesLeft]]
    last_uses: Callable[[int], Awaitable[dict[int, Any]]]
    is_own: Callable[[Account, Address], bool]
    tell: Callable[[Event], object]


@define(eq=False)
class Begun:
    """An enrolment that a browser is in the middle of."""

    enrolment: Enrolment
    tries: int = field(default=MOST_TRIES, init=False)


@define(eq=False)
class FactorPages:
    """The page of second factors, and what can be done there.

    Args:
        shelf: the folders of who asks, beside the page.
        seconds: of a clock that nobody sets.
    """

    sign_ins: SignIns
    factors: SecondFactors
    desk: FactorDesk
    shelf: Callable[[Visit], Awaitable[Shelf]]
    seconds: Callable[[], float]
    _begun: Passing[Begun] = field(init=False)
    _sent: Passing[SentCode] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._begun = Passing(self.seconds, ENROL_S)
        self._sent = Passing(self.seconds, ENROL_S)

    def routes(self) -> Sequence[Route]:
        def post(path: str, answer: Any, about: str) -> Route:
            return Route(f"{PAGE}{path}", ("POST",), answer, about)

        return (
            Route(PAGE, ("GET",), self.show, "The page of second factors"),
            post(
                "/begin",
                self.begin,
                "Begins to set one up: ``kind``, ``name``, ``target``, ``password``, ``code``",
            ),
            post("/confirm", self.confirm, "Turns it on: ``code``"),
            post("/send", self.send, "Sends a code for what is done on this page: ``factor``"),
            post("/<int:number>/remove", self.remove, "Turns one off: ``password``, ``code``"),
            post(
                "/recovery-codes",
                self.make_recovery,
                "Makes ten new recovery codes, shown once: ``password``, ``code``",
            ),
        )

    async def show(
        self,
        visit: Visit,
        status: int = 200,
        begun: Begun | None = None,
        codes: Sequence[str] = (),
    ) -> Answer:
        account = visit.guest.account
        secret = begun.enrolment.secret if begun is not None else ""
        uri = ""
        if begun is not None and secret:
            uri = self.factors.uri_of(begun.enrolment, account, self._templates.node)
        return self._templates.page(
            visit,
            "factors.html",
            status,
            title="Second factor",
            shelf=await self.shelf(visit),
            factors=self.factors.factors_of(account.id),
            uses=await self.desk.last_uses(account.id),
            recovery=await self.desk.recovery(account.id),
            names=NAMES,
            can=("totp", *self.factors.senders),
            sendable=self.factors.senders,
            begun=begun,
            uri=uri,
            qr=qr_of(uri) if uri else "",
            secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
            codes=codes,
        )

    # Setting one up

    async def begin(self, visit: Visit) -> Answer:
        """Whose it is has been shown: a secret follows, or a code is sent, which confirms it."""
        form, account = visit.form, visit.guest.account
        kind = form.get("kind")
        if kind not in ("totp", *self.factors.senders):
            return await self._refused(visit, "That way is not offered here.")
        target = self._target(account, kind, form.get("target").strip())
        if target is None:
            what = "another mail address than your own" if kind == "mail" else "a telephone number"
            return await self._refused(visit, f"Give {what}.")
        name = " ".join(form.get("name").split()) or NAMES[kind]
        if any(each.name == name for each in self.factors.factors_of(account.id)):
            return await self._refused(visit, f"You have one called {name} already.")
        if (refusal := await self._unproved(visit)) is not None:
            return refusal
        try:
            begun = Begun(await self.factors.enrol(account, kind, name, target))
        except NotSent as error:
            return await self._refused(visit, f"{error.text}.", error.http_status)
        self._begun.keep(_browser(visit), begun)
        return await self.show(visit, begun=begun)

    def _target(self, account: Account, kind: str, typed: str) -> str | None:
        """Where codes of that kind go; None where they can't go there."""
        if kind == "command":
            return read_number(typed)
        if kind != "mail":
            return ""
        try:
            address = parse_address(typed)
        except BadAddress:
            return None
        return None if self.desk.is_own(account, address) else str(address)

    async def confirm(self, visit: Visit) -> Answer:
        """It is on: other browsers are signed out, and with the first there are recovery codes."""
        account, key = visit.guest.account, _browser(visit)
        begun = self._begun.find(key)
        if begun is None or begun.tries <= 0:
            return await self._refused(visit, "That took too long; begin again.")
        begun.tries -= 1
        step = self.factors.confirmed_by(begun.enrolment, visit.form.get("code"))
        if step is None:
            self._say(visit, "That code is wrong.", "failed")
            return await self.show(visit, 422, begun=begun if begun.tries else None)
        self._begun.drop(key)
        is_first = not self.factors.factors_of(account.id)
        try:
            factor = await self.desk.add(account, begun.enrolment)
        except AccountError as error:
            return await self._refused(visit, f"{error.text}.")
        await self.factors.note_confirmed(factor, step, visit.peer.client)
        self.desk.tell(FactorAdded(client=visit.peer.client, detail=told(account, factor)))
        await self._sign_out_others(visit)
        self._say(visit, f"{factor.name} is on. Other browsers are signed out.")
        return await self._new_codes(visit) if is_first else see_other(PAGE)

    # What is on already

    async def send(self, visit: Visit) -> Answer:
        account, wanted = visit.guest.account, visit.form.get("factor")
        known = self.factors.factors_of(account.id)
        factor = next((each for each in known if str(each.id) == wanted), None)
        if factor is None:
            raise NoSuchPage()
        try:
            self._sent.keep(_browser(visit), await self.factors.send(account, factor))
        except NotSent as error:
            return await self._refused(visit, f"{error.text}.", error.http_status)
        self._say(visit, f"A code is on its way to {factor.target}.")
        return see_other(PAGE)

    async def remove(self, visit: Visit, number: int) -> Answer:
        account = visit.guest.account
        if (refusal := await self._unproved(visit)) is not None:
            return refusal
        gone = await self.desk.remove(account.id, [number])
        for factor in gone:
            detail = told(account, factor) | {"by": str(account.address)}
            self.desk.tell(FactorRemoved(client=visit.peer.client, detail=detail))
            self._say(visit, f"{factor.name} is off. Other browsers are signed out.")
        if gone:
            await self._sign_out_others(visit)
        return see_other(PAGE)

    async def make_recovery(self, visit: Visit) -> Answer:
        if not self.factors.factors_of(visit.guest.account.id):
            return await self._refused(visit, "Recovery codes go with a second factor.")
        refusal = await self._unproved(visit)
        return refusal if refusal is not None else await self._new_codes(visit)

    async def _new_codes(self, visit: Visit) -> Answer:
        account = visit.guest.account
        codes, hashes = self.factors.make_recovery_codes(account.id)
        await self.desk.set_recovery(account.id, hashes)
        detail = {"account": str(account.address)}
        self.desk.tell(RecoveryCodesMade(client=visit.peer.client, detail=detail))
        return await self.show(visit, codes=codes)

    # Who asks

    async def _unproved(self, visit: Visit) -> Answer | None:
        """The refusal of who shows no password, or no code where an account has them."""
        account, client = visit.guest.account, visit.peer.client
        if (refusal := await self._wrong_password(visit)) is not None:
            return refusal
        if not self.factors.factors_of(account.id):
            return None
        sent = self._sent.find(_browser(visit))
        try:
            await self.factors.judge(account.id, visit.form.get("code"), client, sent)
        except (WrongCode, TooManyCodes) as error:
            await self.sign_ins.portal.code_failed(client, str(account.address), error.detail)
            return await self._refused(visit, f"{error.text}.", 422)
        return None

    async def _wrong_password(self, visit: Visit) -> Answer | None:
        account, typed = visit.guest.account, visit.form.get("password")
        shown = FormCredentials(str(account.address).encode(), typed.encode(), visit.peer.client)
        try:
            await self.sign_ins.portal.login(shown, None, IWebGuest)
        except SignInRefused:
            return await self._refused(visit, "The password is wrong.")
        except SignInBusy as error:
            return await self._refused(visit, f"{error.text}.", 503)
        return None

    async def _sign_out_others(self, visit: Visit) -> None:
        await self.sign_ins.guests.end_sessions(visit.guest.account.id, _browser(visit))

    @property
    def _templates(self) -> Templates:
        return self.sign_ins.templates

    def _say(self, visit: Visit, text: str, kind: str = "done") -> None:
        self._templates.flashes.add(visit, text, kind)

    async def _refused(self, visit: Visit, why: str, status: int = 422) -> Answer:
        self._say(visit, why, "failed")
        return await self.show(visit, status)


def told(account: Account, factor: Factor) -> dict[str, object]:
    """What an event says of a factor."""
    return {"account": str(account.address), "kind": factor.kind, "factor": factor.name}


def _browser(visit: Visit) -> bytes:
    """Which of the owner's browsers asks; no program may."""
    session = visit.guest.session
    assert session is not None
    return session.key_hash
