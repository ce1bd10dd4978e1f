"""The web of a house: its parts, put together of what the house has, a portal and an intake.

So a node of one process serves it, and the supervisor of a node of several, alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailnode.api_house import make_api
from mailnode.background import background
from mailnode.cred.checkers import judge_passwords
from mailnode.gate import ProxyGate
from mailnode.machine import http_room
from mailnode.outbound.mx import find_hosts
from mailnode.resolver import Resolver
from mailnode.sign_in_house import SignInHouse
from mailnode.store.answers import Answers
from mailnode.store.blobs import FileBlobs
from mailnode.store.captured import CapturedMails
from mailnode.store.correspondents import correspondents_of, read_heads
from mailnode.store.drafts import UPLOADS_FOLDER, Drafts
from mailnode.store.folders import Folders
from mailnode.store.guests import Guests
from mailnode.store.journal import read_trace
from mailnode.store.lessons import find_mail
from mailnode.store.whys import explain
from mailnode.threads import Threads
from mailnode.web.api.happenings import Happenings
from mailnode.web.captured_watch import CapturedWatch
from mailnode.web.changes import Changes
from mailnode.web.channel import BoundedFactory, Crowd
from mailnode.web.desk import Desk
from mailnode.web.events import Events
from mailnode.web.figures import EVERY_S, Figures
from mailnode.web.health import Refresh, nothing
from mailnode.web.letters import AT_ONCE, MOST_WAITING, Letters
from mailnode.web.pages.addressing import Addressing
from mailnode.web.pages.admin_captured import AdminCaptured
from mailnode.web.pages.admin_factors import AdminFactors
from mailnode.web.pages.attaching import Attaching
from mailnode.web.pages.captured_mail import CapturedMail
from mailnode.web.pages.first import First
from mailnode.web.pages.lists import Lists, shelf_of
from mailnode.web.pages.mail_pages import MailPages
from mailnode.web.pages.originals import Originals
from mailnode.web.pages.own_folders import OwnFolders
from mailnode.web.pages.reading import Reading
from mailnode.web.pages.rearranging import Rearranging
from mailnode.web.pages.search import Searches
from mailnode.web.pages.sending import Sending
from mailnode.web.pages.sent import SentMail
from mailnode.web.pages.writing import Writing
from mailnode.web.pages.writing_files import Files
from mailnode.web.site import make_site
from mailnode.web.web import Pages, Web
from mailnode.web_admin import admin_desk_of, admin_pages

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.admission import Sessions
    from mailnode.cred.portal import SignInPortal
    from mailnode.events import Event
    from mailnode.house import House
    from mailnode.password_house import PasswordHouse
    from mailnode.settings import LimitSettings
    from mailnode.smtp.posting import PostOffice
    from mailnode.store.correspondents import Correspondent
    from mailnode.store.whys import Why
    from mailnode.tls import Certificate
    from mailnode.web.templates import Templates

SWEEP_S = 3600.0

_log = Logger(namespace="mailnode")


async def _explain(house: House, account_id: int, mail_id: str) -> Why | None:
    """By what is learned now."""
    if not house.config.learning.enabled:
        return None
    mail = await house.database.read(partial(find_mail, mail_id=mail_id))
    if mail is None:
        return None
    unwanted_from = house.config.learning.unwanted_from
    data, models = house.config.data_path, house.models
    why: Why | None = await house._in_thread(explain, mail, data, models, account_id, unwanted_from)
    return why


@define(eq=False)
class WebHouse:
    """The web of a process, from its start to its stop.

    Attributes:
        guests: who is let in.
        desk: what the pages work on.
        web: what there is.
        crowd: who is connected.
        figures: the last hour in numbers.
    """

    guests: Guests
    desk: Desk
    web: Web
    crowd: Crowd
    figures: Figures
    _house: House
    _reading: Threads
    _happenings: Happenings
    _factories: list[BoundedFactory] = field(factory=list, init=False)
    _timers: list[LoopingCall] = field(factory=list, init=False)

    @classmethod
    def of(
        cls,
        house: House,
        *,
        portal: SignInPortal,
        passwords: PasswordHouse,
        post_office: PostOffice,
        others: Sequence[Any] = (),
        sessions: Callable[[], Mapping[str, Sessions]] = dict,
        values: Callable[[], Mapping[str, Any]] | None = None,
    ) -> WebHouse:
        """Of a house whose files are open.

        Args:
            others: credential checkers that the portal asks before users.db.
            sessions: of the mail servers of this process, by their names.
            values: the metrics of the whole node; those of the house without it.
        """
        desk = _desk_of(house, post_office)
        config, directory = house.config, house.directory

        def is_admin(account_id: int) -> bool:
            account = directory.find_by_id(account_id)
            return account is not None and account.admin

        captured = CapturedWatch(desk.captured, house.reactor)
        events = Events(desk.changes, house.reactor, captured, is_admin)
        guests = house.guests
        gate = ProxyGate.of(house.reactor, config.listen.proxy_from)
        sign_in = SignInHouse.of(
            house,
            portal=portal,
            passwords=passwords,
            post_office=post_office,
            is_proxy=gate.is_proxy,
            shelf=partial(shelf_of, desk),
            sets_passwords=not judge_passwords(others),
        )
        guard, templates = sign_in.guard, sign_in.templates
        admin = admin_desk_of(
            house,
            desk,
            templates,
            passwords=passwords,
            sets_passwords=sign_in.sets_passwords,
            sessions=sessions,
            values=values or house.metrics.values,
        )
        threads = Threads(house.reactor.callFromThread, MOST_WAITING, most_threads=AT_ONCE)
        letters = Letters(
            desk.folders, desk.captured, desk.blobs, threads, house._in_thread, house.reactor
        )
        mail_pages = MailPages(
            letters, guests, lambda: directory.domains, time.time, house.hostname
        )
        pages: list[Pages] = [
            templates.assets,
            sign_in.sign_ins,
            sign_in.codes,
            First("/mail"),
            Lists(templates, desk),
            Rearranging(templates, desk),
            OwnFolders(templates, desk),
            Searches(templates, desk),
            Reading(templates, desk, letters, mail_pages, partial(_explain, house)),
            *_writing_pages(house, desk, templates),
        ]
        happenings = Happenings(desk.folders, desk.changes, house.reactor)
        api = make_api(
            house,
            desk,
            letters,
            guard=guard,
            templates=templates,
            passwords=passwords,
            happenings=happenings,
        )
        web = Web(
            guard,
            templates,
            [
                *pages,
                sign_in.settings,
                sign_in.factors,
                events,
                api,
                *admin_pages(admin, house.guard),
                AdminFactors(admin, sign_in.factors.desk, guests.end_sessions),
                AdminCaptured(desk, admin),
                CapturedMail(desk, admin, letters, mail_pages),
            ],
            config.data_path,
            house._in_thread,
            lambda: house.room.on_disk and not house.database.reserve.spent,
        )
        guests.on_end.append(events.end_of)
        crowd = Crowd(is_proxy=gate.is_proxy)
        made = cls(guests, desk, web, crowd, admin.figures, house, threads, happenings)
        made.apply(config.limits)
        return made

    def start(self) -> None:
        """Sessions end with the sign-in that they came from, and what is over is swept."""
        house = self._house
        house.directory.subscribe(self._accounts_changed)
        for every_s, call in ((SWEEP_S, self._sweep), (EVERY_S, self.figures.sample)):
            timer = LoopingCall(call)
            timer.clock = house.reactor
            timer.start(every_s, now=False)
            self._timers.append(timer)
        background(self.desk.drafts.files.clear_spool(), "clearing half of what was uploaded")

    def _sweep(self) -> None:
        background(self.guests.sweep(), "sweeping web sessions")
        background(self.desk.drafts.sweep(), "sweeping drafts")
        background(self.desk.answers.sweep(time.time()), "sweeping answers")

    def _accounts_changed(self, account_ids: set[int]) -> None:
        ended = Deferred.fromCoroutine(self.guests.end_all_of(account_ids))
        ended.addErrback(  # they count no more, whether or not their rows are gone
            lambda failure: _log.warn("rows of web sessions stay: {error}", error=failure.value)
        )

    def apply(self, settings: LimitSettings) -> None:
        """Take up settings that may change."""
        self.crowd.most = http_room(settings.http_connections)
        self.crowd.most_per_address = settings.http_connections_per_address

    def server(
        self, metrics: Callable[[], str], refresh: Refresh = nothing, tls: Certificate | None = None
    ) -> BoundedFactory:
        """A server for a port.

        Args:
            metrics: the metrics page.
            refresh: is waited for before health and metrics are asked.
            tls: what it is inside of, for https.
        """
        house = self._house
        factory = make_site(
            house.readiness,
            metrics,
            house.reactor,
            refresh,
            web=self.web,
            crowd=self.crowd,
            tls=tls,
        )
        self._factories.append(factory)
        return factory

    def stop(self) -> None:
        """Nobody is connected any more."""
        for timer in self._timers:
            if timer.running:
                timer.stop()
        self._happenings.stop()
        for factory in self._factories:
            factory.close_all()
        self._reading.stop()
        self.desk.drafts.files.close()


def _writing_pages(house: House, desk: Desk, templates: Templates) -> list[Pages]:
    """Where mails are written, and what becomes of them."""
    most_octets = house.config.limits.message_size
    originals = Originals(desk, house._in_thread)
    files = Files(desk, originals, house._in_thread)
    sending = Sending(desk, house._in_thread)
    writing = Writing(templates, desk, originals, files, sending, most_octets)
    own: list[Resolver] = []

    async def takes_mail(address: Address) -> None:
        """As far as this node would ask the DNS for its hosts."""
        directory = house.directory
        if not directory.may_leave(address) or directory.route_for(address).kind != "mx":
            return
        if house.dispatch is None and not own:  # another process relays
            own.append(Resolver(house.reactor, house.config.outbound.resolvers))
        resolver = own[0] if house.dispatch is None else house.dispatch.resolver
        await find_hosts(resolver, address.domain, own=(house.hostname,))

    async def known(account_id: int) -> list[Correspondent]:
        heads = await read_heads(house.database, account_id)
        found: list[Correspondent] = await house._in_thread(correspondents_of, heads)
        return found

    async def trace(mail_id: str) -> list[Event]:
        return await house.database.read(lambda connection: read_trace(connection, mail_id))

    addressing = Addressing(desk, takes_mail, known, house.reactor, house.config.web.show_accounts)
    return [writing, Attaching(writing), addressing, SentMail(templates, desk, trace)]


def _desk_of(house: House, post_office: PostOffice) -> Desk:
    folders, changes = Folders(house.messages), Changes()
    house.messages.on_changed.append(changes.tell)

    def has_room(account_id: int, octets: int) -> bool:
        account = house.directory.find_by_id(account_id)
        return account is not None and house.room.in_mailbox(account, octets)

    files = FileBlobs(
        house.config.data_path / UPLOADS_FOLDER,
        house.reactor.callFromThread,
        house.database.reserve,
    )
    return Desk(
        directory=house.directory,
        database=house.database,
        folders=folders,
        captured=CapturedMails(house.database),
        indexes=house.indexes,
        changes=changes,
        blobs=house.blobs,
        drafts=Drafts(house.messages, files, has_room),
        answers=Answers(house.database),
        journal=house.journal,
        post_office=post_office,
    )
