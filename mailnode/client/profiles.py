"""A person's profiles: a TOML file that names servers and how the password is had.

::

    default = "work"

    [work]
    address = "carol@example.org"
    smtp = "smtp.example.org:465"
    pop3 = "pop.example.org:995"
    password_command = "pass show mail/work"

What a profile says is for the one whose it is: nobody else's name or password goes to its servers,
and its password to nobody else's.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import fields, frozen

from mailnode.errors import MailError

NAME = "client.toml"

T = TypeVar("T")


class BadProfile(MailError):
    """A profile can't be used: what, where and the mend."""

    exit_code = 78


@frozen
class Profile:
    """What a person has said once instead of each time; "" for what isn't said.

    Attributes:
        address: what mail is From; and the sign-in name, unless `user` is.
        server: one host for both.
        smtp, pop3: HOST, or HOST:PORT.
        password_command: its first line of output is the password.
        trust: file of certificates to believe.
        name: shown in From.
        smtp_user, smtp_password_command, smtp_password_file: of a server that takes mail and knows
            another user, or another password, than the one that gives it.
        smtp_sign_in: whether to sign in to send.
    """

    address: str = ""
    user: str = ""
    name: str = ""
    server: str = ""
    smtp: str = ""
    pop3: str = ""
    password_command: str = ""
    password_file: str = ""
    trust: str = ""
    smtp_user: str = ""
    smtp_password_command: str = ""
    smtp_password_file: str = ""
    smtp_sign_in: bool = True

    @property
    def mailbox(self) -> str:
        """Whose domain may be asked for its servers; "" where it says no address."""
        return self.address or (self.user if "@" in self.user else "")

    def is_of(self, name: str) -> bool:
        """Whether it is this one's: by address or user, or by what stands before the @.

        One that says neither is of anybody.
        """
        local = self.mailbox.rpartition("@")[0]
        known = {each.casefold() for each in (self.address, self.user, local) if each}
        return not known or name.casefold() in known

    def for_another(self) -> Profile:
        """Its servers alone, for one whose it is not."""
        return Profile(
            server=self.server,
            smtp=self.smtp,
            pop3=self.pop3,
            smtp_sign_in=self.smtp_sign_in,
            trust=self.trust,
        )


def profiles_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the file is, whether there is one or not."""
    if chosen := environment.get("MAILNODE_CLIENT"):
        return Path(chosen)
    folder = environment.get("XDG_CONFIG_HOME") or home_folder() / ".config"
    return Path(folder) / "mailnode" / NAME


def home_folder() -> Path:
    """The user's home; for a user whom the machine doesn't know, the root, where no file is."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def read_profile(path: Path, name: str = "") -> Profile | None:
    """The profile of this name; without one the default, or the only one, or None.

    Raises:
        BadProfile: there is none of that name, or the file can't be used.
    """
    profiles, default = _read(path)
    if not name:
        name = default or (next(iter(profiles)) if len(profiles) == 1 else "")
        if not name:
            return None
    if name not in profiles:
        there = ", ".join(profiles) or "none"
        raise BadProfile(f"there is no profile {name!r} in {path}; there is: {there}")
    return _profile(path, name, profiles[name])  # what is wrong with another is of no concern


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{path}: {error}") from None
    default = told.pop("default", "")
    if not isinstance(default, str):
        raise BadProfile(f"{path}: default is the name of a profile, not {default!r}")
    return told, default


def _profile(path: Path, name: str, table: Any) -> Profile:
    if not isinstance(table, dict):
        raise BadProfile(f"{path}: {name} is no profile; one begins with [{name}]")
    return read_keys(Profile, table, f"{path}, [{name}]")


def read_keys(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """A class of texts and flags, as a table names its fields.

    Raises:
        BadProfile: a key that there isn't, with the nearest, or a value of another kind.
    """
    known = {each.name: type(each.default) for each in fields(kind)}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in known:
            (near,) = difflib.get_close_matches(key, known, 1, 0)
            raise BadProfile(f"{where}: there is no key {key!r}; did you mean {near!r}?")
        if type(value) is not known[key]:
            word = "text" if known[key] is str else "true or false"
            raise BadProfile(f"{where}: {key} is {word}, not {value!r}")
    return kind(**table)
