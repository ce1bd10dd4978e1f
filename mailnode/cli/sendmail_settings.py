"""Where `sendmail` takes mail to: one small file, of the machine or of a user.

::

    smtp = "localhost:2525"
    domain = "example.org"
"""

from __future__ import annotations

import os
import pwd
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
from attrs import frozen

from mailnode.addresses import parse_domain
from mailnode.cli.places import Place, choose
from mailnode.client.profiles import BadProfile, Profile, home_folder, read_keys
from mailnode.client.submission import Submission
from mailnode.client.trouble import Unreachable
from mailnode.errors import MailError

NAME = "sendmail.toml"
VARIABLE = "MAILNODE_SENDMAIL"
FOR_ALL = Path("/etc/mailnode") / NAME
OF_ROOT = Path("/var/spool/mailnode-sendmail")
MAILNAME = Path("/etc/mailname")


@frozen
class Settings:
    """What the file says; "" for what it doesn't.

    Attributes:
        smtp: the server that takes the mail, HOST:PORT.
        user, password_file, password_command: to sign in there.
        trust: file of certificates to believe.
        insecure: whether mail goes in clear to another machine, or by any certificate.
        domain: of addresses that have none; else /etc/mailname's, else this machine's name.
        sender: the reverse-path where -f names none; else the user's name at the domain.
        spool: the folder for mail that can't be handed over yet; `{user}` stands for the user.
    """

    smtp: str = "localhost:25"
    user: str = ""
    password_file: str = ""
    password_command: str = ""
    trust: str = ""
    insecure: bool = False
    domain: str = ""
    sender: str = ""
    spool: str = ""


def settings_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The variable's, else the user's own, else the machine's; None where there is none."""
    if chosen := environment.get(VARIABLE):
        return Path(chosen)
    folder = environment.get("XDG_CONFIG_HOME") or home_folder() / ".config"
    own = Path(folder) / "mailnode" / NAME
    return next((each for each in (own, FOR_ALL) if _is_there(each)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a home that this user may not enter is nobody's
        return False


def read_settings(path: Path | None) -> Settings:
    """
    Raises:
        BadProfile: the file can't be used.
    """
    if path is None:
        return Settings()
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadProfile(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{path}: {error}") from None
    settings = read_keys(Settings, told, str(path))
    if settings.domain:
        try:
            parse_domain(settings.domain)
        except MailError as error:
            raise BadProfile(f"{path}: domain {settings.domain!r}: {error.text}") from None
    return settings


def domain_of(settings: Settings) -> str:
    """What stands behind the @ of an address that has none."""
    for said in (settings.domain, _mailname(), socket.gethostname()):
        try:
            if said:
                return parse_domain(said)
        except MailError:
            continue
    return "localhost"


def _mailname() -> str:
    try:
        return MAILNAME.read_text("utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def user_and_name() -> tuple[str, str]:
    """Who runs this, and how people call that user."""
    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError:
        return str(os.geteuid()), ""
    name = found.pw_gecos.partition(",")[0]
    return found.pw_name, name.replace("&", found.pw_name.capitalize())


def spool_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> Path:
    user, _ = user_and_name()
    if settings.spool:
        return Path(settings.spool.replace("{user}", user)).expanduser()
    if os.geteuid() == 0:
        return OF_ROOT
    folder = environment.get("XDG_STATE_HOME") or home_folder() / ".local" / "state"
    return Path(folder) / "mailnode" / "spool"


def connect(ctx: click.Context, settings: Settings) -> Submission:
    """A session with the server.

    Raises:
        MailError: there is none now, whatever the reason.
    """
    profile = Profile(
        smtp=settings.smtp,
        user=settings.user,
        password_file=settings.password_file,
        password_command=settings.password_command,
        trust=settings.trust,
    )
    if settings.insecure:
        choose(ctx, "insecure", True)
    try:
        place = Place(ctx, profile=profile, stdin_is_text=True)
        return place.submission(sign_in=bool(settings.user))
    except click.ClickException as error:
        raise Unreachable(error.format_message()) from None
