"""What a program wants sent, read of JSON or a form: all that is wrong is said at once."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from attrs import define, field, frozen

from mailnode.addresses import parse_address_list
from mailnode.composing.drafts import Draft, Enclosure, kind_of
from mailnode.composing.people import Mailbox, read_address, read_mailboxes
from mailnode.errors import BadAddress, MailError
from mailnode.filenames import safe_name
from mailnode.web.api.checking import faults_of, unknown
from mailnode.web.api.problems import Fault, Faulty
from mailnode.web.api.schemas import Schema, flag, list_of, text, thing
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.web.bodies import Form, UploadedFile

MOST_RECIPIENTS = 1000
MOST_FILES = 100
MOST_FIELDS = 50
TEXT_CHARACTERS = 4 << 20
PEOPLE = ("to", "cc", "bcc")
MESSAGE_ID = r"^<[^<>\s]{1,990}>$"
_FIELD_NAME = r"^[!-9;-~]{1,76}$"
_CONTENT_ID = r"^[A-Za-z0-9._%+@-]{1,200}$"
# What the mail has already, and what only those on its way write.
_OURS = re.compile(
    r"from|sender|to|cc|bcc|resent-.*|subject|date|message-id|in-reply-to|references"
    r"|mime-version|content-.*|received.*|return-path|delivered-to|dkim-signature|arc-.*"
    r"|authentication-results",
    re.I,
)

_MAILBOX = text(least=3, most=600, example="Carol <carol@example.org>")
_PEOPLE: Schema = {
    "anyOf": [_MAILBOX, list_of(_MAILBOX, most=MOST_RECIPIENTS)],
    "description": "An address with or without a name, or a list of them.",
    "examples": ["dave@example.com", ["Dave <dave@example.com>", "erin@example.com"]],
}
_HEADERS: Schema = {
    "type": "object",
    "description": "More header fields, such as Reply-To or List-Unsubscribe; not those that the "
    "mail has already.",
    "propertyNames": {"pattern": _FIELD_NAME, "x-says": "a field's name"},
    "additionalProperties": text(most=900),
    "maxProperties": MOST_FIELDS,
    "examples": [{"Reply-To": "help@example.org"}],
}
FIELDS: Mapping[str, Schema] = {
    "from": text("As whom; the account itself unless given.", least=3, most=600,
                 example="Carol <carol@example.org>"),
    "to": _PEOPLE,
    "cc": _PEOPLE,
    "bcc": _PEOPLE,
    "subject": text(most=900, pattern=r"^[^\r\n\u0000]*$", says="one line", example="Welcome"),
    "text": text("What it says.", most=TEXT_CHARACTERS, example="Hello.\n"),
    "html": text("The same as HTML; the text beside it is for who doesn't show it.",
                 most=TEXT_CHARACTERS),
    "headers": _HEADERS,
    "in_reply_to": text("Message-ID of what it answers.", pattern=MESSAGE_ID,
                        says="a message-id in its brackets", example="<1@example.com>"),
    "attachments": list_of(
        thing(
            {
                "name": text(least=1, most=200, example="invoice.pdf"),
                "kind": text(pattern=r"^[A-Za-z]+/[A-Za-z0-9.+-]{1,100}$", says="a media type",
                             example="application/pdf"),
                "content": text("Base64.", example="JVBERi0xLjQK"),
                "content_id": text("What the HTML shows it by: cid:...", pattern=_CONTENT_ID,
                                   says="letters and digits"),
            },
            needs=("name", "content"),
        ),
        "Files; large ones are sent as multipart/form-data.",
        most=MOST_FILES,
    ),
    "keep": flag("Keep a copy in Sent.", default=True),
    "partial": flag("Send to those who are taken, where others are refused.", default=False),
}  # fmt: skip
ORDER = {**thing(FIELDS, needs=()), "anyOf": [{"required": [name]} for name in PEOPLE]}
FORM_FIELDS: Mapping[str, Schema] = {
    **{name: FIELDS[name] for name in ("from", "subject", "text", "html", "in_reply_to")},
    **{name: text("Addresses, parted by commas; may be given several times.")
       for name in PEOPLE},
    "header": text("`Name: value`; may be given several times."),
    "keep": text("`no` keeps no copy in Sent."),
    "partial": text("`yes` sends to those who are taken."),
    "redirect": text("A path of this server: where a browser goes once the mail is taken."),
    "csrf": text("Of a browser's session."),
}  # fmt: skip
FORM = thing(FORM_FIELDS, needs=("to",))
MULTIPART = thing(
        {
            **FORM_FIELDS,
            "attachment": {"type": "string", "format": "binary",
                           "description": "A file; may be given several times."},
            "inline": {"type": "string", "format": "binary",
                       "description": "A file that the HTML shows by cid: and its name."},
        },
        needs=("to",),
)  # fmt: skip


@frozen(kw_only=True)
class Order:
    """A mail to be sent.

    Attributes:
        recipients: each with the field that names it; as they were named, perhaps twice.
        keep: a copy in Sent.
        partial: it is sent to those who are taken.
        redirect: where a browser goes; "" for nowhere.
        mail: the octets of a mail that is whole already; None for one that `draft` is made into.
    """

    recipients: Sequence[tuple[str, Address]]
    sender: Address
    draft: Draft | None = None
    mail: IO[bytes] | None = None
    size_octets: int = 0
    keep: bool = True
    partial: bool = False
    redirect: str = ""


@define(eq=False)
class _Reading:
    """What was read so far, and what is wrong with it."""

    own: Address
    faults: list[Fault] = field(factory=list)
    people: dict[str, list[Mailbox]] = field(factory=lambda: {name: [] for name in PEOPLE})
    recipients: list[tuple[str, Address]] = field(factory=list)

    def name_people(self, name: str, values: Sequence[tuple[str, str]]) -> None:
        """Recipients of a field: (field, text) of each."""
        for where, said in values:
            if len(self.recipients) > MOST_RECIPIENTS:
                break
            try:
                found = read_mailboxes(said, MOST_RECIPIENTS + 1)
            except BadAddress as error:
                self.faults.append(Fault(where, error.text, error.enhanced))
                continue
            for each in found:
                if self._good_name(where, each):
                    self.people[name].append(each)
                    self.recipients.append((where, each.address))

    def sender(self, said: str) -> Mailbox:
        if not said.strip():
            return Mailbox(self.own)
        try:
            (found,) = read_mailboxes(said)
        except ValueError:
            self.faults.append(Fault("from", "names more than one"))
        except BadAddress as error:
            self.faults.append(Fault("from", error.text, error.enhanced))
        else:
            if self._good_name("from", found):
                return found
        return Mailbox(self.own)

    def _good_name(self, where: str, mailbox: Mailbox) -> bool:
        if mailbox.name.isprintable() and len(mailbox.name) <= 200:
            return True
        self.faults.append(Fault(where, "has a name that nobody can have"))
        return False

    def headers(self, fields: Sequence[tuple[str, str, str]]) -> tuple[tuple[str, str], ...]:
        """Of (field of the request, name, value)."""
        good = []
        for where, name, value in fields:
            if _OURS.fullmatch(name):
                self.faults.append(Fault(where, "is a field that the mail has already"))
            elif not value.isprintable():
                self.faults.append(Fault(where, "must be one line of text"))
            else:
                good.append((name, value))
        return tuple(good)

    def end(self) -> None:
        """
        Raises:
            Faulty: something was wrong.
        """
        if not self.recipients and not self.faults:
            self.faults.append(Fault("to", "names nobody", "5.5.1"))
        if len(self.recipients) > MOST_RECIPIENTS:
            where, _address = self.recipients[MOST_RECIPIENTS]
            self.faults.append(Fault(where, f"a mail has {MOST_RECIPIENTS} recipients at most"))
        if self.faults:
            raise Faulty(self.faults)


# JSON


def order_of_json(value: Any, own: Address) -> Order:
    """
    Args:
        own: the account's address.

    Raises:
        Faulty: it is none.
    """
    if not isinstance(value, dict):
        raise Faulty([Fault("", "must be an object")])
    found = faults_of(value, thing(FIELDS, needs=()))
    if found:
        raise Faulty(found)
    reading = _Reading(own)
    for name in PEOPLE:
        said = value.get(name, [])
        if isinstance(said, str):
            reading.name_people(name, [(name, said)])
        else:
            reading.name_people(name, [(f"{name}[{at}]", each) for at, each in enumerate(said)])
    fields = [(f"headers.{name[:60]}", name, each)
              for name, each in value.get("headers", {}).items()]  # fmt: skip
    enclosures = _decoded(value.get("attachments", ()), reading)
    return _order(
        reading,
        {name: value.get(name, "") for name in ("from", "subject", "text", "html", "in_reply_to")},
        reading.headers(fields),
        enclosures,
        keep=value.get("keep", True),
        partial=value.get("partial", False),
    )


def _decoded(files: Sequence[Mapping[str, str]], reading: _Reading) -> tuple[Enclosure, ...]:
    found = []
    for at, file in enumerate(files):
        try:
            content = base64.b64decode(
                re.sub(r"[\r\n]", "", file["content"]).encode("ascii"), validate=True
            )
        except (binascii.Error, UnicodeEncodeError):
            reading.faults.append(Fault(f"attachments[{at}].content", "is not base64"))
            continue
        name = safe_name(file["name"], "file")
        found.append(_of_octets(name, file.get("kind", ""), content, file.get("content_id", "")))
    return tuple(found)


def _of_octets(name: str, kind: str, content: bytes, content_id: str) -> Enclosure:
    return Enclosure(
        name, kind or kind_of(name), len(content), lambda: io.BytesIO(content), content_id
    )


# Forms


def order_of_form(form: Form, files: Sequence[UploadedFile], own: Address) -> Order:
    """
    Raises:
        Faulty: it is none.
    """
    reading = _Reading(own)
    for name in form.names():
        if name not in FORM_FIELDS:
            reading.faults.append(Fault(name[:60], unknown(name, FORM_FIELDS)))
    for name in PEOPLE:
        values = [each for each in form.all(name) if each.strip()]
        many = len(values) > 1
        reading.name_people(
            name, [(f"{name}[{at}]" if many else name, each) for at, each in enumerate(values)]
        )
    said = {name: form.get(name) for name in ("from", "subject", "text", "html", "in_reply_to")}
    given = {name: each for name, each in said.items() if each}
    reading.faults += faults_of(given, thing({name: FIELDS[name] for name in said}, needs=()))
    fields = []
    for at, line in enumerate(form.all("header")[:MOST_FIELDS]):
        name, _, value = line.partition(":")
        if not re.fullmatch(_FIELD_NAME, name.strip()):
            reading.faults.append(Fault(f"header[{at}]", "must be Name: value"))
        else:
            fields.append((f"header[{at}]", name.strip(), value.strip()))
    if len(files) > MOST_FILES:
        reading.faults.append(Fault("attachment", f"has more than {MOST_FILES}"))
    return _order(
        reading,
        said,
        reading.headers(fields),
        tuple(_of_file(each, reading) for each in files),
        keep=_yes(form, "keep", True, reading),
        partial=_yes(form, "partial", False, reading),
        redirect=form.get("redirect"),
    )


_WORDS = {"yes": True, "true": True, "1": True, "on": True,
          "no": False, "false": False, "0": False, "off": False}  # fmt: skip


def _yes(form: Form, name: str, usual: bool, reading: _Reading) -> bool:
    said = form.get(name).strip().lower()
    if said and said not in _WORDS:
        reading.faults.append(Fault(name, "must be yes or no"))
    return _WORDS.get(said, usual)


def _of_file(file: UploadedFile, reading: _Reading) -> Enclosure:
    if file.field not in ("attachment", "inline"):
        reading.faults.append(Fault(file.field[:60], unknown(file.field, ("attachment", "inline"))))
    content_id = file.name if file.field == "inline" else ""
    if content_id and not re.fullmatch(_CONTENT_ID, content_id):
        reading.faults.append(Fault("inline", "must have a name of letters and digits"))
        content_id = ""

    return Enclosure(file.name, file.kind or kind_of(file.name), file.size_octets, file.open,
                     content_id)  # fmt: skip


# Both


def _order(
    reading: _Reading,
    said: Mapping[str, str],
    headers: tuple[tuple[str, str], ...],
    enclosures: tuple[Enclosure, ...],
    *,
    keep: bool,
    partial: bool,
    redirect: str = "",
) -> Order:
    sender = reading.sender(said["from"])
    reading.end()
    draft = Draft(
        sender=sender,
        to=tuple(reading.people["to"]),
        cc=tuple(reading.people["cc"]),
        bcc=tuple(reading.people["bcc"]),
        subject=said["subject"],
        text=said["text"].replace("\0", ""),
        html=said["html"].replace("\0", ""),
        enclosures=enclosures,
        in_reply_to=said["in_reply_to"],
        headers=headers,
    )
    return Order(
        recipients=reading.recipients,
        sender=sender.address,
        draft=draft,
        keep=keep,
        partial=partial,
        redirect=redirect,
    )


# A mail that is whole already

HEADER_OCTETS = 64 << 10


def order_of_mail(
    mail: IO[bytes], size_octets: int, query: Mapping[str, Any], own: Address
) -> Order:
    """A mail, to those whom the query names, or else its header.

    Raises:
        Faulty: nobody is named, or an address is none.
    """
    reading = _Reading(own)
    if "to" in query:
        reading.name_people("to", [("to", query["to"])])
    else:
        _read_header(mail, reading)
    sender = reading.sender(query.get("from", "")).address
    reading.end()
    return Order(
        recipients=reading.recipients,
        sender=sender,
        mail=mail,
        size_octets=size_octets,
        keep=query["keep"],
        partial=query["partial"],
    )


def _read_header(mail: IO[bytes], reading: _Reading) -> None:
    mail.seek(0)
    begin = mail.read(HEADER_OCTETS).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    mail.seek(0)
    header = b"" if begin.startswith(b"\r\n") else begin.partition(b"\r\n\r\n")[0]
    for name, value in header_fields(header):
        where = name.decode("ascii")
        if where not in PEOPLE:
            continue
        try:
            found = parse_address_list(value.decode("utf-8"))
            reading.recipients += [(where, read_address(str(each))) for each in found]
        except (MailError, UnicodeDecodeError) as error:
            words = error.text if isinstance(error, MailError) else "is not UTF-8"
            reading.faults.append(Fault(where, words))


# Which request it is


def digest_of_form(form: Form, files: Sequence[UploadedFile], digest: Any) -> None:
    """Boundaries differ each time; names, values and files are what is asked for."""
    fields = {name: list(form.all(name)) for name in sorted(form.names()) if name != "csrf"}
    digest.update(json.dumps(fields).encode())
    for each in files:
        digest.update(json.dumps([each.field, each.name, each.kind, each.size_octets]).encode())
        digest_of_file(each.file, digest)


def digest_of_file(file: IO[bytes], digest: Any) -> None:
    file.seek(0)
    while piece := file.read(256 << 10):
        digest.update(piece)
    file.seek(0)
