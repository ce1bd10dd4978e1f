"""Lists in a browser, on real nodes of one process and of two: what is told, served and found."""

from __future__ import annotations

import json
import poplib
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define, field

from tests.live.browser import Browser, Page
from tests.live.node import WORKERS, Node, copy_folder

TOLD_S = 1.0
SOON_S = 10.0
OPTIONS = ("--smtp", "0", "--pop3", "0", "--http", "0")


@pytest.fixture(scope="module", params=sorted({WORKERS, 1, 2}))
def web(
    request: pytest.FixtureRequest, made_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node that must end without a traceback in its log."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("lists") / "node")
    node = Node(folder, options=OPTIONS, workers=request.param).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture(scope="module")
def alice(web: Node) -> Browser:
    return Browser(web).sign_in()


@pytest.fixture(autouse=True)
def empty(web: Node, alice: Browser) -> None:
    """No folder that is looked at has mail."""
    web.empty()
    for name in ("Junk", "Trash"):
        folder = folder_id(alice, name)
        alice.send(f"/mail/{folder}/delete", all=str((1 << 32) - 1), sure="yes")
    alice.ask("/mail")


def mail(subject: str, text: str = "Words.") -> bytes:
    return f"From: Zed <zed@example.org>\r\nSubject: {subject}\r\n\r\n{text}\r\n".encode()


def folder_id(browser: Browser, name: str) -> int:
    path = inbox_of(browser)
    if name == "INBOX":
        return int(path.rpartition("/")[2])
    page = browser.ask(path)
    found = re.search(rf'href="/mail/(\d+)"[^>]*>.*?\n<span class="name"[^>]*>{name}<', page.text)
    assert found, page.text
    return int(found[1])


def inbox_of(browser: Browser) -> str:
    return str(browser.ask("/mail").fields["Location"])


def subjects(page: Page) -> list[str]:
    return re.findall(r'<span class="subject">(.*?)</span>', page.text)


def uid_of(page: Page, subject: str) -> str:
    found = re.search(
        rf'name="uid" value="(\d+)" aria-label="Choose “{re.escape(subject)}”', page.text
    )
    assert found, page.text
    return found[1]


def inbox(browser: Browser) -> Page:
    return browser.ask(inbox_of(browser))


@define(eq=False)
class Stream:
    """An event stream, and when what came came."""

    _socket: object
    _file: object
    _octets: bytes = b""
    _told: list[list[int]] = field(factory=list)

    def next(self, within_s: float = SOON_S) -> list[int] | None:
        """The folders of the next event; None where there is none."""
        deadline = time.monotonic() + within_s
        while b"\n\n" not in self._octets or not self._take():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            piece = self._file.read1(65536)  # type: ignore[attr-defined]
            assert piece, "the stream ended"
            self._octets += piece
        return self._told.pop(0)

    def _take(self) -> bool:
        event, _, self._octets = self._octets.partition(b"\n\n")
        found = re.fullmatch(rb"event: change\ndata: (.*)", event, re.S)
        if found:
            self._told.append(json.loads(found[1])["folders"])
        return bool(self._told)


@contextmanager
def events(browser: Browser) -> Iterator[Stream]:
    client, answer = browser.open("/events", Accept="text/event-stream")
    with client:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(client.sock or answer.fp.raw._sock, answer)  # type: ignore[union-attr]


def wait_for(what: str, found: object, seconds: float = SOON_S) -> None:
    deadline = time.monotonic() + seconds
    while not found():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_mail_that_came_by_smtp_is_told_within_a_second_and_stands_in_the_list(
    web: Node, alice: Browser
) -> None:
    inbox_id = folder_id(alice, "INBOX")
    with events(alice) as stream:
        while stream.next(0.6) is not None:  # what the test before did
            pass
        took = []
        for number in range(5):
            web.send(mail(f"told {number}"))
            began = time.monotonic()
            assert stream.next() == [inbox_id]
            took.append(time.monotonic() - began)
            assert subjects(inbox(alice))[0] == f"told {number}"
        assert sorted(took)[2] < TOLD_S, took
    assert "<title>(5) Inbox" in inbox(alice).text


def test_mail_of_others_is_not_told(web: Node, alice: Browser) -> None:
    with events(alice) as stream:
        while stream.next(0.6) is not None:
            pass
        web.send(mail("for bob"), "bob")
        assert stream.next(TOLD_S) is None


def test_marks_of_one_page_are_told_to_all_others_and_shown(web: Node, alice: Browser) -> None:
    web.send(mail("marked"))
    page = inbox(alice)
    path = inbox_of(alice)
    with events(alice) as stream, events(alice) as another:
        for each in (stream, another):
            while each.next(0.6) is not None:
                pass
        alice.send(f"{path}/mark", uid=uid_of(page, "marked"), add="flagged")
        assert stream.next() == another.next() == [folder_id(alice, "INBOX")]
    assert 'title="flagged"' in inbox(alice).text


def test_what_the_web_moved_or_deleted_pop3_does_not_have_and_what_comes_back_it_has(
    web: Node, alice: Browser
) -> None:
    for subject in ("stays", "moved", "deleted"):
        web.send(mail(subject))
    page, path = inbox(alice), inbox_of(alice)
    alice.send(f"{path}/move", uid=uid_of(page, "moved"), to="Junk")
    alice.send(f"{path}/delete", uid=uid_of(page, "deleted"))
    assert [re.search(rb"Subject: (\w+)", each)[1] for each in web.mails()] == [b"stays"]  # type: ignore[index]
    trash = folder_id(alice, "Trash")
    assert subjects(alice.ask(f"/mail/{trash}")) == ["deleted"]
    uid = uid_of(alice.ask(f"/mail/{trash}"), "deleted")
    alice.send(f"/mail/{trash}/move", uid=uid, to="INBOX")
    served = web.mails()
    assert [re.search(rb"Subject: (\w+)", each)[1] for each in served] == [b"stays", b"deleted"]  # type: ignore[index]
    assert served[1].endswith(mail("deleted"))


def test_what_pop3_deleted_the_list_does_not_have_and_its_page_is_told(
    web: Node, alice: Browser
) -> None:
    web.send(mail("one"))
    web.send(mail("two"))
    with events(alice) as stream:
        while stream.next(0.6) is not None:
            pass
        with web.maildrop() as client:
            client.dele(1)
        assert stream.next(TOLD_S) == [folder_id(alice, "INBOX")]
    assert subjects(inbox(alice)) == ["two"]


def test_a_pop3_session_that_is_open_is_told_that_a_mail_went_and_serves_the_others(
    web: Node, alice: Browser
) -> None:
    for subject in ("first", "second", "third"):
        web.send(mail(subject))
    page, path = inbox(alice), inbox_of(alice)
    with web.maildrop() as client:
        assert len(client.list()[1]) == 3
        alice.send(f"{path}/move", uid=uid_of(page, "second"), to="Junk")
        with pytest.raises(poplib.error_proto, match="-ERR"):
            client.retr(2)
        assert b"Subject: third" in client.retr(3)[1]
        client.dele(2)
        client.dele(1)
    assert subjects(inbox(alice)) == ["third"]
    junk = folder_id(alice, "Junk")
    assert subjects(alice.ask(f"/mail/{junk}")) == ["second"]


def test_search_finds_a_mail_a_moment_after_it_came(web: Node, alice: Browser) -> None:
    web.send(mail("warm up"))
    wait_for("a first mail", lambda: subjects(alice.ask("/search?q=warm")) == ["warm up"])
    took = []
    for number in range(5):
        web.send(mail("found", f"quokka{number} lives here"))
        began = time.monotonic()
        wait_for(
            f"quokka{number}",
            lambda number=number: subjects(alice.ask(f"/search?q=quokka{number}")) == ["found"],  # type: ignore[misc]
        )
        took.append(time.monotonic() - began)
    assert sorted(took)[2] < TOLD_S, took
    path, page = inbox_of(alice), inbox(alice)
    alice.send(f"{path}/delete", uid=uid_of(page, "found"))
    assert subjects(alice.ask("/search?q=quokka4+in:trash")) == ["found"]
    assert subjects(alice.ask("/search?q=quokka4+in:inbox")) == []


def test_undo_brings_back_what_a_page_moved(web: Node, alice: Browser) -> None:
    web.send(mail("there and back"))
    path = inbox_of(alice)
    alice.send(f"{path}/delete", uid=uid_of(inbox(alice), "there and back"))
    page = inbox(alice)
    assert subjects(page) == []
    fields = dict(
        re.findall(r'<input type="hidden" name="(from|to|uids)" value="([^"]*)"', page.text)
    )
    assert alice.send("/mail/undo", **fields).status == 303
    assert subjects(inbox(alice)) == ["there and back"]


def test_streams_end_with_the_sign_in(web: Node, alice: Browser) -> None:
    other = Browser(web).sign_in("bob")
    client, answer = other.open("/events")
    with client:
        assert answer.read1(100)
        assert other.send("/sign-out").status == 303
        deadline = time.monotonic() + SOON_S
        while answer.read1(100):
            assert time.monotonic() < deadline
    assert other.ask("/events").status in (303, 401)
