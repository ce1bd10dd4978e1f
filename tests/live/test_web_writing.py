"""Mails written in a browser, on a real node: sent once, to all or to none, byte for byte."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.live.node import PASSWORD, Node, command, copy_folder
from tests.live.web_client import Browser, form_of

MIB = 1 << 20
OPTIONS = ("--smtp", "0", "--pop3", "0", "--http", "0")
SETTINGS = {"MAILNODE_LIMITS__MESSAGE_SIZE": "100 MiB"}


@pytest.fixture(scope="module")
def node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("writing") / "node")
    command(folder, "alias", "add", "sales@example.test", "alice@example.test")
    node = Node(folder, OPTIONS, settings=SETTINGS).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture
def alice(node: Node) -> Browser:
    for name in ("alice", "bob"):
        node.empty(name)
    browser = Browser(node.port("http"))
    browser.sign_in("alice@example.test", PASSWORD)
    return browser


@pytest.fixture
def bob(node: Node, alice: Browser) -> Browser:
    browser = Browser(node.port("http"))
    browser.sign_in("bob@example.test", PASSWORD)
    return browser


def written(browser: Browser, **said: str) -> dict[str, Any]:
    """A new mail's form, filled in."""
    fields: dict[str, Any] = form_of(browser.get("/write"))
    return fields | said


def parsed(raw: bytes) -> EmailMessage:
    mail = message_from_bytes(raw, policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_a_mail_with_two_files_comes_to_its_reader_byte_for_byte(
    node: Node, alice: Browser, bob: Browser
) -> None:
    files = [("bytes.bin", "application/octet-stream", os.urandom(300_000)),
             ("Übersicht.txt", "text/plain", "Grüße\n".encode())]  # fmt: skip
    said = written(alice, to="Bob <bob@example.test>", subject="Zwei Dateien", text="Hallo\r\nBob")
    sent = alice.post("/write/0/send", said, files)
    assert sent.status == 200, sent.text
    assert re.fullmatch(r"/sent/[0-9A-Z]{26}", sent.path)
    assert "bob@example.test" in sent.text
    assert "Delivered" in sent.text
    (raw,) = node.mails("bob")
    mail = parsed(raw)
    assert mail["From"] == "alice@example.test"
    assert mail["Subject"] == "Zwei Dateien"
    assert str(mail["To"]) == "Bob <bob@example.test>"
    body = mail.get_body()
    assert body is not None
    assert body.get_content().splitlines() == ["Hallo", "Bob"]
    got = [(each.get_filename(), each.get_payload(decode=True)) for each in mail.iter_attachments()]
    assert got == [(name, octets) for name, _kind, octets in files]
    assert bob.get(sent.path).status == 404, "it is nobody else's"


def test_who_answers_answers_the_mail_and_it_is_marked_so(
    node: Node, alice: Browser, bob: Browser
) -> None:
    said = written(alice, to="bob@example.test, carol@elsewhere.example", cc="sales@example.test")
    said |= {"from": "sales@example.test", "subject": "Re: plan", "text": "One\r\nTwo"}
    assert alice.post("/write/0/send", said).status == 200
    (raw,) = node.mails("bob")
    inbox, uid = newest(node, "bob", "INBOX")
    reply = bob.get(f"/write?reply={inbox}/{uid}")
    assert reply.value("to") == "sales@example.test"
    assert reply.value("subject") == "Re: plan"
    assert "sales@example.test wrote:\n> One\n> Two" in reply.value("text")
    everybody = bob.get(f"/write?reply_all={inbox}/{uid}")
    assert everybody.value("to") == "sales@example.test, carol@elsewhere.example"
    assert everybody.value("cc") == ""
    form = form_of(reply)
    form["text"] = "Yes\r\n" + str(form["text"])
    node.empty("alice")
    assert bob.post("/write/0/send", form).status == 200
    (answer,) = node.mails("alice")
    first, second = parsed(raw), parsed(answer)
    assert second["In-Reply-To"] == first["Message-ID"]
    assert second["References"].split()[-1] == first["Message-ID"]
    assert flags(node, inbox, uid) & 2, "it is marked as answered"


def test_who_passes_a_mail_on_sends_its_files_along(
    node: Node, alice: Browser, bob: Browser
) -> None:
    octets = os.urandom(700_000)
    said = written(alice, to="bob@example.test", subject="Files", text="See there")
    alice.post("/write/0/send", said, [("a b.bin", "application/octet-stream", octets)])
    inbox, uid = newest(node, "bob", "INBOX")
    form = form_of(bob.get(f"/write?forward={inbox}/{uid}"))
    assert form["subject"] == "Fwd: Files"
    assert len(form["take"]) == 1
    assert "See there" in form["text"]
    assert bob.post("/write/0/send", form | {"to": "alice@example.test"}).status == 200
    (raw,) = node.mails("alice")
    (file,) = parsed(raw).iter_attachments()
    assert (file.get_filename(), file.get_payload(decode=True)) == ("a b.bin", octets)
    assert flags(node, inbox, uid) & 32, "it is marked as passed on"


def test_one_bad_recipient_and_nobody_gets_it_and_nothing_typed_is_lost(
    node: Node, alice: Browser
) -> None:
    said = written(alice, to="bob@example.test, nobody@example.test", cc="sina, x@sina",
                   subject="Typed", text="Long words")  # fmt: skip
    page = alice.post("/write/0/send", said)
    assert page.status == 422
    assert page.fault("to") == "nobody@example.test: No such user here"
    assert "'sina' has no @" in page.fault("cc")
    assert "'sina' is not a whole domain" in page.fault("cc")
    for name in ("to", "cc", "subject", "text"):
        assert page.value(name) == said[name]
    assert node.mails("bob") == []
    nobody = alice.post("/write/0/send", said | {"to": "", "cc": ""})
    assert nobody.status == 422
    assert "nobody to send it to" in nobody.fault("to")
    other = alice.post("/write/0/send", said | {"from": "bob@example.test", "cc": "",
                                                "to": "bob@example.test"})  # fmt: skip
    assert (other.status, node.mails("bob")) == (422, [])
    assert "bob@example.test is not yours" in other.fault("from")


def test_a_mail_that_is_sent_twice_is_sent_once(node: Node, alice: Browser) -> None:
    said = written(alice, to="bob@example.test", subject="Once", text="x")
    first = alice.post("/write/0/send", said, follow=False)
    again = alice.post("/write/0/send", said, follow=False)
    assert first.status == again.status == 303
    assert first.headers["Location"] == again.headers["Location"]
    assert len(node.mails("bob")) == 1
    changed = alice.post("/write/0/send", said | {"text": "another"})
    assert changed.status == 409
    assert "was sent already" in changed.fault("all")
    assert changed.value("text") == "another"
    assert len(node.mails("bob")) == 1
    assert alice.post("/write/0/send", form_of(changed)).status == 200
    assert len(node.mails("bob")) == 2


def test_two_mails_that_are_sent_at_once_under_one_name_are_not_taken_for_each_other(
    node: Node, alice: Browser
) -> None:
    said = written(alice, to="bob@example.test", subject="Two tabs", text="x")
    both = [
        (Browser(alice.port, dict(alice.cookies), alice.csrf), said | {"text": text * 2000})
        for text in ("one ", "two ")
    ]
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(lambda each: each[0].post("/write/0/send", each[1]), both))
    assert sorted(each.status for each in pages) == [200, 409]
    (refused,) = [each for each in pages if each.status == 409]
    assert refused.value("text").startswith(both[pages.index(refused)][1]["text"][:100])
    assert len(node.mails("bob")) == 1


def test_a_mail_that_is_asked_for_at_once_from_two_clicks_is_sent_once(
    node: Node, alice: Browser
) -> None:
    said = written(alice, to="bob@example.test", subject="Clicks", text="x")
    before = drafts_of(node, "alice")
    clicks = [Browser(alice.port, dict(alice.cookies), alice.csrf) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda each: each.post("/write/0/send", said), clicks))
    assert len({each.path for each in pages}) == 1
    assert [each.status for each in pages] == [200] * 4
    assert len(node.mails("bob")) == 1
    assert drafts_of(node, "alice") == before


def test_a_draft_is_kept_opened_again_with_its_files_and_gone_once_it_is_sent(
    node: Node, alice: Browser
) -> None:
    before = drafts_of(node, "alice")
    said = written(alice, to="half an addr", subject="Ünfinished", text="a\r\n\r\n  b ")
    kept = alice.post("/write/0", said, [("n.txt", "text/plain", b"notes")], script=True).json()
    assert kept["draft"] > 0
    assert [each["name"] for each in kept["files"]] == ["n.txt"]
    assert alice.get(kept["files"][0]["address"]).octets == b"notes"
    page = alice.get(f"/write?draft={kept['place']}")
    assert page.value("to") == "half an addr"
    assert page.value("subject") == "Ünfinished"
    assert page.value("text") == "a\n\n  b "
    assert page.value("key") == said["key"]
    again = alice.post(f"/write/{kept['draft']}", said | {"to": "bob@example.test"}, script=True)
    assert again.json()["draft"] == kept["draft"]
    assert drafts_of(node, "alice") == before + 1
    ready = form_of(alice.get(f"/write?draft={again.json()['place']}"))
    sent = alice.post(f"/write/{kept['draft']}/send", ready)
    assert sent.status == 200, sent.text
    assert drafts_of(node, "alice") == before
    (file,) = parsed(node.mails("bob")[0]).iter_attachments()
    assert file.get_payload(decode=True) == b"notes"
    assert alice.get(kept["files"][0]["address"]).status == 404


def test_a_mail_elsewhere_is_no_draft_that_could_be_replaced(node: Node, alice: Browser) -> None:
    node.send(b"Subject: x\r\n\r\nx\r\n")
    inbox, uid = newest(node, "alice", "INBOX")
    assert alice.get(f"/write?draft={inbox}/{uid}").status == 404


def test_a_page_with_a_picture_comes_with_its_text_and_without_scripts(
    node: Node, alice: Browser
) -> None:
    key = written(alice)["key"]
    draft = alice.post("/write/0", written(alice, key=key), script=True).json()["draft"]
    png = base64.b64decode(PNG)
    added = alice.post(f"/write/{draft}/files", {"inline": "1"}, [("dot.png", "image/png", png)],
                       script=True).json()  # fmt: skip
    address = added["files"][0]["address"]
    assert alice.get(address).headers["Content-Type"] == "image/png"
    html = f'<p>Hello <b>you</b></p><script>x()</script><img src="{address}" onerror="x()">'
    said = written(alice, key=key, to="bob@example.test", format="html", html=html)
    assert alice.post(f"/write/{draft}/send", said).status == 200
    mail = parsed(node.mails("bob")[0])
    plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert page is not None
    assert plain.get_content().strip() == "Hello you"
    content = page.get_content()
    assert "<b>you</b>" in content
    assert "x()" not in content
    (shown,) = re.findall(r'src="cid:([^"]+)"', content)
    (picture,) = [each for each in mail.walk() if each.get_content_type() == "image/png"]
    assert picture["Content-ID"] == f"<{shown}>"
    assert picture.get_payload(decode=True) == png


def test_recipients_are_judged_as_they_are_typed_and_completed(node: Node, alice: Browser) -> None:
    def faults(text: str) -> list[str]:
        found: list[str] = alice.get(f"/write/address?text={quote(text)}").json()["faults"]
        return found

    logged = len(node.text())
    assert faults("bob@example.test, Carol <carol@elsewhere.example>") == []
    assert faults("bob@example.test, nobody@example.test; bob") == [
        "'bob' has no @: an address is such as carol@example.org",
        "nobody@example.test: No such user here",
    ]
    assert '"refused"' not in node.text()[logged:], "typing is nothing for the journal"
    alice.post("/write/0/send", written(alice, to="Dr. Zed <zed@far.example>", text="x"))
    people = alice.get("/write/people?text=ze").json()["people"]
    assert people == [{"address": "zed@far.example", "name": "Dr. Zed"}]
    assert alice.get("/write/people?text=bo").json()["people"] == [
        {"address": "bob@example.test", "name": ""}
    ]


def test_a_form_of_no_page_of_ours_does_nothing(node: Node, alice: Browser) -> None:
    said = written(alice, to="bob@example.test", text="x")
    before = drafts_of(node, "alice")
    for path in ("/write/0", "/write/0/send", "/write/1/files", "/write/1/discard"):
        files = [("a", "text/plain", b"x")]
        for script in (False, True):
            page = alice.post(path, said, files, forged=True, script=script, follow=False)
            assert page.status == 403, path
    assert node.mails("bob") == []
    assert drafts_of(node, "alice") == before
    stranger = Browser(node.port("http"))
    assert stranger.post("/write/0/send", said, script=True, follow=False).status == 401


def test_files_of_another_are_not_there(node: Node, alice: Browser, bob: Browser) -> None:
    kept = alice.post("/write/0", written(alice), [("n", "text/plain", b"x")], script=True).json()
    address = kept["files"][0]["address"]
    assert bob.get(address).status == 404
    bob.get("/write")
    assert bob.post(f"{address}/remove", {}, script=True).json()["files"] == []
    assert bob.post(f"/write/{kept['draft']}/files", {}, [("y", "text/plain", b"y")],
                    script=True).status == 404  # fmt: skip
    assert alice.get(address).octets == b"x"
    gone = alice.post(f"{address}/remove", {}, script=True).json()
    assert gone["files"] == []


def test_sixty_mebibytes_go_up_and_out_with_little_memory(
    node: Node, alice: Browser, bob: Browser, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for _ in range(60):
            file.write(os.urandom(MIB))
    said = written(alice, to="bob@example.test", subject="Large", text="x")
    draft = alice.post("/write/0", said, script=True).json()["draft"]
    before, after_start = resident_mib(node), forget_peak(node)
    octets = "application/octet-stream"
    up = alice.post(f"/write/{draft}/files", {}, [("large.bin", octets, large)], script=True)
    assert up.status == 200, up.text
    uploaded = resident_mib(node, "VmHWM")
    more = alice.post(f"/write/{draft}/files", {}, [("b.bin", octets, large)], script=True)
    assert more.status == 413
    assert "is too large: a mail may have 100.0 MiB here" in more.json()["faults"]["files"][0]
    assert alice.post(f"/write/{draft}/send", said).status == 200
    peak = resident_mib(node, "VmHWM")
    print(f"before {before:.1f} MiB, peak of the upload {uploaded:.1f}, with sending {peak:.1f}")
    (raw,) = node.mails("bob")
    (file_part,) = parsed(raw).iter_attachments()
    assert file_part.get_payload(decode=True) == large.read_bytes()
    if after_start:
        assert peak - before < 32
    inbox, uid = newest(node, "bob", "INBOX")
    before, after_start = resident_mib(node), forget_peak(node)
    form = form_of(bob.get(f"/write?forward={inbox}/{uid}"))
    print(f"before {before:.1f} MiB, peak of looking at it {resident_mib(node, 'VmHWM'):.1f}")
    assert bob.post("/write/0/send", form | {"to": "alice@example.test"}).status == 200
    passed_on = resident_mib(node, "VmHWM")
    print(f"peak of passing it on {passed_on:.1f} MiB")
    if after_start:
        assert passed_on - before < 32
    (raw,) = node.mails("alice")
    (file_part,) = parsed(raw).iter_attachments()
    assert file_part.get_payload(decode=True) == large.read_bytes()


LIMITS = {
    "MAILNODE_LIMITS__MESSAGE_SIZE": "1 MiB",
    "MAILNODE_OUTBOUND__BURST": "1",
    "MAILNODE_OUTBOUND__RATE": "1",
    "MAILNODE_QUOTA__OCTETS": "600 KiB",
}


def test_limits_are_told_where_they_are_met_and_what_was_typed_is_there(folder: Path) -> None:
    with Node(folder, OPTIONS, settings=LIMITS) as node:
        alice = Browser(node.port("http"))
        alice.sign_in("alice@example.test", PASSWORD)
        assert "of at most 1.0 MiB" in alice.get("/write").text
        said = written(alice, to="a@x.example, b@x.example", subject="Many", text="kept")
        page = alice.post("/write/0/send", said)
        assert page.status == 422
        assert "b@x.example: You have sent to too many recipients" in page.fault("to")
        assert page.value("text") == "kept"
        said |= {"to": "a@x.example"}
        draft = "/write/" + page.draft
        large = alice.post(f"{draft}/send", said, [("large", "text/plain", b"x" * 800_000)])
        assert large.status == 422
        assert "large (781.2 KiB) is too large: a mail may have 1.0 MiB" in large.fault("files")
        assert large.value("text") == "kept"
        file = [("half", "text/plain", b"x" * 500_000)]
        assert alice.post(f"{draft}/files", {}, file, script=True).status == 200
        full = alice.post("/write/0", written(alice), file, script=True)
        assert "Your mailbox has no room" in full.json()["faults"]["files"][0]
        sent = alice.post(f"{draft}/send", said)
        assert sent.status == 200
        assert "Kept here: mail does not leave this node" in sent.text


def test_a_form_that_is_sent_again_after_a_crash_leads_to_the_mail_that_was_sent(
    folder: Path,
) -> None:
    node = Node(folder, OPTIONS).start()
    try:
        alice = Browser(node.port("http"))
        alice.sign_in("alice@example.test", PASSWORD)
        said = written(alice, to="bob@example.test", subject="Crash", text="x")
        first = alice.post("/write/0/send", said, follow=False)
        node.kill()
        node.start()
        again = Browser(node.port("http"))
        again.sign_in("alice@example.test", PASSWORD)
        second = again.post("/write/0/send", said, follow=False)
        assert first.headers["Location"] == second.headers["Location"]
        assert len(node.mails("bob")) == 1
        assert drafts_of(node, "alice") == 0
    finally:
        node.kill()


def test_a_full_disk_takes_no_mail_and_says_so(folder: Path) -> None:
    with Node(folder, OPTIONS, settings={"MAILNODE_STORE__FREE_SPACE": "9000 TiB"}) as node:
        alice = Browser(node.port("http"))
        alice.sign_in("alice@example.test", PASSWORD)
        page = alice.post("/write/0/send", written(alice, to="bob@example.test"), script=True)
        assert page.status == 507
        assert "The disk is nearly full" in page.text


# What is looked at beside the pages

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
    "rkJggg=="
)


def rows(node: Node, text: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(f"file:{node.data}/mail.db?mode=ro", uri=True)) as connection:
        return connection.execute(text, values).fetchall()


def account_id(node: Node, name: str) -> int:
    place = f"file:{node.folder}/users.db?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as connection:
        found = connection.execute(
            "SELECT id FROM account WHERE key = ?", (f"{name}@example.test",)
        ).fetchone()
        return int(found[0])


def newest(node: Node, name: str, folder: str) -> tuple[int, int]:
    """(folder's id, uid) of the newest mail."""
    ((folder_id, uid),) = rows(
        node,
        "SELECT d.folder_id, max(d.uid) FROM delivery AS d JOIN folder AS f ON f.id = d.folder_id"
        " WHERE f.account_id = ? AND f.name = ?",
        account_id(node, name),
        folder,
    )
    return folder_id, uid


def flags(node: Node, folder_id: int, uid: int) -> int:
    ((found,),) = rows(
        node, "SELECT flags FROM delivery WHERE folder_id = ? AND uid = ?", folder_id, uid
    )
    return int(found)


def drafts_of(node: Node, name: str) -> int:
    ((count,),) = rows(
        node,
        "SELECT coalesce(sum(mails), 0) FROM folder WHERE account_id = ? AND name = 'Drafts'",
        account_id(node, name),
    )
    return int(count)


def resident_mib(node: Node, what: str = "VmRSS") -> float:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def forget_peak(node: Node) -> bool:
    """Whether the kernel begins a new peak."""
    assert node.process is not None
    try:
        Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True
