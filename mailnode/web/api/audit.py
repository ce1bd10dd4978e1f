"""/audit: who was let in, and who changed what, for administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.audited import EVENTS
from mailnode.web.api.operations import Call, Operation, Result, answer_json, read_time
from mailnode.web.api.paging import PAGING, answer_page, place
from mailnode.web.api.schemas import (
    Schema,
    instant,
    one_of,
    or_null,
    page_of,
    text,
    thing,
    whole,
    words,
)
from mailnode.web.routes import Answer, Need

if TYPE_CHECKING:
    from mailnode.store.audit_lines import Line

Find = Callable[[Mapping[str, Any], int, int], Awaitable[tuple[Sequence["Line"], int]]]

SCHEMAS: dict[str, Schema] = {
    "AuditLine": thing(
        {
            "number": whole(example=812),
            "at": or_null(instant()),
            "event": text(example="password-changed"),
            "account": text("Whom it is about; empty for nobody.", example="carol@example.org"),
            "by": text("Who did it; empty for the node itself.", example="alice@example.org"),
            "way": text("By what.", example="web"),
            "client": text("The address of the other end; empty for this machine."),
            "detail": words(),
        },
        "What happened, as the audit stream keeps it.",
    ),
}


@define(eq=False)
class Audit:
    """The operation.

    Args:
        find: (what is wanted, before which line, how many) to lines, the newest first, and where
            the next page begins.
        facts_of: a line as programs are told.
    """

    find: Find
    facts_of: Callable[[Line], dict[str, object]]

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                name="listAudit", method="GET", path="/audit", answer=self.list_page, tag="Audit",
                scope="admin", need=Need.ADMIN, about="The audit stream, the newest first",
                query={
                    "account": text("Whom it is about, or who did it.", most=320),
                    "event": one_of("What happened.", list(EVENTS)),
                    "since": instant("Nothing older."),
                    **PAGING,
                },
                results=[Result(200, "A page of it.", page_of("AuditLine"))],
            ),
        )  # fmt: skip

    async def list_page(self, call: Call) -> Answer:
        query = call.query
        wanted: dict[str, Any] = {"account": query.get("account", "")}
        if "event" in query:
            wanted["events"] = (query["event"],)
        if "since" in query:
            wanted["since"] = read_time(query["since"], "since")
        before = place("a", query.get("cursor"))
        found, older = await self.find(wanted, before, query["limit"])
        return answer_json(answer_page([self.facts_of(each) for each in found], "a", older or None))
