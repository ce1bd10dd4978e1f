"""Mails as they are read: looked at in a thread, for so long and so many at a time; streamed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred, TimeoutError

from mailnode.background import background
from mailnode.errors import NoSuchMail
from mailnode.model import Blob
from mailnode.reading.decoding import decode_pieces
from mailnode.reading.octets import Octets, Span
from mailnode.web.outflow import pour
from mailnode.web.refusals import NoSuchPage, TakesTooLong

if TYPE_CHECKING:
    from mailnode.store.blobs import FileBlobs
    from mailnode.store.captured import Captured, CapturedMails
    from mailnode.store.fetching import StoredMail
    from mailnode.store.folder_lists import Copy
    from mailnode.store.folders import Folders
    from mailnode.threads import Threads
    from mailnode.web.bodies import InThread
    from mailnode.web.requests import WebRequest

T = TypeVar("T")

LOOK_S = 10.0
AT_ONCE, MOST_WAITING = 3, 60
_MOST_NUMBER = 1 << 63


@frozen(eq=False)
class Letter:
    """A mail, wherever it lies.

    Attributes:
        path: of its page.
        subject: as the store has it, "" for none.
    """

    mail: StoredMail
    path: str
    mail_id: str
    subject: str


@frozen(eq=False)
class OwnLetter(Letter):
    """A copy in a folder of who reads it."""

    copy: Copy

    @classmethod
    def of(cls, copy: Copy, mail: StoredMail) -> OwnLetter:
        return cls(mail, f"/mail/{copy.folder_id}/{copy.uid}", copy.mail_id, copy.subject, copy)


@frozen(eq=False)
class CapturedLetter(Letter):
    """A mail to one recipient elsewhere, which never leaves: an administrator reads it."""

    row: Captured

    @classmethod
    def of(cls, row: Captured, mail: StoredMail) -> CapturedLetter:
        return cls(mail, captured_path(row.id), row.mail_id, row.subject, row)


def captured_path(row_id: int) -> str:
    """Of its page."""
    return f"/admin/captured/{row_id}"


@frozen
class Stretch:
    """What of a mail is streamed.

    Attributes:
        start, end: of its octets.
        encoding: that it is read out of; "" for as it is.
    """

    start: int
    end: int
    encoding: str = ""


@define(eq=False)
class Letters:
    """Opens mails.

    Args:
        threads: for what may take a while, `AT_ONCE` of them.
        in_thread: for the pieces of what is streamed.
        clock: Twisted's reactor.
    """

    folders: Folders
    captured: CapturedMails
    blobs: FileBlobs
    threads: Threads
    in_thread: InThread
    clock: Any

    async def open(self, account_id: int, folder_id: int, uid: int) -> OwnLetter:
        """
        Raises:
            NoSuchFolder, NoSuchMail.
        """
        if max(folder_id, uid) >= _MOST_NUMBER:
            raise NoSuchPage()
        return OwnLetter.of(*await self.folders.mail(account_id, folder_id, uid))

    async def open_captured(self, row_id: int) -> CapturedLetter:
        """
        Raises:
            NoSuchMail.
        """
        found = await self.captured.find(row_id) if row_id < _MOST_NUMBER else None
        if found is None:
            raise NoSuchMail()
        return CapturedLetter.of(*found)

    async def look(self, letter: Letter, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(octets, *arguments)` returns, called in a thread; octets are `Octets`.

        Raises:
            TakesTooLong: it goes on for now, and nobody waits for it.
            TooMuchWaiting, StoreBroken.
        """
        looking: Deferred[T] = self.threads.run(self._look, letter, function, arguments)
        looking.addTimeout(LOOK_S, self.clock)
        try:
            return await looking
        except TimeoutError:
            raise TakesTooLong() from None

    def _look(self, letter: Letter, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        octets = self._octets(letter)
        try:
            return function(octets, *arguments)
        finally:
            _close(octets)

    def _octets(self, letter: Letter) -> Octets:
        body = letter.mail.body
        if isinstance(body, Blob):
            return self.blobs.windows(body.key, letter.mail.head)
        return letter.mail.head + body

    def streaming(
        self, letter: Letter, stretch: Stretch | None = None
    ) -> Callable[[WebRequest], Awaitable[None]]:
        """For `Answer.produce`: a stretch of it, or all, in bounded memory."""

        async def produce(request: WebRequest) -> None:
            octets = await self.in_thread(self._octets, letter)
            try:
                if stretch is None:
                    pieces = decode_pieces(octets, "")
                else:
                    span = Span(octets, stretch.start, stretch.end)
                    pieces = decode_pieces(span, stretch.encoding)
                await pour(request, lambda: self.in_thread(next, pieces, b""))
            finally:
                background(_closed(self.in_thread, octets), "closing a mail")

        return produce


async def _closed(in_thread: InThread, octets: Octets) -> None:
    await in_thread(_close, octets)


def _close(octets: Octets) -> None:
    close = getattr(octets, "close", None)
    if close is not None:
        close()
