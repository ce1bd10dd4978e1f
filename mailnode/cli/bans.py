"""`ban`: from where nobody signs in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_CONFIG,
    EX_DATAERR,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import auditor_of, ease_full_disk, open_accounts, read_some_time
from mailnode.networks import MOST_REASON, read_network, short
from mailnode.store.guard import (
    Ban,
    Block,
    GuardFile,
    ban_detail,
    lifted_detail,
    read_kept_out,
)

MADE_BY = "command"


@click.group(cls=NodeGroup, example="mailnode ban add 192.0.2.0/24 --for 7d")
def ban() -> None:
    """From where nobody signs in: by your word, or for guessing passwords."""


@contextmanager
def _writing(ctx: click.Context) -> Iterator[GuardFile]:
    """The file, whether the node runs or not; a running one looks at once."""
    config = config_of(ctx)
    if not config.data_path.is_dir():
        raise Mistake(
            f"there is no {config.data_path}: a node makes it when it first starts; for a node "
            "elsewhere give --data or --config, or go to its folder",
            EX_CONFIG,
        )
    ease_full_disk(config, config.data_path)
    file = GuardFile(config.data_path)
    try:
        yield file
    finally:
        file.close()
    ring_from_outside(config.data_path, "bans")


@ban.command(
    "add",
    cls=NodeCommand,
    example="mailnode ban add 192.0.2.7 --for 7d --reason 'guessed for a week'\n"
    "mailnode ban add 2001:db8::/32",
)
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK...")
@click.option(
    "--for",
    "for_s",
    callback=read_some_time,
    metavar="TIME",
    help="How long, such as 7d; without it, until it is removed.",
)
@click.option("--reason", default="", help="Why; `ban list` and the log show it.")
@click.pass_context
def ban_add(
    ctx: click.Context, networks: tuple[str, ...], for_s: float | None, reason: str
) -> None:
    """Let nobody sign in from NETWORK, an address or a network, by SMTP, POP3 or the web.

    Mail from servers there is taken all the same. One that is banned already gets the new time
    and reason.
    """
    if len(reason) > MOST_REASON or not (reason.isprintable() or not reason):
        raise Mistake(f"a reason is one line of {MOST_REASON} characters at most", EX_DATAERR)
    wanted = [read_network(each) for each in networks]
    now = time.time()
    until = now + for_s if for_s is not None else None
    made = [Ban(each, now, until, reason, MADE_BY) for each in wanted]
    with _writing(ctx) as file:
        auditor = auditor_of(config_of(ctx))
        for each in made:
            file.ban(each)
            auditor.tell("banned", "", **ban_detail(each, for_s))
    if not answer_json(ctx, [_ban_facts(each) for each in made]):
        for each in made:
            output.say(f"nobody signs in from {short(each.network)}, {_until(each.until)}")


@ban.command("remove", cls=NodeCommand, example="mailnode ban remove 192.0.2.7")
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK...")
@click.pass_context
def ban_remove(ctx: click.Context, networks: tuple[str, ...]) -> None:
    """Lift the ban of NETWORK, and let addresses in it try again that are blocked for guessing."""
    wanted = [read_network(each) for each in networks]
    with _writing(ctx) as file:
        auditor = auditor_of(config_of(ctx))
        for each in wanted:
            lifted = file.lift(each, time.time())
            auditor.tell("unbanned", "", **lifted_detail(each, lifted))
    if not answer_json(ctx, {"removed": wanted}):
        for each in wanted:
            output.say(f"whoever is at {short(each)} may sign in again")


@ban.command("list", cls=NodeCommand, example="mailnode ban list")
@click.pass_context
def ban_list(ctx: click.Context) -> None:
    """List the networks that are banned, and the addresses that are blocked for guessing."""
    bans, blocks = read_kept_out(config_of(ctx).data_path, time.time())
    names = _names(ctx, blocks)
    if answer_json(
        ctx,
        {
            "bans": [_ban_facts(each) for each in bans],
            "blocks": [_block_facts(each, names) for each in blocks],
        },
    ):
        return
    if not bans and not blocks:
        output.say("nobody is kept out; next: mailnode ban add NETWORK")
        return
    output.show_table(
        ["from", "nobody signs in", "why"],
        [
            *((short(each.network), _until(each.until), f"{each.reason or 'banned'}, by "
               f"{each.made_by}") for each in bans),
            *((each.address, _until(each.until), _why(each, names)) for each in blocks),
        ],
    )  # fmt: skip


def _names(ctx: click.Context, blocks: list[Block]) -> dict[int, str]:
    """Of the accounts from which alone an address is kept."""
    if not any(each.account_id for each in blocks):
        return {}
    with open_accounts(ctx) as accounts:
        return {each.id: str(each.address) for each in accounts.accounts()}


def _why(block: Block, names: dict[int, str]) -> str:
    whose = f" of {names.get(block.account_id, 'an account')}" if block.account_id else ""
    times = f", for the {block.times}th time" if block.times > 3 else ""
    return f"guessed passwords{whose}{times}"


def _until(until: float | None) -> str:
    return "until it is removed" if until is None else f"until {output.when(until)}"


def _ban_facts(ban: Ban) -> dict[str, Any]:
    """A ban as --json shows it."""
    return {
        "network": ban.network,
        "made_at": ban.made_at,
        "until": ban.until,
        "reason": ban.reason,
        "made_by": ban.made_by,
    }


def _block_facts(block: Block, names: dict[int, str]) -> dict[str, Any]:
    return {
        "address": block.address,
        "account": names.get(block.account_id),
        "until": block.until,
        "times": block.times,
    }
