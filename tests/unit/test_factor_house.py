"""Codes by mail, as a node sends them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from mailnode.addresses import parse_address
from mailnode.errors import NothingLeaves
from mailnode.factor_house import second_factors
from mailnode.routes import Gear
from mailnode.service import Node
from tests.unit.node_case import NodeCase

ELSEWHERE = "bob@elsewhere.example"


class Posted(Exception):
    """The post office was asked."""


class PostOffice:
    async def begin(self, *_: object) -> Any:
        raise Posted


class CodesByMail(NodeCase):
    async def refused(self, node: Node, target: str) -> bool:
        account = node.directory.find(parse_address("bob@example.test"))
        assert account is not None
        factors = second_factors(node, PostOffice())  # type: ignore[arg-type]
        try:
            await self.done(Deferred.fromCoroutine(factors.enrol(account, "mail", "x", target)))
        except NothingLeaves as error:
            self.assertIn("sends no mail to that address", str(error))
            return True
        except Posted:
            return False
        raise AssertionError("neither")

    async def test_a_code_that_would_be_captured_is_refused_with_the_reason(self) -> None:
        accounts = self.add_accounts("bob", "carol")
        accounts.add_alias("me@example.test", ELSEWHERE)
        node = self.started()
        for target in (ELSEWHERE, "me@example.test"):
            self.assertTrue(await self.refused(node, target), target)
        self.assertFalse(await self.refused(node, "carol@example.test"))
        accounts.outside.set_gear(Gear("live"))
        await self.done(node.watch.changed())
        for target in (ELSEWHERE, "me@example.test"):
            self.assertFalse(await self.refused(node, target), target)
