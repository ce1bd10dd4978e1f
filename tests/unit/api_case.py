"""A node's API without a socket: requests are written to its server, and what it says is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from jsonschema import Draft202012Validator
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailnode.addresses import parse_address
from mailnode.service import Node
from mailnode.web.api.api import Api
from tests.unit.node_case import NodeCase

SCOPES = ("read", "send", "manage", "admin")
JSON = "application/json"
PORT = 8080
PROBLEM = "application/problem+json"


@frozen
class Said:
    """An answer."""

    status: int
    fields: Mapping[str, str]
    octets: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.octets)

    @property
    def errors(self) -> dict[str, str]:
        """What a problem says of each field."""
        assert self.fields["content-type"] == PROBLEM, self
        return {each["field"]: each["detail"] for each in self.json["errors"]}


class Asking:
    """A request under way."""

    def __init__(self, server: Any, octets: bytes) -> None:
        client = IPv4Address("TCP", "127.0.0.1", 40000)
        here = IPv4Address("TCP", "127.0.0.1", PORT)
        self.transport = StringTransport(hostAddress=here, peerAddress=client)
        self.channel = server.buildProtocol(client)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(octets)

    @property
    def is_over(self) -> bool:
        return bool(self.transport.disconnecting)

    @property
    def said(self) -> Said:
        head, _, octets = self.transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        fields = {name.lower(): value for name, value in fields.items()}
        if fields.get("transfer-encoding") == "chunked":
            octets = _unchunked(octets)
        return Said(int(first.split()[1]), fields, octets)

    def leave(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


def _unchunked(octets: bytes) -> bytes:
    found = b""
    while octets:
        size, _, octets = octets.partition(b"\r\n")
        count = int(size, 16)
        found, octets = found + octets[:count], octets[count + 2 :]
    return found


class ApiCase(NodeCase):
    """A node with alice, who is an administrator, and bob; `begin` starts it.

    Attributes:
        api: its table of operations.
        tokens: of each account, with all scopes.
    """

    node_: Node
    api: Api

    async def begin(self, **more: object) -> None:
        self.add_accounts("alice", admin=True)
        self.add_accounts("bob")
        self.node_ = node = self.started(listen__http=("8080",), **more)
        assert node.web is not None
        self.web, self.server = node.web, node.web.server(str)
        (self.api,) = (each for each in node.web.web.pages if isinstance(each, Api))
        self.tokens = {name: await self.token(name) for name in ("alice", "bob")}

    async def token(self, name: str, *scopes: str) -> str:
        account = self.node_.directory.find(parse_address(f"{name}@example.test"))
        assert account is not None
        made = self.web.guests.make_token(account.id, "t", scopes or SCOPES, None)
        secret, _token = await self.done(made)
        return str(secret)

    def send_off(
        self,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] | Sequence[Any] | None = None,
        *headers: str,
        token: str | None = "alice",
        kind: str = JSON,
        base: str = "/api/v1",
    ) -> Asking:
        """A request on its way; its token is an account's name, a secret, or None for none."""
        octets = body if isinstance(body, bytes) else b""
        if isinstance(body, str):
            octets = body.encode()
        elif body is not None and not isinstance(body, bytes):
            octets = json.dumps(body).encode()
        lines = [f"{method} {base}{path} HTTP/1.1", "Host: localhost", "Connection: close"]
        if token is not None:
            lines.append(f"Authorization: Bearer {self.tokens.get(token, token)}")
        if body is not None:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(octets)}"]
        text = "\r\n".join([*lines, *headers, "", ""])
        return Asking(self.server, text.encode("utf-8", "surrogateescape") + octets)

    async def ask(self, method: str, path: str, *arguments: Any, **more: Any) -> Said:
        asking = self.send_off(method, path, *arguments, **more)
        await self.until(lambda: asking.is_over)
        said = asking.said
        if said.octets and "json" in said.fields.get("content-type", ""):
            self.assertTrue(said.octets.endswith(b"}\n") or said.octets.endswith(b"]\n"), said)
        return said

    async def get(self, path: str, *headers: str, **more: Any) -> Any:
        """The JSON of a GET, which must be as the document has it."""
        said = await self.ask("GET", path, None, *headers, **more)
        self.assertEqual(200, said.status, said)
        return said.json

    async def send(self, *to: str, token: str = "alice", **more: Any) -> str:
        """Send a mail; its id."""
        order = {"to": list(to), "subject": "Hi", "text": "Hello\n"} | more
        said = await self.ask("POST", "/send", order, token=token)
        self.assertEqual(202, said.status, said)
        return str(said.json["id"])

    def assert_fits(self, name: str, status: int, value: Any) -> None:
        """A body is as the document says that this operation answers."""
        document = self.api.reference.document
        (told,) = (
            one
            for path in document["paths"].values()
            for one in path.values()
            if one["operationId"] == name
        )
        schema = told["responses"][str(status)]["content"][JSON]["schema"]
        validator = Draft202012Validator(schema | {"components": document["components"]})
        self.assertEqual([], [each.message for each in validator.iter_errors(value)], name)
