"""The node that a command works on: its files, its accounts, its bell, whether it runs."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from attrs import frozen

from mailnode.addresses import Address, parse_address, parse_domain
from mailnode.audited import Actor, Auditor, Entry
from mailnode.bell import ring_from_outside
from mailnode.cli.frame import (
    EX_CANTCREAT,
    EX_CONFIG,
    EX_NOPERM,
    EX_TEMPFAIL,
    Mistake,
    config_of,
)
from mailnode.config import Config
from mailnode.errors import AlreadyThere, BadAddress, NodeRunning, NotFound
from mailnode.listening import KINDS, LISTENING
from mailnode.store.accounts import Accounts
from mailnode.store.audit_file import AuditFile
from mailnode.store.locks import lock_blobs, lock_folder
from mailnode.store.reserve import NAME as RESERVE
from mailnode.store.reserve import Reserve
from mailnode.values import read_typed_duration

CHANGE_OCTETS = 256 << 10  # a change of a database and the journal of its pages need less


@frozen
class Running:
    """What a node that is up says of itself in var/listening.json.

    Attributes:
        pair: files of its certificate and key; None where it does not say.
        config: the file of its settings; None for none, or where it does not say.
    """

    pid: int
    hostname: str
    listening: Mapping[str, tuple[str, ...]]
    pair: tuple[Path, Path] | None = None
    config: Path | None = None


@contextlib.contextmanager
def open_accounts(ctx: click.Context, *, change: bool = False) -> Iterator[Accounts]:
    """The node's accounts; after a `change` that went well its bell is rung.

    Raises:
        Mistake: there is no users.db, or it can't be read, or written for a change.
    """
    config = config_of(ctx)
    require_users(config)
    if change and not os.access(config.users_path, os.W_OK):
        raise Mistake(
            f"can't write {config.users_path}; run this as the user that the node runs as",
            EX_NOPERM,
        )
    if change:
        ease_full_disk(config, config.users_path.parent)
    accounts = Accounts.open(config.users_path, data=config.data_path, auditor=auditor_of(config))
    try:
        yield accounts
    finally:
        accounts.close()
    if change:
        ring_from_outside(config.data_path, "accounts")


def auditor_of(config: Config) -> Auditor:
    """Tells the node's audit stream what a user of this machine changes by a command."""

    def keep(entries: Sequence[Entry]) -> None:
        try:
            AuditFile(config.data_path).append(entries)
        except OSError as error:
            names = ", ".join(each.event for each in entries)
            click.echo(
                f"mailnode: done, but it is not in the audit stream ({names}): {error}", err=True
            )

    return Auditor(keep, Actor(operator(), "command line"))


def ease_full_disk(config: Config, folder: Path) -> None:
    """A change in `folder` finds room on a full disk; a running node makes it good again."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < CHANGE_OCTETS:
        Reserve(config.data_path / RESERVE, config.store.reserve).give_up()


def read_domain(text: str) -> str:
    """A domain that a person typed, in its canonical form."""
    try:
        return parse_domain(text)
    except BadAddress as error:
        raise Mistake(f"{text!r}: {error}; a domain is such as example.org") from None


def read_address(text: str) -> Address:
    """An address that a person typed."""
    try:
        return parse_address(text)
    except BadAddress as error:
        raise Mistake(f"{text!r}: {error}; an address is such as carol@example.org") from None


def read_some_time(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Seconds, of an option that says how long something holds; None where it isn't given."""
    if value is None:
        return None
    try:
        seconds = read_typed_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not {error}") from None
    if not seconds:
        raise click.BadParameter("some time is needed, such as 7d")
    return seconds


def require_new(accounts: Accounts, name: str) -> None:
    """Say that an account is there before a password is asked for it."""
    try:
        accounts.account(name)
    except NotFound:
        return
    raise AlreadyThere(
        f"{name} has an account already; to change its password: `mailnode user passwd {name}`"
    )


def with_domain(accounts: Accounts, name: str) -> str:
    """The address that a person means by a bare name: at the first domain."""
    domains = accounts.domains()
    return name if "@" in name or not domains else f"{name}@{domains[0].name}"


def require_users(config: Config) -> None:
    path = config.users_path
    if not path.exists():
        raise Mistake(
            f"there is no {path}: `mailnode init` makes one here; for a node elsewhere "
            "give --users or --config, or go to its folder",
            EX_CONFIG,
        )
    if not path.is_file():
        raise Mistake(f"{path} is no file: --users names the file of accounts", EX_CONFIG)
    if not os.access(path, os.R_OK):
        raise Mistake(f"can't read {path}; run this as the user that the node runs as", EX_NOPERM)


def require_mail(config: Config) -> Path:
    """The mail database of a node that has run.

    Raises:
        Mistake: it has not, or it is someone else's.
    """
    path = config.data_path / "mail.db"
    try:
        there = path.is_file()
    except PermissionError:
        there = True
    if not there:
        raise Mistake(
            f"there is no node's data in {config.data_path}, no mail.db: a node makes it when it "
            "first starts; for a node elsewhere give --data or --config, or go to its folder",
            EX_CONFIG,
        )
    if not os.access(path, os.R_OK):
        raise Mistake(f"can't read {path}; run this as the user that the node runs as", EX_NOPERM)
    return path


def lock_stopped_node(config: Config) -> int:
    """A descriptor that keeps a node from starting on the data folder, until it is closed.

    Raises:
        Mistake: there is no such folder, or a node runs on it.
    """
    if not config.data_path.is_dir():
        raise Mistake(
            f"there is no {config.data_path}; for a node elsewhere give --data or --config, or go "
            "to its folder",
            EX_CONFIG,
        )
    try:
        lock = lock_folder(config.data_path)
    except NodeRunning:
        running = running_node(config)
        which = f", process {running.pid}" if running else ""
        raise Mistake(
            f"a node runs on {config.data_path}{which}: stop it first", EX_TEMPFAIL
        ) from None
    blobs = lock_blobs(config.data_path)
    if blobs is None:
        os.close(lock)
        raise Mistake(f"an import into {config.data_path} runs: stop it first", EX_TEMPFAIL)
    os.close(blobs)
    return lock


def make_private_folder(path: Path) -> bool:
    """Make a folder that only its owner enters; return whether it was missing."""
    if path.is_dir():
        return False
    try:
        path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise Mistake(f"can't make {path}: {error.strerror}", EX_CANTCREAT) from None
    return True


def running_node(config: Config) -> Running | None:
    """The node that is up on this data folder, or None."""
    try:
        told = json.loads((config.data_path / LISTENING).read_text("utf-8"))
        pid = int(told["pid"])
        if not _alive(pid):
            return None
        listening = {name: tuple(map(str, told.get(name, ()))) for name in KINDS}
        pair = None
        if "tls_cert" in told and "tls_key" in told:
            pair = Path(told["tls_cert"]), Path(told["tls_key"])
        settings = Path(told["config"]) if told.get("config") else None
        return Running(pid, str(told.get("hostname", "")), listening, pair, settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def operator() -> str:
    """Who runs this, by the system's name, and who became that by sudo."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo: {before})" if before and before.isprintable() else name
