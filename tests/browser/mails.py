"""Mail that is the same every time: what mailboxes hold when their pages are looked at."""

from __future__ import annotations

import time
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from attrs import frozen

from tests.live.node import command

# What a browser's clock says when pages are looked at.
NOW = datetime.fromisoformat("2026-03-06T14:30:00+00:00")
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cf"
    "c000000301010018dd8db00000000049454e44ae426082"
)
ORDER = (
    '<html><body style="font-family: Georgia, serif"><h1 style="color: #14532d">Your order</h1>'
    "<p>Thank you, <b>Bob</b>. It leaves us on Monday."
    ' <img src="https://shop.example/t.png" width=1 height=1>'
    ' <img src="https://shop.example/boat.png" alt="a boat"></p>'
    "<table border=1 cellpadding=6><tr><th align=left>What</th><th>How many</th><th>Price</th></tr>"
    "<tr><td>A boat, red</td><td>1</td><td>42.00</td></tr>"
    "<tr><td>Oars</td><td>2</td><td>9.50</td></tr></table>"
    '<p>Pay here: <a href="https://pay.evil.example/4711">https://bank.example/pay</a></p>'
    "</body></html>"
)
LONG = "A subject that goes on for longer than any window of a phone is wide, and then a little"
ALICE = "Alice <alice@example.test>"


@frozen
class Fixed:
    """A mail of an mbox.

    Attributes:
        came: when, in UTC; it says that it was sent then.
        status: what its reader did: R read, A answered, F flagged.
    """

    mail: EmailMessage
    came: str
    status: str = ""

    def octets(self) -> bytes:
        at = datetime.fromisoformat(f"{self.came}+00:00")
        self.mail["Date"] = format_datetime(at)
        sender = self.mail["From"].addresses[0].addr_spec
        line = f"From {sender} {time.asctime(at.timetuple())}\n"
        if "R" in self.status:
            line += "Status: RO\n"
        if told := self.status.replace("R", ""):
            line += f"X-Status: {told}\n"
        return line.encode() + self.mail.as_bytes() + b"\n"


def mail(
    number: int, who: str, subject: str, text: str, *, to: str = "bob@example.test", after: int = 0
) -> EmailMessage:
    """A mail of text.

    Args:
        number: which its Message-ID has.
        after: the number of the one that it answers.
    """
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = who, to, subject
    made["Message-ID"] = f"<{number}@mails.example>"
    if after:
        made["In-Reply-To"] = made["References"] = f"<{after}@mails.example>"
    made.set_content(text)
    return made


def of_bob() -> list[Fixed]:
    """The oldest first."""
    minutes = mail(1, "Ann Smith <ann@example.org>", "Minutes of Monday", "We met at nine.\n")
    minutes.add_attachment(b"%PDF-1.4\n", "application", "pdf", filename="minutes.pdf")
    minutes.add_attachment(PICTURE, "image", "png", filename="board.png")
    plans = mail(2, ALICE, "The kitchen", "When do we begin? See https://tiles.example/blue\n")
    build = mail(3, "Build <build@example.org>", "main is green again", "2,767 tests passed.\n")
    lunch = mail(4, "Zoë <zoe@example.org>", "Lunch?", "At one, by the harbour.\n")
    order = mail(5, "Shop <orders@shop.example>", "Your order 4711", "It has HTML.\n")
    order.add_alternative(ORDER, subtype="html")
    order.add_attachment(b"%PDF-1.4\n" * 9000, "application", "pdf", filename="invoice 4711.pdf")
    passed = mail(
        6, '"alice@example.test" <evil@far.example>', "Fwd: What they wrote", "See below.\n"
    )
    passed.add_attachment(mail(9, "x@far.example", "The one within", "Inner words.\n"))
    passed.add_attachment(b"PK\3\4", "application", "pdf", filename="report.pdf")
    again = mail(7, ALICE, "Re: The kitchen", "> On Friday.\n\nFriday is fine.\n", after=2)
    long = mail(8, "no-reply@notices.long-company-name.example", LONG, LONG * 9)
    return [
        Fixed(minutes, "2025-12-29T09:12:00", "RF"),
        Fixed(plans, "2026-03-03T17:40:00", "RA"),
        Fixed(build, "2026-03-04T02:15:00", "R"),
        Fixed(lunch, "2026-03-05T11:02:00"),
        Fixed(order, "2026-03-05T18:20:00"),
        Fixed(passed, "2026-03-06T08:05:00"),
        Fixed(again, "2026-03-06T09:47:00", "F"),
        Fixed(long, "2026-03-06T13:58:00"),
    ]


def of_dave() -> list[Fixed]:
    made = mail(20, "Ann <ann@example.org>", "To be thrown away", "x\n", to="dave@example.test")
    return [Fixed(made, "2026-03-05T11:02:00")]


def of_customers(domain: str) -> list[EmailMessage]:
    """What a program sends, which uses alice's account."""
    welcome = mail(31, ALICE, "Welcome on board", "Hello Ann.\n", to=f"ann@{domain}")
    code = mail(32, ALICE, "Your code is 4711", "4711\n", to=f"a.customer.with.a.name@{domain}")
    order = mail(33, ALICE, "Your order 4711", "It has HTML.\n", to=f"dave@{domain}")
    order.add_alternative(f"{ORDER}<p><img src='cid:board'></p>", subtype="html")
    order.get_payload()[1].add_related(PICTURE, "image", "png", cid="<board>")  # type: ignore[union-attr]
    order.add_attachment(b"%PDF-1.4\n" * 9000, "application", "pdf", filename="invoice 4711.pdf")
    return [welcome, code, order]


def bring_in(folder: Path, account: str, mails: list[Fixed]) -> None:
    """Into a mailbox of a node that doesn't run, as if they had come when they say."""
    file = folder / f"{account}.mbox"
    file.write_bytes(b"".join(each.octets() for each in mails))
    command(folder, "import", str(file), "--to", f"{account}@example.test", "--format", "mbox")
