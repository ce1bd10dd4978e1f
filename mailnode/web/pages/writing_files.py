"""Files that wait to go with a mail: taken from a form or from another mail, piece by piece."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.defer import Deferred

from mailnode.composing.mails import LINE_OCTETS
from mailnode.errors import MailboxFull, MailError, TooLarge
from mailnode.filenames import safe_name
from mailnode.model import Blob
from mailnode.telling import size
from mailnode.web.pages.originals import Originals, Place
from mailnode.web.refusals import BadRequest

if TYPE_CHECKING:
    from mailnode.store.drafts import Upload
    from mailnode.web.bodies import InThread, UploadedFile
    from mailnode.web.desk import Desk

PIECE_OCTETS = 256 << 10
SHOWN_KINDS = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))


class UploadEnded(MailError):
    """Whoever sent it is gone."""

    http_status = 400
    text = "The file did not come whole"


def sent_octets(size_octets: int) -> int:
    """Of a file, as it stands in a mail: lines of base64, and the part's own fields."""
    return -(-size_octets // LINE_OCTETS) * 78 + 500


@define(eq=False)
class Files:
    """Keeps them.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
    """

    desk: Desk
    originals: Originals
    in_thread: InThread

    async def keep(
        self, account_id: int, draft_id: int, file: UploadedFile, *, inline: bool = False
    ) -> Upload:
        """A file that came by a form will go with the draft.

        Args:
            inline: the text may show it, where it is a picture.

        Raises:
            TooLarge, MailboxFull, TooManyFiles, NoSuchDraft, StoreFull.
        """

        def read() -> bytes:
            try:
                return file.file.read(PIECE_OCTETS)
            except ValueError:  # it was closed, for nobody waits for the answer any more
                raise UploadEnded() from None

        await self._require_room(account_id, draft_id, file.name, file.size_octets)
        content_id = ""
        if inline and file.kind in SHOWN_KINDS:
            content_id = f"{secrets.token_hex(12)}@inline"
        return await self._keep(
            account_id, draft_id, file.name, file.kind, lambda: self.in_thread(read), content_id
        )

    async def take(
        self, account_id: int, draft_id: int, source: Place, paths: Sequence[str]
    ) -> list[Upload]:
        """Files of another mail of the account's will go with the draft.

        Args:
            paths: of its parts.

        Raises:
            NoSuchMail, TooLarge, MailboxFull, TooManyFiles, NoSuchDraft, StoreFull.
        """
        _copy, stored = await self.desk.folders.mail(account_id, source.folder_id, source.uid)
        offered = await self.in_thread(self.originals._draft, stored.body)
        by_path = {each.path: each for each in offered[1]}
        taken = []
        for path in dict.fromkeys(paths):
            wanted = by_path.get(path)
            if wanted is None:
                raise BadRequest("The mail has no such file")
            await self._require_room(account_id, draft_id, wanted.name, wanted.size_octets)
            pieces = self._pieces(stored.body, path)
            taken.append(
                await self._keep(
                    account_id,
                    draft_id,
                    safe_name(wanted.name, "file"),
                    wanted.kind[:200],
                    lambda pieces=pieces: self.in_thread(_next_of, pieces),  # type: ignore[misc]
                )
            )
        return taken

    def _pieces(self, body: bytes | Blob, path: str) -> Iterator[bytes]:
        with self.originals.parts(body) as parts:
            part = parts.at(path)
            if part is not None:
                yield from part.pieces()

    async def _keep(
        self,
        account_id: int,
        draft_id: int,
        name: str,
        kind: str,
        next_piece: Callable[[], Deferred[Any]],
        content_id: str = "",
    ) -> Upload:
        """A piece is read when the disk has taken the one before."""
        drafts = self.desk.drafts
        writer, octets = drafts.files.create(), 0
        try:
            while piece := await next_piece():
                octets += len(piece)
                wait = writer.write(piece)
                if wait is not None:
                    await wait
            await writer.commit()
        except BaseException:
            await writer.discard()
            raise
        return await drafts.add_file(
            account_id,
            draft_id,
            name=name,
            kind=kind,
            size_octets=octets,
            blob_key=writer.key,
            content_id=content_id,
        )

    async def _require_room(
        self, account_id: int, draft_id: int, name: str, size_octets: int
    ) -> None:
        """
        Raises:
            TooLarge: the mail couldn't be sent with it.
            MailboxFull: the account has no room for it.
        """
        drafts, most = self.desk.drafts, self.desk.post_office.most_octets
        there = await drafts.uploads(account_id, draft_id)
        if sum(sent_octets(each.size_octets) for each in there) + sent_octets(size_octets) > most:
            raise TooLarge(
                f"{name} ({size(size_octets)}) is too large: a mail may have {size(most)} here, "
                "and a file grows by more than a third in it"
            )
        waiting = await drafts.waiting_octets(account_id)
        if not drafts.has_room(account_id, waiting + size_octets):
            raise MailboxFull("Your mailbox has no room for that file: delete something first")


def _next_of(pieces: Iterator[bytes]) -> bytes:
    return next((piece for piece in pieces if piece), b"")
