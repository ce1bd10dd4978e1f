"""The OpenAPI document, made of the table of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from mailnode.web.api.operations import BASE, Content, Operation, Result
from mailnode.web.api.problems import MOST_FAULTS
from mailnode.web.api.schemas import Schema, list_of, ref, text, thing, whole
from mailnode.web.routes import UNSAFE, Need

PROBLEM = "application/problem+json"
ABOUT = """\
Mail of an account, and administration of the node, for programs.

A program shows a token, made on the settings page or by `mailnode token add`, as
`Authorization: Bearer TOKEN`; its scopes are named with each operation. A page of this server may
use its browser's session, with the session's CSRF token in `X-CSRF-Token` where something is
changed.

What is wrong is answered by a problem (RFC 9457), with `errors` for the fields. Times are
RFC 3339 in UTC, text is UTF-8. Lists come in pages: `cursor` of one is asked for the next.
"""
_TAGS = {
    "Sending": "Mail goes out.",
    "Messages": "Mail that lies in the account's folders.",
    "Folders": "The account's folders.",
    "Captured mail": "Mail for elsewhere that the gear `capture` or `allow-list` keeps here.",
    "Accounts": "Who has mail here.",
    "Aliases": "Other addresses.",
    "Domains": "What is here.",
    "Routes": "Which way mail for elsewhere goes.",
    "Queue": "Mail on its way to other hosts.",
    "Bans": "From where nobody signs in.",
    "Journal": "What happened to mails.",
    "Audit": "Who was let in, and who changed what.",
    "Node": "The server itself.",
    "About": "This document.",
}
_WHOSE = {
    Need.DOMAIN_ADMIN: " of an administrator, or of who looks after the domain,",
    Need.ADMIN: " of an administrator",
}
_FAULTS = list_of(
    thing({"field": text(example="to[1]"), "detail": text(), "code": text(example="5.1.1")},
          needs=("field", "detail")),
    "What is wrong with which field.",
    most=MOST_FAULTS,
)  # fmt: skip
PROBLEM_SCHEMA: Schema = {
    **thing(
        {
            "type": text(example="about:blank"),
            "title": text(),
            "status": whole(),
            "detail": text(),
            "errors": _FAULTS,
        },
        "RFC 9457.",
        needs=("type", "title", "status", "detail"),
    ),
    "examples": [
        {
            "type": "about:blank",
            "title": "Not as it must be",
            "status": 422,
            "detail": "to[1] dave@nowhere: 'nowhere' is not a whole domain",
            "errors": [{"field": "to[1]", "detail": "'nowhere' is not a whole domain"}],
        }
    ],
}


def document_of(
    operations: Sequence[Operation], schemas: Mapping[str, Schema], version: str
) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    tags = list(dict.fromkeys(each.tag for each in operations))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailnode",
            "version": version,
            "summary": "Mail for programs",
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": BASE}],
        "tags": [{"name": each, "description": _TAGS[each]} for each in tags],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `mailnode token add`, or on the settings page.",
                },
            },
        },
    }


def _operation(each: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.about,
        "tags": [each.tag],
        "responses": _responses(each),
        "security": [] if each.need is Need.NOBODY else [{"token": []}],
    }
    more = [each.more] if each.more else []
    if each.scope:
        whose = _WHOSE.get(each.need, "")
        more.append(f"Needs a token{whose} with the scope `{each.scope}`.")
    if more:
        told["description"] = "\n\n".join(more)
    if each.scope:
        told["x-scope"] = each.scope
    parameters = [*_places(each), *_query(each), *_fields(each)]
    if parameters:
        told["parameters"] = parameters
    if each.bodies:
        told["requestBody"] = {
            "required": True,
            "content": {content.kind: _content(content) for content in each.bodies},
        }
    return told


def _places(each: Operation) -> list[dict[str, Any]]:
    return [_parameter("path", name, schema, True) for name, schema in each.places.items()]


def _query(each: Operation) -> list[dict[str, Any]]:
    return [
        _parameter("query", name, schema, name in each.needs) for name, schema in each.query.items()
    ]


def _fields(each: Operation) -> list[dict[str, Any]]:
    if each.name != "send":
        return []
    key = text("The same request is answered the same, and done once.", least=1, most=200,
               pattern="^[!-~]+$", says="printable characters")  # fmt: skip
    return [_parameter("header", "Idempotency-Key", key, False)]


def _parameter(place: str, name: str, schema: Schema, needed: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "in": place, "schema": _bare(schema)}
    if needed:
        told["required"] = True
    if "description" in schema:
        told["description"] = schema["description"]
    if schema["type"] == "array":
        told |= {"style": "form", "explode": True}
    return told


def _bare(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "description"}


def _content(content: Content | Result) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if content.schema is not None:
        told["schema"] = content.schema
    if content.example is not None:
        told["example"] = content.example
    return told


def _responses(each: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for result in each.results:
        answer: dict[str, Any] = {"description": result.about}
        if result.kind:
            answer["content"] = {result.kind: _content(result)}
        told[str(result.status)] = answer
    for status in sorted({*each.failures, *_usual_failures(each)}):
        told.setdefault(
            str(status),
            {
                "description": HTTPStatus(status).phrase,
                "content": {PROBLEM: {"schema": ref("Problem")}},
            },
        )
    return told


def _usual_failures(each: Operation) -> list[int]:
    """What may be answered to every operation like it."""
    usual = [400, 405, 414, 421, 422, 431, 500, 503]
    if each.need is not Need.NOBODY:
        usual += [401, 403, 429]
    if each.places:
        usual.append(404)
    if each.method in UNSAFE:
        usual += [403, 413, 507]
    if each.bodies:
        usual.append(415)
    return usual
