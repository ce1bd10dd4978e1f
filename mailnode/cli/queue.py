"""`queue`: mail on its way to other hosts, looked at and changed by an administrator."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import click

from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_NOUSER,
    EX_TEMPFAIL,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import ease_full_disk, operator, read_domain, require_mail
from mailnode.cli.passwords import stdin_is_terminal
from mailnode.cli.queue_watch import queue_watch
from mailnode.cli.trace import spelling
from mailnode.config import Config
from mailnode.model import MAIL_ID_LENGTH
from mailnode.store.beside import writing_beside
from mailnode.store.blobs import blob_path
from mailnode.store.lists import open_queue
from mailnode.store.queue import find_queued_mail
from mailnode.store.queue_desk import (
    STATES_SHOWN,
    Changed,
    QueueFilter,
    QueueRow,
    change_rows,
    count_rows,
    list_rows,
)
from mailnode.values import read_typed_duration

Function = Callable[..., Any]
BOUNCE_REASON = "The administrator of the sending server gave it up"


@click.group(cls=NodeGroup, example="mailnode queue list --domain example.com")
def queue() -> None:
    """Mail on its way to other hosts.

    Each recipient elsewhere is a row of the queue, named by its number or, together with the
    mail's other recipients, by the mail's id.
    """


queue.add_command(queue_watch)


def _filters(function: Function) -> Function:
    """Options that choose rows."""
    for option in (
        click.option(
            "--state",
            type=click.Choice(STATES_SHOWN),
            help="Only what is in this state.",
        ),
        click.option("--reply", metavar="TEXT", help="Only those whose last reply has this in it."),
        click.option(
            "--newer-than",
            metavar="DURATION",
            callback=_read_age,
            help='Only what was queued less than so long ago, such as "30m".',
        ),
        click.option(
            "--older-than",
            metavar="DURATION",
            callback=_read_age,
            help='Only what was queued longer ago, such as "2h" or "1d 12h".',
        ),
        click.option("--domain", metavar="NAME", help="Only what goes to this domain."),
        click.option("--recipient", metavar="ADDRESS", help="Only what goes to it."),
        click.option(
            "--sender", metavar="ADDRESS", help="Only what leaves from it; '<>' for bounces."
        ),
    ):
        function = option(function)
    return function


def _read_age(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return read_typed_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not {error}", ctx, param) from None


def _filter(ctx: click.Context, names: Sequence[str], given: dict[str, Any]) -> QueueFilter:
    """What the options and arguments mean."""
    now = time.time()
    ids, mail_ids = [], []
    for name in names:
        if name.isascii() and name.isdigit() and len(name) < MAIL_ID_LENGTH - 7:
            ids.append(int(name))
        elif len(name) == MAIL_ID_LENGTH and name.isalnum():
            mail_ids.append(name.upper())
        else:
            raise click.UsageError(f"{name} is neither a row's number nor a mail's id", ctx)
    older, newer = given["older_than"], given["newer_than"]
    return QueueFilter(
        ids=tuple(ids),
        mail_ids=tuple(mail_ids),
        sender=spelling(given["sender"]),
        recipient=spelling(given["recipient"]),
        domain=read_domain(given["domain"]) if given["domain"] else None,
        before=None if older is None else now - older,
        after=None if newer is None else now - newer,
        reply=given["reply"],
        state=given["state"],
    )


# Looking


@queue.command(
    "list",
    cls=NodeCommand,
    example="mailnode queue list\nmailnode queue list --domain example.com --older-than 2h\n"
    "mailnode queue list --reply 'greylisted' --limit 0",
)
@_filters
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    metavar="COUNT",
    help="Only the first so many, 100 unless given; 0: all.",
)
@click.pass_context
def queue_list(ctx: click.Context, /, limit: int, **given: Any) -> None:
    """List recipients elsewhere whose mail has not left, the longest queued first."""
    wanted = _filter(ctx, (), given)
    with open_queue(require_mail(config_of(ctx))) as connection:
        rows = list_rows(connection, wanted, limit)
        total = count_rows(connection, wanted) if limit and len(rows) == limit else len(rows)
    if answer_json(ctx, [attrs.asdict(row) for row in rows]):
        return
    if not rows:
        output.say("the queue is empty" if wanted.is_empty else "nothing in the queue fits that")
        return
    output.show_table(
        ["row", "state", "to", "from", "queued", "tries", "next", "last reply", "mail id"],
        [
            (
                str(row.id),
                row.state,
                row.recipient,
                row.sender or "<>",
                output.when(row.queued_at),
                str(row.attempts),
                output.when(row.due_at) if row.state == "waiting" else "",
                row.last_reply or "",
                row.mail_id,
            )
            for row in rows
        ],
        right=["row", "tries"],
        cut=["mail id"],
    )
    if total > len(rows):
        output.say(f"the first {len(rows)} of {total}; all of them: --limit 0")


@queue.command(
    "show",
    cls=NodeCommand,
    example="mailnode queue show 4711\nmailnode queue show 01JD3V8Q6ZK7M2T9X4B5C6D7E8",
)
@click.argument("names", nargs=-1, required=True, metavar="ROW|MAIL-ID...")
@click.pass_context
def queue_show(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show all that is known of recipients in the queue."""
    wanted = _filter(ctx, names, dict.fromkeys(_GIVEN))
    with open_queue(require_mail(config_of(ctx))) as connection:
        rows = list_rows(connection, wanted, 0)
    if not rows:
        raise Mistake(_nothing(names), EX_NOUSER)
    if answer_json(ctx, [attrs.asdict(row) for row in rows]):
        return
    for number, row in enumerate(rows):
        if number:
            output.say("")
        output.show_facts(_facts(row))


@queue.command(
    "read",
    cls=NodeCommand,
    example="mailnode queue read 4711",
)
@click.argument("name", metavar="ROW|MAIL-ID")
@click.pass_context
def queue_read(ctx: click.Context, name: str) -> None:
    """Print a mail of the queue as it would leave: header, blank line, body."""
    config = config_of(ctx)
    wanted = _filter(ctx, (name,), dict.fromkeys(_GIVEN))
    with open_queue(require_mail(config)) as connection:
        rows = list_rows(connection, wanted, 1)
        mail = find_queued_mail(connection, rows[0].mail_id) if rows else None
    if mail is None:
        raise Mistake(_nothing((name,)), EX_NOUSER)
    body = mail.body
    octets = body if isinstance(body, bytes) else blob_path(config.data_path, body.key).read_bytes()
    whole = mail.prefix + octets
    text = whole.decode("utf-8", "replace")
    if not answer_json(ctx, {"mail_id": mail.mail_id, "sender": mail.sender, "mail": text}):
        click.echo(whole, nl=False)


_AT_ONCE = ("retry", "release", "bounce")  # a host that rests is asked all the same
_GIVEN = ("sender", "recipient", "domain", "older_than", "newer_than", "reply", "state")


def _nothing(names: Sequence[str]) -> str:
    if not names:
        return "nothing in the queue fits that"
    return f"the queue has no {' '.join(names)}: it has left (mailnode trace MAIL-ID), or never was"


def _facts(row: QueueRow) -> list[tuple[str, str]]:
    state = row.state
    if row.leased_by and row.leased_until:
        state += f" by {row.leased_by} until {output.when(row.leased_until)}"
    if row.bounce:
        state += f": {row.bounce}"
    facts = [
        ("row", str(row.id)),
        ("state", state),
        ("to", row.recipient),
        ("alias", row.alias),
        ("from", row.sender or "<>"),
        ("mail id", row.mail_id),
        ("subject", row.subject),
        ("size", output.size(row.size_octets)),
        ("account", str(row.account_id) if row.account_id else None),
        ("leaves by", f"send-as {row.send_as}" if row.send_as else None),
        ("priority", str(row.priority)),
        ("queued", output.when(row.queued_at)),
        ("next attempt", output.when(row.due_at) if row.state == "waiting" else None),
        ("attempts", str(row.attempts)),
        ("last attempt", output.when(row.last_at) if row.last_at else None),
        ("last host", row.last_host),
        ("last reply", row.last_reply),
        ("sender told", output.when(row.noticed_at) if row.noticed_at else None),
    ]
    return [(name, value) for name, value in facts if value]


# Changing


def _changes(function: Function) -> Function:
    """Arguments and options of a command that changes rows."""
    for option in (
        click.pass_context,
        click.option("--all", "everything", is_flag=True, help="Every row of the queue."),
        _filters,
        click.argument("names", nargs=-1, metavar="[ROW|MAIL-ID]..."),
    ):
        function = option(function)
    return function


@queue.command(
    "retry",
    cls=NodeCommand,
    example="mailnode queue retry 4711\nmailnode queue retry --domain example.com",
)
@_changes
def queue_retry(ctx: click.Context, **given: Any) -> None:
    """Attempt what waits now. What was to be bounced is attempted, too."""
    _change(ctx, "retry", "to be attempted now", given)


@queue.command("hold", cls=NodeCommand, example="mailnode queue hold --sender shop@example.org")
@_changes
def queue_hold(ctx: click.Context, **given: Any) -> None:
    """Keep what waits until it is released; it does not expire meanwhile."""
    _change(ctx, "hold", "held", given)


@queue.command("release", cls=NodeCommand, example="mailnode queue release --all")
@_changes
def queue_release(ctx: click.Context, **given: Any) -> None:
    """Let what is held go on its way, at once."""
    _change(ctx, "release", "released", given)


@queue.command(
    "bounce",
    cls=NodeCommand,
    example='mailnode queue bounce --domain example.com --reason "That company is closed"',
)
@click.option(
    "--reason",
    metavar="TEXT",
    default=BOUNCE_REASON,
    help="What the sender is told, on one line.",
)
@_changes
def queue_bounce(ctx: click.Context, reason: str, **given: Any) -> None:
    """Give recipients up, and have their senders told.

    The running node does it at once; a stopped one when it starts.
    """
    line = output.printable(" ".join(reason.split()))[:500]
    if not line:
        raise click.UsageError("--reason has no words in it", ctx)
    _change(ctx, "bounce", "to be bounced", given, reason=line)


@queue.command(
    "drop", cls=NodeCommand, example="mailnode queue drop --sender '<>' --older-than 1d --yes"
)
@click.option("--yes", is_flag=True, help="Don't ask: nobody is told, and it is gone.")
@_changes
def queue_drop(ctx: click.Context, yes: bool, **given: Any) -> None:
    """Delete recipients from the queue. Their senders are not told.

    Asks first on a terminal, and needs --yes elsewhere.
    """
    if not yes:
        wanted = _wanted(ctx, given)
        with open_queue(require_mail(config_of(ctx))) as connection:
            count = count_rows(connection, wanted)
        if not count:
            raise Mistake(_nothing(given["names"]), EX_NOUSER)
        gone = output.count(count, "recipient")
        question = f"The mail to {gone} goes for good, and no sender is told."
        if not stdin_is_terminal():
            raise Mistake(f"{question} Say --yes if that is meant", EX_USAGE)
        click.confirm(f"{question} Drop?", abort=True)
    _change(ctx, "drop", "dropped", given)


def _wanted(ctx: click.Context, given: dict[str, Any]) -> QueueFilter:
    wanted = _filter(ctx, given["names"], given)
    if wanted.is_empty != given["everything"]:
        raise click.UsageError(
            "give rows, mail ids or filters, or --all"
            if wanted.is_empty
            else "--all stands alone, without rows and filters",
            ctx,
        )
    return wanted


def _change(
    ctx: click.Context, name: str, done: str, given: dict[str, Any], reason: str = ""
) -> None:
    """Do it to the rows that fit, ring the node's bell, and say what was done and what not."""
    config, wanted = config_of(ctx), _wanted(ctx, given)
    path = require_mail(config)
    ease_full_disk(config, config.data_path)
    with writing_beside(path) as writer:
        changed = change_rows(
            writer.transaction,
            wanted,
            name,
            now=time.time(),
            by=operator(),
            reason=reason,
        )
    for key in changed.blob_keys:
        blob_path(config.data_path, key).unlink(missing_ok=True)
    if changed.ids:
        ring_from_outside(config.data_path, "attempt" if name in _AT_ONCE else "queue")
    _answer(ctx, config, name, done, changed, given["names"])


def _answer(
    ctx: click.Context,
    config: Config,
    name: str,
    done: str,
    changed: Changed,
    names: Sequence[str],
) -> None:
    if not changed.ids and not changed.left:
        raise Mistake(_nothing(names), EX_NOUSER)
    facts = {"action": name, "changed": changed.ids, "left": dict(changed.left)}
    if not answer_json(ctx, facts):
        if changed.ids:
            output.say(f"{output.count(len(changed.ids), 'recipient')} {done}")
        for state, count in sorted(changed.left.items()):
            output.say(f"{output.count(count, 'recipient')} left alone: {_WHY[state]}", "yellow")
    if not changed.ids and changed.left["leased"]:
        ctx.exit(EX_TEMPFAIL)


_WHY = {
    "waiting": "they wait and are not held",
    "leased": "an attempt is under way; try again when it is over",
    "held": "they are held: mailnode queue release",
    "captured": "what was captured never leaves; it can be dropped",
}
