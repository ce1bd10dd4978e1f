"""A mail's page, and what is one click away from it: source, headers, story, print, attachments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import define, field

from mailnode.errors import MailError, NoSuchMail
from mailnode.model import FLAGGED, INBOX, JUNK, SEEN, TRASH
from mailnode.reading.fields import HEADER_OCTETS, decode, decoded, header_end
from mailnode.reading.frame import SANDBOX, Frame
from mailnode.reading.octets import Octets
from mailnode.reading.parts import parts_of
from mailnode.telling import count, size
from mailnode.web.letters import Letter, Letters
from mailnode.web.pages.lists import shelf_of
from mailnode.web.pages.mail_files import Files, Keys
from mailnode.web.pages.mail_story import tell_owner
from mailnode.web.pages.mail_view import View, frame_mail, print_mail, view_mail
from mailnode.web.pages.order import neighbours
from mailnode.web.pages.sought import Sought
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Need, Route
from mailnode.web.templates import Templates
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Folder
    from mailnode.store.guests import Guests
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

SOURCE_OCTETS = 256 << 10
MOST_PATH = 200
# How high a frame is, by about how many lines its mail has; the highest scrolls.
HEIGHTS = ((8, "short"), (24, "medium"), (60, "long"))
_MAIL = "/mail/<int:folder_id>/<int:uid>"

Reads = Callable[..., Awaitable[Answer]]


@define(eq=False)
class Reading:
    """The pages of a mail.

    Args:
        now: UTC epoch seconds.
    """

    templates: Templates
    desk: Desk
    letters: Letters
    guests: Guests
    now: Callable[[], float]
    keys: Keys = field(init=False)
    files: Files = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keys = Keys(self.now)
        self.files = Files(self.letters, self.keys, self.guests)

    def routes(self) -> Sequence[Route]:
        return (
            self._route(
                "",
                self.show,
                "A mail, which is seen then: ``?view=text`` or ``html``, ``?of=PART`` for a mail"
                " that is attached, ``?pictures=1`` loads those from outside",
            ),
            self._route("/html", self.show_frame, "Its HTML, for the page's frame: ``?remote=1``"),
            self._route("/headers", self.show_headers, "Its headers"),
            self._route("/raw", self.show_source, "Its source; all of it: ``?all=1``"),
            self._route("/eml", self.save, "The same as a file"),
            self._route("/print", self.show_print, "It for paper"),
            self._route("/story", self.show_story, "What happened to it"),
            self._route(
                "/part/<path>", self.save_part, "An attachment; ``?show=1`` shows a picture"
            ),
            Route(
                f"{_MAIL}/cid/<path>",
                ("GET",),
                self.show_picture,
                "A picture of its HTML, for who has the ``key`` that its frame was given",
                Need.NOBODY,
            ),
        )

    def _route(self, tail: str, reads: Reads, about: str) -> Route:
        return Route(f"{_MAIL}{tail}", ("GET",), partial(self._read, reads), about)

    async def _read(
        self, reads: Reads, visit: Visit, folder_id: int, uid: int, **more: Any
    ) -> Answer:
        """A mail of who asks is read; one that was there is missed in words."""
        account_id = visit.guest.account.id
        try:
            letter = await self.letters.open(account_id, folder_id, uid)
        except NoSuchMail:
            folder = await self.desk.folders.folder(account_id, folder_id)
            return self.templates.page(
                visit,
                "mail_gone.html",
                404,
                title="Not here any more",
                folder=folder,
                found=Sought.of(visit),
                shelf=await shelf_of(self.desk, visit, folder_id),
            )
        return await reads(visit, letter, **more)

    # The page

    async def show(self, visit: Visit, letter: Letter) -> Answer:
        of, wanted = _of(visit), visit.query("view")
        view, fault = None, ""
        try:
            view = await self.letters.look(
                letter,
                view_mail,
                of,
                wanted,
                visit.query("files") == "all",
                self._cid_url(visit, letter),
                self.desk.directory.domains,
            )
        except MailError as error:
            fault = f"{error.text}."
        if view is None and not fault:
            raise NoSuchPage("No mail is attached there")
        copy, account_id = letter.copy, visit.guest.account.id
        if not of and not copy.flags & SEEN and _is_looked_at(visit):
            await self.desk.folders.mark(account_id, copy.folder_id, [copy.uid], add=SEEN)
        shelf = await shelf_of(self.desk, visit, copy.folder_id)
        newer, older = await neighbours(self.desk, account_id, copy)
        return self.templates.page(
            visit,
            "mail.html",
            503 if fault else 200,
            title=_title(letter, view),
            **_place(visit, letter, "mail"),
            view=view,
            fault=fault,
            pictures=bool(visit.query("pictures")),
            wanted=wanted,
            sandbox=SANDBOX,
            height=_height(view),
            flagged=bool(copy.flags & FLAGGED),
            shelf=shelf,
            **_named_folders(shelf.folders, copy.folder_id),
            newer=newer,
            older=older,
            count=count,
        )

    def _cid_url(self, visit: Visit, letter: Letter) -> Callable[[str], str]:
        copy, session = letter.copy, visit.guest.session
        key = "" if session is None else self.keys.make(session.key_hash, copy.folder_id, copy.uid)
        return lambda path: f"{letter.path}/cid/{quote(path)}?key={key}"

    async def show_frame(self, visit: Visit, letter: Letter) -> Answer:
        return await self._document(visit, letter, frame_mail)

    async def show_print(self, visit: Visit, letter: Letter) -> Answer:
        return await self._document(visit, letter, print_mail)

    async def _document(
        self, visit: Visit, letter: Letter, makes: Callable[..., Frame | None]
    ) -> Answer:
        """A document of a stranger, under a policy of its own."""
        show_remote = visit.query("remote") == "1"
        cid_url = self._cid_url(visit, letter)
        frame = await self.letters.look(letter, makes, _of(visit), show_remote, cid_url)
        if frame is None:
            raise NoSuchPage("This mail has no HTML")
        return Answer(
            frame.document,
            headers=(
                ("Content-Security-Policy", frame.policy),
                ("Referrer-Policy", "no-referrer"),
            ),
        )

    # One click away

    async def show_headers(self, visit: Visit, letter: Letter) -> Answer:
        of = _of(visit)
        found = await self.letters.look(letter, _header_of, of)
        if found is None:
            raise NoSuchPage("No mail is attached there")
        header, more = found
        told = header.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        fields = [
            (name.decode("ascii", "replace"), decoded(decode(value)))
            for name, value in header_fields(told)
        ]
        return await self._beside(visit, letter, "headers", fields=fields, more=more)

    async def show_source(self, visit: Visit, letter: Letter) -> Answer:
        if visit.query("all"):
            return await self.files.source(letter)
        start, whole = await self.letters.look(letter, _start_of)
        return await self._beside(
            visit,
            letter,
            "source",
            source=decode(start).replace("\r\n", "\n").replace("\0", "\N{SYMBOL FOR NULL}"),
            more=size(whole) if whole > len(start) else "",
            shown=size(len(start)),
        )

    async def save(self, visit: Visit, letter: Letter) -> Answer:
        return await self.files.save(letter)

    async def save_part(self, visit: Visit, letter: Letter, path: str) -> Answer:
        return await self.files.part(visit, letter, path[:MOST_PATH])

    async def show_picture(self, visit: Visit, folder_id: int, uid: int, path: str) -> Answer:
        return await self.files.picture(visit, folder_id, uid, path[:MOST_PATH])

    async def show_story(self, visit: Visit, letter: Letter) -> Answer:
        account, mail_id = visit.guest.account, letter.copy.mail_id
        directory = self.desk.directory

        def is_own(name: str) -> bool:
            found = directory.find_sign_in(name) if name else None
            return found is not None and found.id == account.id

        events = await self.desk.journal.trace(mail_id)
        folders = await self.desk.folders.folders(account.id)
        told = tell_owner(mail_id, events, is_own, {each.folder_id for each in folders})
        return await self._beside(visit, letter, "story", told=told, mail_id=mail_id)

    async def _beside(self, visit: Visit, letter: Letter, tab: str, **values: Any) -> Answer:
        title = letter.copy.subject or "A mail without a subject"
        place = _place(visit, letter, tab)
        place["shelf"] = await shelf_of(self.desk, visit, letter.copy.folder_id)
        return self.templates.page(
            visit, f"mail_{tab}.html", title=f"{title}: {tab}", **place, **values
        )


def _of(visit: Visit) -> str:
    return visit.query("of")[:MOST_PATH]


def _is_looked_at(visit: Visit) -> bool:
    """By a person, not by a browser that guesses what will be."""
    header = visit.request.header
    ahead = f"{header('Sec-Purpose')} {header('Purpose')}"
    return visit.request.method == b"GET" and "prefetch" not in ahead


def _place(visit: Visit, letter: Letter, tab: str) -> dict[str, Any]:
    """What the templates know of where they are: `inner` is a query that says which mail inside,
    `way` one that carries the search along, and `query` both."""
    of, found = _of(visit), Sought.of(visit)
    inner = f"?of={quote(of, safe='')}" if of else ""
    return {
        "copy": letter.copy,
        "mail": letter.path,
        "of": of,
        "inner": inner,
        "way": found.beside(),
        "query": found.beside(inner),
        "found": found,
        "tab": tab,
    }


def _title(letter: Letter, view: View | None) -> str:
    subject = view.summary.subject if view is not None else letter.copy.subject
    return subject or "A mail without a subject"


def _height(view: View | None) -> str:
    lines = view.lines if view is not None else 0
    return next((name for most, name in HEIGHTS if lines <= most), "whole")


def _named_folders(folders: Collection[Folder], folder_id: int) -> dict[str, Folder | None]:
    by_name = {each.name: each for each in folders}
    return {
        "here": next((each for each in folders if each.folder_id == folder_id), None),
        "inbox": by_name.get(INBOX),
        "junk": by_name.get(JUNK),
        "trash": by_name.get(TRASH),
    }


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
