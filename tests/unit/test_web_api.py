"""`mailnode.web.api`: the table of operations, its document, and who may ask what."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator

from mailnode.web.api.operations import BASE, Operation
from mailnode.web.routes import UNSAFE, Need
from tests.unit.api_case import SCOPES, ApiCase, Said


def path_of(operation: Operation) -> str:
    return re.sub(r"\{\w+\}", "1", operation.path)


class Table(ApiCase):
    async def test_the_document_is_of_the_table_that_the_routes_are_of(self) -> None:
        await self.begin()
        document = await self.get("/openapi.json", token=None)
        told = {
            (method.upper(), path): one["operationId"]
            for path, methods in document["paths"].items()
            for method, one in methods.items()
        }
        there = {(each.method, each.path): each.name for each in self.api.operations if each.path}
        self.assertEqual(there, told)
        self.assertEqual(len(there), len(set(told.values())), "a name stands twice")
        for path, methods in document["paths"].items():
            for one in methods.values():  # what the node may say before it looks at who asks what
                self.assertLessEqual({"400", "414", "421", "431"}, set(one["responses"]), path)
        served = {
            (route.methods[0], re.sub(r"<(?:path:|int:)?(\w+)>", r"{\1}", route.path))
            for route in self.web.web.routes
            if route.path.startswith(BASE)
        }
        self.assertEqual(served, {(method, BASE + path) for method, path in told} | {("GET", BASE)})

    async def test_every_schema_is_one_and_every_example_is_as_its_schema_has_it(self) -> None:
        await self.begin()
        document = self.api.reference.document
        components = {"components": document["components"]}
        found = 0
        for schema, example in _examples(document):
            Draft202012Validator.check_schema(schema)
            errors = list(Draft202012Validator(schema | components).iter_errors(example))
            self.assertEqual([], [each.message for each in errors], example)
            found += 1
        self.assertGreater(found, 50)

    async def test_each_operation_that_changes_something_says_what_it_takes(self) -> None:
        await self.begin()
        for each in self.api.operations:
            if each.method in ("POST", "PATCH"):
                self.assertTrue(each.bodies, each.name)
            self.assertTrue(each.results, each.name)
            for name in re.findall(r"\{(\w+)\}", each.path):
                self.assertIn(name, each.places, each.name)

    async def test_the_page_shows_every_operation_and_runs_no_script_of_others(self) -> None:
        await self.begin()
        said = await self.ask("GET", "", token=None)
        self.assertEqual(200, said.status)
        page = said.octets.decode()
        for each in self.api.operations:
            if each.path:
                self.assertIn(f'id="{each.name}"', page)
        self.assertNotIn("<script>", page)
        self.assertEqual([], re.findall(r'(?:src|href)="(?:https?:)?//', page))


def _examples(node: Any) -> Any:
    """(schema, example) of each that the document holds."""
    if isinstance(node, dict):
        for example in node.get("examples", ()) if isinstance(node.get("examples"), list) else ():
            yield node, example
        if "schema" in node and "example" in node:
            yield node["schema"], node["example"]
        for each in node.values():
            yield from _examples(each)
    elif isinstance(node, list):
        for each in node:
            yield from _examples(each)


FOR_FEW = (Need.ADMIN, Need.DOMAIN_ADMIN)


class Roles(ApiCase):
    """Whoever may ask is refused for a parameter that nobody knows; whoever may not, before."""

    async def try_all(self, *headers: str, token: str | None) -> dict[str, Said]:
        told = {}
        for each in self.api.operations:
            body = b"{}" if each.method in UNSAFE else None
            path = f"{path_of(each)}?unknown=1"
            told[each.name] = await self.ask(each.method, path, body, *headers, token=token)
        return told

    def judged(self, told: dict[str, Said]) -> dict[str, bool]:
        """Whether each was let in."""
        for name, said in told.items():
            self.assertIn(said.status, (401, 403, 404, 422), (name, said))
        return {name: said.status not in (401, 403) for name, said in told.items()}

    async def test_nobody_sees_the_document_alone(self) -> None:
        await self.begin()
        for token in (None, "mailnode_made-up"):
            told = await self.try_all(token=token)
            may = self.judged(told)
            if token is None:
                self.assertEqual({"getReference", "getDocument"}, {n for n in may if may[n]})
            refused = [said for name, said in told.items() if not may[name]]
            self.assertTrue(all(said.status == 401 for said in refused))
            self.assertTrue(all("www-authenticate" in said.fields for said in refused))

    async def test_a_token_does_what_its_scopes_say_and_administration_for_administrators(
        self,
    ) -> None:
        await self.begin()
        for name in ("alice", "bob"):
            for scope in SCOPES:
                token = await self.token(name, scope)
                may = self.judged(await self.try_all(token=token))
                for each in self.api.operations:
                    allowed = each.scope in (None, scope)
                    if each.need in FOR_FEW:
                        allowed = allowed and name == "alice"
                    self.assertEqual(allowed, may[each.name], (name, scope, each.name))

    async def test_a_session_needs_its_csrf_token_to_change_something(self) -> None:
        await self.begin()
        for name in ("alice", "bob"):
            account = self.node_.directory.find_sign_in(name)
            assert account is not None
            secret, session = await self.done(self.web.guests.open_session(account, "", ""))
            cookie = f"Cookie: mailnode-8080={secret}"
            for csrf, header in ((False, "X-Nothing: 1"), (True, f"X-CSRF-Token: {session.csrf}")):
                may = self.judged(await self.try_all(cookie, header, token=None))
                for each in self.api.operations:
                    allowed = name == "alice" or each.need not in FOR_FEW
                    if each.method in UNSAFE:
                        allowed = allowed and csrf
                    self.assertEqual(allowed, may[each.name], (name, csrf, each.name))

    async def test_a_page_of_a_stranger_changes_nothing_by_a_browsers_session(self) -> None:
        await self.begin()
        account = self.node_.directory.find_sign_in("alice")
        assert account is not None
        secret, session = await self.done(self.web.guests.open_session(account, "", ""))
        said = await self.ask(
            "POST", "/folders", {"name": "X"}, f"Cookie: mailnode-8080={secret}",
            f"X-CSRF-Token: {session.csrf}", "Origin: https://evil.example", token=None,
        )  # fmt: skip
        self.assertEqual(403, said.status)


class Refusals(ApiCase):
    async def test_octets_that_are_no_text_in_a_header_break_nothing(self) -> None:
        await self.begin()
        for field in ("Authorization: Bearer \udcd7", "Cookie: mailnode-8080=\udcff", "X-Y: \udc80",
                      "Content-Type: \udcff", "Origin: \udcff", "Sec-Fetch-Site: \udcff",
                      "X-CSRF-Token: \udcff", "If-None-Match: \udcff"):  # fmt: skip
            for method, path, token in (("GET", "/folders", None), ("POST", "/send", "alice")):
                body = {"to": "bob@example.test"} if method == "POST" else None
                said = await self.ask(method, path, body, field, token=token)
                self.assertLess(said.status, 500, field)

    async def test_what_nobody_knows_is_named_with_what_is_nearest(self) -> None:
        await self.begin()
        said = await self.ask("GET", "/messages?limt=3")
        self.assertEqual(422, said.status)
        self.assertEqual({"limt": 'is unknown; did you mean "limit"?'}, said.errors)
        said = await self.ask("POST", "/folders", {"nane": "X"})
        self.assertEqual(
            {"nane": 'is unknown; did you mean "name"?', "name": "is missing"}, said.errors
        )

    async def test_a_body_of_another_kind_or_none_is_refused(self) -> None:
        await self.begin()
        for body, kind, status in (
            (b'{"name": "X"}', "text/plain", 415),
            (b"", "application/json", 400),
            (b"[" * 5000, "application/json", 400),
            (b'{"name": "a", "name": "b"}', "application/json", 400),
            (b'{"name": NaN}', "application/json", 400),
            (b'{"name": "\\ud800"}', "application/json", 400),
            (b'{"name": "\xff"}', "application/json", 400),
            (b'{"name": 5}', "application/json", 422),
            (b'["name"]', "application/json", 422),
            (b'{"name": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        ):
            said = await self.ask("POST", "/folders", body, kind=kind)
            self.assertEqual(status, said.status, (body[:40], said))
            self.assertEqual("application/problem+json", said.fields["content-type"])

    async def test_forged_ids_and_cursors_lead_nowhere(self) -> None:
        await self.begin()
        await self.send("bob@example.test", keep=False)
        (mail,) = (await self.get("/messages", token="bob"))["items"]
        for path in (
            mail["id"], mail["mail_id"], "0-1", "1-0", "9999999999999999999-1", "x", "1-1-1",
            "01JD3V8Q6ZK7M2T9X4B5C6D7E8", "..", "%2e%2e", "1-1'", "1-1%00",
        ):  # fmt: skip
            for more in ("", "/raw", "/headers", "/parts/1"):
                said = await self.ask("GET", f"/messages/{path}{more}")
                self.assertEqual(404, said.status, (path, more))
            for method, more in (("DELETE", ""), ("PATCH", ""), ("POST", "/move")):
                body = {"PATCH": {"add": ["seen"]}, "POST": {"folder": "Trash"}}.get(method)
                said = await self.ask(method, f"/messages/{path}{more}", body)
                self.assertEqual(404, said.status, (path, method))
        self.assertEqual([mail], (await self.get("/messages", token="bob"))["items"])
        for forged in ("abc", "bToxMjM", "!!", "x" * 300):
            self.assertEqual(422, (await self.ask("GET", f"/messages?cursor={forged}")).status)
