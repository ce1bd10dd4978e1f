"""The audit stream of a house, as its web asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailnode.store.audit_search import Wanted, find_lines

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.store.audit_lines import Line

Find = Callable[[Mapping[str, Any], int, int], Awaitable[tuple[Sequence["Line"], int]]]


def find_in_audit(house: House) -> Find:
    """(what is wanted, by the names of `Wanted`, before which line, how many) to lines, the newest
    first, and where the next piece begins."""

    async def find(known: Mapping[str, Any], before: int, limit: int) -> tuple[list[Line], int]:
        house.bell.ring("journal")  # other processes write what they have in hand
        await house.audit.flush()

        def look() -> tuple[list[Line], int]:
            return find_lines(house.config.data_path, Wanted(**known), limit, before=before)

        found: tuple[list[Line], int] = await house._in_thread(look)
        return found

    return find
