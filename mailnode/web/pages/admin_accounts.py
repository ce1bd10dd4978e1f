"""Accounts: listed with what they keep, made, changed, shut, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress, MailError, SignInBusy, WeakPassword
from mailnode.telling import count, size
from mailnode.values import read_count, read_size
from mailnode.web.pages.admin_forms import Typed, number_of
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword
    from mailnode.store.directory import Account
    from mailnode.store.lists import Sums
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

PAGE_ACCOUNTS = 100
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
        one = "/admin/accounts/<int:account_id>"
        posts: tuple[tuple[str, Callable[..., Any], str], ...] = (
            ("/quota", self.set_quota, "Sets its quota: ``quota``, ``quota_mails``"),
            ("/password", self.set_password, "Sets its password: ``password``, or makes one"),
            ("/state", self.set_state, "Shuts it, or opens it again: ``disabled``"),
            ("/admin", self.set_admin, "Makes it an administrator, or none: ``admin``"),
            ("/delete", self.delete, "Deletes it; asks first: ``sure``, ``aliases``"),
        )
        return (
            Route("/admin/accounts", ("GET",), self.show, "Accounts: ``q``, ``after``", Need.ADMIN),
            Route(
                "/admin/accounts",
                ("POST",),
                self.add,
                "Makes an account: ``address``, ``password`` (or one is made), ``quota``, "
                "``quota_mails``, ``admin``",
                Need.ADMIN,
            ),
            Route(one, ("GET",), self.show_one, "An account", Need.ADMIN),
            *(Route(one + path, ("POST",), do, about, Need.ADMIN) for path, do, about in posts),
        )

    # The list

    async def show(self, visit: Visit, typed: Typed | None = None, status: int = 200) -> Answer:
        wanted, after = visit.query("q").strip().lower(), number_of(visit.query("after"))
        fit, total, sums = await self.desk.in_thread(self._look, wanted, after)
        domain = self.desk.directory.first_domain
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

    def _look(self, wanted: str, after: int) -> tuple[list[Account], int, Mapping[int, Sums]]:
        """A page of those that fit, and one more; how many there are; what each keeps."""
        known = self.desk.directory.accounts()
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
            _state(account),
            mails,
            octets,
            " and ".join(parts) or "no limit",
            min(100, int(max(shares) * 100)) if shares else None,
            kept.last_at if kept is not None else None,
        )

    # A new one

    async def add(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, _FIELDS)
        address = self._read_address(typed)
        octets, mails = _read_quota(typed)
        password = self._password(visit, typed)
        stored = await self._choose(typed, password, address) if address is not None else ""
        if not typed.is_right or address is None:
            return await self.show(visit, typed, 422)

        def add() -> Account:
            return self.desk.accounts.add_account(
                address,
                stored,
                quota_octets=octets,
                quota_mails=mails,
                admin=typed.get("admin") == "yes",
            )

        try:
            added: Account = await self._change(add)
        except MailError as error:
            typed.mistake("address", error)
            return await self.show(visit, typed, 422)
        made = "" if _is_typed(visit, typed) else password
        self._say(visit, f"{added.address} has an account and can receive mail.")
        if not made:
            return see_other(f"/admin/accounts/{added.id}")
        return await self._page(visit, added, made=made)

    def _read_address(self, typed: Typed) -> Address | None:
        said, domain = typed.get("address"), self.desk.directory.first_domain
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
        return await self._page(visit, self._find(account_id))

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
                "quota": "" if octets is None else _as_typed(octets),
                "quota_mails": "" if mails is None else str(mails),
            }
            typed = Typed(values)
        sums = await self.desk.in_thread(self.desk.sums)
        aliases = await self._leading(account)
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
            own=account.id == visit.guest.account.id,
            factors=self.desk.directory.factors(account.id),
            least=self.desk.least_characters(),
            sets_passwords=self.desk.sets_passwords,
        )

    async def set_quota(self, visit: Visit, account_id: int) -> Answer:
        account = self._find(account_id)
        typed = Typed.of(visit.form, ("quota", "quota_mails"))
        octets, mails = _read_quota(typed)
        if not typed.is_right:
            return await self._page(visit, account, typed, status=422)
        await self._change(
            lambda: self.desk.accounts.set_quota(str(account.address), octets=octets, mails=mails)
        )
        self._say(visit, f"The quota of {account.address} is set.")
        return see_other(f"/admin/accounts/{account_id}")

    async def set_password(self, visit: Visit, account_id: int) -> Answer:
        account = self._find(account_id)
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
        await self._change(lambda: self.desk.accounts.set_password(str(account.address), stored))
        self._say(visit, f"{account.address} has a new password; it is signed out everywhere.")
        if _is_typed(visit, typed):
            return see_other(f"/admin/accounts/{account_id}")
        return await self._page(visit, self._find(account_id), made=password)

    async def set_state(self, visit: Visit, account_id: int) -> Answer:
        account, disabled = self._find(account_id), visit.form.get("disabled") == "yes"
        if disabled and account.id == visit.guest.account.id:
            return await self._refused(visit, account, "shut")
        await self._change(lambda: self.desk.accounts.set_disabled(str(account.address), disabled))
        told = "disabled: it takes no mail and signs in nowhere" if disabled else "enabled"
        self._say(visit, f"{account.address} is {told}.")
        return see_other(f"/admin/accounts/{account_id}")

    async def set_admin(self, visit: Visit, account_id: int) -> Answer:
        account, admin = self._find(account_id), visit.form.get("admin") == "yes"
        if not admin and account.id == visit.guest.account.id:
            return await self._refused(visit, account, "made no administrator")
        await self._change(lambda: self.desk.accounts.set_admin(str(account.address), admin))
        told = "an administrator" if admin else "no administrator"
        self._say(visit, f"{account.address} is {told}.")
        return see_other(f"/admin/accounts/{account_id}")

    async def delete(self, visit: Visit, account_id: int) -> Answer:
        account = self._find(account_id)
        if account.id == visit.guest.account.id:
            return await self._refused(visit, account, "deleted")
        aliases, force = await self._leading(account), visit.form.get("aliases") == "yes"
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
        await self._change(
            lambda: self.desk.accounts.delete_account(str(account.address), force=force)
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

    def _find(self, account_id: int) -> Account:
        account = self.desk.directory.find_by_id(account_id)
        if account is None:
            raise NoSuchPage("There is no such account, or none any more")
        return account

    async def _leading(self, account: Account) -> list[str]:
        leading: list[str] = await self.desk.in_thread(self._find_leading, account.key)
        return leading

    def _find_leading(self, key: str) -> list[str]:
        aliases = self.desk.accounts.aliases()
        leading = (each for each in aliases if parse_address(each.target).key == key)
        return list(dict.fromkeys(each.source for each in leading))

    async def _change(self, function: Callable[[], Any]) -> Any:
        done = await self.desk.in_thread(function)
        await self.desk.changed()
        return done

    def _say(self, visit: Visit, text: str) -> None:
        self.desk.templates.flashes.add(visit, text)


def make_password() -> str:
    """Four groups of five letters and digits: 99 bits, easily read out."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def _state(account: Account) -> str:
    words = ["disabled"] if account.disabled else ["active"]
    words += ["demo"] if account.demo else []
    return ", ".join([*words, *(["administrator"] if account.admin else [])])


def _is_typed(visit: Visit, typed: Typed) -> bool:
    """Whether its password stands in the form, whatever is ticked: what was typed is meant."""
    return typed.get("typed") == "yes" or bool(visit.form.get("password"))


def _read_quota(typed: Typed) -> tuple[int | None, int | None]:
    """Octets and mails; None where nothing was typed: as the node has it."""
    octets = mails = None
    try:
        said = typed.get("quota")
        if said:
            octets = read_size(int(said) if said.isascii() and said.isdigit() else said)
    except ValueError as error:
        typed.mistake("quota", f"This is not {error}")
    try:
        if typed.get("quota_mails"):
            mails = read_count(typed.get("quota_mails"))
    except ValueError as error:
        typed.mistake("quota_mails", f"This is not {error}")
    return octets, mails


def _as_typed(octets: int) -> str:
    """As `read_size` reads it, without loss."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if octets and octets % (1 << power) == 0:
            return f"{octets >> power} {unit}"
    return str(octets)
