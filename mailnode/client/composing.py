"""Makes a mail of what a person has written, and says beforehand what is wrong with it."""

from __future__ import annotations

import io
import mimetypes
import re
from collections.abc import Iterable, Sequence
from email.headerregistry import Address as Shown
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, localtime, make_msgid
from pathlib import Path

from attrs import field, frozen

from mailnode.addresses import Address, parse_address
from mailnode.client.submission import Letter
from mailnode.errors import BadAddress, MailError

SUBJECT_CHARACTERS = 150
LINE_OCTETS = 998


@frozen
class Mailbox:
    """A recipient or a sender, as a person names it."""

    address: Address
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else str(self.address)

    @property
    def shown(self) -> Shown:
        """For a header field: the domain as people write it where the local part is, too."""
        return Shown(self.name, self.address.local, self.address.domain)


@frozen(kw_only=True)
class Draft:
    """A mail as it was written.

    Attributes:
        text: its lines; may be empty when there is HTML.
        files: that go with it.
        in_reply_to, references: message-ids, with their brackets.
    """

    sender: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    files: tuple[Path, ...] = ()
    in_reply_to: str = ""
    references: str = ""

    @property
    def recipients(self) -> tuple[Mailbox, ...]:
        """Each once."""
        everybody = (*self.to, *self.cc, *self.bcc)
        return tuple({each.address.key: each for each in everybody}.values())


@frozen
class Doubt:
    """What is wrong with a draft, or may be.

    Attributes:
        part: "to", "subject", a file's name...
        fatal: whether it can't be sent so.
    """

    part: str
    words: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.part}: {self.words}"


@frozen
class Made:
    """A mail that is ready to leave."""

    raw: bytes = field(repr=False)
    letter: Letter
    message_id: str


def read_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """The mailboxes in a comma-separated list, with or without names.

    Raises:
        BadAddress: which is wrong, and why.
    """
    found = []
    for part in _COMMA.split(text):
        if said := part.strip():
            match = _NAMED.fullmatch(said)
            name, address = match.groups() if match else ("", said)
            found.append(Mailbox(read_address(address), _unquoted(name.strip())))
    if not found:
        raise BadAddress(f"{text!r} names nobody")
    return tuple(found)


_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # but for those between quotes
_NAMED = re.compile(r"(.*?)<([^<>]*)>", re.S)


def _unquoted(name: str) -> str:
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def read_address(text: str) -> Address:
    """An address that a person typed, with a whole domain.

    Raises:
        BadAddress: it is none; the text says what is wrong with which part.
    """
    said = text.strip()
    if "@" not in said:
        raise BadAddress(f"{said!r} has no @: an address is such as carol@example.org")
    local, _, domain = said.rpartition("@")
    if not local or not domain:
        raise BadAddress(f"{said!r} lacks what stands {'before' if domain else 'behind'} the @")
    try:
        address = parse_address(said)
    except MailError as error:
        raise BadAddress(f"{said!r}: {error.text}") from None
    if "." not in address.domain and address.domain != "localhost" and address.domain[0] != "[":
        raise BadAddress(f"{said!r}: {address.domain!r} is not a whole domain")
    return address


def look_over(draft: Draft) -> list[Doubt]:
    """What keeps it from being sent, and what its author may want to know."""
    doubts = []
    if not draft.recipients:
        doubts.append(Doubt("to", "there is nobody to send it to"))
    if any(c in draft.subject for c in "\r\n"):
        doubts.append(Doubt("subject", "it has a line end"))
    elif len(draft.subject) > SUBJECT_CHARACTERS:
        length = len(draft.subject)
        doubts.append(
            Doubt("subject", f"{length} characters: many programs show {SUBJECT_CHARACTERS}", False)
        )
    elif not draft.subject.strip():
        doubts.append(Doubt("subject", "there is none", False))
    if not (draft.text.strip() or draft.html.strip() or draft.files):
        doubts.append(Doubt("body", "it is empty", False))
    for path in draft.files:
        if why := _unreadable(path):
            doubts.append(Doubt(str(path), why))
    return doubts


def _unreadable(path: Path) -> str:
    try:
        if path.is_dir():
            return "is a folder; pack it first, as with zip or tar"
        with path.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def compose(draft: Draft) -> Made:
    """The mail, with all that it must have (RFC 5322); Bcc stands in its envelope alone.

    Raises:
        OSError: a file can't be read.
    """
    everybody = (draft.sender, *draft.recipients)
    in_utf8 = any(not each.address.is_ascii for each in everybody)
    # Encoded so that no host on the way must know 8BITMIME.
    policy = (SMTPUTF8 if in_utf8 else SMTP).clone(cte_type="7bit")
    mail = EmailMessage(policy=policy)
    mail["From"] = draft.sender.shown
    for name, people in (("To", draft.to), ("Cc", draft.cc)):
        if people:
            mail[name] = [each.shown for each in people]
    if not draft.to and not draft.cc:
        mail["To"] = "undisclosed-recipients:;"
    mail["Subject"] = draft.subject
    mail["Date"] = format_datetime(localtime())
    message_id = make_msgid(domain=_id_domain(draft.sender.address))
    mail["Message-ID"] = message_id
    if draft.in_reply_to:
        mail["In-Reply-To"] = draft.in_reply_to
        mail["References"] = f"{draft.references} {draft.in_reply_to}".strip()
    _set_body(mail, draft)
    for path in draft.files:
        _attach(mail, path)
    raw = mail.as_bytes()
    letter = Letter(
        sender=str(draft.sender.address),
        recipients=tuple(str(each.address) for each in draft.recipients),
        size_octets=len(raw),
        open=lambda: io.BytesIO(raw),
        smtputf8=in_utf8,
        eight_bit=not raw.isascii(),
    )
    return Made(raw, letter, message_id)


def _id_domain(address: Address) -> str:
    return "localhost" if address.domain.startswith("[") else address.domain


def _set_body(mail: EmailMessage, draft: Draft) -> None:
    text = draft.text if not draft.text or draft.text.endswith("\n") else f"{draft.text}\n"
    if draft.html:
        if text:
            mail.set_content(text)
            mail.add_alternative(draft.html, subtype="html")
        else:
            mail.set_content(draft.html, subtype="html")
    else:
        mail.set_content(text)


def _attach(mail: EmailMessage, path: Path) -> None:
    content = path.read_bytes()
    guessed, packed = mimetypes.guess_type(path.name)
    kind = guessed if guessed and not packed else "application/octet-stream"
    main, _, sub = kind.partition("/")
    if main in ("message", "multipart"):
        main, sub = "application", "octet-stream"
    mail.add_attachment(content, maintype=main, subtype=sub, filename=path.name)


def parse_groups(values: Sequence[str], part: str) -> tuple[Mailbox, ...]:
    """The mailboxes of an option that may be given several times.

    Raises:
        BadAddress: as `read_mailboxes`, with the part in front.
    """
    found: list[Mailbox] = []
    for value in values:
        try:
            found += read_mailboxes(value)
        except BadAddress as error:
            raise BadAddress(f"{part}: {error.text}") from None
    return tuple(found)


def fatal(doubts: Iterable[Doubt]) -> list[Doubt]:
    return [each for each in doubts if each.fatal]
