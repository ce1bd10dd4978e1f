"""What mail that leaves needs here: the gear, keys that sign, what is sealed, routes' passwords."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailnode.cli import output
from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.cli.checkup_published import is_reserved
from mailnode.config import Config
from mailnode.errors import MailError
from mailnode.mailauth.keys import seal_label
from mailnode.routes import Gear, Route, SendAs
from mailnode.sealing import KEY_FILE, Seal, read_password_file
from mailnode.store.accounts import Accounts, Directory
from mailnode.store.elsewhere import SigningKey
from mailnode.store.lists import MAIL_DATABASE, open_queue
from mailnode.store.queue_desk import QueueFilter, count_rows


def check_sending(config: Config) -> Iterator[Finding]:
    """The gear and what lies here by it, keys that sign, what is sealed, routes' passwords."""
    if not config.users_path.is_file():
        return
    try:
        accounts = Accounts.open(config.users_path, data=config.data_path)
        try:
            directory = accounts.load_directory(config.accounts.subaddress)
            outside = accounts.outside
            gear, routes = outside.gear(), outside.routes()
            keys, providers = outside.keys(), outside.send_as()
        finally:
            accounts.close()
    except MailError:  # the accounts' check says so
        return
    yield from _check_gear(config, gear)
    if gear.name == "live":
        yield from check_signing(directory)
    yield from _check_sealed(config, keys, providers)
    for route in routes:
        if route.password_file:
            yield from _check_password(route)


def check_signing(directory: Directory) -> Iterator[Finding]:
    """Domains whose mail leaves without a signature."""
    for name in directory.domains:
        if not is_reserved(name) and not directory.signing_keys(name):
            yield warning(
                "dkim",
                f"mail from {name} is not signed: many receivers refuse it or call it spam",
                f"mailnode dkim generate {name}",
            )


def _check_gear(config: Config, gear: Gear) -> Iterator[Finding]:
    captured = _count_captured(config)
    if captured:
        lets_out = "mailnode gear set live, and send it again" if gear.name == "capture" else ""
        yield warning(
            "captured",
            f"the mail to {output.count(captured, 'recipient')} elsewhere was captured: it lies in "
            "the queue and never leaves",
            "mailnode queue list --state captured shows it; "
            f"{lets_out or 'send again what is still wanted'}; "
            "mailnode queue drop --state captured deletes it",
        )
    said = {
        "capture": "mail for other hosts stays here (mailnode gear set live lets it out)",
        "allow-list": f"mail leaves only for {', '.join(gear.allowed)}",
    }
    yield good("gear", said.get(gear.name, "mail for other hosts leaves"))


def _count_captured(config: Config) -> int:
    path = config.data_path / MAIL_DATABASE
    if not path.is_file():
        return 0
    try:
        with open_queue(path) as connection:
            return count_rows(connection, QueueFilter(state="captured"))
    except MailError:  # damaged, or of an earlier version: others say so
        return 0


def _check_sealed(
    config: Config, keys: Sequence[SigningKey], providers: Sequence[SendAs]
) -> Iterator[Finding]:
    """Whether the key in the data folder opens what users.db has under it."""
    if not keys and not providers:
        return
    path = config.data_path / KEY_FILE
    mend = f"put {path} back from a backup, with the node stopped; or make new ones:"
    broken = []
    try:
        if not path.exists():
            raise FileNotFoundError(2, "it is missing", str(path))
        seal = Seal.open(config.data_path)
    except (OSError, MailError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        yield fault(
            "seal",
            f"keys and passwords in users.db can't be opened by {path}: {why}",
            f"{mend} mailnode dkim rotate DOMAIN --now, mailnode send-as delete and add",
        )
        return
    for key in keys:
        if not _opens(seal, key.sealed_key, seal_label(key.domain, key.selector)):
            broken.append(f"mailnode dkim rotate {key.domain} --now")
    for each in providers:
        if not _opens(seal, each.sealed_password, each.about):
            broken.append(f"mailnode send-as delete and add, for {each.address}")
    if broken:
        yield fault(
            "seal",
            f"{output.count(len(broken), 'key or password')} in users.db can't be opened by {path}",
            f"{mend} {'; '.join(dict.fromkeys(broken))}",
        )


def _opens(seal: Seal, sealed: bytes, about: bytes) -> bool:
    try:
        seal.unseal(sealed, about)
    except MailError:
        return False
    return True


def _check_password(route: Route) -> Iterator[Finding]:
    path = Path(route.password_file)
    what = f"the password for {route.target} (mail for {route.pattern})"
    try:
        read_password_file(path)
        mode = path.stat().st_mode
    except OSError as error:
        yield fault(
            "password",
            f"{what} can't be read from {path}: {error.strerror}; mail waits",
            f"put it there, and let the user that the node runs as read it: chmod 600 {path}",
        )
    except MailError:
        yield fault("password", f"{what} is not on the first line of {path}", f"write it to {path}")
    else:
        if stat.S_IMODE(mode) & 0o077:
            yield warning("password", f"others may read {what}, in {path}", f"chmod 600 {path}")
