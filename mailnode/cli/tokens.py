"""`token`: what programs show to be let in: on the web, or as an app password at SMTP and POP3."""

from __future__ import annotations

import time
from typing import Any

import click

from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import EX_USAGE, Mistake, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import auditor_of, ease_full_disk, open_accounts, read_some_time
from mailnode.cred.app_passwords import Proofs
from mailnode.errors import AccountError
from mailnode.sealing import Seal
from mailnode.store.beside import MAIL_DATABASE, make_mail_database, writing_beside
from mailnode.store.directory import LiveDirectory
from mailnode.store.guests import has_guests
from mailnode.store.lists import open_mail
from mailnode.store.tokens import (
    MAIL_SCOPES,
    SCOPES,
    Token,
    delete_token,
    insert_token,
    make_secret,
    read_scopes,
    select_tokens,
)

_EXAMPLE = "mailnode token add carol@example.org backup-script --scope read"


@click.group(cls=NodeGroup, example=_EXAMPLE)
def token() -> None:
    """Tokens and app passwords of accounts, which programs show in place of a password."""


def _read_scopes(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return read_scopes([scope for value in values for scope in value.replace(",", " ").split()])
    except AccountError as error:
        raise click.BadParameter(str(error)) from None


@token.command(
    "add",
    cls=NodeCommand,
    example=f"{_EXAMPLE}\nmailnode token add carol@example.org app --scope send --expires 90d\n"
    "mailnode token add carol@example.org phone --scope smtp,pop3",
)
@click.argument("account")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    callback=_read_scopes,
    metavar="SCOPE",
    help=f"What it may do: {', '.join(SCOPES)}; may be given several times.",
)
@click.option(
    "--expires",
    callback=read_some_time,
    metavar="TIME",
    help="How long it counts, such as 90d; without it, until it is revoked.",
)
@click.pass_context
def token_add(
    ctx: click.Context, account: str, name: str, scopes: tuple[str, ...], expires: float | None
) -> None:
    """Make a token for ACCOUNT, called NAME. It is shown once, on standard output.

    With the scope smtp or pop3 it is an app password: a mail program shows it in place of the
    account's password, in five groups that are easy to type. `admin` counts for administrators
    alone.
    """
    config = config_of(ctx)
    with open_accounts(ctx) as accounts:
        found = accounts.account(account)
        directory = accounts.load_directory()
    if "admin" in scopes and not (found.admin or found.looks_after):
        raise Mistake(
            f"{found.address} is no administrator; first: mailnode user set {found.address} --admin"
        )
    if config.data_path.is_dir():
        ease_full_disk(config, config.data_path)
    make_mail_database(config.data_path)
    now = max(time.time(), found.sign_in_changed_at)
    until = now + expires if expires is not None else None
    secret, proof_keys = make_secret(scopes), None
    if any(scope in MAIL_SCOPES for scope in scopes):
        proof_keys = Proofs.of(LiveDirectory(directory), Seal.open(config.data_path)).make(
            found, secret
        )
    with (
        writing_beside(config.data_path / MAIL_DATABASE) as writer,
        writer.transaction() as connection,
    ):
        made = insert_token(connection, found.id, name, scopes, now, until, secret, proof_keys)
    detail = {"name": made.name, "scopes": list(made.scopes), "token": made.id}
    auditor_of(config).tell("token-made", str(found.address), **detail)
    if not answer_json(ctx, _facts(made, str(found.address)) | {"token": secret}):
        click.echo(secret)


@token.command("list", cls=NodeCommand, example="mailnode token list --account carol@example.org")
@click.option("--account", metavar="NAME", help="Only this account's.")
@click.pass_context
def token_list(ctx: click.Context, account: str | None) -> None:
    """List the tokens: whose, what they may do, when they were used. None is shown itself."""
    with open_accounts(ctx) as accounts:
        owners = {each.id: each for each in accounts.accounts()}
        only = accounts.account(account).id if account else None
    rows = [
        _facts(each, str(owners[each.account_id].address))
        | {"void": each.made_at < owners[each.account_id].sign_in_changed_at}
        for each in _tokens(ctx, only)
        if each.account_id in owners
    ]
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("there is no token; one is made by: mailnode token add")
        return
    output.show_table(
        ["token", "account", "name", "may", "made", "expires", "used"],
        [
            (
                str(row["id"]),
                row["account"],
                row["name"],
                " ".join(row["scopes"]),
                output.when(row["made_at"]),
                _until(row),
                _used(row),
            )
            for row in rows
        ],
        right=["token"],
    )


def _tokens(ctx: click.Context, account_id: int | None) -> list[Token]:
    path = config_of(ctx).data_path / MAIL_DATABASE
    if not path.exists():
        return []
    with open_mail(path) as connection:
        return select_tokens(connection, account_id) if has_guests(connection) else []


def _until(row: dict[str, Any]) -> str:
    if row["void"]:
        return "void: a new password"
    return output.when(row["expires_at"]) if row["expires_at"] is not None else "never"


def _used(row: dict[str, Any]) -> str:
    if row["used_at"] is None:
        return "never"
    return f"{output.when(row['used_at'])} from {row['used_from'] or 'this machine'}"


@token.command("revoke", cls=NodeCommand, example="mailnode token revoke 3")
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="TOKEN...")
@click.pass_context
def token_revoke(ctx: click.Context, numbers: tuple[int, ...]) -> None:
    """Let nobody in by a token any more; `token list` tells their numbers."""
    config = config_of(ctx)
    path = config.data_path / MAIL_DATABASE
    if not path.exists():
        raise Mistake(f"there is no token {numbers[0]}; see: mailnode token list", EX_USAGE)
    ease_full_disk(config, config.data_path)
    with writing_beside(path) as writer, writer.transaction() as connection:
        gone = [delete_token(connection, number) for number in numbers]
    ring_from_outside(config.data_path, "guests")
    with open_accounts(ctx) as accounts:
        owners = {each.id: str(each.address) for each in accounts.accounts()}
    for each in gone:
        owner = owners.get(each.account_id, "")
        auditor_of(config).tell("token-revoked", owner, name=each.name, token=each.id)
    if not answer_json(ctx, {"revoked": [each.id for each in gone]}):
        for each in gone:
            output.say(f"{each.called} {each.id}, {each.name}, lets nobody in any more")


def _facts(token: Token, account: str) -> dict[str, Any]:
    """A token as --json shows it."""
    return {
        "id": token.id,
        "account": account,
        "name": token.name,
        "scopes": list(token.scopes),
        "made_at": token.made_at,
        "expires_at": token.expires_at,
        "used_at": token.used_at,
        "used_from": token.used_from,
    }
