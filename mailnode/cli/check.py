"""`check`: what is wrong with a mail that lies in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, EX_NOINPUT, Mistake, NodeCommand, answer_json
from mailnode.findings import DOUBTFUL, NOTE, WRONG, Finding, find

MOST_OCTETS = 256 * 1024 * 1024

_STYLES = {WRONG: "red", DOUBTFUL: "yellow", NOTE: ""}


@click.command(
    cls=NodeCommand,
    has_node=False,
    example="mailnode check letter.eml\nmailnode check --strict - < letter.eml",
)
@click.argument("file", metavar="FILE|-")
@click.option("--strict", is_flag=True, help="Exit with 65 for what is doubtful, too.")
@click.pass_context
def check(ctx: click.Context, file: str, strict: bool) -> None:
    """Say what is wrong with a mail: header, structure, charsets, attachments.

    FILE is one mail as it travels, header first; `-` reads it from standard input. What is wrong
    breaks an RFC, what is doubtful many receivers dislike or misread, and a note may be meant
    so. Exit code 65 when something is wrong. No node is needed.
    """
    raw = _read(file)
    findings = find(raw, at=time.time())
    counts = {each: sum(f.severity == each for f in findings) for each in (WRONG, DOUBTFUL, NOTE)}
    bad = bool(counts[WRONG] or (strict and counts[DOUBTFUL]))
    facts = {
        "good": not bad,
        "octets": len(raw),
        "wrong": counts[WRONG],
        "doubtful": counts[DOUBTFUL],
        "notes": counts[NOTE],
        "findings": [attrs.asdict(finding) for finding in findings],
    }
    if not answer_json(ctx, facts):
        _show(findings)
        output.say(_total(counts), style=_STYLES[WRONG] if bad else "green")
    ctx.exit(EX_DATAERR if bad else 0)


def _read(file: str) -> bytes:
    """The octets of a file, or of standard input.

    Raises:
        Mistake: there is none, it is empty, or it is no mail by its size.
    """
    if file == "-":
        raw = sys.stdin.buffer.read(MOST_OCTETS + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                raw = opened.read(MOST_OCTETS + 1)
        except FileNotFoundError:
            raise Mistake(
                f"there is no file {file}; name a mail, or - for standard input", EX_NOINPUT
            ) from None
        except IsADirectoryError:
            raise Mistake(f"{file} is a folder; name one mail in it", EX_NOINPUT) from None
    what = "standard input" if file == "-" else file
    if not raw:
        raise Mistake(f"{what} is empty; a mail has at least a header", EX_DATAERR)
    if len(raw) > MOST_OCTETS:
        raise Mistake(f"{what} is over {output.size(MOST_OCTETS)}: no mail is so large", EX_DATAERR)
    return raw


def _show(findings: Sequence[Finding]) -> None:
    """A row each; on a terminal, which is narrow, the words bring the name and the RFC along."""
    if not findings:
        return
    if output.console().is_terminal:
        output.show_table(
            ["how bad", "where", "what and why"],
            [(f.severity, f.where, "\n".join((f.words, _source(f)))) for f in findings],
        )
    else:
        output.show_table(
            ["how bad", "where", "what", "what and why", "says"],
            [(f.severity, f.where, f.name, f.words, f.rfc) for f in findings],
        )


def _source(finding: Finding) -> str:
    return f"[{finding.name}, {finding.rfc}]" if finding.rfc else f"[{finding.name}]"


def _total(counts: dict[str, int]) -> str:
    """One line: what there is, or that the mail is good."""
    notes = f" ({output.count(counts[NOTE], 'note')})" if counts[NOTE] else ""
    if not counts[WRONG] and not counts[DOUBTFUL]:
        return f"good: nothing is wrong with this mail{notes}"
    wrong = f"{counts[WRONG]} wrong" if counts[WRONG] else "nothing wrong"
    doubtful = f", {counts[DOUBTFUL]} doubtful" if counts[DOUBTFUL] else ""
    return f"{wrong}{doubtful}{notes}"
