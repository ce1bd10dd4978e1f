"""The page of bans: who can't sign in from where, and what an administrator does about it."""

from __future__ import annotations

from mailnode.store.guard import Ban, Block
from tests.unit.admin_case import AT, AdminCase

PATH = "/admin/bans"


class BanTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def ban(self, network: str = "198.51.100.0/24", for_s: str = "86400", reason: str = "") -> str:
        """What the page says then, as words."""
        said = self.sent(PATH, **{"network": network, "for": for_s, "reason": reason})
        return said.text if said.status != 303 else self.ask(PATH).text

    def test_who_is_kept_out_stands_there_with_why_and_until_when(self) -> None:
        self.keeping_out.bans = [Ban("192.0.2.7/32", AT, None, "a <b>bot</b>", "alice@x")]
        self.keeping_out.blocks = [
            Block("203.0.113.9", 0, AT + 60, 1),
            Block("2001:db8::/64", 2, AT + 60, 3),
            Block("203.0.113.8", 77, AT + 60, 1),
        ]
        page = self.ask(PATH).text
        for words in (
            "<code>192.0.2.7</code>", "a &lt;b&gt;bot&lt;/b&gt;, by alice@x", "it is lifted",
            "<code>203.0.113.9</code>", "guessed passwords<", "all accounts",
            "guessed passwords, 3 times by now", ">bob@example.test<", ">an account<",
        ):  # fmt: skip
            self.assertIn(words, page)

    def test_a_network_is_banned_for_a_time_and_lifted(self) -> None:
        page = self.ban(reason="guessed for a week")
        self.assertIn("Nobody signs in from 198.51.100.0/24 any more, for a day.", page)
        (ban,) = self.keeping_out.bans
        kept = ban.network, ban.until, ban.reason, ban.made_by
        self.assertEqual(
            ("198.51.100.0/24", AT + 86400, "guessed for a week", "alice@example.test"), kept
        )
        self.sent(f"{PATH}/lift", network="198.51.100.0/24")
        self.assertIn("From 198.51.100.0/24 one can sign in again.", self.ask(PATH).text)
        self.assertEqual(["198.51.100.0/24 by alice@example.test"], self.keeping_out.told)

    def test_one_can_hold_until_it_is_lifted(self) -> None:
        self.assertIn(
            "Nobody signs in from 192.0.2.1 any more, until it is lifted.",
            self.ban("192.0.2.1", ""),
        )
        self.assertEqual([None], [each.until for each in self.keeping_out.bans])

    def test_what_is_no_ban_is_told_at_its_field_and_stays_as_typed(self) -> None:
        for given, words in (
            ({"network": "my neighbour"}, "is neither an address nor a network"),
            ({"network": ""}, "is neither an address nor a network"),
            ({"network": "127.0.0.0/8"}, "This machine&#39;s own addresses are never banned."),
            ({"for_s": "1"}, "Choose for how long."),
            ({"reason": "x" * 201}, "At most 200 characters, in one line."),
            ({"reason": "two\nlines"}, "At most 200 characters, in one line."),
        ):
            page = self.ban(**given)
            self.assertIn(words, page)
            self.assertIn(f'value="{given.get("network", "198.51.100.0/24")}"', page)
        self.assertEqual([], self.keeping_out.bans)

    def test_nobody_shuts_themselves_out(self) -> None:
        elsewhere = {"client": "192.0.2.77", "tls": True}
        self.jar.clear()
        self.sign_in(**elsewhere)
        form = {"network": "192.0.2.0/24", "for": "", "csrf": self.csrf(**elsewhere)}
        said = self.ask(PATH, form=form, **elsewhere)
        self.assertEqual(422, said.status)
        self.assertIn("You are at 192.0.2.77, so you could not sign in again yourself.", said.text)
        self.assertEqual([], self.keeping_out.bans)

    def test_what_is_not_banned_is_said_and_so_is_what_is_no_network(self) -> None:
        for network, words in (
            ("192.0.2.1", "Nobody is banned or blocked at 192.0.2.1."),
            ("elsewhere", "is neither an address nor a network"),
        ):
            self.sent(f"{PATH}/lift", network=network)
            self.assertIn(words, self.ask(PATH).text)

    def test_of_very_many_the_first_are_shown(self) -> None:
        self.keeping_out.blocks = [Block(f"10.0.{n >> 8}.{n & 255}", 0, AT, 1) for n in range(900)]
        page = self.ask(PATH).text
        self.assertIn("The first 500 of 900", page)
        self.assertEqual(500, page.count("Lift it for"))
