"""An address that a Python function answers for.

Put this folder on PYTHONPATH and name the mailboxes in the settings:

    [plugins]
    delivery = "tickets:mailboxes"

    PYTHONPATH=examples TICKETS=/tmp/tickets.jsonl twistd -n mailnode --config mailnode.toml

A mail to tickets@example.test is then a line in that file. All other addresses go the usual
way. `mailboxes` is an `IMessageDeliveryFactory` around the node's own: see
mailnode/smtp/functions.py for one that is written out.
"""

from __future__ import annotations

import json
import os
from email.message import EmailMessage
from pathlib import Path

from mailnode.errors import Refused
from mailnode.model import Envelope
from mailnode.smtp.functions import FunctionMailboxes

mailboxes = FunctionMailboxes()


@mailboxes.at("tickets@example.test")
def open_ticket(mail: EmailMessage, envelope: Envelope) -> None:
    """Called in a thread, so it may block. The client gets 250 after it has returned.

    What it raises is temporary (451), and the client tries again; a `Refused` is final (550).
    """
    if not mail["Subject"]:
        raise Refused("A ticket needs a subject")
    body = mail.get_body(preferencelist=("plain",))
    ticket = {
        "id": envelope.mail_id,
        "from": str(envelope.sender or ""),
        "subject": mail["Subject"],
        "text": body.get_content() if body else "",
    }
    with Path(os.environ["TICKETS"]).open("a") as file:
        file.write(json.dumps(ticket) + "\n")


@mailboxes.at("*@echo.example")
async def log_it(mail: EmailMessage, envelope: Envelope) -> None:
    """An `async def` runs on the reactor: it may await Deferreds, and must not block.

    `*@domain` is each address of that domain; it need not stand in users.db.
    """
    print(f"{envelope.recipients[0].address} got {mail['Subject']!r}")
