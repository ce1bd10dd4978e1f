"""`trace`: what happened to a mail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from attrs import frozen

from mailnode.addresses import parse_address
from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import EX_NOUSER, Mistake, NodeCommand, answer_json, config_of
from mailnode.cli.node import open_accounts, read_address, require_mail, with_domain
from mailnode.config import Config
from mailnode.errors import BadAddress
from mailnode.learning.facts import BY as LEARNED
from mailnode.model import MAIL_ID_LENGTH
from mailnode.store.journal import read_mails, read_trace
from mailnode.store.lists import open_mail, owner_of
from mailnode.stories import Story, is_unexplained, tell_story

if TYPE_CHECKING:
    from mailnode.store.whys import Why

WAIT_S = 1.5
LOOK_EVERY_S = 0.05


@click.command(
    cls=NodeCommand,
    example="mailnode trace 01JD3V8Q6ZK7M2T9X4B5C6D7E8\n"
    "mailnode trace --to carol@example.org --limit 5\n"
    "mailnode trace --from shop@example.net --show-dialog",
)
@click.argument("mail_id", required=False, metavar="[MAIL-ID]")
@click.option("--to", metavar="ADDRESS", help="Mails to this address, whatever became of them.")
@click.option("--from", "sender", metavar="ADDRESS", help="Mails from it; '<>' for bounces.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    metavar="COUNT",
    help="Only the newest so many, 20 unless given.",
)
@click.option("--show-dialog", is_flag=True, help="Show the SMTP session's lines where kept.")
@click.pass_context
def trace(
    ctx: click.Context,
    mail_id: str | None,
    to: str | None,
    sender: str | None,
    limit: int,
    show_dialog: bool,
) -> None:
    """Tell what happened to a mail.

    Whether it was taken or refused and why, where it lies, who fetched or deleted it. The
    MAIL-ID stands in the reply to the sender, in the mail's Received field and in the log.
    Events are kept as long as journal.keep and journal.size say, dialogs where
    journal.dialog is on. Of one address's refusals ten a minute are told, the rest is only
    counted. A bare name as ADDRESS means the first domain.
    """
    if bool(mail_id) == bool(to or sender):
        raise click.UsageError("give a MAIL-ID, or --to or --from with an ADDRESS", ctx)
    if mail_id and "@" in mail_id:
        raise click.UsageError(
            f"{mail_id} is an address, no MAIL-ID: give it as --to {mail_id} or --from {mail_id}",
            ctx,
        )
    config = config_of(ctx)
    path = require_mail(config)
    to, sender = _full(ctx, to), _full(ctx, sender)
    if mail_id:
        look = partial(_trace_one, path, mail_id.upper())
    else:
        asked = {"to": spelling(to) or "", "sender": spelling(sender)}
        asked["subaddress"] = config.accounts.subaddress
        look = partial(_trace_many, path, asked, limit)
    stories = _once_flushed(config.data_path, look)
    if not stories:
        for address in (to, sender):
            if bare := _bare(address or ""):
                read_address(bare)  # what was refused for its address is found before
        asked_for = _as_asked(mail_id.upper()) if mail_id else _asked(to, sender)
        raise Mistake(f"the journal holds no mail {asked_for}", EX_NOUSER)
    whys = _whys_of(config, path, stories)
    told = [_story_facts(each, whys.get(each.mail_id, ()), show_dialog) for each in stories]
    if answer_json(ctx, told):
        return
    for number, story in enumerate(stories):
        if number:
            output.say("")
        _show(story, whys.get(story.mail_id, ()), show_dialog)


def _full(ctx: click.Context, name: str | None) -> str | None:
    """The address that a bare name means; anything else as it is."""
    if not name or "@" in name or "<" in name:
        return name
    with open_accounts(ctx) as accounts:
        return with_domain(accounts, name)


def spelling(address: str | None) -> str | None:
    """The address as the journal spells it: "" for <>, the domain in lower case."""
    if address is None:
        return None
    bare = _bare(address)
    try:
        return str(parse_address(bare)) if bare else ""
    except BadAddress:
        return bare


def _bare(address: str) -> str:
    return address.strip().removeprefix("<").removesuffix(">")


def _asked(to: str | None, sender: str | None) -> str:
    words = [f"to {to}"] if to else []
    return " ".join([*words, *([f"from {sender}"] if sender else [])])


def _as_asked(mail_id: str) -> str:
    hint = "" if len(mail_id) == MAIL_ID_LENGTH else f"; an id has {MAIL_ID_LENGTH} characters"
    return f"{mail_id}{hint}"


def _once_flushed(data: Path, look: Callable[[], list[Story]]) -> list[Story]:
    """What is found once a running node has written what it holds; it is rung to do that now."""
    if not ring_from_outside(data, "journal"):
        return look()
    given_up_at = time.monotonic() + WAIT_S
    while True:
        time.sleep(LOOK_EVERY_S)
        stories = look()
        if stories or time.monotonic() >= given_up_at:
            return stories


def _trace_one(path: Path, mail_id: str) -> list[Story]:
    with open_mail(path) as connection:
        events = read_trace(connection, mail_id)
    return [tell_story(mail_id, events)] if events else []


def _trace_many(path: Path, wanted: Mapping[str, Any], limit: int) -> list[Story]:
    """The newest `limit` mails that fit what `read_events` is asked, the oldest of them first."""
    with open_mail(path) as connection:
        return [tell_story(*found) for found in read_mails(connection, wanted, limit)]


@frozen
class CopyWhy:
    """Why a mail is judged so, for all or for one mailbox; see `store.whys.Why`."""

    mailbox: str
    why: Why

    @property
    def words(self) -> str:
        whose = f"for {self.mailbox} " if self.mailbox else ""
        return f"{whose}by what is learned now it is {self.why.words}"


def _whys_of(
    config: Config, path: Path, stories: Sequence[Story]
) -> Mapping[str, Sequence[CopyWhy]]:
    """Of mails that were judged by what was learned, and not found unwanted: why, by their ids."""
    asked = {each.mail_id: list(_judged_copies(each)) for each in stories}
    if not config.learning.enabled or not any(asked.values()):
        return {}
    from mailnode.store.lessons import find_mail  # who asks for none of it is spared its time
    from mailnode.store.models import ModelFiles, ModelShelf
    from mailnode.store.whys import explain

    shelf = ModelShelf(ModelFiles(config.data_path))
    found: dict[str, list[CopyWhy]] = {}
    with open_mail(path) as connection:
        for mail_id, copies in asked.items():
            mail = find_mail(connection, mail_id) if copies else None
            if mail is None:
                continue
            explained = partial(explain, mail, config.data_path, shelf)
            for mailbox, folder_id in copies:
                account_id = owner_of(connection, folder_id)
                why = explained(account_id, config.learning.unwanted_from)
                if why is not None:
                    found.setdefault(mail_id, []).append(CopyWhy(mailbox, why))
    return found


def _judged_copies(story: Story) -> Iterator[tuple[str, int]]:
    """(mailbox, its folder's id) of each copy that was judged by itself; ("", 0) for all."""
    told = set[tuple[str, str]]()
    for line in story.lines:
        key = (line.event, str(line.facts.get("uid")))
        if key not in told and is_unexplained(line.facts, LEARNED):
            told.add(key)
            mailbox = str(line.facts.get("mailbox") or line.facts.get("recipient") or "")
            of_copy = line.event == "delivered"
            yield (mailbox, int(line.facts["folder_id"])) if of_copy else ("", 0)


def _story_facts(story: Story, whys: Sequence[CopyWhy], show_dialog: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "mail_id": story.mail_id or None,
        "events": [attrs.asdict(line) for line in story.lines],
    }
    if whys:
        facts["judged_now"] = [
            {"mailbox": each.mailbox or None, **attrs.asdict(each.why)} for each in whys
        ]
    if show_dialog:
        facts["dialog"] = story.dialog.splitlines()
    return facts


def _show(story: Story, whys: Sequence[CopyWhy], show_dialog: bool) -> None:
    if story.mail_id:
        output.say(f"mail {story.mail_id}", "bold")
    for line in story.lines:
        output.say(f"  {output.when(line.at)}  {line.words}")
    for each in whys:
        output.say(f"  {each.words}")
    if not show_dialog:
        return
    if not story.dialog:
        output.say("  no dialog was kept: set journal.dialog to keep those of mails to come")
        return
    output.say("  the dialog:")
    for told in story.dialog.splitlines():
        output.say(f"    {told}")
