"""Flipped, zeroed, cut and missing pages and blobs: verify names them, the rest is served, and
`mailnode repair` keeps all that can be read.

24 damages, in each kind of page by turns; DAMAGES=500 for more, DAMAGE_SEED for others.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.faults.damage import Store, serve, suffer

DAMAGES = int(os.environ.get("DAMAGES", "24"))
SEED = int(os.environ.get("DAMAGE_SEED", "1"))
MAILS = 90

pytestmark = pytest.mark.timeout(120 + DAMAGES)


class DamageTests(TestCase):
    timeout = 120 + DAMAGES

    async def test_every_damage_is_named_and_all_that_can_be_read_is_kept(self) -> None:
        folder = Path(self.mktemp())
        store = Store.make(folder / "whole", MAILS, SEED)
        copy = folder / "served"
        shutil.copytree(store.folder, copy)
        store.copies, refused = await serve(copy, reactor)
        self.assertEqual(refused, [])
        self.assertGreater(len(store.copies), MAILS)
        wrong, told = list[str](), Counter[str]()
        for number, damage in enumerate(islice(store.damages(random.Random(SEED)), DAMAGES)):
            place = folder / f"damage-{number}"
            outcome = await suffer(store, damage, place, reactor)
            told["named"] += bool(outcome.faults)
            told["kept"] += len(outcome.after)
            told["harmless"] += outcome.after == store.copies
            kind = store.kinds.get(damage.file, {}).get(damage.page, "")
            wrong += [f"{number} {damage} in {kind}: {each}" for each in outcome.wrong]
            if not outcome.wrong:
                shutil.rmtree(place)
        print(f"{DAMAGES} damages: {dict(told)}, {len(wrong)} wrong", file=sys.stderr)
        self.assertEqual(wrong[:20], [])
