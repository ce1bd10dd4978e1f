"""What every pytest call of this tree does first."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def somewhere_else(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in a temporary folder, as trial does, so that `mktemp` leaves nothing in the tree."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)
