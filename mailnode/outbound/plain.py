"""A report in plain words: what happened, why, and what its reader can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.header import decode_header, make_header
from email.utils import formatdate
from textwrap import wrap
from typing import TYPE_CHECKING

from mailnode.wire import header_fields, header_of

if TYPE_CHECKING:
    from mailnode.outbound.dsn import Told

WIDTH = 72
SUBJECT_LETTERS = 200

ACTIONS = ("failed", "delayed", "delivered", "expanded", "relayed")  # the worst one first

_SUBJECTS = {
    "failed": "Delivery failed: the mail did not arrive",
    "delayed": "Delivery delayed: the mail has not arrived yet",
    "delivered": "Delivered: the mail has arrived",
    "expanded": "Delivered: the mail went to the members of an address",
    "relayed": "Passed on: another mail server has taken the mail",
}

_HAPPENED = {
    "failed": "could not be delivered to",
    "delayed": "has not been delivered yet to",
    "delivered": "was delivered to",
    "expanded": "was delivered to members of this address, and is on its way to others",
    "relayed": "was taken by a mail server that sends no reports of its own, for",
}

# RFC 3463, class cut off: class 4 means the same for now, class 5 for good
_MEANINGS = {
    "1.1": "There is no such mailbox. Look for a slip in the address.",
    "1.2": "There is no such mail domain. Look for a slip behind the @.",
    "1.3": "That server does not take this for an address.",
    "1.10": "That domain says that it takes no mail at all.",
    "2.1": "That mailbox is closed.",
    "2.2": "That mailbox is full.",
    "2.3": "The mail is larger than that mailbox takes.",
    "3.4": "The mail is larger than that server takes.",
    "4.1": "That server did not answer.",
    "4.2": "The connection to that server was lost.",
    "4.4": "Nobody knows the way to that server.",
    "4.6": "The mail went in a circle.",
    "4.7": "It was tried for as long as mail is kept, and is given up now.",
    "6.7": "That server can't take addresses with letters beyond ASCII.",
    "7.1": "That server refuses this mail by its own rules.",
}
_LATER = "It is tried again until {until}. You need not send it again."
_GIVEN_UP = "It is not tried again."


def subject_line(told: Sequence[Told]) -> str:
    return _SUBJECTS[_sorted(told)[0].action]


def plain_words(
    hostname: str, mail_id: str, arrived_at: float, told: Sequence[Told], original_head: bytes
) -> str:
    """The first part of a report: CRLF lines, short but for long words."""
    subject = _subject_of(original_head)
    called = f'with the subject "{subject}"' if subject else "without a subject"
    begin = (
        f"This is the mail server {hostname}. A mail {called} came here on {_date(arrived_at)};"
        " this is what became of it."
    )
    lines = [*_wrapped(begin), ""]
    before = ""
    for each in _sorted(told):
        if each.action != before:
            before = each.action
            lines += (f"It {_HAPPENED[before]}:", "")
        lines += (f"    {_printable(each.recipient)}", "", *_why(each))
    end = (
        f"Its number here is {mail_id}; postmaster@{hostname} finds it by that. What the servers"
        " said to each other, and the mail or its header, is in the other parts of this report."
    )
    return "\r\n".join([*lines, *_wrapped(end), ""])


def _sorted(told: Sequence[Told]) -> list[Told]:
    return sorted(told, key=lambda each: ACTIONS.index(each.action))


def _why(told: Told) -> Iterator[str]:
    meaning = _MEANINGS.get(told.status.partition(".")[2], "")
    if meaning and told.action in ("failed", "delayed"):
        yield from (*_wrapped(meaning, 4), "")
    if told.reply:
        host = told.remote_host if not told.remote_host.startswith("/") else ""
        yield f"    {f'The server {host} said' if host else 'The reason'}:"
        yield from (*_wrapped(told.reply, 8), "")
    elif told.action == "relayed" and told.remote_host:
        yield from (*_wrapped(f"The server is {told.remote_host}.", 4), "")
    if told.action == "delayed" and told.will_retry_until is not None:
        yield from (*_wrapped(_LATER.format(until=_date(told.will_retry_until)), 4), "")
    elif told.action == "failed":
        yield from (*_wrapped(_GIVEN_UP, 4), "")


def _wrapped(text: str, spaces: int = 0) -> list[str]:
    """Lines of whole words: nobody puts an address or a link together again."""
    margin = " " * spaces
    return wrap(
        _printable(text),
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _date(at: float) -> str:
    return formatdate(at, localtime=True)


def _subject_of(original_head: bytes) -> str:
    """Decoded, on one line; "" for none."""
    for name, value in header_fields(header_of(original_head)):
        if name == b"subject":
            text = value[:2000].decode("utf-8", "replace")
            if "=?" in text:
                with suppress(Exception):  # of a charset that nobody knows: shown as it came
                    text = str(make_header(decode_header(text)))
            return _printable(text)[:SUBJECT_LETTERS]
    return ""


def _printable(text: str) -> str:
    text = " ".join(text.split())
    return "".join(char for char in text if char.isprintable())
