"""The order of a folder's list: by time, or by uid where the index can't be asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailnode.errors import StoreBroken, StoreBusy, StoreFull
from mailnode.model import Standing

if TYPE_CHECKING:
    from mailnode.reading.summary import Summary
    from mailnode.store.folder_lists import Copy
    from mailnode.web.desk import Desk

NO_INDEX = (StoreBusy, StoreFull, StoreBroken)


async def list_page(
    desk: Desk,
    account_id: int,
    folder_id: int,
    *,
    before: Standing | None = None,
    after: Standing | None = None,
    limit: int,
) -> list[tuple[Copy, Standing]]:
    """As `Indexes.page` has it."""
    try:
        page = desk.indexes.page(account_id, folder_id, before=before, after=after, limit=limit)
        return list(await page)
    except NO_INDEX:
        copies = await desk.folders.page(
            account_id,
            folder_id,
            before=before.uid if before else 0,
            after=after.uid if after else 0,
            limit=limit,
        )
        return [(copy, _standing(copy)) for copy in copies]


async def neighbours(desk: Desk, account_id: int, copy: Copy) -> tuple[Copy | None, Copy | None]:
    """The next newer and the next older mail in the list that this one lies in."""
    try:
        newer, older = await desk.indexes.around(account_id, copy.folder_id, copy.uid)
    except NO_INDEX:
        page = partial(desk.folders.page, account_id, copy.folder_id, limit=1)
        after, before = await page(after=copy.uid), await page(before=copy.uid)
        return next(iter(after), None), next(iter(before), None)
    return newer and newer.copy, older and older.copy


async def summaries_of(desk: Desk, account_id: int, copies: list[Copy]) -> dict[int, Summary]:
    """What is known of these; nothing where the index can't be asked."""
    try:
        return await desk.indexes.summaries(account_id, [copy.message_id for copy in copies])
    except NO_INDEX:
        return {}


def _standing(copy: Copy) -> Standing:
    return Standing(int(copy.received_at * 1000), copy.uid)
