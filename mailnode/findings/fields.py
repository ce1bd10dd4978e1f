"""The fields of a mail: which must be there, how often, and what must stand in them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from mailnode.addresses import Address, parse_address_list
from mailnode.errors import AddressTooLong, BadAddress
from mailnode.findings.header import Field, Header
from mailnode.findings.parameters import without_comments
from mailnode.findings.rules import Report, shown

FUTURE_S = 86_400
PAST_S = 30 * 86_400
LONG_AGO_S = 365 * 86_400
FIRST_MAIL_YEAR = 1971

ADDRESS_FIELDS = ("from", "sender", "reply-to", "to", "cc", "bcc")
_RESENT = ("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc")
_ONCE = {
    *ADDRESS_FIELDS, "date", "message-id", "in-reply-to", "references", "subject", "mime-version",
    "content-type", "content-transfer-encoding", "content-id", "content-description",
    "content-disposition",
}  # fmt: skip
_MUST = {
    "date": "a mail must tell when it was written; write it like"
    " `Date: Sat, 28 Nov 2026 09:30:00 +0100`",
    "from": "a mail must tell who wrote it; write `From: Name <name@example.org>`",
    "message-id": "without it replies can't be put beside their mail, and spam filters dislike"
    " that; write `Message-ID: <unique@your-domain>`",
    "subject": "lists of mails show nothing for it",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DATE = re.compile(
    rf"(?:({'|'.join(_DAYS)})\s*,)?\s*(\d{{1,2}})\s+({'|'.join(_MONTHS)})\s+(\d{{2,5}})\s+"
    r"(\d\d?)\s*:\s*(\d\d)(?:\s*:\s*(\d\d))?\s+([+-]\d{4}|[a-z]{1,5})",
    re.I | re.A,
)
_ZONES = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}
_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_MOST_CHARACTERS = 200


def check_fields(header: Header, raw: bytes, report: Report, at: float | None) -> None:
    """What must stand in the header of a mail, as opposed to that of a part."""
    _check_counts(header, report)
    senders = _check_addresses(header, report)
    if len(senders) > 1 and not header.first("sender"):
        report.add(
            "sender-missing",
            "From",
            f"From names {len(senders)} people, so a field Sender must say which of them sent it",
        )
    if date := header.first("date"):
        _check_date(date, header, report, at)
    if (name := header.first("message-id")) and not _is_message_id(name.text):
        report.add(
            "message-id-malformed",
            f"line {name.line}",
            f"{shown(name.text)!r} is no message id, so replies may not find it; it is written"
            " <unique@your-domain>, with the brackets",
        )
    _check_mime_version(header, report)
    _check_unsubscribe(header, report)
    if header.end >= len(raw) or not raw[header.end :].strip():
        report.add("no-body", "body", "nothing stands behind the header")


def _check_counts(header: Header, report: Report) -> None:
    counts: dict[str, int] = {}
    for each in [*header.fields, *header.oversized]:
        counts[each.name] = counts.get(each.name, 0) + 1
        if each.name in _ONCE and counts[each.name] == 2:
            report.add(
                "field-doubled",
                f"line {each.line}",
                f"{each.spelled} stands there a second time: it may only once, and programs differ"
                " in which they believe",
            )
    for name, why in _MUST.items():
        if name not in counts:
            report.add(f"{name}-missing", _spelled(name), f"no {_spelled(name)}: {why}")
    if not counts.keys() & {"to", "cc", "bcc"}:
        report.add(
            "recipient-missing",
            "To",
            "neither To, Cc nor Bcc: spam filters dislike that; if nobody should be named, write"
            " `To: undisclosed-recipients:;`",
        )


def _spelled(name: str) -> str:
    return "Message-ID" if name == "message-id" else name.title()


def _check_addresses(header: Header, report: Report) -> tuple[Address, ...]:
    """Returns: the addresses of From."""
    senders: tuple[Address, ...] = ()
    for each in header.fields:
        if each.name not in ADDRESS_FIELDS + _RESENT or not each.is_utf8:
            continue
        if not each.value:
            if each.name not in ("bcc", "resent-bcc"):  # which may be empty
                report.add(
                    "address-missing",
                    f"line {each.line}",
                    f"{each.spelled} is empty: name somebody, or leave the field out",
                )
            continue
        try:
            found = parse_address_list(each.text)
        except AddressTooLong as error:
            _tell(report, "address-too-long", each, f"{error.text}, which servers need not take")
            continue
        except BadAddress as error:
            why = f"can't be read as addresses ({error.text[:1].lower()}{error.text[1:]})"
            mend = 'write `Name <name@example.org>`; a name with any of ()<>@,;: goes between "'
            _tell(report, "address-malformed", each, f"{why}; {mend}")
            continue
        if each.name == "from":
            senders += found
        elif each.name == "sender" and len(found) > 1:
            _tell(report, "sender-several", each, "names several people: it must name one")
    return senders


def _tell(report: Report, name: str, each: Field, words: str) -> None:
    report.add(name, f"line {each.line}", f"{each.spelled}: {shown(each.text)!r} {words}")


def _is_message_id(text: str) -> bool:
    return bool(_MESSAGE_ID.fullmatch(text) or _MESSAGE_ID.fullmatch(without_comments(text)))


def read_date(text: str) -> tuple[datetime, str, bool] | None:
    """(the time, the name of the weekday or "", whether it has obsolete forms); None: no date."""
    text = without_comments(text[:_DATE_MOST_CHARACTERS])
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    weekday, day, month, year, hour, minute, second, zone = found.groups()
    number = int(year)
    if short := len(year) < 4:
        number += 2000 if number < 50 else 1900
    offset = timedelta(hours=_ZONES.get(zone.lower(), 0))
    if named := zone[0] not in "+-":
        pass
    elif int(zone[3:]) > 59:
        return None
    else:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        offset = -offset if zone[0] == "-" else offset
    try:
        when = datetime(
            number,
            _MONTHS.index(month.lower()) + 1,
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59) if int(second or 0) <= 60 else 99,
            tzinfo=timezone(offset),
        )
    except ValueError:
        return None
    return when, (weekday or "").lower(), short or named or len(hour) == 1


def _check_date(date: Field, header: Header, report: Report, at: float | None) -> None:
    where = f"line {date.line}"
    read = read_date(date.text)
    if read is None:
        report.add(
            "date-malformed",
            where,
            f"{shown(date.text)!r} is no date, so mails can't be put in order; it is written like"
            " Sat, 28 Nov 2026 09:30:00 +0100",
        )
        return
    when, weekday, obsolete = read
    if obsolete:
        report.add(
            "date-obsolete",
            where,
            f"{shown(date.text)!r} is written in an old way: years have four digits, hours two, and"
            " zones are numbers such as +0000",
        )
    if weekday and weekday != _DAYS[when.weekday()]:
        report.add(
            "date-weekday",
            where,
            f"that day is a {_DAYS[when.weekday()].title()}, not a {weekday.title()}; spam filters"
            " look at this",
        )
    _check_time(date, when, header, report, at)


def _check_time(
    date: Field, when: datetime, header: Header, report: Report, at: float | None
) -> None:
    where, written = f"line {date.line}", (when - _EPOCH).total_seconds()
    came, against = at, "now"
    if received := header.first("received"):
        stamp = read_date(received.text.rpartition(";")[2])
        if stamp:
            came, against = (stamp[0] - _EPOCH).total_seconds(), "when it was received"
    if when.year < FIRST_MAIL_YEAR:
        report.add("date-in-past", where, "Date is older than mail itself; set the sender's clock")
    elif came is None:
        return
    elif written > came + FUTURE_S:
        report.add(
            "date-in-future",
            where,
            f"Date is {_days(written - came)} later than {against}: it stays on top of lists and"
            " looks like spam; set the sender's clock",
        )
    elif against != "now" and written < came - PAST_S:
        report.add(
            "date-in-past",
            where,
            f"Date is {_days(came - written)} before {against}: it looks like spam; set the"
            " sender's clock",
        )
    elif written < came - LONG_AGO_S:
        report.add(
            "date-long-ago",
            where,
            f"Date is {_days(came - written)} back; before it is sent it needs the time of now",
        )


def _days(seconds: float) -> str:
    days = int(seconds // 86_400)
    return f"{days:,} day{'s' * (days != 1)}"


def _check_mime_version(header: Header, report: Report) -> None:
    version = header.first("mime-version")
    if version is None:
        used = [each for each in header.fields if each.name.startswith("content-")]
        if used:
            report.add(
                "mime-version-missing",
                "MIME-Version",
                f"{used[0].spelled} stands there without `MIME-Version: 1.0`, so programs need not"
                " look at it",
            )
    elif re.sub(r"\s", "", without_comments(version.text)) != "1.0":
        report.add(
            "mime-version-unknown",
            f"line {version.line}",
            f"{shown(version.text)!r} is no version of MIME that anybody knows; write 1.0",
        )


def _check_unsubscribe(header: Header, report: Report) -> None:
    field, post = header.first("list-unsubscribe"), header.first("list-unsubscribe-post")
    links: list[str] = []
    if field:
        pieces = re.split(r",\s*(?=<)", without_comments(field.text))
        links = [each.strip()[1:-1].strip() for each in pieces if _is_link(each.strip())]
        if len(links) != len(pieces):
            report.add(
                "unsubscribe-malformed",
                f"line {field.line}",
                f"{shown(field.text)!r} must be links between < and >, such as"
                " <https://example.org/leave?u=1>, <mailto:leave@example.org>",
            )
    if post and re.sub(r"\s", "", post.text).lower() != "list-unsubscribe=one-click":
        report.add(
            "unsubscribe-post-malformed",
            f"line {post.line}",
            f"{shown(post.text)!r} must be exactly List-Unsubscribe=One-Click",
        )
    elif post and not any(link.lower().startswith("https://") for link in links):
        report.add(
            "unsubscribe-post-malformed",
            f"line {post.line}",
            "one click needs an https link in List-Unsubscribe beside it, and there is none",
        )


_LINK = re.compile(r"<\s*(?:https?://[^\s<>]+|(?:mailto|ftp):[^\s<>]+)\s*>", re.I)


def _is_link(text: str) -> bool:
    return bool(_LINK.fullmatch(text))
