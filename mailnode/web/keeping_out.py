"""Who keeps others from signing in, as pages and the API know it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mailnode.audited import Actor
    from mailnode.store.guard import Ban, Block


class KeepingOut(Protocol):
    """`guarding.Guard`."""

    def kept_out(self) -> tuple[list[Ban], list[Block]]: ...
    def ban(
        self, network: str, for_s: float | None, reason: str, actor: Actor
    ) -> Awaitable[Ban]: ...
    def lift(self, network: str, actor: Actor) -> Awaitable[None]: ...
