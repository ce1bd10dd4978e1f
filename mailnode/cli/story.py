"""What happened to a mail, from its journal events, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from mailnode.cli import output
from mailnode.model import Event, in_ranges


@frozen
class Line:
    """One thing that happened.

    Attributes:
        at: UTC epoch seconds.
        event: the event's name, for programs.
        words: the same for people.
        facts: what the journal holds of it, without the dialog.
    """

    at: float
    event: str
    words: str
    facts: Mapping[str, Any]


@frozen
class Story:
    """A mail's life; or one event that belongs to no mail, and then `mail_id` is "".

    Attributes:
        dialog: the session's lines up to the last event that kept them, secrets masked; "" when
            none did.
    """

    mail_id: str
    lines: tuple[Line, ...]
    dialog: str = ""


def tell_story(mail_id: str, events: Sequence[Event]) -> Story:
    """The events of one mail in the order of time.

    Args:
        events: of that mail, and the POP3 sessions that touched its copies.
    """
    copies = {(event.folder_id, event.uid): event for event in events if event.name == "delivered"}
    lines: list[Line] = []
    for event in sorted(events, key=lambda event: event.at):
        for words in _words(event, copies):
            lines.append(Line(event.at, event.name, words, _facts(event)))
    dialogs = [str(event.detail.get("dialog") or "") for event in events]
    return Story(mail_id, tuple(lines), max(dialogs, key=len, default=""))


Copies = Mapping[tuple[int | None, int | None], Event]


def _words(event: Event, copies: Copies) -> Iterator[str]:
    if event.name == "pop3-session":
        yield from _fetched(event, copies)
    else:
        yield _SAYINGS.get(event.name, _anything)(event)


def _facts(event: Event) -> dict[str, Any]:
    facts = {
        "sender": event.sender,
        "recipient": event.recipient,
        "folder_id": event.folder_id,
        "uid": event.uid,
        "client": event.client,
        **{key: value for key, value in event.detail.items() if key != "dialog"},
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def _sender(event: Event) -> str:
    return "the null sender <>" if event.sender == "" else event.sender or "an unknown sender"


def _client(event: Event) -> str:
    """Who was at the other end, by which protocol, and whether it was sealed."""
    detail = event.detail
    parts = [event.client or "this machine"]
    if detail.get("helo"):
        parts[0] += f" ({detail['helo']})"
    if detail.get("account"):
        parts.append(f"signed in as {detail['account']}")
    if detail.get("protocol"):
        parts.append(f"by {detail['protocol']}")
    if detail.get("tls"):
        parts.append(f"with TLS ({detail['tls']})")
    elif detail.get("protocol"):
        parts.append("without TLS")
    return ", ".join(parts)


def _accepted(event: Event) -> str:
    detail = event.detail
    parts = [f"accepted from {_sender(event)}; sent by {_client(event)}"]
    octets = detail.get("size_octets")
    if isinstance(octets, int):
        parts.append(output.size(octets))
    if detail.get("mended_lf"):
        parts.append("bare line feeds were brought to CRLF")
    return "; ".join(parts)


def _delivered(event: Event) -> str:
    if event.detail.get("handed_to"):
        return f"handed to {event.detail['handed_to']} for {event.recipient}"
    mailbox = str(event.detail.get("mailbox") or event.recipient or "a mailbox")
    asked = f" (asked for: {event.recipient})" if event.recipient not in (None, mailbox) else ""
    return f"filed in the mailbox of {mailbox}{asked} as uid {event.uid}"


def _refused(event: Event) -> str:
    detail = event.detail
    whose = f"mail from {_sender(event)}" if event.sender is not None else "mail"
    to = f" to {event.recipient}" if event.recipient else ""
    told = [detail.get("code"), detail.get("enhanced"), detail.get("text")]
    answer = " ".join(str(part) for part in told if part)
    code = detail.get("code")
    how = "put off" if isinstance(code, int) and code < 500 else "refused"
    at = f" at {str(detail['stage']).upper()}" if detail.get("stage") else ""
    parts = [f"{how}{at}: {whose}{to}; sent by {_client(event)}"]
    if answer:
        parts.append(f"answered {answer}")
    if detail.get("because"):
        parts.append(f"because {detail['because']}")
    return "; ".join(parts)


def _summed(event: Event) -> str:
    number = event.detail.get("refusals", "some")
    return f"{number} more refusals of {event.client or 'a client'} within a minute"


def _fetched(event: Event, copies: Copies) -> Iterator[str]:
    """What a POP3 session did to each copy that is known here."""
    who = event.recipient or "someone"
    read, deleted = (str(event.detail.get(key) or "") for key in ("read", "deleted"))
    where = f" from {event.client}" if event.client else ""
    if event.detail.get("tls"):
        where += f" with TLS ({event.detail['tls']})"
    touched = False
    for folder_id, uid in copies:
        if folder_id != event.folder_id or uid is None:
            continue
        for verb, ranges in (("fetched", read), ("deleted", deleted)):
            if in_ranges(uid, ranges):
                touched = True
                yield f"{verb} by {who}{where} over POP3, uid {uid}"
    if not copies and not touched:
        yield f"{who}{where} over POP3: read uids {read or 'none'}, deleted {deleted or 'none'}"


def _dropped(event: Event) -> str:
    return f"copy uid {event.uid} taken out of the store: its account was deleted"


def _anything(event: Event) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in _facts(event).items())
    return f"{event.name}: {facts}" if facts else event.name


_SAYINGS: Mapping[str, Callable[[Event], str]] = {
    "accepted": _accepted,
    "delivered": _delivered,
    "refused": _refused,
    "refused-more": _summed,
    "dropped": _dropped,
}
