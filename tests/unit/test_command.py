"""What the command begins with."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode import command


class Pressed:
    """Ctrl-C is, while the commands are read."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "mailnode.cli":
            raise KeyboardInterrupt


class BeginTests(SynchronousTestCase):
    def test_who_presses_ctrl_c_while_it_begins_gets_one_line_and_the_usual_code(self) -> None:
        known = {name: each for name, each in sys.modules.items() if name != "mailnode.cli"}
        self.patch(sys, "modules", known)
        self.patch(sys, "meta_path", [Pressed(), *sys.meta_path])
        for run in (command.main, command.sendmail_program):
            said = io.StringIO()
            self.patch(sys, "stderr", said)
            ended = self.assertRaises(SystemExit, run)
            self.assertEqual(130, ended.code)
            self.assertEqual("\nmailnode: stopped, nothing was changed\n", said.getvalue())

    def test_it_is_the_command(self) -> None:
        for program, words in (
            ("main", "Usage: mailnode [OPTIONS]"),
            ("sendmail_program", "Usage: mailnode sendmail"),
        ):
            code = f"from mailnode.command import {program} as run; run()"
            done = subprocess.run(
                [sys.executable, "-c", code, "--help"], capture_output=True, text=True
            )
            self.assertEqual((0, True), (done.returncode, words in done.stdout), done.stderr)
