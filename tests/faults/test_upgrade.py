"""An upgrade and a rollback whose power is cut at any moment lose nothing.

40 cuts; UPGRADECUTS=500 for more, UPGRADECUT_SEED for other moments and another run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults import upgrading

CUTS = int(os.environ.get("UPGRADECUTS", "40"))
SEED = int(os.environ.get("UPGRADECUT_SEED", "1"))

pytestmark = pytest.mark.timeout(120 + CUTS)


class UpgradeCutTests(SynchronousTestCase):
    timeout = 120 + CUTS

    def test_mail_of_before_and_since_is_there_whenever_the_power_is_cut(self) -> None:
        steps, faults = upgrading.run(Path(self.mktemp()), SEED, CUTS)
        print(f"{CUTS} power cuts in {steps} steps: {len(faults)} faults", file=sys.stderr)
        self.assertEqual(faults[:20], [])
        self.assertGreater(steps, 100, "the program did next to nothing")
