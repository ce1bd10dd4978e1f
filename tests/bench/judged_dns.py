"""A name server that answers at once: what it can say is made beforehand.

    python -m tests.bench.judged_dns ADDRESS PORT zone.json

The file has values by "NAME KIND", of A, PTR and TXT. A name that has others only has no data; any
other is none. All of it may be kept for five minutes. It prints a line when it listens.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

KINDS = {"A": 1, "PTR": 12, "TXT": 16}
TTL = (300).to_bytes(4, "big")
_POINTER = b"\xc0\x0c"  # to the question's name
_SOA = b"\x00\x00\x06\x00\x01" + TTL + b"\x00\x16\x00\x00" + TTL * 5
_OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

Key = tuple[bytes, bytes]  # a name as it is asked for, and the kind


def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(each)]) + each.encode() for each in name.split(".")) + b"\0"


def wire_record(kind: str, value: str) -> bytes:
    if kind == "A":
        data = socket.inet_aton(value)
    elif kind == "PTR":
        data = wire_name(value)
    else:
        octets = value.encode()
        pieces = [octets[at : at + 255] for at in range(0, len(octets), 255)]
        data = b"".join(bytes([len(each)]) + each for each in pieces)
    head = _POINTER + KINDS[kind].to_bytes(2, "big") + b"\x00\x01" + TTL
    return head + len(data).to_bytes(2, "big") + data


def wire_zone(zone: dict[str, str]) -> tuple[dict[Key, bytes], set[bytes]]:
    """The records by what is asked, and the names that there are."""
    records: dict[Key, bytes] = {}
    for entry, value in zone.items():
        name, kind = entry.split()
        records[wire_name(name), KINDS[kind].to_bytes(2, "big")] = wire_record(kind, value)
    return records, {name for name, _ in records}


def answer(query: bytes, records: dict[Key, bytes], names: set[bytes]) -> bytes:
    """What is said to a query of one question."""
    end = query.index(0, 12) + 1
    name, kind, question = query[12:end].lower(), query[end : end + 2], query[12 : end + 4]
    extra = _OPT if query[10:12] != b"\0\0" else b""
    counts = (b"\0\1", b"\0\0", b"\0\1" if extra else b"\0\0")
    record = records.get((name, kind))
    if record is not None:
        flags, counts = b"\x85\x80", (b"\0\1", *counts[1:])
    else:
        record = _SOA
        flags, counts = b"\x85\x80" if name in names else b"\x85\x83", (b"\0\0", b"\0\1", counts[2])
    return query[:2] + flags + b"\0\1" + b"".join(counts) + question + record + extra


def main() -> None:
    address, port, path = sys.argv[1:]
    records, names = wire_zone(json.loads(Path(path).read_text()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        listening.bind((address, int(port)))
        print("listening", flush=True)
        while True:
            query, who = listening.recvfrom(1500)
            listening.sendto(answer(query, records, names), who)


if __name__ == "__main__":
    main()
