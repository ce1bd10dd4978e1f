"""Where a page of a list begins: an opaque cursor, for one list alone."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mailnode.web.api.problems import Fault, Faulty
from mailnode.web.api.schemas import MOST_WHOLE, Schema, text, whole

MOST_ITEMS = 200

LIMIT = whole("Most items of the page.", 1, MOST_ITEMS, default=50)
CURSOR = text("Of the page before: where this one begins.", most=200)
PAGING: dict[str, Schema] = {"limit": LIMIT, "cursor": CURSOR}


def cursor(of: str, place: int | None) -> str | None:
    """For the page that begins at a place of a list; None for no such page."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(f"{of}:{place}".encode()).decode().rstrip("=")


def place(of: str, said: str | None) -> int:
    """Where the page begins; 0 for the first.

    Raises:
        Faulty: it is no cursor of this list.
    """
    if said is None:
        return 0
    try:
        octets = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))
        whose, _, number = octets.decode("ascii").rpartition(":")
        found = int(number)
    except (ValueError, binascii.Error):
        whose, found = "", 0
    if whose != of or not 0 < found < MOST_WHOLE:
        raise Faulty([Fault("cursor", "is none of this list")])
    return found


def answer_page(items: list[Any], of: str, next_place: int | None) -> dict[str, Any]:
    return {"items": items, "cursor": cursor(of, next_place)}
