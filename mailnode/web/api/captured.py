"""/captured: mail that the gear keeps here, whoever it is for, for administrators."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, define
from twisted.internet.task import deferLater

from mailnode.web.api.messages import RAW, etag, is_known
from mailnode.web.api.opened import read_facts
from mailnode.web.api.operations import (
    NOTHING,
    Call,
    Operation,
    Result,
    answer_json,
    read_time,
    time_of,
)
from mailnode.web.api.paging import PAGING, answer_page, place
from mailnode.web.api.schemas import NUMBER, instant, or_null, page_of, ref, text, thing, whole
from mailnode.web.api.shapes import MAIL_ID_FIELD
from mailnode.web.api.shapes import SCHEMAS as SHAPES
from mailnode.web.api.watching import NONE_CAME, WANTED, Waiters, Wanted
from mailnode.web.routes import Answer, Need

if TYPE_CHECKING:
    from mailnode.store.captured import Captured as Row
    from mailnode.web.letters import Letters

LOOK_S = 0.25
LOOKED_AT = 200
ID = text("Of the row in the queue.", pattern=NUMBER, says="a number", example="3")
_LINE = {
    "id": whole(example=3),
    "mail_id": MAIL_ID_FIELD,
    "sender": text(example="shop@example.org"),
    "recipient": text(example="dave@example.com"),
    "subject": text(example="Welcome"),
    "size_octets": whole(example=2048),
    "at": or_null(instant()),
}
_FACTS = {name: SHAPES["Message"]["properties"][name] for name in
          ("from", "to", "cc", "reply_to", "date", "message_id", "references", "text", "html",
           "attachments", "is_cut")}  # fmt: skip
SCHEMAS = {
    "CapturedLine": thing(_LINE, "A mail to one recipient elsewhere, which never leaves."),
    "CapturedMessage": thing({**_LINE, **_FACTS}, "The same, read."),
}


@define(eq=False)
class Captured:
    """The operations.

    Args:
        clock: the reactor's.
        seconds: a monotonic clock.
    """

    letters: Letters
    waiters: Waiters
    clock: Any
    seconds: Callable[[], float] = time.monotonic

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"tag": "Captured mail", "scope": "admin", "need": Need.ADMIN}
        return (
            Operation(
                name="listCaptured", method="GET", path="/captured", answer=self.list_page,
                about="Mail for elsewhere that is kept here, the newest first", query=PAGING,
                results=[Result(200, "A page of it.", page_of("CapturedLine"))], **whose,
            ),
            Operation(
                name="waitForCaptured", method="GET", path="/captured/wait", answer=self.wait,
                about="Waits for a mail that is captured, for tests of programs that send some",
                query=WANTED,
                results=[Result(200, "The mail.", ref("CapturedMessage")), NONE_CAME],
                failures=[429], **whose,
            ),
            Operation(
                name="getCaptured", method="GET", path="/captured/{id}", answer=self.show,
                about="A captured mail, read", places={"id": ID},
                results=[Result(200, "The mail.", ref("CapturedMessage"))], failures=[404], **whose,
            ),
            Operation(
                name="getRawCaptured", method="GET", path="/captured/{id}/raw",
                answer=self.show_raw, about="A captured mail as it would leave",
                places={"id": ID},
                results=[
                    Result(200, "Its octets, with an ETag.", None, RAW),
                    Result(304, "As If-None-Match has it.", None, ""),
                ],
                failures=[404], **whose,
            ),
        )  # fmt: skip

    async def list_page(self, call: Call) -> Answer:
        limit = call.query["limit"]
        found = await self.letters.captured.page(
            before=place("c", call.query.get("cursor")), limit=limit
        )
        more = found[-1].id if len(found) == limit and found[-1].id > 1 else None
        return answer_json(answer_page(list(map(_line_of, found)), "c", more))

    async def show(self, call: Call) -> Answer:
        return await self._show(int(call.places["id"]))

    async def _show(self, row_id: int) -> Answer:
        letter = await self.letters.open_captured(row_id)
        facts = await self.letters.look(letter, read_facts)
        return answer_json(_line_of(letter.row) | facts)

    async def show_raw(self, call: Call) -> Answer:
        letter = await self.letters.open_captured(int(call.places["id"]))
        tag = etag("captured", letter.mail_id)
        if is_known(call, tag):
            return Answer(status=304, kind=RAW, headers=(("ETag", tag),))
        headers = (
            ("ETag", tag),
            ("Content-Length", str(letter.mail.size_octets)),
            ("Content-Disposition", f'attachment; filename="{letter.mail_id}.eml"'),
            ("Content-Security-Policy", "default-src 'none'; sandbox"),
        )
        return Answer(kind=RAW, headers=headers, produce=self.letters.streaming(letter))

    async def wait(self, call: Call) -> Answer:
        wanted, since = Wanted.of(call.query), call.query.get("since")
        since_at = None if since is None else read_time(since, "since")
        ends_at = self.seconds() + call.query["timeout"]
        self.waiters.come(call.account_id)
        try:
            found = await self._await(wanted, since_at, ends_at)
        finally:
            self.waiters.leave(call.account_id)
        return NOTHING if found is None else await self._show(found.id)

    async def _await(self, wanted: Wanted, since_at: float | None, ends_at: float) -> Row | None:
        """Other processes capture, too, and ring no bell for it: the queue is looked at."""
        there = await self.letters.captured.page(limit=LOOKED_AT)
        for row in there:
            fits = wanted.fits(row.recipient, row.sender, row.subject)
            if since_at is not None and fits and row.at >= since_at:
                return row
        seen = there[0].id if there else 0
        while True:
            new = await self.letters.captured.page(after=seen, limit=LOOKED_AT)
            for row in reversed(new):
                if wanted.fits(row.recipient, row.sender, row.subject):
                    return row
            seen = new[0].id if new else seen
            if len(new) == LOOKED_AT:
                continue
            if self.seconds() >= ends_at:
                return None
            await deferLater(self.clock, LOOK_S, lambda: None)


def _line_of(row: Row) -> dict[str, Any]:
    return asdict(row) | {"at": time_of(row.at)}
