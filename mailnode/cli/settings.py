"""`init`, `config show`, `verify` and `version`."""

from __future__ import annotations

import platform
import ssl
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import attrs
import click

import mailnode
from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_DATAERR,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import (
    auditor_of,
    make_private_folder,
    open_accounts,
    read_address,
    read_domain,
    require_mail,
    require_new,
)
from mailnode.cli.passwords import ask_new_password, keep_password
from mailnode.config import USUAL_NAME, Config
from mailnode.settings import all_settings, is_secret
from mailnode.store.accounts import Accounts
from mailnode.store.lists import sqlite_version
from mailnode.store.verify import verify as find_faults

KEPT_BACK = "(a secret)"


@click.command(
    cls=NodeCommand, example="mailnode init --domain example.org --user carol@example.org"
)
@click.option("--domain", metavar="NAME", help="A domain to serve; the first is for bare names.")
@click.option(
    "--user", "address", metavar="ADDRESS", help="A first account; its password is asked for."
)
@click.pass_context
def init(ctx: click.Context, domain: str | None, address: str | None) -> None:
    """Make users.db and the data folder, where they are missing.

    What is there stays as it is, so running it again does no harm. --user brings its domain along.
    """
    config = config_of(ctx)
    user = read_address(address) if address else None
    names = [read_domain(domain)] if domain else []
    if user and user.domain not in names:
        names.append(user.domain)
    if user and config.users_path.exists():
        with open_accounts(ctx) as accounts:
            require_new(accounts, str(user))
    password = ask_new_password(ctx, f"Password for {user}", user) if user else ""
    made = []
    if make_private_folder(config.data_path):
        made.append(str(config.data_path))
    if not config.users_path.exists():
        made.append(str(config.users_path))
    accounts = Accounts.open(
        config.users_path, create=True, data=config.data_path, auditor=auditor_of(config)
    )
    try:
        known = {found.name for found in accounts.domains()}
        for name in names:
            if name not in known:
                accounts.add_domain(name)
                made.append(f"domain {name}")
        if user:
            accounts.add_account(user, keep_password(config, password, user))
            made.append(f"account {user}")
        domains = [found.name for found in accounts.domains()]
        gear = accounts.outside.gear().name
    finally:
        accounts.close()
    ring_from_outside(config.data_path, "accounts")
    if answer_json(ctx, {"made": made, **_places(config), "domains": domains, "gear": gear}):
        return
    for thing in made or ["nothing: all of it was there"]:
        output.say(f"made {thing}")
    if gear == "capture":
        output.say("mail for other hosts stays here; to send to the world: mailnode gear set live")
    output.say(_next_step(domains, bool(user)))


def _places(config: Config) -> dict[str, str]:
    return {
        "users": str(config.users_path.absolute()),
        "data": str(config.data_path.absolute()),
    }


def _next_step(domains: list[str], has_user: bool) -> str:
    if not domains:
        return "next: mailnode domain add example.org"
    if not has_user:
        return f"next: mailnode user add NAME@{domains[0]}"
    return "next: twistd -n mailnode --smtp 2525 --pop3 1100 --http 8080"


@click.group(cls=NodeGroup, example="mailnode config show")
def config() -> None:
    """The node's settings."""


@config.command("show", cls=NodeCommand, example="mailnode config show --changed")
@click.option("--changed", is_flag=True, help="Only what differs from the default.")
@click.pass_context
def config_show(ctx: click.Context, changed: bool) -> None:
    """Show every setting, its value, and where that came from; of a secret, that there is one.

    Ports and other options that are given to twistd alone stand in its command line, not here.
    """
    config = config_of(ctx)
    shown = []
    for section, key, default, about in all_settings():
        value = getattr(getattr(config, section), key)
        if value and is_secret(section, key):
            value = KEPT_BACK
        source = config.sources[f"{section}.{key}"]
        if not changed or source != "default":
            shown.append(
                {
                    "setting": f"{section}.{key}",
                    "value": value,
                    "default": default,
                    "source": source,
                    "about": about,
                }
            )
    file = str(config.path.absolute()) if config.path else None
    if answer_json(ctx, {"file": file, "settings": shown}):
        return
    if not shown:
        output.say("every setting is at its default")
        return
    output.show_table(
        ["setting", "value", "from", "about"],
        [
            (item["setting"], in_words(item["value"]), item["source"], item["about"])
            for item in shown
        ],
    )
    if file is None and Path(USUAL_NAME).exists():
        output.say(f"{USUAL_NAME} lies here and is not read: --config {USUAL_NAME} reads it")


def in_words(value: Any) -> str:
    """A value as it would stand in the TOML file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) else str(value)


@click.command(cls=NodeCommand, example="mailnode verify")
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Read every stored mail and name each fault.

    Each is compared with its digest. Only reads, beside a running node if need be, and
    takes as long as reading the data folder does. Exit code 65 when there is a fault.
    """
    config = config_of(ctx)
    require_mail(config)
    faults = list(find_faults(config.data_path, config.users_path))
    if not answer_json(ctx, {"faults": [attrs.asdict(fault) for fault in faults]}):
        for fault in faults:
            output.say(str(fault), "red")
        if faults:
            output.say("stop the node and `mailnode repair`: it keeps all that can be read")
        if not faults:
            output.say(f"no fault in {config.data_path}", "green")
    if faults:
        ctx.exit(EX_DATAERR)


@click.command(cls=NodeCommand, example="mailnode version --json")
@click.pass_context
def version(ctx: click.Context) -> None:
    """Show the versions of mailnode and of what it stands on."""
    versions = {
        "mailnode": mailnode.__version__,
        "python": platform.python_version(),
        "twisted": version_of("twisted"),
        "sqlite": sqlite_version(),
        "openssl": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "system": platform.platform(),
    }
    if not answer_json(ctx, versions):
        output.show_facts(versions.items())
