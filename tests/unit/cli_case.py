"""A node's folder to run the `mailnode` command in, and mail to put there."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.cli import main
from mailnode.events import Event
from mailnode.model import Client, Envelope, Message, Recipient, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.accounts import Accounts
from mailnode.store.journal import insert_events
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$c29tZWhhc2g"


class CommandCase(SynchronousTestCase):
    """Each test runs in an empty folder of its own, without settings of the machine."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        clean = {name: value for name, value in os.environ.items() if "MAILNODE" not in name}
        environment = patch.dict(os.environ, clean, clear=True)
        environment.start()
        self.addCleanup(environment.stop)

    def run_command(self, line: str, typed: str | bytes = "", exit_code: int = 0) -> Result:
        """Run one command line and check how it ends; no traceback ever shows."""
        result = CliRunner().invoke(main, shlex.split(line), input=typed)
        told = f"`mailnode {line}`: {result.output}{result.exception!r}"
        self.assertIsInstance(result.exception, SystemExit | None, told)
        self.assertEqual(result.exit_code, exit_code, told)
        if exit_code:
            self.assertNotIn("Traceback", result.output)
        return result

    def run_json(self, line: str, typed: str = "", exit_code: int = 0) -> Any:
        return json.loads(self.run_command(f"{line} --json", typed, exit_code).stdout)

    def refusal(self, line: str, exit_code: int, typed: str | bytes = "") -> str:
        """The one line on standard error of a command that fails."""
        result = self.run_command(line, typed, exit_code)
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        return lines[0]

    def make_accounts(self, *addresses: str, **facts: Any) -> None:
        accounts = Accounts.open(self.folder / "users.db", create=True, data=self.folder / "var")
        try:
            known = {domain.name for domain in accounts.domains()}
            for address in map(parse_address, addresses):
                if address.domain not in known:
                    accounts.add_domain(address.domain)
                    known.add(address.domain)
                accounts.add_account(address, HASH, **facts)
        finally:
            accounts.close()

    def file_mail(self, *mailboxes: str, **facts: Any) -> str:
        """File a mail into these mailboxes as the node would; return its id."""
        accounts = Accounts.open(self.folder / "users.db")
        try:
            recipients = tuple(
                Recipient(
                    account.address,
                    account.id,
                    str(account.address),
                    judgements=facts.get("own", {}).get(account.id, ()),
                )
                for account in map(accounts.account, mailboxes)
            )
        finally:
            accounts.close()
        mail_id = new_mail_id()
        sender = facts.get("sender", "shop@example.net")
        envelope = Envelope(
            mail_id=mail_id,
            sender=parse_address(sender) if sender else None,
            recipients=recipients,
            client=facts.get("client", Client("192.0.2.7", 4711, "mx.example.net", "ESMTP")),
            received_at=facts.get("received_at", time.time()),
        )
        body = facts.get("body", b"Subject: x\r\n\r\nhello\r\n")
        message = Message(
            prefix=facts.get("prefix", b"Received: here\r\n"),
            body=body,
            size_octets=len(body),
            digest=b"\0" * 32,
            subject=facts.get("subject", "Your order"),
            dialog=facts.get("dialog", ""),
            judgements=facts.get("judgements", ()),
        )
        self.write_mail(lambda connection: accept_mails(connection, [(envelope, message)]))
        return mail_id

    def keep_events(self, *events: Event) -> None:
        self.write_mail(lambda connection: insert_events(connection, events))

    def write_mail(self, work: Any) -> None:
        path = self.folder / "var" / "mail.db"
        if not path.exists():
            prepare(path)
        connection = connect(path)
        try:
            migrate(connection, schema_scripts())
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()


def words_of(lines: Sequence[dict[str, Any]]) -> str:
    return "\n".join(str(line["words"]) for line in lines)
