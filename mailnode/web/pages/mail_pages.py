"""What the pages of a mail show, wherever it lies: in a folder of who reads it, or captured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import define, field

from mailnode.errors import MailError
from mailnode.reading.fields import HEADER_OCTETS, decode, decoded, header_end
from mailnode.reading.frame import SANDBOX, Frame
from mailnode.reading.octets import Octets
from mailnode.reading.parts import parts_of
from mailnode.telling import count, size
from mailnode.web.letters import Letter, Letters
from mailnode.web.pages.mail_files import MOST_PATH, Files, Keys
from mailnode.web.pages.mail_view import View, frame_mail, print_mail, view_mail
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Answering, Need, Route
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.store.guests import Guests
    from mailnode.web.visit import Visit

SOURCE_OCTETS = 256 << 10
# How high a frame is, by about how many lines its mail has; the highest scrolls.
HEIGHTS = ((8, "short"), (24, "medium"), (60, "long"))


@define(eq=False)
class MailPages:
    """Their routes, values for templates, documents of strangers; `files` has what is taken away.

    Args:
        domains: that others may pretend to be.
        now: UTC epoch seconds.
        hostname: of this node, in the results of its checks.
    """

    letters: Letters
    guests: Guests
    domains: Callable[[], Collection[str]]
    now: Callable[[], float]
    hostname: str = ""
    keys: Keys = field(init=False)
    files: Files = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keys = Keys(self.now)
        self.files = Files(self.letters, self.keys, self.guests)

    def routes(
        self, at: str, need: Need, read: Answering, beside: Answering, picture: Answering
    ) -> Sequence[Route]:
        """What is one click away from a mail's page, and what its page is made of.

        Args:
            at: the path of its page, as Klein takes it.
            read: opens the mail that is asked for, and answers as it is told.
            beside: a page of these values.
            picture: of its HTML, for nobody in particular: its key says who may.
        """

        async def headers(visit: Visit, letter: Letter) -> Answer:
            return await beside(visit, letter, await self.headers(visit, letter))

        async def source(visit: Visit, letter: Letter) -> Answer:
            if visit.query("all"):
                return await self.files.source(letter)
            return await beside(visit, letter, await self.source(visit, letter))

        async def save(_visit: Visit, letter: Letter) -> Answer:
            return await self.files.save(letter)

        shows = "A picture of its HTML, for who has the ``key`` that its frame was given"
        told: tuple[tuple[str, Answering, str], ...] = (
            ("/html", self.frame, "Its HTML, for the page's frame: ``?remote=1``"),
            ("/headers", headers, "Its headers"),
            ("/raw", source, "Its source; all of it: ``?all=1``"),
            ("/eml", save, "The same as a file"),
            ("/print", self.paper, "It for paper"),
            ("/part/<path>", self.files.part, "An attachment; ``?show=1`` shows a picture"),
        )
        return [
            *(Route(f"{at}{tail}", ("GET",), partial(read, reads), about, need)
              for tail, reads, about in told),
            Route(f"{at}/cid/<path>", ("GET",), picture, shows, Need.NOBODY),
        ]  # fmt: skip

    # For templates

    def place(self, visit: Visit, letter: Letter, tab: str) -> dict[str, Any]:
        """What `mail_tabs.html` and what stands around it know of where they are: `inner` is a
        query that says which mail inside, `way` one that leads back to where it was found, and
        `query` both."""
        of = of_part(visit)
        inner = f"?of={quote(of, safe='')}" if of else ""
        return {"mail": letter.path, "mail_id": letter.mail_id, "of": of, "inner": inner,
                "way": "", "query": inner, "tab": tab, "subject": letter.subject}  # fmt: skip

    async def shown(self, visit: Visit, letter: Letter) -> dict[str, Any]:
        """For `mail_shown.html`; `fault` says why there is no `view`, "" where there is one.

        Raises:
            NoSuchPage: no mail is attached there.
        """
        wanted = visit.query("view")
        view, fault = None, ""
        try:
            view = await self.letters.look(
                letter,
                view_mail,
                of_part(visit),
                wanted,
                visit.query("files") == "all",
                self._cid_url(visit, letter),
                self.domains(),
                self.hostname,
            )
        except MailError as error:
            fault = f"{error.text}."
        if view is None and not fault:
            raise NoSuchPage("No mail is attached there")
        return self.place(visit, letter, "mail") | {
            "view": view,
            "fault": fault,
            "title": _title(letter, view),
            "pictures": bool(visit.query("pictures")),
            "wanted": wanted,
            "sandbox": SANDBOX,
            "height": _height(view),
            "count": count,
        }

    async def headers(self, visit: Visit, letter: Letter) -> dict[str, Any]:
        """For `mail_headers.html`.

        Raises:
            NoSuchPage: no mail is attached there.
        """
        found = await self.letters.look(letter, _header_of, of_part(visit))
        if found is None:
            raise NoSuchPage("No mail is attached there")
        header, more = found
        told = header.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        fields = [
            (name.decode("ascii", "replace"), decoded(decode(value)))
            for name, value in header_fields(told)
        ]
        return self._beside(visit, letter, "headers") | {"fields": fields, "more": more}

    async def source(self, visit: Visit, letter: Letter) -> dict[str, Any]:
        """For `mail_source.html`: the first of it."""
        start, whole = await self.letters.look(letter, _start_of)
        return self._beside(visit, letter, "source") | {
            "source": decode(start).replace("\r\n", "\n").replace("\0", "\N{SYMBOL FOR NULL}"),
            "more": size(whole) if whole > len(start) else "",
            "shown": size(len(start)),
        }

    def _beside(self, visit: Visit, letter: Letter, tab: str) -> dict[str, Any]:
        title = letter.subject or "A mail without a subject"
        return self.place(visit, letter, tab) | {"title": f"{title}: {tab}"}

    # Documents of a stranger

    async def frame(self, visit: Visit, letter: Letter) -> Answer:
        """Its HTML, for the page's frame (`?remote=1`)."""
        return await self._document(visit, letter, frame_mail)

    async def paper(self, visit: Visit, letter: Letter) -> Answer:
        """It for paper."""
        return await self._document(visit, letter, print_mail)

    async def _document(
        self, visit: Visit, letter: Letter, makes: Callable[..., Frame | None]
    ) -> Answer:
        """Under a policy of its own."""
        show_remote = visit.query("remote") == "1"
        cid_url = self._cid_url(visit, letter)
        frame = await self.letters.look(letter, makes, of_part(visit), show_remote, cid_url)
        if frame is None:
            raise NoSuchPage("This mail has no HTML")
        return Answer(
            frame.document,
            headers=(
                ("Content-Security-Policy", frame.policy),
                ("Referrer-Policy", "no-referrer"),
            ),
        )

    def _cid_url(self, visit: Visit, letter: Letter) -> Callable[[str], str]:
        session = visit.guest.session
        key = "" if session is None else self.keys.make(session.key_hash, letter.path)
        return lambda path: f"{letter.path}/cid/{quote(path)}?key={key}"


def of_part(visit: Visit) -> str:
    """Which attached mail is meant; "" for the mail itself."""
    return visit.query("of")[:MOST_PATH]


def _title(letter: Letter, view: View | None) -> str:
    subject = view.summary.subject if view is not None else letter.subject
    return subject or "A mail without a subject"


def _height(view: View | None) -> str:
    lines = view.lines if view is not None else 0
    return next((name for most, name in HEIGHTS if lines <= most), "whole")


def _start_of(octets: Octets) -> tuple[bytes, int]:
    return octets[:SOURCE_OCTETS], len(octets)


def _header_of(octets: Octets, of: str) -> tuple[bytes, bool] | None:
    """The header, and whether it goes on."""
    if of:
        part = parts_of(octets).at(of)
        if part is None or not part.is_mail:
            return None
        octets = part.span
    end = header_end(octets, 0, len(octets))
    return octets[:end], end >= HEADER_OCTETS
