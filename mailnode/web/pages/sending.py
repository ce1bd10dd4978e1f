"""A written mail is sent, once, to all of its recipients or to none."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.logger import Logger

from mailnode.background import Together
from mailnode.composing.mails import Composed, compose
from mailnode.errors import MailError
from mailnode.model import ANSWERED, PASSED, Kept, Once
from mailnode.web.pages.writing_form import PEOPLE, Faults, draft_of

if TYPE_CHECKING:
    from mailnode.composing.drafts import Draft
    from mailnode.composing.written import Written
    from mailnode.model import Client
    from mailnode.smtp.posting import Posting
    from mailnode.store.directory import Account
    from mailnode.store.drafts import Upload
    from mailnode.web.bodies import InThread
    from mailnode.web.desk import Desk

_log = Logger(namespace="mailnode")


@frozen
class Sent:
    """It was taken.

    Attributes:
        as_written: what was sent is what was asked for now; else it has been changed since.
    """

    mail_id: str
    as_written: bool = True


@define(eq=False)
class Sending:
    """Sends.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.

    Attributes:
        under_way: a mail that is asked for twice at once is sent once.
    """

    desk: Desk
    in_thread: InThread
    under_way: Together = field(factory=Together, init=False)

    async def once(
        self, account_id: int, written: Written, send: Callable[[], Awaitable[Sent | Faults]]
    ) -> Sent | Faults:
        """What `send` gives, or what another's of the same mail does.

        It goes on when whoever asked is gone.
        """

        async def run() -> Sent | Faults:
            return await send()

        done: Sent | Faults = await self.under_way.run(
            (account_id, written.key, written.digest), run
        )
        return done

    async def find(self, account_id: int, written: Written) -> Sent | None:
        """Whether this mail was sent already.

        Raises:
            StoreBusy, StoreBroken.
        """
        found = await self.desk.answers.find(account_id, _once_key(written))
        if found is None:
            return None
        return Sent(found.mail_id, found.request_digest == written.digest)

    async def send(
        self, account: Account, client: Client, written: Written, uploads: Sequence[Upload]
    ) -> Sent | Faults:
        """The mail is taken for all, with a copy in Sent; or nobody has it, and why not.

        Raises:
            MailError: nobody has it, for a reason that is no field's.
        """
        faults = Faults()
        draft: Draft | None = await self.in_thread(
            draft_of, written, uploads, self.desk.drafts.files, faults
        )
        if draft is None or faults:
            return await self._judge_others(account, client, draft, faults)
        try:
            composed: Composed = await self.in_thread(compose, draft)
        except (ValueError, OSError) as error:
            raise MailError("The mail can't be made", detail=str(error)) from error
        kept = Kept(account.id, str(account.address))
        try:
            posting = await self.desk.post_office.begin(
                account,
                client,
                sender=draft.sender.address,
                size_octets=composed.size_octets,
                kept=kept,
            )
        except MailError as error:
            if error.temporary or error.http_status != 403:
                raise
            faults.add("from", error.text)
            return faults
        try:
            return await self._post(posting, account, written, draft, composed, faults)
        except MailError as error:
            found = await self.find(account.id, written) if error.http_status == 409 else None
            if found is None:
                raise
            return found

    async def _post(
        self,
        posting: Posting,
        account: Account,
        written: Written,
        draft: Draft,
        composed: Composed,
        faults: Faults,
    ) -> Sent | Faults:
        ended = False
        try:
            for name in PEOPLE:
                for each in getattr(draft, name):
                    try:
                        await posting.add(each.address)
                    except MailError as error:
                        faults.add(name, f"{each.address}: {error.text}")
            if faults:
                return faults
            await posting.write_all(composed.pieces(), self.in_thread)
            answer = json.dumps({"mail_id": posting.mail_id})
            once = Once(account.id, _once_key(written), written.digest, answer)
            ended = True
            posted = await posting.end(once)
            return Sent(posted.mail_id)
        finally:
            if not ended:
                posting.abandon()

    async def _judge_others(
        self, account: Account, client: Client, draft: Draft | None, faults: Faults
    ) -> Faults:
        """What else is wrong: all of it is said at once."""
        if draft is None:
            return faults
        people = [(name, each) for name in PEOPLE for each in getattr(draft, name)]
        most = self.desk.post_office.most_recipients
        answers = await self.desk.post_office.judge(
            account, client, [each.address for _name, each in people[:most]]
        )
        for (name, each), refusal in zip(people, answers, strict=False):
            if refusal is not None:
                faults.add(name, f"{each.address}: {refusal.text}")
        return faults

    async def settle(self, account: Account, written: Written, draft_id: int) -> None:
        """What was answered is marked so, and the draft is gone. It was sent whatever happens."""
        try:
            answered = written.answered()
            if answered is not None:
                deed, folder_id, uid = answered
                flag = ANSWERED if deed == "reply" else PASSED
                await self._mark(account.id, folder_id, uid, flag)
            if draft_id:
                await self.desk.drafts.discard(account.id, draft_id)
        except MailError as error:
            _log.warn("a draft stays though it was sent: {error}", error=str(error))

    async def _mark(self, account_id: int, folder_id: int, uid: int, flag: int) -> None:
        try:
            await self.desk.folders.mark(account_id, folder_id, [uid], add=flag)
        except MailError as error:
            if error.temporary:
                _log.warn("an answered mail is not marked so: {error}", error=str(error))


def _once_key(written: Written) -> str:
    return f"written {written.key}"
