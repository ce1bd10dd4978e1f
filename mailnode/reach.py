"""What this process may reach: found out before a start stumbles over it."""

from __future__ import annotations

import os
from pathlib import Path


def barred_at(path: Path, mode: int) -> Path | None:
    """Where the way to `path` ends for this user: a folder that it may not enter, or itself.

    What isn't there yet must be such that it can be made.

    Args:
        mode: what it may do with the path, as `os.access` takes it.
    Returns:
        None where all is open.
    """
    path = path.absolute()
    for folder in reversed(path.parents):
        if folder.exists() and not os.access(folder, os.X_OK):
            return folder
    while not path.exists():
        path, mode = path.parent, os.W_OK | os.X_OK
    return None if os.access(path, mode) else path
