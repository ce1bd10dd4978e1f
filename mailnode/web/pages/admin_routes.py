"""Routes: which way mail for other hosts goes, and which way that of an address would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.addresses import parse_address
from mailnode.errors import AccountError, BadAddress, BadRoute, MailError
from mailnode.routes import TLS_WISHES, read_pattern, read_route
from mailnode.signposts import GEARS_MEAN, tell_way, tls_of, way_in_words, ways_for
from mailnode.web.pages.admin_forms import Typed
from mailnode.web.routes import Answer, Need, Route, see_other
from mailnode.web.templates import FlashForm

if TYPE_CHECKING:
    from mailnode.routes import Route as MailRoute
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit


@frozen
class RouteLine:
    """A route in the list.

    Attributes:
        idle: its pattern is of a domain here, so no mail asks it.
    """

    route: MailRoute
    way: str
    tls: str
    idle: bool


@frozen
class Tested:
    """Which way mail for an address goes.

    Attributes:
        fault: why there is none.
        mailboxes: here, that it is filed in.
        ways: names and values for each address elsewhere.
    """

    address: str
    fault: str = ""
    mailboxes: Sequence[str] = ()
    ways: Sequence[Sequence[tuple[str, str]]] = ()


@define(eq=False)
class AdminRoutes:
    """The page."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        path = "/admin/routes"
        return (
            Route(
                path,
                ("GET",),
                self.show,
                "Routes, and which way mail for an address goes: ``test``",
                Need.ADMIN,
            ),
            Route(
                path,
                ("POST",),
                self.add,
                "Makes a route: ``pattern``, ``target``, ``tls``",
                Need.ADMIN,
            ),
            Route(f"{path}/delete", ("POST",), self.delete, "Deletes one: ``pattern``", Need.ADMIN),
        )

    async def show(self, visit: Visit, typed: Typed | None = None, status: int = 200) -> Answer:
        found: list[MailRoute] = await self.desk.in_thread(self.desk.accounts.outside.routes)
        wanted = visit.query("test").strip()
        return await self.desk.page(
            visit,
            "admin_routes.html",
            status,
            title="Routes",
            lines=[self._line(each) for each in found],
            typed=typed or Typed(),
            tls_wishes=TLS_WISHES,
            tested=self._test(wanted) if wanted else None,
            gear=self.desk.directory.gear,
            gear_means=GEARS_MEAN[self.desk.directory.gear],
        )

    def _line(self, route: MailRoute) -> RouteLine:
        domain = route.pattern.rpartition("@")[2]
        idle = self.desk.directory.is_local(domain)
        return RouteLine(route, way_in_words(route), tls_of(route), idle)

    def _test(self, said: str) -> Tested:
        try:
            wanted = parse_address(said)
        except BadAddress as error:
            return Tested(said, f"{error.text}; an address is such as carol@example.com")
        try:
            mailboxes, ways = ways_for(self.desk.directory, wanted)
        except MailError as error:
            return Tested(said, error.text)
        told = [tell_way(self.desk.directory, wanted, each) for each in ways]
        return Tested(str(wanted), "", mailboxes, told)

    async def add(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, ("pattern", "target", "tls"))
        route = _read(typed)
        if route is not None:
            made = route
            try:
                await self._change(lambda: self.desk.accounts_of(visit).outside.add_route(made))
            except AccountError as error:
                typed.mistake("pattern", error)
        if route is None or not typed.is_right:
            return await self.show(visit, typed, 422)
        self.desk.templates.flashes.add(visit, f"Mail for {route.pattern} {way_in_words(route)}.")
        return see_other("/admin/routes")

    async def delete(self, visit: Visit) -> Answer:
        pattern = visit.form.get("pattern")
        found: list[MailRoute] = await self.desk.in_thread(self.desk.accounts.outside.routes)
        await self._change(lambda: self.desk.accounts_of(visit).outside.delete_route(pattern))
        undo = None
        for each in found:
            if each.pattern == pattern and not each.user:
                fields = {"pattern": each.pattern, "target": each.target, "tls": each.tls}
                undo = FlashForm("/admin/routes", "Undo", fields)
        text = f"Mail for {pattern} has no route of its own any more."
        self.desk.templates.flashes.add(visit, text, form=undo)
        return see_other("/admin/routes")

    async def _change(self, function: Callable[[], Any]) -> Any:
        done = await self.desk.in_thread(function)
        await self.desk.changed()
        return done


def _read(typed: Typed) -> MailRoute | None:
    """The route; None with what is wrong said."""
    try:
        read_pattern(typed.get("pattern"))
    except BadRoute as error:
        typed.mistake("pattern", error)
    tls = typed.get("tls") or None
    if tls not in (None, *TLS_WISHES):
        typed.mistake("tls", f"One of {', '.join(TLS_WISHES)}")
    if not typed.is_right:
        return None
    if "@" in typed.get("target"):
        # Its password stands in a file: whoever signed in here must not choose which one is read.
        typed.mistake(
            "target",
            "A route with a sign-in is made where the file with its password is: "
            "mailnode route add ... --password-file FILE",
        )
        return None
    try:
        return read_route(typed.get("pattern"), typed.get("target"), tls=tls)
    except BadRoute as error:
        typed.mistake("target", error)
        return None
