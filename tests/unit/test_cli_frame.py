"""What all commands share: options anywhere, help with an example, exit codes, nearest words."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from mailnode import __version__
from mailnode.cli import frame, main
from mailnode.cli.frame import Mistake
from mailnode.cli.passwords import _require_good
from mailnode.cli.places import ClientCommand
from mailnode.client.trouble import Unreachable
from mailnode.cred.policy import require_text
from mailnode.errors import MailError, NotFound, StoreBroken, StoreTooNew
from tests.damaged import damage_schema
from tests.unit.cli_case import CommandCase

DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.rst"
SHARED = ["--users", "--data", "--config", "--json", "--version", "--help"]


def all_commands(
    command: click.Command = main, path: tuple[str, ...] = ("mailnode",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from all_commands(below, (*path, name))


def options_of(command: click.Command) -> list[str]:
    context = click.Context(command, **command.context_settings)  # it keeps the first help option
    params = command.get_params(context)
    return [name for param in params for name in param.opts if name.startswith("--")]


class EveryCommand(SynchronousTestCase):
    def test_the_commands_of_the_issue_are_all_there(self) -> None:
        there = {" ".join(path[1:]) for path, _ in all_commands()}
        wanted = {"init", "config show", "doctor", "verify", "version", "trace"}
        wanted |= {"mailbox list", "mailbox show"}
        for group in ("domain", "user", "alias"):
            wanted |= {f"{group} {verb}" for verb in ("add", "list", "delete")}
        wanted |= {f"user {verb}" for verb in ("show", "passwd", "disable", "enable")}
        self.assertEqual(wanted - there, set())

    def test_each_takes_the_shared_options(self) -> None:
        for path, command in all_commands():
            missing = set(SHARED) - set(options_of(command))
            self.assertEqual(missing, set(), " ".join(path))

    def test_each_says_the_version_and_has_a_short_way_to_its_help(self) -> None:
        for path, _ in all_commands():
            told = CliRunner().invoke(main, [*path[1:], "--version"])
            self.assertEqual((told.exit_code, told.output), (0, f"mailnode {__version__}\n"), path)
            short, long = (CliRunner().invoke(main, [*path[1:], h]) for h in ("-h", "--help"))
            self.assertEqual((short.exit_code, short.output), (0, long.output), path)

    def test_help_explains_each_and_every_option_and_ends_with_an_example(self) -> None:
        for path, command in all_commands():
            result = CliRunner().invoke(main, [*path[1:], "--help"])
            self.assertEqual(result.exit_code, 0)
            self.assertTrue(command.help, path)
            for param in command.get_params(click.Context(command, **command.context_settings)):
                if isinstance(param, click.Option):
                    self.assertTrue(param.help, f"{path} {param.name}")
            told, _, example = result.output.partition("\nExample:\n")
            self.assertIn(" ".join(path), example)
            self.assertIn("Usage: mailnode", told)

    def test_each_example_parses(self) -> None:
        for path, command in all_commands():
            if isinstance(command, click.Group):
                continue
            for line in command.example.splitlines():  # type: ignore[attr-defined]
                words = shlex.split(line.partition(" < ")[0])
                self.assertEqual(words[: len(path)], list(path))
                command.make_context(" ".join(path), words[len(path) :])

    def test_no_option_or_argument_takes_a_password(self) -> None:
        for path, command in all_commands():
            for param in command.params:
                if param.name not in ("password_file", "password_command"):  # where it is to be had
                    self.assertNotIn("pass", str(param.name), path)


class Document(SynchronousTestCase):
    """docs/commands.rst has a section for each command, with its options and example."""

    def sections(self) -> dict[str, str]:
        found: dict[str, str] = {}
        lines = DOCUMENT.read_text("utf-8").splitlines()
        title = ""
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            if line and below and set(below) <= set("=-~") and len(below) >= len(line):
                title = line.replace("``", "")
            found[title] = found.get(title, "") + line + "\n"
        return found

    def test_each_command_is_documented_with_its_options_and_an_example(self) -> None:
        sections = self.sections()
        for path, command in all_commands():
            if isinstance(command, click.Group):
                continue
            title = " ".join(path)
            self.assertIn(title, sections)
            text = sections[title]
            if isinstance(command, ClientCommand):
                text += sections["Mail"]
            for name in set(options_of(command)) - set(SHARED):
                self.assertIn(f"``{name}", text, f"{title} {name}")
            for example in command.example.splitlines():  # type: ignore[attr-defined]
                self.assertIn(f"    {example}\n", text, title)

    def test_the_shared_options_are_documented(self) -> None:
        text = DOCUMENT.read_text("utf-8")
        for name in SHARED:
            self.assertIn(f"``{name}", text)

    def test_nothing_is_documented_that_is_not_there(self) -> None:
        there = {" ".join(path) for path, _ in all_commands()}
        titles = {title for title in self.sections() if title.startswith("mailnode ")}
        self.assertEqual(titles - there, set())


class Mistakes(CommandCase):
    def test_an_unknown_command_is_answered_with_the_nearest_and_64(self) -> None:
        self.assertIn("did you mean `mailnode user`?", self.refusal("usr", 64))
        self.assertIn("did you mean `mailnode user list`?", self.refusal("user lst", 64))
        self.assertIn("did you mean `mailnode sender list`?", self.refusal("sender show", 64))
        for name, said in (
            ("start", "twistd -n mailnode"),
            ("restart", "SIGTERM"),
            ("stop", "SIGTERM"),
            ("reload", "SIGHUP"),
            ("status", "did you mean `mailnode doctor`?"),
            ("logs", "did you mean `mailnode trace`?"),
        ):
            self.assertRegex(self.refusal(name, 64), f"there is no `mailnode {name}`; .*{said}")
        told = self.refusal("sender zzz", 64)
        self.assertIn("; there are allow, block, list, remove (see", told)

    def test_an_unknown_option_is_answered_with_the_nearest_and_64(self) -> None:
        self.assertIn("--domain", self.refusal("user list --domian x", 64))

    def test_a_missing_argument_is_64_and_names_the_help(self) -> None:
        line = self.refusal("user add", 64)
        self.assertIn("ADDRESS", line)
        self.assertIn("`mailnode user add --help`", line)

    def test_a_group_alone_shows_its_help_and_is_64(self) -> None:
        self.assertIn("passwd", self.run_command("user", exit_code=64).stderr)

    def test_a_wrong_setting_is_78_in_one_line(self) -> None:
        Path("node.toml").write_text("[node]\nhostnam = 'x'\n")
        self.assertIn("did you mean hostname?", self.refusal("config show --config node.toml", 78))

    def test_a_missing_configuration_file_is_78(self) -> None:
        self.assertIn("nowhere.toml", self.refusal("--config nowhere.toml user list", 78))

    def test_without_users_db_78_names_init(self) -> None:
        self.assertIn("`mailnode init`", self.refusal("user list", 78))

    def test_a_mail_server_that_is_not_there_is_no_fault_of_the_store(self) -> None:
        self.assertEqual((75, "nobody listens"), frame.told(Unreachable("nobody listens")))
        self.assertIn("the store has a fault", frame.told(StoreBroken())[1])

    def test_each_mail_error_has_its_own_exit_code(self) -> None:
        codes = [frame.told(kind())[0] for kind in (MailError, NotFound, StoreBroken, StoreTooNew)]
        self.assertEqual(codes, [75, 67, 69, 78])

    def test_a_refused_permission_is_77_and_a_full_disk_75(self) -> None:
        self.assertEqual(frame.told(PermissionError(13, "Permission denied", "x"))[0], 77)
        self.assertEqual(frame.told(OSError(28, "No space left on device"))[0], 75)

    def test_a_bug_is_not_hidden(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            frame.told(ZeroDivisionError())

    def test_a_file_that_is_no_database_is_69_in_one_line(self) -> None:
        Path("users.db").write_bytes(b"no database at all, but long enough" * 40)
        self.assertIn("`mailnode doctor`", self.refusal("user list", 69))
        found = self.run_json("doctor", exit_code=78)["findings"]
        self.assertIn("users.db", next(each["what"] for each in found if each["level"] == "fault"))

    def test_so_is_one_whose_damage_sqlite_quotes(self) -> None:
        self.run_command("init --domain here.example")
        damage_schema(Path("users.db"), "account")
        self.assertIn("damaged", self.refusal("user list", 69))
        found = self.run_json("doctor", exit_code=78)["findings"]
        self.assertIn("users.db", next(each["what"] for each in found if each["level"] == "fault"))


class WhereTheNodeIs(CommandCase):
    def domains(self, line: str) -> list[str]:
        return [row["domain"] for row in self.run_json(line)]

    def setUp(self) -> None:
        super().setUp()
        self.run_command("init --domain here.example")
        Path("other").mkdir()
        self.run_command("init --users other/users.db --data other/var --domain other.example")

    def test_it_is_this_folder_unless_told(self) -> None:
        self.assertEqual(self.domains("domain list"), ["here.example"])

    def test_users_works_before_between_and_behind_the_subcommands(self) -> None:
        for line in (
            "--users other/users.db domain list",
            "domain --users other/users.db list",
            "domain list --users other/users.db",
        ):
            self.assertEqual(self.domains(line), ["other.example"])

    def test_what_stands_behind_wins(self) -> None:
        line = "--users nowhere.db domain list --users other/users.db"
        self.assertEqual(self.domains(line), ["other.example"])

    def test_json_works_before_the_subcommand(self) -> None:
        result = self.run_command("--json domain list")
        self.assertEqual(json.loads(result.stdout)[0]["domain"], "here.example")

    def test_a_mailnode_toml_is_read_when_named_and_only_then(self) -> None:
        Path("mailnode.toml").write_text('[node]\nusers = "other/users.db"\n')
        self.assertEqual(self.domains("domain list"), ["here.example"])
        self.assertEqual(self.domains("domain list --config mailnode.toml"), ["other.example"])
        os.environ["MAILNODE_CONFIG"] = "mailnode.toml"
        self.assertEqual(self.domains("domain list"), ["other.example"])
        self.assertEqual(self.domains("--users users.db domain list"), ["here.example"])

    def test_config_as_an_option_wins_over_the_environment(self) -> None:
        Path("mailnode.toml").write_text('[node]\nusers = "other/users.db"\n')
        os.environ["MAILNODE_CONFIG"] = "nowhere.toml"
        self.assertEqual(self.domains("--config mailnode.toml domain list"), ["other.example"])

    def test_the_environment_names_the_file_as_for_the_server(self) -> None:
        os.environ["MAILNODE_NODE__USERS"] = "other/users.db"
        self.assertEqual(self.domains("domain list"), ["other.example"])
        self.assertEqual(self.domains("domain list --users users.db"), ["here.example"])


class Output(CommandCase):
    def test_a_pipe_gets_whole_lines_without_colours(self) -> None:
        self.make_accounts("a" * 60 + "@" + "b" * 60 + ".example")
        lines = self.run_command("user list").stdout.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertNotIn("\x1b", lines[1])


class BlankPasswordTests(SynchronousTestCase):
    def test_a_blank_password_is_none(self) -> None:
        with self.assertRaisesRegex(Mistake, "empty or blank"):
            _require_good(" " * 9, require_text)
