"""Domains and aliases: which addresses are taken here, and where those without a mailbox lead."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.addresses import parse_address, parse_domain
from mailnode.errors import AccountError, BadAddress, MailError
from mailnode.web.pages.admin_forms import Typed
from mailnode.web.refusals import NotAllowed
from mailnode.web.rights import require_address, require_domain
from mailnode.web.routes import Answer, Need, Route, see_other
from mailnode.web.templates import FlashForm

if TYPE_CHECKING:
    from mailnode.store.directory import Alias, Domain
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.guest import Guest
    from mailnode.web.visit import Visit

MOST_TARGETS, MOST_LISTED = 200, 500
_BETWEEN = re.compile(r"[\s,;]+")


@frozen
class DomainLine:
    """A domain in the list."""

    domain: Domain
    accounts: int
    aliases: int


@define(eq=False)
class AdminAddresses:
    """The pages."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        who = Need.DOMAIN_ADMIN
        of_domains: tuple[tuple[str, Callable[..., Any], str], ...] = (
            ("/admin/domains", self.add_domain, "Serves a domain: ``name``"),
            (
                "/admin/domains/delete",
                self.delete_domain,
                "Serves it no longer; asks first: ``name``, ``sure``",
            ),
        )
        of_aliases: tuple[tuple[str, Callable[..., Any], str], ...] = (
            (
                "/admin/aliases",
                self.add_alias,
                "Leads an address to others: ``source``, ``targets``",
            ),
            (
                "/admin/aliases/delete",
                self.delete_alias,
                "Leads it no longer: ``source``, ``target`` (without one: nowhere)",
            ),
        )
        return (
            Route("/admin/domains", ("GET",), self.show_domains, "Domains", Need.ADMIN),
            *(Route(path, ("POST",), do, about, Need.ADMIN) for path, do, about in of_domains),
            Route("/admin/aliases", ("GET",), self.show_aliases, "Aliases", who),
            *(Route(path, ("POST",), do, about, who) for path, do, about in of_aliases),
        )

    # Domains

    async def show_domains(
        self, visit: Visit, typed: Typed | None = None, status: int = 200
    ) -> Answer:
        return await self.desk.page(
            visit,
            "admin_domains.html",
            status,
            title="Domains",
            lines=await self.desk.in_thread(self._domain_lines),
            typed=typed or Typed(),
        )

    def _domain_lines(self) -> list[DomainLine]:
        domains, aliases = self._read()
        accounts = Counter(each.address.domain for each in self.desk.directory.accounts())
        sources = Counter(each.rpartition("@")[2] for each in {alias.source for alias in aliases})
        return [DomainLine(each, accounts[each.name], sources[each.name]) for each in domains]

    def _read(self) -> tuple[list[Domain], list[Alias]]:
        return self.desk.accounts.domains(), self.desk.accounts.aliases()

    async def add_domain(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, ("name",))
        try:
            name = parse_domain(typed.get("name"))
            await self._change(lambda: self.desk.accounts_of(visit).add_domain(name))
        except BadAddress as error:
            typed.mistake("name", f"{error.text}; a domain is such as example.org")
        except AccountError as error:
            typed.mistake("name", error)
        if not typed.is_right:
            return await self.show_domains(visit, typed, 422)
        self._say(visit, f"{name} is served. It takes mail once it has an account.")
        return see_other("/admin/domains")

    async def delete_domain(self, visit: Visit) -> Answer:
        name = visit.form.get("name")
        if not visit.form.get("sure"):
            domains, _aliases = await self.desk.in_thread(self._read)
            first = domains[0].name if domains else ""
            return await self.desk.page(
                visit,
                "admin_sure.html",
                title=f"Serve {name} no longer?",
                told=[
                    f"Mail to {name} is refused from then on, and its keys that sign are gone.",
                    *(["A bare sign-in name then means the next domain."] if name == first else []),
                ],
                action="/admin/domains/delete",
                fields=[("name", name)],
                label="Delete the domain",
                back="/admin/domains",
                reason=None,
            )
        try:
            await self._change(lambda: self.desk.accounts_of(visit).delete_domain(name))
        except MailError as error:
            self.desk.templates.flashes.add(visit, f"{error.text}.", "failed")
            return await self.show_domains(visit, status=error.http_status)
        self._say(visit, f"{name} is served no longer.")
        return see_other("/admin/domains")

    # Aliases

    async def show_aliases(
        self, visit: Visit, typed: Typed | None = None, status: int = 200
    ) -> Answer:
        wanted = visit.query("q").strip().lower()
        lines, total = await self.desk.in_thread(self._alias_lines, visit.guest, wanted)
        return await self.desk.page(
            visit,
            "admin_aliases.html",
            status,
            title="Aliases",
            lines=lines,
            total=total,
            q=wanted,
            typed=typed or Typed(),
            domain=self._first_domain(visit.guest) or "example.org",
        )

    def _first_domain(self, guest: Guest) -> str | None:
        """What a bare name is at."""
        first = self.desk.directory.first_domain
        return first if guest.is_admin else next(iter(guest.domains), None)

    def _alias_lines(
        self, guest: Guest, wanted: str
    ) -> tuple[list[tuple[str, list[str], list[str]]], int]:
        """Sources, targets, those of them that are elsewhere; and how many sources fit."""
        grouped: dict[str, list[str]] = {}
        for each in self.desk.accounts.aliases():
            if guest.looks_after(each.source.rpartition("@")[2]):
                grouped.setdefault(each.source, []).append(each.target)
        fit = [
            (source, targets)
            for source, targets in sorted(grouped.items())
            if any(wanted in each.lower() for each in (source, *targets))
        ]
        lines = [
            (source, targets, [each for each in targets if self._is_foreign(each)])
            for source, targets in fit[:MOST_LISTED]
        ]
        return lines, len(fit)

    def _is_foreign(self, target: str) -> bool:
        return not self.desk.directory.is_local(parse_address(target).domain)

    async def add_alias(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, ("source", "targets"))
        accounts, guest = self.desk.accounts_of(visit), visit.guest
        source = self._read_address(guest, typed, "source", typed.get("source"))
        if source:
            address = parse_address(source)
            try:
                require_address(guest, address, self.desk.directory.owner_of(address))
            except NotAllowed as error:
                typed.mistake("source", error)
        named = list(filter(None, _BETWEEN.split(typed.get("targets"))))
        if not named:
            typed.mistake("targets", "Name at least one address that the mail goes to")
        if len(named) > MOST_TARGETS:
            typed.mistake("targets", f"These are more than {MOST_TARGETS}; add the rest later")
        targets = [self._read_address(guest, typed, "targets", each) for each in named]
        if not typed.is_right:
            return await self.show_aliases(visit, typed, 422)
        try:
            await self._change(lambda: accounts.add_aliases(source, targets))
        except MailError as error:
            at_source = source.partition("@")[2] not in self.desk.directory.domains
            taken = f"{source} is an account" in error.text
            typed.mistake("source" if at_source or taken else "targets", error)
            return await self.show_aliases(visit, typed, 422)
        self._say(visit, f"Mail for {source} goes to {', '.join(targets)}.")
        return see_other("/admin/aliases")

    def _read_address(self, guest: Guest, typed: Typed, name: str, said: str) -> str:
        domain = self._first_domain(guest)
        if said and "@" not in said and domain is not None:
            said = f"{said}@{domain}"
        try:
            return str(parse_address(said))
        except BadAddress as error:
            typed.mistake(name, f"{said or 'Nothing'}: {error.text.lower()}")
            return ""

    async def delete_alias(self, visit: Visit) -> Answer:
        source, target = visit.form.get("source"), visit.form.get("target")
        require_domain(visit.guest, source.rpartition("@")[2])
        accounts = self.desk.accounts_of(visit)
        _domains, aliases = await self.desk.in_thread(self._read)
        gone = [
            each.target for each in aliases if each.source == source and target in ("", each.target)
        ]
        await self._change(lambda: accounts.delete_alias(source, target or None))
        undo = FlashForm("/admin/aliases", "Undo", {"source": source, "targets": "\n".join(gone)})
        text = f"Mail for {source} goes no longer to {', '.join(gone)}."
        self.desk.templates.flashes.add(visit, text, form=undo if gone else None)
        return see_other("/admin/aliases")

    async def _change(self, function: Callable[[], Any]) -> Any:
        done = await self.desk.in_thread(function)
        await self.desk.changed()
        return done

    def _say(self, visit: Visit, text: str) -> None:
        self.desk.templates.flashes.add(visit, text)
