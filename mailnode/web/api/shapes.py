"""What several operations answer with: a mail as a line and whole, a folder, events of a mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mailnode.model import ANSWERED, DRAFT, FLAGGED, PASSED, SEEN
from mailnode.web.api.operations import time_of
from mailnode.web.api.schemas import (
    Schema,
    flag,
    instant,
    list_of,
    one_of,
    or_null,
    text,
    thing,
    whole,
    words,
)

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.stories import Fate, Line

FLAGS: Mapping[str, int] = {
    "seen": SEEN,
    "answered": ANSWERED,
    "flagged": FLAGGED,
    "draft": DRAFT,
    "passed": PASSED,
}
MAIL_ID = r"[0-9A-HJKMNP-TV-Z]{26}"
COPY_ID = r"[1-9][0-9]{0,17}-[1-9][0-9]{0,17}"

MAIL_ID_FIELD = text(
    "The mail's id: of all its copies and recipients, in log and journal, in Received.",
    example="01JD3V8Q6ZK7M2T9X4B5C6D7E8",
)

LINE: Mapping[str, Schema] = {
    "id": text("This copy's: its folder and uid.", example="7-204"),
    "mail_id": MAIL_ID_FIELD,
    "folder": whole("Id of the folder that it lies in.", example=7),
    "uid": whole("Its number in the folder; a mail that is moved gets another.", example=204),
    "flags": list_of(one_of("", list(FLAGS)), example=["seen"]),
    "sender": text("The reverse-path; empty for a report.", example="shop@example.com"),
    "recipient": text("The address that it was sent to; empty for a draft or a copy in Sent."),
    "subject": text(example="Welcome"),
    "size_octets": whole(example=2048),
    "received_at": or_null(instant()),
}

PERSON = thing({"name": text(example="Carol"), "address": text(example="carol@example.org")})

SCHEMAS: Mapping[str, Schema] = {
    "MessageLine": thing(LINE, "A mail as a list has it."),
    "Message": thing(
        {
            **LINE,
            "from": list_of(PERSON),
            "to": list_of(PERSON),
            "cc": list_of(PERSON),
            "reply_to": list_of(PERSON),
            "date": or_null(instant("Of its Date field.")),
            "message_id": text("Of its Message-ID field, without brackets."),
            "references": list_of(text(), "Message-IDs of what it answers, the nearest last."),
            "text": text("What it says; out of its HTML where there is no text."),
            "html": or_null(text("As it came: never show it in a page without cleaning it.")),
            "attachments": list_of(
                thing(
                    {
                        "path": text("For /parts/{path}.", example="2"),
                        "name": text("As the mail has it: no safe name of a file."),
                        "kind": text(example="application/pdf"),
                        "size_octets": whole("Of its content, decoded; of a large one worked out."),
                        "content_id": text(),
                    }
                )
            ),
            "is_cut": flag("It has more parts, or more text, than is told here; see raw."),
        },
        "A mail.",
    ),
    "Folder": thing(
        {
            "id": whole(example=7),
            "name": text(example="INBOX"),
            "mails": whole(example=3),
            "unread": whole(example=1),
            "octets": whole(example=6144),
            "standard": flag("Every account has it; it is neither renamed nor removed."),
        },
        "A folder.",
    ),
    "Story": thing(
        {
            "mail_id": MAIL_ID_FIELD,
            "recipients": list_of(
                thing(
                    {
                        "address": text(example="dave@example.com"),
                        "state": one_of(
                            "",
                            ("delivered", "queued", "deferred", "relayed", "bounced", "captured",
                             "held", "dropped"),
                        ),
                        "words": text("The last thing that happened to it, for people."),
                        "at": or_null(instant()),
                        "due_at": or_null(instant("Of the next attempt.")),
                    }
                ),
                "What has become of each recipient so far.",
            ),
            "events": list_of(
                thing({"at": or_null(instant()), "event": text(), "words": text(),
                       "facts": words()}),
                "What happened, oldest first.",
            ),
        },
        "What happened to a mail.",
    ),
}  # fmt: skip


def flag_names(flags: int) -> list[str]:
    return [name for name, bit in FLAGS.items() if flags & bit]


def flag_bits(names: Iterable[str]) -> int:
    return sum(FLAGS[name] for name in set(names))


def copy_id(copy: Copy) -> str:
    return f"{copy.folder_id}-{copy.uid}"


def line_of(copy: Copy) -> dict[str, Any]:
    return {
        "id": copy_id(copy),
        "mail_id": copy.mail_id,
        "folder": copy.folder_id,
        "uid": copy.uid,
        "flags": flag_names(copy.flags),
        "sender": copy.sender,
        "recipient": copy.recipient,
        "subject": copy.subject,
        "size_octets": copy.size_octets,
        "received_at": time_of(copy.received_at),
    }


def folder_facts(folder: Folder) -> dict[str, Any]:
    return {
        "id": folder.folder_id,
        "name": folder.name,
        "mails": folder.mails,
        "unread": folder.unread,
        "octets": folder.octets,
        "standard": folder.standard,
    }


def fate_facts(fate: Fate) -> dict[str, Any]:
    return {
        "address": fate.recipient,
        "state": fate.state,
        "words": fate.words,
        "at": time_of(fate.at),
        "due_at": time_of(fate.due_at),
    }


def event_facts(line: Line, *, facts: bool) -> dict[str, Any]:
    told = {"at": time_of(line.at), "event": line.event, "words": line.words}
    return told | {"facts": dict(line.facts) if facts else {}}
