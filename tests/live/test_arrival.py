"""Strangers at a real node: swaks comes from wherever a PROXY header says, a DNS server knows whom.

Another client on loopback is none, so each connection says where it comes from.
"""

from __future__ import annotations

import re
import shutil
import smtplib
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailnode.machine import outward_addresses
from tests.live.conftest import missing
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder, environment
from tests.live.world import POSTFIX, Postfix, certificate_for, dns, folder_for_others, there

GOOD, NAMELESS, LISTED, SILENT = "192.0.2.7", "192.0.2.8", "192.0.2.9", "198.51.100.1"
GOOD6, LISTED6 = "2001:db8::7", "2001:db8::9"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
SENDER = "anna@sender.test"
OPTIONS = ("--smtp", "0", "--submission", "0", "--http", "0")
NIBBLES = ".".join(["9", *["0"] * 23, *"8bd01002"])
ZONE = {
    "7.2.0.192.in-addr.arpa PTR": ["mail.sender.test"],
    "mail.sender.test A": [GOOD],
    "9.2.0.192.zen.test A": ["127.0.0.2"],
    "9.2.0.192.zen.test TXT": ["https://zen.test/192.0.2.9"],
    f"{NIBBLES}.zen.test A": ["127.0.0.4"],
    "1.100.51.198.zen.test A": "silence",
    "spammer.test.dbl.test A": ["127.0.1.2"],
}
WAIT_S = 10
LISTS = {"ADDRESS_LISTS": "zen.test", "DOMAIN_LISTS": "dbl.test", "REFUSE_WEIGHT": "1"}


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with dns(tmp_path_factory.mktemp("dns"), ZONE) as port:
        yield port


@contextmanager
def node(folder: Path, zone: int, settings: Mapping[str, str], workers: int = 1) -> Iterator[Node]:
    given = {f"MAILNODE_ARRIVAL__{name}": value for name, value in settings.items()}
    given["MAILNODE_OUTBOUND__RESOLVERS"] = f"127.0.0.1:{zone}"
    given["MAILNODE_LISTEN__PROXY_FROM"] = "127.0.0.1"
    with Node(folder, OPTIONS, settings=given, workers=workers) as running:
        yield running


@pytest.fixture(scope="module")
def judging(
    made_folder: Path, tmp_path_factory: pytest.TempPathFactory, zone: int
) -> Iterator[Node]:
    """A node that refuses who is listed, and marks the rest."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("judging") / "node")
    with node(folder, zone, LISTS) as running:
        yield running


def send(
    to: Node,
    client: str,
    *more: str,
    sender: str = SENDER,
    recipient: str = ALICE,
    helo: str = "mail.sender.test",
    service: str = "smtp",
) -> str:
    """A mail by swaks, from that address; what was said."""
    if shutil.which("swaks") is None:
        missing("swaks")
    here = "::1" if ":" in client else "127.0.0.1"
    done = subprocess.run(
        [
            "swaks", "--server", "127.0.0.1", "--port", str(to.port(service)), "--proxy-version",
            "1", "--proxy", f"TCP{6 if ':' in client else 4} {client} {here} 4321 25",
            "--helo", helo, "--from", sender, "--to", recipient, "--body", "Hello", *more,
        ],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def was_taken(said: str) -> bool:
    return re.search(r"^<[-~]\s+250 2\.0\.0 Ok [0-9A-Z]{26}$", said, re.M) is not None


def trace(of: Node, sender: str) -> str:
    return command(of.folder, "trace", "--from", sender).stdout


def counted(at: Node, label: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{at.port('http')}/metrics") as page:
        text = page.read().decode()
    found = re.search(rf"^mailnode_arrival_total\{{{re.escape(label)}\}} (\d+)$", text, re.M)
    return float(found.group(1)) if found else 0.0


@pytest.mark.parametrize("client", [LISTED, LISTED6])
def test_who_is_listed_is_refused_before_his_mail_is_read(judging: Node, client: str) -> None:
    before = counted(judging, 'check="lists",result="refused"')
    sender = f"{client.replace(':', '-')}@sender.test"
    said = send(judging, client, sender=sender)
    assert f"554 5.7.1 {client} is listed by zen.test" in said, said
    assert (": https://zen.test/192.0.2.9" in said) == (client == LISTED), said
    assert "DATA" not in said
    assert counted(judging, 'check="lists",result="refused"') == before + 1
    assert f"because {client} is listed by zen.test" in trace(judging, sender)


def test_who_sends_for_a_listed_domain_is_refused(judging: Node) -> None:
    said = send(judging, GOOD, sender="x@mail.spammer.test")
    assert "554 5.7.1 spammer.test is listed by dbl.test" in said, said


@pytest.mark.parametrize("client", [GOOD, GOOD6, NAMELESS])
def test_others_are_taken_and_what_was_found_of_them_is_told(judging: Node, client: str) -> None:
    sender = f"found-{client.replace(':', '-')}@sender.test"
    assert was_taken(send(judging, client, sender=sender))
    told = trace(judging, sender)
    if client == GOOD:
        expected = "judged by arrival (reverse confirmed, reverse_name mail.sender.test, helo own)"
    else:
        expected = (
            "judged by arrival (reverse none, helo elsewhere): its address has no name that"
            " leads back to it; the name in HELO leads elsewhere"
        )
    assert expected in told, told


def test_a_list_that_says_nothing_holds_a_mail_for_five_seconds_at_most(judging: Node) -> None:
    began = time.monotonic()
    assert was_taken(send(judging, SILENT))
    assert 4 < time.monotonic() - began < 10


def test_who_signs_in_is_asked_nothing(judging: Node) -> None:
    more = ["--tls", "--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", PASSWORD]
    said = send(judging, LISTED, *more, sender=ALICE, recipient=BOB, service="submission")
    assert was_taken(said), said
    assert "judged" not in trace(judging, ALICE)


def test_who_speaks_before_the_greeting_is_refused(
    made_folder: Path, tmp_path: Path, zone: int
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    settings = {"BANNER_DELAY": "1s", "EARLY": "refuse"}
    with node(folder, zone, settings) as running:
        began = time.monotonic()
        assert was_taken(send(running, GOOD))
        assert time.monotonic() - began > 1
        with running.raw("smtp") as client, client.makefile("rb") as said:
            client.sendall(f"PROXY TCP4 {GOOD} 127.0.0.1 1 25\r\nEHLO c.sender.test\r\n".encode())
            assert said.readline().startswith(b"220 ")
            client.sendall(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{ALICE}>\r\nQUIT\r\n".encode())
            assert b"\r\n554 5.5.1 You spoke before you were answered\r\n" in said.read()


@pytest.mark.parametrize("workers", [1, 2])
def test_who_is_unknown_comes_again_and_once_let_through_stays_so(
    made_folder: Path, tmp_path: Path, zone: int, workers: int
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    command(folder, "gear", "set", "live", "--yes")
    command(folder, "route", "add", "*", "smtp://127.0.0.1:9")
    settings = {"GREYLIST": "true", "GREYLIST_WAIT": f"{WAIT_S}s"}
    with node(folder, zone, settings, workers) as running:
        for _ in range(2):
            said = send(running, GOOD)
            assert "450 4.7.1 You are unknown here, try again in " in said, said
        at_least_until = time.monotonic() + WAIT_S
        told = trace(running, SENDER)
        assert "because greylisted: new" in told and "because greylisted: waits" in told, told
        time.sleep(max(0.0, at_least_until - time.monotonic()))
        assert was_taken(send(running, GOOD))
        assert was_taken(send(running, NAMELESS, sender="berta@sender.test", recipient=BOB))
        assert "450 4.7.1 " in send(running, SILENT)
        more = ["--tls", "--auth", "PLAIN", "--auth-user", ALICE, "--auth-password", PASSWORD]
        send(
            running, SILENT, *more, sender=ALICE, recipient="friend@far.test", service="submission"
        )
        assert was_taken(send(running, SILENT, sender="friend@far.test"))
        assert "greylist written to" in trace(running, "friend@far.test")
    with node(folder, zone, settings, workers) as running:
        assert was_taken(send(running, GOOD, sender="carol@sender.test"))
        assert "greylist seen before" in trace(running, "carol@sender.test")


def test_a_real_postfix_comes_again_and_its_mail_is_there_once(
    made_folder: Path, tmp_path: Path, zone: int
) -> None:
    """It sends from an address of this machine's that isn't loopback's: that of a stranger."""
    source = next((each for each in outward_addresses() if ":" not in each), "")
    if not source:
        pytest.skip("this machine has no address but loopback's")
    if not there(POSTFIX):
        missing("postfix (as root)")
    folder = copy_folder(made_folder, tmp_path / "node")
    settings = {"MAILNODE_ARRIVAL__GREYLIST": "true", "MAILNODE_ARRIVAL__GREYLIST_WAIT": "3s"}
    settings["MAILNODE_OUTBOUND__RESOLVERS"] = f"127.0.0.1:{zone}"
    options = ("--smtp", "0", "--pop3", "0")
    with folder_for_others() as place, Node(folder, options, settings=settings) as running:
        more = (
            f"relayhost = [127.0.0.1]:{running.port('smtp')}",
            f"smtp_bind_address = {source}",
            "smtpd_relay_restrictions = permit_mynetworks, reject",
            "minimal_backoff_time = 2s",
            "maximal_backoff_time = 3s",
            "queue_run_delay = 1s",
        )
        tls = certificate_for(place, "mx.sender.test")
        postfix = Postfix(place, "sender.test", tls, more=more).start()
        try:
            came = []
            for subject in ("first", "second"):
                began = time.monotonic()
                with smtplib.SMTP(
                    "127.0.0.1", postfix.port, timeout=30, source_address=("127.0.0.2", 0)
                ) as client:
                    mail = f"From: {SENDER}\r\nSubject: {subject}\r\n\r\nHello\r\n"
                    client.sendmail(SENDER, [ALICE], mail)
                deadline = began + 60
                while len(running.mails()) < len(came) + 1:
                    assert time.monotonic() < deadline, postfix.log()[-3000:]
                    time.sleep(0.1)
                came.append(time.monotonic() - began)
            assert "450 4.7.1 You are unknown here" in postfix.log()
            assert came[0] > 2 > came[1], came
            assert [b"first" in each for each in running.mails()] == [True, False]
        finally:
            postfix.stop()
    assert f'"client": "{source}"' in running.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_numbers_for_an_hour_hold_for_all_processes_together(
    made_folder: Path, tmp_path: Path, zone: int, workers: int
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    settings = {"MAILS_PER_ADDRESS": "4", "MAILS_PER_RECIPIENT": "6"}
    with node(folder, zone, settings, workers) as running:
        said = [send(running, GOOD, "--quit-after", "RCPT") for _ in range(6)]
        assert ["421 4.7.1 " in each for each in said] == [False] * 4 + [True] * 2
        said = [send(running, NAMELESS, "--quit-after", "RCPT") for _ in range(3)]
        assert ["450 4.7.1 Too many mails to this" in each for each in said] == [False] * 2 + [True]
