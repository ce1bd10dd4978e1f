"""What is noted of codes: each counts once and few are tried, in whatever process that is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from mailnode.store.beside import writing_beside
from mailnode.store.code_use import MOST_TRIES, TRIES_S, CodeUse
from mailnode.store.removal import drop_some, owners
from mailnode.store.verify import verify
from tests.stores.support import StoreCase

AT = 1_800_000_000.0
STEP = int(AT // 30)

_OTHER = """
import sys
from pathlib import Path
from mailnode.store.beside import writing_beside
from mailnode.store.code_use import take_step
path, step = Path(sys.argv[1]), int(sys.argv[2])
with writing_beside(path) as writer, writer.transaction() as connection:
    print(take_step(connection, (7, 1, step, 0.0, "")))
"""


class CodeUseCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = AT
        self.use = CodeUse(self.database, lambda: self.now)

    async def take(self, step: int, factor_id: int = 7) -> bool:
        return await self.use.take_step(factor_id, 1, step, "192.0.2.7")

    def in_another_process(self, step: int) -> bool:
        done = subprocess.run(
            [sys.executable, "-c", _OTHER, str(self.database.path), str(step)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.strip() == "True"


class StepTests(CodeUseCase):
    async def test_each_counts_once_and_none_before_it_any_more(self) -> None:
        self.assertTrue(await self.take(STEP))
        self.assertFalse(await self.take(STEP))
        self.assertFalse(await self.take(STEP - 1))
        self.assertTrue(await self.take(STEP + 1))
        self.assertTrue(await self.take(STEP, factor_id=8))
        self.assertEqual([], list(verify(self.data)))

    async def test_of_many_that_come_at_once_one_counts(self) -> None:
        asked = [Deferred.fromCoroutine(self.take(STEP)) for _ in range(20)]
        self.assertEqual(1, sum(await gatherResults(asked)))

    async def test_one_that_was_taken_in_another_process_counts_no_more_here_nor_back(self) -> None:
        self.assertTrue(self.in_another_process(STEP))
        self.assertFalse(await self.take(STEP))
        self.assertTrue(await self.take(STEP + 1))
        self.assertFalse(self.in_another_process(STEP + 1))

    async def test_it_is_remembered_when_the_node_starts_anew(self) -> None:
        self.assertTrue(await self.take(STEP))
        await self.reopen_store()
        self.use = CodeUse(self.database, lambda: self.now)
        self.assertFalse(await self.take(STEP))

    async def test_its_last_use_is_told_with_where_from(self) -> None:
        await self.take(STEP)
        uses = await self.use.last_uses(1)
        self.assertEqual((AT, "192.0.2.7"), (uses[7].at, uses[7].client))
        self.assertEqual({}, await self.use.last_uses(2))


class TryTests(CodeUseCase):
    async def tried(self, account_id: int = 1) -> bool:
        return await self.use.count_try(account_id)

    async def test_after_so_many_none_is_looked_at_until_a_while_is_over(self) -> None:
        told: list[Any] = [await self.tried() for _ in range(MOST_TRIES + 2)]
        self.assertEqual([True] * MOST_TRIES + [False] * 2, told)
        self.assertTrue(await self.tried(2))
        self.now += TRIES_S - 1
        self.assertFalse(await self.tried())
        self.now += 1
        self.assertTrue(await self.tried())

    async def test_a_right_one_forgets_them(self) -> None:
        for _ in range(MOST_TRIES):
            await self.tried()
        await self.use.forget_tries(1)
        self.assertTrue(await self.tried())

    async def test_many_that_come_at_once_are_counted_each(self) -> None:
        asked = [Deferred.fromCoroutine(self.tried()) for _ in range(30)]
        self.assertEqual(MOST_TRIES, sum(await gatherResults(asked)))

    async def test_a_clock_that_was_set_back_keeps_nobody_out_for_long(self) -> None:
        for _ in range(MOST_TRIES + 1):
            await self.tried()
        self.now -= 86400
        self.assertTrue(await self.tried())

    async def test_what_is_noted_goes_with_its_account(self) -> None:
        await self.take(STEP)
        await self.tried()
        with writing_beside(self.database.path) as writer, writer.transaction() as connection:
            self.assertEqual([1], owners(connection))
            drop_some(connection, 1)
            self.assertEqual([], owners(connection))
