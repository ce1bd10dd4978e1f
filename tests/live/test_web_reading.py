"""A mail in a browser, on a real node: hostile mails, and large ones."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import smtplib
import sqlite3
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.browser import Browser, Page, pieces
from tests.live.node import Node, copy_folder

VECTORS = Path(__file__).parents[1] / "vectors"
CPYTHON = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"
TABS = ("", "?view=text", "/headers", "/raw", "/raw?all=1", "/eml", "/print", "/story")
MIB = 1 << 20
OURS = "default-src 'none'; script-src 'self'; style-src 'self'"
_SENT = "sender@elsewhere.example"


@pytest.fixture(scope="module")
def web(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a web that must end without a traceback in its log."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("web") / "node")
    node = Node(folder, options=("--smtp", "0", "--pop3", "0", "--http", "0")).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture(scope="module")
def alice(web: Node) -> Browser:
    return Browser(web).sign_in()


@pytest.fixture(scope="module")
def bob(web: Node) -> Browser:
    return Browser(web).sign_in("bob")


def deliver(node: Node, raw: bytes) -> str:
    """A mail for alice; the path of its page."""
    node.send(re.sub(rb"\r?\n|\r", b"\r\n", raw) or b"\r\n", "alice", _SENT)
    return newest(node)


def newest(node: Node) -> str:
    with sqlite3.connect(f"file:{node.data}/mail.db?mode=ro", uri=True) as database:
        row = database.execute(
            "SELECT folder_id, uid FROM delivery ORDER BY received_at DESC, uid DESC, folder_id"
            " DESC LIMIT 1"
        ).fetchone()
    return f"/mail/{row[0]}/{row[1]}"


def assert_guarded(page: Page, what: str) -> None:
    """It says what may run: nothing, or what is ours."""
    assert "Traceback" not in page.text if page.octets.isascii() else True, what
    policy = page.policy
    assert policy.startswith("default-src 'none'"), (what, policy)
    assert "unsafe" not in policy, (what, policy)
    assert page.fields["X-Content-Type-Options"] == "nosniff", what
    if OURS not in policy:
        assert "script" not in policy, (what, policy)
        assert "sandbox" in policy and "allow-scripts" not in policy, (what, policy)
        assert "allow-same-origin" not in policy, (what, policy)


def read_whole(browser: Browser, path: str) -> int:
    """Every page of a mail and every part answers, guarded; how many there were."""
    seen = 0
    for tab in TABS:
        page = browser.ask(path + tab)
        assert page.status == 200, (path + tab, page.status, page.octets[:2000])
        assert_guarded(page, path + tab)
        seen += 1
    own = [
        link
        for link in dict.fromkeys(browser.ask(f"{path}?files=all").links())
        if link.startswith((f"{path}/html", f"{path}/part/", f"{path}?of="))
    ]
    for link in own[:60]:
        page = browser.ask(link)
        assert page.status == 200, (link, page.status, page.octets[:2000])
        assert_guarded(page, link)
        seen += 1
    return seen


def hostile_mails() -> list[Path]:
    theirs = sorted(CPYTHON.glob("msg_*.txt")) if CPYTHON.is_dir() else []
    return [*theirs, *sorted((VECTORS / "torture").glob("*.eml"))]


def test_python_has_its_test_mails_where_it_is_installed() -> None:
    if not CPYTHON.is_dir():
        pytest.skip(f"this Python was installed without its test mails: no {CPYTHON}")
    assert len(list(CPYTHON.glob("msg_*.txt"))) >= 40


@pytest.mark.parametrize("file", hostile_mails(), ids=lambda file: file.stem)
def test_every_page_of_a_hostile_mail_answers(web: Node, alice: Browser, file: Path) -> None:
    path = deliver(web, file.read_bytes())
    assert read_whole(alice, path) >= len(TABS)
    web.assert_quiet_log()


def test_nothing_of_the_corpus_of_hostile_html_is_in_the_frames_document(
    web: Node, alice: Browser
) -> None:
    corpus = tomllib.loads((VECTORS / "xss.toml").read_text("utf-8"))
    vectors = [each for kind in corpus.values() for each in kind["vectors"]]
    assert len(vectors) >= 200
    for at in range(0, len(vectors), 12):
        html = b"<hr>".join(each.encode("utf-8", "replace") for each in vectors[at : at + 12])
        for each in (html, *(v.encode("utf-8", "replace") for v in vectors[at : at + 2])):
            head = b"From: a@b.example\r\nContent-Type: text/html; charset=utf-8\r\n"
            body = base64.encodebytes(each)
            path = deliver(web, head + b"Content-Transfer-Encoding: base64\r\n\r\n" + body)
            for query in ("", "?remote=1"):
                frame = alice.ask(f"{path}/html{query}")
                assert frame.status == 200
                assert_guarded(frame, path)
                tags = re.findall(r"<[^>]*>", frame.text)
                for tag in tags:
                    assert not re.match(r"<(script|iframe|object|embed|form|base|svg|math)", tag)
                    assert not re.search(r"\son[a-z]+\s*=", re.sub(r'"[^"]*"', '""', tag)), tag
                    assert not re.search(r'(?:href|src)="\s*(?:javascript|vbscript):', tag), tag
                if not query:
                    loads = re.findall(r'src="([^"]*)"', frame.text)
                    assert all(src.startswith(("/mail/", "data:image/")) for src in loads), loads


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def with_picture() -> bytes:
    return (
        b"From: a@b.example\r\nSubject: picture\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b'<p>Look:<img src="cid:pic@x"><img src="https://far.example/x.png" width=90></p>\r\n'
        b"--b\r\n"
        b"Content-Type: image/png\r\nContent-ID: <pic@x>\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(PICTURE) + b"--b--\r\n"
    )


def test_a_picture_in_the_html_comes_without_a_cookie_by_the_key_of_its_page_alone(
    web: Node, alice: Browser
) -> None:
    path = deliver(web, with_picture())
    frame = alice.ask(f"{path}/html")
    (address,) = [link for link in frame.links() if "/cid/" in link]
    nobody = Browser(web)
    got = nobody.ask(address)
    assert (got.status, got.octets) == (200, PICTURE)
    assert got.fields["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert_guarded_octets(got)
    assert nobody.ask(address.partition("?")[0]).status == 403
    assert nobody.ask(address[:-1] + ("0" if address[-1] != "0" else "1")).status == 403
    other = deliver(web, with_picture())
    assert nobody.ask(address.replace(path, other)).status == 403


def test_a_pictures_key_ends_with_the_session_of_its_page(web: Node) -> None:
    path = deliver(web, with_picture())
    one, another = Browser(web).sign_in(), Browser(web).sign_in()
    addresses = [
        next(link for link in each.ask(f"{path}/html").links() if "/cid/" in link)
        for each in (one, another)
    ]
    nobody = Browser(web)
    assert [nobody.ask(each).status for each in addresses] == [200, 200]
    assert one.send("/sign-out").status == 303
    assert [nobody.ask(each).status for each in addresses] == [403, 200]


def assert_guarded_octets(page: Page) -> None:
    assert "sandbox" in page.policy
    assert page.fields["X-Content-Type-Options"] == "nosniff"


def test_pictures_from_outside_are_named_and_loaded_only_when_asked_for(
    web: Node, alice: Browser
) -> None:
    path = deliver(web, with_picture())
    page = alice.ask(path)
    assert "Show pictures from outside (1)" in page.text
    assert f"{path}/html?remote=1" in page.links()
    assert "far.example" not in alice.ask(f"{path}/html").text
    asked = alice.ask(f"{path}/html?remote=1")
    assert "https://far.example/x.png" in asked.text
    assert "https:" in asked.policy
    assert "https:" not in alice.ask(f"{path}/html").policy


def test_somebody_elses_mail_is_not_there(web: Node, alice: Browser, bob: Browser) -> None:
    path = deliver(web, with_picture())
    for tab in (*TABS, "/html", "/part/1", "/part/2"):
        assert bob.ask(path + tab).status == 404, tab
        assert "picture" not in bob.ask(path + tab).text, tab
        assert Browser(web).ask(path + tab).status == 303, tab


def test_a_mail_that_went_meanwhile_is_missed_in_words(web: Node, alice: Browser) -> None:
    path = deliver(web, with_picture())
    folder, _, uid = path.rpartition("/")
    gone = alice.ask(f"{folder}/{int(uid) + 1000}")
    assert gone.status == 404
    assert "moved or deleted" in gone.text
    assert folder in gone.links()
    for wrong in (f"{folder}/{1 << 63}", f"{folder}/{10**40}", f"/mail/{10**40}/1"):
        assert alice.ask(wrong).status == 404


def test_a_mail_is_seen_when_it_was_opened(web: Node, alice: Browser) -> None:
    path = deliver(web, with_picture())
    number, uid = path.split("/")[2:]

    def flags() -> int:
        with sqlite3.connect(f"file:{web.data}/mail.db?mode=ro", uri=True) as database:
            asked = "SELECT flags FROM delivery WHERE folder_id = ? AND uid = ?"
            return int(database.execute(asked, (number, uid)).fetchone()[0])

    alice.ask(f"{path}/raw")
    alice.ask(path, "HEAD")
    alice.ask(path, **{"Sec-Purpose": "prefetch"})
    assert flags() == 0
    alice.ask(path)
    assert flags() == 1


def memory(node: Node, what: str) -> int:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) << 10


def test_an_attachment_of_50_mib_is_read_and_saved_in_bounded_memory(
    web: Node, alice: Browser
) -> None:
    octets = random.Random(6).randbytes(50 * MIB)
    raw = (
        b"From: a@b.example\r\nSubject: large\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee below.\r\n--b\r\n"
        b"Content-Type: application/octet-stream; name=disk.img\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(octets).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )
    web.send(raw, "alice", _SENT)
    path = newest(web)
    assert web.process is not None
    alice.ask(path)
    Path(f"/proc/{web.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(web, "VmRSS")
    page = alice.ask(path)
    assert "See below." in page.text
    assert "disk.img" in page.text
    digest = hashlib.sha256()
    client, answer = alice.open(f"{path}/part/2")
    with client:
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == 'attachment; filename="disk.img"'
        for piece in pieces(answer):
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(octets).digest()
    client, answer = alice.open(f"{path}/raw?all=1")
    with client:
        length = sum(map(len, pieces(answer)))
    assert length > len(raw)
    assert str(length) == answer.headers["Content-Length"]
    more = memory(web, "VmHWM") - before
    print(f"50 MiB down, and its mail of {length / MIB:.0f} MiB: {more / MIB:.1f} MiB more memory")
    assert more < 32 * MIB, f"{more / MIB:.1f} MiB more"


def test_who_stops_reading_a_download_leaves_nothing_open(web: Node, alice: Browser) -> None:
    raw = (
        b"Content-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"AAAA" * 19 * 100_000
    )
    path = deliver(web, re.sub(rb"((?:AAAA){19})", rb"\1\r\n", raw))
    assert web.process is not None
    files = Path(f"/proc/{web.process.pid}/fd")

    def open_blobs() -> int:
        return sum(
            "/blobs/" in str(each.readlink()) for each in files.iterdir() if each.is_symlink()
        )

    for _ in range(5):
        client, answer = alice.open(f"{path}/part/1")
        with client:
            answer.read(1000)
    for _ in range(100):
        if not open_blobs():
            break
        alice.ask("/livez")
    assert open_blobs() == 0


def flags_of(web: Node, path: str) -> int | None:
    """Of a copy; None where it isn't any more."""
    with sqlite3.connect(f"file:{web.data}/mail.db?mode=ro", uri=True) as database:
        asked = "SELECT flags FROM delivery WHERE folder_id = ? AND uid = ?"
        row = database.execute(asked, path.split("/")[2:]).fetchone()
    return None if row is None else int(row[0])


def forms_of(page: Page) -> dict[str, tuple[str, dict[str, str]]]:
    """Where each form of one button leads and what it says, by its button."""
    found = {}
    for action, inside in re.findall(r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>',
                                     page.text, re.S):  # fmt: skip
        said = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', inside))
        for label in re.findall(r"<button[^>]*>([^<]*)</button>", inside):
            found[label] = action, said
    return found


def press(browser: Browser, page: Page, button: str) -> Page:
    """The page that a button leads to."""
    action, said = forms_of(page)[button]
    answer = browser.send(action, **said)
    assert answer.status == 303, (button, answer.status, answer.text)
    return browser.ask(answer.fields["Location"])


def test_a_mail_is_flagged_marked_unread_moved_and_deleted_from_its_page(
    web: Node, alice: Browser
) -> None:
    path = deliver(web, with_picture())
    page = press(alice, alice.ask(path), "Flag")
    assert flags_of(web, path) == 5
    page = press(alice, page, "Take the flag off")
    assert flags_of(web, path) == 1
    press(alice, page, "Mark unread")
    assert flags_of(web, path) == 0
    listed = press(alice, alice.ask(path), "Junk")
    assert flags_of(web, path) is None
    press(alice, listed, "Undo")
    path = newest(web)
    listed = press(alice, alice.ask(path), "Delete")
    assert flags_of(web, path) is None
    in_trash = newest(web)
    action, said = forms_of(alice.ask(in_trash))["Delete for good …"]
    asked = alice.send(action, **said)
    assert asked.status == 200
    assert "Delete for good?" in asked.text
    assert flags_of(web, in_trash) is not None
    press(alice, asked, "Delete for good")
    assert alice.ask(in_trash).status == 404


def stories_of(browser: Browser, ways: list[tuple[int, int]]) -> list[str]:
    pages = [browser.ask(f"/mail/{folder_id}/{uid}/story") for folder_id, uid in ways]
    return [page.text for page in pages if page.status == 200]


def test_the_story_tells_a_reader_nothing_of_the_others(
    web: Node, alice: Browser, bob: Browser
) -> None:
    raw = b"From: a@b.example\r\nSubject: for both\r\n\r\nHello.\r\n"
    with smtplib.SMTP("localhost", web.port("smtp"), timeout=60) as client:
        client.ehlo("client.example")
        client.sendmail(_SENT, ["alice@example.test", "bob@example.test"], raw)
    with web.maildrop("bob") as drop:
        drop.retr(len(drop.list()[1]))
    with sqlite3.connect(f"file:{web.data}/mail.db?mode=ro", uri=True) as database:
        ways = database.execute(
            "SELECT folder_id, uid FROM delivery JOIN message ON message.id = message_id"
            " WHERE message.subject = 'for both'"
        ).fetchall()
    (hers,) = stories_of(alice, ways)
    deadline = time.monotonic() + 10
    while "over POP3" not in (his := stories_of(bob, ways)[0]):  # written by a batch behind QUIT
        assert time.monotonic() < deadline, his
        time.sleep(0.05)
    assert "filed in the mailbox of alice@example.test" in hers
    assert "bob@" not in hers
    assert "over POP3" not in hers
    assert "alice@" not in his
