"""`search`: which mails of an account fit what somebody types."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, answer_json, config_of
from mailnode.cli.index import fill_index, index_errors
from mailnode.cli.node import open_accounts, require_mail
from mailnode.model import MARKS
from mailnode.reading.query import read_query
from mailnode.store import index_asking
from mailnode.store.index_asking import PAGE_MAILS, Hit, Hits
from mailnode.store.index_files import IndexFiles


@click.command(
    cls=NodeCommand,
    example="mailnode search carol@example.org invoice from:shop has:attachment\n"
    "mailnode search carol@example.org --limit 5 -- '\"see you\" -draft after:2026-01-01'",
)
@click.argument("address")
@click.argument("query", nargs=-1)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    metavar="COUNT",
    help="Only the newest so many, 50 unless given.",
)
@click.pass_context
def search(ctx: click.Context, address: str, query: tuple[str, ...], limit: int) -> None:
    """Find mails of an account, the newest first.

    Give words, "exact words", -without, beg*, from:NAME, to:NAME, subject:WORD, file:NAME,
    has:attachment, is:unread, is:flagged, in:FOLDER, before:2026-01-31, after:2026-01-31,
    larger:1M, smaller:500K; all of them must be so. What begins with a hyphen stands behind `--`.
    What came since a node last ran is indexed first.
    """
    config = config_of(ctx)
    with open_accounts(ctx) as accounts:
        account = accounts.account(address)
    require_mail(config)
    wanted = read_query(" ".join(query), zone=None)
    for hint in wanted.hints:
        click.echo(hint, err=True)
    with index_errors(), closing(IndexFiles(config.data_path, 1)) as files:
        fill_index(ctx, files, account.id)
        found: list[Hit] = []
        hits = Hits()
        while len(found) < limit:
            with files.use(account.id) as file:
                page = min(limit - len(found), PAGE_MAILS)
                hits = index_asking.search(
                    file.connection, account.id, wanted, None, hits.before, page
                )
                names = index_asking.folder_names(file.connection, account.id)
            found += hits.mails
            if hits.before is None:
                break
    if answer_json(ctx, [_facts(hit, names) for hit in found]):
        return
    if not found:
        output.say(f"no mail of {account.address} fits that")
        return
    output.show_table(
        ["when", "from", "subject", "folder", "size", "mail id"],
        [
            (
                output.when(hit.received_at),
                hit.summary.sender,
                hit.summary.subject,
                ", ".join(names.get(place.folder_id, "") for place in hit.copies),
                output.size(hit.size_octets),
                hit.mail_id,
            )
            for hit in found
        ],
        right=["size"],
        cut=["subject"],
    )
    if hits.before is not None:
        output.say(f"the newest {len(found)}; more: --limit {10 * limit}")


def _facts(hit: Hit, names: dict[int, str]) -> dict[str, Any]:
    return {
        "mail_id": hit.mail_id,
        "received_at": hit.received_at,
        "size_octets": hit.size_octets,
        **attrs.asdict(hit.summary),
        "copies": [
            {
                "folder": names.get(place.folder_id, ""),
                "uid": place.uid,
                "flags": place.flags & MARKS,
            }
            for place in hit.copies
        ],
    }
