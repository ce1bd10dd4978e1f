"""Passwords come from a terminal, asked for twice, or as one line of standard input."""

from __future__ import annotations

import sys
import unicodedata

import click

from mailnode.cli.frame import EX_DATAERR, Mistake

LEAST_CHARACTERS = 8
TRIES = 3


def stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def ask_password(ctx: click.Context, prompt: str, *, demo: bool = False) -> str:
    """The password that was typed twice, or that stood on the first line of standard input.

    On a terminal it is asked for again when it is not good.

    Raises:
        Mistake: it is empty, too short (a demo account's may be short), or no text.
    """
    if stdin_is_terminal():
        for _ in range(TRIES - 1):
            try:
                return _ask_twice(prompt, demo)
            except Mistake as mistake:
                click.echo(f"{mistake.message.partition(';')[0]}: once more", err=True)
        return _ask_twice(prompt, demo)
    password = _read_line(ctx)
    _require_good(password, demo)
    return password


def _ask_twice(prompt: str, demo: bool) -> str:
    typed = _prompt(prompt)
    _require_good(typed, demo)
    if _prompt("The same again") != typed:
        raise Mistake("the two passwords differ; nothing was changed", EX_DATAERR)
    return typed


def ask_secret(ctx: click.Context, prompt: str) -> str:
    """A password that somebody else gave: typed once, or the first line of standard input.

    Raises:
        Mistake: it is empty, or no text.
    """
    secret = _prompt(prompt) if stdin_is_terminal() else _read_line(ctx)
    _require_text(secret)
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


def _require_good(password: str, demo: bool) -> None:
    _require_text(password)
    if len(password) < LEAST_CHARACTERS and not demo:
        raise Mistake(
            f"the password is shorter than {LEAST_CHARACTERS} characters; choose a longer one",
            EX_DATAERR,
        )


def _require_text(password: str) -> None:
    if not password.strip():
        raise Mistake("the password is empty or blank; nothing was changed", EX_DATAERR)
    if any(unicodedata.category(character) == "Cc" for character in password):
        raise Mistake("the password holds a control character; choose another", EX_DATAERR)
