"""`gear`: nothing leaves until somebody says so, and who goes live hears what is amiss first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mailnode.cli.frame import Mistake
from mailnode.store.accounts import Accounts
from tests.unit.cli_case import CommandCase
from tests.unit.keys_case import FakeDns

GEAR = import_module("mailnode.cli.gear")  # the package has the command under this name
NAMED = "[node]\nhostname = 'mx.mailnode.org'\n"


class Gears(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@mailnode.org")
        Path("mailnode.toml").write_text(NAMED)
        self.dns = FakeDns(
            {
                ("mx.mailnode.org", "A"): ["8.8.8.8"],
                ("8.8.8.8.in-addr.arpa", "PTR"): ["mx.mailnode.org."],
                ("mailnode.org", "MX"): ["10 mx.mailnode.org."],
                ("mailnode.org", "TXT"): ["v=spf1 mx ~all"],
                ("s1._domainkey.mailnode.org", "TXT"): ["v=DKIM1; k=rsa; p=public"],
                ("_dmarc.mailnode.org", "TXT"): ["v=DMARC1; p=none"],
            }
        )
        self.patch(GEAR, "make_look_up", lambda _config, _server: self.dns.look_up)
        self.patch(GEAR, "outward_addresses", lambda: ("8.8.8.8",))

    def findings(self, more: str = "", exit_code: int = 78) -> dict[str, Any]:
        """topic to what is found, where only signing is as it should be."""
        told = self.run_json(f"gear set live --config mailnode.toml{more}", exit_code=exit_code)
        self.assertEqual(told["changed"], exit_code == 0)
        return {each["topic"]: f"{each['what']} | {each['mend']}" for each in told["findings"]}

    def sign(self) -> None:
        accounts = Accounts.open("users.db")
        accounts.outside.add_key("mailnode.org", "s1", "rsa-sha256", b"sealed", "public")
        accounts.close()

    def test_a_new_node_captures_and_says_how_it_goes_live(self) -> None:
        self.assertEqual(self.run_json("gear show"), {"gear": "capture", "allow": []})
        self.assertIn("mailnode gear set live", self.run_command("gear show").stdout)

    def test_the_allow_list_is_kept_for_later(self) -> None:
        told = self.run_json("gear set allow-list --allow Example.net --allow bob@example.com")
        self.assertEqual(
            (told["gear"], told["allow"]), ("allow-list", ["example.net", "bob@example.com"])
        )
        self.assertIn("example.net, bob@example.com", self.run_command("gear show").stdout)
        self.run_command("gear set capture")
        self.assertIn("not asked in this gear", self.run_command("gear show").stdout)
        told = self.run_json("gear set allow-list")
        self.assertEqual(told["allow"], ["example.net", "bob@example.com"])

    def test_mistakes_are_one_line_and_change_nothing(self) -> None:
        self.assertIn("the list is empty", self.refusal("gear set allow-list", 65))
        self.refusal("gear set allow-list --allow 'a b'", 65)
        self.assertIn("goes with allow-list", self.refusal("gear set live --allow a.example", 64))
        self.refusal("gear set reverse", 64)
        self.assertEqual(self.run_json("gear show"), {"gear": "capture", "allow": []})

    def test_it_goes_live_when_nothing_is_amiss(self) -> None:
        self.sign()
        told = self.run_json("gear set live --config mailnode.toml")
        self.assertEqual((told["gear"], told["changed"], told["findings"]), ("live", True, []))
        self.assertIn("live: mail for other hosts leaves", self.run_command("gear show").stdout)

    def test_a_domain_that_signs_nothing_stands_in_the_way_until_yes(self) -> None:
        told = self.run_json("gear set live --config mailnode.toml", exit_code=78)
        self.assertEqual((told["gear"], told["changed"]), ("capture", False))
        self.assertEqual([each["topic"] for each in told["findings"]], ["dkim"])
        said = self.run_command("gear set live --config mailnode.toml", exit_code=78).stdout
        self.assertIn("mend: mailnode dkim generate mailnode.org", said)
        self.assertIn("the gear stays capture", said)
        self.assertEqual(self.run_json("gear show")["gear"], "capture")
        told = self.run_json("gear set live --yes --config mailnode.toml")
        self.assertEqual((told["gear"], len(told["findings"])), ("live", 1))

    def test_each_record_that_receivers_look_at_is_compared_with_what_is_published(self) -> None:
        self.sign()
        amiss: Sequence[tuple[tuple[str, str], Sequence[str] | None, str, str]] = (
            (("mx.mailnode.org", "A"), (), "address", "has no address in the DNS"),
            (("mx.mailnode.org", "A"), ("9.9.9.9",), "address", "sends from 8.8.8.8"),
            (("8.8.8.8.in-addr.arpa", "PTR"), (), "ptr", "8.8.8.8 has no name"),
            (("8.8.8.8.in-addr.arpa", "PTR"), ("h8.example.net.",), "ptr", "name it mx.mailnode"),
            (("mailnode.org", "MX"), (), "mx", "mailnode dns check mailnode.org"),
            (("mailnode.org", "TXT"), ("v=spf1 -all",), "spf", "is published as v=spf1 -all"),
            (("s1._domainkey.mailnode.org", "TXT"), (), "dkim", "s1._domainkey.mailnode.org"),
            (("_dmarc.mailnode.org", "TXT"), (), "dmarc", "is not published"),
            (("_dmarc.mailnode.org", "TXT"), None, "dns", "could not tell TXT of _dmarc"),
        )
        for key, values, topic, words in amiss:
            kept, self.dns[key] = self.dns[key], values
            self.assertIn(words, self.findings()[topic], key)
            self.dns[key] = kept
        self.assertEqual(self.findings(exit_code=0), {})

    def test_who_only_sends_may_have_its_mail_taken_elsewhere(self) -> None:
        self.sign()
        self.dns["mailnode.org", "MX"] = ["10 mx.elsewhere.example."]
        self.assertEqual(self.findings(exit_code=0), {})

    def test_without_a_dns_that_answers_that_is_what_is_found_and_yes_goes_on(self) -> None:
        self.sign()

        def fail(*_: object) -> None:
            raise Mistake("no DNS server answers (192.0.2.1); name another by --server ADDRESS")

        self.patch(self.dns, "look_up", fail)
        self.assertEqual(list(self.findings()), ["dns"])
        self.assertIn("no DNS server answers (192.0.2.1) | see", self.findings()["dns"])
        self.patch(GEAR, "make_look_up", fail)
        self.assertEqual(list(self.findings(" --yes", exit_code=0)), ["dns"])

    def test_port_25_is_tried_with_whom_one_names_and_with_nobody_else(self) -> None:
        self.sign()
        said = self.run_command("gear set live --config mailnode.toml").stdout
        self.assertIn("port 25 is open outwards was not tried", said)
        self.dns["known.example", "MX"] = ["20 b.known.example.", "10 a.known.example."]
        self.dns["a.known.example", "A"] = ["127.0.0.1"]
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            Path("mailnode.toml").write_text(f"{NAMED}[outbound]\nport = {port}\n")
            heard: list[bytes] = []
            for greeting, exit_code in ((b"220 hello\r\n", 0), (b"554 not you\r\n", 78)):
                answering = threading.Thread(target=_greet, args=(listening, greeting, heard))
                answering.start()
                found = self.findings(" --probe known.example", exit_code)
                answering.join(10)
            self.assertIn("greets with '554 not you'", found["port"])
            self.assertEqual(heard, [b"QUIT\r\n"] * 2)
        found = self.findings(" --probe known.example")
        self.assertIn("a.known.example [127.0.0.1] can't be reached at port", found["port"])
        self.dns["none.example", "MX"] = ["0 ."]
        self.assertIn("has no mail host", self.findings(" --probe none.example")["port"])
        self.refusal("gear set capture --probe known.example", 64)

    def test_demo_accounts_reserved_domains_and_a_bare_host_name_do_too(self) -> None:
        self.sign()
        self.make_accounts("eve@demo.example", demo=True)
        Path("mailnode.toml").write_text("[node]\nhostname = 'mailhost'\n")
        told = self.run_json("gear set live --config mailnode.toml", exit_code=78)
        topics = [each["topic"] for each in told["findings"]]
        self.assertEqual(topics, ["hostname", "domains", "demo"])

    def test_without_a_domain_there_is_nobody_to_send(self) -> None:
        self.run_command("init --users empty.db")
        told = self.run_json("gear set live --users empty.db", exit_code=78)
        self.assertIn("no domain is served", [each["what"] for each in told["findings"]])

    def test_init_says_how_to_send_to_the_world(self) -> None:
        said = self.run_command("init --users new.db").stdout
        self.assertIn("to send to the world: mailnode gear set live", said)
        self.assertEqual(self.run_json("init")["gear"], "capture")
        self.run_command("gear set live --yes")
        self.assertNotIn("gear set live", self.run_command("init").stdout)


def _greet(listening: socket.socket, greeting: bytes, heard: list[bytes]) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(10)
        connection.sendall(greeting)
        heard.append(connection.recv(64))
