"""How many mails of strangers a second are taken when all of them are judged: `make bench-judged`.

    make bench-judged [REPEATS=7] [SECONDS=4] [PAGE=yes]

mailnode with SPF, DKIM, DMARC and a trained model, in one process and with a worker for each of two
processors, beside Debian's Postfix with OpenDKIM, OpenDMARC and Rspamd as milters, which do the
same between them in as many processes as they like. All get the same mails
(`judged_mails`), each on a connection of its own, from clients elsewhere, as a proxy says; all ask
the same name server, a process of its own. They are measured in turn, in the same run. Then a node
is watched that judges, learns and writes full models (`held`). As root, after `make bench-peers`.
The end is an error if an aim is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from itertools import islice

from attrs import define, evolve, field

from tests.bench import held, measuring
from tests.bench.cells import Cell
from tests.bench.judged_mails import Made, make
from tests.bench.measuring import Record, rotated
from tests.bench.page import DOCS, replace
from tests.bench.processes import go_first
from tests.bench.results import Journal, Results, describe_run, new_path
from tests.bench.tables import simple_table, spread
from tests.bench.targets import BENCH, Target, Trouble, home, running

DNS = "127.0.0.9"  # port 53: what asks the system's name server knows no other
CONTROLLER = "127.0.0.1:11394"  # of Rspamd; peers/postfix/milters.sh
NEEDS = ("/usr/sbin/opendkim", "/usr/sbin/opendmarc", "/usr/bin/rspamd", "/usr/bin/redis-server")
OURS, WORKERS, THEIRS = "mailnode-judged", "mailnode-workers-judged", "postfix-judged"
SHOWN = {
    OURS: "mailnode, one process",
    WORKERS: "mailnode, two workers",
    THEIRS: "Postfix and its filters",
}
QUIET_S = 2.0
PRIORITY = -10  # others' programs on the machine get a tenth of what either side does
WATCHED_PRIORITY = -20  # and of the node that is watched a hundredth
LOOKED_AT = 20  # mails of each run
PAGE = DOCS / "judging.rst"
LEAST_RATIO, MOST_HELD_S = 2.0, 0.010
HELD_RATE = 50  # mails a second that are offered while the reactor is watched
HELD_ALL_S = held.START_S + 20.0
CELL = Cell(
    "j4k", "judged", "4 KiB of strangers, judged, new connection, 100 sessions", ("-s", "100"),
    "arrived_rate", "mails/s",
)  # fmt: skip
PROOFS = (b"spf=pass", b"dkim=pass", b"dmarc=pass")
BAYES = re.compile(rb"BAYES_(?:SP|H)AM\(")


def targets(made: Made) -> list[Target]:
    """All sides, not started."""
    like = {name: Target.named(name).facts for name in ("mailnode", "postfix")}
    ours = {
        "MAILNODE_OUTBOUND__RESOLVERS": DNS,
        "MAILNODE_LISTEN__PROXY_FROM": "127.0.0.2",
        "BENCH_MODEL": str(made.model),
    }
    about = "this tree, one process: SPF, DKIM, DMARC, a model of 2,000 mails"
    facts = {**like["mailnode"], "like": "mailnode", "about": about, "smtp": 2619, "pop3": 1219}
    workers = {**facts, "about": about.replace("one process", "two workers"), "smtp": 2622}
    workers["pop3"] = 1222
    milters = "with OpenDKIM, OpenDMARC and Rspamd, which has learned the same mails"
    theirs = {
        **like["postfix"], "like": "postfix", "about": milters, "smtp": 2620, "judged": 2621,
        "needs": [*like["postfix"]["needs"], *NEEDS],
    }  # fmt: skip
    environment = {"BENCH_JUDGED": str(theirs["judged"]), "BENCH_DNS": DNS}
    return [
        Target(OURS, facts, environment=ours),
        Target(WORKERS, workers, environment={**ours, "MAILNODE_NODE__WORKERS": "2"}),
        Target(THEIRS, theirs, environment=environment),
    ]


@contextlib.contextmanager
def name_server(made: Made) -> Iterator[None]:
    """It answers inside."""
    command = [sys.executable, "-m", "tests.bench.judged_dns", DNS, "53", str(made.zone)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=BENCH.parents[1])
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Trouble(f"the name server did not come up at {DNS}")
        yield
    finally:
        process.terminate()
        process.wait(10)


def teach(made: Made) -> None:
    """Rspamd has learned what mailnode's model has."""
    until = time.monotonic() + 60
    for kind, folder in (("learn_spam", made.unwanted), ("learn_ham", made.wanted)):
        command = ["rspamc", "-h", CONTROLLER, "-P", "pw", "-n", "8", kind, str(folder)]
        while (done := subprocess.run(command, capture_output=True)).returncode:
            if time.monotonic() > until:
                raise Trouble(f"Rspamd learned nothing: {(done.stderr or done.stdout)[-300:]!r}")
            time.sleep(1)


def wait_until_quiet(target: Target) -> None:
    """It has compiled, read and cached what it does when it starts."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        cpu = target.cpu_s()
        time.sleep(QUIET_S)
        if target.cpu_s() - cpu < 0.02 * QUIET_S:
            return
    raise Trouble(f"{target.name} is never quiet")


def judged_mails(target: Target) -> list[bytes]:
    """Some mails as their recipients have them, with what was found of each."""
    if target.facts["count"] == "maildir":
        paths = (target.run_folder / "mail").glob("u*/new/*")
        return [path.read_bytes() for path in islice(paths, LOOKED_AT)]
    path = target.run_folder / "var" / "mail.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as mail:
        found = mail.execute(
            "SELECT prefix, detail FROM message JOIN journal USING (mail_id)"
            " WHERE event = 'accepted' ORDER BY message.id DESC LIMIT ?",
            (LOOKED_AT,),
        ).fetchall()
    return [prefix + detail.encode() for prefix, detail in found]


def check(target: Target) -> None:
    """What is measured is what the page says.

    Raises:
        Trouble: mails were taken that were not judged by all.
    """
    mails = judged_mails(target)
    for mail in mails:
        if lacking := [each for each in PROOFS if each not in mail]:
            raise Trouble(f"{target.name} has not found {lacking}: {mail[:2000]!r}")
    # Of a mail whose words say nothing Rspamd says nothing.
    if not any(BAYES.search(mail) or b'"probability"' in mail for mail in mails):
        raise Trouble(f"{target.name} has not judged by words: {mails[:1]!r}")


@define(eq=False)
class Run:
    """One run.

    Attributes:
        offsets: by the name of a target, how many of the mails it has had.
    """

    made: Made
    journal: Journal
    repeats: int
    seconds: float
    offsets: dict[str, int] = field(factory=dict)

    def measure(self, sides: Sequence[Target]) -> None:
        """All repeats, of the one side and the other in turn."""
        measuring.build_load()
        with name_server(self.made), running(sides) as up:
            if len(up) < len(sides):
                raise Trouble("not all came up")
            for target in up:
                if target.name == THEIRS:
                    teach(self.made)
                go_first(target.pids(), PRIORITY)
                self._load(target, "-m", 300)  # not measured: first pages and processes
                wait_until_quiet(target)
            for repeat in range(self.repeats):
                for target in rotated(up, repeat):
                    record = self._load(target, "-T", self.seconds)
                    told = {"kind": "judged", "cell": CELL.name, "target": target.name}
                    self.journal.write(told | {"repeat": repeat} | record)
                    print(_line(repeat, target, record), file=sys.stderr)

    def watch(self, ours: Target) -> None:
        """How long a node's reactor is held while it judges, learns and writes full models."""
        full, told = home() / "judged" / "full.model", home() / "held.json"
        if not full.exists():
            held.write_full_model(full)
        told.unlink(missing_ok=True)
        more = {
            "BENCH_MODEL": str(full),
            "MAILNODE_PLUGINS__FILTERS": f"{held.__name__}:{held.Watch.__name__}",
            held.TOLD: str(told),
            held.MAILS: str(self.made.unwanted),
            held.DATA: str(ours.run_folder / "var"),
        }
        watched = evolve(ours, environment={**ours.environment, **more})
        with name_server(self.made), running([watched]):
            go_first(watched.pids(), WATCHED_PRIORITY)
            load = ("-s", 50, "-p", watched.smtp, "-u", watched.users, "-M", self.made.mails)
            record = measuring.load("smtpload", *load, "-R", HELD_RATE, "-T", HELD_ALL_S)
            found = json.loads(told.read_text())
        told = {"kind": "held", "cell": "held", "target": OURS, "offered": HELD_RATE * HELD_ALL_S}
        self.journal.write({**told, **record, **found})

    def _load(self, target: Target, *how: object) -> Record:
        begin = self.offsets.get(target.name, 0)
        port = target.facts.get("judged", target.smtp)
        seen = evolve(target, facts={**target.facts, "smtp": port})
        seen._process, seen._group = target._process, target._group
        cell = evolve(CELL, load=(*CELL.load, "-M", str(self.made.mails), "-O", str(begin)))
        if how[0] == "-m":
            cell = evolve(cell, load=(*cell.load, *map(str, how)))
        record = measuring.smtp(seen, cell, self.seconds, check=check)
        self.offsets[target.name] = begin + record["acked"] + record["failed"]
        return record


def _line(repeat: int, target: Target, record: Record) -> str:
    rate = record["arrived_rate"] or 0
    error = record["first_error"] or ""
    cpu, p50 = record["cpu_1000"], record["p50_ms"]
    return f"# {repeat} {target.name}: {rate:.0f}/s, {cpu:.2f} ms CPU, p50 {p50:.0f} ms {error}"


def table(results: Results) -> Iterator[str]:
    """What was measured, and whether the aims are met."""
    rows = []
    for name, shown in SHOWN.items():
        figures = [
            results.spread(CELL.name, name, key) for key in ("arrived_rate", "p50_ms", "cpu_1000")
        ]
        rows.append([shown, *map(spread, figures)])
    yield simple_table(["side", "mails/s", "p50 ms", "CPU ms a mail, all processes"], rows)
    if (spared := results.ratio(CELL.name, THEIRS, OURS, "cpu_1000")) is not None:
        yield f"For each mail Postfix's side needs {spread(spared)} times the processor time.\n"
    rows = [
        [what, wanted, is_, "yes" if kept else "**no**"]
        for what, wanted, is_, kept in aims(results)
    ]
    yield simple_table(["aim", "wanted", "measured", "kept"], rows)


def aims(results: Results) -> Iterator[tuple[str, str, str, bool]]:
    """(what, wanted, measured, whether it is kept)."""
    for name, wanted in ((WORKERS, f"at least {LEAST_RATIO:g} x"), (OURS, "")):
        ratio = results.ratio(CELL.name, name, THEIRS, "arrived_rate")
        if ratio is not None:
            told = f"{ratio.median:.2f} x ({ratio.least:.2f} to {ratio.most:.2f})"
            kept = not wanted or ratio.median >= LEAST_RATIO
            yield f"mails/s of {SHOWN[name]}, to Postfix's", wanted or "none", told, kept
    for record in results.of("held"):
        longest = max(record["longest"], key=lambda hold: hold["own_s"])
        about = f"the reactor held, longest of {record['times']:,} times"
        told = (
            f"{1000 * longest['own_s']:.1f} ms, {1000 * longest['cpu_s']:.1f} of them at work;"
            f" {record['written']} full models written"
        )
        wanted = f"at most {1000 * MOST_HELD_S:g} ms"
        yield about, wanted, told, longest["own_s"] <= MOST_HELD_S
        # A node that stands still holds its reactor for no time at all.
        offered, acked = record["offered"], record["acked"]
        told = f"{acked:,}, 99 of 100 within {record['p99_ms']:.0f} ms"
        yield "mails taken meanwhile", f"all {offered:,.0f}", told, acked >= offered


def describe(results: Results) -> str:
    """As the page has it."""
    (run,) = results.runs
    text = textwrap.fill(
        f"``{run['command']}``, {run['began']}, took {run['took_s'] / 60:.1f} minutes. Version"
        f" {run['commit']}, Python {run['python']}, on {run['machine']}; load average at its begin"
        f" {run['load_average']:.1f}. {run['repeats']} repeats of {run['seconds']:g} s. Postfix"
        f" {run['peers'][THEIRS]['version']}, with Debian's OpenDKIM, OpenDMARC and Rspamd.",
        width=110,
        break_on_hyphens=False,
    )
    return "\n".join([text, "", *table(results)])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.judged",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--page", action="store_true", help="write docs/judging.rst")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    how = {"repeats": options.repeats, "seconds": options.seconds}
    given = [
        f"{key.upper()}={value:g}" for key, value in how.items() if value != parser.get_default(key)
    ]
    made = make(home() / "judged")
    sides = targets(made)
    go_first([os.getpid()], PRIORITY)  # and the clients and the name server that it starts
    journal = Journal(new_path())
    try:
        lacking = [each for target in sides for each in target.lacks()]
        if lacking:
            raise Trouble(f"{lacking[0]} is not installed: make bench-peers")
        journal.write(describe_run(shlex.join(["make", "bench-judged", *given]), sides, **how))
        run = Run(made, journal, **how)
        run.measure(sides)
        run.watch(sides[0])
        journal.end()
    except (Trouble, OSError) as error:
        sys.exit(f"bench: {error}")
    text = describe(journal.results)
    print(text)
    if options.page:
        PAGE.write_text(replace(PAGE.read_text("utf-8"), "judged", text), "utf-8")
    return sum(not kept for *_, kept in aims(journal.results))


if __name__ == "__main__":
    sys.exit(bool(main()))
