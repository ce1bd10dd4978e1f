"""Second factors of a house: how codes are judged, sent and kept, put together for its web."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING, Any

from mailnode.addresses import Address, parse_address
from mailnode.cred.second_factor import Enrolment, SecondFactors, Send
from mailnode.errors import MailError, NothingLeaves, NotSent
from mailnode.mime import WRITTEN, WRITTEN_UTF8
from mailnode.model import Client, Remote
from mailnode.store.code_use import CodeUse
from mailnode.texting import TextFailed, send_text
from mailnode.web.pages.factors import FactorDesk

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.smtp.posting import PostOffice
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.factors import Factor
    from mailnode.store.people import Account

_BY = Client(protocol="HTTP")


def second_factors(house: House, post_office: PostOffice) -> SecondFactors:
    """Of a house whose files are open."""
    use_recovery: Any = partial(house._in_thread, house.accounts.factors.use_recovery_code)
    return SecondFactors(
        house.directory.factors,
        house.seal,
        CodeUse(house.database, time.time),
        use_recovery,
        _senders(house, post_office),
        time.time,
        house.reactor.seconds,
    )


def factor_desk(house: House, factors: SecondFactors) -> FactorDesk:
    """What the pages change."""
    rows, in_thread = house.accounts.factors, house._in_thread

    async def add(account: Account, enrolment: Enrolment) -> Factor:
        sealed = factors.sealed(enrolment, account.id)
        factor = await in_thread(
            rows.add, account.id, enrolment.kind, enrolment.name, enrolment.target, sealed
        )
        await house.watch.changed()
        return factor

    async def remove(account_id: int, factor_ids: Sequence[int]) -> list[Factor]:
        gone = await in_thread(rows.remove, account_id, factor_ids)
        await house.watch.changed()
        return gone

    async def set_recovery(account_id: int, hashes: list[bytes]) -> None:
        await in_thread(rows.set_recovery_codes, account_id, hashes)

    def is_own(account: Account, address: Address) -> bool:
        """Who reads the mailbox would read the code, too."""
        try:
            found = house.directory.expand(address)
        except MailError:
            return False
        return any(getattr(each, "account_id", None) == account.id for each in found)

    return FactorDesk(
        add=add,
        remove=remove,
        set_recovery=set_recovery,
        recovery=partial(in_thread, rows.recovery_codes),
        last_uses=CodeUse(house.database, time.time).last_uses,
        is_own=is_own,
        tell=house.mail_log.tell,
    )


def _senders(house: House, post_office: PostOffice) -> dict[str, Send]:
    async def by_mail(account: Account, target: str, code: str) -> None:
        """By the door of all mail, as the account itself."""
        if not _arrives(house.directory, parse_address(target)):
            raise NothingLeaves(detail=f"gear {house.directory.gear}")
        posting = await post_office.begin(account, _BY)
        ended = False
        try:
            await posting.add(parse_address(target))
            wait = posting.write(_mail(account, target, code, house.hostname))
            if wait is not None:
                await wait
            ended = True
            await posting.end()
        finally:
            if not ended:
                posting.abandon()

    async def by_command(_account: Account, target: str, code: str) -> None:
        text = f"{code} is your code for {house.hostname}. Nobody of us asks you for it.\n"
        try:
            await send_text(house.reactor, house.config.second_factor.sms_command, target, text)
        except TextFailed as error:
            raise NotSent(detail=f"second_factor.sms_command: {error}") from error

    senders: dict[str, Send] = {"mail": by_mail}
    if house.config.second_factor.sms_command:
        senders["command"] = by_command
    return senders


def _arrives(directory: LiveDirectory, address: Address) -> bool:
    """Whether a mail for it comes to anybody, and is not captured."""
    if not directory.is_local(address.domain):
        return directory.may_leave(address)
    reached = directory.expand(address)
    return any(not isinstance(each, Remote) or directory.may_leave(each.address)
               for each in reached)  # fmt: skip


def _mail(account: Account, target: str, code: str, hostname: str) -> bytes:
    is_ascii = f"{account.address}{target}".isascii()
    mail = EmailMessage(policy=WRITTEN if is_ascii else WRITTEN_UTF8)
    mail["From"] = str(account.address)
    mail["To"] = target
    mail["Subject"] = f"Your code for {hostname}"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"{code}\n\nis the code for {account.address} on {hostname}. It counts for ten minutes.\n\n"
        "If you did not ask for it, somebody knows the password of that account: change it.\n"
    )
    return mail.as_bytes()
