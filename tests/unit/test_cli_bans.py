"""`mailnode ban`: from where nobody signs in, beside a node that runs or doesn't."""

from __future__ import annotations

import time
from unittest.mock import patch

from mailnode.audited import Actor
from mailnode.cli.node import operator
from mailnode.store.audit_lines import read_back
from mailnode.store.guard import GuardFile
from tests.unit.cli_case import CommandCase


class BanTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "var").mkdir(mode=0o700)

    def block(self, address: str, account_id: int = 0, times: int = 1) -> None:
        file = GuardFile(self.folder / "var")
        now = time.time()
        file.write([], [(address, account_id, 0, now, now + 600, times)], [])
        file.close()

    def test_a_network_is_banned_for_a_time_or_until_it_is_removed(self) -> None:
        self.run_command("ban add 192.0.2.7/24 --for 7d --reason 'guessed for a week'")
        self.run_command("ban add 2001:DB8::1 198.51.100.7")
        bans = {each["network"]: each for each in self.run_json("ban list")["bans"]}
        self.assertEqual({"192.0.2.0/24", "2001:db8::1/128", "198.51.100.7/32"}, set(bans))
        made = bans["192.0.2.0/24"]
        self.assertAlmostEqual(7 * 86400, made["until"] - made["made_at"])
        self.assertEqual(("guessed for a week", "command"), (made["reason"], made["made_by"]))
        self.assertIsNone(bans["2001:db8::1/128"]["until"])
        listed = self.run_command("ban list").stdout
        self.assertIn("guessed for a week, by command", listed)
        self.assertIn("until it is removed", listed)
        self.run_command("ban remove 198.51.100.7 2001:db8::1")
        self.assertEqual(1, len(self.run_json("ban list")["bans"]))

    def test_addresses_that_are_blocked_for_guessing_are_listed_and_let_go(self) -> None:
        self.make_accounts("alice@example.test")
        self.block("192.0.2.1", times=5)
        (account,) = self.run_json("user list")
        self.block("192.0.2.2", account_id=account["id"])
        blocks = self.run_json("ban list")["blocks"]
        told = {each["address"]: (each["account"], each["times"]) for each in blocks}
        self.assertEqual({"192.0.2.1": (None, 5), "192.0.2.2": ("alice@example.test", 1)}, told)
        listed = self.run_command("ban list").stdout
        self.assertIn("for the 5th time", listed)
        self.assertIn("of alice@example.test", listed)
        self.run_command("ban remove 192.0.2.0/24")
        self.assertEqual([], self.run_json("ban list")["blocks"])

    def test_the_audit_stream_has_who_banned_and_lifted_which_network(self) -> None:
        self.block("192.0.2.9")
        self.run_command("ban add 192.0.2.0/24 --for 7d --reason why")
        self.run_command("ban add 198.51.100.7")
        self.run_command("ban remove 192.0.2.0/24 198.51.100.7")
        told = [each.entry for each in read_back(self.folder / "var")][::-1]
        self.assertEqual(
            [
                ("banned", {"network": "192.0.2.0/24", "for_s": 604800, "reason": "why"}),
                ("banned", {"network": "198.51.100.7"}),
                ("unbanned", {"network": "192.0.2.0/24", "blocks": 1}),
                ("unbanned", {"network": "198.51.100.7"}),
            ],
            [(each.event, dict(each.detail)) for each in told],
        )
        self.assertEqual({Actor(operator(), "command line")}, {each.actor for each in told})

    def test_of_several_those_that_were_lifted_before_a_fault_are_in_the_audit_stream(self) -> None:
        self.run_command("ban add 192.0.2.0/24")
        self.refusal("ban remove 192.0.2.0/24 198.51.100.7", 67)
        self.assertEqual("unbanned", next(read_back(self.folder / "var")).entry.event)

    def test_a_running_node_is_rung(self) -> None:
        with patch("mailnode.cli.bans.ring_from_outside") as rings:
            self.run_command("ban add 192.0.2.7")
            self.run_command("ban remove 192.0.2.7")
        self.assertEqual(["bans", "bans"], [call.args[1] for call in rings.call_args_list])

    def test_what_cannot_be_banned_or_lifted_is_said_in_one_line(self) -> None:
        self.assertIn("neither an address", self.refusal("ban add example.org", 65))
        self.assertIn("this machine", self.refusal("ban add 127.0.0.1", 65))
        self.refusal("ban add 192.0.2.1 --for never", 64)
        self.refusal("ban add 192.0.2.1 --for 0", 64)
        self.assertIn("no unit; 7d?", self.refusal("ban add 192.0.2.1 --for 7", 64))
        self.refusal(f"ban add 192.0.2.1 --reason '{'x' * 201}'", 65)
        self.assertIn("ban list", self.refusal("ban remove 192.0.2.1", 67))
        self.assertEqual([], self.run_json("ban list")["bans"])

    def test_of_an_address_in_a_network_that_is_banned_the_network_is_named(self) -> None:
        self.run_command("ban add 192.0.2.0/24 2001:db8::/32 198.51.100.0/24")
        said = self.refusal("ban remove 192.0.2.7", 67)
        self.assertIn("192.0.2.7 is not banned; its network is: 192.0.2.0/24", said)
        self.assertEqual(3, len(self.run_json("ban list")["bans"]))

    def test_without_a_node_there_is_nothing_to_ban_it_from(self) -> None:
        (self.folder / "var").rmdir()
        self.assertIn("no", self.refusal("ban add 192.0.2.1", 78))
        self.assertIn("nobody is kept out", self.run_command("ban list").stdout)
