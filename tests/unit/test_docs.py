"""The pages say what is there, all of it, and nothing else; what they show works."""

from __future__ import annotations

import ast
import fnmatch
import io
import re
import shlex
import sys
import tomllib
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import click
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interfaces import IInterface
from zope.interface.verify import verifyObject

import mailnode.interfaces
from mailnode.cli import COMMANDS, main
from mailnode.config import load_config
from mailnode.house import House
from mailnode.listening import KINDS
from mailnode.measures import describe, describe_resolver, describe_workers
from mailnode.model import Client, Envelope, Message, Verdict
from mailnode.premises import Premises
from mailnode.service import Node
from mailnode.settings import SECTIONS, all_settings
from mailnode.smtp.factory import SmtpFactory
from mailnode.tap import Options
from mailnode.telemetry import Metrics
from mailnode.web.site import make_site
from tests.documents import DOCS, PAGES, README, ROOT, files, links, read, shown_blocks, shown_lines
from tests.mends import ENTRIES
from tests.unit.cli_case import CommandCase

CONFIGURATION = DOCS / "configuration.rst"
EXTENDING = DOCS / "extending.rst"
METRICS = DOCS / "metrics.rst"
RFC = DOCS / "rfc.rst"
DIALOGS = ROOT / "tests" / "dialogs"

PUBLIC = {
    "mailnode.addresses": {"Address", "parse_address"},
    "mailnode.admission": {"Sessions"},
    "mailnode.config": {"Config", "ConfigError", "load_config"},
    "mailnode.cred.checkers": {"AccountChecker", "SignInDenied"},
    "mailnode.cred.credentials": {"LoginCredentials", "PlainCredentials"},
    "mailnode.cred.portal": {"SignInPortal"},
    "mailnode.cred.realm": {"Realm"},
    "mailnode.errors": {
        "LookupFailed", "MailError", "MailboxFull", "NoSuchMailbox", "NoSuchName", "Refused",
        "SignInRefused", "StoreBusy",
    },
    "mailnode.intake": {"Intake"},
    "mailnode.interfaces": {
        "IBlobs", "IChunkedMessage", "IContentFilter", "ILateFilter", "IMaildrop", "IResolver",
        "ISomeMailFilter",
    },
    "mailnode.model": {
        "Blob", "Client", "Envelope", "Event", "MailParameters", "Message", "Recipient", "Verdict",
    },
    "mailnode.pop3.factory": {"Pop3Factory", "Pop3Rules"},
    "mailnode.pop3.mailbox": {"Maildrop"},
    "mailnode.pop3.server": {"Pop3Server"},
    "mailnode.records": {"Records"},
    "mailnode.service": {"Node", "StartFailed"},
    "mailnode.smtp.factory": {"SmtpFactory", "SmtpRules"},
    "mailnode.smtp.functions": {"FunctionMailboxes"},
    "mailnode.smtp.server": {"SmtpServer"},
    "mailnode.smtp.transaction": {"Postbox", "Transaction"},
}  # fmt: skip


def section(page: Path, title: str) -> str:
    """The text from a heading to the next of its kind or a higher one."""
    found = re.search(
        rf"^{re.escape(title)}\n(?P<line>([-~=])\2*)\n(?P<text>.*?)(?=^\S[^\n]*\n(?:\2+|=+)\n|\Z)",
        read(page),
        re.M | re.S,
    )
    assert found, f"{page.name} has no section {title}"
    return found["text"]


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
TEXTS = dict.fromkeys(("format", "hostname", "dmarc", "harm", "failure"), "text") | dict.fromkeys(
    ("names", "networks", "resolvers", "dns_lists"), "list"
)


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
        describe_resolver(metrics, any_)
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


class PublicNames(SynchronousTestCase):
    def test_they_are_listed_and_there(self) -> None:
        text = section(EXTENDING, "Public names")
        told = set(re.findall(r"^``(mailnode\.[\w.]+)`` ", text, re.M))
        held = {f"{module}.{name}" for module, names in PUBLIC.items() for name in names}
        self.assertEqual(told, held)
        for module, names in PUBLIC.items():
            for name in names:
                value = getattr(import_module(module), name)
                self.assertTrue(value.__doc__ or value.text, name)  # an error's text says it

    def test_every_interface_is_public_and_explained(self) -> None:
        there = {
            name
            for name, value in vars(mailnode.interfaces).items()
            if IInterface.providedBy(value)
            and value is not Interface
            and value.__module__ == "mailnode.interfaces"
        }
        self.assertEqual(there, PUBLIC["mailnode.interfaces"])
        text = section(EXTENDING, "The interfaces")
        for name in there:
            self.assertIn(f"``{name}``\n", text)
            for member in getattr(mailnode.interfaces, name):
                if getattr(mailnode.interfaces, name).direct(member) is not None:
                    self.assertIn(f"``{member}", text, name)

    def test_a_node_has_the_parts_that_are_promised(self) -> None:
        promised = re.search(r"the node has ((?:``\w+``(?:, | and )?\s*)+)", read(EXTENDING))
        assert promised
        pages = [sys.modules[each.__module__].__file__ for each in (Node, House, Premises)]
        there = {
            node.attr
            for page in pages
            for node in ast.walk(ast.parse(Path(page or "").read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        self.assertEqual(set(re.findall(r"\w+", promised[1])) - there - {"and"}, set())


class Clauses(SynchronousTestCase):
    """docs/rfc.rst."""

    def rows(self, letter: str) -> dict[int, str]:
        rows = re.split(r"^   \* - ", read(RFC), flags=re.M)
        found = {}
        for row in rows:
            number, _, rest = row.partition("\n")
            if re.fullmatch(rf"{letter}\d+", number):
                found[int(number[1:])] = rest
        return found

    def test_every_number_is_there_once_with_a_transcript_of_its_own(self) -> None:
        for letter, most in (("S", 32), ("P", 19)):
            rows = self.rows(letter)
            self.assertEqual(list(rows), list(range(1, most + 1)))
            for number, row in rows.items():
                name = f"{letter.lower()}{number:02d}"
                self.assertIn(f"``{name}``", row)
                self.assertTrue(list(DIALOGS.glob(f"{name}_*.txt")), name)

    def test_every_number_of_the_client_is_there_once(self) -> None:
        numbers = [int(each[1:]) for each in ENTRIES if each[0] == "C"]
        self.assertEqual(list(self.rows("C")), numbers)

    def test_every_transcript_is_of_a_number_that_is_told(self) -> None:
        for path in DIALOGS.glob("*.txt"):
            self.assertIn(f"     - ``{path.name.partition('_')[0]}``\n", read(RFC))

    def test_every_number_in_the_code_is_explained(self) -> None:
        told = {f"{letter}{number}" for letter in "SPC" for number in self.rows(letter)}
        package = Path(mailnode.interfaces.__file__).parent
        for path in package.rglob("*.py"):
            for words in re.findall(r"\(((?:[SPC]\d+(?:, | and | to )?)+)\)", read(path)):
                self.assertEqual(set(re.findall(r"[SPC]\d+", words)) - told, set(), path.name)

    def test_modules_and_tests_are_there(self) -> None:
        text = read(RFC)
        for name in re.findall(r"``([a-z0-9_/]+)\.py``", text):
            if not name.startswith("tests/"):
                self.assertIsNotNone(find_spec(f"mailnode.{name.replace('/', '.')}"), name)


class Shown(CommandCase):
    """What README.rst and docs/extending.rst show can be typed."""

    def test_the_commands_of_the_readme_work_in_their_order(self) -> None:
        for line in shown_lines(README):
            words = shlex.split(line)
            of_client = words[1:2] and main.commands.get(words[1]) in COMMANDS["Mail"]
            wants_mail = words[1:2] and words[1] in ("trace", "doctor", "queue", "export", "import")
            if words[0] != "mailnode" or wants_mail or of_client:
                continue  # it wants mail, or a node that runs
            self.run_command(shlex.join(words[1:]), "correct horse 7\n")
        sources = {row["source"] for row in self.run_json("alias list")}
        self.assertEqual(sources, {"sales@example.org", "*@example.org"})
        self.assertEqual(len(self.run_json("user list")), 2)

    def test_twistd_takes_the_options_that_are_shown(self) -> None:
        shown = 0
        for page in (README, EXTENDING):
            for name, text in files(page).items():
                Path(name).write_text(text)
            for line in shown_lines(page):
                before, found, after = line.rpartition(" mailnode --")
                if found and "twistd" in before:
                    options = Options()
                    options.parseOptions(shlex.split(f"--{after}"))
                    config = options.load()
                    self.assertTrue(any(getattr(config.listen, kind) for kind in KINDS), line)
                    shown += 1
        self.assertGreaterEqual(shown, 3)

    def test_the_readme_starts_it_as_make_run_does(self) -> None:
        makefile = read(ROOT / "Makefile")
        (line,) = re.findall(r"twistd -n .*", makefile.split("\nrun:")[1])
        for name, port in re.findall(r"(?m)^(SMTP|POP3|HTTP) \?= (\d+)$", makefile):
            line = line.replace(f"$({name})", port)
        options = line.partition(" mailnode ")[2]
        self.assertIn(f"``twistd -n mailnode {options}``", read(README))


class Recipes(SynchronousTestCase):
    """The files of docs/extending.rst, each used as it is shown."""

    def setUp(self) -> None:
        self.files = files(EXTENDING)

    def module(self, name: str) -> Any:
        made = types.ModuleType(name.partition(".")[0])
        exec(compile(self.files[name], name, "exec"), made.__dict__)
        return made

    def test_settings_name_what_the_files_beside_them_hold(self) -> None:
        named = 0
        for name, text in self.files.items():
            if not name.endswith(".toml"):
                continue
            for value in tomllib.loads(text).get("plugins", {}).values():
                for each in [value] if isinstance(value, str) else value:
                    module, _, attribute = each.partition(":")
                    self.assertTrue(hasattr(self.module(f"{module}.py"), attribute), each)
                    named += 1
        self.assertEqual(named, 4)

    def test_the_filter_judges(self) -> None:
        judge = self.module("word_filter.py").WordFilter()
        self.assertTrue(verifyObject(mailnode.interfaces.IContentFilter, judge))
        envelope = Envelope("id", None, (), Client())
        told = judge.judge(envelope, Message(b"", b"", 0, b"", subject="A Lottery"))
        self.assertEqual(told, Verdict("refuse", "No lotteries here"))
        told = judge.judge(envelope, Message(b"", b"", 0, b"", subject="Hello"))
        self.assertEqual((told.action, told.headers[-2:]), ("accept", b"\r\n"))

    def test_the_checker_lets_in_who_knows_the_word(self) -> None:
        from twisted.cred.credentials import UsernamePassword
        from twisted.cred.error import UnauthorizedLogin

        checker = self.module("word_checker.py").WordChecker()
        self.assertEqual(
            checker.requestAvatarId(UsernamePassword(b"carol", b"open sesame")), b"carol"
        )
        with self.assertRaises(UnauthorizedLogin):
            checker.requestAvatarId(UsernamePassword(b"carol", b"mustard"))

    def test_the_verb_answers_and_is_listed(self) -> None:
        factory = SmtpFactory(None, hostname="mx.example.org")
        factory.protocol = self.module("shout.py").ShoutingServer
        replies = talk(factory, b"EHLO client\r\n", b"XSHOUT quiet\r\n")
        self.assertIn(b"250-XSHOUT\r\n", replies.replace(b"250 XSHOUT", b"250-XSHOUT"))
        self.assertTrue(replies.endswith(b"250 2.0.0 QUIET\r\n"), replies)

    def test_own_parts_take_a_letter_by_smtp_and_give_it_by_pop3(self) -> None:
        own = self.module("own_parts.py")
        replies = talk(
            own.smtp,
            b"EHLO client\r\nMAIL FROM:<a@example.net>\r\n",
            b"RCPT TO:<x@example.com>\r\nRCPT TO:<carol@example.org>\r\nDATA\r\n",
            b"Subject: Hello\r\n\r\n..\r\n.\r\n",
        )
        codes = [line[:3] for line in replies.splitlines() if line[3:4] == b" "]
        self.assertEqual(codes, [b"220", b"250", b"250", b"550", b"250", b"354", b"250"])
        self.assertEqual(len(own.letters), 1)
        self.assertTrue(verifyObject(IMailboxPOP3, own.Mailbox()))
        replies = talk(own.pop3, b"USER carol\r\nPASS secret\r\n", b"UIDL\r\nRETR 1\r\nQUIT\r\n")
        self.assertIn(b"\r\n1 letter-0\r\n.\r\n", replies)
        self.assertIn(b"\r\nSubject: Hello\r\n\r\n..\r\n.\r\n+OK", replies)

    def test_the_function_is_found_for_its_address(self) -> None:
        from mailnode.addresses import parse_address

        robot = self.module("robot.py")
        self.assertIs(
            robot.mailboxes.find(parse_address("Tickets+urgent@example.org")), robot.open_ticket
        )

    def test_the_tac_makes_an_application_with_a_node(self) -> None:
        from twisted.application.service import IServiceCollection

        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "node.toml").write_text(self.files["node.toml"])
        text = self.files["node.tac"].replace('"node.toml"', repr(str(folder / "node.toml")))
        made: dict[str, Any] = {}
        exec(compile(text, "node.tac", "exec"), made)
        (node,) = IServiceCollection(made["application"])
        self.assertIsInstance(node, Node)
        self.assertEqual(node.config.listen.smtp, ("2525",))


def talk(factory: Any, *packets: bytes) -> bytes:
    """What a server says to these."""
    here = IPv4Address("TCP", "127.0.0.1", 25)
    protocol, transport = factory.buildProtocol(here), StringTransport(here, here)
    protocol.makeConnection(transport)
    for packet in packets:
        protocol.dataReceived(packet)
    return transport.value()


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
