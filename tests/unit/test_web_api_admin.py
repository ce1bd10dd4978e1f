"""`mailnode.web.api`: accounts, aliases, domains, routes, queue, journal and captured mail."""

from __future__ import annotations

from mailnode.cred.guessing import Asked
from mailnode.web.api.captured import Captured
from tests.unit.api_case import ApiCase

ALICE, BOB, FAR = "alice@example.test", "bob@example.test", "dave@elsewhere.example"


class People(ApiCase):
    async def test_an_account_is_made_changed_and_deleted_and_the_node_knows_at_once(self) -> None:
        await self.begin()
        order = {
            "address": "carol@example.test",
            "password": "seven sleepy owls",
            "quota_mails": 10,
        }
        made = await self.ask("POST", "/accounts", order)
        self.assertEqual(201, made.status)
        self.assert_fits("addAccount", 201, made.json)
        await self.send("carol@example.test")
        path = "/accounts/carol%40example.test"
        self.assertEqual(1, (await self.get(path))["mails"])
        changes = {
            "admin": True,
            "disabled": True,
            "quota_octets": 0,
            "password": "another sleepy owl",
        }
        changed = await self.ask("PATCH", path, changes)
        shown = {name: changed.json[name] for name in ("admin", "disabled", "quota_octets")}
        self.assertEqual({"admin": True, "disabled": True, "quota_octets": 0}, shown)
        self.assertEqual(10, changed.json["quota_mails"])
        said = await self.ask("POST", "/send", {"to": "carol@example.test", "text": "x"})
        self.assertIn("disabled", said.errors["to"])
        self.assertEqual(204, (await self.ask("DELETE", path)).status)
        self.assertEqual(404, (await self.ask("GET", path)).status)
        await self.until(lambda: self.node_.messages.usage(made.json["id"]) == (0, 0))

    async def test_what_cannot_be_an_account_is_said(self) -> None:
        await self.begin()
        for order, status in (
            ({"address": "carol", "password": "seven sleepy owls"}, 422),
            ({"address": "carol@example.test", "password": "short"}, 422),
            ({"address": "carol@example.test", "password": " " * 9}, 422),
            ({"address": "carol@example.test"}, 422),
            ({"address": ALICE, "password": "seven sleepy owls"}, 409),
            ({"address": "carol@elsewhere.example", "password": "seven sleepy owls"}, 404),
            (
                {"address": "c@example.test", "password": "seven sleepy owls", "quota_mails": -1},
                422,
            ),
        ):
            said = await self.ask("POST", "/accounts", order)
            self.assertEqual(status, said.status, (order, said))
        self.assertEqual(404, (await self.ask("PATCH", "/accounts/x", {"admin": True})).status)

    async def test_nobody_shuts_himself_out(self) -> None:
        await self.begin()
        path = f"/accounts/{ALICE}"
        for method, body in (("DELETE", None), ("PATCH", {"admin": False}),
                             ("PATCH", {"disabled": True, "quota_mails": 5})):  # fmt: skip
            self.assertEqual(409, (await self.ask(method, path, body)).status, body)
        self.assertIsNone((await self.get(path))["quota_mails"])
        self.assertEqual(200, (await self.ask("PATCH", path, {"admin": True})).status)

    async def test_a_token_sets_no_other_password_for_whom_it_is_of(self) -> None:
        """Who found one would be signed in with all that it doesn't let him do."""
        await self.begin()
        kept = self.node_.directory.find_sign_in(ALICE)
        order = {"password": "another sleepy owl", "quota_mails": 5}
        self.assertEqual(409, (await self.ask("PATCH", f"/accounts/{ALICE}", order)).status)
        self.assertEqual(kept, self.node_.directory.find_sign_in(ALICE))

    async def test_a_new_password_voids_the_tokens_of_before(self) -> None:
        await self.begin()
        self.assertEqual(200, (await self.ask("GET", "/folders", token="bob")).status)
        await self.ask("PATCH", f"/accounts/{BOB}", {"password": "another sleepy owl"})
        self.assertEqual(401, (await self.ask("GET", "/folders", token="bob")).status)

    async def test_aliases_lead_where_they_are_said_to(self) -> None:
        await self.begin()
        order = {"source": "sales@example.test", "target": BOB}
        self.assertEqual(201, (await self.ask("POST", "/aliases", order)).status)
        self.assertEqual(409, (await self.ask("POST", "/aliases", order)).status)
        self.assertEqual({"items": [order]}, await self.get("/aliases"))
        self.assertEqual({"items": [order]}, await self.get("/aliases?domain=example.test"))
        await self.send("sales@example.test")
        said = await self.ask("DELETE", f"/accounts/{BOB}")
        self.assertEqual(400, said.status)
        self.assertIn("sales@example.test", said.json["detail"])
        path = "/aliases/sales@example.test"
        self.assertEqual(404, (await self.ask("DELETE", f"{path}?target={ALICE}")).status)
        self.assertEqual(204, (await self.ask("DELETE", path)).status)
        self.assertEqual(404, (await self.ask("DELETE", path)).status)

    async def test_domains_are_served_while_they_are_there(self) -> None:
        await self.begin()
        self.assertEqual(201, (await self.ask("POST", "/domains", {"name": "Example.NET"})).status)
        listed = await self.get("/domains")
        self.assert_fits("listDomains", 200, listed)
        names = [each["name"] for each in listed["items"]]
        self.assertEqual(["example.test", "example.net"], names)
        self.assertEqual(400, (await self.ask("DELETE", "/domains/example.test")).status)
        self.assertEqual(204, (await self.ask("DELETE", "/domains/example.net")).status)
        said = await self.ask("POST", "/domains", {"name": "no domain"})
        self.assertEqual(422, said.status)

    async def test_routes_are_added_listed_and_deleted(self) -> None:
        await self.begin()
        for pattern, target in ((".example.com", "hold"), ("*", "smtp://[::1]:2525"),
                                ("a/b@example.com", "lmtp:///run/lmtp")):  # fmt: skip
            said = await self.ask("POST", "/routes", {"pattern": pattern, "target": target})
            self.assertEqual((201, pattern), (said.status, said.json["pattern"]))
        listed = await self.get("/routes")
        self.assert_fits("listRoutes", 200, listed)
        self.assertEqual(3, len(listed["items"]))
        for place in (".example.com", "*", "a%2Fb%40example.com"):
            self.assertEqual(204, (await self.ask("DELETE", f"/routes/{place}")).status, place)
        self.assertEqual(404, (await self.ask("DELETE", "/routes/*")).status)
        said = await self.ask("POST", "/routes", {"pattern": "*", "target": "carrier-pigeon"})
        self.assertEqual(400, said.status)


class Outgoing(ApiCase):
    async def test_captured_mail_is_listed_read_and_given_as_it_would_leave(self) -> None:
        await self.begin()
        for number in range(3):
            await self.send(FAR, subject=f"Mail {number}")
        page = await self.get("/captured?limit=2")
        self.assert_fits("listCaptured", 200, page)
        rest = await self.get(f"/captured?limit=2&cursor={page['cursor']}")
        subjects = [each["subject"] for each in page["items"] + rest["items"]]
        self.assertEqual(["Mail 2", "Mail 1", "Mail 0"], subjects)
        (mail,) = rest["items"]
        read = await self.get(f"/captured/{mail['id']}")
        self.assert_fits("getCaptured", 200, read)
        self.assertEqual((FAR, "Hello\n"), (read["to"][0]["address"], read["text"]))
        raw = await self.ask("GET", f"/captured/{mail['id']}/raw")
        self.assertIn(b"Subject: Mail 0", raw.octets)
        self.assertEqual(str(len(raw.octets)), raw.fields["content-length"])
        self.assertEqual(404, (await self.ask("GET", "/captured/999")).status)

    async def test_captured_mail_is_waited_for(self) -> None:
        await self.begin()
        await self.send(FAR, subject="Before")
        asking = self.send_off("GET", "/captured/wait?timeout=120&to=dave%40elsewhere.example")
        (captured,) = (each for each in self.api.resources if isinstance(each, Captured))
        await self.until(lambda: bool(captured.waiters._count))
        for _ in range(20):  # it has looked what there is
            await self.get("/captured")
        mail_id = await self.send(FAR, subject="Now")
        await self.until(lambda: asking.is_over)
        self.assertEqual(200, asking.said.status)
        self.assertEqual(mail_id, asking.said.json["mail_id"])
        since = "since=2020-01-01T00:00:00Z&subject=before"
        self.assertEqual("Before", (await self.get(f"/captured/wait?{since}"))["subject"])

    async def test_the_queue_is_listed_filtered_and_changed(self) -> None:
        await self.begin()
        for to in ("a@one.example", "b@two.example", "c@two.example"):
            await self.send(to)
        listed = await self.get("/queue?limit=2")
        self.assert_fits("listQueue", 200, listed)
        rest = await self.get(f"/queue?limit=2&cursor={listed['cursor']}")
        rows = listed["items"] + rest["items"]
        self.assertEqual(["a@one.example", "b@two.example", "c@two.example"],
                         [each["recipient"] for each in rows])  # fmt: skip
        two = await self.get("/queue?domain=two.example&state=captured")
        self.assertEqual(2, len(two["items"]))
        self.assertEqual(rows[0], await self.get(f"/queue/{rows[0]['id']}"))
        said = await self.ask("POST", "/queue/hold", {"ids": [rows[0]["id"]]})
        self.assertEqual({"changed": [], "left": {"captured": 1}}, said.json)
        self.assert_fits("holdQueued", 200, said.json)
        said = await self.ask("POST", "/queue/drop", {"domain": "two.example"})
        self.assertEqual([each["id"] for each in rows[1:]], said.json["changed"])
        story = await self.get(f"/journal/{rows[1]['mail_id']}")
        self.assertEqual("dropped", story["recipients"][0]["state"])
        self.assertEqual(404, (await self.ask("GET", f"/queue/{rows[1]['id']}")).status)

    async def test_every_row_is_meant_only_where_that_is_said(self) -> None:
        await self.begin()
        await self.send(FAR)
        for body in ({}, {"ids": []}, {"all": False}, {"all": True, "domain": "x"},
                     {"state": "gone"}, {"ids": [1], "unknown": 1}):  # fmt: skip
            said = await self.ask("POST", "/queue/drop", body)
            self.assertEqual(422, said.status, body)
        self.assertEqual(1, len((await self.get("/queue"))["items"]))
        said = await self.ask("POST", "/queue/drop", {"all": True})
        self.assertEqual(1, len(said.json["changed"]))

    async def test_the_journal_finds_mails_by_whom_they_are_to_and_from(self) -> None:
        await self.begin()
        first = await self.send(BOB)
        second = await self.send(FAR, BOB)
        found = await self.get(f"/journal?to={BOB}")
        self.assert_fits("findStories", 200, found)
        self.assertEqual([second, first], [each["mail_id"] for each in found["items"]])
        found = await self.get(f"/journal?to={FAR}&from={ALICE}")
        self.assertEqual([second], [each["mail_id"] for each in found["items"]])
        found = await self.get("/journal?limit=1")
        self.assertEqual([second], [each["mail_id"] for each in found["items"]])
        self.assertEqual([], (await self.get("/journal?from=%3C%3E"))["items"])

    async def test_the_node_says_how_it_is(self) -> None:
        await self.begin()
        await self.send(FAR)
        told = await self.get("/node")
        self.assert_fits("getNode", 200, told)
        self.assertEqual((True, "capture", 1),
                         (told["is_ready"], told["gear"], told["queue"]["captured"]))  # fmt: skip


class Bans(ApiCase):
    async def test_a_network_is_banned_listed_and_lifted(self) -> None:
        await self.begin()
        order = {"network": "192.0.2.7/24", "for_s": 3600, "reason": "why"}
        made = await self.ask("POST", "/bans", order)
        self.assertEqual(201, made.status)
        self.assert_fits("addBan", 201, made.json)
        self.assertEqual(("192.0.2.0/24", ALICE), (made.json["network"], made.json["made_by"]))
        guesses = self.node_.guard.guesses
        self.assertGreater(guesses.closed_s("192.0.2.9"), 3590)
        await self.ask("POST", "/bans", {"network": "2001:db8::1", "for_s": None})
        for number in range(20):
            guesses.failed(Asked("198.51.100.7", "nobody", None, b"%d" % number))
        listed = await self.get("/bans")
        self.assert_fits("listBans", 200, listed)
        self.assertEqual([made.json, None], [listed["bans"][0], listed["bans"][1]["until"]])
        self.assertEqual(["198.51.100.7"], [each["address"] for each in listed["blocks"]])
        for network in ("192.0.2.0%2F24", "2001:db8::1", "198.51.100.7"):
            self.assertEqual(204, (await self.ask("DELETE", f"/bans/{network}")).status, network)
        self.assertEqual({"bans": [], "blocks": []}, await self.get("/bans"))
        self.assertEqual(0, guesses.closed_s("198.51.100.7"))
        self.assertEqual(404, (await self.ask("DELETE", "/bans/192.0.2.0%2F24")).status)
        told = (await self.get("/audit?event=unbanned"))["items"]
        self.assertEqual(3, len(told))
        self.assertEqual({ALICE}, {each["by"] for each in told})
        self.assertTrue(all(each["way"].startswith("token ") for each in told))
        self.assertEqual({"network": "198.51.100.7", "blocks": 1}, told[0]["detail"])

    async def test_what_can_not_be_banned_is_said(self) -> None:
        await self.begin()
        for order, status in (
            ({"network": "example.org"}, 400),
            ({"network": "127.0.0.1"}, 400),
            ({"network": "192.0.2.1", "for_s": 0}, 422),
            ({"network": "192.0.2.1", "reason": "two\nlines"}, 422),
            ({}, 422),
        ):
            self.assertEqual(status, (await self.ask("POST", "/bans", order)).status, order)
        said = await self.ask("GET", "/bans", token="bob")
        self.assertEqual(403, said.status)

    async def test_a_blocked_client_is_told_when_to_come_back_and_no_token_is_looked_at(
        self,
    ) -> None:
        await self.begin()
        guesses = self.node_.guard.guesses
        self.web.web.guard.turn_away = lambda client: 61.5
        said = await self.ask("GET", "/folders")
        self.assertEqual((429, "62"), (said.status, said.fields["retry-after"]))
        self.web.web.guard.turn_away = guesses.turn_away
        self.assertEqual(200, (await self.ask("GET", "/folders")).status)

    async def test_wrong_tokens_are_guesses_and_one_again_and_again_is_one(self) -> None:
        await self.begin()
        counted: list[tuple[str, bytes]] = []
        self.web.web.guard.bad_token = lambda *told: counted.append(told)
        await self.ask("GET", "/folders", token="wrong")
        self.assertEqual([("127.0.0.1", b"wrong")], counted)
        guesses = self.node_.guard.guesses
        for _ in range(50):
            guesses.bad_token("198.51.100.7", b"old")
        self.assertEqual(0, guesses.closed_s("198.51.100.7"))
        for number in range(20):
            guesses.bad_token("198.51.100.7", b"%d" % number)
        self.assertGreater(guesses.closed_s("198.51.100.7"), 0)
