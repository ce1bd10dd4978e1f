"""Measures mailnode beside the peers that are installed; `make bench` calls this.

    python -m tests.bench                                    all of it: hours
    python -m tests.bench --cells a20,k20 --peers postfix --repeats 3 --seconds 1
    python -m tests.bench --from tests/bench/results/A.jsonl --page

Servers and load share this machine; all listen on 127.0.0.1. Results go, as they come, into
tests/bench/results as JSON lines; tables are printed. A run of all cells and peers also writes
docs/performance.rst; --page makes any run do so, --from does it without measuring.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

from tests.bench import page
from tests.bench.cells import CELLS, choose
from tests.bench.results import Journal, describe_run, new_path, read
from tests.bench.runs import BARE, Run, check_ports
from tests.bench.targets import Target, Trouble, peer_names


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cells",
        default="",
        help=f"or kinds: smtp, relay, queue, pop3, tls, growth, idle; {', '.join(CELLS)}",
    )
    parser.add_argument("--peers", default="", help=", ".join(peer_names()[1:]))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each cell that is timed")
    parser.add_argument(
        "--fewer",
        type=int,
        default=1,
        metavar="N",
        help="to try the bench out: boxes, stores, accounts and idle connections divided by N",
    )
    parser.add_argument("--page", action="store_true", help="write docs/performance.rst")
    parser.add_argument("--from", dest="files", nargs="+", type=Path, default=[], metavar="FILE")
    return parser.parse_args(words)


def _targets(words: list[str]) -> list[Target]:
    """This tree's node and the peers that were asked for, or all that are installed."""
    names = words or [
        name for name in peer_names()[1:] if not Target.named(name).is_bare or name in BARE
    ]
    targets = [Target.named("mailnode")]
    for name in names:
        target = Target.named(name)
        if lacks := target.lacks():
            if words:
                raise Trouble(f"{name} is not installed ({lacks[0]}): make bench-peers")
            print(f"# {name} is not installed, and left out (make bench-peers)")
        elif os.getuid() != 0:
            print(f"# {name} is left out: only root starts peers")
        elif name != "mailnode":
            targets.append(target)
    return targets


def _measure(options: argparse.Namespace, command: str) -> Journal:
    try:
        cells = choose(_words(options.cells))
    except KeyError as error:
        raise Trouble(f"There is no cell {error.args[0]}; there are {', '.join(CELLS)}") from None
    targets = _targets(_words(options.peers))
    check_ports(targets)
    journal = Journal(new_path())
    how = {key: getattr(options, key) for key in ("repeats", "seconds", "fewer")}
    journal.write(describe_run(command, targets, **how))
    try:
        Run(targets=targets, journal=journal, **how).measure(cells)
    finally:
        journal.end()
        print(f"# results: {journal.path}")
    return journal


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def main() -> None:
    options = _options(sys.argv[1:])
    command = os.environ.get("BENCH_COMMAND") or shlex.join(
        ["python", "-m", "tests.bench", *sys.argv[1:]]
    )
    # Ends by an exception, so that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        results = read(options.files) if options.files else _measure(options, command).results
    except (Trouble, OSError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
    print(page.as_text(results))
    chosen = options.cells or options.peers
    if options.page or options.files or not chosen:
        for path in page.write(results):
            print(f"# wrote {path}")


if __name__ == "__main__":
    main()
