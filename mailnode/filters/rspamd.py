"""Rspamd: the mail goes to its worker by HTTP, with what we know of who sends it."""

from __future__ import annotations

import json
import math
from contextlib import closing
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.web.client import (
    Agent,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from mailnode.answers import AnswerBody, BadAnswer, Way, innermost
from mailnode.errors import FilterFailed, Refused, one_line
from mailnode.filters.exchange import NoAnswer, words_of
from mailnode.filters.limits import (
    REASONS,
    Outside,
    detail_of,
    reason_of,
    recipients_of,
    spam_fields,
)
from mailnode.filters.octets import MailReader, without_our_received
from mailnode.model import Envelope, Message, Verdict

ANSWER_OCTETS = 256 * 1024  # a usual one has 5 to 30 KiB; it is read on the reactor's thread
ON_THE_WAY_OCTETS = ANSWER_OCTETS + 64 * 1024
MOST_RECIPIENTS = 100
MOST_SYMBOLS = 1_000  # a mail has some dozens
REPLY_CHARACTERS = 200

_UNWANTED = ("add header", "rewrite subject", "quarantine", "discard")


@define(eq=False, kw_only=True)
class Rspamd(Outside):
    """What Rspamd says is done: its actions, and its weightiest symbols as reasons.

    "reject" refuses, "soft reject" defers. What it would mark, put aside or throw away is
    unwanted. "greylist" is its name for a score from which it greylists: when a mail has to
    wait, its module says "soft reject"; so the mail is taken.

    Attributes:
        hostname: ours, which signs Authentication-Results.
        password: of the worker, where it wants one.
    """

    name: str = "rspamd"

    hostname: str = ""
    password: str = field(default="", repr=False)

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        way = Way(lambda _: self.endpoint, ON_THE_WAY_OCTETS)
        agent = Agent.usingEndpointFactory(self.clock, way)
        front = without_our_received(message.prefix)
        headers = Headers({b"User-Agent": [b"mailnode"], **self._facts(envelope)})
        try:
            with closing(MailReader(front, message.body)) as mail:
                body = _MailProducer(mail, len(front) + message.size_octets)
                url = b"http://rspamd/checkv2"
                response = await agent.request(b"POST", url, headers, body)
                if response.code != 200:
                    raise NoAnswer(f"it answered {response.code}")
                answer = AnswerBody(ANSWER_OCTETS)
                response.deliverBody(answer)
                octets = await answer.whole
        except ConnectingCancelledError:
            raise CancelledError() from None
        except BadAnswer as error:
            raise NoAnswer(f"what it answered: {error}") from None
        except (ConnectError, ConnectionClosed, OSError) as error:
            raise NoAnswer(words_of(error)) from None
        except (ResponseFailed, ResponseNeverReceived, RequestTransmissionFailed) as error:
            cause = innermost(error)
            if isinstance(cause, CancelledError):
                raise cause from None
            raise NoAnswer(words_of(cause)) from None
        finally:
            way.cut_off()
        return _verdict_of(_read_answer(octets), self.name)

    def _facts(self, envelope: Envelope) -> dict[bytes, list[bytes]]:
        client = envelope.client
        facts = {
            "Queue-Id": [envelope.mail_id],
            "From": [str(envelope.sender) if envelope.sender else "<>"],
            "Rcpt": recipients_of(envelope),
            "IP": [client.host],
            "Helo": [client.helo],
            "User": [client.account],
            "MTA-Name": [self.hostname],
            "MTA-Tag": ["mailnode"],
            "Password": [self.password],
        }
        if client.tls:
            version, _, cipher = client.tls.partition(" ")
            facts |= {"TLS-Version": [version], "TLS-Cipher": [cipher]}
        return {
            name.encode("ascii"): [_field_value(each) for each in values[:MOST_RECIPIENTS]]
            for name, values in facts.items()
            if values and values[0]
        }


def _field_value(text: str) -> bytes:
    """Octets of a field that end none: a stranger may have written them."""
    return "".join(each if each.isprintable() else "?" for each in text).encode("utf-8", "replace")


def _read_answer(octets: bytes) -> dict[str, Any]:
    """
    Raises:
        NoAnswer: it is no object in JSON.
    """
    try:
        answer = json.loads(octets)
    except (ValueError, RecursionError):
        raise NoAnswer("its answer is no JSON") from None
    if not isinstance(answer, dict):
        raise NoAnswer("its answer is no object")
    return answer


def _verdict_of(answer: dict[str, Any], name: str) -> Verdict:
    action = answer.get("action")
    if not isinstance(action, str):
        raise NoAnswer(words_of(str(answer.get("error") or "its answer has no action")))
    score, required = _number(answer.get("score")), _number(answer.get("required_score"))
    reasons = (
        f"Rspamd gives it {score:.1f} points, {required:.1f} would refuse it",
        *_symbols(answer.get("symbols")),
    )
    detail = detail_of(name, reasons)
    if action == "reject":
        raise Refused(_reply_of(answer) or "Message refused: it looks like spam", detail=detail)
    if action == "soft reject":
        raise FilterFailed(_reply_of(answer), detail=detail)
    if action in _UNWANTED:
        fields = spam_fields(name, score, required)
        return Verdict(headers=fields, unwanted=True, reasons=reasons)
    return Verdict(reasons=reasons)  # "no action", "greylist", and those of its own making


def _reply_of(answer: dict[str, Any]) -> str | None:
    """What its modules want to have said to the client."""
    messages = answer.get("messages")
    text = messages.get("smtp_message") if isinstance(messages, dict) else None
    return one_line(text[:REPLY_CHARACTERS]) or None if isinstance(text, str) else None


def _number(value: Any) -> float:
    """Of JSON, where a number may be infinite, too large for a float, or none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(-1e6, min(number, 1e6)) if math.isfinite(number) else 0.0


def _symbols(symbols: Any) -> list[str]:
    """Those that weigh most, in words."""
    found = []
    named = symbols if isinstance(symbols, dict) else {}
    for name, symbol in islice(named.items(), MOST_SYMBOLS):
        if isinstance(symbol, dict) and (score := _number(symbol.get("score"))):
            found.append((score, name, symbol))
    found.sort(key=lambda each: -abs(each[0]))
    return [reason_of(score, name[:100], _words(symbol)) for score, name, symbol in found[:REASONS]]


def _words(symbol: dict[str, Any]) -> str:
    """What it is, and what it was found in."""
    description, options = symbol.get("description"), symbol.get("options")
    words = description[:200] if isinstance(description, str) else ""
    if isinstance(options, list):
        told = ", ".join(each[:100] for each in options[:5] if isinstance(each, str))
        words += f" [{told}]" if told else ""
    return words


@implementer(IBodyProducer)
@define(eq=False)
class _MailProducer:
    """A mail as the body of a request: the next piece is read when the last one went out."""

    mail: MailReader
    length: int
    _paused: Deferred[None] | None = field(default=None, init=False)
    _work: Deferred[None] | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._work = Deferred.fromCoroutine(self._produce(consumer))
        self._work.addBoth(self._tell, done)
        return done

    async def _produce(self, consumer: Any) -> None:
        while piece := await self.mail.read():
            consumer.write(piece)
            if self._paused is not None:
                await self._paused

    def _tell(self, result: Any, done: Deferred[None]) -> None:
        if not self._stopped:  # who stopped it wants to hear nothing
            done.callback(result)  # a Failure makes it fail

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None and not paused.called:
            paused.callback(None)

    def stopProducing(self) -> None:
        self._stopped = True
        if self._work is not None:
            self._work.cancel()
