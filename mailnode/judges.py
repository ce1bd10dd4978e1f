"""Who judges mails: the filters of the house that the settings wish, and those of [plugins]."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import define
from twisted.internet.endpoints import clientFromString
from zope.interface import implementer

from mailnode.addresses import Address
from mailnode.config import Config, ConfigError
from mailnode.endpoints import why_no_endpoint
from mailnode.failing import Failing
from mailnode.filters.authentication import Authentication
from mailnode.filters.clamd import Clamd
from mailnode.filters.harmful import Harmful
from mailnode.filters.learned import Learned
from mailnode.filters.milter import Milter
from mailnode.filters.origin import Origin
from mailnode.filters.rspamd import Rspamd
from mailnode.filters.senders import Senders
from mailnode.filters.spamd import Spamd
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.learning.judging import Band
from mailnode.model import Envelope, Message
from mailnode.reports.collecting import Collecting
from mailnode.resolver import Resolver
from mailnode.settings import HarmfulSettings
from mailnode.threads import Threads


class Place(Protocol):
    """What of a house its filters work with.

    Attributes:
        dmarc: counts for reports what is examined; None for no house.
    """

    config: Config
    reactor: Any
    hostname: str
    blobs: Any
    directory: Any
    dmarc: Any
    models: Any

    def has_written(self, account_id: int, mailbox: str, address: Address) -> Awaitable[bool]:
        """Whether an account has written to that address."""


@implementer(ISomeMailFilter)
@define(eq=False)
class Some:
    """A filter that judges some mails alone."""

    _judge: Any
    _wanted: Callable[[Envelope], bool]

    @property
    def inner(self) -> Any:
        """That filter itself."""
        return self._judge

    @property
    def name(self) -> str:
        name: str = self._judge.name
        return name

    @property
    def trouble(self) -> str:
        """Why it puts off mail, in words; "" where it doesn't."""
        trouble: str = getattr(self._judge, "trouble", "")
        return trouble

    def wants(self, envelope: Envelope) -> bool:
        return self._wanted(envelope)

    def judge(self, envelope: Envelope, message: Message) -> Any:
        return self._judge.judge(envelope, message)


@implementer(ILateFilter)
@define(eq=False)
class SomeLate(Some):
    """One that is asked behind the others, and where it has something to say."""

    def wants(self, envelope: Envelope) -> bool:
        wanted: bool = self._wanted(envelope) and self._judge.wants(envelope)
        return wanted


@define(eq=False)
class Judges:
    """The filters, and what they work with.

    Attributes:
        filters: in the order in which their header fields stand.
    """

    filters: list[Any]
    _threads: Threads
    _resolver: Resolver

    @classmethod
    def of(
        cls,
        house: Place,
        plugged: Sequence[Any],
        origin: Any = None,
        sealing: Callable[[Envelope], bool] = lambda _envelope: False,
    ) -> Judges:
        """Those of that house, and behind them others.

        Args:
            origin: finds out who sent a mail, in place of `Origin`.
            sealing: whether a mail leaves under a seal of ours.

        Raises:
            ConfigError: an endpoint can't be read.
        """
        threads = Threads(house.reactor.callFromThread)
        resolver = Resolver(house.reactor, house.config.outbound.resolvers)
        own = _of_settings(house, threads, resolver, origin, sealing)
        return cls([*own, *plugged], threads, resolver)

    def troubles(self) -> dict[str, str]:
        """Why mail is put off, by the filter that does it; empty where none is."""
        found = {each.name: getattr(each, "trouble", "") for each in self.filters}
        return {f"filter {name}": told for name, told in found.items() if told}

    @property
    def lookups(self) -> Failing:
        """Of names in the DNS."""
        return self._resolver.failing

    async def stop(self) -> None:
        """No more is looked up; what still runs in a thread ends with the process."""
        await self._resolver.close()
        self._threads.stop()


def _of_settings(
    house: Place,
    threads: Threads,
    resolver: Resolver,
    origin: Any,
    sealing: Callable[[Envelope], bool],
) -> Iterator[Any]:
    config, clock = house.config, house.reactor
    judging = config.judging
    strangers = partial(_is_strangers, judging.loopback)
    theirs = partial(_is_theirs, judging.loopback)
    if judging.authenticate:
        examiner = Authentication(resolver, threads.run, clock, house.hostname)
        made = origin or Origin(examiner, judging.dmarc, judging.trusted_sealers, sealing=sealing)
        if judging.dmarc_reports != "off" and isinstance(made, Origin):
            made.note = Collecting(house.dmarc).note
        yield Some(made, strangers)
    if judging.harmful:
        harmful = Harmful(
            clock=clock,
            threads=threads,
            open_octets=house.blobs.windows,
            actions=_actions(config.harmful),
        )
        yield Some(harmful, strangers)
    if config.clamd.endpoint:
        yield Some(Clamd(**_program(config, clock, "clamd")), theirs)
    if config.rspamd.endpoint:
        password = config.rspamd.password
        program = _program(config, clock, "rspamd")
        yield Some(Rspamd(hostname=house.hostname, password=password, **program), theirs)
    if config.spamd.endpoint:
        spamd = config.spamd
        asked = Spamd(
            user=spamd.user,
            unwanted_at=spamd.unwanted_at or None,
            refuse_at=spamd.refuse_at or None,
            **_program(config, clock, "spamd"),
        )
        yield Some(asked, strangers)
    for number, where in enumerate(config.milter.endpoints, 1):
        program = _program(config, clock, "milter", where)
        name = "milter" if len(config.milter.endpoints) == 1 else f"milter{number}"
        yield Some(Milter(name=name, hostname=house.hostname, **program), theirs)
    senders = Senders(
        rules=lambda: house.directory.current.elsewhere.senders,
        in_thread=threads.run,
        open_octets=house.blobs.windows,
    )
    yield SomeLate(senders, strangers)
    if config.learning.enabled:
        learned = Learned(
            shelf=house.models,
            in_thread=threads.run,
            open_octets=house.blobs.windows,
            band=Band(unwanted_from=config.learning.unwanted_from),
            has_written=house.has_written,
        )
        yield SomeLate(learned, strangers)


def _is_theirs(loopback: bool, envelope: Envelope) -> bool:
    """It came over the network, from whoever; what the node itself writes did not."""
    client = envelope.client
    return bool(client.host) and (loopback or bool(envelope.account_id) or not client.loopback)


def _is_strangers(loopback: bool, envelope: Envelope) -> bool:
    return not envelope.account_id and _is_theirs(loopback, envelope)


def _program(config: Config, clock: Any, section: str, where: str = "") -> dict[str, Any]:
    """What all programs take."""
    settings = getattr(config, section)
    return {
        "endpoint": endpoint_of(clock, section, where or settings.endpoint),
        "clock": clock,
        "timeout_s": settings.timeout,
        "most_octets": settings.max_size,
        "on_failure": settings.on_failure,
        "on_too_large": settings.on_too_large,
    }


def endpoint_of(clock: Any, section: str, where: str) -> Any:
    """Where a program of that section listens, an `IStreamClientEndpoint`.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return clientFromString(clock, where)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"[{section}] {where!r} is no endpoint of a client, such as "
            "unix:path=/run/x.sock or tcp:host=127.0.0.1:port=11333 "
            f"({why_no_endpoint(where, error)})"
        ) from None


def _actions(settings: HarmfulSettings) -> dict[str, str]:
    rules = {name: name.replace("_", "-") for name in HarmfulSettings.__annotations__}
    return {rule: getattr(settings, name) for name, rule in rules.items()}
