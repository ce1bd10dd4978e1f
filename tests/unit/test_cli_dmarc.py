"""`mailnode dmarc`: what was collected, and what a domain would be sent."""

from __future__ import annotations

import os
import time
from unittest.mock import patch

from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.outbound.tls_outcomes import day_of
from mailnode.store.dmarc_file import DMARC
from mailnode.store.dmarc_rows import SENT, Bounds, count_mails, settle
from mailnode.store.own_file import OwnFile
from tests.unit.cli_case import CommandCase
from tests.unit.reports_case import DAY, DOMAIN, PUBLISHED, RECORD, read_feedback, seen

OTHER = Published("other.test", "v=DMARC1; p=none; rua=mailto:a@other.test")


class DmarcTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("carol@example.org")
        (self.folder / "var").mkdir(exist_ok=True)

    def collect(
        self, *rows: Seen, day: str = DAY, published: Published = PUBLISHED, most: int = 100
    ) -> None:
        file = OwnFile(DMARC, self.folder / "var")
        connection, _ = file.open()
        counted = {(day, published, each): 1 for each in rows or (seen(),)}
        count_mails(connection, counted, Bounds(rows_each=most))
        file.close()

    def settle(self, report_id: int, note: str) -> None:
        file = OwnFile(DMARC, self.folder / "var")
        settle(file.open()[0], report_id, SENT, time.time(), note)
        file.close()

    def test_it_shows_by_day_and_domain_what_came_and_became_of_it(self) -> None:
        self.collect(seen(), seen(source="192.0.2.8"))
        self.collect(published=OTHER, day="2025-01-02")
        self.settle(1, "to dmarc@remote.test")
        told = self.run_command("dmarc show").stdout
        self.assertRegex(told, rf"{DAY} +{DOMAIN} +2 +2 +sent +to dmarc@remote.test")
        self.assertRegex(told, r"2025-01-02 +other.test +1 +1 +open")
        self.assertNotIn(DOMAIN, self.run_command("dmarc show --day 2025-01-02").stdout)
        self.assertEqual(
            [(DAY, DOMAIN, 2, "sent"), ("2025-01-02", "other.test", 1, "open")],
            [
                (each["day"], each["domain"], each["mails"], each["state"])
                for each in self.run_json("dmarc show")
            ],
        )

    def test_of_one_domain_it_shows_what_came_from_where(self) -> None:
        override = (("local_policy", "nothing is refused by DMARC here"),)
        self.collect(seen(disposition="quarantine", overrides=override, envelope_from=""))
        told = self.run_command(f"dmarc show --domain {DOMAIN}").stdout
        self.assertIn(RECORD, told)
        self.assertRegex(told, r"1 +192.0.2.7 +quarantine +pass +fail +remote.test +<>")
        self.assertIn("local_policy: nothing is refused by DMARC here", told)
        ((row,),) = [each["rows"] for each in self.run_json(f"dmarc show --domain {DOMAIN}")]
        self.assertEqual(
            ("192.0.2.7", [{"domain": DOMAIN, "selector": "s1", "result": "pass"}]),
            (row["source"], row["signatures"]),
        )

    def test_it_says_how_many_found_no_room(self) -> None:
        self.collect(seen(), seen(source="192.0.2.8"), most=1)
        self.assertIn(f"{DAY}: 1 mail found no room", self.run_command("dmarc show").stdout)

    def test_what_strangers_wrote_steers_no_terminal(self) -> None:
        self.collect(seen(header_from="a\x1b[2Jb"))
        self.assertNotIn("\x1b", self.run_command(f"dmarc show --domain {DOMAIN}").stdout)

    def test_it_prints_the_report_that_would_be_sent(self) -> None:
        self.collect(seen(), seen(source="192.0.2.8"))
        told = self.run_command(f"dmarc report --domain {DOMAIN} --day {DAY}").stdout
        read = read_feedback(told.encode())
        self.assertEqual(2, len(read["record"]))
        self.assertEqual("postmaster@example.org", read["report_metadata"]["email"])
        named = {
            "MAILNODE_JUDGING__DMARC_REPORTER": "dmarc@example.org",
            "MAILNODE_JUDGING__DMARC_ORGANIZATION": "Example, Inc.",
        }
        with patch.dict(os.environ, named):
            ((facts),) = self.run_json(f"dmarc report --domain {DOMAIN} --day {DAY}")
        metadata = read_feedback(facts["xml"].encode())["report_metadata"]
        self.assertEqual(
            ("dmarc@example.org", "Example, Inc."), (metadata["email"], metadata["org_name"])
        )

    def test_without_a_day_it_is_todays(self) -> None:
        self.collect(day=day_of(time.time()))
        self.assertIn("<feedback>", self.run_command(f"dmarc report --domain {DOMAIN}").stdout)
        self.run_command(f"dmarc report --domain {DOMAIN} --day today")

    def test_what_was_not_collected_is_said_so(self) -> None:
        told = self.refusal("dmarc show", 66)
        self.assertIn("nothing was collected yet; set judging.dmarc_reports to collect", told)
        self.collect()
        told = self.refusal("dmarc report --domain x.test --day 2025-01-01", 66)
        self.assertIn("nothing was collected of x.test on 2025-01-01", told)
        self.assertIn("no day; one is such as", self.refusal("dmarc show --day soon", 64))
        self.assertIn("nothing", self.run_command("dmarc show --day yesterday").stdout)
