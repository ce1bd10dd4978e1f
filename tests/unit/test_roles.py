"""Each page and endpoint as nobody, a user, who looks after a domain, and an administrator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from mailnode.addresses import parse_address
from mailnode.events import Accepted, Delivered
from mailnode.store.accounts import Account, Accounts
from mailnode.web.routes import Need, Route
from tests.unit.api_case import SCOPES, ApiCase, Asking

# What each needs: N nobody, U a user, A an administrator, D who looks after some domain, and O who
# looks after the domain that the account, alias or mail of the request is of; T a ticket, which the
# page that names the address gives.
PAGES = {
    "/static/<digest>/<path:name>": {"GET": "N"},
    "/manifest.webmanifest": {"GET": "N"},
    "/favicon.ico": {"GET": "N"},
    "/sign-in": {"GET": "N", "POST": "N"},
    "/sign-in/code": {"GET": "N", "POST": "N"},
    "/sign-in/code/send": {"POST": "N"},
    "/sign-out": {"POST": "U"},
    "/": {"GET": "U"},
    "/mail": {"GET": "U"},
    "/places": {"GET": "U"},
    "/mail/<int:folder_id>": {"GET": "U"},
    "/mail/<int:folder_id>/mark": {"POST": "U"},
    "/mail/<int:folder_id>/move": {"POST": "U"},
    "/mail/<int:folder_id>/delete": {"POST": "U"},
    "/search/mark": {"POST": "U"},
    "/search/move": {"POST": "U"},
    "/search/delete": {"POST": "U"},
    "/mail/undo": {"POST": "U"},
    "/folders": {"POST": "U"},
    "/folders/<int:folder_id>": {"GET": "U"},
    "/folders/<int:folder_id>/rename": {"POST": "U"},
    "/folders/<int:folder_id>/remove": {"POST": "U"},
    "/search": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/thread": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/story": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/html": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/headers": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/raw": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/eml": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/print": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/part/<path>": {"GET": "U"},
    "/mail/<int:folder_id>/<int:uid>/cid/<path>": {"GET": "T"},
    "/write": {"GET": "U"},
    "/write/<int:draft_id>": {"POST": "U"},
    "/write/kept": {"GET": "U"},
    "/write/<int:draft_id>/send": {"POST": "U"},
    "/write/<int:draft_id>/discard": {"POST": "U"},
    "/write/<int:draft_id>/files": {"POST": "U"},
    "/write/<int:draft_id>/files/<int:upload_id>": {"GET": "U"},
    "/write/<int:draft_id>/files/<int:upload_id>/remove": {"POST": "U"},
    "/write/address": {"GET": "U"},
    "/write/people": {"GET": "U"},
    "/sent/<mail_id>": {"GET": "U"},
    "/settings": {"GET": "U"},
    "/settings/sessions/<key>/end": {"POST": "U"},
    "/settings/sessions/end": {"POST": "U"},
    "/settings/tokens": {"POST": "U"},
    "/settings/tokens/<int:number>/revoke": {"POST": "U"},
    "/settings/junk": {"POST": "U"},
    "/settings/password": {"POST": "U"},
    "/settings/app-passwords": {"POST": "U"},
    "/settings/second-factor": {"GET": "U"},
    "/settings/second-factor/begin": {"POST": "U"},
    "/settings/second-factor/confirm": {"POST": "U"},
    "/settings/second-factor/send": {"POST": "U"},
    "/settings/second-factor/<int:number>/remove": {"POST": "U"},
    "/settings/second-factor/recovery-codes": {"POST": "U"},
    "/events": {"GET": "U"},
    "/admin": {"GET": "A"},
    "/admin/figures": {"GET": "A"},
    "/admin/accounts": {"GET": "D", "POST": "O"},
    "/admin/accounts/<int:account_id>": {"GET": "O"},
    "/admin/accounts/<int:account_id>/quota": {"POST": "O"},
    "/admin/accounts/<int:account_id>/password": {"POST": "O"},
    "/admin/accounts/<int:account_id>/state": {"POST": "O"},
    "/admin/accounts/<int:account_id>/delete": {"POST": "O"},
    "/admin/accounts/<int:account_id>/admin": {"POST": "A"},
    "/admin/accounts/<int:account_id>/factors/remove": {"POST": "A"},
    "/admin/accounts/<int:account_id>/domains": {"POST": "A"},
    "/admin/domains": {"GET": "A", "POST": "A"},
    "/admin/domains/delete": {"POST": "A"},
    "/admin/aliases": {"GET": "D", "POST": "O"},
    "/admin/aliases/delete": {"POST": "O"},
    "/admin/routes": {"GET": "A", "POST": "A"},
    "/admin/routes/delete": {"POST": "A"},
    "/admin/queue": {"GET": "A"},
    "/admin/queue/<int:row_id>": {"GET": "A"},
    "/admin/queue/change": {"POST": "A"},
    "/admin/journal": {"GET": "D"},
    "/admin/journal/<mail_id>": {"GET": "O"},
    "/admin/sessions": {"GET": "A"},
    "/admin/bans": {"GET": "A", "POST": "A"},
    "/admin/bans/lift": {"POST": "A"},
    "/admin/audit": {"GET": "A"},
    "/admin/captured": {"GET": "A"},
    "/admin/captured/delete": {"POST": "A"},
    "/admin/captured/<int:row_id>": {"GET": "A"},
    "/admin/captured/<int:row_id>/html": {"GET": "A"},
    "/admin/captured/<int:row_id>/headers": {"GET": "A"},
    "/admin/captured/<int:row_id>/raw": {"GET": "A"},
    "/admin/captured/<int:row_id>/eml": {"GET": "A"},
    "/admin/captured/<int:row_id>/print": {"GET": "A"},
    "/admin/captured/<int:row_id>/part/<path>": {"GET": "A"},
    "/admin/captured/<int:row_id>/cid/<path>": {"GET": "T"},
}
API = {
    "": {"GET": "N"},
    "/openapi.json": {"GET": "N"},
    "/send": {"POST": "U"},
    "/messages/wait": {"GET": "U"},
    "/events": {"GET": "U"},
    "/messages": {"GET": "U"},
    "/messages/<id>": {"GET": "U", "PATCH": "U", "DELETE": "U"},
    "/messages/<id>/raw": {"GET": "U"},
    "/messages/<id>/headers": {"GET": "U"},
    "/messages/<id>/parts/<path>": {"GET": "U"},
    "/messages/<id>/story": {"GET": "U"},
    "/messages/<id>/move": {"POST": "U"},
    "/search": {"GET": "U"},
    "/folders": {"GET": "U", "POST": "U"},
    "/folders/<int:id>": {"PATCH": "U", "DELETE": "U"},
    "/captured": {"GET": "A"},
    "/captured/wait": {"GET": "A"},
    "/captured/<int:id>": {"GET": "A"},
    "/captured/<int:id>/raw": {"GET": "A"},
    "/accounts": {"GET": "D", "POST": "O"},
    "/accounts/<path:address>": {"GET": "O", "PATCH": "O", "DELETE": "O"},
    "/aliases": {"GET": "D", "POST": "O"},
    "/aliases/<path:address>": {"DELETE": "O"},
    "/domains": {"GET": "A", "POST": "A"},
    "/domains/<name>": {"DELETE": "A"},
    "/routes": {"GET": "A", "POST": "A"},
    "/routes/<path:pattern>": {"DELETE": "A"},
    "/queue": {"GET": "A"},
    "/queue/<int:id>": {"GET": "A"},
    "/queue/retry": {"POST": "A"},
    "/queue/hold": {"POST": "A"},
    "/queue/release": {"POST": "A"},
    "/queue/bounce": {"POST": "A"},
    "/queue/drop": {"POST": "A"},
    "/journal": {"GET": "D"},
    "/journal/<id>": {"GET": "O"},
    "/bans": {"GET": "A", "POST": "A"},
    "/bans/<path:network>": {"DELETE": "A"},
    "/audit": {"GET": "A"},
    "/node": {"GET": "A"},
}
TABLE = PAGES | {f"/api/v1{path}": needs for path, needs in API.items()}
NEEDS = {
    "N": Need.NOBODY,
    "T": Need.NOBODY,
    "U": Need.USER,
    "D": Need.DOMAIN_ADMIN,
    "O": Need.DOMAIN_ADMIN,
    "A": Need.ADMIN,
}
OWN, OTHER = "own.test", "example.test"
LET_IN = {
    "nobody": "N",
    "user": "NU",
    "domain administrator": "NUDO",
    "domain administrator, of another domain": "NUD",
    "administrator": "NUDOA",
}
MAILS = {OWN: "A" * 26, OTHER: "B" * 26}


class RoleTests(ApiCase):
    """carol@own.test looks after own.test; alice after the node; bob after nothing."""

    timeout = 600  # hundreds of requests

    async def begin(self, **more: object) -> None:
        accounts = Accounts.open(self.users, create=True)
        accounts.add_domain(OTHER)
        accounts.add_domain(OWN)
        accounts.add_account(parse_address(f"carol@{OWN}"), "h")
        accounts.domain_admins.add(f"carol@{OWN}", OWN)
        accounts.close()
        await super().begin(**more)
        self.tokens["carol"] = await self.token_of(f"carol@{OWN}")
        self.count = 0

    def account(self, name: str) -> Account:
        found = self.node_.directory.find(parse_address(name))
        assert found is not None
        return found

    async def token_of(self, name: str) -> str:
        made = self.web.guests.make_token(self.account(name).id, "t", SCOPES, None)
        secret, _token = await self.done(made)
        return str(secret)

    def test_every_route_is_in_the_table_with_what_it_needs_and_no_other(self) -> None:
        self.add_accounts()
        node = self.started(listen__http=("8080",))
        assert node.web is not None
        there = {
            route.path: {verb: route.need for verb in route.methods}
            for route in reversed(node.web.web.routes)
        }
        for route in node.web.web.routes:
            there[route.path] |= {verb: route.need for verb in route.methods}
        told = {
            path: {verb: NEEDS[need] for verb, need in by.items()} for path, by in TABLE.items()
        }
        self.assertEqual(told, there)

    async def test_each_is_walked_as_each_role(self) -> None:
        await self.begin()
        self.tell_mails()
        assert self.node_.web is not None
        for route in self.node_.web.web.routes:
            for verb in route.methods:
                need = TABLE[route.path][verb]
                for role, lets_in in LET_IN.items():
                    if need == "O" or "another" not in role:
                        await self.walk(route, verb, role, need in lets_in)

    async def test_an_endpoint_gives_nobody_the_subaddress_of_an_account_that_may_do_more(
        self,
    ) -> None:
        await self.begin()
        self.node_.accounts.add_account(parse_address(f"dora@{OWN}"), "h", admin=True)
        await self.done(self.node_.watch.take_up())
        address = f"dora+reset@{OWN}"
        for path, order in (
            ("/aliases", {"source": address, "target": f"carol@{OWN}"}),
            ("/accounts", {"address": address, "password": "seven sleepy owls"}),
        ):
            said = await self.ask("POST", path, order, token="carol")
            self.assertEqual(403, said.status, said)

    async def test_an_endpoint_deletes_no_alias_of_another_domain_with_an_account(self) -> None:
        await self.begin()
        accounts, prey = self.node_.accounts, f"dora@{OWN}"
        accounts.add_account(parse_address(prey), "h")
        accounts.add_alias(f"sales@{OTHER}", f"dora+sales@{OWN}")
        for path in (f"/accounts/{prey}", f"/accounts/{prey}?force=true"):
            said = await self.ask("DELETE", path, token="carol")
            self.assertEqual(409, said.status, said)
            self.assertNotIn("sales", str(said))
        self.assertEqual(1, len(accounts.aliases(OTHER)))

    def tell_mails(self) -> None:
        """One mail to each domain stands in the journal."""
        for domain, mail_id in MAILS.items():
            self.node_.journal.append(
                [
                    Accepted(mail_id=mail_id, sender="x@far.example", detail={}),
                    Delivered(mail_id=mail_id, recipient=f"carol@{domain}", folder_id=1, uid=1),
                ]
            )

    async def walk(self, route: Route, verb: str, role: str, let_in: bool) -> None:
        domain = OTHER if "another" in role else OWN
        name = {"user": "bob", "nobody": ""}.get(role, "alice" if role[0] == "a" else "carol")
        target = await self.make_target(domain)
        path = self.example(route, target)
        if verb == "DELETE" and "account" in path:
            path += "?force=true"
        form, order = self.said(route, verb, target)
        is_api = route.path.startswith("/api/")
        if is_api:
            how: dict[str, Any] = {"token": name or None}
            body: Any = order
        else:
            how = {"token": None, "kind": "application/x-www-form-urlencoded"}
            body = urlencode(form).encode() if verb == "POST" else None
        headers = await self.session(name) if name and not is_api else ()
        asking = self.send_off(verb, path, body, *headers, base="", **how)
        await self.until(lambda: b"\r\n\r\n" in asking.transport.value())
        said = _head(asking)
        asking.leave()
        is_in = said.status not in (401, 403) and "/sign-in" not in said.location
        if TABLE[route.path][verb] == "O":
            is_in = is_in and said.status < 400
        elif route.path.startswith("/sign-in"):  # without what its form says, which nobody has here
            is_in = said.status in (200, 303, 403)
        elif route.path == "/sign-out":
            is_in = said.status == 303 and bool(name)
        self.assertEqual(let_in, is_in, (role, verb, path, said))
        if not let_in and name:
            self.assertIn(said.status, (403, 404, 422), (role, verb, path))

    async def make_target(self, domain: str) -> Account:
        """An account with an alias, to do something to."""
        self.count += 1
        address = parse_address(f"x{self.count}@{domain}")
        accounts = self.node_.accounts
        made = accounts.add_account(address, "h")
        accounts.add_alias(f"y{self.count}@{domain}", str(address))
        await self.done(self.node_.watch.take_up())
        return made

    async def session(self, name: str) -> tuple[str, ...]:
        account = self.account(f"{name}@{OWN if name == 'carol' else OTHER}")
        opened = self.web.guests.open_session(account, "127.0.0.1", "test")
        secret, session = await self.done(opened)
        return f"Cookie: mailnode-8080={secret}", f"X-CSRF-Token: {session.csrf}"

    def example(self, route: Route, target: Account) -> str:
        """A path that means it."""
        domain = target.address.domain
        alias = f"y{self.count}@{domain}"
        by_name = {
            "account_id": str(target.id),
            "mail_id": MAILS[domain],
            "address": quote(alias if "aliases" in route.path else str(target.address)),
            "name": "absent.test",
            "pattern": "absent.test",
            "digest": "0",
            "path": "1",
            "key": "00",
            "id": MAILS[domain] if "journal" in route.path else "999",
        }
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: by_name.get(found[1], "999"), route.path)
        return f"{path}?timeout=1" if path.endswith("/wait") else path

    def said(
        self, route: Route, verb: str, target: Account
    ) -> tuple[Mapping[str, str], Mapping[str, Any] | None]:
        """(a form, JSON) that does something harmless to the target, where something is done."""
        domain, number = target.address.domain, self.count
        alias = f"y{number}@{domain}"
        forms: dict[str, dict[str, str]] = {
            "/admin/accounts": {"address": f"z{number}@{domain}", "typed": "no"},
            "/admin/aliases": {"source": f"w{number}@{domain}", "targets": str(target.address)},
            "/admin/aliases/delete": {"source": alias},
            "/admin/accounts/<int:account_id>/delete": {"sure": "yes", "aliases": "yes"},
        }
        if verb in ("GET", "DELETE"):
            return {}, None
        orders: dict[tuple[str, str], dict[str, Any]] = {
            ("POST", "/api/v1/accounts"): {
                "address": f"z{number}@{domain}",
                "password": "seven sleepy owls",
            },
            ("PATCH", "/api/v1/accounts/<path:address>"): {"quota_mails": 7},
            ("POST", "/api/v1/aliases"): {
                "source": f"w{number}@{domain}",
                "target": str(target.address),
            },
        }
        return forms.get(route.path, {}), orders.get((verb, route.path), {})


class _Head:
    def __init__(self, status: int, location: str) -> None:
        self.status, self.location = status, location

    def __repr__(self) -> str:
        return f"{self.status} {self.location}"


def _head(asking: Asking) -> _Head:
    said = asking.said
    return _Head(said.status, said.fields.get("location", ""))
