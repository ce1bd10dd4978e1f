"""Whether a mail is wanted, by what its node and each recipient have learned of such mails."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Protocol

from attrs import define, evolve
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailnode.addresses import Address
from mailnode.errors import MailError
from mailnode.filters.authors import authors_of, is_proved
from mailnode.filters.harmful import is_text_alone
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.learning.facts import BY, facts_of
from mailnode.learning.features import MAIL_OCTETS, Likeness, likeness_of
from mailnode.learning.judging import BAND, Band, Judgement, judge, who_judge
from mailnode.learning.model import UNWANTED, Model
from mailnode.mailauth.examination import octets_of_authors
from mailnode.model import Blob, Envelope, Message, Recipient, Verdict
from mailnode.reading.octets import Octets
from mailnode.wire import header_of

MOST_OWN = 100  # recipients whose own models are asked; of more the node's alone
# A text of so much, all in ASCII, is judged in less than three milliseconds, whoever made it, and
# nearly each in a third of one: less than it takes others when two threads hand the interpreter to
# and fro for it.
SMALL_OCTETS = 8 << 10
SMALL_AUTHOR_OCTETS = 1 << 10
FEW_ACCOUNTS = 5
NODE, ACCOUNT = "node", "account"

# What makes other letters of ASCII: names of domains in these take long.
_CODED = re.compile(
    rb"base64|quoted-printable|charset(?!=\"?(?:us-ascii|utf-8|iso-8859-|windows-125))", re.I
)

Models = Mapping[int, Model | None]


class Shelf(Protocol):
    """`store.models.ModelShelf`."""

    @property
    def is_empty(self) -> bool: ...

    def model(self, account_id: int, /) -> Model | None: ...

    def at_hand(self, account_ids: Iterable[int], /) -> Models | None: ...


@implementer(ILateFilter, ISomeMailFilter)
@define(eq=False, kw_only=True)
class Learned:
    """Finds unwanted what is like the mails that were taught so.

    It looks in a thread, but at small mails, by models that are in memory.

    What the node's model says is told to all, what an account's says to that account alone.

    Attributes:
        shelf: has the models.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        open_octets: `store.blobs.FileBlobs.windows`: the octets of a mail whose body is a blob,
            from its key and what stands in front; called in a thread.
        band: from where on a mail is unwanted.
        has_written: whether an account has written to somebody: (its id, its address, to whom).
    """

    shelf: Shelf
    in_thread: Callable[..., Deferred[Any]]
    open_octets: Callable[[str, bytes], Octets]
    band: Band = BAND
    has_written: Callable[[int, str, Address], Awaitable[bool]] | None = None
    name: str = BY

    def wants(self, envelope: Envelope) -> bool:
        """Whether it has recipients here, and anything was ever learned."""
        return bool(envelope.recipients) and not self.shelf.is_empty

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """A verdict for each recipient here."""
        accounts = list(dict.fromkeys(to.account_id for to in envelope.recipients))
        few = _is_small(message.body) and len(accounts) <= FEW_ACCOUNTS
        models = self.shelf.at_hand((0, *accounts)) if few else None
        try:
            verdict: Verdict
            if models is not None:
                verdict = self._look(models, accounts, message)
            else:
                verdict = await self.in_thread(self._find_and_look, accounts, message)
        except MailError as error:  # a mail is taken all the same
            return Verdict(reasons=(f"it was not judged: {error.text}",))
        unwanted_by = [to for to in envelope.recipients if _of(verdict, to.account_id).unwanted]
        if unwanted_by and self.has_written is not None:
            known = await self._known(self.has_written, unwanted_by[:MOST_OWN], message)
            spared = {each: _spared(_of(verdict, each), author) for each, author in known.items()}
            verdict = evolve(verdict, of_copies={**verdict.of_copies, **spared})
        return verdict

    async def _known(
        self,
        has_written: Callable[[int, str, Address], Awaitable[bool]],
        recipients: Sequence[Recipient],
        message: Message,
    ) -> Mapping[int, Address]:
        """Accounts that have written to the mail's author before, if it is proved who that is."""
        try:
            reading = authors_of, message.body, self.open_octets
            is_small = _is_small(message.body)
            authors = authors_of(*reading[1:]) if is_small else await self.in_thread(*reading)
            if len(authors) != 1 or not is_proved(authors[0], message):
                return {}
            (author,) = authors
            return {
                to.account_id: author
                for to in recipients
                if await has_written(to.account_id, to.mailbox, author)
            }
        except MailError:  # then nobody is known
            return {}

    def _find_and_look(self, accounts: Sequence[int], message: Message) -> Verdict:
        """As `_look`, in a thread: models may be read from their files, and the mail from its."""
        models = {each: self.shelf.model(each) for each in (0, *accounts[:MOST_OWN])}
        return self._look(models, accounts, message)

    def _look(self, models: Models, accounts: Sequence[int], message: Message) -> Verdict:
        likeness = cache(partial(self._likeness_of, message))  # the most of it: where it is heard
        node, _ = who_judge(models[0], None)
        owned: dict[int, Verdict] = {}
        for account_id in accounts[:MOST_OWN]:
            _, own = who_judge(node, models[account_id])
            if own is not None:
                judgement = judge(likeness(), node, own, self.band)
                owned[account_id] = Verdict(**_told(judgement, ACCOUNT))
        if len(owned) == len(accounts) or node is None:
            return Verdict(of_copies=owned)
        return Verdict(**_told(judge(likeness(), node, None, self.band), NODE), of_copies=owned)

    def _likeness_of(self, message: Message) -> Likeness:
        facts = [
            fact
            for each in message.judgements
            for fact in facts_of(each.by, each.unwanted, each.facts)
        ]
        return likeness_of(self._octets_of(message), facts)

    def _octets_of(self, message: Message) -> bytes:
        body = message.body
        if isinstance(body, bytes):
            return body[:MAIL_OCTETS]
        octets = self.open_octets(body.key, b"")
        try:
            return octets[:MAIL_OCTETS]
        finally:
            close = getattr(octets, "close", None)
            if close is not None:
                close()


def _is_small(body: bytes | Blob) -> bool:
    if not (isinstance(body, bytes) and len(body) <= SMALL_OCTETS and body.isascii()):
        return False
    header = header_of(body)
    return (
        is_text_alone(body)
        and not _CODED.search(header)
        and octets_of_authors(header) <= SMALL_AUTHOR_OCTETS
    )


def _of(verdict: Verdict, account_id: int) -> Verdict:
    return verdict.of_copies.get(account_id, verdict)


def _spared(verdict: Verdict, author: Address) -> Verdict:
    """What is unwanted by its words alone, and comes from a correspondent."""
    why = f"you have written to {author}, and it is proved that the mail is from there"
    return Verdict(reasons=(why, *verdict.reasons), facts=verdict.facts)


def _told(judgement: Judgement, model: str) -> Mapping[str, Any]:
    """What a verdict says of it: why, only where it is unwanted, and by what speaks for that."""
    percent = f"{100 * judgement.probability:.0f} %"
    unwanted = judgement.verdict == UNWANTED
    reasons = judgement.reasons if unwanted else ()
    return {
        "unwanted": unwanted,
        "reasons": tuple(each.words for each in reasons if each.weight > 0),
        "facts": {"verdict": judgement.verdict, "probability": percent, "model": model},
    }
