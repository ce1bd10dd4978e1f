"""Passwords come from a terminal, asked for twice, or as one line of standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import click

from mailnode.addresses import Address
from mailnode.cli.frame import EX_DATAERR, Mistake, config_of
from mailnode.config import Config
from mailnode.cred.policy import PasswordPolicy, require_text
from mailnode.cred.stored import StoredPassword, store_password
from mailnode.errors import WeakPassword
from mailnode.sealing import Seal

TRIES = 3


def stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def ask_new_password(
    ctx: click.Context,
    prompt: str,
    address: Address,
    *,
    former: Sequence[str] = (),
    demo: bool = False,
) -> str:
    """The password that was typed twice, or that stood on the first line of standard input.

    On a terminal it is asked for again when it may not be set.

    Args:
        address: of the account that gets it.
        former: hashes of those that it had.
        demo: it may be any text.

    Raises:
        Mistake: it may not be set, or the two differ.
    """
    policy = policy_of(config_of(ctx))
    judge = require_text if demo else partial(policy.judge, address=address, former=former)
    if stdin_is_terminal():
        for _ in range(TRIES - 1):
            try:
                return _ask_twice(prompt, judge)
            except Mistake as mistake:
                click.echo(f"{mistake.message.partition(';')[0]}: once more", err=True)
        return _ask_twice(prompt, judge)
    password = _read_line(ctx)
    _require_good(password, judge)
    return password


def policy_of(config: Config) -> PasswordPolicy:
    return PasswordPolicy(lambda: config.passwords)


def keep_password(
    config: Config, password: str, address: Address, *, demo: bool = False
) -> StoredPassword:
    """What users.db keeps of it; a demo account's is kept open, under no key of this folder."""
    return store_password(password, address, None if demo else Seal.open(config.data_path))


def _ask_twice(prompt: str, judge: Callable[[str], object]) -> str:
    typed = _prompt(prompt)
    _require_good(typed, judge)
    if _prompt("The same again") != typed:
        raise Mistake("the two passwords differ; nothing was changed", EX_DATAERR)
    return typed


def ask_secret(ctx: click.Context, prompt: str) -> str:
    """A password that somebody else gave: typed once, or the first line of standard input.

    Raises:
        Mistake: it is empty, or no text.
    """
    secret = _prompt(prompt) if stdin_is_terminal() else _read_line(ctx)
    _require_good(secret, require_text)
    return secret


def _read_line(ctx: click.Context) -> str:
    line = read_secret_line()
    if line is None:
        raise Mistake(
            "standard input holds no password: give it as one line, as in "
            f"`{ctx.command_path} ... < FILE`, or run this on a terminal",
            EX_DATAERR,
        )
    return line


def read_secret_line() -> str | None:
    """The next line of standard input, None at its end."""
    line = sys.stdin.buffer.readline() if sys.stdin else b""
    if not line:
        return None
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Mistake("the password on standard input is not UTF-8", EX_DATAERR) from None


def _prompt(words: str) -> str:
    """What was typed, unseen; asked on standard error, so that --json keeps its own."""
    return str(click.prompt(words, hide_input=True, default="", show_default=False, err=True))


def _require_good(password: str, judge: Callable[[str], object]) -> None:
    try:
        judge(password)
    except WeakPassword as error:
        raise Mistake(f"{error.text}; nothing was changed", EX_DATAERR) from None
