"""/routes: which way mail for elsewhere goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.routes import TLS_WISHES, read_route
from mailnode.web.api.operations import (
    GONE,
    NOTHING,
    Call,
    Content,
    Operation,
    Result,
    answer_json,
    list_result,
)
from mailnode.web.api.schemas import Schema, one_of, ref, text, thing
from mailnode.web.routes import JSON, Answer, Need

if TYPE_CHECKING:
    from mailnode.routes import Route
    from mailnode.store.accounts import Accounts
    from mailnode.store.outside import Outside

_PATTERN = text(
    "An address, a domain, `.DOMAIN` for what lies under it, or `*`.",
    least=1, most=320, example="example.com",
)  # fmt: skip
SCHEMAS: dict[str, Schema] = {
    "Route": thing(
        {
            "pattern": _PATTERN,
            "target": text(example="smtps://carol@relay.example.net:465"),
            "tls": one_of("", TLS_WISHES),
            "password_file": text(),
        }
    ),
}


@define(eq=False)
class MailRoutes:
    """The operations.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        changed: everybody knows of a change once its Deferred fires.
    """

    accounts: Accounts
    in_thread: Callable[..., Awaitable[Any]]
    changed: Callable[[], Awaitable[object]]

    def operations(self) -> Sequence[Operation]:
        route: dict[str, Any] = {"tag": "Routes", "scope": "admin", "need": Need.ADMIN}
        return (
            Operation(
                name="listRoutes", method="GET", path="/routes", answer=self.list_routes,
                about="The ways of mail for elsewhere; what none names goes by MX",
                results=[list_result("Route")], **route,
            ),
            Operation(
                name="addRoute", method="POST", path="/routes", answer=self.add_route,
                about="Mail for `pattern` goes to `target`",
                more="A target is mx, smtp://HOST:PORT, smtps://USER@HOST:PORT, lmtp://HOST:PORT, "
                "lmtp:///PATH, discard, refuse or hold. A route with a sign-in is made by the "
                "command line, which knows the file of its password.",
                bodies=[Content(JSON, thing({"pattern": _PATTERN, "target": text(least=1,
                        most=1000, example="smtp://relay.example.net:25"),
                        "tls": one_of("", TLS_WISHES)}, needs=("pattern", "target")),
                        {"pattern": "example.com", "target": "hold"})],
                results=[Result(201, "It.", ref("Route"))], failures=[400, 404, 409], **route,
            ),
            Operation(
                name="deleteRoute", method="DELETE", path="/routes/{pattern}",
                answer=self.delete_route, about="A pattern has no route of its own any more",
                places={"pattern": _PATTERN}, results=[GONE], failures=[404], **route,
            ),
        )  # fmt: skip

    async def list_routes(self, call: Call) -> Answer:
        found = await self.in_thread(self.accounts.outside.routes)
        return answer_json({"items": [_route_facts(each) for each in found]})

    async def add_route(self, call: Call) -> Answer:
        body = call.body
        route = read_route(body["pattern"], body["target"], tls=body.get("tls"))
        await self._change(self._of(call).add_route, route)
        return answer_json(_route_facts(route), 201)

    async def delete_route(self, call: Call) -> Answer:
        await self._change(self._of(call).delete_route, call.places["pattern"])
        return NOTHING

    def _of(self, call: Call) -> Outside:
        """users.db, for what who asks changes."""
        return self.accounts.by(call.visit.actor).outside

    async def _change(self, function: Callable[..., object], *arguments: object) -> None:
        await self.in_thread(function, *arguments)
        await self.changed()


def _route_facts(route: Route) -> dict[str, Any]:
    return {
        "pattern": route.pattern,
        "target": route.target,
        "tls": route.tls,
        "password_file": route.password_file,
    }
