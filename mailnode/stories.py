"""What happened to a mail, from its journal events, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from mailnode.events import Event
from mailnode.model import in_ranges
from mailnode.telling import size, when

FILED = ("delivered", "imported", "kept", "moved")


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
    copies = {(event.folder_id, event.uid): event for event in events if event.name in FILED}
    lines: list[Line] = []
    for event in sorted(events, key=lambda event: event.at):
        for words in _words(event, copies):
            lines.append(Line(event.at, event.name, words, _facts(event)))
    dialogs = [str(event.detail.get("dialog") or "") for event in events]
    return Story(mail_id, tuple(lines), max(dialogs, key=len, default=""))


def is_unexplained(detail: Mapping[str, object], by: str) -> bool:
    """Whether a filter judged the mail, or this copy, and did not find it unwanted: it said no
    reasons then."""
    judged = detail.get("judged")
    return any(
        each.get("by") == by and not each.get("unwanted") and not each.get("reasons")
        for each in (judged if isinstance(judged, list) else ())
    )


_OF_RECIPIENTS = frozenset(
    ("delivered", "queued", "relayed", "deferred", "bounced", "interrupted", "queue-changed")
)


def events_for(events: Sequence[Event], address: str) -> list[Event]:
    """Those that an account may know of: of a mail that it sent, what became of each recipient; of
    one that it got, how that came and lies in its own folders, and nothing of others.

    Args:
        address: the account's.
    """
    sent = any(
        event.name == "accepted" and event.detail.get("account") == address for event in events
    )
    own = [event for event in events if _is_of(event, address)]
    if not sent and not own:
        return []
    told = [
        event
        for event in events
        if event.name == "accepted"
        or (sent and event.name in _OF_RECIPIENTS)
        or _is_of(event, address)
    ]
    return as_asked(told, address)


def as_asked(events: Sequence[Event], address: str = "") -> list[Event]:
    """The events as who sent the mail may know them: whom an alias leads to is not named.

    Args:
        address: of whom they are told; a copy in that mailbox is named.
    """
    behind = {
        event.recipient: str(event.detail["alias"])
        for event in events
        if event.name == "queued" and event.detail.get("alias")
    }
    return [_as_asked(event, behind, address) for event in events]


def _as_asked(event: Event, behind: Mapping[str | None, str], address: str) -> Event:
    if event.name in _OF_QUEUE and event.recipient in behind:
        detail = {name: event.detail[name] for name in _OF_ALIAS if name in event.detail}
        return evolve(event, recipient=behind[event.recipient], detail=detail)
    if event.name == "delivered" and event.detail.get("mailbox", event.recipient) != address:
        return evolve(event, detail={k: v for k, v in event.detail.items() if k not in _OF_OWNER})
    return event


_OF_QUEUE = frozenset(("queued", "relayed", "deferred", "bounced", "interrupted", "queue-changed"))
_OF_OWNER = ("mailbox", "judged")  # of a copy: whose it is, and what his own mails say of it
_OF_ALIAS = ("captured", "due_at", "action")  # no word of where, and of what was answered there


def _is_of(event: Event, address: str) -> bool:
    """Whether it happened to a copy of the account's, or to what it wanted to send."""
    if event.name == "refused":
        return event.detail.get("account") == address
    return event.detail.get("mailbox", event.recipient) == address and event.name != "queued"


# What becomes of a recipient, by the last of its events; those of no name here change nothing.
_STATES = {
    "delivered": "delivered",
    "queued": "queued",
    "relayed": "relayed",
    "deferred": "deferred",
    "bounced": "bounced",
    "interrupted": "queued",
}
_CHANGED = {"held": "held", "released": "queued", "retried": "queued", "dropped": "dropped"}


@frozen
class Fate:
    """What has become of one recipient of a mail so far.

    Attributes:
        state: "delivered" (in a mailbox here), "queued", "deferred" (an attempt failed, another
            follows), "relayed" (another host has taken it), "bounced", "captured" (kept, and never
            leaves), "held" or "dropped" (by an administrator).
        words: of the event that says so.
        at: UTC epoch seconds of it.
        due_at: of the next attempt; None where none is due.
    """

    recipient: str
    state: str
    words: str
    at: float
    due_at: float | None = None


def fates_of(events: Sequence[Event]) -> list[Fate]:
    """Of each recipient that the events of one mail tell of, in the order that they came up."""
    found: dict[str, Fate] = {}
    for event in sorted(events, key=lambda event: event.at):
        state = _STATES.get(event.name, "")
        if event.name == "queue-changed":
            state = _CHANGED.get(str(event.detail.get("action")), "")
        elif event.name == "queued" and event.detail.get("captured"):
            state = "captured"
        if not state or not event.recipient:
            continue
        due_at = event.detail.get("due_at")
        found[event.recipient] = Fate(
            event.recipient,
            state,
            next(_words(event, {}), ""),
            event.at,
            float(due_at) if isinstance(due_at, int | float) else None,
        )
    return list(found.values())


Copies = Mapping[tuple[int | None, int | None], Event]


def _words(event: Event, copies: Copies) -> Iterator[str]:
    if event.name == "pop3-session":
        yield from _fetched(event, copies)
    else:
        yield _SAYINGS.get(event.name, _anything)(event)
    for judged in event.detail.get("judged") or ():  # type: ignore[attr-defined]
        yield _judged(judged)


def _judged(judged: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name} {said}" for name, said in (judged.get("facts") or {}).items())
    reasons = "; ".join(judged.get("reasons") or ())
    verdict = next((f" {each}" for each in ("unwanted", "wanted") if judged.get(each)), "")
    because = f", because {reasons}" if verdict and reasons else f": {reasons}" if reasons else ""
    return f"judged{verdict} by {judged.get('by')}{f' ({facts})' if facts else ''}{because}"


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
        parts.append(size(octets))
    if detail.get("mended_lf"):
        parts.append("bare line feeds were brought to CRLF")
    return "; ".join(parts)


def _delivered(event: Event) -> str:
    if event.detail.get("handed_to"):
        return f"handed to {event.detail['handed_to']} for {event.recipient}"
    mailbox = str(event.detail.get("mailbox") or event.recipient or "a mailbox")
    asked = f" (asked for: {event.recipient})" if event.recipient not in (None, mailbox) else ""
    where = f" (folder {event.detail['folder']})" if event.detail.get("folder") else ""
    return f"filed in the mailbox of {mailbox}{asked}{where} as uid {event.uid}"


def _imported(event: Event) -> str:
    detail = event.detail
    where = f" (folder {detail['folder']})" if detail.get("folder") else ""
    parts = [f"imported into the mailbox of {event.recipient}{where} as uid {event.uid}"]
    if detail.get("source"):
        parts.append(f"it lay in {detail['source']}")
    octets = detail.get("size_octets")
    if isinstance(octets, int):
        parts.append(size(octets))
    return "; ".join(parts)


def _refused(event: Event) -> str:
    detail = event.detail
    whose = f"mail from {_sender(event)}" if event.sender is not None else "mail"
    to = f" to {event.recipient}" if event.recipient else ""
    told = [detail.get("code"), detail.get("enhanced"), detail.get("text")]
    answer = " ".join(str(part) for part in told if part)
    code = detail.get("code")
    how = "put off" if isinstance(code, int) and code < 500 else "refused"
    stage = str(detail.get("stage") or "")
    at = f" at {stage if ' ' in stage else stage.upper()}" if stage else ""
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


def _kept(event: Event) -> str:
    folder = event.detail.get("folder")
    return f"kept by its sender {event.recipient} in the folder {folder}, as uid {event.uid}"


def _moved(event: Event) -> str:
    detail = event.detail
    return (
        f"moved from {detail.get('from_folder')} (uid {detail.get('from_uid')}) to"
        f" {detail.get('to_folder')} by {event.recipient}, as uid {event.uid}"
    )


def _deleted(event: Event) -> str:
    return f"deleted for good from {event.detail.get('folder')} by {event.recipient}"


def _dropped(event: Event) -> str:
    return f"copy uid {event.uid} taken out of the store: its account was deleted"


def _queued(event: Event) -> str:
    detail = event.detail
    alias = f", which {detail['alias']} leads to" if detail.get("alias") else ""
    leaves = f", leaving from <{detail['reverse_path']}>" if "reverse_path" in detail else ""
    if detail.get("captured"):
        return f"captured for {event.recipient}{alias}: it is kept and never leaves{leaves}"
    return f"queued for {event.recipient}{alias}{leaves}"


def _remote(event: Event) -> str:
    """Whom an attempt was made to, and how it was sealed."""
    detail = event.detail
    host, address = str(detail.get("host") or ""), str(detail.get("address") or "")
    where = f"{host} ({address})" if host and address and host != address else host or address
    if not where:
        return ""
    return f" {where} {f'with TLS ({tls})' if (tls := detail.get('tls')) else 'without TLS'}"


def _said(event: Event) -> Iterator[str]:
    """The remote's words, and at which step it said them."""
    detail = event.detail
    if detail.get("reply"):
        at = f" at {detail['stage']}" if detail.get("stage") else ""
        yield f"answered{at}: {detail['reply']}"
    if detail.get("because"):
        yield f"because {detail['because']}"


def _relayed(event: Event) -> str:
    route, remote = event.detail.get("route"), _remote(event)
    if route == "discard" and not remote:
        return f"thrown away for {event.recipient}, as its route says"
    return "; ".join([f"relayed for {event.recipient} to{remote or ' its host'}", *_said(event)])


def _put_off(event: Event) -> str:
    parts = [f"put off for {event.recipient}"]
    if remote := _remote(event):
        parts[0] += f" by{remote}"
    parts += _said(event)
    due_at = event.detail.get("due_at")
    if isinstance(due_at, int | float):
        parts.append(f"next attempt at {when(due_at)}")
    return "; ".join(parts)


def _bounced(event: Event) -> str:
    parts = [f"given up for {event.recipient}"]
    if remote := _remote(event):
        parts[0] += f" after{remote}"
    parts += _said(event)
    told = event.detail.get("told")
    if told:
        parts.append(f"{told} is told")
    elif told == "":
        parts.append("nobody is told")
    return "; ".join(parts)


def _interrupted(event: Event) -> str:
    process = event.detail.get("process")
    who = f"the process {process}" if process else "the process"
    return (
        f"interrupted for {event.recipient}: {who} ended in an attempt; whether the other host has"
        " the mail nobody knows, and it is attempted again"
    )


def _queue_changed(event: Event) -> str:
    detail = event.detail
    parts = [f"{detail.get('action', 'changed')} for {event.recipient} by an administrator"]
    if detail.get("by"):
        parts[0] += f" ({detail['by']})"
    if detail.get("reason"):
        parts.append(f"because {detail['reason']}")
    return "; ".join(parts)


def _anything(event: Event) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in _facts(event).items())
    return f"{event.name}: {facts}" if facts else event.name


_SAYINGS: Mapping[str, Callable[[Event], str]] = {
    "accepted": _accepted,
    "delivered": _delivered,
    "imported": _imported,
    "refused": _refused,
    "refused-more": _summed,
    "kept": _kept,
    "moved": _moved,
    "deleted": _deleted,
    "dropped": _dropped,
    "queued": _queued,
    "relayed": _relayed,
    "deferred": _put_off,
    "bounced": _bounced,
    "interrupted": _interrupted,
    "queue-changed": _queue_changed,
}
