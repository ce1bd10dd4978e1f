"""/journal and /node: what happened to mails, and how the node is, for administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.addresses import parse_address
from mailnode.domain_stories import events_of_domains
from mailnode.errors import BadAddress, NoSuchMail
from mailnode.stories import fates_of, tell_story
from mailnode.web.api.operations import Call, Operation, Result, answer_json
from mailnode.web.api.schemas import flag, list_of, one_of, ref, text, thing, whole
from mailnode.web.api.shapes import MAIL_ID, event_facts, fate_facts
from mailnode.web.routes import Answer, Need

if TYPE_CHECKING:
    from mailnode.events import Event

MOST_STORIES = 100
ID = text("A mail's id.", pattern=f"^{MAIL_ID}$", says="an id")
GEARS = ("capture", "allow-list", "live")


@define(eq=False)
class Journal:
    """The operations.

    Args:
        find: (what to look for, how many mails) to each mail's id and events, oldest first.
        trace: all that happened to one mail.
        complete: what has happened so far stands in the journal once its Deferred fires.
        subaddress: what parts `alice` from `alice+detail`.
    """

    find: Callable[[Mapping[str, Any], int], Awaitable[list[tuple[str, list[Event]]]]]
    trace: Callable[[str], Awaitable[list[Event]]]
    complete: Callable[[], Awaitable[object]]
    subaddress: str = "+"

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"tag": "Journal", "scope": "admin", "need": Need.DOMAIN_ADMIN}
        return (
            Operation(
                name="findStories", method="GET", path="/journal", answer=self.list_some,
                about="Mails and what happened to each, the newest first",
                query={
                    "to": text("An address that was asked for, or a mailbox.", most=320),
                    "from": text("The reverse-path; `<>` for reports.", most=320),
                    "limit": whole("Most mails.", 1, MOST_STORIES, default=20),
                },
                results=[Result(200, "They.", thing({"items": list_of(ref("Story"))}))], **whose,
            ),
            Operation(
                name="getStory", method="GET", path="/journal/{id}", answer=self.show,
                about="All that happened to a mail", places={"id": ID},
                results=[Result(200, "Its story.", ref("Story"))], failures=[404], **whose,
            ),
        )  # fmt: skip

    async def list_some(self, call: Call) -> Answer:
        await self.complete()
        wanted: dict[str, Any] = {}
        if "to" in call.query:
            wanted |= {"to": _spelled(call.query["to"]), "subaddress": self.subaddress}
        if "from" in call.query:
            wanted["sender"] = _spelled(call.query["from"])
        limit, guest = call.query["limit"], call.visit.guest
        if guest.is_admin:
            found = await self.find(wanted, limit)
        else:
            all_found = await self.find(wanted, MOST_STORIES)
            seen = ((name, events_of_domains(each, guest.domains)) for name, each in all_found)
            found = [(name, events) for name, events in seen if events][-limit:]
        return answer_json({"items": [_story(*each) for each in reversed(found)]})

    async def show(self, call: Call) -> Answer:
        await self.complete()
        mail_id = call.places["id"]
        events = await self.trace(mail_id)
        if not call.visit.guest.is_admin:
            events = events_of_domains(events, call.visit.guest.domains)
        if not events:
            raise NoSuchMail("The journal holds no such mail")
        return answer_json(_story(mail_id, events))


def _spelled(said: str) -> str:
    """As the journal spells it."""
    bare = said.strip().removeprefix("<").removesuffix(">")
    try:
        return str(parse_address(bare)) if bare else ""
    except BadAddress:
        return bare


def _story(mail_id: str, events: list[Event]) -> dict[str, Any]:
    return {
        "mail_id": mail_id,
        "recipients": [fate_facts(each) for each in fates_of(events)],
        "events": [event_facts(each, facts=True) for each in tell_story(mail_id, events).lines],
    }


@define(eq=False)
class NodeState:
    """The operation.

    Args:
        readiness: what keeps the node from serving, by part.
        gear: how far mail goes.
        count: rows of the queue by their state.
    """

    hostname: str
    version: str
    readiness: Callable[[], Mapping[str, str]]
    gear: Callable[[], str]
    count: Callable[[], Awaitable[Mapping[str, int]]]

    def operations(self) -> Sequence[Operation]:
        facts = thing(
            {
                "hostname": text(example="mx.example.org"),
                "version": text(example="1.0.0"),
                "is_ready": flag(),
                "faults": {
                    "type": "object",
                    "description": "What keeps it from taking mail, by part.",
                    "additionalProperties": text(),
                },
                "gear": one_of("How far mail goes.", GEARS),
                "queue": {
                    "type": "object",
                    "description": "Recipients elsewhere, by their state.",
                    "additionalProperties": whole(),
                },
            }
        )
        return (
            Operation(
                name="getNode", method="GET", path="/node", answer=self.show,
                about="How the node is", tag="Node", scope="admin", need=Need.ADMIN,
                results=[Result(200, "It.", facts)],
            ),
        )  # fmt: skip

    async def show(self, call: Call) -> Answer:
        faults = dict(self.readiness())
        return answer_json(
            {
                "hostname": self.hostname,
                "version": self.version,
                "is_ready": not faults,
                "faults": faults,
                "gear": self.gear(),
                "queue": dict(await self.count()),
            }
        )
