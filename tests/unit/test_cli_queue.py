"""`mailnode queue` shows what waits for other hosts, and changes it beside a running node."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from mailnode.addresses import parse_address
from mailnode.cli import queue_watch
from mailnode.events import Bounced, Event, Interrupted, PutOff, QueueChanged, Relayed
from mailnode.model import Envelope, Message, Remote, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.blobs import blob_path
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from tests.unit.cli_case import CommandCase, words_of

BODY = b"Subject: x\r\n\r\nhello\r\n"


class QueueCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.mail_db = self.folder / "var" / "mail.db"

    def queue(self, *to: str, sender: str = "shop@example.org", **facts: Any) -> str:
        """A mail to these is in the queue; its id."""
        remotes = tuple(
            Remote(parse_address(each), captured=facts.get("captured", False)) for each in to
        )
        envelope = Envelope(
            new_mail_id(),
            parse_address(sender) if sender else None,
            (),
            received_at=facts.get("at", time.time()),
            remotes=remotes,
        )
        message = Message(b"Received: here\r\n", BODY, len(BODY), b"\0" * 32, subject="Your order")
        self.write_mail(lambda connection: accept_mails(connection, [(envelope, message)]))
        return envelope.mail_id

    def change(self, text: str, *values: object) -> None:
        self.write_mail(lambda connection: connection.execute(text, values))

    def rows(self, text: str) -> list[tuple]:
        connection = sqlite3.connect(self.mail_db)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def lease(self, *ids: int) -> None:
        marks = ", ".join(map(str, ids))
        self.change(
            "UPDATE queue SET state = 'leased', leased_by = 'relay:1', leased_until = ?"
            f" WHERE id IN ({marks})",
            time.time() + 300,
        )


class LookingTests(QueueCase):
    def test_the_list_tells_what_waits_the_longest_queued_first(self) -> None:
        mail_id = self.queue("a@example.com", "b@example.net")
        self.change("UPDATE queue SET last_reply = '451 4.7.1 Greylisted', attempts = 2")
        first, second = self.run_json("queue list")
        self.assertEqual((first["id"], first["recipient"]), (1, "a@example.com"))
        self.assertEqual((first["sender"], first["state"]), ("shop@example.org", "waiting"))
        self.assertEqual((second["mail_id"], second["subject"]), (mail_id, "Your order"))
        told = self.run_command("queue list").stdout
        for words in ("b@example.net", "451 4.7.1 Greylisted", mail_id):
            self.assertIn(words, told)

    def test_on_a_terminal_of_80_columns_a_mails_id_stays_whole_and_empty_columns_are_left_out(
        self,
    ) -> None:
        mail_id = self.queue("anybody@example.com", sender="app@example.org", captured=True)
        with patch(
            "mailnode.cli.output.console",
            lambda: Console(width=80, force_terminal=True, color_system=None),
        ):
            told = self.run_command("queue list").stdout
        self.assertIn(mail_id, told)
        self.assertNotIn("last reply", told)
        self.assertIn("last reply", self.run_command("queue list").stdout)

    def test_an_empty_queue_is_said(self) -> None:
        self.write_mail(lambda connection: None)
        self.assertIn("the queue is empty", self.run_command("queue list").stdout)
        self.assertEqual(self.run_json("queue list"), [])
        told = self.run_command("queue list --domain example.com").stdout
        self.assertIn("nothing in the queue fits that", told)

    def test_filters_choose(self) -> None:
        now = time.time()
        self.queue("a@example.com", at=now - 7200)
        self.queue("b@example.com", sender="", at=now)
        self.queue("c@example.net", at=now)
        self.change("UPDATE queue SET last_reply = '451 4.7.1 Greylisted' WHERE id = 3")
        for options, ids in (
            ("--domain EXAMPLE.com", [1, 2]),
            ("--sender '<>'", [2]),
            ("--sender shop@EXAMPLE.org", [1, 3]),
            ("--recipient b@example.com", [2]),
            ("--older-than 1h", [1]),
            ("--newer-than 1h", [2, 3]),
            ("--reply greylisted", [3]),
            ("--state held", []),
            ("--domain example.com --newer-than 1h", [2]),
            ("--limit 1", [1]),
        ):
            self.assertEqual([row["id"] for row in self.run_json(f"queue list {options}")], ids)
        self.assertIn("the first 1 of 3", self.run_command("queue list --limit 1").stdout)

    def test_a_duration_or_a_name_that_is_none_is_a_mistake_in_the_line(self) -> None:
        self.queue("a@example.com")
        self.assertIn("soon", self.refusal("queue list --older-than soon", 64))
        told = self.refusal("queue show everything", 64)
        self.assertIn("neither a row's number nor a mail's id", told)

    def test_a_row_or_all_of_a_mail_is_shown_whole(self) -> None:
        mail_id = self.queue("a@example.com", "b@example.com")
        self.lease(2)
        told = self.run_command(f"queue show {mail_id}").stdout
        for words in ("a@example.com", "b@example.com", "leased by relay:1 until", "21 B"):
            self.assertIn(words, told)
        (shown,) = self.run_json("queue show 2")
        self.assertEqual(shown["leased_by"], "relay:1")
        self.assertIn("the queue has no 99", self.refusal("queue show 99", 67))

    def test_a_store_of_before_the_queue_says_what_makes_it(self) -> None:
        prepare(self.mail_db)
        connection = connect(self.mail_db)
        migrate(connection, {1: schema_scripts()[1]})
        connection.close()
        for line in ("queue list", "queue retry --all", "queue watch --times 1"):
            self.assertIn("next start", self.refusal(line, 75))


class ReadingTests(QueueCase):
    def test_a_mail_is_read_as_it_would_leave(self) -> None:
        mail_id = self.queue("a@example.com", captured=True)
        whole = "Received: here\r\n" + BODY.decode()
        for name in ("1", mail_id):
            said = self.run_command(f"queue read {name}").stdout
            self.assertEqual(whole.splitlines(), said.splitlines())
        self.assertEqual(whole, self.run_json("queue read 1")["mail"])

    def test_what_is_not_there_is_67(self) -> None:
        self.queue("a@example.com")
        self.assertIn("the queue has no 99", self.run_command("queue read 99", exit_code=67).stderr)


class ChangingTests(QueueCase):
    def test_rows_are_held_and_released_and_attempted_now(self) -> None:
        self.queue("a@example.com", "b@example.com", at=time.time())
        self.change("UPDATE queue SET due_at = due_at + 9999")
        told = self.run_command("queue hold 1").stdout
        self.assertIn("1 recipient held", told)
        self.assertEqual(self.run_json("queue retry --all")["changed"], [2])
        self.assertEqual(
            self.rows(
                "SELECT due_at < 1e12 AND due_at > ? FROM queue".replace(
                    "?", str(time.time() + 100)
                )
            ),
            [(1,), (0,)],
        )
        self.assertEqual(self.run_json("queue release --state held")["changed"], [1])
        self.assertEqual(self.rows("SELECT DISTINCT state FROM queue"), [("waiting",)])

    def test_what_is_bounced_has_its_reason(self) -> None:
        self.queue("a@example.com")
        answer = self.run_json('queue bounce 1 --reason "Closed  for\ngood"')
        self.assertEqual(answer, {"action": "bounce", "changed": [1], "left": {}})
        (row,) = self.run_json("queue list --state bouncing")
        self.assertEqual(row["bounce"], "Closed for good")
        self.assertIn("bouncing: Closed for good", self.run_command("queue show 1").stdout)
        self.refusal('queue bounce 1 --reason " "', 64)

    def test_a_leased_row_is_not_changed_and_that_is_said(self) -> None:
        self.queue("a@example.com", "b@example.com")
        self.lease(1)
        for verb in ("retry", "hold", "release", "bounce", "drop --yes"):
            told = self.run_command(f"queue {verb} 1", exit_code=75).stdout
            self.assertIn("1 recipient left alone: an attempt is under way", told)
        answer = self.run_json("queue hold --all")
        self.assertEqual((answer["changed"], answer["left"]), ([2], {"leased": 1}))
        self.assertEqual(self.rows("SELECT state FROM queue"), [("leased",), ("held",)])

    def test_captured_rows_are_only_dropped(self) -> None:
        self.queue("a@example.com", captured=True)
        self.assertIn("never leaves", self.run_command("queue release --all").stdout)
        self.assertEqual(self.run_json("queue drop --all --yes")["changed"], [1])

    def test_a_drop_is_asked_for_or_needs_yes(self) -> None:
        self.queue("a@example.com")
        told = self.refusal("queue drop 1", 64)
        self.assertIn("The mail to 1 recipient goes for good", told)
        self.assertIn("--yes", told)
        self.assertEqual(len(self.run_json("queue list")), 1)
        self.assertIn("has no 7", self.refusal("queue drop 7", 67))

    def test_a_drop_takes_the_message_and_its_blob_along(self) -> None:
        self.queue("a@example.com")
        blob = blob_path(self.folder / "var", "c" * 32)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(BODY)
        self.change("UPDATE message SET body = NULL, blob_key = ?", "c" * 32)
        self.run_command("queue drop --domain example.com --yes")
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])
        self.assertFalse(blob.exists())

    def test_all_or_a_choice_must_be_given_and_not_both(self) -> None:
        self.queue("a@example.com")
        self.assertIn("or --all", self.refusal("queue hold", 64))
        self.assertIn("--all stands alone", self.refusal("queue hold --all 1", 64))
        self.refusal("queue retry --domain example.net", 67)

    def test_the_journal_says_who_it_was(self) -> None:
        mail_id = self.queue("a@example.com")
        self.run_command("queue bounce 1 --reason Closed")
        (story,) = self.run_json(f"trace {mail_id}")
        self.assertEqual(
            [event["event"] for event in story["events"]], ["accepted", "queued", "queue-changed"]
        )
        told = words_of(story["events"])
        self.assertIn("queued for a@example.com", told)
        self.assertRegex(told, r"given up for a@example.com by an administrator \(.+\); because C")

    def test_the_bell_of_a_running_node_is_rung(self) -> None:
        rung: list[tuple[Path, str]] = []
        self.patch(
            import_module("mailnode.cli.queue"), "ring_from_outside", lambda *of: rung.append(of)
        )
        self.queue("a@example.com")
        self.lease(1)
        self.run_command("queue retry 1", exit_code=75)
        self.assertEqual(rung, [])
        self.change("UPDATE queue SET state = 'waiting', leased_by = NULL, leased_until = NULL")
        for action in ("retry", "hold", "release", "bounce", "drop --yes"):
            self.run_command(f"queue {action} 1")
        self.assertEqual(
            [topic for _, topic in rung], ["attempt", "queue", "attempt", "attempt", "queue"]
        )

    def test_who_may_not_write_is_told_as_whom_to_run_it(self) -> None:
        self.queue("a@example.com")

        def refuse(path: object, *more: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(os, "open", refuse)
        self.assertIn("run this as the user", self.refusal("queue retry 1", 77))


class WatchTests(QueueCase):
    def looks(self, *between: Any) -> None:
        """What happens before each further look."""
        happenings = list(between)
        self.patch(queue_watch.time, "sleep", lambda _: happenings.pop(0)())

    def test_elsewhere_than_on_a_terminal_it_is_a_line_for_each_thing(self) -> None:
        self.queue("a@example.com")
        self.looks(lambda: self.queue("b@example.com"), lambda: None)
        lines = self.run_command("queue watch --times 3").stdout.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("1 waiting, 0 leased, 0 held, 0 captured", lines[0])
        self.assertIn("queued for b@example.com", lines[1])
        self.assertIn("2 waiting", lines[2])

    def test_for_programs_it_is_an_object_a_change(self) -> None:
        self.queue("a@example.com")
        self.looks(lambda: self.queue("b@example.com"), lambda: None)
        told = self.run_command("queue watch --times 3 --json").stdout
        first, second = map(json.loads, told.splitlines())
        self.assertEqual(first["counts"]["waiting"], 1)
        self.assertEqual(second["events"][0]["event"], "queued")

    def test_a_page_shows_destinations_and_what_happened(self) -> None:
        self.queue("a@example.com", "b@example.com", "c@example.net")
        watcher = queue_watch.Watcher(self.mail_db)
        page = queue_watch.Page()
        page.of(watcher.look())
        self.keep_events(Relayed(recipient="a@example.com", detail={"host": "mx.example.com"}))
        console = Console(record=True, width=120, file=io.StringIO())
        console.print(page.of(watcher.look()))
        told = console.export_text()
        self.assertRegex(told, r"example\.com +2 +2")
        self.assertIn("relayed for a@example.com to mx.example.com without TLS", told)

    def test_ctrl_c_is_how_it_ends(self) -> None:
        self.queue("a@example.com")

        def stop() -> None:
            raise KeyboardInterrupt

        self.looks(stop)
        self.assertEqual(self.run_command("queue watch").stderr, "")


class StoryTests(QueueCase):
    """What `mailnode trace` says of recipients elsewhere."""

    def told(self, event: Event) -> str:
        mail_id = new_mail_id()
        self.keep_events(
            type(event)(mail_id=mail_id, recipient="bob@example.com", **{"detail": event.detail})
        )
        (story,) = self.run_json(f"trace {mail_id}")
        return str(story["events"][0]["words"])

    def test_an_attempt_is_told_with_host_tls_and_the_remotes_words(self) -> None:
        remote = {"host": "mx.example.com", "address": "192.0.2.1", "tls": "TLSv1.3 X"}
        self.assertEqual(
            self.told(Relayed(detail={**remote, "reply": "250 2.0.0 Ok", "stage": "dot"})),
            "relayed for bob@example.com to mx.example.com (192.0.2.1) with TLS (TLSv1.3 X);"
            " answered at dot: 250 2.0.0 Ok",
        )
        self.assertIn(
            "put off for bob@example.com by mx.example.com (192.0.2.1) with TLS (TLSv1.3 X);"
            " answered at RCPT: 451 4.7.1 Greylisted; next attempt at 20",
            self.told(
                PutOff(
                    detail={
                        **remote,
                        "reply": "451 4.7.1 Greylisted",
                        "stage": "RCPT",
                        "due_at": 1_700_000_000.0,
                    }
                )
            ),
        )
        self.assertEqual(
            self.told(
                Bounced(detail={"because": "there is no such domain", "told": "a@b.example"})
            ),
            "given up for bob@example.com; because there is no such domain; a@b.example is told",
        )

    def test_what_ended_without_an_attempt_is_told(self) -> None:
        self.assertIn("thrown away", self.told(Relayed(detail={"route": "discard"})))
        told = self.told(Interrupted(detail={"process": "relay:1"}))
        self.assertIn("the process relay:1 ended in an attempt", told)
        self.assertIn("nobody knows", told)
        changed = self.told(QueueChanged(detail={"action": "held", "by": "root"}))
        self.assertEqual(changed, "held for bob@example.com by an administrator (root)")
