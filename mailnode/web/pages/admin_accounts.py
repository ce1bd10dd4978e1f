"""Accounts: listed with what they keep, made, changed, shut, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress, MailError, NotFound, SignInBusy, WeakPassword
from mailnode.telling import count, size
from mailnode.web.pages.admin_forms import Typed, as_typed, number_of, read_quota
from mailnode.web.refusals import NoSuchPage, NotAllowed
from mailnode.web.rights import may_change, require_address, require_changed, require_seen
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword
    from mailnode.store.accounts import Accounts
    from mailnode.store.directory import Account
    from mailnode.store.lists import Sums
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.guest import Guest
    from mailnode.web.visit import Visit

PAGE_ACCOUNTS = 100
NO_SUCH = "There is no such account, or none any more"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
_FIELDS = ("address", "quota", "quota_mails", "admin", "typed")


@frozen
class Line:
    """An account in the list.

    Attributes:
        mails, octets: that it keeps.
        full: of its quota, 0 to 100; None without one.
    """

    account: Account
    state: str
    mails: int
    octets: int
    quota: str
    full: int | None
    last_at: float | None


@define(eq=False)
class AdminAccounts:
    """The pages."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        one, who = "/admin/accounts/<int:account_id>", Need.DOMAIN_ADMIN
        posts: tuple[tuple[str, Callable[..., Any], str], ...] = (
            ("/quota", self.set_quota, "Sets its quota: ``quota``, ``quota_mails``"),
            ("/password", self.set_password, "Sets its password: ``password``, or makes one"),
            ("/state", self.set_state, "Shuts it, or opens it again: ``disabled``"),
            ("/delete", self.delete, "Deletes it; asks first: ``sure``, ``aliases``"),
        )
        return (
            Route("/admin/accounts", ("GET",), self.show, "Accounts: ``q``, ``after``", who),
            Route(
                "/admin/accounts",
                ("POST",),
                self.add,
                "Makes an account: ``address``, ``password`` (or one is made), ``quota``, "
                "``quota_mails``, ``admin``",
                who,
            ),
            Route(one, ("GET",), self.show_one, "An account", who),
            *(Route(one + path, ("POST",), do, about, who) for path, do, about in posts),
            Route(
                f"{one}/admin",
                ("POST",),
                self.set_admin,
                "Makes it an administrator, or none: ``admin``",
                Need.ADMIN,
            ),
            Route(
                f"{one}/domains",
                ("POST",),
                self.set_domains,
                "Sets the domains that it looks after: ``domain`` (several)",
                Need.ADMIN,
            ),
        )

    # The list

    async def show(self, visit: Visit, typed: Typed | None = None, status: int = 200) -> Answer:
        wanted, after = visit.query("q").strip().lower(), number_of(visit.query("after"))
        guest = visit.guest
        fit, total, sums = await self.desk.in_thread(self._look, guest, wanted, after)
        domain = self._first_domain(guest)
        return await self.desk.page(
            visit,
            "admin_accounts.html",
            status,
            title="Accounts",
            lines=[self._line(each, sums) for each in fit[:PAGE_ACCOUNTS]],
            total=total,
            q=wanted,
            more=fit[PAGE_ACCOUNTS - 1].id if len(fit) > PAGE_ACCOUNTS else 0,
            typed=typed or Typed(),
            domain=domain,
            least=self.desk.least_characters(),
            sets_passwords=self.desk.sets_passwords,
        )

    def _first_domain(self, guest: Guest) -> str | None:
        """What a bare name is at."""
        first = self.desk.directory.first_domain
        return first if guest.is_admin else next(iter(guest.domains), None)

    def _look(
        self, guest: Guest, wanted: str, after: int
    ) -> tuple[list[Account], int, Mapping[int, Sums]]:
        """A page of those that fit, and one more; how many there are; what each keeps."""
        everybody = self.desk.directory.accounts()
        known = [each for each in everybody if guest.looks_after(each.address.domain)]
        fit = (each for each in known if each.id > after and wanted in str(each.address).lower())
        return list(islice(fit, PAGE_ACCOUNTS + 1)), len(known), self.desk.sums()

    def _line(self, account: Account, sums: Mapping[int, Sums]) -> Line:
        kept = sums.get(account.id)
        mails, octets = (kept.mails, kept.octets) if kept is not None else (0, 0)
        node = self.desk.quota()
        most = node.octets if account.quota_octets is None else account.quota_octets
        most_mails = node.mails if account.quota_mails is None else account.quota_mails
        parts = [size(most)] if most else []
        parts += [count(most_mails, "mail")] if most_mails else []
        shares = [octets / most] if most else []
        shares += [mails / most_mails] if most_mails else []
        return Line(
            account,
            account.state,
            mails,
            octets,
            " and ".join(parts) or "no limit",
            min(100, int(max(shares) * 100)) if shares else None,
            kept.last_at if kept is not None else None,
        )

    # A new one

    async def add(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, _FIELDS)
        address = self._read_address(visit.guest, typed)
        octets, mails = read_quota(typed)
        password = self._password(visit, typed)
        stored = await self._choose(typed, password, address) if address is not None else ""
        if not typed.is_right or address is None:
            return await self.show(visit, typed, 422)

        def add(accounts: Accounts) -> Account:
            return accounts.add_account(
                address,
                stored,
                quota_octets=octets,
                quota_mails=mails,
                admin=typed.get("admin") == "yes" and visit.guest.is_admin,
            )

        try:
            added: Account = await self._change(visit, add)
        except MailError as error:
            typed.mistake("address", error)
            return await self.show(visit, typed, 422)
        made = "" if _is_typed(visit, typed) else password
        self._say(visit, f"{added.address} has an account and can receive mail.")
        if not made:
            return see_other(f"/admin/accounts/{added.id}")
        return await self._page(visit, added, made=made)

    def _read_address(self, guest: Guest, typed: Typed) -> Address | None:
        said, domain = typed.get("address"), self._first_domain(guest)
        if not said:
            typed.mistake("address", "An account has an address, such as carol@example.org")
            return None
        if "@" not in said and domain is not None:
            said = f"{said}@{domain}"
        try:
            address = parse_address(said)
        except BadAddress as error:
            typed.mistake("address", f"{error.text}; an address is such as carol@example.org")
            return None
        try:
            require_address(guest, address, self.desk.directory.owner_of(address))
        except NotAllowed as error:
            typed.mistake("address", error)
            return address
        if not self.desk.directory.is_local(address.domain):
            typed.mistake(
                "address", f"{address.domain} is no domain here: add it on the page Domains first"
            )
        return address

    def _password(self, visit: Visit, typed: Typed) -> str:
        """What was typed, or one that is made; "" where others judge passwords."""
        if not self.desk.sets_passwords:
            return ""
        if not _is_typed(visit, typed):
            return make_password()
        return visit.form.get("password")

    async def _choose(
        self, typed: Typed, password: str, address: Address, account: Account | None = None
    ) -> StoredPassword | str:
        """As it is kept; "" where others judge passwords, or where it may not be set."""
        if not self.desk.sets_passwords:
            return ""
        try:
            return await self.desk.choose_password(password, address, account)
        except (WeakPassword, SignInBusy) as error:
            typed.mistake("password", error.text)
            return ""

    # One of them

    async def show_one(self, visit: Visit, account_id: int) -> Answer:
        return await self._page(visit, self._seen(visit, account_id))

    async def _page(
        self,
        visit: Visit,
        account: Account,
        typed: Typed | None = None,
        made: str = "",
        status: int = 200,
    ) -> Answer:
        if typed is None:
            octets, mails = account.quota_octets, account.quota_mails
            values = {
                "quota": "" if octets is None else as_typed(octets),
                "quota_mails": "" if mails is None else str(mails),
            }
            typed = Typed(values)
        sums = await self.desk.in_thread(self.desk.sums)
        leading, guest = await self._leading(account), visit.guest
        aliases = [each for each in leading if guest.looks_after(each.rpartition("@")[2])]
        return await self.desk.page(
            visit,
            "admin_account.html",
            status,
            title=str(account.address),
            account=account,
            line=self._line(account, sums),
            aliases=aliases,
            typed=typed,
            made=made,
            own=account.id == guest.account.id,
            changes=may_change(guest, account),
            domains=self.desk.directory.domains if guest.is_admin else (),
            factors=self.desk.directory.factors(account.id),
            least=self.desk.least_characters(),
            sets_passwords=self.desk.sets_passwords,
        )

    async def set_quota(self, visit: Visit, account_id: int) -> Answer:
        account = self._changed(visit, account_id)
        typed = Typed.of(visit.form, ("quota", "quota_mails"))
        octets, mails = read_quota(typed)
        if not typed.is_right:
            return await self._page(visit, account, typed, status=422)
        await self._change_one(
            visit,
            account,
            lambda accounts, name: accounts.set_quota(name, octets=octets, mails=mails),
        )
        self._say(visit, f"The quota of {account.address} is set.")
        return see_other(f"/admin/accounts/{account_id}")

    async def set_password(self, visit: Visit, account_id: int) -> Answer:
        account = self._changed(visit, account_id)
        if account.id == visit.guest.account.id:
            self.desk.templates.flashes.add(
                visit, "Your own password is changed in the settings.", "failed"
            )
            return see_other("/settings")
        typed = Typed.of(visit.form, ("typed",))
        password = self._password(visit, typed)
        if not self.desk.sets_passwords:
            typed.mistake("password", "Passwords are not kept here: another checker judges them")
        stored = await self._choose(typed, password, account.address, account)
        if not typed.is_right:
            return await self._page(visit, account, typed, status=422)
        await self._change_one(
            visit, account, lambda accounts, name: accounts.set_password(name, stored)
        )
        self._say(visit, f"{account.address} has a new password; it is signed out everywhere.")
        if _is_typed(visit, typed):
            return see_other(f"/admin/accounts/{account_id}")
        return await self._page(visit, self._find(account_id), made=password)

    async def set_state(self, visit: Visit, account_id: int) -> Answer:
        account, disabled = self._changed(visit, account_id), visit.form.get("disabled") == "yes"
        if disabled and account.id == visit.guest.account.id:
            return await self._refused(visit, account, "shut")
        await self._change_one(
            visit, account, lambda accounts, name: accounts.set_disabled(name, disabled)
        )
        told = "disabled: it takes no mail and signs in nowhere" if disabled else "enabled"
        self._say(visit, f"{account.address} is {told}.")
        return see_other(f"/admin/accounts/{account_id}")

    async def set_admin(self, visit: Visit, account_id: int) -> Answer:
        account, admin = self._changed(visit, account_id), visit.form.get("admin") == "yes"
        if not admin and account.id == visit.guest.account.id:
            return await self._refused(visit, account, "made no administrator")
        await self._change_one(
            visit, account, lambda accounts, name: accounts.set_admin(name, admin)
        )
        told = "an administrator" if admin else "no administrator"
        self._say(visit, f"{account.address} is {told}.")
        return see_other(f"/admin/accounts/{account_id}")

    async def set_domains(self, visit: Visit, account_id: int) -> Answer:
        account, wanted = self._changed(visit, account_id), set(visit.form.all("domain"))

        def change(accounts: Accounts, name: str) -> None:
            admins = accounts.domain_admins
            for domain in self.desk.directory.domains:
                if domain in wanted and domain not in account.looks_after:
                    admins.add(name, domain)
                elif domain not in wanted and domain in account.looks_after:
                    admins.remove(name, domain)

        await self._change_one(visit, account, change)
        after = ", ".join(self._find(account_id).looks_after) or "no domain"
        self._say(visit, f"{account.address} looks after {after}.")
        return see_other(f"/admin/accounts/{account_id}")

    async def delete(self, visit: Visit, account_id: int) -> Answer:
        account = self._changed(visit, account_id)
        if account.id == visit.guest.account.id:
            return await self._refused(visit, account, "deleted")
        aliases, force = await self._leading(account), visit.form.get("aliases") == "yes"
        for each in aliases:
            if not visit.guest.looks_after(each.rpartition("@")[2]):
                text = "Aliases of other domains lead to it: an administrator deletes it."
                self.desk.templates.flashes.add(visit, text, "failed")
                return await self._page(visit, account, status=422)
        if not visit.form.get("sure") or (aliases and not force):
            sums = await self.desk.in_thread(self.desk.sums)
            return await self.desk.page(
                visit,
                "admin_account_delete.html",
                422 if visit.form.get("sure") else 200,
                title=f"Delete {account.address}",
                account=account,
                line=self._line(account, sums),
                aliases=aliases,
                unsaid=bool(visit.form.get("sure")),
            )
        await self._change_one(
            visit, account, lambda accounts, name: accounts.delete_account(name, force=force)
        )
        self._say(visit, f"{account.address} is deleted; the node takes its mail out of the store.")
        return see_other("/admin/accounts")

    async def _refused(self, visit: Visit, account: Account, what: str) -> Answer:
        """One's own account is spared: nobody is locked out by a wrong click."""
        text = (
            f"This is your own account: it is {what} by another administrator, or on the command "
            "line (mailnode user)."
        )
        self.desk.templates.flashes.add(visit, text, "failed")
        return await self._page(visit, account, status=422)

    # All of them

    def _seen(self, visit: Visit, account_id: int) -> Account:
        """One that who asks looks after."""
        account = self._find(account_id)
        try:
            require_seen(visit.guest, account)
        except NotFound:
            raise NoSuchPage(NO_SUCH) from None
        return account

    def _changed(self, visit: Visit, account_id: int) -> Account:
        """One that who asks may change."""
        account = self._seen(visit, account_id)
        require_changed(visit.guest, account)
        return account

    def _find(self, account_id: int) -> Account:
        account = self.desk.directory.find_by_id(account_id)
        if account is None:
            raise NoSuchPage(NO_SUCH)
        return account

    async def _leading(self, account: Account) -> list[str]:
        """Aliases that go with it."""
        leading_to, name = self.desk.accounts.leading_to, str(account.address)
        try:
            leading = await self.desk.in_thread(leading_to, name)
        except NotFound:  # deleted a moment ago
            return []
        return list(dict.fromkeys(each.source for each in leading))

    async def _change_one(
        self, visit: Visit, account: Account, function: Callable[[Accounts, str], Any]
    ) -> None:
        """By what users.db says: since the page was asked for it may have got more rights."""
        guest, name = visit.guest, str(account.address)

        def change(accounts: Accounts) -> None:
            require_changed(guest, accounts.account(name))
            function(accounts, name)

        await self._change(visit, change)

    async def _change(self, visit: Visit, function: Callable[[Accounts], Any]) -> Any:
        done = await self.desk.in_thread(function, self.desk.accounts_of(visit))
        await self.desk.changed()
        return done

    def _say(self, visit: Visit, text: str) -> None:
        self.desk.templates.flashes.add(visit, text)


def make_password() -> str:
    """Four groups of five letters and digits: 99 bits, easily read out."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def _is_typed(visit: Visit, typed: Typed) -> bool:
    """Whether its password stands in the form, whatever is ticked: what was typed is meant."""
    return typed.get("typed") == "yes" or bool(visit.form.get("password"))
