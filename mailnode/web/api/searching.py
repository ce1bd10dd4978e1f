"""/search: mails by what stands in them, in all folders or in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.reading.query import QUERY_CHARACTERS, BadQuery, read_query
from mailnode.web.api.operations import Call, Operation, Result, answer_json, time_of
from mailnode.web.api.paging import PAGING, cursor, place
from mailnode.web.api.places import FOLDER, Places
from mailnode.web.api.problems import Fault, Faulty
from mailnode.web.api.schemas import Schema, flag, list_of, or_null, ref, text, thing
from mailnode.web.api.shapes import LINE, PERSON, flag_names
from mailnode.web.routes import Answer

if TYPE_CHECKING:
    from mailnode.store.folders import Folders
    from mailnode.store.index import Indexes
    from mailnode.store.index_asking import Hit

_FOUND = ("id", "mail_id", "folder", "uid", "flags", "subject", "size_octets", "received_at")
SCHEMAS: dict[str, Schema] = {
    "Found": thing(
        {
            **{name: LINE[name] for name in _FOUND},
            "from": PERSON,
            "to": text("Names, or addresses, of To and Cc."),
            "snippet": text("Its first words."),
            "attachments": list_of(text(), "Names of its files."),
        },
        "A mail that was found, by its first copy.",
    )
}


@define(eq=False)
class Searching:
    """The operation."""

    folders: Folders
    indexes: Indexes

    def operations(self) -> Sequence[Operation]:
        page = thing(
            {
                "items": list_of(ref("Found")),
                "cursor": or_null(text("Of the next page; null behind the last.")),
                "is_behind": flag("Not all mail is indexed yet: there may be more."),
            }
        )
        folder = {name: value for name, value in FOLDER.items() if name != "default"}
        query = text(
            "Words, \"phrases\", begin* and from: to: subject: file: has:attachment is:unread "
            "is:flagged in:FOLDER before: after:2027-01-31 larger:1M smaller:; - in front turns "
            "one around.",
            least=1, most=QUERY_CHARACTERS, example="invoice from:shop has:attachment",
        )  # fmt: skip
        return (
            Operation(
                name="search", method="GET", path="/search", answer=self.search,
                about="Mails that a query fits, the newest first", tag="Messages", scope="read",
                query={"q": query, "folder": folder, **PAGING}, needs=("q",),
                results=[Result(200, "A page of them.", page)], failures=[404],
            ),
        )  # fmt: skip

    async def search(self, call: Call) -> Answer:
        said, folder_ids, of = call.query["q"], None, "s"
        if "folder" in call.query:
            folder = await Places(self.folders).folder(call.account_id, call.query["folder"])
            folder_ids, of = [folder.folder_id], f"s{folder.folder_id}"
        before = place(of, call.query.get("cursor"))
        try:
            found = await self.indexes.search(
                call.account_id,
                read_query(said),
                folder_ids=folder_ids,
                before=before or None,
                limit=call.query["limit"],
            )
        except BadQuery as error:
            raise Faulty([Fault("q", error.text)], error.text) from error
        return answer_json(
            {
                "items": [_facts(each, folder_ids) for each in found.mails],
                "cursor": cursor(of, found.before),
                "is_behind": not found.progress.is_done,
            }
        )


def _facts(hit: Hit, folder_ids: Sequence[int] | None) -> dict[str, Any]:
    wanted = [each for each in hit.copies if folder_ids is None or each.folder_id in folder_ids]
    copy = (wanted or list(hit.copies))[0]
    summary = hit.summary
    return {
        "id": f"{copy.folder_id}-{copy.uid}",
        "mail_id": hit.mail_id,
        "folder": copy.folder_id,
        "uid": copy.uid,
        "flags": flag_names(copy.flags),
        "subject": summary.subject,
        "size_octets": hit.size_octets,
        "received_at": time_of(hit.received_at),
        "from": {"name": summary.sender_name, "address": summary.sender_address},
        "to": summary.to,
        "snippet": summary.snippet,
        "attachments": list(summary.attachments),
    }
