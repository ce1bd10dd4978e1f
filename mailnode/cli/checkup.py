"""What a check of `doctor` finds."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from mailnode.cli import output

GOOD = "good"
WARNING = "warning"
FAULT = "fault"


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "good"; "warning": works, but should be different; "fault": would not work.
        topic: a short word for programs, the same from version to version.
        what: the state of things in one line.
        mend: what to do about it; "" when it is good.
    """

    level: str
    topic: str
    what: str
    mend: str = ""


def good(topic: str, what: str) -> Finding:
    return Finding(GOOD, topic, what)


def warning(topic: str, what: str, mend: str) -> Finding:
    return Finding(WARNING, topic, what, mend)


def fault(topic: str, what: str, mend: str) -> Finding:
    return Finding(FAULT, topic, what, mend)


_STYLES = {GOOD: "green", WARNING: "yellow", FAULT: "red"}


def say_findings(findings: Iterable[Finding]) -> None:
    """Each in a line, and its mend in another."""
    for finding in findings:
        output.say(f"{finding.level + ':':8} {finding.what}", _STYLES[finding.level])
        if finding.mend:
            output.say(f"{'':8} mend: {finding.mend}")
