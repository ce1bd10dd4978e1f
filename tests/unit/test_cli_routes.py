"""`route`: ways are added, listed, deleted and explained, and mistakes are told in words."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli_case import CommandCase


class RouteCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@example.org", "bob@example.org")
        Path("secret").write_text("correct horse\n")


class Routes(RouteCase):
    def test_one_is_added_listed_and_deleted(self) -> None:
        added = self.run_json("route add Example.NET smtp://relay.example:2525 --tls none")
        self.assertEqual(
            added,
            {
                "pattern": "example.net",
                "target": "smtp://relay.example:2525",
                "kind": "smtp",
                "host": "relay.example",
                "port": 2525,
                "user": "",
                "password_file": "",
                "tls": "none",
            },
        )
        self.assertEqual(self.run_json("route list"), [added])
        self.assertIn("smtp://relay.example:2525", self.run_command("route list").stdout)
        self.run_command("route delete EXAMPLE.net")
        self.assertEqual(self.run_json("route list"), [])
        self.assertIn("by MX", self.run_command("route list").stdout)

    def test_each_target_is_told_in_words(self) -> None:
        for number, (target, words) in enumerate(
            {
                "mx": "the hosts that the DNS names (MX)",
                "discard": "is thrown away",
                "refuse": "back to its sender",
                "hold": "until somebody releases it",
                "smtp://[2001:db8::1]": "goes to [2001:db8::1] port 25 by SMTP",
                "smtps://relay": "goes to relay port 465 by SMTP inside TLS",
                "lmtp:///run/lmtp": "goes to the socket /run/lmtp by LMTP",
            }.items()
        ):
            said = self.run_command(f"route add d{number}.example {target}").stdout
            self.assertIn(words, said)

    def test_a_password_stands_in_a_file_that_is_looked_at(self) -> None:
        line = "route add '*' smtps://carol@relay.example --password-file"
        added = self.run_json(f"{line} secret")
        self.assertEqual(
            (added["user"], added["password_file"], added["tls"]),
            ("carol", str(self.folder / "secret"), "verify"),
        )
        self.assertIn("nowhere: No such file", self.refusal(f"{line} nowhere", 66))
        Path("secret").write_text("\n")
        self.assertIn("holds no password", self.refusal(f"{line} secret", 78))

    def test_a_mistake_is_one_line_and_changes_nothing(self) -> None:
        self.run_command("route add example.net hold")
        for line, code, words in (
            ("example.net mx", 73, "mailnode route delete 'example.net'"),
            ("'a b' mx", 65, "no address, domain, .suffix or *"),
            ("example.com relay:25", 65, "did you mean smtp://relay:25?"),
            ("example.com smtps://u:p@relay", 65, "--password-file"),
            ("example.com hold --tls may", 65, "takes no --tls"),
            ("example.com mx --tls always", 64, "always"),
        ):
            self.assertIn(words, self.refusal(f"route add {line}", code))
        self.assertEqual(["example.net"], [row["pattern"] for row in self.run_json("route list")])
        self.assertIn("mailnode route list", self.refusal("route delete example.com", 67))

    def test_a_route_that_would_never_count_is_told(self) -> None:
        said = self.run_command("route add bob@example.org hold").stdout
        self.assertIn("a domain of this node", said)


class Testing(RouteCase):
    def test_it_says_which_route_wins_and_that_the_mail_stays(self) -> None:
        self.run_command("route add .net smtp://relay.example")
        self.run_command("route add example.net smtps://u@other.example --password-file secret")
        said = self.run_command("route test Bob@Example.net").stdout
        for words in ("example.net", "other.example port 465", "as u, password in", "capture: it"):
            self.assertIn(words, said)
        (told,) = self.run_json("route test bob@x.example.net")["elsewhere"]
        self.assertEqual(
            (told["pattern"], told["host"], told["has_route"], told["gear"], told["leaves"]),
            (".net", "relay.example", True, "capture", False),
        )

    def test_without_a_route_it_goes_by_mx_as_the_gear_allows(self) -> None:
        self.run_command("gear set allow-list --allow example.com")
        (told,) = self.run_json("route test bob@example.com")["elsewhere"]
        self.assertEqual((told["kind"], told["has_route"], told["leaves"]), ("mx", False, True))
        self.assertIn("none of its own", self.run_command("route test bob@example.com").stdout)
        self.assertIn("nothing on its list", self.run_command("route test bob@a.example").stdout)

    def test_mail_for_this_node_is_filed_and_what_an_alias_forwards_goes_its_way(self) -> None:
        self.run_command("alias add team@example.org alice@example.org x@example.net")
        self.run_command("route add example.net hold")
        told = self.run_json("route test team@example.org")
        self.assertEqual(told["mailboxes"], ["alice@example.org"])
        (forwarded,) = told["elsewhere"]
        self.assertEqual((forwarded["address"], forwarded["kind"]), ("x@example.net", "hold"))
        said = self.run_command("route test team@example.org").stdout
        self.assertIn("is filed here, for alice@example.org", said)
        self.assertRegex(said, r"forwarded to +x@example.net")

    def test_an_address_that_nobody_has_here_is_67(self) -> None:
        self.refusal("route test nobody@example.org", 67)


class Forwarding(RouteCase):
    def test_an_alias_may_lead_elsewhere_and_it_is_told(self) -> None:
        said = self.run_command("alias add sales@example.org bob@example.org x@example.net").stdout
        self.assertIn("to x@example.net it is forwarded to another host", said)
        self.assertNotIn(
            "forwarded", self.run_command("alias add info@example.org bob@example.org").stdout
        )
        self.assertEqual(
            self.run_json("alias list")[0]["targets"], ["bob@example.org", "x@example.net"]
        )
