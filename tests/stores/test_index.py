"""The index of an account: filled behind the commits, asked at once, made anew by itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from mailnode.errors import StoreBusy
from mailnode.model import FLAGGED, SEEN
from mailnode.reading.query import BadQuery, read_query
from mailnode.store import index, index_files, index_filling, index_threads
from mailnode.store.index import Indexes
from mailnode.store.index_files import IndexFiles, index_path
from mailnode.store.indexing import (
    BUSY_REST,
    IDLE_REST,
    Ended,
    Indexer,
    Rest,
    bring_up_to_date,
)
from mailnode.store.sqlite import connect
from tests.stores.support import StoreCase, envelope, message

ROOT = Path(__file__).parents[2]


def mail(subject: str = "hello", text: str = "Body", **fields: str) -> bytes:
    head = {"From": "Ann <ann@example.org>", "To": "bob@example.test", "Subject": subject}
    head |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in head.items()]
    return "\r\n".join([*lines, "", text, ""]).encode()


WITH_FILE = mail(
    "Invoice",
    '--b\r\nContent-Type: text/plain\r\n\r\nsee the file\r\n--b\r\nContent-Type: application/pdf;'
    ' name="Rechnung März.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--',
    Content_Type="multipart/mixed; boundary=b",
)  # fmt: skip


class IndexCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.open_index()
        self.addCleanup(lambda: self.indexes.stop())

    def open_index(self) -> None:
        self.indexes = Indexes(self.data, reactor.callFromThread)

    async def file(self, raw: bytes, *accounts: int, **facts) -> int:
        """The id of the mail's message."""
        await self.messages.file_message(envelope(*accounts or (1,), **facts), message(raw))
        return self.rows("SELECT max(id) FROM message")[0][0]

    async def fill(self, account_id: int = 1) -> None:
        """What there is, is indexed; by hand, as the thread does it."""
        files = self.indexes.indexer.files
        while not await deferToThread(bring_up_to_date, files, account_id, lambda: None, 4):
            pass

    async def search(self, typed: str, account_id: int = 1, **more) -> list[int]:
        hits = await self.indexes.search(account_id, read_query(typed), **more)
        return [hit.message_id for hit in hits.mails]

    def inside(self, text: str, *values: object, account_id: int = 1) -> list[tuple]:
        with closing(sqlite3.connect(index_path(self.data, account_id))) as connection:
            return connection.execute(text, values).fetchall()

    async def mark(self, message_id: int, flags: int) -> None:
        await self.write(f"UPDATE delivery SET flags = {flags} WHERE message_id = {message_id}")

    async def move(self, message_id: int, folder: str) -> None:
        """As a folder's desk does it: a copy elsewhere, with a uid of that folder."""

        def work(connection):
            connection.execute(
                "INSERT INTO folder (account_id, name, uidvalidity) VALUES (1, ?, 1)"
                " ON CONFLICT DO NOTHING",
                (folder,),
            )
            (target, uid) = connection.execute(
                "UPDATE folder SET uid_next = uid_next + 1, mails = mails + 1,"
                " modseq = modseq + 1 WHERE name = ? AND account_id = 1"
                " RETURNING id, uid_next - 1",
                (folder,),
            ).fetchone()
            (source,) = connection.execute(
                "SELECT folder_id FROM delivery WHERE message_id = ?", (message_id,)
            ).fetchone()
            connection.execute(
                "UPDATE delivery SET folder_id = ?, uid = ? WHERE message_id = ?",
                (target, uid, message_id),
            )
            connection.execute(
                "UPDATE folder SET mails = mails - 1, modseq = modseq + 1 WHERE id = ?", (source,)
            )

        await self.database.transact("move", work)

    async def delete(self, *message_ids: int) -> None:
        for message_id in message_ids:
            ((folder_id, uid),) = self.rows(
                "SELECT folder_id, uid FROM delivery WHERE message_id = ?", message_id
            )
            await self.messages.delete_mails(folder_id, [uid])


class SearchTests(IndexCase):
    async def test_words_phrases_prefixes_fields_and_what_must_not_be_there(self):
        plan = await self.file(mail("The plan", "We meet in Köln on Friday"))
        other = await self.file(mail("Lunch", "The friday plan", From="Zoë <zoe@example.net>"))
        await self.fill()
        for typed, wanted in {
            "plan": [other, plan],
            "PLAN friday": [other, plan],
            '"friday plan"': [other],
            "koln": [plan],
            "KÖLN": [plan],
            "fri*": [other, plan],
            "plan -lunch": [plan],
            "-lunch": [plan],
            "from:zoe": [other],
            "from:zoe@example.net": [other],
            "subject:plan": [plan],
            "to:bob": [other, plan],
            "nothing": [],
            "": [other, plan],
        }.items():
            self.assertEqual(await self.search(typed), wanted, typed)

    async def test_a_mail_that_names_no_author_is_from_its_envelope_s_sender(self):
        bare = await self.file(b"Subject: hello\r\n\r\nIt works.\r\n")
        await self.file(mail())
        await self.fill()
        hits = await self.indexes.search(1, read_query("from:from@example.org"))
        self.assertEqual(
            [(bare, "from@example.org")],
            [(hit.message_id, hit.summary.sender) for hit in hits.mails],
        )

    async def test_files_are_found_by_their_names_and_signs(self):
        plain = await self.file(mail())
        filed = await self.file(WITH_FILE)
        await self.fill()
        self.assertEqual(await self.search("has:attachment"), [filed])
        self.assertEqual(await self.search("-has:attachment"), [plain])
        self.assertEqual(await self.search("file:marz.pdf"), [filed])
        self.assertEqual(await self.search("rechnung"), [filed])

    async def test_marks_and_folders_are_as_they_are_now(self):
        first, second, third = [await self.file(mail(str(n))) for n in range(3)]
        await self.fill()
        await self.mark(first, SEEN)
        await self.mark(second, FLAGGED | SEEN)
        await self.move(third, "Old letters")
        self.assertEqual(await self.search("is:unread"), [third])
        self.assertEqual(await self.search("is:read"), [second, first])
        self.assertEqual(await self.search("is:flagged"), [second])
        self.assertEqual(await self.search('in:"old letters"'), [third])
        self.assertEqual(await self.search("-in:inbox"), [third])
        self.assertEqual(await self.search("in:inbox is:read"), [second, first])
        self.assertEqual(await self.search("hello -in:inbox"), [])

    async def test_a_folder_that_is_not_there_is_told_with_those_that_are(self):
        await self.file(mail())
        await self.fill()
        told = await self.assertFailure(self.indexes.search(1, read_query("in:Nowhere")), BadQuery)
        self.assertIn("there are INBOX", str(told))

    async def test_days_and_sizes(self):
        old = await self.file(mail("old"), received_at=1_600_000_000.0)
        large = await self.file(mail("large", "x " * 40_000), received_at=1_700_000_000.0)
        await self.fill()
        self.assertEqual(await self.search("before:2021-01-01"), [old])
        self.assertEqual(await self.search("after:2021-01-01"), [large])
        self.assertEqual(await self.search("larger:50K"), [large])
        self.assertEqual(await self.search("smaller:50K"), [old])

    async def test_pages_follow_each_other_newest_first(self):
        sent = [await self.file(mail(str(n))) for n in range(7)]
        await self.fill()
        found, before = [], None
        for _ in range(3):
            hits = await self.indexes.search(1, read_query("body"), before=before, limit=3)
            found += [hit.message_id for hit in hits.mails]
            before = hits.before
        self.assertEqual(found, sent[::-1])
        self.assertIsNone(before)

    async def test_mail_that_was_brought_from_elsewhere_stands_among_its_time(self):
        new = await self.file(mail("new"), received_at=1_700_000_000.0)
        old = [await self.file(mail("old"), received_at=1_600_000_000.0) for _ in range(100)]
        newest = await self.file(mail("newest"), received_at=1_700_000_001.0)
        await self.fill()
        found = await self.search("", limit=200)
        self.assertEqual(found[:2], [newest, new])
        self.assertEqual(sorted(found[2:]), old)

    async def test_of_another_s_mail_nothing_is_found_or_shown(self):
        theirs = await self.file(mail("theirs"), 2)
        await self.file(mail("mine"), 1)
        await self.fill(1)
        await self.fill(2)
        self.assertEqual(await self.search("theirs"), [])
        self.assertEqual(await self.indexes.summaries(1, [theirs]), {})
        self.assertEqual(await self.indexes.thread(1, theirs), [])
        self.assertEqual(await self.search("theirs", 2), [theirs])

    async def test_a_hit_says_where_its_copies_lie_and_how_they_are_marked(self):
        one = await self.file(mail("once"))
        await self.mark(one, SEEN)
        await self.fill()
        (hit,) = (await self.indexes.search(1, read_query("once"))).mails
        ((folder_id, uid, flags),) = self.rows("SELECT folder_id, uid, flags FROM delivery")
        (place,) = hit.copies
        self.assertEqual((place.folder_id, place.uid, place.flags), (folder_id, uid, flags))
        self.assertEqual(hit.summary.subject, "once")

    async def test_whatever_is_typed_is_no_query_of_the_engine_s_own(self):
        await self.file(mail('a "b" NEAR c', "AND OR NOT * ^ {x} : sender"))
        await self.fill()
        for typed in ('NEAR("a")', "a AND b", "x OR xyz*", "^a", "{sender}:a", "sender:a", "a + b",
                      "'; DROP TABLE mail", "a)", '"*"', "NOT", "-NOT", "ann* -(", "\U0001f600",
                      "\ua7ff", "名前*"):  # fmt: skip
            await self.search(typed)
        self.assertEqual(len(await self.search("")), 1)

    async def test_what_takes_too_long_is_given_up_once(self):
        await self.file(mail())
        self.patch(index, "LONGEST_S", 0.1)
        asked: list[int] = []

        def endless(connection: sqlite3.Connection) -> None:
            asked.append(1)
            connection.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                " SELECT count(*) FROM n"
            ).fetchone()

        error = await self.assertFailure(self.indexes._ask(1, endless), StoreBusy)
        self.assertIn("too long", error.text)
        self.assertEqual(asked, [1])


class ShownTests(IndexCase):
    async def test_what_is_not_indexed_yet_is_shown_the_same(self):
        ids = [
            await self.file(WITH_FILE),
            await self.file(mail("=?utf-8?q?caf=C3=A9?=", Message_ID="<a@b>")),
        ]
        blob = await self.make_blob(mail("large", "words of it"))
        await self.messages.file_message(envelope(1), message(mail(), body=blob))
        ids.append(ids[-1] + 1)
        before = await self.indexes.summaries(1, ids)
        await self.fill()
        self.assertEqual(await self.indexes.summaries(1, ids), before)
        self.assertEqual([before[each].subject for each in ids], ["Invoice", "café", "large"])
        self.assertEqual(before[ids[0]].attachments, ("Rechnung März.pdf",))

    async def test_a_body_that_is_gone_ends_nothing(self):
        blob = await self.make_blob(mail("large"))
        await self.messages.file_message(envelope(1), message(mail(), body=blob))
        await self.blobs.delete([blob.key])
        other = await self.file(mail("found"))
        await self.fill()
        self.assertEqual(await self.search("found"), [other])

    async def test_a_mail_that_breaks_its_reader_stands_in_the_way_of_no_other(self):
        real = index_filling.parts_of

        def parts_of(raw, *more):
            if b"broken" in raw:
                raise RecursionError("deeper than anybody thought")
            return real(raw, *more)

        self.patch(index_filling, "parts_of", parts_of)
        broken, other = await self.file(mail("broken")), await self.file(mail("found"))
        await self.indexes.summaries(1, [broken])
        await self.fill()
        self.assertEqual(await self.search("found"), [other])
        self.assertEqual(await self.search("larger:1"), [other, broken])
        self.flushLoggedErrors(RecursionError)

    async def test_a_page_has_two_hundred_mails_at_most(self):
        await self.assertFailure(self.indexes.summaries(1, range(201)), ValueError)

    async def test_only_the_beginning_of_a_long_text_is_found(self):
        self.patch(index_filling, "TEXT_OCTETS", 1000)
        await self.file(mail("long", "early " + "x" * 2000 + " late"))
        await self.fill()
        self.assertEqual(len(await self.search("early")), 1)
        self.assertEqual(await self.search("late"), [])


class ThreadTests(IndexCase):
    async def test_answers_are_of_the_thread_in_whichever_order_they_come(self):
        answer = await self.file(
            mail("Re: a", Message_ID="<2@x>", References="<0@x> <1@x>", In_Reply_To="<1@x>")
        )
        begin = await self.file(mail("a", Message_ID="<0@x>"))
        between = await self.file(mail("Re: a", Message_ID="<1@x>", In_Reply_To="<0@x>"))
        other = await self.file(mail("a", Message_ID="<9@x>"))
        await self.fill()
        for each in (answer, begin, between):
            self.assertEqual(await self.indexes.thread(1, each), [answer, begin, between])
        self.assertEqual(await self.indexes.thread(1, other), [other])

    async def test_two_threads_become_one_when_a_mail_joins_them(self):
        first = await self.file(mail(Message_ID="<1@x>"))
        second = await self.file(mail(Message_ID="<2@x>"))
        await self.fill()
        both = await self.file(mail(Message_ID="<3@x>", References="<1@x> <2@x>"))
        await self.fill()
        self.assertEqual(await self.indexes.thread(1, second), [first, second, both])

    async def test_a_large_thread_does_not_become_part_of_another(self):
        self.patch(index_threads, "MOST_MERGED", 2)
        large = [await self.file(mail(Message_ID=f"<{n}@l>", References="<l@l>")) for n in range(3)]
        one = await self.file(mail(Message_ID="<1@x>"))
        both = await self.file(mail(Message_ID="<2@x>", References="<l@l> <1@x>"))
        await self.fill()
        self.assertEqual(await self.indexes.thread(1, large[0]), large)
        self.assertEqual(await self.indexes.thread(1, one), [one, both])

    async def test_a_mail_that_is_not_indexed_yet_stands_alone(self):
        one = await self.file(mail())
        self.assertEqual(await self.indexes.thread(1, one), [one])


class LeavingTests(IndexCase):
    async def test_what_is_deleted_is_not_found_at_once_and_leaves_the_index(self):
        ids = [await self.file(mail(f"number{n}", Message_ID=f"<{n}@x>")) for n in range(100)]
        await self.fill()
        await self.delete(*ids[10:])
        self.assertEqual(await self.search("body", limit=200), ids[:10][::-1])
        await self.fill()
        for table in ("mail", "shown", "named"):
            self.assertEqual(self.inside(f"SELECT count(*) FROM {table}"), [(10,)], table)
        found = self.inside("SELECT count(*) FROM words WHERE words MATCH 'body'")
        self.assertEqual(found, [(10,)])
        self.assertEqual(self.inside("SELECT 1 FROM words WHERE words MATCH 'number50'"), [])

    async def test_what_is_moved_stays(self):
        one, two = await self.file(mail("one")), await self.file(mail("two"))
        await self.fill()
        await self.move(one, "Archive")
        await self.fill()
        self.assertEqual(await self.search(""), [two, one])
        self.assertEqual(await self.search("in:archive"), [one])
        self.assertEqual(self.inside("SELECT count(*) FROM words WHERE words MATCH 'body'"), [(2,)])

    async def test_what_was_deleted_before_it_was_indexed_never_gets_in(self):
        ids = [await self.file(mail(f"n{n}")) for n in range(5)]
        await self.delete(ids[4], ids[0])
        await self.fill()
        self.assertEqual(await self.search(""), [ids[3], ids[2], ids[1]])
        self.assertTrue((await self.indexes.progress(1)).is_done)

    async def test_the_index_of_an_account_without_folders_is_gone(self):
        await self.file(mail())
        await self.fill()
        self.assertTrue(index_path(self.data, 1).exists())
        await self.messages.drop_accounts([1])
        await self.fill()
        self.assertFalse(list((self.data / "index").glob("1.db*")))


class MadeAnewTests(IndexCase):
    async def filled(self, count: int = 3) -> list[int]:
        ids = [await self.file(mail(f"n{n}")) for n in range(count)]
        await self.fill()
        return ids

    async def reopened(self) -> None:
        await self.indexes.stop()
        self.open_index()

    async def test_only_its_owner_reads_it(self):
        await self.filled()
        path = index_path(self.data, 1)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)

    async def test_a_missing_one_is_made_anew(self):
        ids = await self.filled()
        index_path(self.data, 1).unlink()
        self.assertEqual(await self.search("body"), [])
        progress = await self.indexes.progress(1)
        self.assertEqual((progress.indexed, progress.mails, progress.is_done), (0, 3, False))
        await self.fill()
        self.assertEqual(await self.search("body"), ids[::-1])

    async def test_a_damaged_one_is_made_anew(self):
        ids = await self.filled(200)
        await self.reopened()
        path = index_path(self.data, 1)
        for damage in (b"no database at all", os.urandom(100_000)):
            path.write_bytes(damage)
            self.assertEqual(await self.search("body"), [])
            await self.fill()
            self.assertEqual(await self.search("body", limit=200), ids[::-1])
            await self.reopened()

    async def test_one_that_is_damaged_in_the_middle_is_made_anew(self):
        ids = await self.filled(200)
        await self.reopened()
        path = index_path(self.data, 1)
        octets = path.read_bytes()
        path.write_bytes(octets[:8192] + b"\xa5" * (len(octets) - 8192))
        for _ in range(5):
            try:
                await self.search("body")
                await self.fill()
                if await self.search("body", limit=200) == ids[::-1]:
                    break
            except StoreBusy:
                pass
        self.assertEqual(await self.search("body", limit=200), ids[::-1])

    async def test_one_of_another_version_is_made_anew(self):
        ids = await self.filled()
        await self.reopened()
        with closing(sqlite3.connect(index_path(self.data, 1))) as connection:
            connection.execute("PRAGMA user_version = 99")
            connection.execute("DROP TABLE shown")
        await self.fill()
        self.assertEqual(await self.search("body"), ids[::-1])

    async def test_one_of_mail_that_was_before_a_restore_is_made_anew(self):
        await self.filled()
        await self.reopened()
        await self.write("UPDATE message SET mail_id = 'X' || id")
        await self.write("UPDATE delivery SET uid = uid + 1000000")
        await self.write("UPDATE folder SET uid_next = uid_next + 1000000")
        await self.search("")
        self.assertEqual(self.inside("SELECT count(*) FROM mail"), [(0,)])

    async def test_one_that_knows_mail_which_never_was_is_made_anew(self):
        await self.filled()
        await self.reopened()
        await self.write("UPDATE counter SET next = 2 WHERE name = 'message'")
        await self.search("")
        self.assertEqual(self.inside("SELECT count(*) FROM mail"), [(0,)])

    async def test_who_asks_for_it_has_it_made_anew(self):
        ids = await self.filled()
        await self.indexes.rebuild(1)
        self.assertEqual((await self.indexes.progress(1)).indexed, 0)
        await self.fill()
        self.assertEqual(await self.search("body"), ids[::-1])

    async def test_a_folder_of_another_uidvalidity_is_read_from_its_beginning(self):
        await self.filled()
        await self.write("UPDATE folder SET uidvalidity = uidvalidity + 1")
        self.assertFalse((await self.indexes.progress(1)).is_done)
        await self.fill()
        self.assertTrue((await self.indexes.progress(1)).is_done)
        self.assertEqual(len(await self.search("body")), 3)

    async def test_none_is_deleted_while_another_is_made_in_its_place(self):
        await self.filled()
        path = index_path(self.data, 1)
        with index_files._making(self.data):
            deleting = deferToThread(index_files.delete_index, self.data, 1)
            await deferLater(reactor, 0.05)
            self.assertTrue(path.exists())
        await deleting
        self.assertFalse(path.exists())

    async def test_files_are_closed_for_others(self):
        for account_id in range(1, 31):
            await self.file(mail(f"of {account_id}"), account_id)
            await self.fill(account_id)
            self.assertEqual(len(await self.search("body", account_id)), 1)
        for files in (self.indexes.indexer.files, self.indexes._readers):
            self.assertLessEqual(len(files._open), files.most)
        self.assertEqual(len(await self.search("body", 1)), 1)


KILLED = """
import sys
from pathlib import Path
from mailnode.store.index_files import IndexFiles
from mailnode.store.indexing import bring_up_to_date
files = IndexFiles(Path(sys.argv[1]), 2)
print("begins", flush=True)
while not bring_up_to_date(files, 1, lambda: None, 1):
    print("step", flush=True)
print("done", flush=True)
"""


class CrashTests(IndexCase):
    def child(self) -> subprocess.Popen:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(self.data.absolute())],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        return child

    async def fill_many(self, count: int) -> list[int]:
        await gatherResults(
            [
                self.messages.file_message(envelope(1), message(mail(f"n{n}", "word " * 200)))
                for n in range(count)
            ]
        )
        return [each for (each,) in self.rows("SELECT id FROM message ORDER BY id")]

    async def test_killed_at_any_moment_it_goes_on_from_there(self):
        ids = await self.fill_many(400)
        for round_ in range(6):
            child = self.child()
            for line in child.stdout:
                if line == "done\n" or line == "step\n":
                    await deferToThread(time.sleep, 0.004 * round_)
                    break
            child.send_signal(signal.SIGKILL)
            child.wait()
        before = await self.indexes.progress(1)
        self.assertGreater(before.indexed, 0)
        await self.fill()
        self.assertEqual(self.inside("SELECT count(*), count(DISTINCT id) FROM mail"), [(400, 400)])
        self.assertEqual(
            self.inside("SELECT count(*) FROM words WHERE words MATCH 'word'"), [(400,)]
        )
        found = await self.search("word", limit=200)
        self.assertEqual(found, ids[::-1][:200])
        self.assertEqual(len(await self.search("n399")), 1)

    async def test_two_processes_that_fill_it_at_once_put_each_mail_in_once(self):
        await self.fill_many(400)
        children = [self.child() for _ in range(2)]
        for child in children:
            said = await deferToThread(child.stdout.read)
            self.assertTrue(said.endswith("done\n"), said)
        self.assertEqual(self.inside("SELECT count(*), count(DISTINCT id) FROM mail"), [(400, 400)])
        self.assertEqual(
            self.inside("SELECT count(*) FROM words WHERE words MATCH 'word'"), [(400,)]
        )
        self.assertTrue((await self.indexes.progress(1)).is_done)


class ThreadOfItTests(IndexCase):
    async def until(self, condition) -> None:
        """The thread's own work is waited for; the limit of the test ends it."""
        while not await condition():
            await deferToThread(time.sleep, 0.005)

    async def test_what_is_there_and_what_comes_is_indexed_behind_the_commit(self):
        first = await self.file(mail("before"))
        self.messages.on_changed.append(lambda account_id, _: self.indexes.changed(account_id))
        self.indexes.start()

        async def has(*wanted: int) -> bool:
            return await self.search("body") == list(wanted)

        await self.until(lambda: has(first))
        second = await self.file(mail("after"))
        await self.until(lambda: has(second, first))
        await self.delete(first)

        async def is_out() -> bool:
            return self.inside("SELECT id FROM mail") == [(second,)]

        await self.until(is_out)

    async def test_the_index_of_a_dropped_account_is_gone(self):
        await self.file(mail())
        self.messages.on_changed.append(lambda account_id, _: self.indexes.changed(account_id))
        self.indexes.start()

        async def is_there() -> bool:
            return index_path(self.data, 1).exists()

        await self.until(is_there)
        await self.messages.drop_accounts([1])

        async def is_gone() -> bool:
            return not index_path(self.data, 1).exists()

        await self.until(is_gone)

    async def test_files_of_accounts_that_have_no_mail_are_deleted_at_the_start(self):
        await self.file(mail())
        await self.fill()
        (self.data / "index" / "77.db").write_bytes(b"old")
        self.indexes.start()

        async def is_gone() -> bool:
            return not (self.data / "index" / "77.db").exists()

        await self.until(is_gone)

    async def test_a_second_look_takes_up_what_nobody_told_and_that_alone(self):
        await self.file(mail(), 1, 2)
        self.indexes.start()
        taken: list[int] = []
        turn = Indexer._turn

        def note(indexer, account_id, rest):
            taken.append(account_id)
            turn(indexer, account_id, rest)

        async def is_idle() -> bool:
            return self.indexes.indexer.is_idle

        await self.until(is_idle)
        self.patch(Indexer, "_turn", note)
        await self.file(mail("untold"), 2)
        self.indexes.look()
        await self.until(is_idle)
        self.assertEqual(taken, [2])
        self.assertEqual(len(await self.search("untold", 2)), 1)

    async def test_it_stops_in_the_middle(self):
        for n in range(20):
            await self.file(mail(f"n{n}"))
        self.indexes.start()
        await self.indexes.stop()
        self.assertEqual(
            [each.name for each in threading.enumerate() if each.name == "mail-index"], []
        )
        await self.assertFailure(self.indexes.search(1, read_query("x")), StoreBusy)
        self.open_index()


class RestTests(StoreCase):
    def test_it_rests_much_while_mail_comes_and_little_else(self):
        now, writes, rests = [0.0], [0], []

        class Ending:
            def wait(self, rest_s):
                rests.append(rest_s)
                return False

        rest = Rest(lambda: writes[0], Ending(), lambda: now[0])
        rest.begin()
        now[0] = 0.01
        rest()
        self.assertAlmostEqual(rests[-1], 0.01 * IDLE_REST)
        now[0], writes[0] = 1.01, 500
        rest._since = 1.0
        rest()
        self.assertAlmostEqual(rests[-1], 0.01 * BUSY_REST)

    def test_an_end_ends_the_rest(self):
        rest = Rest()
        rest.ending.set()
        self.assertRaises(Ended, rest)


class BusyFileTests(IndexCase):
    async def test_a_file_that_another_program_writes_is_waited_for(self):
        await self.file(mail())
        await self.fill()
        other = connect(index_path(self.data, 1))
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertEqual(len(await self.search("body")), 1)
        other.execute("ROLLBACK")

    async def test_a_file_that_is_closed_for_another_is_opened_again(self):
        await self.file(mail(), 1, 2)
        files = IndexFiles(self.data, 1)
        self.addCleanup(files.close)
        with files.use(1) as one, files.use(2):
            one.connection.execute("SELECT 1")
        with files.use(1) as again:
            self.assertIsNot(one, again)
