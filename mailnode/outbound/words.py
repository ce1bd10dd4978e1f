"""The words of the way out: the next hop, how safely it is spoken to, the mail, its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from mailnode.errors import MailError

STAGES = ("connect", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "dot")


@frozen
class Hop:
    """One host to hand mail to.

    Attributes:
        host: its name, for SNI and the certificate; may be an address, with brackets or without.
        address: where it is: an IP address, or the path of a Unix socket.
        lmtp: it speaks LMTP (RFC 2033).
        implicit_tls: TLS begins with the first octet.
    """

    host: str
    address: str
    port: int
    lmtp: bool = False
    implicit_tls: bool = False

    @property
    def local(self) -> bool:
        """Whether it is reached by a Unix socket."""
        return self.address.startswith("/")


@frozen
class Tlsa:
    """A TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@frozen
class TlsPolicy:
    """How safely a destination is to be spoken to (docs/rfc.rst C6).

    Attributes:
        level: "none"; "may" (inside TLS where that works, whatever the certificate); "must"
            (inside TLS, whatever the certificate); "verify" (with a certificate for the host, from
            an authority that we trust).
        names: what the certificate may name besides the host.
        dane: records that the certificate must match instead; TLS is a must then (RFC 7672).
        source: who asks for it, in words: "MTA-STS", "route".
        trial: the certificate is judged as with "verify", and mail goes whatever comes of it.
        lines: the policy as its domain has published it, for reports about it.
    """

    level: str = "may"
    names: tuple[str, ...] = ()
    dane: tuple[Tlsa, ...] = ()
    source: str = ""
    trial: bool = False
    lines: tuple[str, ...] = field(default=(), eq=False)

    @property
    def required(self) -> bool:
        """Whether a mail stays here rather than leaving in clear."""
        return bool(self.dane) or self.level in ("must", "verify")


@frozen
class Login:
    """Whom to sign in as."""

    user: str
    password: str = field(repr=False)


@frozen
class Target:
    """One recipient; `notify` and `orcpt` as `model.Remote` has them."""

    address: str
    notify: str = ""
    orcpt: str = ""


@frozen
class Outgoing:
    """One mail for a host.

    Attributes:
        sender: the reverse-path, "" for `<>`.
        size_octets: of what the reader gives.
        open: gives a reader: `read(count)` is a Deferred of bytes, b"" at the end, and `close()`
            ends it. The octets are CRLF lines, not dot-stuffed, the prefix included.
        smtputf8: its header has UTF-8.
        eight_bit: it has octets over 127.
        ret, envid: as `model.MailParameters` has them.
    """

    sender: str
    targets: tuple[Target, ...]
    size_octets: int
    open: Callable[[], Any] = field(repr=False)
    smtputf8: bool = False
    eight_bit: bool = True
    ret: str = ""
    envid: str = ""


@frozen
class Answer:
    """What became of a recipient, or of an attempt to connect.

    Attributes:
        code: the remote host's; 0 when it gave none: refused, late, lost, not to be understood.
        enhanced: as it said, x.0.0 when it said none.
        text: its words, or ours where there are none of its: one line, printable, 500 characters
            at most.
        stage: one of `STAGES`. With code 0 at "dot" nobody knows whether it has the mail.
    """

    code: int
    enhanced: str
    text: str
    stage: str

    def __str__(self) -> str:
        said = [str(self.code)] if self.code else []
        if self.code and not self.enhanced.endswith(".0.0"):
            said.append(self.enhanced)
        return " ".join([*said, self.text])

    @property
    def delivered(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    @property
    def temporary(self) -> bool:
        return not (self.delivered or self.permanent)


class CannotSend(MailError):
    """No mail can be handed to that host now; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        code = answer.code if answer.code >= 400 else 451
        super().__init__(str(answer), code=code, enhanced=answer.enhanced)
