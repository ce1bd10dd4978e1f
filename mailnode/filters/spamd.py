"""SpamAssassin's daemon: the mail goes to spamd by SPAMC's protocol, and a report comes back."""

from __future__ import annotations

import re
from contextlib import closing

from attrs import define, frozen

from mailnode.errors import Refused
from mailnode.filters.exchange import Exchange, NoAnswer, exchange_with, words_of
from mailnode.filters.limits import REASONS, Outside, detail_of, reason_of, spam_fields
from mailnode.filters.octets import MailReader
from mailnode.model import Envelope, Message, Verdict

LINE_OCTETS = 1_000
MOST_LINES = 20
REPORT_OCTETS = 65_536

_STATUS = re.compile(rb"SPAMD/[\d.]{1,10} (\d{1,5})(?: (.*))?")
_SPAM = re.compile(
    rb"(True|False|Yes|No) ; (-?\d{1,9}(?:\.\d{1,9})?) / (-?\d{1,9}(?:\.\d{1,9})?)", re.I
)
_TABLE = "\n---- ------"  # the last one: in front stands a preview of the mail
_LENGTH = re.compile(rb"\d{1,9}")
# A line of the report's table; where the description goes on in the next one, that is indented.
_RULE = re.compile(
    r"^[* ]{0,4}(-?\d{1,6}(?:\.\d{1,4})?) +([A-Z_][A-Z0-9_]{1,99}) +([^\n]{0,400})"
    r"((?:\n[* ]{0,4}[ ]{20,60}[^\s\n][^\n]{0,400}){0,5})",
    re.M,
)


@frozen
class _Report:
    is_spam: bool
    score: float
    required: float
    text: str


@define(eq=False, kw_only=True)
class Spamd(Outside):
    """What SpamAssassin takes for spam is unwanted, and its rules are the reasons.

    Attributes:
        user: whose preferences are asked for; "" for the daemon's own.
        unwanted_at: points from which a mail is unwanted; None: as SpamAssassin says.
        refuse_at: points from which a mail is refused; None for never.
    """

    name: str = "spamd"

    most_octets: int = 512_000  # as spamc has it: spam is small, and rules take time
    user: str = ""
    unwanted_at: float | None = None
    refuse_at: float | None = None

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        async with exchange_with(self.endpoint, self.clock) as exchange:
            with closing(MailReader.of(message)) as mail:
                size = len(message.prefix) + message.size_octets
                wanted = await exchange.send(self._request(size))
                while wanted and (piece := await mail.read()):
                    wanted = await exchange.send(piece)
            report = await _read_report(exchange)
        required = report.required if self.unwanted_at is None else self.unwanted_at
        is_spam = report.is_spam if self.unwanted_at is None else report.score >= required
        reasons = (
            f"SpamAssassin gives it {report.score:.1f} points, {required:.1f} make it spam",
            *_rules(report.text),
        )
        if self.refuse_at is not None and report.score >= self.refuse_at:
            raise Refused(
                "Message refused: it looks like spam", detail=detail_of(self.name, reasons)
            )
        if not is_spam:
            return Verdict(reasons=reasons)
        fields = spam_fields(self.name, report.score, required)
        return Verdict(headers=fields, unwanted=True, reasons=reasons)

    def _request(self, size_octets: int) -> bytes:
        user = f"User: {words_of(self.user)}\r\n" if self.user else ""
        return f"REPORT SPAMC/1.5\r\nContent-length: {size_octets}\r\n{user}\r\n".encode("ascii")


async def _read_report(exchange: Exchange) -> _Report:
    """
    Raises:
        NoAnswer: it is none.
    """
    status = _STATUS.fullmatch(await exchange.take_to(b"\r\n", LINE_OCTETS))
    if status is None:
        raise NoAnswer("its answer is none of spamd's")
    if int(status.group(1)):
        raise NoAnswer(
            words_of(f"{status.group(1).decode()} {(status.group(2) or b'').decode('latin-1')}")
        )
    fields: dict[bytes, bytes] = {}
    for _ in range(MOST_LINES):
        line = await exchange.take_to(b"\r\n", LINE_OCTETS)
        if not line:
            break
        name, _colon, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    else:
        raise NoAnswer(f"its answer has over {MOST_LINES} lines in front of the report")
    spam = _SPAM.fullmatch(fields.get(b"spam", b""))
    if spam is None:
        raise NoAnswer("its answer has no score")
    length = fields.get(b"content-length", b"0")
    if not _LENGTH.fullmatch(length):
        raise NoAnswer("its answer has no length")
    text = await exchange.take(min(int(length), REPORT_OCTETS))  # the rest is not needed
    return _Report(
        spam.group(1).lower() in (b"true", b"yes"),
        float(spam.group(2)),
        float(spam.group(3)),
        text.decode("utf-8", "replace").replace("\r\n", "\n"),
    )


def _rules(report: str) -> list[str]:
    """The rules that weigh most, in words; none where the report's template has no table."""
    found = [
        (float(each.group(1)), each.group(2), f"{each.group(3)} {each.group(4)}")
        for each in _RULE.finditer(report, max(0, report.rfind(_TABLE)))
    ]
    found.sort(key=lambda rule: -abs(rule[0]))
    return [reason_of(*rule) for rule in found[:REASONS] if rule[0]]
