"""What a process takes mail with: the door, the counter before it, and the delivery of [plugins].

A node of one process has it, each of several workers, and the supervisor that serves their web.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.config import Config, ConfigError
from mailnode.intake import Intake
from mailnode.judges import Judges
from mailnode.outbound.arc import ArcSealer
from mailnode.outbound.signing import Signer
from mailnode.smtp.allowance import Allowance
from mailnode.smtp.posting import PostOffice
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.threads import Threads

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.store.directory import Account

Logout = Callable[[], None]


@define(eq=False)
class Taking:
    """Parts that belong together, of a house whose files are open.

    Attributes:
        intake, counter: as `Node` names them.
        threads: where functions of others run.
        signing: where DKIM signatures and ARC seals are made.
        sealer: seals what is forwarded.
        wrap: what [plugins] delivery makes of a `Postbox`.
        post_office: takes what accounts send otherwise than by SMTP.
        judges: the content filters.
    """

    intake: Intake
    counter: Counter
    threads: Threads
    signing: Threads
    sealer: ArcSealer
    wrap: Callable[[Postbox], Any]
    post_office: PostOffice
    judges: Judges

    @classmethod
    def of(
        cls,
        house: House,
        *,
        filters: Sequence[Any],
        wrap: Callable[[Postbox], Any],
        allowance: Allowance,
    ) -> Taking:
        """Of that house.

        Args:
            filters: of [plugins].

        Raises:
            ConfigError: what `wrap` makes is no `IMessageDeliveryFactory`, or a filter of the
                settings can't be made.
        """
        threads = Threads(house.reactor.callFromThread)
        signing = Threads(house.reactor.callFromThread)
        signer = Signer(house.directory, house.seal, signing)
        sealer = ArcSealer(signer, house.hostname)
        judges = Judges.of(house, filters, sealing=sealer.wants)
        intake = Intake(
            house.messages,
            judges.filters,
            house.reports.of_filed,
            house.reactor.seconds,
            house.reactor,
            sealer,
        )
        counter = Counter(
            hostname=house.hostname,
            directory=house.directory,
            intake=intake,
            blobs=house.blobs,
            room_for=house.room.in_mailbox,
            disk_has_room=lambda: house.room.on_disk and not house.database.reserve.spent,
            in_thread=threads.run,
            allowance=allowance,
            srs_forward=house.forwarding.forward,
            srs_reverse=house.forwarding.reverse,
            signer=signer,
            wrote_to=house.greylist.wrote_to,
            now=house.due.now,
            authserv_id=house.hostname if house.config.judging.authenticate else "",
        )
        post_office = PostOffice(
            hostname=house.hostname,
            delivery_for=lambda account: wrap(Postbox(counter, account)),
            tell=house.mail_log.tell,
        )
        made = cls(intake, counter, threads, signing, sealer, wrap, post_office, judges)
        made._require_delivery(house.config.plugins.delivery)
        return made

    def postbox(self, account: Account | None) -> tuple[Any, Logout]:
        """The realm's factory of `IMessageDeliveryFactory`."""
        return self.wrap(Postbox(self.counter, account)), _nothing

    def _require_delivery(self, name: str) -> None:
        """What [plugins] delivery makes is asked for the delivery of each mail."""
        try:
            made, _logout = self.postbox(None)
        except Exception as error:
            raise ConfigError(f"[plugins] {name}: {type(error).__name__}: {error}") from error
        if not callable(getattr(made, "getMessageDelivery", None)):
            raise ConfigError(
                f"[plugins] what {name} makes is no IMessageDeliveryFactory "
                f"({type(made).__name__}); a mailbox's function is given to a FunctionMailboxes"
            )

    def apply(self, config: Config) -> None:
        """Take up settings that may change."""
        limits, outbound, counter = config.limits, config.outbound, self.counter
        counter.most_mailboxes = limits.mailboxes
        counter.most_received = limits.received_headers
        counter.blob_over = config.store.blob_over
        counter.any_sender = outbound.any_sender
        self.sealer.enabled = outbound.arc_seal
        counter.allowance.rate = outbound.rate
        counter.allowance.burst = outbound.burst
        self.post_office.most_octets = limits.message_size
        self.post_office.most_recipients = limits.recipients

    async def stop(self) -> None:
        self.threads.stop()
        self.signing.stop()
        await self.judges.stop()


def _nothing() -> None:
    """A delivery has nothing to log out of."""
