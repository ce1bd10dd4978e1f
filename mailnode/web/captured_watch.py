"""Who wants to hear that mail was captured, or that some was deleted, whichever process did it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from mailnode.background import background
from mailnode.errors import MailError

if TYPE_CHECKING:
    from mailnode.store.captured import CapturedMails

LOOK_S = 1.0

Hear = Callable[[str], object]


@define(eq=False)
class CapturedWatch:
    """Tells listeners the mark of what is captured now, and of each change.

    Other processes ring no bell for it: it is looked at, while somebody listens.
    """

    captured: CapturedMails
    clock: IReactorTime
    _heard_by: list[Hear] = field(factory=list, init=False)
    _known: str = field(default="", init=False)
    _due: Any = field(default=None, init=False)

    def listen(self, hear: Hear) -> Callable[[], None]:
        """`hear` is called with the mark soon, and when it is another, until what this gives is.

        It must be quick, and raise nothing.
        """
        self._heard_by.append(hear)
        if len(self._heard_by) == 1:
            self._known = ""
            self._due = self.clock.callLater(0, self._look)
        elif self._known:
            hear(self._known)

        def stop() -> None:
            if hear in self._heard_by:
                self._heard_by.remove(hear)
            if not self._heard_by and self._due is not None:
                self._due.cancel()
                self._due = None

        return stop

    def _look(self) -> None:
        self._due = None
        background(self._compare(), "looking for captured mail")

    async def _compare(self) -> None:
        try:
            mark = (await self.captured.level()).mark
            if mark != self._known:
                self._known = mark
                for hear in list(self._heard_by):
                    hear(mark)
        except MailError:
            pass  # who is busy or broken now is asked again
        finally:
            if self._heard_by and self._due is None:
                self._due = self.clock.callLater(LOOK_S, self._look)
