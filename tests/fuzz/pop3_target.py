"""A whole POP3 session in memory, held against the model: `run(octets)` raises when it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mailnode import outgoing
from mailnode.errors import StoreBroken
from mailnode.pop3 import ahead, drop, sending
from tests.fakes_pop3 import HEAD
from tests.fuzz.client import Client, Planned, Wrong, logged, wire_for
from tests.fuzz.pop3_house import FIRST_UID, Pop3House
from tests.fuzz.pop3_model import Pop3Model
from tests.fuzz.script import Script

SIGN_IN = b"USER alice\r\nPASS secret\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")


def run(data: bytes) -> None:
    """Hold the session that an input describes.

    Raises:
        Wrong: the server did what RFC 1939 or the promises of this project don't allow.
    """
    script = Script.read(data)
    if "A" in script.settings:
        script = Script(script.settings | {"l"}, (SIGN_IN, *script.items))
    settings = script.settings
    house = Pop3House(settings)
    house.clock.look_s = 0.003 if "S" in settings else 0.0
    errors = 3 if "e" in settings else 10
    wire = wire_for(settings)
    server = house.server(errors, object() if "t" in settings else None)
    client = Client(
        server=server,
        wire=wire,
        clock=house.clock,
        sweep=house.sessions.sweep,
        order=house.order,
        keeps=lambda longest: _weigh(server, house),
        pushy="P" in settings,
        bound=40_000,
    )
    logged.expected = (Planned, StoreBroken) if settings & set("xX") else (Planned,)
    with _small_buffers() if "o" in settings else nullcontext():
        client.hold(script)
    logged.expected = (Planned,)
    gone = any(mark == "q" for _, mark in client.happened)
    model = Pop3Model(
        settings=settings,
        stream=bytes(client.told),
        marks=[each for each in client.happened if each[1] not in "qQ"],
        handshakes=wire.handshakes,
        gone=gone,
        closed=client.closed_by_server,
        most_errors=errors,
        said=bytes(wire.said),
        mails=_as_served(house),
        sizes=[len(mail) + len(HEAD) * ("f" not in settings) for mail in house.mails],
    )
    model.check()
    _check_deleted(house, model)
    _check_left(house)


@contextmanager
def _small_buffers() -> Iterator[None]:
    """Little is written, read ahead and listed at once, so that little mails show it."""
    small = {
        (outgoing, "OUTPUT_OCTETS"): 100,
        (outgoing, "JOINED_OCTETS"): 60,
        (sending, "OUTPUT_OCTETS"): 100,
        (ahead, "CHUNK_OCTETS"): 150,
        (sending, "CHUNK_OCTETS"): 150,
        (sending, "SLICE_MAILS"): 4,
        (drop, "BATCH_MAILS"): 4,
        (drop, "BATCH_OCTETS"): 400,
        (drop, "AHEAD_OCTETS"): 250,
        (drop, "MOST_AHEAD_OCTETS"): 600,
    }
    usual = {(page, name): getattr(page, name) for page, name in small}
    try:
        for (page, name), value in small.items():
            setattr(page, name, value)
        yield
    finally:
        for (page, name), value in usual.items():
            setattr(page, name, value)


def _as_served(house: Pop3House) -> list[bytes]:
    if "f" in house.settings:
        return [_BARE_LF.sub(b"\r\n", mail) for mail in house.mails]
    return [HEAD + mail for mail in house.mails]


def _weigh(server: object, house: Pop3House) -> None:
    maildrop = getattr(server, "drop", None)
    if maildrop is not None and sum(at in maildrop.ahead for at in range(len(maildrop.sizes))) > 64:
        raise Wrong("too many mails are read ahead")
    if house.open_blobs > 1:
        raise Wrong("more than one blob is open")


def _check_deleted(house: Pop3House, model: Pop3Model) -> None:
    """What was marked when QUIT was answered +OK is gone, and nothing else."""
    if house.foreign is not None:
        if house.foreign.synced and not model.left:
            raise Wrong("a mailbox was synced without QUIT")
        return
    deleted = {uid - FIRST_UID for uid in house.deleted}
    allowed = [model.deleted] if model.deleted is not None else [set(), model.marked]
    if deleted not in allowed or len(house.deleted) != len(deleted):
        raise Wrong(f"{house.deleted} were deleted, not one of {allowed}")


def _check_left(house: Pop3House) -> None:
    if house.logins != house.logouts:
        raise Wrong(f"{house.logins} maildrops were opened, {house.logouts} ended")
    if house.locks.held - ({1} if "u" in house.settings else set()):
        raise Wrong("a maildrop is still locked")
    if len(house.sessions):
        raise Wrong("the session is still counted")
    if house.open_blobs:
        raise Wrong("a blob is left open")
    if house.clock.calls:
        raise Wrong(f"somebody still waits: {house.clock.calls[0]}")
