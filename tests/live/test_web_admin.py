"""A node looked after in a browser: what is done there, the command line and clients see."""

from __future__ import annotations

import json
import poplib
import re
import smtplib
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.live.browser import Browser as Visitor
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder
from tests.live.web_client import FORM, Browser, Page

OPTIONS = ("--smtp", "0", "--smtps", "0", "--pop3", "0", "--http", "0")
MAIL = b"From: x@elsewhere.example\r\nSubject: Hello\r\n\r\nHello.\r\n"


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("admin") / "node")
    command(folder, "user", "set", "alice", "--admin")
    with Node(folder, OPTIONS) as node:
        yield node


@pytest.fixture(scope="module")
def other(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The world: a node for other.example, whereto mail of the first one leaves."""
    folder = tmp_path_factory.mktemp("other") / "node"
    folder.mkdir()
    command(folder, "init")
    command(folder, "domain", "add", "other.example")
    command(folder, "user", "add", "dave@other.example", stdin=f"{PASSWORD}\n")
    with Node(folder, ("--smtp", "0", "--pop3", "0")) as other:
        command(node.folder, "gear", "set", "live", "--yes")
        target = f"smtp://127.0.0.1:{other.port('smtp')}"
        command(node.folder, "route", "add", "other.example", target)
        yield other


@pytest.fixture
def alice(node: Node) -> Browser:
    return signed_in(node)


def signed_in(node: Node, name: str = "alice", password: str = PASSWORD) -> Browser:
    browser = Browser(node.port("http"))
    browser.sign_in(f"{name}@{DOMAIN}" if "@" not in name else name, password)
    return browser


def send(browser: Browser, path: str, **fields: Any) -> Page:
    body = urlencode({"csrf": browser.csrf} | fields, doseq=True).encode()
    return browser.ask("POST", path, body, {"Content-Type": FORM})


def account_path(browser: Browser, address: str) -> str:
    page = browser.get(f"/admin/accounts?q={address}").text
    found = re.search(rf'href="(/admin/accounts/\d+)">{address}<', page)
    assert found, page
    return found[1]


def listed(node: Node, *what: str) -> Any:
    return json.loads(command(node.folder, *what, "list", "--json").stdout)


def refusal(node: Node, to: str) -> int:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as client:
        client.ehlo("client.example")
        client.mail("x@elsewhere.example")
        return int(client.rcpt(to)[0])


def submit(node: Node, *to: str, subject: str = "Out") -> None:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as client:
        client.login(f"alice@{DOMAIN}", PASSWORD)
        client.sendmail(f"alice@{DOMAIN}", list(to), f"Subject: {subject}\r\n\r\nx\r\n")


def drop_of(node: Node, address: str, password: str = PASSWORD) -> list[bytes]:
    client = poplib.POP3("localhost", node.port("pop3"), timeout=60)
    try:
        client.user(address)
        client.pass_(password)
        count = len(client.list()[1])
        return [b"\r\n".join(client.retr(number + 1)[1]) for number in range(count)]
    finally:
        client.quit()


# Accounts and addresses


def test_an_account_that_is_added_receives_mail_and_signs_in(node: Node, alice: Browser) -> None:
    page = send(alice, "/admin/accounts", address="carol", typed="no", quota="3 MiB")
    shown = re.search(r'class="secret">([^<]+)<', page.text)
    assert shown, page.text
    node.send(MAIL, "carol")
    assert b"Subject: Hello" in drop_of(node, f"carol@{DOMAIN}", shown[1])[0]
    carol = next(each for each in listed(node, "user") if each["address"] == f"carol@{DOMAIN}")
    assert (carol["quota_octets"], carol["admin"]) == (3 << 20, False)
    assert "1 mail," in alice.get(account_path(alice, f"carol@{DOMAIN}")).text


def test_one_that_is_shut_takes_no_mail_and_one_that_is_deleted_is_gone(
    node: Node, alice: Browser
) -> None:
    send(alice, "/admin/accounts", address="erin", typed="yes", password=PASSWORD)
    path = account_path(alice, f"erin@{DOMAIN}")
    assert refusal(node, f"erin@{DOMAIN}") == 250
    send(alice, f"{path}/state", disabled="yes")
    assert refusal(node, f"erin@{DOMAIN}") == 550
    send(alice, f"{path}/state", disabled="no")
    assert refusal(node, f"erin@{DOMAIN}") == 250
    asked = send(alice, f"{path}/delete")
    assert "go for good" in asked.text
    assert refusal(node, f"erin@{DOMAIN}") == 250
    send(alice, f"{path}/delete", sure="yes")
    assert refusal(node, f"erin@{DOMAIN}") == 550
    assert f"erin@{DOMAIN}" not in [each["address"] for each in listed(node, "user")]


def test_a_new_password_ends_sessions_everywhere(node: Node, alice: Browser) -> None:
    send(alice, "/admin/accounts", address="frank", typed="yes", password=PASSWORD)
    frank = signed_in(node, "frank")
    client = poplib.POP3("localhost", node.port("pop3"), timeout=60)
    client.user(f"frank@{DOMAIN}")
    client.pass_(PASSWORD)
    page = send(alice, f"{account_path(alice, f'frank@{DOMAIN}')}/password", typed="no")
    shown = re.search(r'class="secret">([^<]+)<', page.text)
    assert shown
    with pytest.raises((poplib.error_proto, OSError)):
        client.stat()
        client.stat()
    client.close()
    assert frank.ask("GET", "/settings", follow=False).status == 303
    assert drop_of(node, f"frank@{DOMAIN}", shown[1]) == []


def test_an_administrator_is_made_and_unmade_but_never_by_himself(
    node: Node, alice: Browser
) -> None:
    bob = signed_in(node, "bob")
    assert bob.get("/admin").status == 403
    path = account_path(alice, f"bob@{DOMAIN}")
    send(alice, f"{path}/admin", admin="yes")
    assert bob.get("/admin").status == 200
    own = account_path(alice, f"alice@{DOMAIN}")
    assert "your own account" in send(alice, f"{own}/admin", admin="no").text
    assert "your own account" in send(alice, f"{own}/delete", sure="yes").text
    send(alice, f"{path}/admin", admin="no")
    assert bob.get("/admin").status == 403
    admins = [each["address"] for each in listed(node, "user") if each["admin"]]
    assert admins == [f"alice@{DOMAIN}"]


def test_domains_and_aliases_take_effect_at_once(node: Node, alice: Browser) -> None:
    send(alice, "/admin/domains", name="shop.example")
    assert refusal(node, "info@shop.example") == 550
    send(alice, "/admin/aliases", source="info@shop.example", targets="bob")
    before = len(node.mails("bob"))
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as client:
        client.sendmail("x@elsewhere.example", ["info@shop.example"], MAIL)
    assert len(node.mails("bob")) == before + 1
    assert {"source": "info@shop.example", "targets": [f"bob@{DOMAIN}"]} in listed(node, "alias")
    assert (
        "still has aliases"
        in send(alice, "/admin/domains/delete", name="shop.example", sure="yes").text
    )
    send(alice, "/admin/aliases/delete", source="info@shop.example")
    assert refusal(node, "info@shop.example") == 550
    send(alice, "/admin/domains/delete", name="shop.example", sure="yes")
    assert [each["domain"] for each in listed(node, "domain")] == [DOMAIN]


def test_a_route_says_the_same_here_and_on_the_command_line(node: Node, alice: Browser) -> None:
    send(alice, "/admin/routes", pattern=".slow.example", target="smtp://10.0.0.1:2525", tls="none")
    told = command(node.folder, "route", "test", "x@a.slow.example").stdout
    page = alice.get("/admin/routes?test=x@a.slow.example").text
    assert "10.0.0.1 port 2525" in told
    assert "goes to 10.0.0.1 port 2525 by SMTP" in page
    send(alice, "/admin/routes/delete", pattern=".slow.example")
    assert ".slow.example" not in [each["pattern"] for each in listed(node, "route")]


# Mail


def rows_of(node: Node, recipient: str) -> list[dict[str, Any]]:
    done = command(node.folder, "queue", "list", "--recipient", recipient, "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_held_row_is_not_sent_until_it_is_released(
    node: Node, other: Node, alice: Browser
) -> None:
    dave = "dave@other.example"
    before = len(drop_of(other, dave))
    command(node.folder, "route", "add", dave, "hold")
    submit(node, dave, subject="Released")
    row = until(lambda: rows_of(node, dave))[0]
    command(node.folder, "route", "delete", dave)
    time.sleep(1.0)
    assert len(drop_of(other, dave)) == before
    send(alice, "/admin/queue/change", do="release", row=row["id"])
    until(lambda: len(drop_of(other, dave)) == before + 1)
    assert rows_of(node, dave) == []


def test_a_bounce_tells_the_sender_why_and_a_drop_tells_nobody(
    node: Node, other: Node, alice: Browser
) -> None:
    node.empty("alice")
    command(node.folder, "route", "add", "gone.example", "hold")
    submit(node, "a@gone.example", "b@gone.example")
    rows = until(lambda: rows_of(node, "a@gone.example") and rows_of(node, "b@gone.example"))
    send(alice, "/admin/queue/change", do="drop", row=rows[0]["id"], sure="yes")
    reason = "That company is closed"
    send(alice, "/admin/queue/change", do="bounce", all="yes", domain="gone.example", sure="yes",
         reason=reason)  # fmt: skip
    reports = until(lambda: node.mails("alice"))
    assert len(reports) == 1
    assert reason.encode() in reports[0]
    assert b"a@gone.example" in reports[0]
    assert b"b@gone.example" not in reports[0]
    told = command(node.folder, "trace", rows[0]["mail_id"]).stdout
    assert f"alice@{DOMAIN}" in told
    assert "dropped for b@gone.example" in told


def test_all_captured_mail_is_in_one_list_and_is_read(made_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    command(folder, "user", "set", "alice", "--admin")
    with Node(folder, OPTIONS) as node:
        submit(node, "dave@example.net", "erin@example.com", subject="Welcome")
        alice = signed_in(node)
        page = alice.get("/admin/captured").text
        rows = re.findall(r'href="(/admin/captured/\d+)"', page)
        assert len(rows) == 2
        assert "Welcome" in alice.get(rows[0]).text
        saved = alice.get(f"{rows[0]}/eml").octets
        assert saved.endswith(b"Subject: Welcome\r\n\r\nx\r\n")
        assert signed_in(node, "bob").get(rows[0]).status == 403
        large = b"Subject: Large\r\n\r\nIt begins.\r\n" + b"0123456789abcdef\r\n" * 200_000
        with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as client:
            client.login(f"alice@{DOMAIN}", PASSWORD)
            client.sendmail(f"alice@{DOMAIN}", ["dave@example.net"], large)
        newest = re.findall(r'href="(/admin/captured/\d+)"', alice.get("/admin/captured").text)[0]
        assert "It begins." in alice.get(newest).text
        assert alice.get(f"{newest}/eml").octets.endswith(large)
        send(alice, "/admin/queue/change", do="drop", all="yes", state="captured", sure="yes")
        assert json.loads(command(folder, "queue", "list", "--json").stdout) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_captured_is_told_whichever_process_took_it(
    made_folder: Path, tmp_path: Path, workers: int
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    command(folder, "user", "set", "alice", "--admin")
    with Node(folder, OPTIONS, workers=workers) as node:
        client, answer = Visitor(node).sign_in("alice").open("/events")
        with client:
            told = iter(answer.readline, b"")
            assert b"event: captured\n" in told
            assert next(told) == b"data: 0-0\n"
            for number in (1, 2):
                submit(node, f"u{number}@example.net")
                assert b"event: captured\n" in told
                assert next(told).endswith(f"-{number}\n".encode())


def test_why_a_mail_was_refused_is_two_steps_away(node: Node, alice: Browser) -> None:
    assert refusal(node, f"nosuch@{DOMAIN}") == 550
    first = alice.get("/admin").text
    assert 'href="/admin/journal"' in first
    page = unescape(alice.get("/admin/journal").text)
    assert f"to nosuch@{DOMAIN}; sent by 127.0.0.1" in page
    assert "550 5.1.1" in page


def test_a_mail_is_found_by_its_subject_and_its_life_is_told(node: Node, alice: Browser) -> None:
    node.send(MAIL.replace(b"Hello\r\n\r\n", b"A rare word zyzzyva\r\n\r\n"), "bob")
    page = alice.get("/admin/journal?q=ZYZZYVA").text
    found = re.findall(r'href="(/admin/journal/[0-9A-Z]{26})"', page)
    assert len(found) == 1
    node.mails("bob")
    until(lambda: "fetched by" in alice.get(found[0]).text)
    story = alice.get(found[0]).text
    assert "accepted from sender@elsewhere.example" in story
    assert f"filed in the mailbox of bob@{DOMAIN}" in story


def test_who_is_connected_is_shown_as_it_is_now(node: Node, alice: Browser) -> None:
    assert "bob@" not in alice.get("/admin/sessions").text.partition("<main")[2]
    with node.maildrop("bob") as client:
        client.stat()
        page = alice.get("/admin/sessions").text
        assert f"bob@{DOMAIN}" in page
        assert "in clear" in page
        with smtplib.SMTP_SSL("localhost", node.port("smtps"), context=node.tls()) as sealed:
            sealed.noop()
            assert "TLSv1" in alice.get("/admin/sessions").text
    until(lambda: f"bob@{DOMAIN}" not in alice.get("/admin/sessions").text)


def test_the_last_hour_counts_what_happens(node: Node, alice: Browser) -> None:
    def figures() -> list[dict[str, float]]:
        said = alice.get("/admin/figures").json()
        return [dict(zip(said["names"], row[1:], strict=True)) for row in said["rows"]]

    until(figures)
    before = len(figures())
    for _ in range(5):
        node.send(MAIL, "bob")
    refusal(node, f"nosuch@{DOMAIN}")

    def counted() -> bool:
        rows = figures()[before:]
        mails = sum(row["accepted"] for row in rows) * 5 / 60
        return mails > 4.5 and any(row["refused"] for row in rows)

    until(counted)
    took = [row["took"] for row in figures()[before:] if row["took"] is not None]
    assert took and all(0 < each < 10_000 for each in took)


def test_a_node_of_several_processes_is_looked_after_alike(
    made_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    command(folder, "user", "set", "alice", "--admin")
    with Node(folder, OPTIONS, workers=2) as node:
        alice = signed_in(node)
        send(alice, "/admin/accounts", address="carol", typed="yes", password=PASSWORD)
        until(lambda: refusal(node, f"carol@{DOMAIN}") == 250, 5.0)
        for _ in range(4):
            until(lambda: refusal(node, f"carol@{DOMAIN}") == 250, 5.0)
        node.send(MAIL, "carol")
        assert "not listed" in alice.get("/admin/sessions").text
        until(lambda: "Hello" in alice.get("/admin/journal").text)

        def counted() -> bool:
            node.send(MAIL, "carol")  # what came before the first look is in no minute
            time.sleep(0.5)
            said = alice.get("/admin/figures").json()
            return any(row[1 + said["names"].index("accepted")] for row in said["rows"])

        until(counted)
