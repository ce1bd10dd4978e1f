"""What stands behind MAIL and RCPT, parsed strictly, in the shapes that Twisted hands around.

`smtp.Address` and `smtp.User` refuse addresses that are right and take some that are wrong
(docs/rfc.rst S21), so ours derive from them in contract and parse with our grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.mail import smtp

from mailnode.addresses import Address, parse_address, parse_path, split_path
from mailnode.errors import BadAddress, MailError, NeedsSmtpUtf8
from mailnode.model import Client, Kept, MailParameters, Once
from mailnode.xtext import XTEXT, from_addr_xtext, from_xtext

ENVID_MAX_OCTETS = 100
ORCPT_MAX_OCTETS = 500


class BadSyntax(MailError):
    smtp_code, enhanced = 501, "5.5.4"
    text = "Syntax error in parameters"


class UnknownParameter(MailError):
    smtp_code, enhanced = 555, "5.5.4"
    text = "Parameter not recognized or not implemented"


class Path(smtp.Address):
    """A path as Twisted's interfaces pass it: `local` and `domain` are bytes.

    Attributes:
        address: our parsed form; None for `<>`.
    """

    address: Address | None

    def __init__(self, address: Address | None) -> None:
        self.address = address
        text = str(address) if address else ""
        self.addrstr = f"<{text}>".encode()
        local, _, domain = text.rpartition("@")
        self.local, self.domain = local.encode(), domain.encode()

    def __str__(self) -> str:
        return str(self.address) if self.address else ""

    def __bytes__(self) -> bytes:
        return str(self).encode()


@lru_cache(maxsize=4096)
def path_of(address: Address | None) -> Path:
    """The path of an address, made once; nobody changes it."""
    return Path(address)


class ReversePath(Path):
    """The origin of one mail, with what else MAIL told.

    Attributes:
        mail_id: made at MAIL, before any write.
        client: who sends it.
        parameters: what stood behind the path.
        dialog: the session's lines so far, secrets masked; "" when they are not kept.
        kept: the copy that its sender keeps of it; None for none.
        once: the answer that is kept with it, once it is known; None for none.
        found: what was found of a stranger before his body came: a tuple of `model.Judgement`, or
            a Deferred of it.
    """

    found: Callable[[], Any] = tuple

    def __init__(
        self,
        address: Address | None,
        *,
        mail_id: str,
        client: Client,
        parameters: MailParameters,
        dialog: Callable[[], str],
        kept: Kept | None = None,
    ) -> None:
        path = path_of(address)
        self.address, self.addrstr = path.address, path.addrstr
        self.local, self.domain = path.local, path.domain
        self.mail_id = mail_id
        self.client = client
        self.parameters = parameters
        self.dialog = dialog
        self.kept = kept
        self.once: Once | None = None


class Forward(smtp.User):
    """One recipient as `IMessageDelivery.validateTo` gets it.

    Attributes:
        notify, orcpt: as `Remote` has them, "" when RCPT did not say.
    """

    def __init__(
        self,
        dest: Path,
        helo: Any,
        protocol: Any,
        orig: Path,
        notify: str = "",
        orcpt: str = "",
    ) -> None:
        self.dest = dest
        self.helo = helo
        self.protocol = protocol
        self.orig = orig
        self.notify = notify
        self.orcpt = orcpt

    def __str__(self) -> str:
        return str(self.dest)

    def __bytes__(self) -> bytes:
        return bytes(self.dest)


@lru_cache(maxsize=1024)
def parse_mail(rest: bytes) -> tuple[Address | None, MailParameters]:
    """`FROM:<path> [parameters]`.

    Raises:
        BadSyntax, BadAddress, UnknownParameter, NeedsSmtpUtf8.
    """
    path, parameters = _parse(rest, "FROM:")
    address = parse_path(path)
    known = _mail_parameters(parameters)
    if not path.isascii() and not known.smtputf8:
        raise NeedsSmtpUtf8()
    return address, known


@lru_cache(maxsize=4096)
def parse_rcpt(rest: bytes, hostname: str, smtputf8: bool) -> tuple[Path, str, str]:
    """`TO:<path> [parameters]`; `<postmaster>` without a domain means ours.

    Returns:
        The path, NOTIFY and ORCPT as `Forward` has them; the path has an address.
    Raises:
        BadSyntax, BadAddress, UnknownParameter, NeedsSmtpUtf8.
    """
    path, parameters = _parse(rest, "TO:")
    if path.lower() == "<postmaster>":
        address: Address | None = Address("postmaster", hostname)
    else:
        address = parse_path(path)
    if address is None:
        raise BadAddress("A recipient can't be empty")
    if not path.isascii() and not smtputf8:
        raise NeedsSmtpUtf8()
    notify, orcpt = _rcpt_parameters(parameters, smtputf8)
    return path_of(address), notify, orcpt


def _parse(rest: bytes, word: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        text = rest.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("Address is not UTF-8", enhanced="5.5.2") from None
    if text[: len(word)].upper() != word:
        raise BadSyntax(f"Expected {word}<address>")
    path, after = split_path(text[len(word) :].lstrip(" "))
    if after and not after.startswith(" "):
        raise BadSyntax("Expected a space behind the address")
    return path, _split_parameters(after)


_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")


def _split_parameters(text: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for word in filter(None, text.split(" ")):
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise BadSyntax()
        name = match.group(1).upper()
        if name in found:
            raise BadSyntax(f"{name:.40} is given twice")
        found[name] = match.group(2) or ""
    return list(found.items())


def _mail_parameters(given: list[tuple[str, str]]) -> MailParameters:
    size, body, utf8, auth, ret, envid = 0, "7BIT", False, "", "", ""
    for name, value in given:
        if name == "SIZE":
            if not value.isascii() or not value.isdigit() or len(value) > 20:
                raise BadSyntax("SIZE is a number of octets")
            size = int(value)
        elif name == "BODY":
            body = value.upper()
            if body == "BINARYMIME":
                raise UnknownParameter("BODY=BINARYMIME is not offered here")
            if body not in ("7BIT", "8BITMIME"):
                raise BadSyntax("BODY is 7BIT or 8BITMIME")
        elif name == "SMTPUTF8":
            if value:
                raise BadSyntax("SMTPUTF8 takes no value")
            utf8 = True
        elif name == "AUTH":
            if not XTEXT.fullmatch(value):
                raise BadSyntax("AUTH is an address in xtext, or <>")
            auth = value
        elif name == "RET":
            ret = value.upper()
            if ret not in ("FULL", "HDRS"):
                raise BadSyntax("RET is FULL or HDRS")
        elif name == "ENVID":
            envid = _read_envid(value)
        else:
            raise UnknownParameter(f"{name:.40} is not offered here")
    return MailParameters(
        size_octets=size, body=body, smtputf8=utf8, auth=auth, ret=ret, envid=envid
    )


# What a client wants to be told of (RFC 3461)


def _read_envid(value: str) -> str:
    if len(value) > ENVID_MAX_OCTETS:
        raise BadSyntax(f"ENVID is over {ENVID_MAX_OCTETS} octets")
    try:
        return from_xtext(value)
    except ValueError:
        raise BadSyntax("ENVID is printable ASCII in xtext") from None


def _rcpt_parameters(given: list[tuple[str, str]], smtputf8: bool) -> tuple[str, str]:
    notify = orcpt = ""
    for name, value in given:
        if name == "NOTIFY":
            notify = _read_notify(value)
        elif name == "ORCPT":
            if not value.isascii() and not smtputf8:
                raise NeedsSmtpUtf8()
            orcpt = _read_orcpt(value)
        else:
            raise UnknownParameter(f"{name:.40} is not offered with RCPT")
    return notify, orcpt


_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")


def _read_notify(value: str) -> str:
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if not set(words) <= set(_NOTIFY):
        raise BadSyntax("NOTIFY is NEVER alone, or words of SUCCESS, FAILURE and DELAY")
    return ",".join(word for word in _NOTIFY if word in words)


def _read_orcpt(value: str) -> str:
    """Type and address; a bare local part passes, for relays send it of their local users."""
    if len(value.encode()) > ORCPT_MAX_OCTETS:
        raise BadSyntax(f"ORCPT is over {ORCPT_MAX_OCTETS} octets")
    kind, _, coded = value.partition(";")
    try:
        if kind.lower() == "rfc822":
            address = from_xtext(coded)
        elif kind.lower() == "utf-8":
            address = from_addr_xtext(coded)
        else:
            raise BadSyntax("ORCPT begins with rfc822; or utf-8;")
        parse_address(address if "@" in address else f"{address}@localhost")
    except (ValueError, BadAddress):
        raise BadSyntax("ORCPT is no address") from None
    return f"{kind.lower()};{address}"


def no_argument(rest: bytes) -> None:
    """Raises BadSyntax: there is something behind a verb that stands alone."""
    if rest:
        raise BadSyntax("This command takes no argument")


_HELO_UNSAFE = re.compile(r"[^A-Za-z0-9.:\[\]_-]")


def parse_helo(rest: bytes) -> str:
    """The name a client gives itself: one word of printable ASCII.

    Raises:
        BadSyntax: missing, more than one word, over 255 octets, or not printable.
    """
    text = rest.decode("utf-8", "replace")
    if not text or " " in text or len(rest) > 255 or not text.isprintable():
        raise BadSyntax("Expected your host name")
    return text


@lru_cache(maxsize=1024)
def safe_helo(helo: str) -> str:
    """That name as it may stand in a header field."""
    return _HELO_UNSAFE.sub("?", helo) or "unknown"
