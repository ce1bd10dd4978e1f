"""What the pages say to who writes Python: names, clauses and recipes are as the code has them."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interfaces import IInterface
from zope.interface.verify import verifyObject

import mailnode.interfaces
from mailnode.cli import COMMANDS
from mailnode.house import House
from mailnode.listening import KINDS
from mailnode.model import Client, Envelope, Message, Verdict
from mailnode.premises import Premises
from mailnode.service import Node
from mailnode.smtp.factory import SmtpFactory
from mailnode.tap import Options
from tests.documents import (
    DOCS,
    README,
    ROOT,
    files,
    read,
    section,
    shown_lines,
)
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
        for letter, most in (("S", 33), ("P", 20)):
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
            of_client = words[1:2] and words[1] in COMMANDS["Mail"]
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
