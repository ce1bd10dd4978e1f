"""Many-row statements, packed columns, and the names that the callers know errors by."""

from __future__ import annotations

import errno
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBroken, StoreBusy, StoreFull
from mailnode.store.sqlite import (
    error_code,
    execute_rows,
    mail_error,
    packed,
    padded,
    schema_scripts,
    unpack,
)


class Statements:
    """A connection that keeps what it is told to execute."""

    def __init__(self) -> None:
        self.executed: list[tuple[str, list[object]]] = []

    def execute(self, text, values=()):
        self.executed.append((text, list(values)))


class ManyRowsTests(SynchronousTestCase):
    def test_every_row_is_inserted_once_in_its_order(self):
        for count in (0, 1, 2, 3, 100, 127, 128, 129, 300):
            connection = sqlite3.connect(":memory:")
            connection.execute("CREATE TABLE t (a, b)")
            values = [n for row in range(count) for n in (row, -row)]
            execute_rows(connection, "INSERT INTO t (a, b) VALUES {rows}", 2, values)
            rows = connection.execute("SELECT a, b FROM t ORDER BY rowid").fetchall()
            self.assertEqual(rows, [(row, -row) for row in range(count)])
            connection.close()

    def test_a_hundred_rows_are_two_statements(self):
        statements = Statements()
        execute_rows(statements, "INSERT INTO t VALUES {rows}", 1, list(range(100)))
        self.assertEqual([len(values) for _, values in statements.executed], [64, 36])

    def test_few_texts_serve_every_number_of_rows(self):
        statements = Statements()
        for count in range(1, 400):
            execute_rows(statements, "INSERT INTO t VALUES {rows}", 1, [0] * count)
        self.assertEqual(len({text for text, _ in statements.executed}), 64)


class PaddedTests(SynchronousTestCase):
    def test_a_list_is_filled_to_a_power_of_two_with_its_last_value(self):
        self.assertEqual(padded([7]), ("?", [7]))
        self.assertEqual(padded([1, 2]), ("?,?", [1, 2]))
        self.assertEqual(padded([1, 2, 3]), ("?,?,?,?", [1, 2, 3, 3]))
        self.assertEqual(padded([*range(5)])[1], [0, 1, 2, 3, 4, 4, 4, 4])


class PackedTests(SynchronousTestCase):
    def test_what_is_packed_is_unpacked(self):
        connection = sqlite3.connect(":memory:")
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE t (a)")
        numbers = [1, 0, (1 << 32) - 1, 1 << 62]
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in numbers])
        (text,) = connection.execute(f"SELECT {packed('a')} FROM t").fetchone()
        self.assertEqual(unpack(text), numbers)

    def test_nothing_is_packed_as_null(self):
        self.assertEqual((unpack(None), unpack("")), ([], []))


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_NAME"
    return error


class MailErrorTests(SynchronousTestCase):
    def test_each_result_code_has_its_error(self):
        for code, kind in (
            (sqlite3.SQLITE_FULL, StoreFull),
            (sqlite3.SQLITE_BUSY, StoreBusy),
            (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreBusy),
            (sqlite3.SQLITE_LOCKED, StoreBusy),
            (sqlite3.SQLITE_CORRUPT, StoreBroken),
            (sqlite3.SQLITE_NOTADB, StoreBroken),
            (sqlite3.SQLITE_READONLY_DBMOVED, StoreBroken),
            (sqlite3.SQLITE_IOERR_READ, StoreBroken),
            (sqlite3.SQLITE_CANTOPEN, StoreBroken),
        ):
            told = mail_error(sqlite_error(code))
            self.assertIs(type(told), kind)
            self.assertIn("SQLITE_NAME", told.detail)
            self.assertNotIn("SQLITE", told.text)

    def test_an_error_of_the_program_stays_what_it_is(self):
        for error in (sqlite_error(sqlite3.SQLITE_CONSTRAINT), ValueError("a bug")):
            self.assertIs(mail_error(error), error)

    def test_each_error_of_a_file_has_its_own(self):
        for number, kind in (
            (errno.ENOSPC, StoreFull),
            (errno.EDQUOT, StoreFull),
            (errno.EMFILE, StoreBusy),
            (errno.EIO, StoreBroken),
            (errno.EROFS, StoreBroken),
            (errno.ENOENT, StoreBroken),
        ):
            self.assertIs(type(mail_error(OSError(number, "words"))), kind)

    def test_the_primary_code_is_what_counts(self):
        self.assertEqual(error_code(sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)), sqlite3.SQLITE_IOERR)
        self.assertEqual(error_code(ValueError()), 0)


class SchemaScriptTests(SynchronousTestCase):
    def test_versions_follow_each_other_from_one(self):
        for engine in ("sqlite", "accounts"):
            versions = list(schema_scripts(engine))
            self.assertEqual(versions, list(range(1, len(versions) + 1)))
