"""/accounts, /aliases, /domains: who has mail here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.addresses import parse_address
from mailnode.composing.people import read_address
from mailnode.errors import BadAddress, MailError, WeakPassword
from mailnode.web.api.operations import (
    GONE,
    NOTHING,
    Call,
    Content,
    Operation,
    Result,
    answer_json,
    list_result,
    time_of,
)
from mailnode.web.api.problems import Conflict, Fault, Faulty
from mailnode.web.api.schemas import (
    Schema,
    flag,
    instant,
    list_of,
    or_null,
    ref,
    text,
    thing,
    whole,
)
from mailnode.web.rights import (
    require_address,
    require_admin,
    require_changed,
    require_domain,
    require_seen,
)
from mailnode.web.routes import JSON, Answer, Need

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.cred.choosing import Choose
    from mailnode.cred.stored import StoredPassword
    from mailnode.store.accounts import Accounts as StoredAccounts
    from mailnode.store.directory import Account, Alias
    from mailnode.web.guest import Guest

MOST_QUOTA = 1 << 50
_ADDRESS = text(least=1, most=320, example="carol@example.org")
_DOMAIN = text(least=1, most=255, example="example.org")
_QUOTA = {
    "quota_octets": or_null(whole("Null: the node's; 0: no limit.", 0, MOST_QUOTA)),
    "quota_mails": or_null(whole("Likewise.", 0, MOST_QUOTA)),
}
_PASSWORD = text(
    "Long and hard to guess, as `[passwords]` of the node's settings asks.",
    least=1, most=1000, example="correct horse 7",
)  # fmt: skip
_FLAGS = {"admin": flag("It looks after the node."), "disabled": flag("It is shut.")}
SCHEMAS: dict[str, Schema] = {
    "Account": thing(
        {
            "id": whole(example=3),
            "address": _ADDRESS,
            **_FLAGS,
            "looks_after": list_of(_DOMAIN, "Domains whose accounts it looks after."),
            "demo": flag("Its password is published."),
            **_QUOTA,
            "octets": whole("That it keeps."),
            "mails": whole(),
            "created_at": or_null(instant()),
            "changed_at": or_null(instant()),
        }
    ),
    "Alias": thing({"source": _ADDRESS, "target": _ADDRESS}),
    "Domain": thing({"name": _DOMAIN, "created_at": or_null(instant())}),
}


@define(eq=False)
class Accounts:
    """The operations.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        changed: everybody knows of a change once its Deferred fires.
        choose_password: a new one for an address, and the account that has it, if any, as
            users.db keeps it; raises WeakPassword.
        usage: octets and mails of an account.
        owner_of: the account that an address is a subaddress of.
    """

    accounts: StoredAccounts
    in_thread: Callable[..., Awaitable[Any]]
    changed: Callable[[], Awaitable[object]]
    choose_password: Choose
    usage: Callable[[int], tuple[int, int]]
    owner_of: Callable[[Address], Account | None]

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"scope": "admin", "need": Need.ADMIN}
        of_domain: dict[str, Any] = {"scope": "admin", "need": Need.DOMAIN_ADMIN}
        account: dict[str, Any] = {"tag": "Accounts", **of_domain}
        alias: dict[str, Any] = {"tag": "Aliases", **of_domain}
        domain: dict[str, Any] = {"tag": "Domains", **whose}
        of_one: dict[str, Any] = {"places": {"address": _ADDRESS}}
        made: dict[str, Any] = {"failures": [400, 404, 409]}
        return (
            Operation(
                name="listAccounts", method="GET", path="/accounts", answer=self.list_accounts,
                about="All accounts", query={"domain": _DOMAIN},
                results=[list_result("Account")], failures=[404], **account,
            ),
            Operation(
                name="addAccount", method="POST", path="/accounts", answer=self.add_account,
                about="Makes an account",
                bodies=[Content(JSON, thing({"address": _ADDRESS, "password": _PASSWORD,
                        "admin": _FLAGS["admin"], **_QUOTA}, needs=("address", "password")),
                        {"address": "dave@example.org", "password": "correct horse 7"})],
                results=[Result(201, "It.", ref("Account"))], **made, **account,
            ),
            Operation(
                name="getAccount", method="GET", path="/accounts/{address}",
                answer=self.show_account, about="An account",
                results=[Result(200, "It.", ref("Account"))], failures=[404], **of_one, **account,
            ),
            Operation(
                name="changeAccount", method="PATCH", path="/accounts/{address}",
                answer=self.change_account,
                about="Sets a password, quota, whether it is an administrator's, or shut",
                more="One's own password is changed on the settings page, by who knows it.",
                bodies=[Content(JSON, thing({"password": _PASSWORD, **_FLAGS, **_QUOTA}, needs=(),
                        least=1), {"admin": True})],
                results=[Result(200, "It.", ref("Account"))], failures=[404, 409], **of_one,
                **account,
            ),
            Operation(
                name="deleteAccount", method="DELETE", path="/accounts/{address}",
                answer=self.delete_account, about="Deletes an account and its mail",
                query={"force": flag("The aliases that lead to it go too.", default=False)},
                results=[GONE], failures=[400, 404, 409], **of_one, **account,
            ),
            Operation(
                name="listAliases", method="GET", path="/aliases", answer=self.list_aliases,
                about="All aliases, a target a line", query={"domain": _DOMAIN},
                results=[list_result("Alias")], failures=[404], **alias,
            ),
            Operation(
                name="addAlias", method="POST", path="/aliases", answer=self.add_alias,
                about="Mail for `source` goes to `target`, too",
                bodies=[Content(JSON, thing({"source": _ADDRESS, "target": _ADDRESS}),
                        {"source": "sales@example.org", "target": "carol@example.org"})],
                results=[Result(201, "It.", ref("Alias"))], **made, **alias,
            ),
            Operation(
                name="deleteAlias", method="DELETE", path="/aliases/{address}",
                answer=self.delete_alias, about="An alias leads nowhere, or no more to `target`",
                query={"target": _ADDRESS}, results=[GONE], failures=[404],
                **of_one, **alias,
            ),
            Operation(
                name="listDomains", method="GET", path="/domains", answer=self.list_domains,
                about="All domains, the first one first", results=[list_result("Domain")], **domain,
            ),
            Operation(
                name="addDomain", method="POST", path="/domains", answer=self.add_domain,
                about="Mail to a domain is taken",
                bodies=[Content(JSON, thing({"name": _DOMAIN}), {"name": "example.net"})],
                results=[Result(201, "It.", ref("Domain"))], **made, **domain,
            ),
            Operation(
                name="deleteDomain", method="DELETE", path="/domains/{name}",
                answer=self.delete_domain, about="Mail to a domain is refused; it must be empty",
                places={"name": _DOMAIN}, results=[GONE], failures=[400, 404], **domain,
            ),
        )  # fmt: skip

    # Accounts

    async def list_accounts(self, call: Call) -> Answer:
        domain, guest = call.query.get("domain"), call.visit.guest
        found = await self._ask(self.accounts.accounts, domain)
        seen = [each for each in found if guest.looks_after(each.address.domain)]
        return answer_json({"items": [self._facts(each) for each in seen]})

    async def show_account(self, call: Call) -> Answer:
        found = await self._ask(self.accounts.account, call.places["address"])
        require_seen(call.visit.guest, found)
        return answer_json(self._facts(found))

    async def add_account(self, call: Call) -> Answer:
        body = call.body
        address = _address(body, "address")
        require_address(call.visit.guest, address, self.owner_of(address))
        if body.get("admin"):
            require_admin(call.visit.guest)
        password = await self._choose(body["password"], address)

        def add() -> Account:
            return self._of(call).add_account(
                address,
                password,
                admin=body.get("admin", False),
                quota_octets=body.get("quota_octets"),
                quota_mails=body.get("quota_mails"),
            )

        made = await self._change(add)
        return answer_json(self._facts(made), 201)

    async def change_account(self, call: Call) -> Answer:
        """All that is asked for, or nothing where there is no such account."""
        accounts, body, guest = self._of(call), call.body, call.visit.guest
        password: StoredPassword | None = None
        known: Account = await self._ask(accounts.account, call.places["address"])
        require_changed(guest, known)
        if "admin" in body:
            require_admin(guest)
        if "password" in body:
            if known.id == call.account_id:
                raise Conflict("Your own password is changed in the settings, by who knows it")
            password = await self._choose(body["password"], known.address, known)

        def change() -> Account:
            account = accounts.account(call.places["address"])
            require_changed(guest, account)
            if body.get("admin") is False or body.get("disabled"):
                _require_another(call, account)
            name = str(account.address)
            if password is not None:
                accounts.set_password(name, password)
            if "quota_octets" in body or "quota_mails" in body:
                accounts.set_quota(
                    name,
                    octets=body.get("quota_octets", account.quota_octets),
                    mails=body.get("quota_mails", account.quota_mails),
                )
            if "admin" in body:
                accounts.set_admin(name, body["admin"])
            if "disabled" in body and body["disabled"] != account.disabled:
                accounts.set_disabled(name, body["disabled"])
            return accounts.account(name)

        return answer_json(self._facts(await self._change(change)))

    async def _choose(
        self, password: str, address: Address, account: Account | None = None
    ) -> StoredPassword:
        try:
            return await self.choose_password(password, address, account)
        except WeakPassword as error:
            raise Faulty([Fault("password", error.text)]) from error

    async def delete_account(self, call: Call) -> Answer:
        def delete() -> None:
            accounts, guest = self._of(call), call.visit.guest
            account = accounts.account(call.places["address"])
            require_changed(guest, account)
            _require_another(call, account)
            if not guest.is_admin:
                _require_own_aliases(guest, accounts.leading_to(str(account.address)))
            accounts.delete_account(str(account.address), force=call.query["force"])

        await self._change(delete)
        return NOTHING

    # Aliases

    async def list_aliases(self, call: Call) -> Answer:
        found, guest = (
            await self._ask(self.accounts.aliases, call.query.get("domain")),
            call.visit.guest,
        )
        items = [
            {"source": each.source, "target": each.target}
            for each in found
            if guest.looks_after(_domain_of(each.source))
        ]
        return answer_json({"items": items})

    async def add_alias(self, call: Call) -> Answer:
        source, target = (_address(call.body, name) for name in ("source", "target"))
        require_address(call.visit.guest, source, self.owner_of(source))
        made = await self._change(lambda: self._of(call).add_alias(str(source), str(target)))
        return answer_json({"source": made.source, "target": made.target}, 201)

    async def delete_alias(self, call: Call) -> Answer:
        source, target = call.places["address"], call.query.get("target")
        require_domain(call.visit.guest, _domain_of(source))
        await self._change(lambda: self._of(call).delete_alias(source, target))
        return NOTHING

    # Domains

    async def list_domains(self, call: Call) -> Answer:
        found = await self._ask(self.accounts.domains)
        return answer_json({"items": [_domain_facts(each) for each in found]})

    async def add_domain(self, call: Call) -> Answer:
        made = await self._change(lambda: self._of(call).add_domain(call.body["name"]), "name")
        return answer_json(_domain_facts(made), 201)

    async def delete_domain(self, call: Call) -> Answer:
        await self._change(lambda: self._of(call).delete_domain(call.places["name"]))
        return NOTHING

    # All of them

    def _of(self, call: Call) -> StoredAccounts:
        """users.db, for what who asks changes."""
        return self.accounts.by(call.visit.actor)

    async def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self.in_thread(function, *arguments)

    async def _change(self, function: Callable[[], Any], name: str = "") -> Any:
        """
        Raises:
            Faulty: the field of that name is no address or domain.
        """
        try:
            made = await self.in_thread(function)
        except BadAddress as error:
            raise Faulty([Fault(name, error.text, error.enhanced)]) from error
        finally:
            await self.changed()
        return made

    def _facts(self, account: Account) -> dict[str, Any]:
        octets, mails = self.usage(account.id)
        return {
            "id": account.id,
            "address": str(account.address),
            "admin": account.admin,
            "looks_after": list(account.looks_after),
            "disabled": account.disabled,
            "demo": account.demo,
            "quota_octets": account.quota_octets,
            "quota_mails": account.quota_mails,
            "octets": octets,
            "mails": mails,
            "created_at": time_of(account.created_at),
            "changed_at": time_of(account.changed_at),
        }


def _require_another(call: Call, account: Account) -> None:
    """
    Raises:
        Conflict: who asks would shut himself out.
    """
    if account.id == call.account_id:
        raise Conflict("That is your own account: let another administrator do it")


def _require_own_aliases(guest: Guest, leading: Sequence[Alias]) -> None:
    """
    Args:
        leading: aliases that would go with an account.

    Raises:
        Conflict: some are of domains that the guest doesn't look after.
    """
    if not all(guest.looks_after(_domain_of(each.source)) for each in leading):
        raise Conflict("Aliases of other domains lead to it: let an administrator do it")


def _domain_of(address: str) -> str:
    """As it is kept; "" where it is no address."""
    try:
        return parse_address(address).domain
    except BadAddress:
        return ""


def _address(body: dict[str, Any], name: str) -> Address:
    try:
        return read_address(body[name])
    except MailError as error:
        raise Faulty([Fault(name, error.text, error.enhanced)]) from error


def _domain_facts(domain: Any) -> dict[str, Any]:
    return {"name": domain.name, "created_at": time_of(domain.created_at)}
