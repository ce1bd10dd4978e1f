"""/send: a mail goes out, once, to all whom it names or to nobody; and what became of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.internet.defer import DeferredSemaphore

from mailnode.background import Together
from mailnode.composing.mails import Composed, compose
from mailnode.errors import MailError
from mailnode.model import Kept, Once
from mailnode.web.api.checking import read_json
from mailnode.web.api.operations import Call, Content, Operation, Result
from mailnode.web.api.orders import (
    FIELDS,
    FORM,
    MULTIPART,
    ORDER,
    Order,
    digest_of_file,
    digest_of_form,
    order_of_form,
    order_of_json,
    order_of_mail,
)
from mailnode.web.api.problems import Fault, Faulty, UnknownKind
from mailnode.web.api.schemas import flag, list_of, one_of, ref, text, thing
from mailnode.web.api.shapes import MAIL_ID_FIELD
from mailnode.web.bodies import PIECE_OCTETS
from mailnode.web.guard import safe_next
from mailnode.web.refusals import BadRequest, BodyTooLarge
from mailnode.web.routes import JSON, Answer, Taken, see_other

if TYPE_CHECKING:
    from mailnode.smtp.posting import Posting, PostOffice
    from mailnode.store.answers import Answers
    from mailnode.web.bodies import InThread

URLENCODED, MULTIPART_FORM, RAW = (
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "message/rfc822",
)
JSON_OCTETS = 8 << 20
MOST_AT_ONCE = 4  # mails that are held in memory: those of large JSON
_KEY = re.compile(r"[!-~]{1,200}")
_EXAMPLE = {
    "to": ["dave@example.com"],
    "subject": "Welcome",
    "text": "Hello.\n",
}
SCHEMAS = {
    "Sent": thing(
        {
            "id": MAIL_ID_FIELD,
            "message_id": text("Of its Message-ID field; empty for a mail that came whole."),
            "recipients": list_of(
                thing(
                    {
                        "address": text(example="dave@example.com"),
                        "field": text(example="to[0]"),
                        "state": one_of("", ("accepted", "refused")),
                        "detail": text("Why it is refused."),
                    }
                )
            ),
        },
        "A mail that was taken: kept for its recipients here, queued for those elsewhere.",
    ),
}


@frozen
class Answered:
    """What a request under a key was answered."""

    digest: bytes
    text: str


@define(eq=False)
class Sending:
    """The operation.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        most_octets: of a body; the post office judges the mail.
    """

    post_office: PostOffice
    answers: Answers
    in_thread: InThread
    most_octets: int = 128 << 20
    _ending: Together = field(factory=Together, init=False)
    _large: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(MOST_AT_ONCE), init=False)

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                name="send", method="POST", path="/send", answer=self.send,
                about="Sends a mail", tag="Sending", scope="send",
                more="To all whom it names, or, where one of them is refused, to nobody; with "
                "`partial` to the others. Under an Idempotency-Key (1 to 200 printable "
                "characters, kept for a day) the same request sends one mail, however often it "
                f"comes. JSON has {JSON_OCTETS >> 20} MiB at most: larger files come as "
                "multipart/form-data. A mail that is whole already (message/rfc822) goes to those "
                "whom `to` names, or else its To, Cc and Bcc; its Bcc is taken out.",
                query={
                    "to": text("Of a mail that is whole already: to whom, parted by commas.",
                               least=3, most=900, example="dave@example.com"),
                    "from": text("Of a mail that is whole already: its reverse-path.", least=3,
                                 most=320),
                    "keep": flag("Of a mail that is whole already: a copy in Sent.", default=True),
                    "partial": FIELDS["partial"],
                },
                bodies=[
                    Content(JSON, ORDER, _EXAMPLE),
                    Content(MULTIPART_FORM, MULTIPART),
                    Content(URLENCODED, FORM),
                    Content(RAW),
                ],
                reads_body=True,
                takes=Taken(self.most_octets, streamed=True),
                results=[
                    Result(202, "It was taken.", ref("Sent")),
                    Result(303, "It was taken: where the form wants its browser to go.", None, ""),
                ],
                failures=[409, 413, 415, 429, 507],
            ),
        )  # fmt: skip

    async def send(self, call: Call) -> Answer:
        kind = call.visit.request.header("Content-Type").partition(";")[0].strip().lower()
        key = _key_of(call)
        if kind not in ("", JSON, URLENCODED, MULTIPART_FORM, RAW):
            known = ", ".join((JSON, MULTIPART_FORM, URLENCODED, RAW))
            raise UnknownKind(f"A mail is sent as {known}")
        if kind != RAW and (given := list(call.visit.request.args)):
            words = "is for a mail that is whole already; others have it as a field"
            raise Faulty([Fault(each.decode(), words) for each in given])
        if kind not in ("", JSON) or _file_octets(call) < PIECE_OCTETS:
            return await self._send(call, kind, key)
        await self._large.acquire()
        try:
            return await self._send(call, kind, key)
        finally:
            self._large.release()

    async def _send(self, call: Call, kind: str, key: str) -> Answer:
        order: Order
        order, digest = await self.in_thread(_read, call, kind)
        if order.redirect and not safe_next(order.redirect):
            raise Faulty([Fault("redirect", "must be a path of this server")])
        if key and (before := await self._before(call, key, digest)):
            return _answer(before.text, order, again=True)
        try:
            told = await self._post(call, order, key, digest)
        except MailError as error:
            if not key or error.http_status != 409:
                raise
            before = await self._before(call, key, digest)
            if before is None:
                raise
            return _answer(before.text, order, again=True)
        return _answer(told, order)

    async def _before(self, call: Call, key: str, digest: bytes) -> Answered | None:
        """
        Raises:
            Faulty: another request was answered under this key.
        """
        found = await self.answers.find(call.account_id, key)
        if found is None:
            return None
        if found.request_digest != digest:
            raise Faulty([Fault("Idempotency-Key", "was used for another request")])
        return Answered(digest, found.answer)

    async def _post(self, call: Call, order: Order, key: str, digest: bytes) -> str:
        composed: Composed | None = None
        size_octets = order.size_octets
        if order.draft is not None:
            try:
                composed = await self.in_thread(compose, order.draft)
            except (ValueError, IndexError, AttributeError) as error:
                fault = Fault("headers", "can't stand in a header")
                raise Faulty([fault]) from error
            size_octets = composed.size_octets
        account = call.account
        kept = Kept(account.id, str(account.address)) if order.keep else None
        try:
            posting = await self.post_office.begin(
                account,
                call.visit.client,
                sender=order.sender,
                size_octets=size_octets,
                kept=kept,
            )
        except MailError as error:
            if error.temporary or error.http_status not in (403, 422):
                raise
            raise Faulty([Fault("from", error.text, error.enhanced)], None, 403) from error
        ended = False
        try:
            recipients = await _name(posting, order)
            await posting.write_all(_pieces(order, composed), self.in_thread)
            told = json.dumps(
                {
                    "id": posting.mail_id,
                    "message_id": composed.message_id.strip("<>") if composed else "",
                    "recipients": recipients,
                }
            )
            ended = True
            once = Once(account.id, key, digest, told) if key else None
            # It is taken or not, whether or not the client waits for the answer.
            await self._ending.run(posting, lambda: posting.end(once))
        finally:
            if not ended:
                posting.abandon()
        return told


def _pieces(order: Order, composed: Composed | None) -> Iterator[bytes]:
    if composed is not None:
        return composed.pieces()
    assert order.mail is not None
    return iter(partial(order.mail.read, PIECE_OCTETS), b"")


async def _name(posting: Posting, order: Order) -> list[dict[str, str]]:
    """The recipients that were taken, and with `partial` those that were not.

    Raises:
        Faulty: some were not, or nobody was.
    """
    told: list[dict[str, str]] = []
    faults: list[Fault] = []
    refusals: list[MailError] = []
    seen: set[str] = set()
    for where, address in order.recipients:
        if address.key in seen:
            continue
        seen.add(address.key)
        state, detail = "accepted", ""
        try:
            await posting.add(address)
        except MailError as error:
            faults.append(Fault(where, f"{address}: {error.text}", error.enhanced))
            refusals.append(error)
            state, detail = "refused", error.text
        told.append({"address": str(address), "field": where, "state": state, "detail": detail})
    if refusals and (not order.partial or len(refusals) == len(told)):
        raise _refused(faults, refusals)
    return told


def _refused(faults: list[Fault], refusals: list[MailError]) -> Faulty:
    """With 422 where it will never do; else as the first says, and when to come back."""
    if any(not each.temporary for each in refusals):
        return Faulty(faults)
    first = refusals[0]
    refused = Faulty(faults, None, first.http_status)
    refused.retry_after_s = max(getattr(each, "retry_after_s", 0) for each in refusals)
    return refused


def _key_of(call: Call) -> str:
    """
    Raises:
        Faulty: it is none.
    """
    request = call.visit.request
    if not request.requestHeaders.hasHeader(b"Idempotency-Key"):
        return ""
    said = request.header("Idempotency-Key")
    if not _KEY.fullmatch(said):
        raise Faulty([Fault("Idempotency-Key", "must be 1 to 200 printable characters")])
    return f"api {said}"


def _file_octets(call: Call) -> int:
    return sum(each.size_octets for each in call.visit.uploads.files)


# In a thread


def _read(call: Call, kind: str) -> tuple[Order, bytes]:
    """What is to be sent, and the digest of the request."""
    uploads, own = call.visit.uploads, call.account.address
    digest = hashlib.sha256(json.dumps([kind or JSON, dict(call.query)]).encode())
    if kind in (URLENCODED, MULTIPART_FORM):
        form = call.visit.form
        digest_of_form(form, uploads.files, digest)
        return order_of_form(form, uploads.files, own), digest.digest()
    if not uploads.files:
        raise BadRequest("There is nothing in the request")
    (body,) = uploads.files
    digest_of_file(body.file, digest)
    if kind == RAW:
        order = order_of_mail(body.file, body.size_octets, call.query, own)
        return order, digest.digest()
    if body.size_octets > JSON_OCTETS:
        raise BodyTooLarge.past(JSON_OCTETS)
    return order_of_json(read_json(body.file.read()), own), digest.digest()


def _answer(told: str, order: Order, *, again: bool = False) -> Answer:
    if order.redirect:
        return see_other(order.redirect)
    headers = (("Idempotency-Replayed", "true"),) if again else ()
    return Answer(f"{told}\n", 202, kind=JSON, headers=headers)
