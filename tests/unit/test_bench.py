"""The bench's tables, charts and page say what the records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.dom import minidom

from twisted.trial.unittest import SynchronousTestCase

from tests.bench import charts, page, tables
from tests.bench.cells import CELLS, NOBODY_DEAD, choose
from tests.bench.results import Results, Spread, read
from tests.bench.targets import PEERS, peer_names

RUN = {
    "kind": "run",
    "command": "make bench CELLS=a20",
    "began": "2026-11-23 07:00 UTC",
    "commit": "abc1234",
    "machine": "2 cores",
    "python": "3.11.7",
    "twisted": "26.10.0",
    "load_average": 0.25,
    "peers": {"postfix": {"about": "virtual(8)", "version": "3.7.11"}},
    "repeats": 5,
    "seconds": 2.5,
    "fewer": 1,
}


def accepted(
    target: str, repeat: int, rate: float, cpu: float = 0.4, **more: Any
) -> dict[str, Any]:
    return {
        "kind": "smtp",
        "cell": "a20",
        "target": target,
        "repeat": repeat,
        "arrived_rate": rate,
        "cpu_1000": cpu,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "resident": 64 << 20,
        "later_s": 0.0,
        "failed": 0,
        "missing": 0,
        **more,
    }


def results(*records: dict[str, Any], **run: Any) -> Results:
    told = Results()
    told.add(RUN | run)
    for record in records:
        told.add(record)
    told.add({"kind": "end", "took_s": 90.0, "ended": "2026-11-23 07:02 UTC"})
    return told


def three(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Results:
    records = [accepted("mailnode", at, rate) for at, rate in enumerate(ours)]
    records += [accepted("postfix", at, rate, 2.5) for at, rate in enumerate(theirs)]
    return results(*records)


class Figures(SynchronousTestCase):
    def test_numbers_have_three_digits(self) -> None:
        shown = {0: "0", 0.0304: "0.0304", 0.5: "0.5", 9.996: "10", 12.345: "12.3", 110: "110",
                 1234.5: "1,230", 98765: "98,800"}  # fmt: skip
        self.assertEqual({figure: charts.number(figure) for figure in shown}, shown)

    def test_a_spread_is_the_median_between_the_least_and_the_most(self) -> None:
        self.assertEqual(tables.spread(Spread.of([3, 1, None, 2])), "2 (1 to 3)")
        self.assertEqual(tables.spread(Spread.of([7])), "7")
        self.assertEqual(tables.spread(Spread.of([None])), tables.NONE)

    def test_a_ratio_is_that_of_pairs_of_the_same_repeat(self) -> None:
        ratio = three((300, 900, 500), (100, 300, 100)).ratio(
            "a20", "mailnode", "postfix", "arrived_rate"
        )
        self.assertEqual(ratio, Spread(3, 3, 5, 3))

    def test_a_repeat_that_one_of_them_lacks_counts_in_no_ratio(self) -> None:
        told = three((300, 900), (100,))
        self.assertEqual(
            told.ratio("a20", "mailnode", "postfix", "arrived_rate"), Spread(3, 3, 3, 1)
        )
        self.assertIsNone(told.ratio("a20", "mailnode", "exim", "arrived_rate"))


class Tables(SynchronousTestCase):
    def test_columns_are_as_wide_as_they_must_be(self) -> None:
        self.assertEqual(
            tables.simple_table(["a", "wide"], [["long", "1"], ["b", ""]]),
            "====  ====\na     wide\n====  ====\nlong  1\nb\n====  ====\n",
        )

    def test_a_cell_has_a_row_for_each_server_and_ours_comes_first(self) -> None:
        rows = tables.of_cell(three((300, 900, 500), (100, 300, 100)), CELLS["a20"]).splitlines()
        self.assertEqual([row.split()[0] for row in rows[3:5]], ["mailnode", "postfix"])
        self.assertIn("500 (300 to 900)", rows[3])
        self.assertIn("3 (3 to 5) x", rows[4])
        self.assertNotIn("not in a mailbox", rows[1])

    def test_mails_that_were_acknowledged_and_lost_are_shown(self) -> None:
        told = results(accepted("mailnode", 0, 100), accepted("exim", 0, 50, missing=3))
        rows = tables.of_cell(told, CELLS["a20"]).splitlines()
        self.assertTrue(rows[1].endswith("not in a mailbox"))
        self.assertEqual(rows[4].split()[-1], "3")

    def test_an_aim_is_met_or_missed_by_the_median(self) -> None:
        met, cpu = tables.aims(three((300, 900, 500), (100, 300, 100))).splitlines()[3:5]
        self.assertTrue(met.endswith("at least 3 x  met"), met)
        self.assertTrue(cpu.endswith("at most 0.5   met"), cpu)
        missed = tables.aims(three((299,), (100,))).splitlines()[3]
        self.assertTrue(missed.endswith("**missed**"), missed)

    def test_an_aim_is_against_the_better_of_several_peers(self) -> None:
        records = [
            {"kind": "pop3", "cell": "stat1k", "target": name, "repeat": 0, "session_rate": rate}
            for name, rate in {"mailnode": 150, "dovecot": 10, "dovecot-tuned": 100}.items()
        ]
        row = tables.aims(results(*records)).splitlines()[3]
        self.assertIn("dovecot-tuned 100", row)
        self.assertIn("1.5 x", row)
        self.assertIn("**missed**", row)

    def test_an_aim_may_be_one_of_two_processes(self) -> None:
        records = [
            {"kind": "pop3", "cell": "retr4k", "target": name, "repeat": 0, "mail_rate": rate}
            for name, rate in {"mailnode": 80, "mailnode-2": 109, "dovecot": 100}.items()
        ]
        one, two = tables.aims(results(*records)).splitlines()[3:5]
        self.assertTrue(one.endswith("at least 0.8 x  met"), one)
        self.assertTrue(two.startswith("``retr4k``, mailnode-2  "), two)
        self.assertTrue(two.endswith("at least 1.1 x  **missed**"), two)

    def test_what_was_not_measured_has_no_table(self) -> None:
        self.assertEqual({tables.of_cell(Results(), cell) for cell in CELLS.values()}, {""})
        self.assertEqual(tables.aims(Results()), "")

    def test_a_bare_program_that_is_hardly_better_excuses_a_missed_aim(self) -> None:
        records = [accepted("mailnode", 0, 200, 0.6), accepted("postfix", 0, 100)]
        for bare, verdicts in {
            (230, 0.55): ["excused: bare-rows 1.15 x better", "excused: bare-rows 1.09 x better"],
            (240, 0.3): ["**missed**: bare-rows 1.2 x better", "**missed**: bare-rows 2 x better"],
        }.items():
            told = tables.aims(results(*records, accepted("bare-rows", 0, *bare)))
            for row, verdict in zip(told.splitlines()[3:5], verdicts, strict=True):
                self.assertTrue(row.endswith(f"  {verdict}"), row)

    def test_a_server_that_was_not_measured_is_not_among_those_that_were(self) -> None:
        told = page.parts(results(accepted("mailnode", 0, 100)))["run"]
        self.assertNotIn("virtual(8)", told)
        told = page.parts(results(accepted("postfix", 0, 100)))["run"]
        self.assertIn("virtual(8)", told)

    def test_growth_has_a_row_for_each_size_in_order(self) -> None:
        records = [
            {"kind": "growth", "cell": "alias", "target": "mailnode", "repeat": at, "size": size,
             "p50_ms": size / 10 + at, "cpu_1000": 0.25}
            for at in range(3) for size in (1000, 1)
        ]  # fmt: skip
        rows = tables.of_cell(results(*records), CELLS["alias"]).splitlines()
        self.assertIn("CPU ms a copy", rows[1])
        shown = [row.split() for row in rows[3:5]]
        self.assertEqual(shown, [["1", "1.1", "0.25"], ["1,000", "101", "0.25"]])


class Charts(SynchronousTestCase):
    def test_bars_are_as_long_as_their_medians(self) -> None:
        bars = [charts.Bar("mailnode", Spread(200, 100, 400, 3), True),
                charts.Bar("post<fix", Spread(50, 50, 50, 3))]  # fmt: skip
        svg = minidom.parseString(charts.bars("T", [charts.Panel("a20", bars)]))
        drawn = [each for each in svg.getElementsByTagName("rect") if each.getAttribute("x")]
        lengths = [float(each.getAttribute("width")) for each in drawn]
        self.assertAlmostEqual(lengths[0] / lengths[1], 4, places=1)
        self.assertEqual([each.getAttribute("class") for each in drawn], ["ours", "theirs"])
        self.assertIn(
            "post<fix", [each.firstChild.data for each in svg.getElementsByTagName("text")]
        )

    def test_a_line_goes_through_its_points_on_a_logarithmic_scale(self) -> None:
        line = charts.Line("accept", [(1000, 5), (10, 5), (100, 10)])
        svg = minidom.parseString(charts.lines("T", "mails", "ms", [line]))
        (drawn,) = svg.getElementsByTagName("polyline")
        points = [
            tuple(map(float, pair.split(","))) for pair in drawn.getAttribute("points").split()
        ]
        self.assertAlmostEqual(points[1][0] - points[0][0], points[2][0] - points[1][0], places=0)
        self.assertEqual(points[0][1], points[2][1])
        self.assertLess(points[1][1], points[0][1])

    def test_one_size_alone_can_be_drawn(self) -> None:
        minidom.parseString(charts.lines("T", "x", "y", [charts.Line("a", [(10, 0)])]))

    def test_each_group_that_was_measured_has_a_chart(self) -> None:
        self.assertEqual(list(page.draw(three((1,), (1,)))), ["smtp.svg"])


class Page(SynchronousTestCase):
    def test_parts_go_between_their_marks_and_old_ones_go(self) -> None:
        text = "Head\n\n.. begin a\nold\n.. end a\n\nBetween\n\n.. begin b\nold\n.. end b\n"
        filled = page.fill(text, {"a": "new\n"})
        self.assertEqual(
            filled,
            "Head\n\n.. begin a\n\nnew\n\n.. end a\n\nBetween\n\n"
            ".. begin b\n\nNot measured by that run.\n\n.. end b\n",
        )
        self.assertEqual(page.fill(filled, {"a": "new\n"}), filled)

    def test_the_real_pages_have_one_mark_for_every_part(self) -> None:
        there = [mark for path in page.PAGES for mark in page.marks(path.read_text("utf-8"))]
        wanted = {"run", "aims", *map(page.group, CELLS.values())}
        wanted |= {mark + page.TABLES for mark in page.GROUPS}
        self.assertEqual(sorted(there), sorted(wanted))

    def test_a_group_has_its_chart_on_one_page_and_its_tables_on_the_other(self) -> None:
        told = page.parts(three((1,), (1,)))
        self.assertIn(".. image:: performance/smtp.svg", told["smtp"])
        self.assertTrue(told["smtp-tables"].startswith("``a20``: 4 KiB"))

    def test_it_says_which_command_made_the_figures_and_when(self) -> None:
        told = page.parts(three((1,), (1,)))["run"]
        for word in ("``make bench CELLS=a20``", "2026-11-23 07:00 UTC", "1.5 minutes", "abc1234"):
            self.assertIn(word, told)
        self.assertNotIn("Too short", told)

    def test_it_warns_of_a_short_run_and_of_a_trial(self) -> None:
        told = page.parts(results(accepted("mailnode", 0, 1), repeats=1, fewer=50))["run"]
        self.assertIn("Too short", told)
        self.assertIn("50th", told)

    def test_of_a_cell_in_several_files_the_last_counts(self) -> None:
        paths = []
        for number, record in enumerate(
            (accepted("mailnode", 0, 1), accepted("exim", 0, 9) | {"cell": "k20"},
             accepted("mailnode", 0, 2))
        ):  # fmt: skip
            paths.append(Path(self.mktemp()))
            run = RUN | {"command": str(number)}
            paths[-1].write_text("\n".join(map(json.dumps, (run, record))), "utf-8")
        told = read(paths)
        self.assertEqual([each["arrived_rate"] for each in told.records], [9, 2])
        self.assertEqual([each["command"] for each in told.runs], ["0", "1", "2"])


class Choice(SynchronousTestCase):
    def test_cells_are_chosen_by_name_and_by_kind(self) -> None:
        self.assertEqual([cell.name for cell in choose(["k20", "a20", "k20"])], ["k20", "a20"])
        self.assertEqual({cell.kind for cell in choose(["growth"])}, {"growth"})
        self.assertTrue(all(cell.is_tls for cell in choose(["tls"])))
        self.assertFalse(any(cell.is_tls for cell in choose(["smtp"])))
        self.assertEqual(len(choose([])), len(CELLS))
        self.assertRaises(KeyError, choose, ["b20"])

    def test_no_two_peers_have_a_port_in_common(self) -> None:
        facts = {
            name: json.loads((PEERS / name / "peer.json").read_text()) for name in peer_names()
        }
        ports = [each[kind] for each in facts.values() for kind in ("smtp", "pop3", "lmtp")
                 if kind in each]  # fmt: skip
        self.assertEqual(len(ports), len(set(ports)))

    def test_an_aim_is_against_peers_that_there_are(self) -> None:
        against = {peer for cell in CELLS.values() for aim in cell.aims for peer in aim.against}
        self.assertEqual(against - {*peer_names(), "argon2id", NOBODY_DEAD}, set())
