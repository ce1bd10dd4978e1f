"""`mailbox` and `trace`: which mail there is, and what happened to one."""

from __future__ import annotations

import sqlite3
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mailnode.cli.output import printable, size
from mailnode.events import Deleted, Delivered, Dropped, Event, Fetched, Moved, RefusedMail, Summed
from mailnode.model import Client, Judgement, new_mail_id
from mailnode.store.accounts import Accounts
from mailnode.stories import tell_story
from tests.unit.cli_case import CommandCase, words_of
from tests.unit.learning_case import GOOD, mail, teach

trace: Any = import_module("mailnode.cli.trace")  # the command has the name of its module

CAROL, DAVE = "carol@example.org", "dave@example.org"
TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384"
AT = 1767322800.0
UNSURE = Judgement("learned", facts={"verdict": "unsure", "probability": "50 %"})


class MailCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(CAROL, DAVE)

    def folder_of(self, mailbox: str) -> int:
        accounts = Accounts.open("users.db")
        number = accounts.account(mailbox).id
        accounts.close()
        connection = sqlite3.connect("var/mail.db")
        try:
            query = "SELECT id FROM folder WHERE account_id = ?"
            return int(connection.execute(query, (number,)).fetchone()[0])
        finally:
            connection.close()

    def fetched(self, mailbox: str, read: str, deleted: str = "", at: float = 0.0) -> Event:
        return Fetched(
            **({"at": at} if at else {}),
            recipient=mailbox,
            folder_id=self.folder_of(mailbox),
            client="192.0.2.99",
            detail={"read": read, "deleted": deleted},
        )

    def story(self, mail_id: str) -> str:
        return words_of(self.run_json(f"trace {mail_id}")[0]["events"])


class Lists(MailCase):
    def test_mailbox_list_counts_beside_the_quota(self) -> None:
        self.file_mail(CAROL, DAVE)
        self.file_mail(CAROL)
        self.run_command(f"user quota {DAVE} '2 MiB'")
        Path("node.toml").write_text('[quota]\noctets = "1 MiB"\nmails = 9\n')
        rows = {row["mailbox"]: row for row in self.run_json("mailbox list --config node.toml")}
        self.assertEqual((rows[CAROL]["mails"], rows[DAVE]["mails"]), (2, 1))
        longer = len(CAROL) - len(DAVE)  # Delivered-To counts
        self.assertEqual(rows[CAROL]["octets"], 2 * (rows[DAVE]["octets"] + longer))
        self.assertEqual(rows[CAROL]["quota_octets"], 1 << 20)
        self.assertEqual(rows[DAVE]["quota_octets"], 2 << 20)
        self.assertEqual(rows[DAVE]["quota_mails"], 9)

    def test_a_mailbox_without_mail_stands_there_too(self) -> None:
        self.write_mail(lambda connection: None)
        self.assertEqual([row["mails"] for row in self.run_json("mailbox list")], [0, 0])
        self.assertEqual(self.run_json(f"mailbox show {CAROL}"), [])
        self.assertIn("never", self.run_command("mailbox list").stdout)

    def test_a_folder_without_a_nodes_data_is_called_so_and_is_78(self) -> None:
        self.file_mail(CAROL)
        Path("other").mkdir()
        Path("other/notes.txt").write_text("no mail")
        for folder in ("other", "missing"):
            for line in ("mailbox list", f"mailbox show {CAROL}", f"trace --to {CAROL}", "verify"):
                told = self.refusal(f"{line} --data {folder}", 78)
                self.assertIn("there is no node's data in", told)
                self.assertIn(folder, told)

    def test_mail_of_a_deleted_account_is_named_as_such(self) -> None:
        self.file_mail(DAVE)
        self.run_command(f"user delete {DAVE} --yes")
        self.assertIn("deleted", self.run_command("mailbox list").stdout)

    def test_mailbox_show_lists_the_newest_first(self) -> None:
        first = self.file_mail(CAROL, subject="One", received_at=AT)
        second = self.file_mail(CAROL, subject="Two", received_at=AT + 1, sender="")
        self.file_mail(DAVE, subject="Three")
        rows = self.run_json("mailbox show carol")
        self.assertEqual([row["mail_id"] for row in rows], [second, first])
        self.assertEqual([row["uid"] for row in rows], [2, 1])
        self.assertEqual([row["sender"] for row in rows], ["", "shop@example.net"])
        self.assertEqual([row["subject"] for row in rows], ["Two", "One"])

    def test_mailbox_show_names_the_folder_of_each(self) -> None:
        self.file_mail(CAROL)
        shown = self.run_command("mailbox show carol").stdout.splitlines()
        self.assertEqual(["folder", "uid"], shown[0].split()[:2])
        self.assertEqual(["INBOX", "1"], shown[1].split()[:2])

    def test_mailbox_show_says_when_there_is_more(self) -> None:
        for number in range(3):
            self.file_mail(CAROL, received_at=AT + number)
        told = self.run_command("mailbox show carol --limit 2").stdout
        self.assertIn("the newest 2 of 3", told)
        self.assertEqual(len(self.run_json("mailbox show carol --limit 0")), 3)

    def test_a_subject_steers_no_terminal(self) -> None:
        self.file_mail(CAROL, subject="\x1b]0;owned\x07 [red]x[/red] \u202egnp.exe")
        told = self.run_command("mailbox show carol").stdout
        for character in "\x1b\x07\u202e":
            self.assertNotIn(character, told)
        self.assertIn("[red]x[/red]", told)

    def test_an_unknown_mailbox_is_67(self) -> None:
        self.refusal("mailbox show nobody", 67)

    def test_a_database_that_is_none_is_69_and_one_of_tomorrow_78(self) -> None:
        self.file_mail(CAROL)
        connection = sqlite3.connect("var/mail.db")
        connection.execute("PRAGMA user_version = 999")
        connection.close()
        self.assertIn("newer version", self.refusal("mailbox list", 78))
        for leftover in ("mail.db-wal", "mail.db-shm"):
            Path("var", leftover).unlink(missing_ok=True)
        Path("var/mail.db").write_bytes(b"no database " * 1000)
        self.refusal("mailbox list", 69)

    def test_nothing_is_written_by_looking(self) -> None:
        mail_id = self.file_mail(CAROL)
        before = Path("var/mail.db").read_bytes()
        for line in (
            "mailbox list",
            "mailbox show carol",
            f"trace {mail_id}",
            "trace --to carol@x",
        ):
            exit_code = 67 if line.endswith("@x") else 0
            self.run_command(line, exit_code=exit_code)
        self.assertEqual(Path("var/mail.db").read_bytes(), before)


class Traces(MailCase):
    def test_an_accepted_mail_is_told_from_whom_how_and_where_it_lies(self) -> None:
        client = Client("192.0.2.7", 1, "mx.example.net", "ESMTPS", TLS)
        mail_id = self.file_mail(CAROL, DAVE, client=client)
        told = self.story(mail_id)
        for words in (
            "accepted from shop@example.net",
            "192.0.2.7 (mx.example.net)",
            "by ESMTPS",
            f"with TLS ({TLS})",
            "21 B",
            f"filed in the mailbox of {CAROL} as uid 1",
            f"filed in the mailbox of {DAVE} as uid 1",
        ):
            self.assertIn(words, told)

    def test_without_tls_it_says_so_and_who_was_signed_in(self) -> None:
        client = Client("127.0.0.1", 1, "laptop", "ESMTPA", "", DAVE, True)
        told = self.story(self.file_mail(CAROL, client=client))
        self.assertIn("without TLS", told)
        self.assertIn(f"signed in as {DAVE}", told)

    def told(self, mail_id: str) -> str:
        return self.run_command(f"trace {mail_id}").stdout

    def test_why_a_mail_is_wanted_is_told_by_what_is_learned_now(self) -> None:
        teach(self.folder / "var")
        body = mail(" ".join(GOOD))
        mail_id = self.file_mail(CAROL, body=body, judgements=(UNSURE,))
        told = self.told(mail_id)
        self.assertRegex(
            told,
            r"  by what is learned now it is wanted \(probability 1 %, model node\), because"
            r' the word "\w+" \(in 12 of 12 wanted ones, in none of 12 unwanted mails\); ',
        )
        (found,) = self.run_json(f"trace {mail_id}")[0]["judged_now"]
        self.assertEqual((None, "wanted", False, 10), (
            found["mailbox"], found["verdict"], found["is_own"], len(found["reasons"]),
        ))  # fmt: skip

    def test_of_a_copy_that_its_owner_s_model_judged_that_one_tells_why(self) -> None:
        accounts = Accounts.open(self.folder / "users.db")
        carol = accounts.account(CAROL).id
        accounts.close()
        teach(self.folder / "var", carol)
        own = Judgement("learned", of_copies={carol: UNSURE})
        envelope = {"judgements": (own,), "own": {carol: (UNSURE,)}}
        told = self.told(self.file_mail(CAROL, body=mail(" ".join(GOOD)), **envelope))
        self.assertIn(f"  for {CAROL} by what is learned now it is wanted (probability", told)
        self.assertIn("of your 12 wanted ones", told)

    def test_why_is_told_of_no_mail_that_nobody_judged_and_by_nothing_that_is_not_learned(
        self,
    ) -> None:
        unjudged = self.file_mail(CAROL, body=mail(" ".join(GOOD)))
        judged = self.file_mail(CAROL, judgements=(UNSURE,))
        self.assertNotIn("learned now", self.told(judged))
        teach(self.folder / "var")
        self.assertNotIn("learned now", self.told(unjudged))
        self.assertIn("learned now", self.told(judged))
        self.write_mail(lambda connection: connection.execute("DELETE FROM delivery"))
        self.write_mail(lambda connection: connection.execute("DELETE FROM message"))
        self.assertNotIn("learned now", self.told(judged))

    def test_one_refused_behind_its_body_is_told_so(self) -> None:
        mail_id, detail = new_mail_id(), {"code": 552, "stage": "the dot"}
        self.keep_events(RefusedMail(mail_id=mail_id, sender="a@b.example", detail=detail))
        self.assertIn("refused at the dot: mail from a@b.example", self.story(mail_id))

    def test_a_refused_mail_is_told_with_the_answer_and_the_reason(self) -> None:
        mail_id = new_mail_id()
        self.keep_events(
            RefusedMail(
                mail_id=mail_id,
                sender="spam@example.net",
                recipient="nobody@example.org",
                client="192.0.2.66",
                detail={
                    "code": 550,
                    "enhanced": "5.1.1",
                    "text": "No such user here",
                    "stage": "rcpt",
                    "because": "catch-all is off",
                },
            )
        )
        told = self.story(mail_id)
        self.assertIn("refused at RCPT: mail from spam@example.net to nobody@example.org", told)
        self.assertIn("answered 550 5.1.1 No such user here", told)
        self.assertIn("because catch-all is off", told)
        self.assertEqual(
            told, words_of(self.run_json("trace --to nobody@example.org")[0]["events"])
        )

    def test_a_temporary_answer_is_put_off_not_refused(self) -> None:
        mail_id = new_mail_id()
        self.keep_events(RefusedMail(mail_id=mail_id, sender="", detail={"code": 452}))
        self.assertIn("put off: mail from the null sender <>", self.story(mail_id))

    def test_who_fetched_and_deleted_it_and_when_is_told_in_order(self) -> None:
        self.file_mail(CAROL)
        mail_id = self.file_mail(CAROL, DAVE)
        self.file_mail(CAROL)
        self.keep_events(self.fetched(CAROL, "1-3"), self.fetched(DAVE, "", ""))
        self.keep_events(self.fetched(CAROL, "2", "1-2"), self.fetched(CAROL, "3", "3"))
        events = self.run_json(f"trace {mail_id}")[0]["events"]
        told = [event["words"] for event in events if event["event"] == "pop3-session"]
        by_carol = f"by {CAROL} from 192.0.2.99 over POP3, uid 2"
        self.assertEqual(
            told, [f"fetched {by_carol}", f"fetched {by_carol}", f"deleted {by_carol}"]
        )
        self.assertEqual([e["at"] for e in events], sorted(e["at"] for e in events))

    def test_the_same_uid_in_another_folder_is_another_mail(self) -> None:
        mail_id = self.file_mail(CAROL)
        self.file_mail(DAVE)
        self.keep_events(self.fetched(DAVE, "1", "1"))
        self.assertNotIn("fetched", self.story(mail_id))

    def test_an_address_finds_its_mails_but_no_sessions(self) -> None:
        first, second = self.file_mail(CAROL), self.file_mail(CAROL, DAVE)
        self.file_mail(DAVE)
        for _ in range(30):
            self.keep_events(self.fetched(CAROL, "1"))
        found = self.run_json(f"trace --to {CAROL}")
        self.assertEqual([story["mail_id"] for story in found], [first, second])
        newest = self.run_json(f"trace --to {CAROL} --limit 1")
        self.assertEqual([story["mail_id"] for story in newest], [second])

    def test_an_address_behind_a_subaddress_finds_the_mail(self) -> None:
        self.file_mail(CAROL)
        delivered = Delivered(
            mail_id=new_mail_id(),
            recipient="carol+shop@example.org",
            folder_id=1,
            uid=7,
            detail={"mailbox": CAROL},
        )
        self.keep_events(delivered)
        for address in (CAROL, "carol+shop@EXAMPLE.org"):
            found = {each["mail_id"]: each for each in self.run_json(f"trace --to {address}")}
            told = words_of(found[delivered.mail_id]["events"])
            self.assertIn(f"mailbox of {CAROL} (asked for: carol+shop@example.org) as uid 7", told)

    def test_a_bare_name_means_the_first_domain(self) -> None:
        to_carol = self.file_mail(CAROL, sender=DAVE)
        self.file_mail(DAVE)
        for line in ("trace --to carol", "trace --from dave", "trace --to '<carol@EXAMPLE.org>'"):
            self.assertEqual([each["mail_id"] for each in self.run_json(line)], [to_carol], line)
        self.file_mail(CAROL, sender="")
        self.assertEqual(len(self.run_json("trace --from '<>'")), 1)
        self.assertIn("to nobody@example.org", self.refusal("trace --to nobody", 67))

    def test_an_address_finds_what_went_to_its_subaddresses_whoever_took_it(self) -> None:
        self.file_mail(CAROL)
        found = new_mail_id()
        detail = {"handed_to": "tickets.open_ticket"}
        self.keep_events(
            Delivered(mail_id=found, recipient="help+17@example.org", detail=detail),
            Delivered(mail_id=new_mail_id(), recipient="help+17@sub-example.org", detail=detail),
            Delivered(mail_id=new_mail_id(), recipient="helpers@example.org", detail=detail),
        )
        for name in ("help@example.org", "help", "help+17@example.org"):
            told = self.run_json(f"trace --to {name}")
            self.assertEqual([each["mail_id"] for each in told], [found], name)
        Path("node.toml").write_text('[accounts]\nsubaddress = ""\n')
        self.refusal("trace --to help --config node.toml", 67)

    def test_an_address_in_the_place_of_an_id_is_told_where_it_goes(self) -> None:
        self.file_mail(CAROL)
        told = self.refusal(f"trace {CAROL}", 64)
        self.assertIn(f"--to {CAROL} or --from {CAROL}", told)

    def test_from_finds_the_senders_mails_and_with_to_both_count(self) -> None:
        mine = self.file_mail(CAROL, sender="x@example.net")
        self.file_mail(CAROL, sender="y@example.net")
        bounce = self.file_mail(DAVE, sender="")
        self.assertEqual(
            [s["mail_id"] for s in self.run_json("trace --from x@example.net")], [mine]
        )
        self.assertEqual([s["mail_id"] for s in self.run_json("trace --from '<>'")], [bounce])
        both = self.run_json(f"trace --from x@example.net --to {CAROL}")
        self.assertEqual([story["mail_id"] for story in both], [mine])

    def test_the_dialog_is_shown_when_asked_for_and_kept(self) -> None:
        mail_id = self.file_mail(CAROL, dialog="C: MAIL FROM:<a@b>\nS: 250 2.1.0 OK \x1b[2J")
        self.assertNotIn("C: MAIL", self.run_command(f"trace {mail_id}").stdout)
        told = self.run_command(f"trace {mail_id} --show-dialog").stdout
        self.assertIn("    C: MAIL FROM:<a@b>\n    S: 250 2.1.0 OK", told)
        self.assertNotIn("\x1b", told)
        facts = self.run_json(f"trace {mail_id} --show-dialog")[0]
        self.assertEqual(facts["dialog"][0], "C: MAIL FROM:<a@b>")
        without = self.run_command(f"trace {self.file_mail(CAROL)} --show-dialog").stdout
        self.assertIn("journal.dialog", without)

    def test_a_small_letter_id_is_the_same_id(self) -> None:
        mail_id = self.file_mail(CAROL)
        self.assertEqual(self.run_json(f"trace {mail_id.lower()}")[0]["mail_id"], mail_id)

    def test_what_the_running_node_still_holds_is_asked_for_and_waited_for(self) -> None:
        self.file_mail(CAROL)
        mail_id = new_mail_id()
        refused = RefusedMail(mail_id=mail_id, sender="x@y.example", recipient=DAVE)
        rung: list[str] = []
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                self.keep_events(refused)

        with (
            patch.object(trace, "ring_from_outside", lambda data, topic: not rung.append(topic)),
            patch.object(trace.time, "sleep", pause),
        ):
            self.assertIn("refused", self.story(mail_id))
            self.assertEqual((["journal"], 2), (rung, len(pauses)))
            with patch.object(trace, "WAIT_S", 0.0):
                self.assertIn("holds no mail", self.refusal(f"trace {new_mail_id()}", 67))

    def test_an_unknown_mail_is_67_and_a_cut_id_is_called_so(self) -> None:
        self.file_mail(CAROL)
        self.assertIn("holds no mail", self.refusal(f"trace {new_mail_id()}", 67))
        self.assertIn("26 characters", self.refusal("trace 01ABC", 67))
        self.assertIn("to nobody@x.example", self.refusal("trace --to nobody@x.example", 67))

    def test_what_is_no_address_is_called_so_where_nothing_is_found(self) -> None:
        self.file_mail(CAROL)
        for line in ("trace --to foo@bar@x", "trace --from '<foo@bar@x>'"):
            self.assertIn("an address is such as", self.refusal(line, 65))
        self.keep_events(RefusedMail(sender="x@y.example", recipient="foo@bar@x"))
        self.assertEqual(len(self.run_json("trace --to foo@bar@x")), 1)

    def test_an_id_or_an_address_is_needed_and_not_both(self) -> None:
        self.refusal("trace", 64)
        self.refusal(f"trace {new_mail_id()} --to {CAROL}", 64)

    def test_before_the_first_start_it_is_78(self) -> None:
        self.assertIn("when it first starts", self.refusal("trace --to a@b.example", 78))


class Words(CommandCase):
    def test_a_dropped_copy_and_summed_refusals_are_told(self) -> None:
        told = tell_story("", [Dropped(uid=3), Summed(client="192.0.2.1", detail={"refusals": 40})])
        words = [line.words for line in told.lines]
        self.assertIn("uid 3 taken out of the store: its account was deleted", words[0])
        self.assertIn("40 more refusals of 192.0.2.1", words[1])

    def test_what_an_owner_does_with_a_copy_is_told(self) -> None:
        detail = {"from_folder": "INBOX", "from_uid": 7, "to_folder": "Trash"}
        moved = Moved(recipient=CAROL, folder_id=5, uid=2, detail=detail)
        deleted = Deleted(recipient=CAROL, folder_id=5, uid=2, detail={"folder": "Trash"})
        words = [line.words for line in tell_story("", [moved, deleted]).lines]
        self.assertEqual(f"moved from INBOX (uid 7) to Trash by {CAROL}, as uid 2", words[0])
        self.assertEqual(f"deleted for good from Trash by {CAROL}", words[1])

    def test_the_longest_dialog_is_the_one_that_is_kept(self) -> None:
        events = [RefusedMail(detail={"dialog": text}) for text in ("C: a", "C: a\nC: b", "")]
        self.assertEqual(tell_story("", events).dialog, "C: a\nC: b")

    def test_sizes_read_well(self) -> None:
        told = [size(n) for n in (0, 1, 1023, 1024, 1536, 75 << 20, 3 << 50)]
        self.assertEqual(
            told,
            ["0 B", "1 B", "1023 B", "1.0 KiB", "1.5 KiB", "75.0 MiB", "3072.0 TiB"],
        )

    def test_what_can_be_seen_stays_as_it_is(self) -> None:
        self.assertEqual(printable("Grüße 日本 😀"), "Grüße 日本 😀")
