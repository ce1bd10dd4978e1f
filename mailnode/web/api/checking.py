"""Whether a request is as its schema has it; what is wrong is said in words, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mailnode.web.api.problems import MOST_FAULTS, Fault, Faulty
from mailnode.web.api.schemas import SAYS, Schema
from mailnode.web.refusals import BadRequest

MOST_DEPTH = 16
MOST_VALUES = 4_000  # each that is wrong costs two kilobytes before the first fault is told
MOST_DIGITS = 30
_MARKS = re.compile(r'\\.|["\[\]{},]', re.S)
_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "number": "a number",
}


# JSON


def read_json(octets: bytes) -> Any:
    """A value of JSON that is well-formed to the letter, and neither deep nor of many values.

    Raises:
        BadRequest: it isn't.
    """
    try:
        text = octets.decode("utf-8")
        _require_bounded(text)
        value = json.loads(
            text, parse_constant=_no_constant, parse_int=_whole, object_pairs_hook=_object
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # no half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise BadRequest("That is not JSON", detail=str(error)[:200]) from None
    return value


def _require_bounded(text: str) -> None:
    """
    Raises:
        BadRequest: there is more in it than anybody asks for.
    """
    if text.count(",") < MOST_VALUES and text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    values, depth, in_text = 1, 0, False
    for found in _MARKS.finditer(text):
        mark = found.group()
        if mark == '"':
            in_text = not in_text
        elif in_text:
            continue
        elif mark == ",":
            values += 1
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        if depth > MOST_DEPTH:
            raise BadRequest(f"The JSON is nested deeper than {MOST_DEPTH}")
        if values > MOST_VALUES:
            raise BadRequest(f"The JSON has more than {MOST_VALUES:,} values")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return made


# Against a schema


def checked(value: Any, schema: Schema) -> Any:
    """The value, which is as the schema has it.

    Raises:
        Faulty: it isn't.
    """
    if found := faults_of(value, schema):
        raise Faulty(found)
    return value


def faults_of(value: Any, schema: Schema) -> list[Fault]:
    """What is wrong, in no more than so many words."""
    found: list[Fault] = []
    for error in Draft202012Validator(schema).iter_errors(value):
        found += islice(_faults(error), MOST_FAULTS)
        if len(found) >= MOST_FAULTS:
            break
    return found


def _faults(error: ValidationError) -> Iterator[Fault]:
    where, schema = field_of(error.absolute_path), error.schema
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    if error.validator == "additionalProperties":
        for name in error.instance:
            if name not in known:
                yield Fault(_under(where, name), unknown(name, known))
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield Fault(_under(where, name), "is missing")
                break  # the others have errors of their own
    else:
        yield Fault(where, _words(error, schema))


def _words(error: ValidationError, schema: Any) -> str:
    limit, says = error.validator_value, schema.get(SAYS, "")
    match error.validator:
        case "type":
            kinds = [limit] if isinstance(limit, str) else limit
            return f"must be {' or '.join(_KINDS[each] for each in kinds)}"
        case "enum":
            return f"must be one of {', '.join(str(each) for each in limit)}"
        case "pattern":
            return f"must be {says}"
        case "maxLength":
            return f"has more than {limit} characters"
        case "minLength":
            return "is empty" if limit == 1 else f"has less than {limit} characters"
        case "maximum" | "minimum":
            least, most = schema.get("minimum"), schema.get("maximum")
            return f"must be from {least} to {most}"
        case "maxItems" | "maxProperties":
            return f"has more than {limit}"
        case "minItems" | "minProperties":
            return f"has less than {limit}"
        case "anyOf":
            kinds = [_KINDS[each["type"]] for each in limit if "type" in each]
            inner = [each for each in error.context or () if each.validator != "type"]
            if inner:
                return _words(inner[0], inner[0].schema)
            return f"must be {' or '.join(kinds)}"
    return "is not as it must be"


def unknown(name: str, known: Iterable[str]) -> str:
    """Words for a name that nobody knows, and the nearest that somebody does."""
    names = list(known)
    near = get_close_matches(name[:60], names, 1, 0.5)
    hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(names)}"
    return f"is unknown{hint if names else ''}"


def field_of(path: Sequence[Any] | Iterable[Any]) -> str:
    """`to[1]`, `attachments[0].name`."""
    told = ""
    for each in path:
        told = f"{told}[{each}]" if isinstance(each, int) else _under(told, str(each))
    return told


def _under(where: str, name: str) -> str:
    name = name[:60]
    return f"{where}.{name}" if where else name
