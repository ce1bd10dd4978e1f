"""What can go wrong with mail, each with its answer on every wire.

A face (SMTP, POP3, HTTP, the command line) reads the attributes of a `MailError`; it
never asks which class it has. What is not a `MailError` is a bug: `answer_for` makes it
a temporary failure, because a bug must never bounce mail.
"""

from __future__ import annotations

import math
import re


class MailError(Exception):
    """Something went wrong, and the client is told this.

    Attributes:
        smtp_code: the basic code (RFC 5321 section 4.2).
        enhanced: the enhanced code (RFC 3463); its class equals the basic code's.
        pop3_code: the response code between brackets (RFC 2449, 3206), or "" for none.
        http_status: of an HTTP answer.
        exit_code: of a command, as in sysexits.h.
        retry_after_s: when it may work, where that is known; 0 where it isn't.
        is_fault: whether it counts among a session's errors: a client that asks for more than it
            gets, and is to come back with the rest, makes none.
        text: what a stranger is told: one line of ASCII, no path, no exception's name.
        detail: what only the log keeps.
    """

    smtp_code = 451
    enhanced = "4.3.0"
    pop3_code = "SYS/TEMP"
    http_status = 503
    exit_code = 75
    retry_after_s = 0
    is_fault = True
    text = "Temporary failure, please try again later"

    def __init__(
        self,
        text: str | None = None,
        *,
        detail: str = "",
        code: int | None = None,
        enhanced: str | None = None,
    ) -> None:
        if text is not None:
            self.text = text
        if code is not None:
            self.smtp_code = code
        if enhanced is not None:
            self.enhanced = enhanced
        self.detail = detail
        super().__init__(self.text)

    def __str__(self) -> str:
        """For the log and for administrators: with the detail, as it is now."""
        return f"{self.text} ({self.detail})" if self.detail else self.text

    @property
    def temporary(self) -> bool:
        """True when the same thing may work later."""
        return self.smtp_code < 500


# The store


class StoreBusy(MailError):
    text = "The mail store is busy, please try again later"


class StoreFull(MailError):
    smtp_code, enhanced, http_status = 452, "4.3.1", 507
    text = "Insufficient system storage, please try again later"


class StoreBroken(MailError):
    """The database or a blob can't be read or written; `verify` tells what."""

    exit_code = 69
    text = "The mail store has a fault, please try again later"


class StoreTooNew(MailError):
    """The data folder was written by a newer version."""

    pop3_code = "SYS/PERM"
    exit_code = 78
    text = "The data folder was written by a newer version of mailnode"


class SealBroken(MailError):
    """A secret was sealed under another key, or for something else, or was changed since."""

    exit_code = 78
    text = "A sealed secret can't be opened"


class NodeRunning(MailError):
    text = "Another node runs on this data folder"


class MailGone(MailError):
    """The mail was deleted or moved after the maildrop's snapshot was taken."""

    smtp_code, enhanced, pop3_code, http_status = 550, "5.2.0", "", 410
    text = "That message is no longer here"


# Mail at rest


class NoSuchFolder(MailError):
    """It was removed, or is somebody else's."""

    smtp_code, enhanced, pop3_code, http_status, exit_code = 550, "5.2.0", "", 404, 67
    text = "There is no such folder"


class NoSuchMail(MailError):
    """It was deleted or moved, or is somebody else's."""

    smtp_code, enhanced, pop3_code, http_status, exit_code = 550, "5.2.0", "", 404, 67
    text = "There is no such message"


class DraftChanged(MailError):
    """It has another text than the one that is to be replaced."""

    smtp_code, enhanced, pop3_code, http_status, exit_code = 550, "5.2.0", "", 409, 73
    text = "The draft was changed elsewhere meanwhile"


class BadFolder(MailError):
    """What can't be done with a folder, and why."""

    smtp_code, enhanced, pop3_code, http_status, exit_code = 550, "5.2.0", "", 400, 65
    text = "That can't be done with a folder"


# Mail that is refused


class Refused(MailError):
    """Will never work as it is: 5xx."""

    smtp_code, enhanced, pop3_code, http_status = 550, "5.7.1", "SYS/PERM", 422
    exit_code = 65
    text = "Refused"


class BadAddress(Refused):
    smtp_code, enhanced = 501, "5.1.3"
    text = "Not an address"


class AddressTooLong(BadAddress):
    text = "Address is too long"


class NeedsSmtpUtf8(Refused):
    smtp_code, enhanced = 553, "5.6.7"
    text = "Non-ASCII addresses need SMTPUTF8"


class NoSuchMailbox(Refused):
    smtp_code, enhanced, http_status, exit_code = 550, "5.1.1", 404, 67
    text = "No such user here"


class MailboxDisabled(Refused):
    smtp_code, enhanced = 550, "5.2.1"
    text = "This mailbox is disabled"


class RelayDenied(Refused):
    text = "Relaying denied: that domain is not served here"


class TooLarge(Refused):
    smtp_code, enhanced, http_status = 552, "5.3.4", 413
    text = "Message is larger than this server takes"

    @classmethod
    def past(cls, most_octets: int) -> TooLarge:
        """The client is told how much would do."""
        return cls(f"Message is larger than the {most_octets} octets that are taken here")


class HeaderTooLarge(TooLarge):
    """Of a submitted mail: what can't be looked through may hold a Bcc."""

    text = "Header is larger than 64 KiB"


class NotYourAddress(Refused):
    http_status, exit_code = 403, 77
    text = "That sender address is not yours"


class BadAuthor(Refused):
    enhanced = "5.6.0"
    text = "From must name an address, as in: Your Name <you@your.domain>"


class SendingTooFast(MailError):
    is_fault = False
    smtp_code, enhanced, http_status = 450, "4.7.1", 429
    text = "You have sent to too many recipients, try again later"


class MailboxFull(MailError):
    smtp_code, enhanced, http_status = 452, "4.2.2", 507
    text = "Mailbox is full"


class MailLoop(Refused):
    smtp_code, enhanced = 554, "5.4.6"
    text = "Mail loop: too many Received headers"


class ForwardLoop(MailLoop):
    text = "Mail loop: this address has forwarded the mail before"


class AliasLoop(Refused):
    smtp_code, enhanced = 550, "5.4.6"
    text = "Alias expands to too many mailboxes or to itself"


class BareLineEnd(Refused):
    smtp_code, enhanced = 550, "5.6.11"
    text = "Lines must end with CRLF: bare CR or LF found"


class TooManyRecipients(MailError):
    is_fault = False
    smtp_code, enhanced = 452, "4.5.3"
    text = "Too many recipients"


class FilterFailed(MailError):
    smtp_code, enhanced = 451, "4.7.1"
    text = "Message could not be checked, please try again later"


# Names in the DNS


class NoSuchName(Refused):
    """The DNS says that there is no such name (NXDOMAIN)."""

    smtp_code, enhanced, http_status, exit_code = 550, "5.1.2", 404, 68
    text = "There is no such domain"


class LookupFailed(MailError):
    """No server answered, or none could: it may be there, and it may not."""

    smtp_code, enhanced = 451, "4.4.3"
    text = "A name could not be looked up, please try again later"


class SigningFailed(MailError):
    """The domain's DKIM key can't be used: nothing leaves unsigned where a signature is due."""

    smtp_code, enhanced = 451, "4.7.5"
    text = "Message could not be signed, please try again later"


# Sign-in


class SignInRefused(MailError):
    """One text for an unknown user and a wrong password (P19)."""

    smtp_code, enhanced, pop3_code, http_status = 535, "5.7.8", "AUTH", 401
    text = "Authentication failed"


class PasswordTooOld(SignInRefused):
    """The right password, past its greatest age and the time that mail programs get."""

    text = "Your password is too old: sign in on the web and choose another"


class SignInBusy(MailError):
    smtp_code, enhanced, http_status = 454, "4.7.0", 503
    text = "Temporary authentication failure, please try again later"


class WrongCode(MailError):
    """No: one text for every cause, which only the log tells apart (`detail`)."""

    smtp_code, enhanced, http_status, exit_code = 535, "5.7.8", 401, 77
    text = "That code is wrong, or was used before"


class TooManyCodes(MailError):
    """Nobody looks at a code now."""

    smtp_code, enhanced, http_status, exit_code = 454, "4.7.0", 429, 75
    text = "Too many wrong codes: wait a quarter of an hour, or use a recovery code"


class NotSent(MailError):
    """A code could not be sent."""

    smtp_code, enhanced, http_status, exit_code = 451, "4.7.0", 503, 75
    text = "The code could not be sent; try again later, or use another way"


class NothingLeaves(NotSent):
    """Whoever reads the captured mail would read the code."""

    text = "This server sends no mail to that address at present; use another way"


class TooManySent(NotSent):
    http_status = 429
    text = "Too many codes were sent: wait an hour, or use another way"


class SignInBlocked(MailError):
    """Whoever the client is: too many guesses came from its address, or it is banned."""

    smtp_code, enhanced, http_status = 454, "4.7.0", 429
    text = "Too many failed sign-ins from your address, please try again later"

    @classmethod
    def until(cls, left_s: float) -> SignInBlocked:
        """For so long."""
        blocked = cls(detail=f"for {left_s:.0f} s more")
        blocked.retry_after_s = max(1, math.ceil(left_s))
        return blocked


class MaildropInUse(MailError):
    smtp_code, enhanced, pop3_code, http_status = 450, "4.2.0", "IN-USE", 409
    text = "Maildrop is in use by another session"


# What an administrator asks for


class AccountError(MailError):
    """A change to domains, accounts or aliases that can't be made, and why."""

    smtp_code, enhanced, pop3_code, http_status = 550, "5.0.0", "SYS/PERM", 400
    exit_code = 65


class NotFound(AccountError):
    http_status, exit_code = 404, 67


class WeakPassword(AccountError):
    """A password that is not taken, and what would make a better one."""

    http_status = 422


class BadRoute(AccountError):
    """What is no pattern of addresses, or no next hop, and what would be one."""


class NoFolder(AccountError):
    """A file is to be made in a folder that isn't there."""

    http_status, exit_code = 404, 73


class AlreadyThere(AccountError):
    http_status, exit_code = 409, 73


_UNPRINTABLE = re.compile(r"[^ -~]")
_STATUS = re.compile(r"^[245]\.\d{1,3}\.\d{1,3} ")


def one_line(text: str) -> str:
    """What a reply can say: printable ASCII, no line ends."""
    text = " ".join(text.split())
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)


def answer_for(error: BaseException | None) -> MailError:
    """The answer a client gets for `error`.

    A `MailError` answers for itself. Twisted's own `SMTPServerError` (known by its `code`
    and `resp`) keeps its code. Everything else is temporary.
    """
    if isinstance(error, MailError):
        return error
    code, resp = getattr(error, "code", None), getattr(error, "resp", None)
    if isinstance(code, int) and 400 <= code <= 599 and isinstance(resp, (bytes, str)):
        text = resp.decode("ascii", "replace") if isinstance(resp, bytes) else resp
        text = one_line(text) or "Refused"
        enhanced = f"{code // 100}.0.0"
        if (found := _STATUS.match(text)) and text[0] == str(code)[0]:
            enhanced, text = found.group().strip(), text[found.end() :]
        kind = Refused if code >= 500 else MailError
        return kind(text, code=code, enhanced=enhanced)
    return MailError(detail=f"{type(error).__name__}: {error}")
