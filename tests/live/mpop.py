"""mpop, a POP3 client, as its file has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.live.node import environment

TURNED_AWAY = 77


def is_let_in(folder: Path, *account: str) -> bool:
    """Whether mpop is let in; what it fetches stays there.

    Args:
        account: lines of its file: the port, who signs in and how.
    """
    rc = folder / "mpoprc"
    lines = ["account default", "host localhost", *account, f"delivery mbox {folder / 'mbox'}"]
    rc.write_text("\n".join([*lines, "keep on", f"uidls_file {folder / 'uidls'}", ""]))
    rc.chmod(0o600)
    done = subprocess.run(
        ["mpop", f"--file={rc}", "--quiet"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, TURNED_AWAY), done.stderr
    return done.returncode == 0
