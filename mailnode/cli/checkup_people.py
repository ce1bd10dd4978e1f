"""Is there anybody to take mail for?"""

from __future__ import annotations

from collections.abc import Iterator

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.cli.checkup_network import beyond_loopback
from mailnode.cli.node import require_users, running_node
from mailnode.config import Config
from mailnode.errors import MailError
from mailnode.store.accounts import Accounts, Alias, Directory


def check_accounts(config: Config) -> Iterator[Finding]:
    """Domains, accounts, demo accounts, aliases that lead nowhere."""
    if not config.users_path.exists():
        yield fault(
            "accounts",
            f"there is no {config.users_path}",
            "mailnode init, or name it by --users or --config, or go to the node's folder",
        )
        return
    require_users(config)
    try:
        accounts = Accounts.open(config.users_path, data=config.data_path)
        try:
            directory = accounts.load_directory(config.accounts.subaddress)
            domains = [domain.name for domain in accounts.domains()]
            aliases = accounts.aliases()
        finally:
            accounts.close()
    except MailError as error:
        yield fault(
            "accounts",
            f"{config.users_path} can't be used: {error}",
            "put a backup in its place; a newer version's file needs that version",
        )
        return
    yield from _check_domains(domains, directory, config.plugins.delivery)
    yield from _check_demo(config, directory)
    yield from _check_aliases(aliases, directory)


def _check_domains(domains: list[str], directory: Directory, delivery: str) -> Iterator[Finding]:
    """Mail may be taken without an account where [plugins] delivery judges recipients first."""
    known = directory.accounts()
    if delivery and all(account.disabled for account in known):
        yield good("accounts", f"no account takes mail; {delivery} may take it")
    elif not domains:
        yield fault("accounts", "no domain is served", "mailnode domain add example.org")
    elif not known:
        yield warning(
            "accounts",
            f"there is no account, so all mail to {domains[0]} is refused",
            f"mailnode user add NAME@{domains[0]}",
        )
    elif all(account.disabled for account in known):
        yield warning(
            "accounts",
            "every account is disabled, so all mail is refused",
            f"mailnode user enable {known[0].address}",
        )
    else:
        served = output.count(len(domains), "domain")
        yield good("accounts", f"{served}, {output.count(len(known), 'account')}")


def _check_demo(config: Config, directory: Directory) -> Iterator[Finding]:
    if not directory.demo_accounts:
        return
    names = ", ".join(str(account.address) for account in directory.demo_accounts)
    mend = " and ".join(
        f"mailnode user delete {account.address} --yes" for account in directory.demo_accounts
    )
    running = running_node(config)
    listening = running.listening.values() if running else ()
    told = [item for items in listening for item in items]
    wide = [item for item in told if beyond_loopback(item)]
    for protocol in ("smtp", "submission", "smtps", "pop3", "pop3s"):
        wide += [item for item in getattr(config.listen, protocol) if beyond_loopback(item)]
    if wide:
        yield fault(
            "demo",
            f"the passwords of {names} are published, and {wide[0]} is open to others; "
            "a node refuses to start so",
            mend,
        )
    else:
        yield warning("demo", f"the passwords of {names} are published", mend)


def _check_aliases(aliases: list[Alias], directory: Directory) -> Iterator[Finding]:
    for source in dict.fromkeys(alias.source for alias in aliases):
        try:
            directory.expand(parse_address(source))
        except MailError as error:
            yield warning(
                "aliases",
                f"mail for {source} reaches nobody: {error.text}",
                f"mailnode alias list; mailnode alias delete {source!r}",
            )
