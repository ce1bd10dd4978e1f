"""`gear`: nothing leaves until somebody says so, and who goes live hears what is amiss first."""

from __future__ import annotations

from pathlib import Path

from mailnode.store.accounts import Accounts
from tests.unit.cli_case import CommandCase

NAMED = "[node]\nhostname = 'mx.mailnode.org'\n"


class Gears(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@mailnode.org")
        Path("mailnode.toml").write_text(NAMED)

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
