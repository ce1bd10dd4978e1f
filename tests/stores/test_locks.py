"""One session a maildrop, in the process and beyond it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.store.locks import MaildropLocks

OTHER = """
import sys
from pathlib import Path
from mailnode.store.locks import MaildropLocks
locks = MaildropLocks(Path(sys.argv[1]))
print(*[locks.acquire(int(number)) for number in sys.argv[2:]], flush=True)
sys.stdin.readline()
"""


class MaildropLockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.locks = MaildropLocks(self.folder)
        self.addCleanup(self.locks.close)

    def other_process(self, *account_ids: int) -> tuple[subprocess.Popen, str]:
        root = Path(__file__).resolve().parents[2]
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(self.folder.absolute()), *map(str, account_ids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        self.addCleanup(other.communicate)
        return other, other.stdout.readline().strip()

    def test_the_second_session_of_a_maildrop_is_refused_until_the_first_ends(self):
        self.assertEqual([self.locks.acquire(1), self.locks.acquire(1)], [True, False])
        self.locks.release(1)
        self.assertTrue(self.locks.acquire(1))

    def test_other_maildrops_are_free(self):
        self.assertEqual([self.locks.acquire(1), self.locks.acquire(2)], [True, True])
        self.locks.release(1)
        self.assertEqual([self.locks.acquire(1), self.locks.acquire(2)], [True, False])

    def test_another_process_sees_what_is_held(self):
        self.locks.acquire(1)
        _, answer = self.other_process(1, 2)
        self.assertEqual(answer, "False True")
        self.assertFalse(self.locks.acquire(2))

    def test_a_killed_process_frees_its_own(self):
        other, answer = self.other_process(1)
        self.assertEqual((answer, self.locks.acquire(1)), ("True", False))
        other.kill()
        other.wait()
        self.assertTrue(self.locks.acquire(1))

    def test_releasing_what_is_not_held_frees_nobody_elses(self):
        other, _ = self.other_process(1)
        self.locks.release(1)
        self.assertFalse(self.locks.acquire(1))
        other.kill()
