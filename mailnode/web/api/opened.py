"""A mail as a program reads it: looked at in a thread, in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from mailnode.errors import NoSuchMail
from mailnode.reading.fields import addresses_of, header_end
from mailnode.reading.parts import Parts, parts_of
from mailnode.reading.summary import summary_of
from mailnode.reading.text import HTML_OCTETS, TEXT_OCTETS, html_of, text_of
from mailnode.web.api.operations import time_of

if TYPE_CHECKING:
    from mailnode.reading.octets import Octets

HEADER_OCTETS = 128 << 10


def read_facts(octets: Octets) -> dict[str, Any]:
    """What `Message` has beside what its line has."""
    parts = parts_of(octets)
    said = text_of(parts)
    summary = summary_of(parts, said)
    page = parts.body("text/html")
    plain = parts.body("text/plain")
    is_cut = (
        parts.cut
        or (plain is not None and plain.size_octets > TEXT_OCTETS)
        or (page is not None and page.size_octets > HTML_OCTETS)
    )
    return {
        **{name.replace("-", "_"): _people(parts, name) for name in
           ("from", "to", "cc", "reply-to")},
        "date": time_of(summary.sent_at),
        "message_id": summary.message_id,
        "references": list(summary.references),
        "text": said,
        "html": None if page is None else html_of(page),
        "attachments": [
            {
                "path": part.path,
                "name": part.name,
                "kind": part.kind,
                "size_octets": part.content_octets,
                "content_id": part.cid,
            }
            for part in parts
            if not part.is_multipart and part not in (plain, page) and not part.attached
        ],
        "is_cut": is_cut,
    }  # fmt: skip


def _people(parts: Parts, name: str) -> list[dict[str, str]]:
    found = addresses_of(parts.fields.get(name, []))
    return [{"name": each, "address": address} for each, address in found]


def read_header(octets: Octets) -> str:
    """The header's text, as it came."""
    end = header_end(octets, 0, min(len(octets), HEADER_OCTETS))
    return octets[0:end].decode("utf-8", "replace")


@frozen
class Found:
    """Where a part lies in its mail."""

    kind: str
    name: str
    encoding: str
    start: int
    end: int


def find_part(octets: Octets, path: str) -> Found:
    """
    Raises:
        NoSuchMail: there is no such part.
    """
    part = parts_of(octets).at(path)
    if part is None or part.is_multipart:
        raise NoSuchMail("There is no such part")
    return Found(part.kind, part.name, part.encoding, part.span.start, part.span.end)
