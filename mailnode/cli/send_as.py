"""`send-as`: outside addresses of accounts, and the providers that send for them."""

from __future__ import annotations

from typing import Any

import click
from attrs import evolve

from mailnode.addresses import Address, bracketed
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_NOUSER,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import open_accounts, read_address
from mailnode.cli.passwords import ask_secret
from mailnode.cli.provider import try_sign_in
from mailnode.routes import ANY, SendAs, read_route
from mailnode.sealing import Seal
from mailnode.store.accounts import Account, Accounts

SUBMISSION, SUBMISSIONS = 587, 465

_EXAMPLE = "mailnode send-as add carol carol@example.net --host mail.example.net"


@click.group("send-as", cls=NodeGroup, example=_EXAMPLE)
def send_as() -> None:
    """Outside addresses of accounts: mail From them leaves by their own providers."""


@send_as.command(
    "add", cls=NodeCommand, example=f"{_EXAMPLE}\n{_EXAMPLE} --port 465 < FILE_WITH_THE_PASSWORD"
)
@click.argument("account")
@click.argument("address")
@click.option("--host", required=True, metavar="NAME", help="The provider's submission server.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=SUBMISSION,
    show_default=True,
    help="587: STARTTLS; 465: TLS from the first octet.",
)
@click.option("--implicit-tls", is_flag=True, help="TLS from the first octet on another port.")
@click.option("--user", metavar="NAME", help="To sign in as; the address unless given.")
@click.pass_context
def send_as_add(
    ctx: click.Context,
    account: str,
    address: str,
    host: str,
    port: int,
    implicit_tls: bool,
    user: str | None,
) -> None:
    """Let ACCOUNT send as ADDRESS, by the provider that the address is at.

    The password is asked for, or read from standard input; it is tried at the provider before it
    is saved, and kept sealed.
    """
    config, wanted = config_of(ctx), read_address(address)
    with open_accounts(ctx, change=True) as accounts:
        found = accounts.account(account)
        accounts.outside.require_free(found.id, wanted)
        entry = SendAs(
            id=0,
            account_id=found.id,
            address=str(wanted),
            host=_read_host(host),
            port=port,
            implicit_tls=implicit_tls or port == SUBMISSIONS,
            user=user or str(wanted),
            sealed_password=b"",
        )
        password = ask_secret(ctx, f"Password of {entry.user} at {entry.host}")
        tls = try_sign_in(config, entry, password)
        sealed = Seal.open(config.data_path).seal(password.encode(), entry.about)
        added = accounts.outside.add_send_as(evolve(entry, sealed_password=sealed))
    if not answer_json(ctx, _facts(added, found)):
        output.say(f"{entry.host} let {entry.user} in ({tls})")
        output.say(f"{found.address} may send as {wanted}, and such mail leaves by {entry.host}")


def _read_host(text: str) -> str:
    if any(sign in text.rpartition("]")[2] for sign in ":/@"):
        raise Mistake(f"{text!r} is no host name alone; its port stands in --port", EX_USAGE)
    return read_route(ANY, f"smtp://{text}").host


@send_as.command("list", cls=NodeCommand, example="mailnode send-as list --account carol")
@click.option("--account", metavar="NAME", help="Only this account's.")
@click.pass_context
def send_as_list(ctx: click.Context, account: str | None) -> None:
    """List the outside addresses and their providers. No password is shown."""
    with open_accounts(ctx) as accounts:
        owners = {each.id: each for each in accounts.accounts()}
        only = accounts.account(account).id if account else None
        found = [each for each in accounts.outside.send_as(only) if each.account_id in owners]
    rows = [_facts(each, owners[each.account_id]) for each in found]
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("there is no outside address; one is added by: mailnode send-as add")
        return
    output.show_table(
        ["account", "sends as", "by", "signs in as"],
        [(row["account"], row["address"], _place(row), row["user"]) for row in rows],
    )


def _place(row: dict[str, Any]) -> str:
    return f"{bracketed(row['host'])}:{row['port']}"


@send_as.command("test", cls=NodeCommand, example="mailnode send-as test carol carol@example.net")
@click.argument("account")
@click.argument("address")
@click.pass_context
def send_as_test(ctx: click.Context, account: str, address: str) -> None:
    """Sign in at the provider with the password that was saved. No mail is sent."""
    config, wanted = config_of(ctx), read_address(address)
    with open_accounts(ctx) as accounts:
        found = accounts.account(account)
        entry = _find(accounts, found, wanted)
    password = Seal.open(config.data_path).unseal(entry.sealed_password, entry.about)
    tls = try_sign_in(config, entry, password.decode())
    if not answer_json(ctx, _facts(entry, found) | {"tls": tls}):
        output.say(f"{entry.host} let {entry.user} in ({tls})")


@send_as.command(
    "delete", cls=NodeCommand, example="mailnode send-as delete carol carol@example.net"
)
@click.argument("account")
@click.argument("address")
@click.pass_context
def send_as_delete(ctx: click.Context, account: str, address: str) -> None:
    """Let ACCOUNT send as ADDRESS no more; the saved password is gone."""
    wanted = read_address(address)
    with open_accounts(ctx, change=True) as accounts:
        found = accounts.account(account)
        accounts.outside.delete_send_as(found.id, wanted)
    if not answer_json(ctx, {"account": str(found.address), "deleted": str(wanted)}):
        output.say(f"{found.address} sends as {wanted} no more")


def _find(accounts: Accounts, account: Account, address: Address) -> SendAs:
    for entry in accounts.outside.send_as(account.id):
        if read_address(entry.address).key == address.key:
            return entry
    raise Mistake(
        f"{address} is no outside address of {account.address}; see: mailnode send-as list",
        EX_NOUSER,
    )


def _facts(entry: SendAs, owner: Account) -> dict[str, Any]:
    """An outside address as --json shows it: everything but the password."""
    return {
        "id": entry.id,
        "account": str(owner.address),
        "address": entry.address,
        "host": entry.host,
        "port": entry.port,
        "implicit_tls": entry.implicit_tls,
        "user": entry.user,
    }
