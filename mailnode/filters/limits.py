"""What filters share: a limit of time and size, and what it means to be past it or to fail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.logger import Logger
from zope.interface import implementer

from mailnode.errors import FilterFailed, Refused
from mailnode.failing import Failing
from mailnode.filters.exchange import NoAnswer
from mailnode.interfaces import IContentFilter
from mailnode.model import Envelope, Message, Verdict
from mailnode.reading.fields import harmless

PASS = "pass"  # noqa: S105 (nobody's password)
DEFER = "defer"
TIMEOUT_S = 30.0  # others wait 300 s and more for the reply to the dot (RFC 5321 section 4.5.3.2.6)
MOST_AT_ONCE = 20
REASONS = 10
REASON_CHARACTERS = 200
DETAIL_CHARACTERS = 600

_log = Logger()


class TooLargeToJudge(NoAnswer):
    """The mail is past a limit of the program's own, or of its protocol."""


def _pass_or_defer(_filter: Any, attribute: Any, value: str) -> None:
    if value not in (PASS, DEFER):
        raise ValueError(f'{attribute.name} is "pass" or "defer", not {value!r}')


@implementer(IContentFilter)
@define(eq=False, kw_only=True)
class Limited:
    """A content filter that takes so long at most, and may fail.

    Attributes:
        name: for the log and the journal; there may be several of a kind.
        clock: the reactor.
        timeout_s: for all of a mail, from the wait for a free place to the verdict.
        on_failure: "pass": the mail is taken unjudged; "defer": the client gets 451 4.7.1.
        most_octets: a larger mail is not looked at.
        on_too_large: what that means, and what the program itself finds too large; "defer" keeps
            such a mail out for good.
        most_at_once: mails that are looked at; more wait.
        asked, failed, too_large: mails so far.
    """

    name: str
    clock: Any
    timeout_s: float = TIMEOUT_S
    on_failure: str = field(default=PASS, validator=_pass_or_defer)
    most_octets: int = 25 << 20
    on_too_large: str = field(default=PASS, validator=_pass_or_defer)
    most_at_once: int = MOST_AT_ONCE
    asked: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    too_large: int = field(default=0, init=False)
    _failing: Failing = field(init=False)
    _places: DeferredSemaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._places = DeferredSemaphore(self.most_at_once)
        self._failing = Failing(self.clock)

    @property
    def trouble(self) -> str:
        """Why mail is put off, in words; "" where none is."""
        told = self._failing.told() if self.on_failure == DEFER else ""
        why = f"{self.name} does not judge: {self._failing.why}"
        return f"mail is put off (451), {told}: {why}" if told else ""

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        """What there is to say of a mail.

        Raises:
            NoAnswer: nothing can be said.
            MailError: the client's answer.
        """
        raise NotImplementedError

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """What there is to say of a mail, or what the settings say where that is nothing.

        Raises:
            MailError: the client's answer.
        """
        try:
            return await self.judge_surely(envelope, message)
        except NoAnswer as error:
            why = str(error)
        self.failed += 1
        self._failing.failed(why)
        if (
            self._failing.count == 1
        ):  # it may stay so for hours: one line when it begins, one at the end
            _log.warn(
                "filter {name} does not judge, first mail {mail_id} ({means}): {why}",
                name=self.name,
                mail_id=envelope.mail_id,
                means=self.on_failure,
                why=why,
            )
        return self._unjudged(self.on_failure, why)

    async def judge_surely(self, envelope: Envelope, message: Message) -> Verdict:
        """As `judge`; but where nothing can be said now, who asks is told that.

        Raises:
            NoAnswer: so it is, and why.
            MailError: the client's answer.
        """
        if len(message.prefix) + message.size_octets > self.most_octets:
            return self._passed_over(f"it is over {self.most_octets} octets")
        self.asked += 1
        asking: Deferred[Verdict] = self._places.run(
            lambda: Deferred.fromCoroutine(self.ask(envelope, message))
        )
        try:
            verdict = await asking.addTimeout(self.timeout_s, self.clock)
        except TooLargeToJudge as error:
            self._recovered()
            return self._passed_over(str(error))
        except TimeoutError:
            raise NoAnswer(f"nothing within {self.timeout_s:g} s") from None
        except (Refused, FilterFailed):
            self._recovered()
            raise
        self._recovered()
        return verdict

    def _passed_over(self, why: str) -> Verdict:
        self.too_large += 1
        return self._unjudged(self.on_too_large, why)

    def _recovered(self) -> None:
        if count := self._failing.worked():
            _log.info(
                "filter {name} judges again, after {count} mails", name=self.name, count=count
            )

    def _unjudged(self, means: str, why: str) -> Verdict:
        if means == DEFER:
            raise FilterFailed(detail=f"by filter {self.name}: {why}")
        return Verdict(reasons=(f"{self.name} did not judge it: {why}",))


@define(eq=False, kw_only=True)
class Outside(Limited):
    """A content filter that asks another program.

    Attributes:
        endpoint: `IStreamClientEndpoint`: where it listens.
    """

    endpoint: Any


def recipients_of(envelope: Envelope) -> list[str]:
    """Their addresses, here and elsewhere."""
    here = [str(each.address) for each in envelope.recipients]
    return here + [str(each.address) for each in envelope.remotes]


def reason_of(points: float, rule: str, words: str) -> str:
    """A rule that matched, for people: on one line, without what steers a terminal."""
    line = harmless(f"{rule} ({points:+.1f})" + (f": {words}" if words.strip() else ""))
    return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 1] + "…"


def detail_of(name: str, reasons: Iterable[str]) -> str:
    """What the log and the journal keep of a refusal: whose it is, and the weightiest reasons."""
    detail = f"by filter {name}: {'; '.join(reasons)}"
    return detail if len(detail) <= DETAIL_CHARACTERS else detail[: DETAIL_CHARACTERS - 1] + "…"


def spam_fields(name: str, score: float, required: float) -> bytes:
    """Header fields that mail programs and their rules know, for a mail that is spam."""
    return (
        "X-Spam-Flag: YES\r\n"
        f"X-Spam-Status: Yes, score={score:.1f} required={required:.1f} by={name}\r\n"
    ).encode("ascii")
