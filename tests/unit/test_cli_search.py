"""`search` and `index`: mail is found from the command line, and its index looked after."""

from __future__ import annotations

from mailnode.cli.frame import EX_CONFIG, EX_DATAERR, EX_NOUSER
from tests.unit.cli_case import CommandCase

ORDER = (
    b"From: Shop <shop@example.net>\r\nTo: carol@example.org\r\nSubject: Your order\r\n\r\n"
    b"Two chairs and a table\r\n"
)


class SearchTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("carol@example.org", "dave@example.org")

    def test_mail_is_found_by_what_it_says(self) -> None:
        mail_id = self.file_mail("carol@example.org", body=ORDER)
        self.file_mail("carol@example.org")
        self.file_mail("dave@example.org", body=ORDER)
        (found,) = self.run_json("search carol@example.org chairs from:shop")
        self.assertEqual(found["mail_id"], mail_id)
        self.assertEqual(found["subject"], "Your order")
        self.assertEqual(found["copies"], [{"folder": "INBOX", "uid": 1, "flags": 0}])
        shown = self.run_command("search carol@example.org chairs").stdout
        self.assertIn("Your order", shown)
        self.assertIn(mail_id, shown)

    def test_what_came_since_the_last_search_is_found(self) -> None:
        self.file_mail("carol@example.org", body=ORDER)
        self.assertEqual(len(self.run_json("search carol@example.org table")), 1)
        self.file_mail("carol@example.org", body=ORDER)
        self.assertEqual(len(self.run_json("search carol@example.org table")), 2)

    def test_only_so_many_are_shown_and_that_is_told(self) -> None:
        for _ in range(3):
            self.file_mail("carol@example.org", body=ORDER)
        self.assertEqual(len(self.run_json("search carol@example.org --limit 2 table")), 2)
        told = self.run_command("search carol@example.org --limit 2 table").stdout
        self.assertIn("the newest 2", told)

    def test_nothing_found_is_told(self) -> None:
        self.file_mail("carol@example.org")
        self.assertIn("no mail of carol", self.run_command("search carol@example.org zebra").stdout)
        self.assertEqual(self.run_json("search carol@example.org zebra"), [])

    def test_what_can_t_be_looked_for_is_one_line(self) -> None:
        self.file_mail("carol@example.org")
        told = self.refusal("search carol@example.org before:yesterday", EX_DATAERR)
        self.assertIn("before:2026-01-31", told)
        self.assertIn("INBOX", self.refusal("search carol@example.org in:Nowhere", EX_DATAERR))
        self.refusal("search nobody@example.org x", EX_NOUSER)

    def test_without_a_node_s_data_it_says_so(self) -> None:
        self.refusal("search carol@example.org x", EX_CONFIG)

    def test_what_stands_behind_two_hyphens_may_begin_with_one(self) -> None:
        self.file_mail("carol@example.org", body=ORDER)
        found = self.run_command("search --json carol@example.org -- table -chairs").stdout
        self.assertEqual(found, "[]\n")


class IndexTests(CommandCase):
    def test_it_tells_how_far_it_is_and_is_made_anew(self) -> None:
        self.make_accounts("carol@example.org")
        self.file_mail("carol@example.org", body=ORDER)
        (row,) = self.run_json("index status")
        self.assertEqual((row["indexed"], row["mails"], row["done"]), (0, 1, False))
        self.assertIn("1 mail indexed", self.run_command("index rebuild").stdout)
        (row,) = self.run_json("index status carol@example.org")
        self.assertEqual((row["indexed"], row["mails"], row["done"]), (1, 1, True))
        (self.folder / "var" / "index" / f"{row['account_id']}.db").write_bytes(b"damaged")
        self.assertIn("not all yet", self.run_command("index status").stdout)
        self.run_command("index rebuild carol@example.org")
        self.assertEqual(len(self.run_json("search carol@example.org chairs")), 1)
