"""Mails of many strangers, signed, and the DNS that knows their domains.

The texts are those of the SpamAssassin project's collection (`spam_corpus`), a half of them
unwanted ones; so are those that both sides learn from, but no mail is among both. Each has a sender
and some 4 KiB, and is signed with a real RSA key of 2,048 bits. Every second mail is of a domain
that sent one before.

A run makes them once; they lie under BENCH_HOME.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mailnode.learning.features import likeness_of
from mailnode.learning.form import write_model
from mailnode.learning.model import NODE_BITS, UNWANTED, WANTED, Model
from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from tests.bench.spam_corpus import Sample, read_samples

MAILS = 24_000
KEYS = 100
OCTETS = 4096
LEARNED = 1000  # of each kind
SEED = 1
SELECTOR = "s2026"
FORM = 2  # of what lies under BENCH_HOME

_PLAIN = re.compile(rb"^content-type:[ \t]*text/(plain|html)", re.I | re.M)
_ENCODED = re.compile(rb"^content-transfer-encoding:[ \t]*(?:base64|quoted)", re.I | re.M)
_SUBJECT = re.compile(rb"^subject:[ \t]*([ -~]{1,120})", re.I | re.M)


@frozen
class Made:
    """What a run works with.

    Attributes:
        mails: as `smtpload -M` reads them.
        zone: as `judged_dns` reads it.
        model: that of mailnode's node.
        wanted, unwanted: folders of the mails that it has learned from, a file each.
    """

    mails: Path
    zone: Path
    model: Path
    wanted: Path
    unwanted: Path


def make(folder: Path) -> Made:
    """All of it; what is there already is left as it is."""
    made = Made(*(folder / name for name in ("mails", "zone.json", "model", "wanted", "unwanted")))
    done = folder / f"done-{FORM}"
    if done.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(SEED)
    samples = read_samples()
    chance.shuffle(samples)
    by_kind = [[each for each in samples if each.unwanted is kind] for kind in (False, True)]
    _write_learned(made, [each for kind in by_kind for each in kind[:LEARNED]])
    texts = [[text for each in kind[LEARNED:] if (text := _text(each))] for kind in by_kind]
    domains = _write_mails(made.mails, texts, _keys(folder), chance)
    made.zone.write_text(json.dumps(_zone(domains, _keys(folder))))
    done.touch()
    return made


def _write_learned(made: Made, learned: Sequence[Sample]) -> None:
    model = Model.empty(NODE_BITS)
    for number, each in enumerate(learned):
        folder = made.unwanted if each.unwanted else made.wanted
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(each.written)
    # In turn: what is learned last weighs most.
    for each in sorted(learned, key=lambda each: each.written):
        model.train(likeness_of(each.written), UNWANTED if each.unwanted else WANTED)
    write_model(made.model, model)


def _text(sample: Sample) -> tuple[bytes, bytes, list[bytes]] | None:
    """(subject, kind, lines) of a mail of one part in plain octets; None for any other."""
    header, _, body = sample.written.partition(b"\r\n\r\n")
    kind = _PLAIN.search(header)
    if _ENCODED.search(header) or (kind is None and b"ontent-type" in header.lower()):
        return None
    plain = bytes(octet for octet in body if octet < 128 and (octet >= 32 or octet in b"\t\r\n"))
    lines = [part for line in plain.split(b"\r\n") for part in _cut(line)]
    subject = _SUBJECT.search(header)
    if sum(map(len, lines)) < 200:
        return None
    return subject[1] if subject else b"hello", kind[1].lower() if kind else b"plain", lines


def _cut(line: bytes) -> list[bytes]:
    """No line is longer than SMTP lets it be."""
    line = line.replace(b"\r", b"").replace(b"\n", b"")
    return [line[at : at + 900] for at in range(0, max(1, len(line)), 900)]


def _keys(folder: Path) -> list[DkimKey]:
    path = folder / "keys.json"
    if not path.exists():
        made = [make_private_key(RSA) for _ in range(KEYS)]
        kind = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_text(json.dumps([each.private_bytes(*kind).decode() for each in made]))
    pems = json.loads(path.read_text())
    return [DkimKey("", SELECTOR, RSA, load_pem_private_key(each.encode(), None)) for each in pems]  # type: ignore[arg-type]


def _write_mails(
    path: Path,
    texts: Sequence[Sequence[tuple[bytes, bytes, list[bytes]]]],
    keys: Sequence[DkimKey],
    chance: random.Random,
) -> int:
    """How many domains they are from."""
    domains = 0
    with path.open("wb") as file:
        for number in range(MAILS):
            if number % 2 == 0:
                domain, domains = domains, domains + 1
            else:
                domain = chance.randrange(domains)
            key = keys[domain % KEYS]
            mail = _mail(chance, texts[number // 2 % 2], number, name_of(domain))
            header, _, body = mail.partition(b"\r\n\r\n")
            hashed = BodyHash()
            hashed.feed(body)
            signer = DkimKey(name_of(domain), SELECTOR, RSA, key.private_key)
            signed = sign(header + b"\r\n", hashed.digest(), [signer], int(time.time())) + mail
            stuffed = signed.replace(b"\r\n.", b"\r\n..")
            who = f"{address_of(domain)} mx.{name_of(domain)} anna{number % 7}@{name_of(domain)}"
            file.write(f"{who} {len(stuffed)}\n".encode() + stuffed)
    return domains


def _mail(
    chance: random.Random,
    texts: Sequence[tuple[bytes, bytes, list[bytes]]],
    number: int,
    domain: str,
) -> bytes:
    """One of two texts of a kind, from a line by chance on, until there are enough octets."""
    subject, kind, lines = chance.choice(texts)
    begin = chance.randrange(len(lines) // 2 + 1) if kind == b"plain" else 0
    taken = lines[begin:]
    head = (
        f"From: Anna <anna{number % 7}@{domain}>\r\nTo: u{number % 100}@example.test\r\nSubject: "
    ).encode()
    head += (
        subject
        + (
            f"\r\nDate: Sat, 28 Nov 2026 03:00:00 +0000\r\nMessage-ID: <{number}@mx.{domain}>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: text/{kind.decode()}; charset=us-ascii\r\n\r\n"
        ).encode()
    )
    left, body = OCTETS - len(head) - 500, []  # a signature has so many
    while left > 0:
        for line in taken:
            body.append(line + b"\r\n")
            left -= len(body[-1])
            if left <= 0:
                break
        _, _, taken = chance.choice(texts)
    return head + b"".join(body)


# What the DNS has


def name_of(domain: int) -> str:
    return f"stranger{domain}.example"  # OpenDKIM's resolver knows better what is in .test


def address_of(domain: int) -> str:
    """Of a network that is for measurements (RFC 2544)."""
    return f"198.{18 + (domain >> 16)}.{domain >> 8 & 255}.{domain & 255}"


def _zone(domains: int, keys: Sequence[DkimKey]) -> dict[str, str]:
    """Values by "NAME KIND"."""
    records = [key_record(RSA, public_text(each.private_key)) for each in keys]
    return dict(entry for domain in range(domains) for entry in _entries(domain, records))


def _entries(domain: int, records: Sequence[str]) -> Iterator[tuple[str, str]]:
    name, address = name_of(domain), address_of(domain)
    turned = ".".join(reversed(address.split(".")))
    spf = f"v=spf1 ip4:203.0.113.0/24 ip4:{address} -all"
    if domain % 2:  # as who has his mail sent by a house for that
        yield f"_spf.{name} TXT", spf
        spf = f"v=spf1 include:_spf.{name} -all"
    yield f"{name} TXT", spf
    yield f"{SELECTOR}._domainkey.{name} TXT", records[domain % len(records)]
    yield f"_dmarc.{name} TXT", f"v=DMARC1; p=reject; rua=mailto:dmarc@{name}"
    yield f"mx.{name} A", address
    yield f"{turned}.in-addr.arpa PTR", f"mx.{name}"
