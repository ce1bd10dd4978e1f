"""Writing: a mail in its form, kept while it is typed, sent to all of its recipients or to none.

Each page works as a plain form. Its script asks for JSON instead, so that the page with all that
was typed stays where it is, whatever the answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from mailnode.composing.people import Mailbox, read_each
from mailnode.composing.replies import pass_on, reply_to
from mailnode.composing.written import Written, keep_written
from mailnode.errors import DraftChanged, MailError, NoSuchMail
from mailnode.model import DRAFT, DRAFTS
from mailnode.reading.text import text_of_html
from mailnode.telling import size
from mailnode.web.pages.lists import shelf_of
from mailnode.web.pages.originals import Originals, Place
from mailnode.web.pages.sending import Sending, Sent
from mailnode.web.pages.turns import Page, Turn, Turns, read_turn
from mailnode.web.pages.writing_files import Files
from mailnode.web.pages.writing_form import (
    Desktop,
    Faults,
    file_told,
    new_key,
    read_written,
    shown_html,
    source_of,
    state_of,
    with_cids,
)
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import JSON, Answer, Route, Taken, see_other

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.store.directory import Account
    from mailnode.web.desk import Desk
    from mailnode.web.templates import Templates
    from mailnode.web.visit import Visit

FORM_OCTETS = 2 << 20  # of a form beside its files
FILES_FIELD = "attach"
NO_FILE = "file"  # how a form says that none was chosen: no name, and no octets
GONE = "The draft was deleted meanwhile: what stands here is kept as a new one"
CHANGED = (
    "The draft was changed in another window meanwhile: what stands here is kept as another one,"
    " without files"
)
UNSENT = "It was not sent: look through it, and send it then"


@define(eq=False)
class Writing:
    """The pages on which mails are written.

    Args:
        most_octets: of a form with its files.
    """

    templates: Templates
    desk: Desk
    originals: Originals
    files: Files
    sending: Sending
    most_octets: int
    turns: Turns = field(factory=Turns, init=False)

    def routes(self) -> Sequence[Route]:
        takes = Taken(self.most_octets + FORM_OCTETS, streamed=True)
        return (
            Route(
                "/write",
                ("GET",),
                self.show,
                "A mail to write: ``reply``, ``reply_all``, ``forward`` or ``draft`` (each"
                " ``FOLDER/UID``), ``to``, ``subject``",
            ),
            Route(
                "/write/<int:draft_id>",
                ("POST",),
                self.save,
                "Keeps a draft, 0 for a new one: ``from``, ``to``, ``cc``, ``bcc``, ``subject``,"
                " ``format``, ``text``, ``html``, files as ``attach``, ``take`` of ``source``;"
                " multipart. Of one page's ``turn`` the newest is kept",
                takes=takes,
            ),
            Route(
                "/write/kept",
                ("GET",),
                self.tell_kept,
                "Whether a page's ``turn`` was kept; JSON",
            ),
            Route(
                "/write/<int:draft_id>/send",
                ("POST",),
                self.send,
                "Sends it: the same fields, multipart",
                takes=takes,
            ),
            Route(
                "/write/<int:draft_id>/discard",
                ("POST",),
                self.discard,
                "Deletes a draft and its files; multipart",
                takes=takes,
            ),
        )

    # Opening

    async def show(self, visit: Visit) -> Answer:
        account_id = visit.guest.account.id
        for deed in ("draft", "reply", "reply_all", "forward"):
            if text := visit.query(deed):
                place = source_of(text, account_id)
                if place is None:
                    raise BadRequest(f"{deed} is FOLDER/UID")
                if deed == "draft":
                    return await self._page(visit, await self._opened(place))
                return await self._page(visit, await self._answering(visit, deed, place))
        subject = " ".join(visit.query("subject").split())[:1000]
        to = " ".join(visit.query("to").split())[:10_000]
        return await self._page(
            visit, Desktop(written=Written(to=to, subject=subject, key=new_key()))
        )

    async def _opened(self, place: Place) -> Desktop:
        """A draft to go on with.

        Raises:
            NoSuchMail: it is none, or isn't there any more.
        """
        drafts, account_id = self.desk.drafts, place.account_id
        folder = await self.desk.folders.folder(account_id, place.folder_id)
        copy = await self.desk.folders.copy(account_id, place.folder_id, place.uid)
        if folder.name != DRAFTS or not copy.flags & DRAFT:  # it would be replaced by what is saved
            raise NoSuchMail("That is no draft")
        draft_id = await drafts.find(account_id, place.folder_id, place.uid)
        written, offered = await self.originals.draft(place)
        if not written.key:
            written = evolve(written, key=new_key())
        uploads = await drafts.uploads(account_id, draft_id)
        return Desktop(
            written=written,
            draft_id=draft_id,
            place=str(place),
            uploads=uploads,
            source=str(place) if offered else "",
            offered=offered,
            taken=frozenset(each.path for each in offered),
        )

    async def _answering(self, visit: Visit, deed: str, place: Place) -> Desktop:
        account_id, directory = visit.guest.account.id, self.desk.directory
        original, offered = await self.originals.answered(place)

        def is_own(address: Address) -> bool:
            return directory.speaks_for(account_id, address)

        if deed == "forward":
            written = pass_on(original, is_own)
            taken = frozenset(each.path for each in offered)
        else:
            written = reply_to(original, is_own, everybody=deed == "reply_all")
            offered, taken = [], frozenset[str]()
        verb = "forward" if deed == "forward" else "reply"
        return Desktop(
            written=evolve(written, answers=f"{verb} {place}", key=new_key()),
            source=str(place) if offered else "",
            offered=offered,
            taken=taken,
        )

    # Keeping

    async def save(self, visit: Visit, draft_id: int) -> Answer:
        """Kept, whatever is wrong with it; a mail that was sent already isn't kept again."""
        account_id, turn = visit.guest.account.id, _turn_of(visit)
        written = await self._written(visit)

        async def keep(page: Page) -> Sent | tuple[Desktop, Faults]:
            sent = await self.sending.find(account_id, written)
            if sent is not None:
                page.draft_id, page.place = 0, ""  # it went with the mail: more is another one
                return sent
            if turn.number < page.number:
                return await self._kept(account_id, page, written), Faults()
            return await self._keep(visit, page, draft_id, written)

        try:
            kept = await self.turns.run(account_id, turn, keep)
        except MailError as error:
            return await self._failed(visit, Desktop(written=written, draft_id=draft_id), error)
        if isinstance(kept, Sent):
            return await self._sent_before(visit, Desktop(written=written), kept)
        desktop, faults = kept
        if by_script(visit) or faults:
            failed = bool(faults.of("files")) and not by_script(visit)  # its text is kept
            return await self._page(visit, desktop, faults, 422 if failed else 200)
        self.templates.flashes.add(visit, "The draft is kept.")
        return see_other(f"/write?draft={desktop.place}")

    async def _kept(self, account_id: int, page: Page, written: Written) -> Desktop:
        """As it lies there: the same page has said something newer already."""
        uploads = await self.desk.drafts.uploads(account_id, page.draft_id)
        return Desktop(written=written, draft_id=page.draft_id, place=page.place, uploads=uploads)

    async def tell_kept(self, visit: Visit) -> Answer:
        turn = read_turn(visit.query("turn"))
        kept = await self.turns.has(visit.guest.account.id, turn)
        return Answer(json.dumps({"kept": kept}), kind=JSON)

    async def _written(self, visit: Visit) -> Written:
        """What was typed; as much HTML as there may be takes a while to be read.

        Raises:
            BadRequest.
        """
        written: Written = await self.files.in_thread(read_written, visit.form)
        return written

    async def _keep(
        self, visit: Visit, page: Page, draft_id: int, written: Written
    ) -> tuple[Desktop, Faults]:
        """The draft and the files that came with it are kept, and what of it could not be.

        It takes the place of the text that was written on; where another window has kept one since,
        both stay. Files of `source` are taken once: what `page` has kept has them.

        Args:
            draft_id: 0 for a new one, or one that the page hasn't heard of.

        Raises:
            MailError: its text isn't kept.
        """
        account_id, drafts, faults = visit.guest.account.id, self.desk.drafts, Faults()
        over = source_of(page.place or visit.form.get("place"), account_id)
        source = None if page.draft_id else source_of(visit.form.get("source"), account_id)
        draft_id = page.draft_id or draft_id
        paths = visit.form.all("take")
        if draft_id and source is not None:  # it may be the draft itself, whose mail is replaced
            await self._take(draft_id, source, paths, faults)
        uploads = await drafts.uploads(account_id, draft_id) if draft_id else []
        html: str = await self.files.in_thread(with_cids, written.html, uploads)
        written = evolve(written, html=html)
        raw = await self.files.in_thread(keep_written, written)
        try:
            saved = await drafts.save(
                account_id, raw, draft_id, (over.folder_id, over.uid) if over else None
            )
        except NoSuchMail:
            saved = await drafts.save(account_id, raw)
            faults.add("", GONE)
        except DraftChanged:
            written = evolve(written, key=new_key())
            raw = await self.files.in_thread(keep_written, written)
            saved = await drafts.save(account_id, raw)
            faults.add("", CHANGED)
        place = f"{saved.folder_id}/{saved.uid}"
        page.note(_turn_of(visit), saved.draft_id, place)
        if not draft_id and source is not None:
            await self._take(saved.draft_id, source, paths, faults)
        for file in visit.uploads.files:
            if file.field == FILES_FIELD and (file.size_octets or file.name != NO_FILE):
                try:
                    await self.files.keep(account_id, saved.draft_id, file)
                except MailError as error:
                    faults.add("files", error.text)
        desktop = Desktop(
            written=written,
            draft_id=saved.draft_id,
            place=place,
            uploads=await drafts.uploads(account_id, saved.draft_id),
        )
        return desktop, faults

    async def _take(
        self, draft_id: int, source: Place, paths: Sequence[str], faults: Faults
    ) -> None:
        try:
            await self.files.take(source.account_id, draft_id, source, paths)
        except MailError as error:
            faults.add("files", error.text)

    async def discard(self, visit: Visit, draft_id: int) -> Answer:
        if draft_id:
            await self.desk.drafts.discard(visit.guest.account.id, draft_id)
        self.templates.flashes.add(visit, "The draft is deleted.")
        return self._go(visit, "/mail")

    # Sending

    async def send(self, visit: Visit, draft_id: int) -> Answer:
        account, written = visit.guest.account, await self._written(visit)
        answer: list[Answer] = []

        async def send() -> Sent | Faults:
            sent = await self.sending.find(account.id, written)
            if sent is not None:
                if sent.as_written:
                    await self.sending.settle(account, written, draft_id)
                return sent
            async with self.turns.of(account.id, _turn_of(visit)) as page:
                return await self._send(visit, page, written, draft_id, answer)

        try:
            result = await self.sending.once(account.id, written, send)
        except MailError as error:
            return await self._failed(visit, Desktop(written=written, draft_id=draft_id), error)
        if isinstance(result, Sent):
            if not result.as_written:
                return await self._sent_before(visit, Desktop(written=written), result)
            return self._go(visit, f"/sent/{result.mail_id}")
        if answer:
            return answer[0]
        return await self._page(visit, Desktop(written=written, draft_id=draft_id), result, 422)

    async def _send(
        self, visit: Visit, page: Page, written: Written, draft_id: int, answer: list[Answer]
    ) -> Sent | Faults:
        """Kept first, so that nothing is lost whatever comes of it.

        Args:
            answer: gets the page where it isn't sent: what the page showed, files too, isn't what
                would go.
        """
        account = visit.guest.account
        desktop, faults = await self._keep(visit, page, draft_id, written)
        if faults.of(""):
            faults.add("", UNSENT)
        result: Sent | Faults
        status = 422
        try:
            result = (
                faults
                if faults
                else await self.sending.send(
                    account, visit.client, desktop.written, desktop.uploads
                )
            )
        except MailError as error:
            result, status = Faults(), error.http_status
            result.add("", f"It was not sent: {error.text}")
        if isinstance(result, Sent):
            await self.sending.settle(account, desktop.written, desktop.draft_id)
        else:
            answer.append(await self._page(visit, desktop, result, status))
        return result

    async def _sent_before(self, visit: Visit, desktop: Desktop, sent: Sent) -> Answer:
        """A mail was sent under this key; what has been changed since may become another one."""
        faults = Faults()
        faults.add(
            "",
            f"That mail was sent already, as {sent.mail_id}. What stands here now is another one:"
            " send it again only if that is meant",
        )
        written = evolve(desktop.written, key=new_key())
        return await self._page(visit, evolve(desktop, written=written, draft_id=0), faults, 409)

    # Showing

    async def _failed(self, visit: Visit, desktop: Desktop, error: MailError) -> Answer:
        """What was typed comes back, with why it is kept by nobody but the page."""
        faults = Faults()
        faults.add("", error.text)
        return await self._page(visit, desktop, faults, error.http_status)

    def _go(self, visit: Visit, path: str) -> Answer:
        if by_script(visit):
            return Answer(json.dumps({"next": path}), kind=JSON)
        return see_other(path)

    async def _page(
        self, visit: Visit, desktop: Desktop, faults: Faults | None = None, status: int = 200
    ) -> Answer:
        faults = faults or Faults()
        most = self.desk.post_office.most_octets
        if by_script(visit):
            told = {**state_of(desktop, most), "faults": faults.by_field}
            return Answer(json.dumps(told), status, kind=JSON)
        written = desktop.written
        if written.html and not written.text:  # what the page shows without its script
            words = await self.files.in_thread(text_of_html, written.html)
            written = evolve(written, text=words)
        own, sender = self._senders(visit.guest.account, written.sender)
        return self.templates.page(
            visit,
            "write.html",
            status,
            title=written.subject or "New mail",
            written=written,
            html=shown_html(written.html, desktop.uploads),
            draft_id=desktop.draft_id,
            place=desktop.place,
            files=[file_told(each) for each in desktop.uploads],
            source=desktop.source,
            offered=[(each, size(each.size_octets), each.path in desktop.taken)
                     for each in desktop.offered],
            own=own,
            sender=sender,
            faults=faults,
            octets=desktop.octets,
            shelf=await shelf_of(self.desk, visit),
            size=size(desktop.octets),
            most=size(most),
            most_octets=most,
            fits=desktop.octets <= most,
        )  # fmt: skip

    def _senders(self, account: Account, said: str) -> tuple[list[str], str]:
        """What the account may send as, and which of them is chosen, as it stands there."""
        own = [str(each) for each in self.desk.directory.own_addresses(account.id)]
        named = [each for each in read_each(said[:1000]) if isinstance(each, Mailbox)]
        if len(named) == 1 and self.desk.directory.speaks_for(account.id, named[0].address):
            chosen, bare = str(named[0]), str(named[0].address)
            own = [chosen if each == bare else each for each in own]
            return (own if chosen in own else [*own, chosen]), chosen
        return own, own[0] if own else ""


def _turn_of(visit: Visit) -> Turn:
    return read_turn(visit.form.get("turn"))


def by_script(visit: Visit) -> bool:
    """The page's script asks, and keeps the page."""
    return visit.request.header("Accept").partition(",")[0].strip() == JSON
