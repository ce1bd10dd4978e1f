"""Recipients as they are typed: who could be meant, and whether each would take the mail."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, FirstError, TimeoutError, gatherResults

from mailnode.addresses import Address
from mailnode.composing.people import Mailbox, Wrong, read_each
from mailnode.errors import MailError
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import JSON, Answer, Route

if TYPE_CHECKING:
    from mailnode.model import Client
    from mailnode.store.correspondents import Correspondent
    from mailnode.store.directory import Account
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

TYPED_CHARACTERS = 16_000
CHECKED_AT_ONCE = 50
LOOKED_UP_AT_ONCE = 5
LOOKUP_S = 4.0
KEPT_S = 60.0
MOST_KEPT = 2_000
LOOKUPS_A_MINUTE = 60
OFFERED = 10
MOST_ACCOUNTS = 5_000

TakesMail = Callable[[Address], Awaitable[None]]
Known = Callable[[int], Awaitable[Sequence["Correspondent"]]]


class CheckedTooOften(MailError):
    is_fault = False
    smtp_code, enhanced, http_status = 450, "4.7.1", 429
    text = "Too many addresses were looked up: go on typing, they are judged when the mail is sent"


@define(eq=False)
class Remembered:
    """Answers, each for a minute; those of longest ago go first."""

    now: Callable[[], float]
    _kept: OrderedDict[Any, tuple[float, Any]] = field(factory=OrderedDict, init=False)

    def find(self, key: Any) -> Any:
        """None for what isn't known, or is over."""
        at, answer = self._kept.get(key, (float("-inf"), None))
        return answer if at + KEPT_S > self.now() else None

    def keep(self, key: Any, answer: Any) -> Any:
        self._kept[key] = self.now(), answer
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return answer


@define(eq=False)
class Bucket:
    """How often each may look something up: so many a minute."""

    now: Callable[[], float]
    _times: OrderedDict[Any, tuple[int, int]] = field(factory=OrderedDict, init=False)

    def take(self, whose: Any) -> None:
        """Raises CheckedTooOften."""
        minute = int(self.now() // 60)
        counted, count = self._times.get(whose, (minute, 0))
        count = count + 1 if counted == minute else 1
        if count > LOOKUPS_A_MINUTE:
            raise CheckedTooOften()
        self._times[whose] = minute, count
        self._times.move_to_end(whose)
        if len(self._times) > MOST_KEPT:
            self._times.popitem(last=False)


@frozen
class Verdict:
    """Of an address that was asked for elsewhere; "" for one that will do, as far as is known."""

    words: str = ""


@define(eq=False)
class Addressing:
    """What helps to fill in recipients.

    Args:
        takes_mail: fails with why the domain of an address elsewhere takes no mail.
        known: who an account has written to or heard from, the likeliest first.
        clock: bounds look-ups.
        show_accounts: whether the other accounts of one's domain are offered.
    """

    desk: Desk
    takes_mail: TakesMail
    known: Known
    clock: Any
    show_accounts: bool = True
    now: Callable[[], float] = time.monotonic
    _verdicts: Remembered = field(init=False)
    _people: Remembered = field(init=False)
    _bucket: Bucket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._verdicts, self._people = Remembered(self.now), Remembered(self.now)
        self._bucket = Bucket(self.now)

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/write/address",
                ("GET",),
                self.show_faults,
                "What is wrong with recipients as they are typed: ``text``; JSON",
            ),
            Route(
                "/write/people",
                ("GET",),
                self.show_people,
                "Who could be meant by what is typed: ``text``; JSON",
            ),
        )

    # Is it right?

    async def show_faults(self, visit: Visit) -> Answer:
        text = visit.query("text")
        if len(text) > TYPED_CHARACTERS:
            raise BadRequest("That is too much for one field")
        session = visit.guest.session
        whose = session.key_hash if session is not None else visit.guest.account.id
        faults = await self.faults_of(visit.guest.account, visit.client, whose, text)
        return Answer(json.dumps({"faults": faults}), kind=JSON)

    async def faults_of(self, account: Account, client: Client, whose: Any, text: str) -> list[str]:
        """What is wrong with each, in the words that sending it would say.

        Args:
            whose: who is counted.

        Raises:
            CheckedTooOften.
        """
        found = read_each(text)[:CHECKED_AT_ONCE]
        people = [each for each in found if isinstance(each, Mailbox)]
        addresses = list({each.address.key: each.address for each in people}.values())
        wrong = [each.words for each in found if isinstance(each, Wrong)]
        refused = await self._judge(account, client, addresses)
        directory = self.desk.directory
        elsewhere = [
            each
            for each in addresses
            if each.key not in refused and not directory.is_local(each.domain)
        ]
        verdicts = await self._look_up_all(whose, elsewhere[:LOOKED_UP_AT_ONCE])
        missing = [
            f"{address}: {verdict.words}"
            for address, verdict in zip(elsewhere, verdicts, strict=False)
            if verdict.words
        ]
        return [*wrong, *refused.values(), *missing]

    async def _look_up_all(self, whose: Any, addresses: Sequence[Address]) -> list[Verdict]:
        """Raises CheckedTooOften."""
        asked = [Deferred.fromCoroutine(self._look_up(whose, each)) for each in addresses]
        try:
            return await gatherResults(asked, consumeErrors=True)
        except FirstError as first:
            raise (first.subFailure.value or first) from None

    async def _judge(
        self, account: Account, client: Client, addresses: Sequence[Address]
    ) -> dict[str, str]:
        """By address, what the delivery of the account's mail would say to it."""
        if not addresses:
            return {}
        answers = await self.desk.post_office.judge(account, client, addresses)
        return {
            address.key: f"{address}: {refusal.text}"
            for address, refusal in zip(addresses, answers, strict=True)
            if refusal is not None
        }

    async def _look_up(self, whose: Any, address: Address) -> Verdict:
        """Whether its domain takes mail; what can't be found out now is no fault."""
        kept = self._verdicts.find(address.domain)
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        self._bucket.take(whose)
        words = ""
        try:
            await Deferred.fromCoroutine(self._ask(address)).addTimeout(LOOKUP_S, self.clock)
        except MailError as error:
            words = "" if error.temporary else error.text
        except (TimeoutError, CancelledError):
            words = ""
        return self._verdicts.keep(address.domain, Verdict(words))  # type: ignore[no-any-return]

    async def _ask(self, address: Address) -> None:
        await self.takes_mail(address)

    # Who is it?

    async def show_people(self, visit: Visit) -> Answer:
        text = visit.query("text").strip().casefold()[:200]
        account = visit.guest.account
        people = await self._all_people(account)
        found = [each for each in people if _fits(each, text)][:OFFERED] if text else []
        told = [{"address": address, "name": name} for address, name in found]
        return Answer(json.dumps({"people": told}), kind=JSON)

    async def _all_people(self, account: Account) -> list[tuple[str, str]]:
        kept: list[tuple[str, str]] | None = self._people.find(account.id)
        if kept is not None:
            return kept
        own = {each.key for each in self.desk.directory.own_addresses(account.id)}
        people = {
            each.address.lower(): (each.address, each.name)
            for each in await self.known(account.id)
            if each.address.lower() not in own
        }
        if self.show_accounts:
            for other in self.desk.directory.accounts()[:MOST_ACCOUNTS]:
                if (
                    other.address.domain == account.address.domain
                    and other.id != account.id
                    and not other.disabled
                ):
                    people.setdefault(other.key, (str(other.address), ""))
        found: list[tuple[str, str]] = self._people.keep(account.id, list(people.values()))
        return found


def _fits(person: tuple[str, str], text: str) -> bool:
    """Its address, its domain or a word of its name begins so."""
    address, name = person[0].casefold(), person[1].casefold()
    return (
        address.startswith(text)
        or address.partition("@")[2].startswith(text)
        or name.startswith(text)
        or any(word.startswith(text) for word in name.split())
    )
