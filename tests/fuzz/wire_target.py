"""`mailnode.wire`, and what else reads octets cut anywhere, held against reading line by line."""

from __future__ import annotations

import io
import re

from mailnode.pop3.body import FileBody, TopCut
from mailnode.wire import (
    ChunkReader,
    DotReader,
    DotWriter,
    head_of,
    header_fields,
    header_of,
    stuff,
)
from tests.fuzz.client import Wrong
from tests.fuzz.pop3_model import on_the_wire, top_of
from tests.fuzz.script import Script


def run(data: bytes) -> None:
    """Give an input's packets to every reader and writer.

    The setting `m` mends bare line feeds; the marks of a script only cut.

    Raises:
        Wrong: one of them reads or writes what its oracle doesn't.
    """
    script = Script.read(data)
    packets = [item for item in script.items if isinstance(item, bytes)]
    whole, mend = b"".join(packets), "m" in script.settings
    _dot_reader([*packets, b"\r\n.", b"\r\nREST"], mend)
    _dot_reader(packets, mend)
    _chunk_reader(packets, mend)
    _writer(packets)
    _top(packets, len(script.settings))
    _file(whole, max(1, len(packets[0])) if packets else 1)
    _header(whole)


def _same(what: str, found: object, wanted: object, given: object) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found!r}, not {wanted!r}, of {given!r}")


def _facts(octets: bytes, mend: bool) -> tuple[bytes, bool, bool]:
    """(as it comes out, whether a bare CR stood in it, a bare LF)."""
    others = octets.replace(b"\r\n", b"")
    if mend and b"\n" in others:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return octets, b"\r" in others, b"\n" in others


def _dot_reader(packets: list[bytes], mend: bool) -> None:
    reader, out, ended, before = DotReader(mend_bare_lf=mend), b"", False, b""
    given = 0
    for at, packet in enumerate(packets):
        given += len(packet)
        piece, ended = reader.feed(packet)
        if before.endswith(b"\r") and piece.startswith(b"\n"):
            raise Wrong(f"a CRLF is cut in two: {packets!r}")
        out, before = out + piece, piece or before
        if ended:
            reader.rest += b"".join(packets[at + 1 :])
            break
    stream = b"".join(packets)
    body, lines = b"", stream.split(b"\r\n")
    over = b"." in lines[:-1]
    if over:
        at = lines.index(b".")
        body = b"".join(line[line[:1] == b"." :] + b"\r\n" for line in lines[:at])
        _same("rest", reader.rest, b"\r\n".join(lines[at + 1 :]), packets)
    _same("ended", ended, over, packets)
    if over:
        wanted, bare_cr, bare_lf = _facts(body, mend)
        _same("body", out, wanted, packets)
        _same("bare", (reader.bare_cr, reader.bare_lf), (bare_cr, bare_lf), packets)
        _same("dot lines", reader.dot_lines, (b"\r\n" + wanted).count(b"\r\n."), packets)
        _same("size", reader.size_octets, len(wanted), packets)
    elif not mend and not b"".join(lines[-1:]).startswith(b"."):
        stuffed = sum(line[:1] == b"." for line in lines)
        if given - len(out) - stuffed > 5:
            raise Wrong(f"{given - len(out)} octets are held back of {packets!r}")


def _chunk_reader(packets: list[bytes], mend: bool) -> None:
    reader, out = ChunkReader(mend_bare_lf=mend), b""
    for packet in packets:
        out += reader.feed(packet)
    out += reader.end()
    octets = b"".join(packets)
    if octets and not octets.endswith(b"\n" if mend else b"\r\n"):
        octets += b"\r\n"
    wanted, bare_cr, bare_lf = _facts(octets, mend)
    _same("chunks", out, wanted, packets)
    _same("bare", (reader.bare_cr, reader.bare_lf), (bare_cr, bare_lf), packets)
    _same("dot lines", reader.dot_lines, (b"\r\n" + wanted).count(b"\r\n."), packets)
    _same("size", reader.size_octets, len(wanted), packets)


def _writer(packets: list[bytes]) -> None:
    octets, writer = b"".join(packets), DotWriter()
    wanted = on_the_wire(octets)
    _same("stuffed", stuff(octets), wanted, packets)
    _same("written", b"".join(map(writer.feed, packets)) + writer.end(), wanted, packets)


def _top(packets: list[bytes], lines: int) -> None:
    octets, cut, out = b"".join(packets), TopCut(lines), b""
    for packet in packets:
        if not cut.done:
            out += cut.feed(packet)
    wanted = top_of(octets, lines)
    _same("cut", out, wanted, (packets, lines))
    _same("head", head_of(octets, lines), wanted, (packets, lines))


def _file(octets: bytes, count: int) -> None:
    file, out = FileBody(io.BytesIO(octets)), b""
    while chunk := file.read(count):
        out += chunk
    _same("lines", out, re.sub(rb"\r?\n", b"\r\n", octets), (octets, count))


def _header(octets: bytes) -> None:
    wanted = b""
    for line in octets.split(b"\r\n")[: None if octets.endswith(b"\r\n") else -1]:
        if not line:
            break
        wanted += line + b"\r\n"
    else:
        wanted = octets
    _same("header", header_of(octets), wanted, octets)
    for name, value in header_fields(wanted):
        if not re.fullmatch(rb"[!-9;-~]+", name) or name != name.lower() or b"\r\n" in value:
            raise Wrong(f"{name!r}: {value!r} is a field of {octets!r}")
