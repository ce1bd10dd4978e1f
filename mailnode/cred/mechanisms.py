"""The SASL mechanisms that there are, by their names, for both servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.scram import ScramBook, ScramMechanism


def mechanisms(
    book: ScramBook | None, channel_binding: bool = True
) -> dict[bytes, Callable[[], Any]]:
    """What makes the credentials of each.

    Args:
        book: SCRAM's keys; None where passwords of users.db count for nobody (`--auth`).
        channel_binding: there are those that bind, too.
    """
    found: dict[bytes, Callable[[], Any]] = {b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials}
    if book is not None:
        found[b"SCRAM-SHA-256"] = ScramMechanism(book, plus_is_offered=channel_binding)
        if channel_binding:
            found[b"SCRAM-SHA-256-PLUS"] = ScramMechanism(book, binds_channel=True)
    return found
