"""/api/v1 and its document: what there is, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mailnode.web.api.openapi import document_of
from mailnode.web.api.operations import BASE, Call, Operation, Result
from mailnode.web.api.schemas import Schema, words
from mailnode.web.routes import HTML, JSON, Answer, Need

if TYPE_CHECKING:
    from mailnode.web.templates import Templates

A_MINUTE = (("Cache-Control", "public, max-age=60"),)


@define(eq=False)
class Reference:
    """The operations; `describe` is called once, when all of the table is known."""

    templates: Templates
    version: str
    document: dict[str, Any] = field(factory=dict, init=False)
    _octets: bytes = field(default=b"", init=False)
    _groups: list[dict[str, Any]] = field(factory=list, init=False)

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"tag": "About", "scope": None, "need": Need.NOBODY}
        return (
            Operation(
                name="getReference", method="GET", path="", answer=self.show,
                about="This document as a page", results=[Result(200, "It.", None, HTML)], **whose,
            ),
            Operation(
                name="getDocument", method="GET", path="/openapi.json", answer=self.show_document,
                about="This document: OpenAPI 3.1", results=[Result(200, "It.", words())], **whose,
            ),
        )  # fmt: skip

    def describe(self, operations: Sequence[Operation], schemas: Mapping[str, Schema]) -> None:
        """Make the document of these."""
        told = [each for each in operations if each.path]
        self.document = document_of(told, schemas, self.version)
        self._octets = json.dumps(self.document).encode() + b"\n"
        self._groups = [
            {
                **tag,
                "operations": [_shown(each, self.document) for each in told
                               if each.tag == tag["name"]],
            }
            for tag in self.document["tags"]
        ]  # fmt: skip

    async def show_document(self, call: Call) -> Answer:
        return Answer(self._octets, kind=JSON, headers=A_MINUTE)

    async def show(self, call: Call) -> Answer:
        return self.templates.page(
            call.visit,
            "api.html",
            title="The API",
            about=self.document["info"]["description"].split("\n\n"),
            groups=self._groups,
            base=BASE,
            schemas=[
                (name, _lines(schema))
                for name, schema in self.document["components"]["schemas"].items()
            ],
        )


def _shown(each: Operation, document: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an operation."""
    told = document["paths"][each.path][each.method.lower()]
    bodies = []
    for kind, content in told.get("requestBody", {}).get("content", {}).items():
        example = content.get("example")
        bodies.append(
            {
                "kind": kind,
                "fields": _lines(content.get("schema", {})),
                "example": json.dumps(example, indent=2) if example is not None else "",
            }
        )
    return {
        "name": each.name,
        "method": each.method,
        "path": BASE + each.path,
        "about": each.about,
        "more": told.get("description", ""),
        "parameters": [
            {"name": one["name"], "place": one["in"], "kind": _kind(one["schema"]),
             "needed": one.get("required", False), "about": one.get("description", "")}
            for one in told.get("parameters", ())
        ],
        "bodies": bodies,
        "results": [
            {"status": status, "about": one["description"],
             "kind": ", ".join(f"{kind} {_kind(content.get('schema', {}))}".strip()
                               for kind, content in one.get("content", {}).items())}
            for status, one in told["responses"].items() if status < "4"
        ],
        "failures": ", ".join(status for status in told["responses"] if status >= "4"),
    }  # fmt: skip


def _lines(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    needed = schema.get("required", ())
    return [
        {"name": name, "kind": _kind(each), "needed": name in needed,
         "about": each.get("description", "")}
        for name, each in schema.get("properties", {}).items()
    ]  # fmt: skip


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and "items" in schema.get("properties", {}):
        return f"a page: {_kind(schema['properties']['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
