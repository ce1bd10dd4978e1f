"""The octets of a stored mail as they are found, and what stands in the place of lost ones."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from email.message import EmailMessage

from attrs import frozen

from mailnode.mime import WRITTEN

MARK = "X-Mailnode-Damaged"
PIECE_OCTETS = 1 << 20


@frozen
class Measured:
    """Octets as they are.

    Attributes:
        dots: lines that begin with one.
    """

    size: int = 0
    digest: bytes = b""
    dots: int = 0


def measure(pieces: Iterable[bytes]) -> Measured:
    """How many octets, their digest, and lines that begin with a dot."""
    seen, total, dots, tail = hashlib.sha256(), 0, 0, b"\r\n"
    for piece in pieces:
        seen.update(piece)
        total += len(piece)
        dots += (tail + piece).count(b"\r\n.")
        tail = (tail + piece)[-2:]
    return Measured(total, seen.digest(), dots)


def note_of(mail_id: str, sender: str, subject: str, received_at: float) -> bytes:
    """A mail that tells its reader which one is lost."""
    when = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(received_at))
    note = EmailMessage(policy=WRITTEN)
    note["From"] = "mailnode <postmaster@localhost>"
    note["Subject"] = "A mail that was lost" + (f": {_line(subject)}" if subject else "")
    note["Date"] = when
    note.set_content(
        f"The storage of this server was damaged, and a mail could not be read any more.\n\n"
        f"From:     {_line(sender) or 'unknown'}\nSubject:  {_line(subject) or 'unknown'}\n"
        f"Came at:  {when}\nMail id:  {mail_id}\n\nAsk its sender to send it again.\n"
    )
    return note.as_bytes()


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
