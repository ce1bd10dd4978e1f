"""`user import`: accounts of another mail server, with the hashes of their passwords."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, Mistake, NodeCommand, answer_json
from mailnode.cli.node import open_accounts, read_domain
from mailnode.cred.foreign import read_foreign
from mailnode.errors import AccountError, AlreadyThere, BadAddress
from mailnode.portability.letter import Lost
from mailnode.portability.passwd_file import Entry, read_passwd_file
from mailnode.store.accounts import Accounts


@define
class _Taken:
    """What became of a file.

    Attributes:
        kept: addresses that have an account here already; it is as it was.
    """

    made: list[str] = field(factory=list)
    kept: list[str] = field(factory=list)
    unusable: list[Lost] = field(factory=list)


@click.command("import", cls=NodeCommand, example="mailnode user import /etc/dovecot/users")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--domain", metavar="NAME", help="Where bare names belong; else the first domain.")
@click.pass_context
def user_import(ctx: click.Context, file: Path, domain: str | None) -> None:
    """Make the accounts of a passwd-file of Dovecot's, with their passwords.

    It has a line for each user, NAME:{SCHEME}HASH:..., with bcrypt or SHA-crypt. Accounts that are
    there stay as they are, so running it again does no harm; users set no new password.
    """
    taken = _Taken()
    with open_accounts(ctx, change=True) as accounts:
        at = read_domain(domain) if domain else next((d.name for d in accounts.domains()), None)
        if at is None:
            raise Mistake("no domain is served yet; first: mailnode domain add YOUR.DOMAIN")
        try:
            for entry in read_passwd_file(file):
                if isinstance(entry, Lost):
                    taken.unusable.append(entry)
                else:
                    _take(taken, accounts, entry, at)
        except OSError as error:
            raise Mistake(f"can't read {file}: {error.strerror}", EX_DATAERR) from None
    facts = {
        "made": taken.made,
        "kept": taken.kept,
        "unusable": [{"where": each.where, "why": each.why} for each in taken.unusable],
    }
    if not answer_json(ctx, facts):
        output.say(f"made {output.count(len(taken.made), 'account')}")
        if taken.kept:
            output.say(f"there already, and as they were: {len(taken.kept)}")
        for each in taken.unusable:
            output.say(f"left out: {each.where}: {each.why}")
    if taken.unusable:
        ctx.exit(EX_DATAERR)


def _take(taken: _Taken, accounts: Accounts, entry: Entry, domain: str) -> None:
    """One account is there, or it is told why not."""
    name = entry.name if "@" in entry.name else f"{entry.name}@{domain}"
    try:
        added = accounts.add_account(parse_address(name), read_foreign(entry.password_hash))
    except AlreadyThere:
        taken.kept.append(name)
    except (AccountError, BadAddress) as error:
        taken.unusable.append(Lost(entry.where, f"{entry.name}: {error.text}"))
    else:
        taken.made.append(str(added.address))
