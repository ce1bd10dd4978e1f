"""A web in memory whose accounts have second factors; what is noted of codes is in memory, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyotp

from mailnode.addresses import Address
from mailnode.cred.second_factor import Enrolment, SecondFactors
from mailnode.errors import MailError
from mailnode.events import Event
from mailnode.sealing import Seal
from mailnode.store.directory import Account
from mailnode.store.factors import CodesLeft, Factor
from mailnode.web.pages.factors import FactorDesk, FactorPages
from mailnode.web.pages.signin_code import SignInCodes
from tests.unit.web_case import AT, PASSWORD, MadeUpPortal, Reply, WebCase

SEAL = Seal(Path("seal.key"), b"k" * 32)
CODE_PAGE, OWN_PAGE = "/sign-in/code", "/settings/second-factor"


class MadeUpUse:
    """What `store.code_use.CodeUse` notes."""

    def __init__(self) -> None:
        self.steps: dict[int, int] = {}
        self.tries: dict[int, int] = {}
        self.most = 10

    async def take_step(self, factor_id: int, account_id: int, step: int, client: str) -> bool:
        if step <= self.steps.get(factor_id, -1):
            return False
        self.steps[factor_id] = step
        return True

    async def count_try(self, account_id: int) -> bool:
        self.tries[account_id] = self.tries.get(account_id, 0) + 1
        return self.tries[account_id] <= self.most

    async def forget_tries(self, account_id: int) -> None:
        self.tries.pop(account_id, None)


class HalfwayPortal(MadeUpPortal):
    """Says of whom a code is asked."""

    has_factor: Any = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failed: list[tuple[str, str, str]] = []
        self.fitted: list[tuple[str, str, str]] = []

    async def login(self, credentials: Any, mind: object, interface: Any) -> Any:
        avatar = await super().login(credentials, mind, interface)
        credentials.awaits_code = bool(self.has_factor(avatar[1].account_id))
        return avatar

    async def code_failed(self, client: str, name: str, reason: str) -> None:
        self.failed.append((client, name, reason))

    def code_fitted(self, client: str, name: str, factor: str, device: str = "") -> None:
        self.fitted.append((client, name, factor))


class FactorCase(WebCase):
    """`self.device` is alice's authenticator app once `turn_on` was called."""

    kinds: Sequence[str] = ("mail", "command")

    def setUp(self) -> None:
        self.now = AT
        self.factors_by: dict[int, list[Factor]] = {}
        self.recovery: dict[int, set[bytes]] = {}
        self.use, self.told = MadeUpUse(), list[Event]()
        self.sent: list[tuple[str, str, str]] = []
        self.unsendable: MailError | None = None
        self.ids = 0
        self.factors = SecondFactors(
            lambda account_id: tuple(self.factors_by.get(account_id, ())),
            SEAL,
            self.use,
            self.use_recovery,
            {kind: self.sender(kind) for kind in self.kinds},
            lambda: self.now,
            lambda: self.now,
        )
        super().setUp()

    def make_portal(self) -> HalfwayPortal:
        portal = HalfwayPortal(self.accounts, self.passwords)
        portal.has_factor = lambda account_id: self.factors_by.get(account_id)
        return portal

    def sender(self, kind: str) -> Any:
        async def send(account: Account, target: str, code: str) -> None:
            if self.unsendable is not None:
                raise self.unsendable
            self.sent.append((kind, target, code))

        return send

    async def use_recovery(self, account_id: int, key_hash: bytes) -> bool:
        there = self.recovery.get(account_id, set())
        known = key_hash in there
        there.discard(key_hash)
        return known

    @property
    def more_pages(self) -> Sequence[Any]:  # type: ignore[override]
        self.codes = SignInCodes(self.sign_ins, self.factors, self.told.append, lambda: self.now)
        self.sign_ins.half = self.codes.begin
        self.settings.factors_of = self.factors.factors_of
        self.own = FactorPages(
            self.sign_ins, self.factors, self.make_desk(), self.shelf, lambda: self.now
        )
        return [self.codes, self.own]

    def make_desk(self) -> FactorDesk:
        async def add(account: Account, enrolment: Enrolment) -> Factor:
            sealed = self.factors.sealed(enrolment, account.id)
            return self.add_factor(
                enrolment.kind, enrolment.name, enrolment.target, sealed, account.id
            )

        async def remove(account_id: int, factor_ids: Sequence[int]) -> list[Factor]:
            there = self.factors_by.get(account_id, [])
            gone = [each for each in there if each.id in factor_ids]
            self.factors_by[account_id] = [each for each in there if each not in gone]
            return gone

        async def set_recovery(account_id: int, hashes: list[bytes]) -> None:
            self.recovery[account_id] = set(hashes)

        async def recovery(account_id: int) -> CodesLeft:
            return CodesLeft(len(self.recovery.get(account_id, ())), 10)

        async def last_uses(account_id: int) -> dict[int, Any]:
            return {}

        def is_own(account: Account, address: Address) -> bool:
            return address.key == account.key

        return FactorDesk(
            add=add,
            remove=remove,
            set_recovery=set_recovery,
            recovery=recovery,
            last_uses=last_uses,
            is_own=is_own,
            tell=self.told.append,
        )

    def add_factor(
        self, kind: str, name: str, target: str, sealed: bytes = b"", account_id: int = 1
    ) -> Factor:
        self.ids += 1
        made = Factor(self.ids, account_id, kind, name, target, sealed, AT)
        self.factors_by.setdefault(account_id, []).append(made)
        return made

    def turn_on(self) -> Factor:
        """alice has a device."""
        secret = pyotp.random_base32()
        sealed = self.factors.sealed(Enrolment("totp", "phone", "", secret), 1)
        self.device = pyotp.TOTP(secret)
        return self.add_factor("totp", "phone", "", sealed)

    def code(self, later_s: float = 0.0) -> str:
        return str(self.device.at(int(self.now + later_s)))

    def wrong_code(self) -> str:
        right = {self.code(steps * 30.0) for steps in (-2, -1, 0, 1, 2)}
        return next(f"{each:06}" for each in range(10) if f"{each:06}" not in right)

    def half_sign_in(self, wanted: str = "") -> Reply:
        form = {
            "csrf": self.ask("/sign-in").csrf,
            "name": "alice",
            "password": PASSWORD,
            "next": wanted,
        }
        return self.ask("/sign-in", form=form)

    def say(self, code: str, **how: Any) -> Reply:
        """The code page's form."""
        csrf = self.ask(CODE_PAGE).csrf or self.ask("/sign-in").csrf
        return self.ask(CODE_PAGE, form={"csrf": csrf, "code": code}, **how)

    def own_page(self, path: str, **form: str) -> Reply:
        csrf = self.ask(OWN_PAGE).csrf
        return self.ask(f"{OWN_PAGE}{path}", form={"csrf": csrf} | form)

    def is_signed_in(self) -> bool:
        return self.ask("/settings").status == 200

    def shown_codes(self, reply: Reply) -> list[str]:
        return re.findall(r"<li><code>([a-z2-9]{5}-[a-z2-9]{5})</code></li>", reply.text)
