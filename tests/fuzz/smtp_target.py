"""A whole SMTP session in memory, held against the model: `run(octets)` raises when it is wrong."""

from __future__ import annotations

import hashlib
import re

from mailnode import dialog, outgoing
from mailnode.smtp.incoming import Incoming
from mailnode.smtp.takers import ChunkTaker
from tests.fuzz.client import Client, FuzzWire, Wrong, wire_for
from tests.fuzz.script import Script
from tests.fuzz.smtp_house import BODY_S, LARGE, SMALL, SmtpHouse
from tests.fuzz.smtp_model import SmtpModel, Taken
from tests.fuzz.smtp_replies import replies_of

_ACKNOWLEDGED = re.compile(rb"^250 2\.0\.0 Ok [0-9A-Z]{26}\r$", re.M)
SIGN_IN = b"EHLO before\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"


def run(data: bytes) -> None:
    """Hold the session that an input describes.

    Raises:
        Wrong: the server did what RFC 5321 or the promises of this project don't allow.
    """
    script = Script.read(data)
    has = script.settings.__contains__
    if has("A"):
        script = Script(script.settings - {"a"} | {"l"}, (SIGN_IN, *script.items))
        has = script.settings.__contains__
    house = SmtpHouse(script.settings)
    rules = SMALL if has("m") else LARGE
    errors = 3 if has("e") else 10
    wire = wire_for(script.settings)
    house.clock.look_s = 0.003 if has("S") else 0.0
    server = house.server(rules, not has("a"), object() if has("t") else None)
    server.most_errors, server.keep_dialog = errors, has("d")
    blob_over = 48 if has("b") else 40_000

    if not script.settings & {"f", "p"}:
        wire.hears = lambda data: _hears(house, wire, data)

    def keeps(longest: int) -> None:
        _weigh(server, blob_over + longest + 20_000, rules.recipients)

    client = Client(server, wire, house.clock, house.sessions.sweep, house.order, keeps, has("P"))
    usual, outgoing.OUTPUT_OCTETS = outgoing.OUTPUT_OCTETS, 100 if has("o") else 65536
    try:
        client.hold(script)
    finally:
        outgoing.OUTPUT_OCTETS = usual
    gone = any(mark == "q" for _, mark in client.happened)
    model = SmtpModel(
        settings=script.settings,
        stream=bytes(client.told),
        marks=[each for each in client.happened if each[1] not in "qQ"],
        replies=replies_of(_whole_replies(bytes(wire.said), gone)),
        handshakes=wire.handshakes,
        gone=gone,
        vague=client.took_s > BODY_S / 2,
        closed=client.closed_by_server,
        most_errors=errors,
        message_octets=rules.message_octets,
        most_recipients=rules.recipients,
        most_mails=rules.mails,
    )
    model.check()
    _check_filed(house, model, gone)
    _check_left(house)


def _whole_replies(said: bytes, gone: bool) -> bytes:
    return said[: said.rfind(b"\r\n") + 2] if gone else said


def _hears(house: SmtpHouse, wire: FuzzWire, data: bytes) -> None:
    """250 is said when the mail is in the store, and no moment before."""
    acknowledged = len(_ACKNOWLEDGED.findall(wire.said + data))
    if acknowledged > len(house.store.filed):
        wire.faults.append(f"{data!r} is said before the mail was filed")


def _weigh(server: object, most_octets: int, most_recipients: int) -> None:
    if len(getattr(server, "_to", None) or ()) > most_recipients:
        raise Wrong("more recipients are kept than one mail may have")
    if len(str(getattr(server, "_dialog", ""))) > dialog.SESSION_OCTETS + dialog.MAIL_OCTETS + 2048:
        raise Wrong("the dialog is kept without an end")
    body = getattr(server, "_body", None)
    if body is None:
        return
    octets = len(getattr(body.reader, "_held", b""))
    for taker in body.takers:
        holder = taker.message if isinstance(taker, ChunkTaker) else taker
        octets += len(holder._begin if isinstance(holder, Incoming) else b"".join(holder._pieces))
    if octets > most_octets:
        raise Wrong(f"{octets} octets of a body are kept in memory")


def _check_filed(house: SmtpHouse, model: SmtpModel, gone: bool) -> None:
    """What was answered 250 was filed, once, for those and with those octets; nothing else was."""
    if house.foreign is not None:
        _check_handed(house, model, gone)
        return
    ours = [each for each in model.taken if each.accounts]
    filed = house.store.filed
    if not len(ours) <= len(filed) <= len(ours) + gone:
        raise Wrong(f"{len(filed)} mails were filed, {len(ours)} were acknowledged")
    for taken, (envelope, message, octets) in zip(ours, filed, strict=False):
        ids = [each.account_id for each in envelope.recipients]
        found = [*ids, *(str(each.address) for each in envelope.remotes)]
        if set(found) != taken.accounts or len(found) != len(taken.accounts):
            raise Wrong(f"filed for {found}, not for {taken.accounts}")
        if octets != taken.octets:
            raise Wrong(f"{octets!r} were filed, {taken.octets!r} were sent")
        sender = str(envelope.sender) if envelope.sender else None
        if sender != taken.sender or envelope.mail_id.encode() != taken.mail_id:
            raise Wrong(f"{envelope} was filed, {taken} was acknowledged")
        dots = (b"\r\n" + octets).count(b"\r\n.")
        facts = (len(octets), hashlib.sha256(octets).digest(), dots)
        if (message.size_octets, message.digest, message.dot_lines) != facts:
            raise Wrong(f"{message} was filed with {octets!r}")
        if not _is_header(message.prefix):
            raise Wrong(f"no header: {message.prefix!r}")
    _check_functions(house, model.taken, gone)


def _is_header(prefix: bytes) -> bool:
    lines = prefix.split(b"\r\n")
    clean = all(octet == 9 or (octet >= 32 and octet != 127) for line in lines for octet in line)
    return prefix.startswith(b"Received: from ") and lines[-1] == b"" and clean


def _check_functions(house: SmtpHouse, taken: list[Taken], gone: bool) -> None:
    called = [name for name, _, _ in house.functions]
    for each in taken:
        for name in each.functions:
            if name not in called:
                raise Wrong(f"{name} was not called")
            called.remove(name)


def _check_handed(house: SmtpHouse, model: SmtpModel, gone: bool) -> None:
    assert house.foreign is not None
    ended = [message for message in house.foreign.made if message.ended]
    wanted = [taken.octets for taken in model.taken for _ in range(taken.messages)]
    if not gone and len(ended) != len(wanted):
        raise Wrong(f"{len(ended)} messages took a mail, {len(wanted)} were told so")
    for message, octets in zip(ended, wanted, strict=False):
        if message.lost:
            raise Wrong("a message that was taken was abandoned")
        lines = octets.split(b"\r\n")[:-1]
        if message.lines != [b"Received: by nobody", *lines]:
            raise Wrong(f"{message.lines!r} were handed over, {lines!r} were sent")


def _check_left(house: SmtpHouse) -> None:
    if house.logins != house.logouts:
        raise Wrong(f"{house.logins} avatars were made, {house.logouts} ended")
    if len(house.sessions):
        raise Wrong("the session is still counted")
    if house.blobs.open_ones or house.blobs.kept:
        raise Wrong("a blob is left over")
    if house.clock.calls:
        raise Wrong(f"somebody still waits: {house.clock.calls[0]}")
