"""The form in which a mail is written: what it says, what is wrong with it, and how it is shown."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from html import escape, unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from attrs import define, evolve, field, frozen

from mailnode.composing.drafts import Draft, Enclosure
from mailnode.composing.people import Mailbox, Wrong, read_each
from mailnode.composing.written import TYPED_OCTETS, Written
from mailnode.reading.html import clean_html
from mailnode.reading.text import text_of_html
from mailnode.telling import size
from mailnode.web.pages.originals import Place
from mailnode.web.pages.writing_files import SHOWN_KINDS, sent_octets
from mailnode.web.refusals import BadRequest

if TYPE_CHECKING:
    from mailnode.store.blobs import FileBlobs
    from mailnode.store.drafts import Upload
    from mailnode.web.bodies import Form
    from mailnode.web.pages.originals import Offered

HEAD_OCTETS = 2_000  # of a mail's own fields and its text's parts, roughly

PEOPLE = ("to", "cc", "bcc")
_FIELDS = (*PEOPLE, "subject", "in_reply_to", "references", "answers", "key")
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_UPLOADED = re.compile(r"""(\ssrc\s*=\s*["'])/write/\d{1,18}/files/(\d{1,18})(["'])""", re.I)
_BY_CID = re.compile(r"""(\ssrc\s*=\s*["'])cid:([^"'<>\s]{1,300})(["'])""", re.I)


@define(eq=False)
class Faults:
    """What is wrong with a mail, by the field that it is in; "" for the mail as a whole."""

    by_field: dict[str, list[str]] = field(factory=dict)

    def add(self, name: str, words: str) -> None:
        said = self.by_field.setdefault(name, [])
        if words not in said:
            said.append(words)

    def __bool__(self) -> bool:
        return bool(self.by_field)

    def of(self, name: str) -> Sequence[str]:
        return self.by_field.get(name, ())


@frozen(kw_only=True)
class Desktop:
    """A mail that is being written, with all that its page shows.

    Attributes:
        draft_id: 0 for one that was never saved.
        place: "3/17" of the draft's copy, "" for none.
        uploads: files that will go with it.
        source, offered: where files lie that may go with it, and which.
        taken: paths of those that were chosen.
    """

    written: Written
    draft_id: int = 0
    place: str = ""
    uploads: Sequence[Upload] = ()
    source: str = ""
    offered: Sequence[Offered] = ()
    taken: frozenset[str] = frozenset()

    @property
    def octets(self) -> int:
        """As it would be sent, roughly."""
        written = self.written
        texts = len(written.text.encode()) + len(written.html.encode())
        files = [each.size_octets for each in self.uploads]
        files += [each.size_octets for each in self.offered if each.path in self.taken]
        return HEAD_OCTETS + texts + sum(map(sent_octets, files))


def new_key() -> str:
    """For a mail that wasn't written before."""
    return secrets.token_urlsafe(24)


def read_written(form: Form) -> Written:
    """What somebody typed.

    Raises:
        BadRequest: it is more than a header can have.
    """
    said = {name: form.get(name).strip() for name in _FIELDS}
    said["subject"] = _printable(said["subject"])
    html = _lines(form.get("html")) if form.get("format") == "html" else ""
    text = "" if html else _lines(form.get("text"))
    written = Written(sender=form.get("from").strip(), html=html, text=text, **said)
    if written.typed_octets > TYPED_OCTETS:
        raise BadRequest(f"The fields of a mail may have {size(TYPED_OCTETS)} together")
    if not _KEY.fullmatch(written.key):
        written = evolve(written, key=new_key())
    return written


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\0", "")


def _printable(text: str) -> str:
    """On one line."""
    text = " ".join(text.split())
    return "".join(c for c in text if c.isprintable())


def shown_html(html: str, uploads: Sequence[Upload]) -> str:
    """The page for its form: pictures lie where the browser can load them."""
    places = {
        each.content_id: f"/write/{each.draft_id}/files/{each.upload_id}"
        for each in uploads
        if each.content_id
    }

    if not places:
        return html

    def lead(found: re.Match[str]) -> str:
        place = places.get(unquote(unescape(found.group(2))))
        return f"{found.group(1)}{place}{found.group(3)}" if place else found.group()

    return _BY_CID.sub(lead, html)


def with_cids(html: str, uploads: Sequence[Upload]) -> str:
    """The page as it is kept and sent: pictures are those of its own mail."""
    ids = {str(each.upload_id): each.content_id for each in uploads if each.content_id}

    if not ids:
        return html

    def lead(found: re.Match[str]) -> str:
        content_id = ids.get(found.group(2))
        if content_id is None:
            return found.group()
        return f"{found.group(1)}cid:{escape(quote(content_id, safe='@'))}{found.group(3)}"

    return _UPLOADED.sub(lead, html)


def draft_of(
    written: Written, uploads: Sequence[Upload], files: FileBlobs, faults: Faults
) -> Draft | None:
    """The mail that is to be sent; belongs into a thread, for its HTML is cleaned.

    Args:
        faults: gets what is wrong with it; then what is returned isn't to be sent.

    Returns:
        None where it has no sender.
    """
    to, cc, bcc = (tuple(_good(read_each(getattr(written, name)), name, faults)) for name in PEOPLE)
    if not (to or cc or bcc or faults):
        faults.add("to", "There is nobody to send it to: name at least one recipient")
    senders = _good(read_each(written.sender), "from", faults)
    if len(senders) != 1:
        faults.add("from", "A mail is from one address of yours")
        return None
    html, ids = "", set[str]()
    text = written.text.rstrip()
    if written.html:
        html, ids = sent_html(written.html, {each.content_id for each in uploads})
        text = text_of_html(html)
    return Draft(
        sender=senders[0],
        to=to,
        cc=cc,
        bcc=bcc,
        subject=written.subject,
        text=text,
        html=html,
        enclosures=tuple(_enclosure(each, files, ids) for each in uploads),
        in_reply_to=written.in_reply_to,
        references=written.references,
    )


def _good(found: Sequence[Mailbox | Wrong], name: str, faults: Faults) -> list[Mailbox]:
    for each in found:
        if isinstance(each, Wrong):
            faults.add(name, each.words)
    return [evolve(each, name=_printable(each.name)) for each in found if isinstance(each, Mailbox)]


def _enclosure(upload: Upload, files: FileBlobs, shown: set[str]) -> Enclosure:
    path = files.path_of(upload.blob_key)
    content_id = upload.content_id if upload.content_id in shown else ""
    kind = upload.kind or "application/octet-stream"
    return Enclosure(upload.name, kind, upload.size_octets, lambda: path.open("rb"), content_id)


def sent_html(html: str, known: set[str]) -> tuple[str, set[str]]:
    """The page as it leaves, cleaned, and which of the known pictures it shows."""
    shown: set[str] = set()

    def lead(content_id: str) -> str | None:
        if not content_id or content_id not in known:
            return None
        shown.add(content_id)
        return f"cid:{quote(content_id, safe='@')}"

    cleaned = clean_html(html, show_remote=False, cid_url=lead)
    style = f"<style>{cleaned.css}</style>" if cleaned.css else ""
    page = (
        f'<!doctype html>\n<html><head><meta charset="utf-8">{style}</head>\n'
        f"<body>{cleaned.html}</body></html>\n"
    )
    return page, shown


def state_of(desktop: Desktop, most_octets: int) -> Mapping[str, Any]:
    """For the page's script."""
    octets = desktop.octets
    return {
        "draft": desktop.draft_id,
        "place": desktop.place,
        "key": desktop.written.key,
        "files": [file_told(each) for each in desktop.uploads],
        "octets": octets,
        "size": size(octets),
        "most": most_octets,
        "fits": octets <= most_octets,
    }


def file_told(upload: Upload) -> Mapping[str, Any]:
    """A file, for the page's script and its template."""
    return {
        "id": upload.upload_id,
        "name": upload.name,
        "size": size(upload.size_octets),
        "address": f"/write/{upload.draft_id}/files/{upload.upload_id}",
        "picture": bool(upload.content_id) and upload.kind in SHOWN_KINDS,
    }


def source_of(text: str, account_id: int) -> Place | None:
    """Of "3/17"; None for what is no place."""
    folder, _, uid = text.partition("/")
    if not all(each.isascii() and each.isdigit() and len(each) < 19 for each in (folder, uid)):
        return None
    return Place(account_id, int(folder), int(uid))
