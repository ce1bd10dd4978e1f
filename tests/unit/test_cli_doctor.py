"""`doctor`: each thing that would not work is named, with its mend."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailnode.cli import checkup_dns, checkup_files, checkup_judging, checkup_network
from mailnode.cli.checkup_network import Listening, beyond_loopback, read_endpoint
from mailnode.nameserver import Server
from mailnode.tls import make_self_signed
from tests.unit.cli_case import CommandCase

NAME = "mx.example.org"
DAY = datetime.timedelta(days=1)


ask_server = checkup_dns.ask_server


class DoctorCase(CommandCase):
    """A node in good health, before something is done to it."""

    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("carol@example.org")
        Path("var").mkdir(mode=0o700)
        os.environ["MAILNODE_NODE__HOSTNAME"] = NAME
        self.make_pair()
        self.dns: dict[str, str] = {}
        patched = patch.object(
            checkup_dns, "ask_server", lambda server: self.dns.get(str(server), "")
        )
        patched.start()
        self.addCleanup(patched.stop)
        self.bound: list[tuple[str, int]] = []
        self.bind_by(lambda host, port: self.bound.append((host, port)))

    def make_pair(
        self, begins: datetime.timedelta = -DAY, ends: datetime.timedelta = 90 * DAY, **how: Any
    ) -> None:
        """A certificate chain in tls.pem and its key, set in the environment."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority")])
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if how.get("self_signed") else issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(how.get("name", NAME))]), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        Path("cert.pem").write_bytes(built.public_bytes(Encoding.PEM))
        Path("key.pem").touch(mode=0o600)
        Path("key.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        os.environ["MAILNODE_TLS__CERT"] = "cert.pem"
        os.environ["MAILNODE_TLS__KEY"] = "key.pem"

    def bind_by(self, stand_in: Callable[[str, int], None]) -> None:
        patched = patch.object(checkup_network, "try_binding", stand_in)
        patched.start()
        self.addCleanup(patched.stop)

    def found(self, level: str) -> dict[str, str]:
        """topic to (what, mend) of the findings of one level; the exit code fits them."""
        result = self.run_json("doctor", exit_code=78 if level == "fault" else 0)
        told = [each for each in result["findings"] if each["level"] == level]
        for each in told:
            self.assertEqual(bool(each["mend"]), level != "good", each)
        return {each["topic"]: f"{each['what']} | {each['mend']}" for each in told}

    def fault(self, topic: str) -> str:
        return self.found("fault")[topic]

    def warning(self, topic: str) -> str:
        return self.found("warning")[topic]


class Healthy(DoctorCase):
    def test_a_good_node_has_neither_faults_nor_warnings(self) -> None:
        told = self.run_json("doctor")
        self.assertEqual((told["faults"], told["warnings"], told["healthy"]), (0, 0, True))
        self.assertIn("0 faults, 0 warnings", self.run_command("doctor").stdout)

    def test_nothing_is_changed(self) -> None:
        before = sorted(Path().rglob("*"))
        self.run_command("doctor")
        self.assertEqual(sorted(Path().rglob("*")), before)

    def test_a_fault_is_shown_first_with_its_mend_and_78(self) -> None:
        Path("users.db").unlink()
        lines = self.run_command("doctor", exit_code=78).stdout.splitlines()
        self.assertTrue(lines[0].startswith("fault:"))
        self.assertIn("mend: mailnode init", lines[1])


class People(DoctorCase):
    def test_no_users_db(self) -> None:
        Path("users.db").unlink()
        self.assertIn("mailnode init", self.fault("accounts"))

    def test_no_domain(self) -> None:
        Path("users.db").unlink()
        self.run_command("init")
        self.assertIn("mailnode domain add", self.fault("accounts"))

    def test_no_account_and_only_disabled_ones(self) -> None:
        self.run_command("user disable carol")
        self.assertIn("mailnode user enable carol@example.org", self.warning("accounts"))
        self.run_command("user delete carol --yes")
        self.assertIn("mailnode user add", self.warning("accounts"))

    def test_no_account_is_needed_where_a_function_takes_mail(self) -> None:
        self.run_command("user delete carol --yes")
        os.environ["MAILNODE_PLUGINS__DELIVERY"] = "mailnode.smtp.functions:FunctionMailboxes"
        self.assertNotIn("accounts", self.found("warning"))
        self.assertIn("FunctionMailboxes may take it", self.found("good")["accounts"])

    def test_an_alias_row_that_is_no_address_is_named(self) -> None:
        self.run_command("alias add sales carol")
        connection = sqlite3.connect("users.db")
        connection.execute("UPDATE alias SET target = 'carol at home'")
        connection.commit()
        connection.close()
        self.assertIn("DELETE FROM alias WHERE id = 1", self.fault("accounts"))

    def test_demo_accounts_are_a_warning_and_beyond_loopback_a_fault(self) -> None:
        self.make_accounts("demo@example.org", demo=True)
        self.assertIn("mailnode user delete demo@example.org", self.warning("demo"))
        os.environ["MAILNODE_LISTEN__SMTP"] = "2525"
        self.assertIn("demo", self.found("warning"))
        os.environ["MAILNODE_LISTEN__SMTP"] = "tcp:25"
        self.assertIn("refuses to start", self.fault("demo"))

    def test_an_alias_that_reaches_nobody(self) -> None:
        self.make_accounts("dave@example.org")
        self.run_command("alias add sales@example.org dave@example.org")
        self.run_command("user disable dave")
        self.assertIn("sales@example.org reaches nobody", self.warning("aliases"))

    def test_a_users_db_that_is_none_or_of_tomorrow(self) -> None:
        Path("users.db").write_bytes(b"nonsense " * 1000)
        self.assertIn("can't be used", self.fault("accounts"))
        self.assertIn("damaged", self.fault("database"))


class Files(DoctorCase):
    def test_each_file_that_others_may_read_is_named(self) -> None:
        loose = [Path("users.db"), Path("var"), Path("key.pem"), Path("var/blobs/ab/x")]
        loose[3].parent.mkdir(parents=True, mode=0o700)
        Path("var/blobs").chmod(0o700)
        loose[3].touch(mode=0o600)
        for path in loose:
            before = path.stat().st_mode
            path.chmod(before | 0o044)
            told = self.warning("files")
            self.assertIn(f"{path},", f"{told.partition(' read ')[2].replace(' |', ',')}")
            self.assertIn("chmod", told)
            path.chmod(before)
        self.assertNotIn("files", self.found("warning"))

    def test_many_are_counted(self) -> None:
        for number in range(9):
            Path("var", f"loose{number}").touch(mode=0o644)
        self.assertIn("and 4 more", self.warning("files"))

    def test_a_data_folder_that_is_a_file(self) -> None:
        Path("other").touch()
        os.environ["MAILNODE_NODE__DATA"] = "other"
        self.assertIn("no folder", self.fault("files"))

    def test_files_that_this_user_may_not_write(self) -> None:
        def refuse(path: object, mode: int) -> bool:
            return not (str(path) == "var" or mode == os.W_OK)

        with patch.object(checkup_files.os, "access", lambda path, mode: str(path) != "users.db"):
            self.assertIn("can't read users.db", self.fault("access"))
            self.assertIn("users.db", self.fault("files"))
        with patch.object(checkup_files.os, "access", refuse):
            self.assertIn("var can't be read and written", self.fault("files"))

    def test_a_damaged_mail_database(self) -> None:
        self.file_mail("carol@example.org")
        data = bytearray(Path("var/mail.db").read_bytes())
        data[8192:] = os.urandom(len(data) - 8192)
        Path("var/mail.db").write_bytes(data)
        self.assertIn("mail.db is damaged", self.fault("database"))


class Machine(DoctorCase):
    def room(self, free_octets: int, files: int = 10**6) -> Any:
        real = os.statvfs(".")
        values = list(real)
        values[0] = values[1] = 1  # f_bsize, f_frsize
        values[4] = free_octets  # f_bavail
        values[5], values[7] = 10**7, files  # f_files, f_favail
        return patch.object(checkup_files.os, "statvfs", lambda path: os.statvfs_result(values))

    def test_low_disk_by_the_setting_that_stops_mail(self) -> None:
        with self.room((256 << 20) - 1):
            self.assertIn("below 256.0 MiB no mail is taken", self.fault("disk"))
        with self.room(600 << 20):
            self.assertIn("make room soon", self.warning("disk"))
        with self.room(2 << 30):
            self.assertIn("2.0 GiB", self.found("good")["disk"])

    def test_no_files_left_to_make(self) -> None:
        with self.room(1 << 40, files=10):
            self.assertIn("only 10 more files", self.fault("disk"))

    def test_a_clock_that_never_was_right(self) -> None:
        with patch.object(checkup_files.time, "time", lambda: 86400.0):
            self.assertIn("1970", self.fault("clock"))

    def test_a_clock_that_went_back(self) -> None:
        os.utime("users.db", (time.time() + 7200,) * 2)
        self.assertIn("timedatectl", self.warning("clock"))

    def test_few_descriptors(self) -> None:
        with patch.object(checkup_files.resource, "getrlimit", lambda what: (256, 1024)):
            self.assertIn("1024 files", self.warning("descriptors"))

    def test_more_connections_than_descriptors(self) -> None:
        with patch.object(checkup_files.resource, "getrlimit", lambda what: (256, 20_000)):
            self.assertIn("a server lets in 14062", self.found("good")["descriptors"])
            os.environ["MAILNODE_LIMITS__CONNECTIONS"] = "30000"
            self.assertIn("(18750 together)", self.warning("descriptors"))
            os.environ["MAILNODE_LIMITS__CONNECTIONS"] = "5000"
            self.assertNotIn("descriptors", self.found("warning"))
            self.assertNotIn("descriptors", self.found("good"))


class Names(DoctorCase):
    def test_a_host_name_that_is_none_or_not_a_full_one(self) -> None:
        os.environ["MAILNODE_NODE__HOSTNAME"] = "mail box"
        told = self.run_command("doctor", exit_code=78)
        self.assertIn("node.hostname", told.output + told.stderr)
        for name in ("laptop", "laptop.local"):
            os.environ["MAILNODE_NODE__HOSTNAME"] = name
            told = self.warning("hostname")
            self.assertIn(name, told)
            self.assertIn("--hostname mail.example.org", told)

    def test_without_a_setting_the_machine_is_asked(self) -> None:
        del os.environ["MAILNODE_NODE__HOSTNAME"]
        with patch.object(checkup_network, "find_hostname", lambda: "box"):
            self.assertIn("box (this machine's)", self.warning("hostname"))


class Certificates(DoctorCase):
    def test_an_unreadable_or_missing_file(self) -> None:
        Path("key.pem").unlink()
        self.assertIn("can't read key.pem", self.fault("tls"))

    def test_what_is_no_pem(self) -> None:
        Path("cert.pem").write_text("hello")
        self.assertIn("not a PEM pair", self.fault("tls"))

    def test_a_key_of_another_certificate(self) -> None:
        cert = Path("cert.pem").read_bytes()
        self.make_pair()
        Path("cert.pem").write_bytes(cert)
        self.assertIn("not the key of", self.fault("tls"))

    def test_expired_about_to_and_not_yet_valid(self) -> None:
        self.make_pair(-9 * DAY, -DAY)
        self.assertIn("expired on", self.fault("tls"))
        self.make_pair(-9 * DAY, 5 * DAY)
        self.assertIn("expires on", self.warning("tls"))
        self.make_pair(DAY, 90 * DAY)
        self.assertIn("valid from", self.fault("tls"))

    def test_self_signed(self) -> None:
        self.make_pair(self_signed=True)
        self.assertIn("self-signed", self.warning("tls"))

    def test_for_another_name(self) -> None:
        self.make_pair(name="www.example.org")
        self.assertIn(f"not for the host name {NAME}", self.warning("tls"))
        self.make_pair(name="*.example.org")
        self.assertNotIn("tls", self.found("warning"))

    def test_for_one_of_our_making_the_mend_is_a_command(self) -> None:
        del os.environ["MAILNODE_TLS__CERT"], os.environ["MAILNODE_TLS__KEY"]
        make_self_signed(Path("var/tls"), "other.example.org")
        said = self.warning("tls")
        self.assertIn("not for the host name", said)
        self.assertRegex(said, f"rm .*var/tls/cert.pem; the node makes one for {NAME} at its next")

    def test_none_set_is_good_for_one_is_made(self) -> None:
        del os.environ["MAILNODE_TLS__CERT"], os.environ["MAILNODE_TLS__KEY"]
        self.assertIn("makes a self-signed one", self.found("good")["tls"])


class Ports(DoctorCase):
    def refuse(self, code: int) -> None:
        def bind(host: str, port: int) -> None:
            raise OSError(code, os.strerror(code))

        os.environ["MAILNODE_LISTEN__SMTP"] = "25"
        self.bind_by(bind)

    def test_a_free_port_on_both_families(self) -> None:
        os.environ["MAILNODE_LISTEN__POP3"] = "1100"
        self.assertIn("free", self.found("good")["ports"])
        self.assertEqual(self.bound, [("127.0.0.1", 1100), ("::1", 1100)])

    def test_a_taken_one(self) -> None:
        self.refuse(errno.EADDRINUSE)
        self.assertIn("taken by another program", self.fault("ports"))

    def test_one_that_needs_privileges(self) -> None:
        self.refuse(errno.EACCES)
        self.assertIn("--uid", self.fault("ports"))

    def test_an_address_of_another_machine(self) -> None:
        self.refuse(errno.EADDRNOTAVAIL)
        self.assertIn("an address of this machine", self.fault("ports"))

    def test_what_is_no_port(self) -> None:
        for text in ("bogus", "tcp:many", "99999"):
            os.environ["MAILNODE_LISTEN__SMTP"] = text
            self.assertIn("port", self.fault("ports"))

    def test_a_running_nodes_own_ports_are_not_taken(self) -> None:
        self.refuse(errno.EADDRINUSE)
        told = {"pid": os.getpid(), "hostname": NAME, "smtp": ["127.0.0.1:25", "[::1]:25"]}
        Path("var/listening.json").write_text(json.dumps(told))
        Path("var/listening.json").chmod(0o600)
        good = self.found("good")["ports"]
        self.assertIn(f"process {os.getpid()}", good)
        self.assertIn("smtp [::1]:25", good)

    def test_a_running_nodes_pair_is_looked_at_whatever_is_set_here(self) -> None:
        self.make_pair(ends=5 * DAY)
        cert, key = (Path(os.environ[f"MAILNODE_TLS__{name}"]) for name in ("CERT", "KEY"))
        for name in ("CERT", "KEY"):
            del os.environ[f"MAILNODE_TLS__{name}"]
        told = {"pid": os.getpid(), "hostname": NAME}
        told |= {"tls_cert": str(cert.absolute()), "tls_key": str(key.absolute())}
        Path("var/listening.json").write_text(json.dumps(told))
        Path("var/listening.json").chmod(0o600)
        self.assertIn(f"{cert.absolute()} expires on", self.warning("tls"))

    def run_node_with(self, config: str) -> None:
        told = {"pid": os.getpid(), "hostname": NAME, "config": os.path.abspath(config)}
        Path("var/listening.json").write_text(json.dumps(told))
        Path("var/listening.json").chmod(0o600)

    def test_a_running_node_s_file_of_settings_is_judged_and_another_one_is_told(self) -> None:
        Path("node.toml").write_text('[clamd]\nendpoint = "nonsense"\n')
        Path("other.toml").write_text("")
        self.run_node_with("node.toml")
        self.assertIn("'nonsense' is no endpoint", self.fault("judging"))
        Path("node.toml").write_text("")
        self.assertIn("read from " + os.path.abspath("node.toml"), self.found("good")["settings"])
        told = self.run_json("doctor --config other.toml")["findings"]
        words = f"has its settings from {os.path.abspath('node.toml')}, not from other.toml"
        self.assertTrue(any(words in each["what"] for each in told), told)
        Path("node.toml").write_text("[nonsense]\n")
        self.assertIn("there is no section [nonsense]", self.warning("settings"))

    def test_the_name_that_a_running_node_greets_by_is_not_the_certificate_s(self) -> None:
        self.run_node_with("mailnode.toml")
        Path("mailnode.toml").write_text("")
        told = {"pid": os.getpid(), "hostname": "other.example.org"}
        Path("var/listening.json").write_text(json.dumps(told))
        self.assertIn(
            "not for the host name other.example.org, by which the node greets", self.warning("tls")
        )

    def test_a_node_that_was_killed_is_not_running(self) -> None:
        told = {"pid": 2**22 + 1, "hostname": NAME, "smtp": ["127.0.0.1:25"]}
        Path("var/listening.json").write_text(json.dumps(told))
        Path("var/listening.json").chmod(0o600)
        self.assertIn("given to twistd", self.found("good")["ports"])

    def test_endpoints_are_read_as_twisted_reads_them(self) -> None:
        self.assertEqual(read_endpoint("25"), Listening(25, ("127.0.0.1", "::1")))
        self.assertEqual(read_endpoint("tcp:25"), Listening(25, ("0.0.0.0",)))
        self.assertEqual(read_endpoint("tcp6:port=25"), Listening(25, ("::",)))
        interface = read_endpoint(r"tcp:25:interface=\:\:1:backlog=9")
        self.assertEqual(interface, Listening(25, ("::1",)))
        self.assertIsNone(read_endpoint("unix:/run/mail.sock"))

    def test_who_is_beyond_loopback(self) -> None:
        for text in ("25", "tcp:25:interface=127.0.0.1", "[::1]:25", "127.0.0.1:25", "unix:/x"):
            self.assertFalse(beyond_loopback(text), text)
        for text in ("tcp:25", "tcp6:25", "0.0.0.0:25", "[::]:25", "192.0.2.1:25"):
            self.assertTrue(beyond_loopback(text), text)


class Judging(DoctorCase):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, bytes]] = []
        self.error: Exception | None = None
        patched = patch.object(checkup_judging, "ask", self.ask)
        patched.start()
        self.addCleanup(patched.stop)

    def ask(self, where: str, question: bytes, _expected: bytes) -> None:
        self.asked.append((where, question))
        if self.error is not None:
            raise self.error

    def test_a_program_that_answers_is_good(self) -> None:
        os.environ["MAILNODE_CLAMD__ENDPOINT"] = "unix:path=/run/clamd.ctl"
        os.environ["MAILNODE_MILTER__ENDPOINTS"] = "tcp:host=127.0.0.1:port=8891"
        told = [each for each in self.run_json("doctor")["findings"] if each["topic"] == "judging"]
        self.assertEqual(
            ["clamd answers at unix:path=/run/clamd.ctl",
             "a milter answers at tcp:host=127.0.0.1:port=8891"],
            [each["what"] for each in told],
        )  # fmt: skip
        self.assertEqual([b"zPING\0", b""], [question for _, question in self.asked])

    def test_one_that_does_not_says_what_becomes_of_mail(self) -> None:
        os.environ["MAILNODE_CLAMD__ENDPOINT"] = "unix:path=/run/clamd.ctl"
        for self.error, words in (
            (FileNotFoundError(errno.ENOENT, "No such file or directory"), ": No such file or"),
            (TimeoutError("timed out"), ": timed out; until it does, mail is put off"),
            (ValueError("another program is there"), ": another program is there;"),
        ):
            self.assertIn(words, self.fault("judging"))
        os.environ["MAILNODE_CLAMD__ON_FAILURE"] = "pass"
        self.assertIn("mail is taken unjudged | start it, or", self.warning("judging"))

    def test_a_place_that_can_not_be_read(self) -> None:
        os.environ["MAILNODE_RSPAMD__ENDPOINT"] = "127.0.0.1:11333"
        self.assertIn("[rspamd] '127.0.0.1:11333' is no endpoint", self.fault("judging"))
        self.assertEqual([], self.asked)

    def test_who_asks_nobody_is_told_nothing(self) -> None:
        self.assertNotIn("judging", self.found("good"))


class Resolvers(DoctorCase):
    def test_one_that_answers_is_good_and_one_that_does_not_is_named(self) -> None:
        os.environ["MAILNODE_OUTBOUND__RESOLVERS"] = "127.0.0.1:5353,192.0.2.53"
        self.assertIn("192.0.2.53:53 answers", self.found("good")["dns"])
        self.dns["127.0.0.1:5353"] = "nothing within 2 s"
        told = self.warning("dns")
        self.assertIn("127.0.0.1:5353 does not answer: nothing within 2 s", told)
        self.assertNotIn("no name can be looked up", told)
        self.assertIn("mend outbound.resolvers", told)

    def test_without_any_no_name_can_be_looked_up(self) -> None:
        os.environ["MAILNODE_OUTBOUND__RESOLVERS"] = "127.0.0.1:5353"
        self.dns["127.0.0.1:5353"] = "it says REFUSED"
        self.assertIn("no name can be looked up", self.warning("dns"))

    def test_a_port_where_nobody_is_does_not_answer(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        with patch.object(checkup_dns, "ANSWERS_WITHIN_S", 0.05):
            self.assertTrue(ask_server(Server("127.0.0.1", port)))


class Settings(DoctorCase):
    def test_a_mailnode_toml_that_is_not_read(self) -> None:
        Path("mailnode.toml").write_text("")
        self.assertIn("MAILNODE_CONFIG", self.warning("settings"))
        os.environ["MAILNODE_CONFIG"] = "mailnode.toml"
        self.assertIn("read from mailnode.toml", self.found("good")["settings"])

    def test_a_plug_in_that_can_not_be_had(self) -> None:
        for text in ("no.such.module:thing", "os.path:no_such", "mailnode.cli:main"):
            os.environ["MAILNODE_PLUGINS__FILTERS"] = text
            self.assertIn(text, self.fault("plugins"))

    def test_a_mailbox_s_function_that_is_named_as_delivery(self) -> None:
        os.environ["MAILNODE_PLUGINS__DELIVERY"] = "operator:eq"
        self.assertIn("FunctionMailboxes", self.fault("plugins"))

    def test_twistd_that_does_not_know_mailnode(self) -> None:
        with patch("mailnode.cli.checkup_settings.importlib.util.find_spec", lambda name: None):
            self.assertIn("editable_mode=compat", self.fault("twistd"))
