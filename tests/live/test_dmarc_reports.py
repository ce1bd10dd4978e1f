"""DMARC's reports, from mails of strangers to the mail that brings a domain its own."""

from __future__ import annotations

import datetime
import email
import gzip
import json
import shutil
import smtplib
import time
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.live.node import DOMAIN, Node, command, copy_folder
from tests.live.test_judged import ALICE, PROXY, counted, forward
from tests.live.world import Sink, certificate_for, dns, folder_for_others
from tests.unit.reports_case import read_feedback

REJECTS, ASKS_AWAY, SILENT, UNWANTED = "rejects.test", "away.test", "silent.test", "unwanted.test"
READER = "reports.test"
ZONE = {
    f"_dmarc.{REJECTS} TXT": [f"v=DMARC1; p=reject; rua=mailto:dmarc@{REJECTS}!10m"],
    f"_dmarc.{ASKS_AWAY} TXT": [f"v=DMARC1; p=none; rua=mailto:dmarc@{READER}"],
    f"_dmarc.{SILENT} TXT": ["v=DMARC1; p=none"],
    f"_dmarc.{UNWANTED} TXT": [f"v=DMARC1; p=none; rua=mailto:dmarc@{READER}"],
    f"{ASKS_AWAY}._report._dmarc.{READER} TXT": ["v=DMARC1"],
}
DOMAINS = (REJECTS, ASKS_AWAY, SILENT, UNWANTED)

pytestmark = pytest.mark.skipif(shutil.which("smtp-sink") is None, reason="postfix has smtp-sink")


@pytest.fixture
def sink() -> Iterator[Sink]:
    with folder_for_others() as folder:
        server = Sink(folder, READER, certificate_for(folder, READER)).start()
        try:
            yield server
        finally:
            server.stop()


JUDGED = {"MAILNODE_LISTEN__PROXY_FROM": PROXY, "MAILNODE_JUDGING__LOOPBACK": "true"}


@pytest.fixture
def reporting(made_folder: Path, tmp_path: Path, sink: Sink) -> Iterator[Node]:
    """A node that reports; what it sends to these domains the sink has."""
    folder = copy_folder(made_folder, tmp_path / "node")
    command(folder, "gear", "set", "live", "--yes")
    command(folder, "dkim", "generate", DOMAIN)
    for domain in (REJECTS, READER):
        command(folder, "route", "add", domain, f"smtp://127.0.0.1:{sink.port}")
    with dns(tmp_path / "dns", ZONE) as zone:
        settings = {
            "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{zone}",
            **JUDGED,
            "MAILNODE_JUDGING__DMARC_REPORTS": "send",
            "MAILNODE_JUDGING__DMARC_ORGANIZATION": "Example & sons",
        }
        options = ("--smtp", "0", "--http", "0", "--clock", "manual")
        with Node(folder, options, settings=settings, workers=1) as node:
            yield node


def mails(sink: Sink) -> dict[str, EmailMessage]:
    """By recipient; none has two."""
    found = {}
    for path in sink.folder.glob("mail.*"):
        for octets in path.read_bytes().split(b"X-Client-Addr: ")[1:]:
            mail = email.message_from_bytes(b"X-Client-Addr: " + octets, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            to = mail["X-Rcpt-Args"].split(">")[0].strip("<")
            assert to not in found
            found[to] = mail
    return found


def wait_for_mails(sink: Sink, count: int) -> dict[str, EmailMessage]:
    deadline = time.monotonic() + 20
    while len(found := mails(sink)) < count:
        assert time.monotonic() < deadline, list(found)
        time.sleep(0.1)
    return found


def now_of(node: Node) -> float:
    """What time it is for it."""
    return float(json.loads(command(node.folder, "clock", "show", "--json").stdout)["now"])


def send_some(node: Node) -> str:
    """Mails of strangers in the name of each domain, all within one day; which one."""
    if 86400 - now_of(node) % 86400 < 120:
        command(node.folder, "clock", "advance", "5m")
    day = datetime.datetime.fromtimestamp(now_of(node), datetime.UTC).strftime("%Y-%m-%d")
    for domain in DOMAINS:
        mail = f"From: anna@{domain}\r\nTo: {ALICE}\r\nSubject: hello\r\n\r\nHello\r\n".encode()
        for _ in range(2):
            if domain == REJECTS:
                with pytest.raises(smtplib.SMTPDataError):
                    forward(node, f"bounce@{domain}", mail)
            else:
                forward(node, f"bounce@{domain}", mail)
    return day


def test_a_day_s_mails_of_strangers_are_reported_to_who_asks_once(
    reporting: Node, sink: Sink
) -> None:
    day, folder = send_some(reporting), reporting.folder
    asked = ("dmarc", "report", "--domain", REJECTS, "--day", day)
    shown = command(folder, *asked, settings=reporting.settings).stdout
    assert counted(reporting, "mailnode_dmarc_collected_total", 'result="counted"') == 6
    assert mails(sink) == {}

    command(folder, "clock", "advance", "1d 5h")
    found = wait_for_mails(sink, 2)
    assert set(found) == {f"dmarc@{REJECTS}", f"dmarc@{READER}"}
    mail = found[f"dmarc@{REJECTS}"]
    assert mail["X-Mail-Args"].startswith(f"<postmaster@{DOMAIN}>")
    assert mail["From"].addresses[0].addr_spec == f"postmaster@{DOMAIN}"
    assert mail["Subject"].startswith(f"Report Domain: {REJECTS} Submitter: {DOMAIN} Report-ID: <")
    assert (mail["Auto-Submitted"], len(mail.get_all("DKIM-Signature"))) == ("auto-generated", 2)
    _words, attached = mail.iter_parts()
    midnight = datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
    name = f"{DOMAIN}!{REJECTS}!{midnight:.0f}!{midnight + 86399:.0f}.xml.gz"
    assert attached.get_filename() == name
    xml = gzip.decompress(attached.get_content())
    assert xml.decode() == shown
    read = read_feedback(xml)
    assert read["report_metadata"]["org_name"] == "Example & sons"
    (record,) = read["record"]
    assert record["row"] == {
        "source_ip": "192.0.2.66",
        "count": "2",
        "policy_evaluated": {"disposition": "reject", "dkim": "fail", "spf": "fail"},
    }
    assert record["identifiers"] == {
        "envelope_to": DOMAIN,
        "envelope_from": REJECTS,
        "header_from": REJECTS,
    }
    states = {
        each["domain"]: each["state"]
        for each in json.loads(command(folder, "dmarc", "show", "--json").stdout)
    }
    assert states == {REJECTS: "sent", ASKS_AWAY: "sent", UNWANTED: "unsent"}
    assert counted(reporting, "mailnode_dmarc_reports_total", 'result="sent"') == 2

    command(folder, "clock", "advance", "2d")
    assert len(mails(sink)) == 2


def test_neither_a_kill_nor_what_a_power_cut_loses_of_the_marks_sends_one_twice(
    reporting: Node, sink: Sink
) -> None:
    send_some(reporting)
    reporting.stop()
    kept = reporting.folder / "kept.db"
    shutil.copy2(reporting.data / "dmarc.db", kept)
    reporting.start()
    noon_s = 1.5 * 86400 - now_of(reporting) % 86400  # later it would be too late for a report
    command(reporting.folder, "clock", "advance", f"{noon_s:.0f}s")
    wait_for_mails(sink, 2)
    reporting.kill()
    for path in reporting.data.glob("dmarc.db*"):
        path.unlink()
    shutil.copy2(kept, reporting.data / "dmarc.db")
    reporting.start()
    command(reporting.folder, "clock", "advance", "2h")
    states = json.loads(command(reporting.folder, "dmarc", "show", "--json").stdout)
    assert [each["state"] for each in states].count("sent") == 2, states
    assert sum("before this start" in each["note"] for each in states) == 2, states
    assert len(mails(sink)) == 2


def test_all_workers_count_together_and_send_nothing_while_only_looked_at(
    folder: Path, tmp_path: Path
) -> None:
    with dns(tmp_path / "dns", ZONE) as zone:
        settings = {
            **JUDGED,
            "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{zone}",
            "MAILNODE_JUDGING__DMARC_REPORTS": "collect",
        }
        with Node(folder, ("--smtp", "0", "--http", "0"), settings=settings, workers=2) as node:
            mail = f"From: anna@{ASKS_AWAY}\r\nSubject: hello\r\n\r\nHello\r\n".encode()
            for _ in range(20):  # whichever worker takes them
                forward(node, f"bounce@{ASKS_AWAY}", mail)
            deadline = time.monotonic() + 10
            while counted(node, "mailnode_dmarc_collected_total", 'result="counted"') < 20:
                assert time.monotonic() < deadline, node.tail()
                time.sleep(0.1)
        shown = json.loads(command(folder, "dmarc", "show", "--json").stdout)
    assert sum(each["mails"] for each in shown) == 20, shown
    assert {each["state"] for each in shown} == {"open"}
