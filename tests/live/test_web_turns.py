"""Words of a page that come in another order than they were written in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.node import PASSWORD, Node, copy_folder
from tests.live.test_web_writing import OPTIONS, drafts_of, written
from tests.live.web_client import Browser, form_of


@pytest.fixture(scope="module")
def node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("turns") / "node")
    node = Node(folder, OPTIONS).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture
def alice(node: Node) -> Browser:
    browser = Browser(node.port("http"))
    browser.sign_in("alice@example.test", PASSWORD)
    return browser


def test_of_what_one_page_says_the_newest_is_kept_whichever_comes_last(
    node: Node, alice: Browser
) -> None:
    before, page = drafts_of(node, "alice"), "0123456789abcdef"
    said = written(alice, subject="Hurried")

    def keep(number: int, text: str) -> Any:
        turn = said | {"text": text, "turn": f"{page}-{number}"}
        return alice.post("/write/0", turn, script=True).json()

    newest_kept = keep(2, "both")
    assert keep(1, "bo")["place"] == newest_kept["place"]
    assert drafts_of(node, "alice") == before + 1
    assert alice.get(f"/write?draft={newest_kept['place']}").value("text") == "both"
    again = keep(3, "both of them")
    assert again["draft"] == newest_kept["draft"]
    assert alice.get(f"/write?draft={again['place']}").value("text") == "both of them"
    kept = [alice.get(f"/write/kept?turn={page}-{number}").json()["kept"] for number in (3, 4)]
    assert kept == [True, False]


@pytest.mark.parametrize("script", [True, False])
def test_what_two_windows_make_of_one_draft_is_kept_of_both(
    node: Node, alice: Browser, script: bool
) -> None:
    kept = alice.post("/write/0", written(alice, text="begun"), script=True).json()
    before = drafts_of(node, "alice")
    one, other = (form_of(alice.get(f"/write?draft={kept['place']}")) for _ in range(2))
    alice.post(f"/write/{kept['draft']}", one | {"text": "begun, one"}, script=script)
    assert drafts_of(node, "alice") == before
    told = alice.post(f"/write/{kept['draft']}", other | {"text": "the other"}, script=script)
    assert "changed in another window" in told.text
    assert told.status == 200
    assert drafts_of(node, "alice") == before + 1
    if script:
        assert told.json()["draft"] != kept["draft"]
        assert told.json()["key"] != other["key"]
        told = alice.get(f"/write?draft={told.json()['place']}")
    assert told.value("text") == "the other"


def test_what_was_typed_elsewhere_is_not_gone_with_a_draft_that_is_sent(
    node: Node, alice: Browser
) -> None:
    node.empty("bob")
    said = written(alice, to="bob@example.test", subject="Two", text="begun")
    kept = alice.post("/write/0", said, script=True).json()
    one, other = (form_of(alice.get(f"/write?draft={kept['place']}")) for _ in range(2))
    newer = alice.post(f"/write/{kept['draft']}", one | {"text": "begun, and more"}, script=True)
    before = drafts_of(node, "alice")
    told = alice.post(f"/write/{kept['draft']}/send", other, script=True)
    assert told.status == 422
    assert "changed in another window" in told.text
    assert node.mails("bob") == []
    assert drafts_of(node, "alice") == before + 1
    there = alice.get(f"/write?draft={newer.json()['place']}")
    assert there.value("text") == "begun, and more"
    again = other | {"key": told.json()["key"], "place": told.json()["place"]}
    assert alice.post(f"/write/{told.json()['draft']}/send", again, script=True).status == 200
    assert len(node.mails("bob")) == 1
    assert drafts_of(node, "alice") == before


def test_a_mail_is_not_sent_without_the_files_that_went_with_its_draft(
    node: Node, alice: Browser
) -> None:
    node.empty("bob")
    said = written(alice, to="bob@example.test", subject="Files")
    kept = alice.post("/write/0", said, [("n.txt", "text/plain", b"notes")], script=True).json()
    ready = form_of(alice.get(f"/write?draft={kept['place']}"))
    alice.post(f"/write/{kept['draft']}/discard", ready, script=True)
    told = alice.post(f"/write/{kept['draft']}/send", ready, script=True)
    assert told.status == 422
    assert "deleted meanwhile" in told.text
    assert node.mails("bob") == []


def test_a_page_whose_draft_is_gone_makes_one_new_one_of_all_that_it_says(
    node: Node, alice: Browser
) -> None:
    said, page = written(alice, subject="Gone"), "1123456789abcdef"
    kept = alice.post("/write/0", said, script=True).json()
    alice.post(f"/write/{kept['draft']}/discard", said, script=True)
    before = drafts_of(node, "alice")

    def keep(number: int) -> Any:
        turn = said | {"text": f"text {number}", "turn": f"{page}-{number}"}
        return alice.post(f"/write/{kept['draft']}", turn, script=True).json()

    first, second = keep(1), keep(2)  # it hasn't heard what became of the first
    assert first["draft"] == second["draft"]
    assert drafts_of(node, "alice") == before + 1
    assert alice.get(f"/write?draft={second['place']}").value("text") == "text 2"


def test_what_a_page_has_kept_is_kept_again_when_it_was_deleted(node: Node, alice: Browser) -> None:
    said = written(alice, subject="Again", text="again") | {"turn": "2123456789abcdef-1"}
    kept = alice.post("/write/0", said, script=True).json()
    alice.post(f"/write/{kept['draft']}/discard", said, script=True)
    told = alice.post(f"/write/{kept['draft']}", said, script=True).json()
    assert alice.get(f"/write?draft={told['place']}").value("text") == "again"


def test_what_is_written_on_after_its_mail_was_sent_elsewhere_is_another_one(
    node: Node, alice: Browser
) -> None:
    said = written(alice, to="bob@example.test", subject="Sent elsewhere")
    page = "3123456789abcdef"
    kept = alice.post("/write/0", said | {"turn": f"{page}-1"}, script=True).json()
    other = form_of(alice.get(f"/write?draft={kept['place']}"))
    assert alice.post(f"/write/{kept['draft']}/send", other, script=True).status == 200
    more = said | {"text": "and more", "turn": f"{page}-2", "place": kept["place"]}
    told = alice.post(f"/write/{kept['draft']}", more, script=True)
    assert told.status == 409
    assert not alice.get(f"/write/kept?turn={page}-2").json()["kept"]
    again = more | {"key": told.json()["key"], "turn": f"{page}-3"}
    told = alice.post("/write/0", again, script=True)
    assert told.json()["faults"] == {}
    assert alice.get(f"/write?draft={told.json()['place']}").value("text") == "and more"
