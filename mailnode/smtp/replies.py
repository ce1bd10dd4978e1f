"""What an SMTP session says, to its client and to the journal, each in one place."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from twisted.mail import smtp
from twisted.python.failure import Failure

from mailnode.errors import MailError, answer_for
from mailnode.events import Event, RefusedMail
from mailnode.model import Client
from mailnode.outgoing import said
from mailnode.session import LineSession


class BadSequence(MailError):
    smtp_code, enhanced = 503, "5.5.1"
    text = "Bad sequence of commands"


class UnknownVerb(MailError):
    smtp_code, enhanced = 500, "5.5.1"
    text = "Command not recognized"


class BadVerb(MailError):
    smtp_code, enhanced = 500, "5.5.2"
    text = "Command is not ASCII"


class NotOffered(MailError):
    smtp_code, enhanced = 502, "5.5.1"
    text = "Command not implemented"


class NeedsTls(MailError):
    smtp_code, enhanced = 538, "5.7.11"
    text = "Encryption is required to sign in: use STARTTLS"


class NeedsSignIn(MailError):
    smtp_code, enhanced = 530, "5.7.0"
    text = "Authentication required"


class NoSuchMechanism(MailError):
    smtp_code, enhanced = 504, "5.5.4"
    text = "Authentication mechanism not offered"


class Replies(LineSession, smtp.ESMTP):
    """The part of the SMTP server that speaks.

    Attributes:
        esmtp: whether the client said EHLO.
        tell: takes the events that have no commit of their own.
    """

    esmtp = False
    _helo: tuple[bytes | None, bytes]

    def tell(self, event: Event) -> None:
        """Events go nowhere for a server without a factory."""

    def hostname(self) -> str:
        return _text_of(self.host)

    def sendCode(self, code: int, message: bytes | str = b"") -> None:
        """Twisted's way to reply; an enhanced code is put in where it is missing (S18)."""
        text = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
        enhanced = ""
        if code >= 400 or 200 <= code < 300:
            head = text.partition(" ")[0]
            if not (head[:1] == str(code)[0] and head.count(".") == 2):
                enhanced = f"{code // 100}.0.0"
        self._reply(code, enhanced, text)

    def _reply(self, code: int, enhanced: str, text: str) -> None:
        self.sendLine(_reply_of(code, enhanced, text))

    def commandFailed(self, answer: MailError) -> None:
        self._reply(answer.smtp_code, answer.enhanced, answer.text)
        if answer.smtp_code == 421:  # what says so closes (RFC 5321 section 3.8)
            self.close()

    def client(self, smtputf8: bool = False) -> Client:
        """Who is there, as Received and the journal say it (RFC 3848, RFC 6531)."""
        protocol = "SMTP"
        if self.esmtp:
            protocol = "UTF8SMTP" if smtputf8 else "ESMTP"
            protocol += "S" * self.secure + "A" * self.authenticated
        return Client(
            host=self.peer_host,
            port=getattr(self.peer, "port", 0),
            helo=(self._helo[0] or b"").decode("utf-8", "replace"),
            protocol=protocol,
            tls=self.tls_name(),
            account=self.account,
            loopback=self.loopback,
        )

    def dialog(self, last: bytes = b"") -> str:
        """The lines so far, where they are kept, and the reply that is about to be said."""
        if self._dialog is None:
            return ""
        return f"{self._dialog}\n{said(last)}" if last else str(self._dialog)

    def _refused(self, failure: Failure, stage: str, origin: Any, recipient: str = "") -> Failure:
        self._tell_refused(failure.value, stage, origin, recipient)
        return failure

    def _tell_refused(
        self, refusal: BaseException | None, stage: str, origin: Any, recipient: str = ""
    ) -> None:
        answer = answer_for(refusal)
        detail: dict[str, object] = {
            "code": answer.smtp_code,
            "enhanced": answer.enhanced,
            "text": answer.text,
            "stage": stage,
            "helo": (self._helo[0] or b"").decode("utf-8", "replace"),
        }
        if answer.detail:
            detail["because"] = answer.detail
        if self.account:
            detail["account"] = self.account
        if self._dialog is not None:
            detail["dialog"] = self.dialog(
                _reply_of(answer.smtp_code, answer.enhanced, answer.text)
            )
        self.tell(
            RefusedMail(
                mail_id=getattr(origin, "mail_id", ""),
                sender=None if origin is None else str(origin)[:320],
                recipient=_bare(recipient) or None,
                client=self.peer_host,
                detail=detail,
            )
        )


@lru_cache(maxsize=256)
def _text_of(name: bytes) -> str:
    return bytes(name).decode("ascii", "replace")


@lru_cache(maxsize=256)
def _reply_of(code: int, enhanced: str, text: str) -> bytes:
    """The lines of a reply, without the last one's CRLF; most are said again and again."""
    mark = f"{enhanced} " if enhanced else ""
    if "\n" not in text:
        return f"{code} {mark}{text}".encode()
    *lines, last = text.splitlines()
    said = "".join(f"{code}-{mark}{line}\r\n" for line in lines)
    return f"{said}{code} {mark}{last}".encode()


def as_twisted_says(refusal: MailError) -> smtp.SMTPServerError:
    """The same refusal for Twisted's own server, which answers 451 to what it doesn't know."""
    return smtp.SMTPServerError(refusal.smtp_code, f"{refusal.enhanced} {refusal.text}")


def _bare(rest: str) -> str:
    """The address in what stood behind RCPT, for the journal."""
    start, end = rest.find("<"), rest.rfind(">")
    return (rest[start + 1 : end] if 0 <= start < end else rest.removeprefix("TO:"))[:320]
