"""Where a password comes from: a file, a command, the keyring of the desktop."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

from mailnode.errors import MailError

SERVICE = "mailnode"
COMMAND_S = 60.0


class NoPassword(MailError):
    """There is none where one was said to be."""

    exit_code = 77


class NoPasswordFile(NoPassword):
    """The file isn't there."""

    exit_code = 66


def from_file(path: Path) -> str:
    """The first line of a file.

    Raises:
        NoPassword.
    """
    try:
        return _first_line(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NoPasswordFile(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise NoPassword(f"{path}: {error.strerror}") from None


def from_command(command: str) -> str:
    """The first line that a command prints; it may ask on the terminal.

    Raises:
        NoPassword: it fails, prints nothing, or takes over a minute. Only its first word is named:
            a secret may stand behind it, and cron mails what we say.
    """
    named = "the password command"
    try:
        words = shlex.split(command)
        named = f"the password command `{words[0]} ...`" if words else named
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        raise NoPassword(f"{named} took over {COMMAND_S:.0f} s") from None
    except OSError as error:
        raise NoPassword(f"{named} can't be run: {error.strerror}") from None
    except (ValueError, IndexError) as error:
        raise NoPassword(f"{named} can't be run: {error}") from None
    if done.returncode:
        raise NoPassword(f"{named} failed with exit code {done.returncode}")
    return _first_line(done.stdout, named)


def _first_line(said: bytes, where: str) -> str:
    try:
        line = said.split(b"\n", 1)[0].decode().rstrip("\r")
    except UnicodeDecodeError:
        raise NoPassword(f"{where} gives no UTF-8") from None
    if not line:
        raise NoPassword(f"{where} gives an empty line in place of a password")
    return line


def from_keyring(user: str, server: str) -> str | None:
    """What the keyring keeps for this user there; None for nothing, or without a keyring."""
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        found = keyring.get_password(SERVICE, _entry(user, server))
    except Exception:  # of whatever keyring a desktop has
        return None
    return str(found) if found else None


def keep_in_keyring(user: str, server: str, password: str) -> bool:
    """Whether it is there now."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(SERVICE, _entry(user, server), password)
    except Exception:
        return False
    return True


def has_keyring() -> bool:
    return _keyring() is not None


def _entry(user: str, server: str) -> str:
    return f"{user} at {server}"


def _keyring() -> Any:
    """The keyring module where it has somewhere to keep a secret."""
    try:
        import keyring

        return keyring if keyring.get_keyring().priority >= 1 else None
    except Exception:  # its backends probe the machine, and fail in ways of their own
        return None
