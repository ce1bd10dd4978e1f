"""`dkim`: the keys that sign a domain's mail, from the first to the next."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.dns import SERVER
from mailnode.cli.frame import EX_TEMPFAIL, Mistake, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, read_domain
from mailnode.cli.published import RIGHT, compare, make_look_up
from mailnode.cli.records import key_records
from mailnode.errors import AlreadyThere, NotFound
from mailnode.mailauth.dkim import ED25519, RSA
from mailnode.mailauth.keys import make_private_key, packed, public_text, seal_label
from mailnode.sealing import Seal
from mailnode.store.elsewhere import SigningKey
from mailnode.store.outside import Outside

SUFFIXES = {RSA: "rsa", ED25519: "ed"}
SELECTOR_MAX = 50
_SELECTOR = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

SIGNS = "signs"
WAITING = "waiting"  # made after those that sign: they will, once published
RETIRED = "retired"  # older than those that sign: published for mail on its way


@click.group(cls=NodeGroup, example="mailnode dkim generate example.org")
def dkim() -> None:
    """The keys that sign a domain's mail."""


SELECTOR = click.option(
    "--selector",
    metavar="NAME",
    help="The keys are NAME-rsa and NAME-ed; by the year and month unless given.",
)


@dkim.command("generate", cls=NodeCommand, example="mailnode dkim generate example.org")
@click.argument("domain")
@SELECTOR
@click.pass_context
def dkim_generate(ctx: click.Context, domain: str, selector: str | None) -> None:
    """Make a domain's first keys, RSA and Ed25519: from now on they sign its mail.

    Until their records are published a signature counts for nothing, but harms nothing either.
    """
    domain = read_domain(domain)
    with open_accounts(ctx, change=True) as accounts:
        kept = accounts.outside
        if kept.keys(domain):
            raise AlreadyThere(
                f"{domain} has keys already; the next ones: `mailnode dkim rotate {domain}`"
            )
        _make_keys(kept, _open_seal(ctx), domain, selector, active=True)
        keys = kept.keys(domain)
    if not answer_json(ctx, _facts(domain, keys)):
        output.say(f"{domain} has keys that sign its mail from now on; publish these records:")
        _show_records(domain, keys)


@dkim.command("show", cls=NodeCommand, example="mailnode dkim show example.org")
@click.argument("domain")
@click.pass_context
def dkim_show(ctx: click.Context, domain: str) -> None:
    """Show a domain's keys: which sign, which wait to, which are retired, and their records."""
    domain = read_domain(domain)
    with open_accounts(ctx) as accounts:
        keys = accounts.outside.keys(domain)
    if answer_json(ctx, _facts(domain, keys)):
        return
    if not keys:
        output.say(f"{domain} has no keys; next: mailnode dkim generate {domain}")
        return
    output.show_table(
        ["selector", "algorithm", "state", "since"],
        [
            (key.selector, key.algorithm, state, output.when(key.created_at))
            for key, state in zip(keys, states(keys), strict=True)
        ],
    )
    click.echo()
    _show_records(domain, keys)


@dkim.command(
    "rotate",
    cls=NodeCommand,
    example="mailnode dkim rotate example.org\nmailnode dkim rotate example.org --now",
)
@click.argument("domain")
@SELECTOR
@click.option("--now", is_flag=True, help="Don't ask the DNS whether the new keys are published.")
@SERVER
@click.pass_context
def dkim_rotate(
    ctx: click.Context, domain: str, selector: str | None, now: bool, server: str | None
) -> None:
    """Go over to new keys, in two steps.

    The first time it makes them, and prints their records. Run again when those are published,
    it has the new keys sign and retires the old ones, which stay published until `dkim delete`:
    mail that they signed is still on its way. Exit code 75 while they aren't published.
    """
    domain = read_domain(domain)
    with open_accounts(ctx, change=True) as accounts:
        kept = accounts.outside
        made = not _in_state(kept.keys(domain), WAITING)
        if made:
            _make_keys(kept, _open_seal(ctx), domain, selector, active=False)
        keys = kept.keys(domain)
        waiting = _in_state(keys, WAITING)
        if not made and not now:
            _require_published(ctx, domain, waiting, server)
        if now or not made:
            _switch(kept, domain, keys, waiting)
        keys = kept.keys(domain)
    if answer_json(ctx, _facts(domain, keys)):
        return
    if made:
        output.say(f"{domain} has new keys; publish these records:")
        _show_records(domain, waiting)
    if now or not made:
        names = " and ".join(key.selector for key in waiting)
        output.say(f"{names} sign the mail of {domain} from now on")
        for key in _in_state(keys, RETIRED):
            output.say(f"in a week or two: mailnode dkim delete {domain} {key.selector}")
    else:
        output.say(f"they sign once they are published: mailnode dkim rotate {domain}")


@dkim.command("delete", cls=NodeCommand, example="mailnode dkim delete example.org mn202611-rsa")
@click.argument("domain")
@click.argument("selector")
@click.option("--force", is_flag=True, help="Delete one that signs, too.")
@click.pass_context
def dkim_delete(ctx: click.Context, domain: str, selector: str, force: bool) -> None:
    """Delete a key for good; its record may be taken out of the DNS then."""
    domain = read_domain(domain)
    with open_accounts(ctx, change=True) as accounts:
        kept = accounts.outside
        found = [key for key in kept.keys(domain) if key.selector == selector]
        if not found:
            raise NotFound(f"{domain} has no key {selector}; see: `mailnode dkim show {domain}`")
        if found[0].active and not force:
            raise Mistake(
                f"{selector} signs the mail of {domain}: first `mailnode dkim rotate {domain}`, "
                "or delete it by --force"
            )
        kept.delete_key(domain, selector)
    if not answer_json(ctx, {"domain": domain, "deleted": selector}):
        output.say(f"{selector} is deleted; take {selector}._domainkey.{domain} out of the DNS")


def states(keys: Sequence[SigningKey]) -> list[str]:
    """What each key does, of a domain's keys from the oldest to the newest."""
    last = max((index for index, key in enumerate(keys) if key.active), default=-1)
    return [
        SIGNS if key.active else RETIRED if index < last else WAITING
        for index, key in enumerate(keys)
    ]


def _in_state(keys: Sequence[SigningKey], wanted: str) -> list[SigningKey]:
    return [key for key, state in zip(keys, states(keys), strict=True) if state == wanted]


def _open_seal(ctx: click.Context) -> Seal:
    return Seal.open(config_of(ctx).data_path)


def _make_keys(kept: Outside, seal: Seal, domain: str, name: str | None, *, active: bool) -> None:
    taken = {key.selector for key in kept.keys(domain)}
    name = _read_selector(name) if name else _new_selector(taken)
    for suffix in SUFFIXES.values():
        if f"{name}-{suffix}" in taken:
            raise AlreadyThere(f"{domain} has keys {name} already; choose another --selector")
    for algorithm, suffix in SUFFIXES.items():
        selector, private_key = f"{name}-{suffix}", make_private_key(algorithm)
        sealed = seal.seal(packed(private_key), seal_label(domain, selector))
        kept.add_key(domain, selector, algorithm, sealed, public_text(private_key))
        if not active:  # a signature of a key that is not published harms nothing meanwhile
            kept.set_key_active(domain, selector, False)


def _read_selector(name: str) -> str:
    name = name.lower()
    if not _SELECTOR.fullmatch(name) or len(name) > SELECTOR_MAX:
        raise Mistake(f"{name!r} is no selector; one is such as mn202611: letters, digits, hyphens")
    return name


def _new_selector(taken: set[str]) -> str:
    """By year and month; a second one in a month gets a letter."""
    month = time.strftime("mn%Y%m", time.gmtime())
    for letter in ["", *"bcdefghijklmnopqrstuvwxyz"]:
        if not any(selector.startswith(f"{month}{letter}-") for selector in taken):
            return f"{month}{letter}"
    raise Mistake("too many keys this month; name these by --selector")


def _require_published(
    ctx: click.Context, domain: str, waiting: Sequence[SigningKey], server: str | None
) -> None:
    look_up = make_look_up(config_of(ctx), server)
    for found in compare(key_records(domain, waiting), look_up):
        if found.status != RIGHT:
            raise Mistake(
                f"{found.record.name} is not published yet ({found.status}); publish what "
                f"`mailnode dkim show {domain}` shows and try again, or give --now",
                EX_TEMPFAIL,
            )


def _switch(
    kept: Outside, domain: str, keys: Sequence[SigningKey], waiting: Sequence[SigningKey]
) -> None:
    """New keys first: at no moment is there none that signs."""
    for key in waiting:
        kept.set_key_active(domain, key.selector, True)
    for key in _in_state(keys, SIGNS):
        kept.set_key_active(domain, key.selector, False)


def _show_records(domain: str, keys: Sequence[SigningKey]) -> None:
    for record in key_records(domain, keys):
        click.echo(str(record))


def _facts(domain: str, keys: Sequence[SigningKey]) -> dict[str, Any]:
    records = key_records(domain, keys)
    return {
        "domain": domain,
        "keys": [
            {
                "selector": key.selector,
                "algorithm": key.algorithm,
                "state": state,
                "created_at": key.created_at,
                "name": record.name,
                "value": record.value,
            }
            for key, state, record in zip(keys, states(keys), records, strict=True)
        ],
    }
