"""Every transcript in this folder, replayed whole, cut at random octets, and octet by octet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.dialogs.house import NodeHouse
from tests.dialogs.replay import Cut, Dialog, at_random, byte_by_byte, replay, whole

FOLDER = Path(__file__).parent


class DialogTests(TestCase):  # type: ignore[misc]
    """The tests are made from the transcripts, below."""

    timeout = 60

    async def hold(self, dialog: Dialog, cut: Cut) -> None:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs in a test
        house = NodeHouse(folder, dialog.headers)
        await house.start()
        try:
            await replay(dialog, house, cut)
        finally:
            await house.stop()


def _test(path: Path, cut: Callable[[], Cut]) -> Any:
    def test(self: DialogTests) -> Deferred[None]:
        return Deferred.fromCoroutine(self.hold(Dialog.read(path), cut()))

    return test


for _path in sorted(FOLDER.glob("*.txt")):
    for _name, _cut in (
        ("whole", lambda: whole),
        ("cut_at_random", lambda seed=_path.stem: at_random(seed)),
        ("octet_by_octet", lambda: byte_by_byte),
    ):
        setattr(DialogTests, f"test_{_path.stem}_{_name}", _test(_path, _cut))
