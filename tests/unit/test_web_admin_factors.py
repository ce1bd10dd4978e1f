"""An administrator turns off the second factors of somebody who has lost them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailnode.events import Event, FactorRemoved
from mailnode.store.factors import Factor
from mailnode.web.pages.admin_factors import AdminFactors
from mailnode.web.pages.factors import FactorDesk
from tests.unit.admin_case import AdminCase


class AdminFactorTests(AdminCase):
    def setUp(self) -> None:
        self.told: list[Event] = []
        super().setUp()
        for account_id in (1, 2):
            self.users.factors.add(account_id, "totp", "phone", "", b"s")
        self.take_up()

    @property
    def more_pages(self) -> Sequence[Any]:  # type: ignore[override]
        async def remove(account_id: int, factor_ids: Sequence[int]) -> list[Factor]:
            gone = self.users.factors.remove(account_id, factor_ids)
            self.take_up()
            return gone

        unused: Any = None
        desk = FactorDesk(
            add=unused,
            remove=remove,
            set_recovery=unused,
            recovery=unused,
            last_uses=unused,
            is_own=unused,
            tell=self.told.append,
        )
        pages = list(super().more_pages)
        return [*pages, AdminFactors(self.desk, desk, self.guests.end_sessions)]

    def remove(self, account_id: int, **form: str) -> Any:
        fields = {"csrf": self.csrf()} | form
        return self.ask(f"/admin/accounts/{account_id}/factors/remove", form=fields)

    def test_they_are_off_its_browsers_are_out_and_it_is_told(self) -> None:
        self.sign_in("bob")
        bobs = self.jar
        self.jar = {}
        self.sign_in()
        self.assertIn("On: phone", self.ask("/admin/accounts/2").text)
        self.assertEqual(303, self.remove(2).status)
        self.assertIn("Off. Its owner", self.ask("/admin/accounts/2").text)
        self.assertEqual([], self.users.factors.factors(2))
        (event,) = self.told
        self.assertEqual(FactorRemoved.name, event.name)
        told = event.detail["account"], event.detail["by"]
        self.assertEqual(("bob@example.test", "alice@example.test"), told)
        self.jar = bobs
        self.assertEqual(303, self.ask("/settings").status)

    def test_ones_own_need_a_code(self) -> None:
        self.sign_in()
        self.assertEqual(403, self.remove(1).status)
        self.assertEqual(1, len(self.users.factors.factors(1)))

    def test_nobody_else_may_and_no_page_of_a_stranger_s(self) -> None:
        self.sign_in("bob")
        self.assertEqual(403, self.remove(1).status)
        self.jar = {}
        self.sign_in()
        self.assertEqual(403, self.remove(2, csrf="x").status)
        self.assertEqual(404, self.remove(99).status)
        self.assertEqual(1, len(self.users.factors.factors(2)))
        self.assertEqual([], self.told)
