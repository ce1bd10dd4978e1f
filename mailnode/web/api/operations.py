"""The table of the API: what there is, what each takes and answers, and who may ask."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from mailnode.web.api.checking import checked, faults_of, read_json, unknown
from mailnode.web.api.problems import Fault, Faulty, UnknownKind
from mailnode.web.api.schemas import NUMBER, Schema, list_of, ref, thing
from mailnode.web.refusals import BadRequest, NoSuchPage
from mailnode.web.routes import JSON, Answer, Need, Route, Taken

if TYPE_CHECKING:
    from mailnode.store.directory import Account
    from mailnode.web.visit import Visit

BASE = "/api/v1"
# A local part may have one, a network has.
_WITH_SLASH = {"address": "path:", "pattern": "path:", "network": "path:"}
_PLACE = re.compile(r"\{(\w+)\}")


@frozen
class Result:
    """What is answered when all is well.

    Attributes:
        schema: of its body; None for none, or where that isn't JSON.
        kind: its Content-Type; "" for no body.
    """

    status: int
    about: str
    schema: Schema | None = None
    kind: str = JSON
    example: Any = None


@frozen
class Content:
    """What is sent.

    Attributes:
        schema: of JSON, or of a form's fields; None for what is no such thing.
    """

    kind: str
    schema: Schema | None = None
    example: Any = None


@frozen
class Call:
    """A request that is as its operation has it.

    Attributes:
        places: what the path holds, by name.
        query: what stands behind `?`, with what is usual where nothing does.
        body: the JSON that was sent; None where the operation reads it itself.
    """

    visit: Visit
    places: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any = None

    @property
    def account(self) -> Account:
        return self.visit.guest.account

    @property
    def account_id(self) -> int:
        return self.account.id


@frozen(kw_only=True)
class Operation:
    """One thing that programs may ask for.

    Attributes:
        name: unique, for programs that are made of the document.
        path: under /api/v1, "/messages/{id}".
        answer: called with the `Call`.
        about: one line; `more` says the rest.
        scope: of the tokens that may ask.
        places: schemas of what the path holds; what is not so is not there.
        query: schemas by name; `needs` must be given.
        bodies: what may be sent; the first is what is meant without a Content-Type.
        reads_body: the operation reads the body itself.
        failures: what may go wrong beside what may with every operation of its kind.
    """

    name: str
    method: str
    path: str
    answer: Callable[[Call], Awaitable[Answer]] = field(eq=False)
    about: str
    more: str = ""
    tag: str
    scope: str | None
    need: Need = Need.USER
    places: Mapping[str, Schema] = field(factory=dict)
    query: Mapping[str, Schema] = field(factory=dict)
    needs: Sequence[str] = ()
    bodies: Sequence[Content] = ()
    reads_body: bool = False
    takes: Taken = field(factory=Taken)
    results: Sequence[Result] = ()
    failures: Sequence[int] = ()

    def route(self) -> Route:
        """For the web."""
        path = _PLACE.sub(lambda found: f"<{self._converter(found[1])}{found[1]}>", self.path)
        return Route(
            BASE + path,
            (self.method,),
            self._answer,
            self.about,
            self.need,
            self.scope,
            self.takes,
        )

    def _converter(self, name: str) -> str:
        """For Klein: a number is none of the words that may stand in its place."""
        is_number = self.places[name].get("pattern") == NUMBER
        return "int:" if is_number else _WITH_SLASH.get(name, "")

    async def _answer(self, visit: Visit, **matched: Any) -> Answer:
        places = {name: str(said) for name, said in matched.items()}
        for name, schema in self.places.items():
            if faults_of(places[name], schema):
                raise NoSuchPage()
        call = Call(visit, places, self._read_query(visit), self._read_body(visit))
        return await self.answer(call)

    def _read_query(self, visit: Visit) -> dict[str, Any]:
        found: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, values in _decoded(visit.request.args).items():
            schema = self.query.get(name)
            if schema is None:
                faults.append(Fault(name[:60], unknown(name, self.query)))
            elif schema["type"] == "array":
                found[name] = values
            elif len(values) > 1:
                faults.append(Fault(name, "is given more than once"))
            else:
                found[name] = _value(values[0], schema)
        if faults:
            raise Faulty(faults)
        checked(found, thing(self.query, needs=self.needs))
        usual = {name: each["default"] for name, each in self.query.items() if "default" in each}
        return usual | found

    def _read_body(self, visit: Visit) -> Any:
        if not self.bodies or self.reads_body:
            return None
        kind = visit.request.header("Content-Type").partition(";")[0].strip().lower()
        if kind not in ("", JSON):
            raise UnknownKind(f"This takes {JSON}")
        schema = self.bodies[0].schema
        assert schema is not None
        return checked(read_json(visit.body), schema)


def _decoded(args: Mapping[bytes, list[bytes]]) -> dict[str, list[str]]:
    try:
        return {
            name.decode(): [value.decode() for value in values] for name, values in args.items()
        }
    except UnicodeDecodeError:
        raise BadRequest("The address is not UTF-8") from None


def _value(said: str, schema: Schema) -> Any:
    """What stands behind `?` as its schema wants it, as far as it can be."""
    if schema["type"] == "integer" and re.fullmatch(r"-?[0-9]{1,18}", said):
        return int(said)
    if schema["type"] == "boolean" and said in ("true", "false"):
        return said == "true"
    if schema.get("format") == "date-time":
        return said.replace(" ", "+")  # what a plus becomes that nobody has escaped
    return said


def answer_json(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(f"{json.dumps(value)}\n", status, kind=JSON, headers=headers)


NOTHING = Answer(status=204, kind=JSON)
GONE = Result(204, "It is gone.", None, "")


def list_result(name: str) -> Result:
    """All of a kind, by the name of its schema."""
    return Result(200, "They.", thing({"items": list_of(ref(name))}))


def time_of(at: float | None) -> str | None:
    """UTC epoch seconds as RFC 3339 has them; None for none, and for what no clock shows."""
    if at is None:
        return None
    try:
        told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
    return told.replace("+00:00", "Z")


def read_time(said: str, name: str) -> float:
    """UTC epoch seconds.

    Raises:
        Faulty: there is no such time.
    """
    try:
        return datetime.fromisoformat(said).timestamp()
    except (ValueError, OverflowError):
        raise Faulty([Fault(name, "is no time that there is")]) from None
