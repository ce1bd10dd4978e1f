"""/queue: mail on its way to other hosts, for administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define

from mailnode.errors import NoSuchMail
from mailnode.web.api.operations import (
    Call,
    Content,
    Operation,
    Result,
    answer_json,
    read_time,
    time_of,
)
from mailnode.web.api.paging import PAGING, answer_page, place
from mailnode.web.api.problems import Fault, Faulty
from mailnode.web.api.schemas import (
    NUMBER,
    Schema,
    flag,
    instant,
    list_of,
    one_of,
    or_null,
    page_of,
    ref,
    text,
    thing,
    whole,
)
from mailnode.web.api.shapes import MAIL_ID, MAIL_ID_FIELD
from mailnode.web.routes import JSON, Answer, Need

if TYPE_CHECKING:
    from mailnode.store.queue_desk import Changed, QueueRow

ACTIONS = ("retry", "hold", "release", "bounce", "drop")
STATES = ("waiting", "bouncing", "leased", "held", "captured")
MOST_NAMED = 500
ID = text("A row's number.", pattern=NUMBER, says="a number", example="4711")
_FILTERS: dict[str, Schema] = {
    "sender": text("The reverse-path; empty for reports.", most=320),
    "recipient": text(most=320),
    "domain": text(most=255, example="example.com"),
    "reply": text("Stands in the last reply.", least=1, most=200),
    "state": one_of("", STATES),
    "before": instant("It was queued earlier."),
    "after": instant("It was queued then or later."),
}
_WANTED: dict[str, Schema] = {
    "ids": list_of(whole(least=1), "Rows.", most=MOST_NAMED, example=[4711]),
    "mail_ids": list_of(text(pattern=f"^{MAIL_ID}$", says="a mail's id"), most=MOST_NAMED),
    **_FILTERS,
    "all": flag("Every row; nothing else may be given then."),
}
SCHEMAS: dict[str, Schema] = {
    "QueueRow": thing(
        {
            "id": whole(example=4711),
            "mail_id": MAIL_ID_FIELD,
            "state": one_of("", STATES),
            "sender": text(),
            "recipient": text(example="dave@example.com"),
            "alias": or_null(text("The address here that led to it.")),
            "account_id": whole("Whose it is; 0 for nobody's here."),
            "subject": text(),
            "size_octets": whole(),
            "queued_at": or_null(instant()),
            "due_at": or_null(instant("Of the next attempt.")),
            "attempts": whole(),
            "last_at": or_null(instant()),
            "last_host": or_null(text()),
            "last_reply": or_null(text(example="450 4.2.1 try again later")),
            "bounce": or_null(text("Why it is given up.")),
        },
        "A recipient elsewhere whose mail has not left.",
    ),
}

MakeFilter = Callable[..., Any]


class Steering(Protocol):
    """`store.queue_steering.QueueSteering`."""

    def list(self, wanted: Any, after: int, limit: int) -> Awaitable[list[QueueRow]]: ...

    def change(self, wanted: Any, action: str, by: str, reason: str = "") -> Awaitable[Changed]: ...


@define(eq=False)
class Queue:
    """The operations.

    Args:
        make_filter: `store.queue_desk.QueueFilter`.
        bounce_reason: what senders are told where an administrator says nothing.
    """

    steering: Steering
    make_filter: MakeFilter
    bounce_reason: str = "The administrator of the sending server gave it up"

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"tag": "Queue", "scope": "admin", "need": Need.ADMIN}
        changed = thing(
            {
                "changed": list_of(whole(), "Rows.", example=[4711]),
                "left": {
                    "type": "object",
                    "description": "How many were left alone, by the state they are in.",
                    "additionalProperties": whole(),
                },
            }
        )
        some = thing(_WANTED, needs=(), least=1)
        with_reason = thing(
            {**_WANTED, "reason": text("What senders are told.", least=1, most=500)},
            needs=(), least=1,
        )  # fmt: skip
        about = {
            "retry": "Attempts what waits now",
            "hold": "Keeps what waits until it is released",
            "release": "Lets what is held go on its way, at once",
            "bounce": "Gives recipients up, and has their senders told",
            "drop": "Deletes recipients; nobody is told",
        }
        return (
            Operation(
                name="listQueue", method="GET", path="/queue", answer=self.list_page,
                about="Recipients elsewhere, the longest queued first",
                query={**_FILTERS, **PAGING},
                results=[Result(200, "A page of them.", page_of("QueueRow"))], **whose,
            ),
            Operation(
                name="getQueueRow", method="GET", path="/queue/{id}", answer=self.show,
                about="One recipient", places={"id": ID},
                results=[Result(200, "It.", ref("QueueRow"))], failures=[404], **whose,
            ),
            *(
                Operation(
                    name=f"{action}Queued", method="POST", path=f"/queue/{action}",
                    answer=self._changing(action), about=about[action],
                    more="Rows that fit all that is given, or `all` of them. One that is being "
                    "attempted is left alone.",
                    bodies=[Content(JSON, with_reason if action == "bounce" else some,
                                    {"ids": [4711]})],
                    results=[Result(200, "What was changed.", changed)], **whose,
                )
                for action in ACTIONS
            ),
        )  # fmt: skip

    async def list_page(self, call: Call) -> Answer:
        limit = call.query["limit"]
        wanted = self._filter(call.query)
        after = place("q", call.query.get("cursor"))
        found = await self.steering.list(wanted, after, limit)
        more = found[-1].id if len(found) == limit else None
        return answer_json(answer_page([_facts(each) for each in found], "q", more))

    async def show(self, call: Call) -> Answer:
        wanted = self.make_filter(ids=(int(call.places["id"]),))
        found = await self.steering.list(wanted, 0, 1)
        if not found:
            raise NoSuchMail("It has left, or never was")
        return answer_json(_facts(found[0]))

    def _changing(self, action: str) -> Callable[[Call], Awaitable[Answer]]:
        async def change(call: Call) -> Answer:
            body = dict(call.body)
            reason = " ".join(body.pop("reason", self.bounce_reason).split())
            if action == "bounce" and not (reason and reason.isprintable()):
                raise Faulty([Fault("reason", "must be one line of words")])
            everything = body.pop("all", False)
            if everything and body:
                raise Faulty([Fault("all", "stands alone")])
            wanted = self._filter(body)
            if wanted.is_empty and not everything:
                raise Faulty([Fault("", "names no rows; say all for every one")])
            by, why = str(call.account.address), reason if action == "bounce" else ""
            changed = await self.steering.change(wanted, action, by, why)
            return answer_json({"changed": changed.ids, "left": dict(changed.left)})

        return change

    def _filter(self, given: Any) -> Any:
        before, after = (
            read_time(given[name], name) if name in given else None for name in ("before", "after")
        )
        return self.make_filter(
            ids=tuple(given.get("ids", ())),
            mail_ids=tuple(given.get("mail_ids", ())),
            before=before,
            after=after,
            **{name: given.get(name) for name in
               ("sender", "recipient", "domain", "reply", "state")},
        )  # fmt: skip


def _facts(row: QueueRow) -> dict[str, Any]:
    names = ("id", "mail_id", "state", "sender", "recipient", "alias", "account_id", "subject",
             "size_octets", "attempts", "last_host", "last_reply", "bounce")  # fmt: skip
    times = {name: time_of(getattr(row, name)) for name in ("queued_at", "due_at", "last_at")}
    return {name: getattr(row, name) for name in names} | times
