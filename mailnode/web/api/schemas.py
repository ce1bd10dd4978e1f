"""JSON Schemas in few words, as OpenAPI 3.1 has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

MOST_WHOLE = 1 << 53  # what a number in JSON holds exactly
NUMBER = r"^[1-9][0-9]{0,17}$"
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
SAYS = "x-says"  # what a text must be, in the words of a refusal


def _about(about: str, schema: Schema, example: Any) -> Schema:
    if about:
        schema["description"] = about
    if example is not None:
        schema["examples"] = [example]
    return schema


def text(
    about: str = "",
    *,
    most: int | None = None,
    least: int = 0,
    pattern: str = "",
    says: str = "",
    example: Any = None,
    default: str | None = None,
) -> Schema:
    """A text.

    Args:
        most, least: characters.
        says: what it must be, for the pattern's sake: "an address".
    """
    schema: Schema = {"type": "string"}
    if most is not None:
        schema["maxLength"] = most
    if least:
        schema["minLength"] = least
    if pattern:
        schema |= {"pattern": pattern, SAYS: says}
    if default is not None:
        schema["default"] = default
    return _about(about, schema, example)


def instant(about: str = "") -> Schema:
    """A time."""
    made = text(
        about,
        pattern=INSTANT,
        says="a time such as 2027-01-31T09:30:00Z",
        example="2027-01-31T09:30:00Z",
    )
    return made | {"format": "date-time"}


def whole(
    about: str = "",
    least: int = 0,
    most: int = MOST_WHOLE,
    *,
    default: int | None = None,
    example: Any = None,
) -> Schema:
    """A whole number."""
    schema: Schema = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return _about(about, schema, example)


def flag(about: str = "", *, default: bool | None = None) -> Schema:
    """Yes or no."""
    schema: Schema = {"type": "boolean"}
    if default is not None:
        schema["default"] = default
    return _about(about, schema, None)


def one_of(about: str, values: Sequence[str], *, default: str | None = None) -> Schema:
    """One of these words."""
    schema: Schema = {"type": "string", "enum": list(values)}
    if default is not None:
        schema["default"] = default
    return _about(about, schema, None)


def list_of(
    item: Schema, about: str = "", *, most: int | None = None, least: int = 0, example: Any = None
) -> Schema:
    """A list."""
    schema: Schema = {"type": "array", "items": item}
    if most is not None:
        schema["maxItems"] = most
    if least:
        schema["minItems"] = least
    return _about(about, schema, example)


def thing(
    fields: Mapping[str, Schema],
    about: str = "",
    *,
    needs: Sequence[str] | None = None,
    least: int = 0,
    example: Any = None,
) -> Schema:
    """An object with these fields and no others.

    Args:
        needs: fields that must be there; all of them unless given.
        least: how many fields there must be.
    """
    schema: Schema = {
        "type": "object",
        "properties": dict(fields),
        "additionalProperties": False,
    }
    required = list(fields) if needs is None else list(needs)
    if required:
        schema["required"] = required
    if least:
        schema["minProperties"] = least
    return _about(about, schema, example)


def words(about: str = "") -> Schema:
    """An object of anything."""
    return _about(about, {"type": "object", "additionalProperties": True}, None)


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    kind = schema["type"]
    made = schema | {"type": [kind, "null"]}
    if "enum" in schema:
        made["enum"] = [*schema["enum"], None]
    return made


def ref(name: str) -> Schema:
    """What stands in the document under this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    """A page of a list."""
    cursor = or_null(text("Of the next page; null behind the last."))
    return thing({"items": list_of(ref(name)), "cursor": cursor})
