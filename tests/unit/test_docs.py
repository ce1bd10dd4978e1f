"""The pages say what is there, all of it, and nothing else; what they show works."""

from __future__ import annotations

import fnmatch
import io
import re
import tomllib
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import click
from twisted.trial.unittest import SynchronousTestCase

import mailnode.interfaces
from mailnode.cli import main
from mailnode.config import load_config
from mailnode.house import NEED_A_RESTART
from mailnode.measures import (
    describe,
    describe_audit,
    describe_dmarc_reports,
    describe_lessons,
    describe_notices,
    describe_resolver,
    describe_workers,
)
from mailnode.settings import SECTIONS, all_settings
from mailnode.tap import Options
from mailnode.telemetry import Metrics
from mailnode.web.site import make_site
from tests.documents import (
    DOCS,
    PAGES,
    ROOT,
    links,
    read,
    section,
    shown_blocks,
)

CONFIGURATION = DOCS / "configuration.rst"
EXTENDING = DOCS / "extending.rst"
METRICS = DOCS / "metrics.rst"
RFC = DOCS / "rfc.rst"
DIALOGS = ROOT / "tests" / "dialogs"


class Pages(SynchronousTestCase):
    def test_each_is_linked_from_the_index_and_links_lead_somewhere(self) -> None:
        told = set(links(DOCS / "index.rst"))
        for page in DOCS.glob("*.rst"):
            if page.name != "index.rst":
                self.assertIn(page.name, told)
        for page in PAGES:
            for target in links(page):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_files_that_a_page_names_are_there(self) -> None:
        named = re.compile(r"``((?:docs|tests|examples|changes)/[\w./-]+)``")
        for page in PAGES:
            for name in named.findall(read(page)):
                self.assertTrue((ROOT / name).exists(), f"{page.name}: {name}")

    def test_modules_that_flow_names_are_there_and_it_passes_none_of_the_way_over(self) -> None:
        text = read(DOCS / "flow.rst")
        for name in re.findall(r"``([a-z_0-9/]+)\.py``", text):
            self.assertIsNotNone(find_spec(f"mailnode.{name.replace('/', '.')}"), name)
        for name in ("session", "intake", "store/accept", "store/database", "pop3/sending"):
            self.assertIn(f"{name}.py", text)

    def test_each_is_restructuredtext(self) -> None:
        from docutils.core import publish_doctree

        for page in PAGES:
            told = io.StringIO()
            settings = {"warning_stream": told, "report_level": 2, "halt_level": 5}
            publish_doctree(read(page), source_path=str(page), settings_overrides=settings)
            self.assertEqual(told.getvalue(), "", page.name)

    def test_every_example_is_named(self) -> None:
        text = read(EXTENDING)
        for path in (ROOT / "examples").rglob("*"):
            if path.is_file() and path.suffix in (".py", ".tac"):
                self.assertIn(path.relative_to(ROOT / "examples").as_posix(), text)

    def test_the_floors_are_those_that_the_linter_keeps(self) -> None:
        kept = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]
        layers = "".join(f"    {layer}\n" for layer in kept["contracts"][0]["layers"])
        self.assertIn(layers, read(DOCS / "hacking.rst"))

    def test_every_room_is_in_the_layout(self) -> None:
        told = section(DOCS / "hacking.rst", "The layout")
        for path in (ROOT / "mailnode").glob("*/__init__.py"):
            self.assertRegex(told, rf"``(mailnode/)?{path.parent.name}/``")

    def test_every_dependency_has_its_reason(self) -> None:
        import configparser

        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        wanted = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
        told = section(DOCS / "hacking.rst", "Dependencies")
        for line in "\n".join(wanted).split("\n"):
            if name := line.split(">")[0].strip():
                self.assertIn(f"``{name}``", told)


_SETTING = re.compile(
    r"^``(?P<key>\w+)`` \((?P<kind>\w+), default ``(?P<default>.*)``, ``(?P<variable>\w+)``\)\n"
    r"    \S",
    re.M,
)


# Texts and lists of which not every one will do.
TEXTS = dict.fromkeys(
    ("format", "hostname", "dmarc", "dmarc_reports", "reporter", "harm", "failure"), "text"
) | dict.fromkeys(("names", "networks", "resolvers", "dns_lists"), "list")


class Configuration(SynchronousTestCase):
    def test_every_setting_has_its_kind_default_and_variable(self) -> None:
        for name, settings in SECTIONS.items():
            told = {each["key"]: each for each in _SETTING.finditer(self.text(name))}
            there = {attribute.name: attribute for attribute in attrs.fields(settings)}
            self.assertEqual(list(told), list(there), name)
            for key, attribute in there.items():
                reading = attribute.metadata["read"]
                default = tomllib.loads(f"it = {told[key]['default']}")["it"]
                self.assertEqual(reading(default), attribute.default, key)
                variable = told[key]["variable"]
                self.assertEqual(variable, f"MAILNODE_{name}__{key}".upper())
                kind = reading.__name__.removeprefix("read_")
                self.assertEqual(told[key]["kind"], TEXTS.get(kind, kind), key)

    def text(self, name: str) -> str:
        return section(CONFIGURATION, f"[{name}]")

    def test_no_more_settings_are_told_than_there_are(self) -> None:
        self.assertEqual(len(_SETTING.findall(read(CONFIGURATION))), len(list(all_settings())))

    def test_every_option_of_twistd_has_an_example(self) -> None:
        told = section(CONFIGURATION, "Options")
        entries = dict(re.findall(r"^``--([\w-]+)[^\n]*\n((?:    .*\n)+)", told, re.M))
        there = {name.rstrip("=") for name in Options().longOpt}
        self.assertEqual(set(entries), there)
        for name, text in entries.items():
            self.assertRegex(text, rf"Example: ``.*--{name}", name)

    def test_the_files_of_settings_that_are_shown_can_be_used(self) -> None:
        for page in (CONFIGURATION, DOCS / "running.rst", DOCS / "arrival.rst"):
            (shown,) = shown_blocks(page)
            file = Path(self.mktemp())
            file.write_text(shown)
            load_config(file, environment={})

    def test_which_sections_a_running_node_takes_up_is_told(self) -> None:
        found = re.search(r"^SIGHUP\n((?:    .*\n)+)", read(DOCS / "running.rst"), re.M)
        assert found
        taken_up, needs_a_restart = (
            set(re.findall(r"``\[(\w+)\]``", part)) for part in found[1].split("A change in")
        )
        self.assertEqual(set(NEED_A_RESTART), needs_a_restart)
        self.assertEqual(set(SECTIONS) - needs_a_restart, taken_up)

    def test_every_exit_code_is_told(self) -> None:
        from mailnode import premises
        from mailnode.errors import NoFolder

        told = set(re.findall(r"^(\d\d) ", section(CONFIGURATION, "Exit codes"), re.M))
        there = {str(code) for name, code in vars(premises).items() if name.startswith("EX_")}
        there.add(str(NoFolder.exit_code))
        self.assertEqual(told, there)


class Commands(SynchronousTestCase):
    def test_every_command_and_option_stands_in_its_page(self) -> None:
        text = read(DOCS / "commands.rst")
        for path, command in _commands(main, ("mailnode",)):
            if not isinstance(command, click.Group):
                self.assertIn(f"``{' '.join(path)}``\n~~", text)
            for param in command.params:
                for option in param.opts:
                    if option.startswith("--"):
                        self.assertIn(f"``{option}", text, path)


def _commands(command: click.Command, path: tuple[str, ...]) -> Any:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands(below, (*path, name))


class Health(SynchronousTestCase):
    def test_every_metric_stands_there_with_its_kind_and_no_other(self) -> None:
        metrics = Metrics()
        any_: Any = _Anything()
        queue: Any = types.SimpleNamespace(counts={}, oldest_at=None)
        describe(
            metrics,
            log=any_,
            database=any_,
            journal=any_,
            directory=any_,
            sessions={"smtp": any_},
            gate=any_,
            queue=queue,
            accepts=any_,
        )
        describe_lessons(metrics, lessons=dict, last_at=type(None), known=type(None), octets=int)
        describe_resolver(metrics, any_)
        describe_dmarc_reports(metrics, any_)
        describe_audit(metrics, any_)
        describe_notices(metrics, any_)
        describe_workers(metrics, serving=any_, replaced=any_)
        there = set(re.findall(r"^# TYPE (\w+ \w+)$", metrics.text(), re.M))
        told = {
            f"{name} {kind}"
            for name, kind in re.findall(r"^``(\w+)`` \((\w+)\)$", read(METRICS), re.M)
        }
        self.assertEqual(told, there)

    def test_every_page_of_http_stands_there(self) -> None:
        site = make_site(dict, str)
        there = {f"/{name.decode()}" for name in site.wrappedFactory.resource.children}
        self.assertEqual(set(re.findall(r"^``(/\w+)``$", read(METRICS), re.M)), there)

    def test_every_event_stands_there(self) -> None:
        from mailnode import events

        for name, event in vars(events).items():
            if isinstance(event, type) and issubclass(event, events.Event) and name != "Event":
                self.assertIn(f"``{event.name}``", read(METRICS))


class _Anything:
    """A node whose every part is a number, nothing, or such a thing again."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self) -> Any:
        return _Anything()

    def __len__(self) -> int:
        return 0

    def items(self) -> list[Any]:
        return []


class Words(SynchronousTestCase):
    def test_no_page_speaks_of_one_machine_or_of_notes_that_readers_lack(self) -> None:
        unwanted = ("/tmp/", "/work/", "/root/", "PROTOCOLS", "DESIGN.md", "STYLE.md", "TODO")
        for page in PAGES:
            for word in unwanted:
                self.assertNotIn(word, read(page), page.name)

    def test_no_comment_names_a_page_that_is_not_in_the_tree(self) -> None:
        package = Path(mailnode.interfaces.__file__).parent
        for path in package.rglob("*.py"):
            for name in re.findall(r"\b[\w/]+\.(?:md|rst)\b", read(path)):
                self.assertTrue((ROOT / name).exists(), f"{path.name}: {name}")

    def test_news_fragments_have_names_of_their_convention(self) -> None:
        told = re.findall(r"^``(\w+)``$", read(ROOT / "changes" / "README.rst"), re.M)
        for path in (ROOT / "changes").iterdir():
            if path.name != "README.rst":
                kinds = [f"*.{kind}.rst" for kind in told]
                self.assertTrue(
                    re.match(r"\d+(-[a-z]+)?\.", path.name)
                    and any(fnmatch.fnmatch(path.name, kind) for kind in kinds),
                    path.name,
                )
