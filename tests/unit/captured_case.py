"""A node with captured mail: mail to others that never leaves, as an administrator looks at it."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage
from typing import Any

from mailnode.addresses import parse_address
from mailnode.model import Client, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.store.queue_desk import QueueFilter, list_rows
from tests.unit.mail_case import MailCase

LIST = "/admin/captured"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def a_rich_mail() -> bytes:
    """With text, HTML, a picture in it and one from outside, and two files."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "Shop <shop@example.test>", "Dave <dave@far.example>"
    mail["Cc"], mail["Subject"] = "erin@far.example", "Your order"
    mail.set_content("Plain words\n")
    mail.add_alternative(
        '<p>Rich words <img src="cid:p@x"><img src="https://far.example/x.png" width=90></p>',
        subtype="html",
    )
    page: Any = mail.get_payload()[1]
    page.add_related(PNG, "image", "png", cid="<p@x>")
    mail.add_attachment(b"%PDF-1.4", "application", "pdf", filename="bill.pdf")
    mail.add_attachment("<script>x</script>", subtype="html", filename="page.html")
    return bytes(mail).replace(b"\n", b"\r\n")


def hold(row_id: int) -> Any:
    return lambda each: each.execute("UPDATE queue SET state = 'held' WHERE id = ?", (row_id,))


class CapturedCase(MailCase):
    async def begin(self, **more: object) -> None:
        await super().begin(**more)
        self.sessions["nobody"] = ("x" * 43, "x" * 43)

    async def capture(
        self,
        *to: str,
        raw: bytes = b"Subject: x\r\n\r\nHello.\r\n",
        subject: str = "",
        sender: str = "shop@example.test",
        here: str = "",
        held: bool = False,
    ) -> list[int]:
        """A mail to these elsewhere, and to an account `here`; the rows, in their order.

        Args:
            held: it isn't captured: it waits for an administrator to let it go.
        """
        remotes = tuple(Remote(parse_address(each), captured=True) for each in to)
        address = f"{here}@example.test"
        local = (Recipient(parse_address(address), self.ids[here], address),) if here else ()
        envelope = Envelope(
            new_mail_id(),
            parse_address(sender) if sender else None,
            local,
            Client(host="192.0.2.1"),
            remotes=remotes,
        )
        digest = hashlib.sha256(raw).digest()
        message = Message(b"Received: by here\r\n", raw, len(raw), digest, subject=subject)
        await self.done(self.node_.messages.file_message(envelope, message))
        rows = await self.rows(mail_ids=(envelope.mail_id,))
        if held:
            await self.done(self.node_.database.transact("hold", hold(rows[0].id)))
        return [row.id for row in rows]

    async def rows(self, **wanted: Any) -> list[Any]:
        found: list[Any] = await self.done(
            self.node_.database.read(lambda each: list_rows(each, QueueFilter(**wanted), 0))
        )
        return found
