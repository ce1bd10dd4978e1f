"""`mailnode.workers.__main__`: what a worker's process does before it is one."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import os, subprocess
from mailnode.workers.__main__ import take_input

ours = take_input()
theirs = subprocess.run(["cat"], capture_output=True, check=True).stdout
print(theirs, os.read(ours, 99), os.get_inheritable(ours))
"""


class InputTests(SynchronousTestCase):
    def test_no_program_of_a_plug_in_reads_what_the_supervisor_says(self) -> None:
        said = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=b"stop",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertEqual(b"b'' b'stop' False\n", said.stdout)
