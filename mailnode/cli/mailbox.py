"""`mailbox`: how much mail there is, and which."""

from __future__ import annotations

from typing import Any

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, require_mail
from mailnode.config import Config
from mailnode.store.accounts import Account
from mailnode.store.lists import Sums, account_sums, list_mails


@click.group(cls=NodeGroup, example="mailnode mailbox show carol@example.org")
def mailbox() -> None:
    """The mailboxes and the mail in them."""


@mailbox.command("list", cls=NodeCommand, example="mailnode mailbox list")
@click.pass_context
def mailbox_list(ctx: click.Context) -> None:
    """Show how much each mailbox holds, beside its quota."""
    config = config_of(ctx)
    require_mail(config)
    with open_accounts(ctx) as accounts:
        known = {account.id: account for account in accounts.accounts()}
    sums = account_sums(config.data_path)
    rows = [_row(config, known.get(number), sums.get(number)) for number in known | sums]
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("there is no mailbox; next: mailnode user add NAME@DOMAIN")
        return
    output.show_table(
        ["mailbox", "mails", "of", "size", "of", "last mail"],
        [
            (
                row["mailbox"] or f"account {row['account_id']}, deleted",
                str(row["mails"]),
                str(row["quota_mails"] or ""),
                output.size(row["octets"]),
                output.size(row["quota_octets"]) if row["quota_octets"] else "",
                output.when(row["last_at"]) if row["last_at"] else "never",
            )
            for row in rows
        ],
        right=["mails", "size", "of"],
    )


def _row(config: Config, account: Account | None, sums: Sums | None) -> dict[str, Any]:
    """One mailbox; 0 in a quota is no limit."""
    octets, mails = config.quota.octets, config.quota.mails
    if account is not None and account.quota_octets is not None:
        octets = account.quota_octets
    if account is not None and account.quota_mails is not None:
        mails = account.quota_mails
    number = account.id if account else sums.account_id if sums else 0
    sums = sums or Sums(number)
    return {
        "mailbox": str(account.address) if account else None,
        "account_id": number,
        "mails": sums.mails,
        "octets": sums.octets,
        "quota_mails": mails,
        "quota_octets": octets,
        "last_at": sums.last_at,
    }


@mailbox.command("show", cls=NodeCommand, example="mailnode mailbox show carol@example.org")
@click.argument("address")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    metavar="COUNT",
    help="Only the newest so many, 100 unless given; 0: all.",
)
@click.pass_context
def mailbox_show(ctx: click.Context, address: str, limit: int) -> None:
    """List the mails in a mailbox, newest first."""
    config = config_of(ctx)
    with open_accounts(ctx) as accounts:
        account = accounts.account(address)
    require_mail(config)
    mails = list_mails(config.data_path, account.id, limit)
    if answer_json(ctx, [attrs.asdict(mail) for mail in mails]):
        return
    if not mails:
        output.say(f"the mailbox of {account.address} is empty")
        return
    output.show_table(
        ["folder", "uid", "when", "from", "subject", "size", "mail id"],
        [
            (
                mail.folder,
                str(mail.uid),
                output.when(mail.received_at),
                mail.sender or "<>",
                mail.subject,
                output.size(mail.size_octets),
                mail.mail_id,
            )
            for mail in mails
        ],
        right=["uid", "size"],
    )
    total = account_sums(config.data_path).get(account.id, Sums(account.id)).mails
    if total > len(mails):
        output.say(f"the newest {len(mails)} of {total}; all of them: --limit 0")
