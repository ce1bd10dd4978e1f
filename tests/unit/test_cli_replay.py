"""`mailnode replay`: kept mail is judged again, and nothing is changed by it."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from mailnode import judges
from mailnode.cli import replaying
from mailnode.events import Imported
from mailnode.filters import harmful
from mailnode.model import Client, Judgement
from mailnode.store import arrived
from mailnode.store.accounts import Accounts
from mailnode.store.arrived import count_between
from mailnode.store.sqlite import reading
from tests.unit.cli_case import CommandCase
from tests.unit.filters_case import FakeEndpoint
from tests.unit.learning_case import BAD, GOOD, mail, teach

COMMAND = importlib.import_module("mailnode.cli.replay")  # the package's name is the command
CAROL, DAVE = "carol@example.org", "dave@example.org"
LEARNED = Judgement("learned", facts={"verdict": "unsure", "probability": "50 %", "model": "node"})
JUNKED = Judgement("learned", True, ('the word "old" (in ...)',), {"verdict": "unwanted"})
NOBODY = Judgement("authentication", facts={"spf": "none", "dkim": "none", "dmarc": "none"})
PROGRAM = (
    b"From: a@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
    b'Content-Type: application/octet-stream; name="run.exe"\r\n\r\nMZ\r\n--b--\r\n'
)


class NowThreads:
    """Runs at once what is to be run in a thread."""

    def __init__(self, _call_in_reactor: Any, **_: Any) -> None:
        """There is none."""

    run = staticmethod(execute)

    def stop(self) -> None:
        """Nothing runs."""


def run_now(_reactor: Any, work: Any, patience_s: float | None = None) -> Any:
    ended: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(ended.append)
    (outcome,) = ended
    if hasattr(outcome, "raiseException"):
        outcome.raiseException()
    return outcome


def authenticated(said: str, *, policy: str, apply: str) -> dict[str, Any]:
    """A mail of which that was found when it came."""
    field = (
        "Authentication-Results: mx.example.org; spf=fail smtp.mailfrom=a@example.net;\r\n"
        f'\tdmarc={said} reason="neither SPF nor DKIM proves\r\n\texample.net"\r\n'
        f"\theader.from=example.net policy.dmarc={apply}\r\n"
    )
    facts = {"spf": "fail example.net", "dmarc": f"{said} example.net (policy {policy})"}
    return {
        "judgements": (Judgement("authentication", facts=facts),),
        "prefix": b"Received: here\r\n" + field.encode(),
    }


class ReplayCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(CAROL, DAVE)
        self.patch(COMMAND, "run_in", run_now)
        self.patch(judges, "Threads", NowThreads)

    def teach(self) -> None:
        teach(self.folder / "var")

    def settings(self, text: str) -> None:
        Path("new.toml").write_text(f'{text}\n[node]\nusers = "users.db"\ndata = "var"\n')

    def allow(self, owner: str, pattern: str, verdict: str = "allow") -> None:
        accounts = Accounts.open(self.folder / "users.db")
        accounts.senders.set(owner, pattern, verdict)
        accounts.close()

    def came(self, *mailboxes: str, said: tuple[Judgement, ...] = (), **facts: Any) -> str:
        """A mail of a stranger, of whom nothing was found out."""
        return self.file_mail(*mailboxes, judgements=(NOBODY, *said), **facts)

    def replay(self, more: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.run_json(f"replay {more}")
        return found

    def copies(self, more: str = "") -> list[tuple[str, str, str]]:
        return [
            (copy["mailbox"], copy["was"], copy["would_be"])
            for each in self.replay(more)["mails"]
            for copy in each["copies"]
        ]


class ReplayTests(ReplayCase):
    def test_what_was_learned_since_would_put_a_mail_into_junk(self) -> None:
        mail_id = self.came(CAROL, body=mail(" ".join(BAD)), said=(LEARNED,))
        self.came(CAROL, body=mail(" ".join(GOOD)))
        self.teach()
        told = self.run_command("replay").stdout
        self.assertRegex(
            told.splitlines()[0],
            rf"{mail_id}  shop@example.net to {CAROL}: Your order: inbox -> Junk,"
            r' because learned: the word "\w+" \(in',
        )
        self.assertIn("2 looked at, 1 unchanged, 1 would go to Junk, 0 would leave Junk", told)

    def test_what_is_wanted_by_now_would_leave_junk_and_that_is_said(self) -> None:
        self.came(CAROL, body=mail(" ".join(GOOD)), said=(JUNKED,))
        self.teach()
        (found,) = self.replay()["mails"]
        (copy,) = found["copies"]
        self.assertEqual(("Junk", "inbox"), (copy["was"], copy["would_be"]))
        self.assertIn("learned finds it unwanted no more (verdict wanted", copy["because"])
        self.assertEqual(1, self.replay()["sums"]["from_junk"])

    def test_nothing_is_changed(self) -> None:
        self.came(CAROL, body=mail(" ".join(BAD)))
        self.teach()
        self.replay()  # what SQLite has beside the file while it is read is there now

        def state() -> dict[str, str]:
            files = [each for each in self.folder.rglob("*") if each.is_file()]
            names = [each for each in files if not each.name.endswith("-shm")]
            return {str(each): hashlib.sha256(each.read_bytes()).hexdigest() for each in names}

        before = state()
        self.assertEqual(1, self.replay()["sums"]["to_junk"])
        self.assertEqual(before, state())

    def test_a_mail_of_several_is_judged_once_and_told_of_those_whom_it_concerns(self) -> None:
        asked: list[str] = []
        accept = replaying.Intake.accept

        def counting(door: Any, envelope: Any, message: Any) -> Any:
            asked.append(envelope.mail_id)
            return accept(door, envelope, message)

        self.patch(replaying.Intake, "accept", counting)
        mail_id = self.came(CAROL, DAVE)
        self.allow(DAVE, "example.net", "block")
        self.assertEqual([(DAVE, "inbox", "Junk")], self.copies())
        self.assertEqual([mail_id], asked)

    def test_of_one_account_its_copies_alone_are_looked_at(self) -> None:
        self.came(DAVE)
        self.came(CAROL, DAVE)
        self.allow("example.org", "example.net", "block")
        self.assertEqual([(CAROL, "inbox", "Junk")], self.copies(f"--account {CAROL}"))
        self.assertEqual(1, self.replay(f"--account {CAROL}")["sums"]["looked_at"])

    def test_a_program_that_is_attached_would_be_refused(self) -> None:
        self.came(CAROL, body=PROGRAM)
        (found,) = self.replay()["mails"]
        self.assertEqual("refused", found["copies"][0]["would_be"])
        self.assertIn("run.exe", found["copies"][0]["because"])
        self.settings("[judging]\nharmful = false")
        self.assertEqual([], self.copies("--config new.toml"))

    def test_who_signed_in_is_no_stranger_now_either(self) -> None:
        client = Client("192.0.2.7", 1, "here", "ESMTPSA", account=CAROL)
        self.came(DAVE, body=PROGRAM, client=client)
        self.assertEqual([], self.copies())

    def test_mails_outside_of_the_span_are_not_looked_at(self) -> None:
        now = time.time()
        self.came(CAROL, received_at=now - 3 * 86400)
        self.came(CAROL, received_at=now - 3600)
        for more, count in (
            ("--since 2h", 1),
            ("", 2),
            ("--since 4d --until 2d", 1),
            ("--since 1m", 0),
        ):
            self.assertEqual(count, self.replay(more)["sums"]["looked_at"], more)

    def test_many_mails_are_read_page_by_page(self) -> None:
        self.patch(arrived, "PAGE_MAILS", 2)
        for _ in range(5):
            self.came(CAROL)
        self.assertEqual(5, self.replay()["sums"]["unchanged"])
        with reading(self.folder / "var" / "mail.db") as connection:
            self.assertEqual(5, count_between(connection, time.time() - 60, time.time() + 60))

    def test_mail_that_did_not_come_is_not_judged(self) -> None:
        self.came(CAROL)
        self.write_mail(
            lambda connection: connection.execute(
                "UPDATE journal SET event = ? WHERE event = 'accepted'", (Imported.name,)
            )
        )
        self.assertEqual({replaying.NOT_TOLD: 1}, self.replay()["sums"]["not_judged"])


class SenderTests(ReplayCase):
    """What was found of who sent a mail stands; what is done about it is the settings'."""

    def test_a_policy_is_replayed_by_what_was_found_then(self) -> None:
        self.file_mail(CAROL, **authenticated("fail", policy="reject", apply="reject"))
        for dmarc, expected in (("note", []), ("junk", ["Junk"]), ("obey", ["refused"])):
            self.settings(f'[judging]\ndmarc = "{dmarc}"')
            self.assertEqual(
                expected, [each[2] for each in self.copies("--config new.toml")], dmarc
            )
        (found,) = self.replay()["mails"]
        self.assertEqual(
            "Message refused: neither SPF nor DKIM proves example.net",
            found["copies"][0]["because"],
        )

    def test_a_mail_that_chance_spared_is_spared_again(self) -> None:
        self.file_mail(CAROL, **authenticated("fail", policy="reject", apply="none"))
        self.assertEqual([], self.copies())

    def test_an_allowed_sender_who_was_proved_would_leave_junk(self) -> None:
        for said, expected in (("pass", [(CAROL, "Junk", "inbox")]), ("fail", [])):
            with self.subTest(said):
                known = authenticated(said, policy="none", apply="none")
                known["judgements"] += (Judgement("mine", True, ("so",)),)
                self.settings("[plugins]\nfilters = ['mine:Mine']")
                body = b"From: shop@example.net\r\n\r\nx\r\n"
                self.file_mail(CAROL, body=body, **known)
                self.assertEqual([], self.copies("--config new.toml"))
                self.allow(CAROL, "example.net")
                self.assertEqual(expected, self.copies("--config new.toml"))
                self.allow(CAROL, "example.net", "block")
                self.write_mail(lambda connection: connection.execute("DELETE FROM delivery"))

    def test_what_was_not_found_out_then_can_t_be_said_now(self) -> None:
        self.file_mail(CAROL)
        why = "authentication: nobody found out who sent it when it came"
        self.assertEqual({why: 1}, self.replay()["sums"]["not_judged"])


class FailureTests(ReplayCase):
    def test_a_filter_that_fails_says_nothing_and_the_others_do(self) -> None:
        endpoint = FakeEndpoint(Clock())
        endpoint.refuses = True
        self.patch(judges, "endpoint_of", lambda *_: endpoint)
        self.settings('[clamd]\nendpoint = "unix:path=/x"')
        self.came(CAROL)
        self.came(CAROL, body=PROGRAM)
        self.came(DAVE)
        self.allow(DAVE, "example.net", "block")
        found = self.replay("--config new.toml")
        self.assertEqual(
            {"refused", "Junk"}, {each["copies"][0]["would_be"] for each in found["mails"]}
        )
        (why,) = found["sums"]["not_judged"]
        self.assertRegex(why, "^clamd: .*nobody is there")

    def test_a_filter_that_breaks_does_not_end_it(self) -> None:
        def breaks(*_: Any) -> None:
            raise ZeroDivisionError("by chance")

        self.patch(harmful, "find_harm", breaks)
        self.settings("")
        self.came(CAROL, body=PROGRAM)
        told = self.run_command("replay --config new.toml").stdout
        self.assertIn("not judged: 1, because harmful: by chance", told)

    def test_a_mail_whose_octets_are_gone_is_not_judged(self) -> None:
        self.came(CAROL)
        self.write_mail(
            lambda connection: connection.execute("UPDATE message SET body = NULL, blob_key = 'aa'")
        )
        self.assertEqual({replaying.NOT_READ: 1}, self.replay()["sums"]["not_judged"])

    def test_what_is_ended_early_tells_how_far_it_came(self) -> None:
        def ended(reactor: Any, work: Any) -> None:
            run_now(reactor, work)
            raise click.Abort

        self.came(CAROL, body=PROGRAM)
        self.patch(COMMAND, "run_in", ended)
        told = self.run_command("replay", exit_code=130).stdout
        self.assertIn("1 would be refused", told)
        self.assertIn("it was interrupted", told)
        found = json.loads(self.run_command("replay --json", exit_code=130).stdout)
        self.assertTrue(found["sums"]["interrupted"])

    def test_a_span_that_is_none_is_told(self) -> None:
        self.came(CAROL)
        for more, words in (
            ("--since soon", "--since soon: that is not a span such as 7d"),
            ("--since 90", 'such as 2026-11-20 or "2026-11-20 14:30"; 90d?'),
            ("--since 1h --until 2h", "nothing came in that span"),
            ("--since 2999-01-01", "nothing came in that span"),
            ("--since 99999-01-01", "that is not a span"),
        ):
            self.assertIn(words, self.refusal(f"replay {more}", 64), more)

    def test_settings_that_can_t_be_read_are_told(self) -> None:
        self.came(CAROL)
        self.settings("[judgin]\nx = 1")
        self.assertIn("judgin", self.refusal("replay --config new.toml", 78))
        self.settings('[clamd]\nendpoint = "nowhere"')
        self.assertIn("is no endpoint", self.refusal("replay --config new.toml", 78))
        self.assertIn("no account", self.refusal("replay --account no@example.org", 67).lower())

    def test_a_stranger_s_words_don_t_steer_a_terminal(self) -> None:
        self.came(CAROL, body=PROGRAM, subject="\x1b[2Jx\ny")
        self.assertNotIn("\x1b", self.run_command("replay").stdout)
