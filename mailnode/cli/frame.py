"""What every command shares: where the node is, --json, an example, exit codes, clear mistakes."""

from __future__ import annotations

import difflib
import errno
import json
import os
import sys
from collections import UserDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from mailnode import __version__
from mailnode.cli.output import printable
from mailnode.config import Config, ConfigError, load_config
from mailnode.errors import MailError, StoreBroken

# sysexits.h
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78
EX_INTERRUPTED = 130

_HELP = {"help_option_names": ["-h", "--help"]}
_CHOICES = "mailnode.choices"  # in click's meta, which a command shares with its groups


class Mistake(click.ClickException):
    """What can't be done, and the mend, in one line; and the exit code that says which kind."""

    def __init__(self, message: str, exit_code: int = EX_DATAERR) -> None:
        super().__init__(message)
        self.code = exit_code


def _choose(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Keep what was given; behind the subcommand wins over before it."""
    if value:
        ctx.meta.setdefault(_CHOICES, {})[param.name] = value


def node_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Options that stand before or after any subcommand.

    Args:
        hidden: those that say where the node is are taken, and not shown.
    """
    return [
        click.Option(
            ["-u", "--users"],
            metavar="FILE",
            expose_value=False,
            callback=_choose,
            hidden=hidden,
            help="File of domains, accounts and aliases; users.db unless set.",
        ),
        click.Option(
            ["-d", "--data"],
            metavar="FOLDER",
            expose_value=False,
            callback=_choose,
            hidden=hidden,
            help="Folder of mail, keys and locks; var unless set.",
        ),
        click.Option(
            ["-c", "--config"],
            metavar="FILE",
            expose_value=False,
            callback=_choose,
            hidden=hidden,
            help="TOML file of settings; MAILNODE_CONFIG unless given, else none.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_choose,
            help="Answer in JSON, for programs.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_say_version,
            help="Show mailnode's version and exit.",
        ),
    ]


def _say_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"mailnode {__version__}")
        ctx.exit()


def choices(ctx: click.Context) -> dict[str, Any]:
    found: dict[str, Any] = ctx.meta.setdefault(_CHOICES, {})
    return found


def wants_json(ctx: click.Context) -> bool:
    return bool(choices(ctx).get("json"))


def config_of(ctx: click.Context, instead: Path | None = None) -> Config:
    """The node's settings, read as the server reads them.

    Args:
        instead: the file to read, whatever the options name.

    Raises:
        ConfigError: they can't be used.
    """
    chosen = choices(ctx)
    options = {
        f"node.{name}": (chosen[name], f"--{name}") for name in ("users", "data") if name in chosen
    }
    path = instead or chosen.get("config") or os.environ.get("MAILNODE_CONFIG") or None
    return load_config(path, options=options)


class NodeCommand(click.Command):
    """A command with the shared options and an example under its help.

    Args:
        has_node: whether it looks for a node at all.
    """

    def __init__(self, *args: Any, example: str, has_node: bool = True, **kwargs: Any) -> None:
        shared = node_options(hidden=not has_node)
        kwargs["params"] = [*(kwargs.get("params") or ()), *shared]
        kwargs.setdefault("context_settings", _HELP)
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(self.example, formatter)


class NodeGroup(click.Group):
    """A group with the same; an unknown subcommand is answered with the nearest.

    Attributes:
        elsewhere: what is no subcommand, and what does it.
    """

    command_class = NodeCommand
    elsewhere: Mapping[str, str] = {}

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or ()), *node_options()]
        kwargs.setdefault("context_settings", _HELP)
        kwargs["no_args_is_help"] = False
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(self.example, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(EX_USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if hint := self.elsewhere.get(name, ""):
            raise click.UsageError(f"there is no `{ctx.command_path} {name}`; {hint}", ctx)
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            near = [each for each in _OTHERWISE.get(name, ()) if each in known]
            near = near or difflib.get_close_matches(name, known, n=1)
            hint = f"; there are {', '.join(known)}"
            if near:
                hint = f"; did you mean `{ctx.command_path} {near[0]}`?"
            raise click.UsageError(f"there is no `{ctx.command_path} {name}`{hint}", ctx)
        return super().resolve_command(ctx, args)


# What others call a command that looks otherwise here.
_OTHERWISE = {
    **dict.fromkeys(("show", "ls", "view"), ("list", "show")),
    "list": ("show",),
    **dict.fromkeys(("delete", "del", "rm", "remove", "unblock"), ("remove", "delete")),
    **dict.fromkeys(("create", "new", "make"), ("add", "generate")),
}


def _write_example(example: str, formatter: click.HelpFormatter) -> None:
    with formatter.section("Example"):
        for line in example.splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


_STARTED = "the server is started by `twistd -n mailnode`, or by its supervisor"


class Commands(UserDict[str, Any]):
    """Commands by their names, each read when it is asked for: one needs little of what all do."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.data[name].partition(":")
        found: click.Command = getattr(import_module(f"mailnode.cli.{module}"), attribute or module)
        return found


class RootGroup(NodeGroup):
    """The program: every mistake becomes one line and an exit code of sysexits.h.

    Args:
        sections: commands that stand under one heading in the help, in this order, by their names:
            `module:command` in `mailnode.cli`, or what both are called.
    """

    elsewhere: Mapping[str, str] = {
        **dict.fromkeys(("start", "run", "serve"), _STARTED),
        "restart": f"{_STARTED}; a SIGTERM ends it",
        "stop": "a SIGTERM to the server ends it, or its supervisor does",
        "reload": "a SIGHUP to the server has it read its settings again",
        **dict.fromkeys(("status", "health"), "did you mean `mailnode doctor`?"),
        **dict.fromkeys(("log", "logs", "journal"), "did you mean `mailnode trace`?"),
    }

    def __init__(
        self, *args: Any, sections: Mapping[str, Mapping[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self.commands = Commands()
        for commands in sections.values():
            self.commands.update(commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(len(name) for name in self.commands)
        limit = formatter.width - longest - 6
        for section, names in self._sections.items():
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (f"{name:{longest}}", self.commands[name].get_short_help_str(limit))
                        for name in names
                    ]
                )

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and leave by SystemExit."""
        try:
            answer = super().main(
                args, prog_name or "mailnode", complete_var, standalone_mode=False, **extra
            )
            code = answer if isinstance(answer, int) else 0
        except (click.Abort, KeyboardInterrupt):
            click.echo("\nmailnode: stopped, nothing was changed", err=True)
            code = EX_INTERRUPTED
        except (click.ClickException, ConfigError, MailError, OSError) as error:
            code, line = told(error)
            line = printable(line, keep="\n")  # a stranger may have written some of it
            click.echo(f"mailnode: {line}", err=True)
        sys.exit(code)


def told(error: Exception) -> tuple[int, str]:
    """(exit code, the line a person gets) for a mistake that was foreseen."""
    if isinstance(error, click.UsageError):
        message = error.format_message().rstrip(".")
        path = error.ctx.command_path if error.ctx else "mailnode"
        return EX_USAGE, f"{message[:1].lower()}{message[1:]} (see `{path} --help`)"
    if isinstance(error, Mistake):
        return error.code, error.message
    if isinstance(error, click.ClickException):
        return EX_USAGE, error.format_message()
    if isinstance(error, ConfigError):
        return EX_CONFIG, str(error)
    if isinstance(error, MailError):
        if isinstance(error, StoreBroken):
            why = error.detail or error.text
            return EX_UNAVAILABLE, f"the store has a fault: {why}; `mailnode doctor` names the mend"
        return error.exit_code, str(error)
    if not isinstance(error, OSError):
        raise error
    where = f"{error.filename}: " if error.filename else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EX_NOPERM, f"{what}; run this as the user that the node runs as"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return EX_NOINPUT, what
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EX_TEMPFAIL, f"{what}; make room on the disk and try again"
    return EX_UNAVAILABLE, what


def answer_json(ctx: click.Context, value: object) -> bool:
    """Print `value` and return True when --json was given."""
    if not wants_json(ctx):
        return False
    click.echo(json.dumps(value, indent=2))
    return True
