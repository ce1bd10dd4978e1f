"""One stranger's connection: judged at RCPT, before his mail is read.

What is found is kept as facts, for the content filters and the journal. A recipient waits for
look-ups only where what they find may refuse him.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError

from mailnode.addresses import Address
from mailnode.arrival.enquiry import HELO_DOUBTS, LOOK_UP_S, Enquiry
from mailnode.arrival.refusals import BadHelo, Greylisted, Listed, Nameless, TooEager, TooMuch
from mailnode.arrival.rules import (
    EARLY,
    GREYLIST,
    HELO,
    LISTS,
    OFF,
    REFUSE,
    REVERSE,
    Pace,
    Rules,
)
from mailnode.errors import MailError
from mailnode.machine import network_of
from mailnode.model import Judgement

if TYPE_CHECKING:
    from mailnode.arrival.arrival import Arrival

ALWAYS_HEARD = frozenset(("postmaster", "abuse"))  # RFC 5321 section 4.5.1, RFC 2142
BY = "arrival"
WANTED = "wanted by a list"


@define(eq=False)
class Visit:
    """What is known of a stranger, and of the mail that he is about to send.

    Attributes:
        client: his address.
        rules: as they were when he came.
    """

    arrival: Arrival
    rules: Rules
    client: str
    enquiry: Enquiry = field(init=False)
    _sender: Address | None = field(default=None, init=False)
    _early: str = field(default="", init=False)
    _greylist: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.enquiry = Enquiry(self.arrival, self.rules, self.client)

    # What he does

    def speaks_early(self, when: str) -> None:
        """He says something before the greeting, or behind HELO without waiting for its reply.

        Args:
            when: "before the greeting" or "behind HELO".
        """
        if self.rules.early != OFF and not self._early:
            self._early = when
            self.arrival.count(EARLY, "marked")

    def begins_mail(self, sender: Address | None) -> None:
        """He said MAIL.

        Raises:
            TooMuch: he, his network or that sender sends too much. 421 ends the connection: no
                other mail in it would be taken.
        """
        self._sender, self._greylist = sender, ""
        self._take_each("mails", code=421)
        self.enquiry.begin()
        self.enquiry.name_sender(sender)

    def names_recipient(self, recipient: Address) -> Deferred[None] | None:
        """He said RCPT; a Deferred is to be waited for.

        Raises:
            TooMuch, Greylisted: he is turned away for now.
            Listed, Nameless, BadHelo, TooEager: for good.
        """
        self._take_each("recipients")
        if recipient.local.lower() in ALWAYS_HEARD:
            self._take("mails", "recipient", recipient.key)
            return None
        if not self.arrival.is_there(recipient):
            return None
        waiting = self.enquiry.when_known(self.rules.needed)
        if waiting is not None or self.rules.greylist:
            return Deferred.fromCoroutine(self._judge(waiting, recipient))
        self._refuse()
        self._take("mails", "recipient", recipient.key)
        return None

    async def _judge(self, waiting: Deferred[None] | None, recipient: Address) -> None:
        if waiting is not None:
            await waiting
        self._refuse()
        if self.rules.greylist:
            await self._ask(recipient)
        # Last: who is turned away must not use up what is taken for somebody.
        self._take("mails", "recipient", recipient.key)

    def found(self) -> Any:
        """What is known of him, as judgements; a Deferred of them while something is looked up."""
        waiting = self.enquiry.when_known()
        if waiting is None:
            return self._judgements()
        return waiting.addCallback(lambda _: self._judgements())

    def _judgements(self) -> tuple[Judgement, ...]:
        facts = self.enquiry.facts()
        facts |= {EARLY: self._early} if self._early else {}
        facts |= {GREYLIST: self._greylist} if self._greylist else {}
        return (Judgement(BY, reasons=tuple(self._doubts()), facts=facts),) if facts else ()

    def _doubts(self) -> Iterator[str]:
        yield from self.enquiry.doubts()
        if self._early:
            yield f"it spoke {self._early}"

    # Judging

    def _refuse(self) -> None:
        rules, enquiry = self.rules, self.enquiry
        if rules.early == REFUSE and self._early:
            raise self._refusal(EARLY, TooEager, TooEager.text, f"it spoke {self._early}")
        if rules.refuse_weight and enquiry.weight >= rules.refuse_weight:
            listings = enquiry.listings()
            first = max(listings, key=lambda each: each.weight)
            text = f"{first}: {first.words}" if first.words else str(first)
            raise self._refusal(LISTS, Listed, text, "; ".join(map(str, listings)))
        if rules.reverse == REFUSE and enquiry.is_nameless:
            text = f"{self.client} has no name in the DNS that leads back to it"
            raise self._refusal(REVERSE, Nameless, text, f"its name: {enquiry.reverse}")
        if rules.helo == REFUSE and enquiry.is_no_helo:
            raise self._refusal(HELO, BadHelo, BadHelo.text, HELO_DOUBTS[enquiry.helo])

    def _refusal(self, check: str, kind: type[MailError], text: str, because: str) -> MailError:
        self.arrival.count(check, "refused")
        contact = f" ({self.rules.contact})" if self.rules.contact else ""
        return kind(f"{text:.280}{contact}", detail=because)  # a reply has 512 octets

    async def _ask(self, recipient: Address) -> None:
        """Whether the greylist lets him through; it does where it can't say."""
        arrival, greylist = self.arrival, self.arrival.greylist
        if greylist is None:
            return
        if self.enquiry.weight < 0:
            self._let_through(WANTED)
            return
        network, sender = network_of(self.client), str(self._sender or "")
        asked = greylist.look(network, sender, str(recipient))
        try:
            look = await asked.addTimeout(LOOK_UP_S, arrival.clock)
        except TimeoutError:
            arrival.count(GREYLIST, "unknown")
            return
        if not look.wait_s:
            self._let_through(look.because)
            return
        arrival.count(GREYLIST, "put-off")
        wait_s = int(look.wait_s) + 1
        put_off = Greylisted(
            f"You are unknown here, try again in {wait_s} s", detail=f"greylisted: {look.because}"
        )
        put_off.retry_after_s = wait_s
        raise put_off

    def _let_through(self, because: str) -> None:
        self._greylist = because
        self.arrival.count(GREYLIST, "passed" if because else "unknown")

    def _take_each(self, what: str, code: int = 450) -> None:
        if self.rules.paces:
            self._take(what, "address", self.client, code)
            self._take(what, "network", network_of(self.client), code)
            self._take(what, "sender", "" if self._sender is None else self._sender.key)

    def _take(self, what: str, of: str, key: str, code: int = 450) -> None:
        for pace in self.rules.paces if key else ():
            if (pace.what, pace.of) == (what, of) and (wait_s := self.arrival.take(pace, key)):
                raise _too_much(pace, key, wait_s, code)


def _too_much(pace: Pace, key: str, wait_s: float, code: int) -> TooMuch:
    seconds = int(wait_s) + 1
    to = "to" if pace.of == "recipient" else "from"
    refusal = TooMuch(
        f"Too many {pace.what} {to} this {pace.of} within an hour, try again in {seconds} s",
        detail=f"more than {pace.rate} {pace.what} an hour {to} {key}",
        code=code,
    )
    refusal.retry_after_s = seconds
    return refusal
