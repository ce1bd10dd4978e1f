"""What Twisted can reach: a bare Protocol that speaks just enough SMTP.

    server.py PORT discard|file|log|rows FOLDER

discard: the mail is thrown away;
file: each mail goes to a file of its own, flushed in the reactor's thread;
log: mails that came during the last flush share one append and one flush, in one thread;
rows: they share one commit, and each is the rows that a mailbox server must keep: the mail with
its digest, its place in a folder that is counted, two of a journal, and a line of a log.

It looks for the final dot at the end of what came, unstuffs nothing, counts nothing and keeps no
mailboxes, so a server that does its duty costs more.
"""

import hashlib
import os
import queue
import sqlite3
import sys
import threading
import time

from twisted.internet import protocol, reactor

MOST_IN_A_BATCH = 256
OK = b"250 ok\r\n"


class Log:
    """One file that all mails go to; their 250 follows the flush that they share."""

    def __init__(self, folder):
        self.arrived = queue.SimpleQueue()
        self.file = os.open(f"{folder}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        threading.Thread(target=self.run, daemon=True).start()

    def take(self, session, mail):
        self.arrived.put((session, mail))

    def run(self):
        while True:
            batch = [self.arrived.get()]
            while len(batch) < MOST_IN_A_BATCH and not self.arrived.empty():
                batch.append(self.arrived.get())
            os.writev(self.file, [mail for _, mail in batch])
            os.fdatasync(self.file)
            reactor.callFromThread(self.answer, [session for session, _ in batch])

    def answer(self, sessions):
        for session in sessions:
            session.transport.write(OK)


SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE message (id INTEGER PRIMARY KEY, mail_id TEXT NOT NULL UNIQUE, sender TEXT,
        size_octets INTEGER, digest BLOB, received_at REAL, prefix BLOB, body BLOB);
    CREATE TABLE folder (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        uid_next INTEGER NOT NULL DEFAULT 1, octets INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE delivery (folder_id INTEGER, uid INTEGER, message_id INTEGER, recipient TEXT,
        size_octets INTEGER, PRIMARY KEY (folder_id, uid)) WITHOUT ROWID;
    CREATE INDEX delivery_message ON delivery (message_id);
    CREATE TABLE journal (id INTEGER PRIMARY KEY, at REAL, event TEXT, mail_id TEXT, sender TEXT,
        recipient TEXT, folder_id INTEGER, uid INTEGER);
    CREATE INDEX journal_mail ON journal (mail_id);
    CREATE INDEX journal_sender ON journal (sender) WHERE sender IS NOT NULL;
    CREATE INDEX journal_recipient ON journal (recipient) WHERE recipient IS NOT NULL;
"""


class Rows:
    """A database whose rows share a commit; their 250 follows it."""

    def __init__(self, folder):
        self.arrived = queue.SimpleQueue()
        self.lines = os.open(f"{folder}/lines", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.path = f"{folder}/mail.db"
        threading.Thread(target=self.run, daemon=True).start()

    def take(self, session, mail):
        digest = hashlib.sha256(mail).digest()
        mail_id = os.urandom(13).hex().upper()
        prefix = b"Received: from %b id %b\r\n" % (session.helo, mail_id.encode())
        self.arrived.put(
            (session, mail_id, session.sender, session.recipients, prefix, digest, mail)
        )

    def run(self):
        self.database = sqlite3.connect(self.path, isolation_level=None)
        self.database.executescript(SCHEMA)
        self.folders, self.next_id = {}, 1
        while True:
            batch = [self.arrived.get()]
            while len(batch) < MOST_IN_A_BATCH and not self.arrived.empty():
                batch.append(self.arrived.get())
            self.file_mails(batch)
            reactor.callFromThread(self.answer, batch)
            self.wait_for_more(len(batch) // 2)

    def wait_for_more(self, wanted):
        """A fuller batch costs less: 10 ms at most, until half as many wait as were in the last."""
        for _ in range(10):
            if self.arrived.qsize() >= wanted:
                break
            time.sleep(0.001)

    def file_mails(self, batch):
        now = time.time()
        messages, deliveries, journal = [], [], []
        self.database.execute("BEGIN IMMEDIATE")
        for _, mail_id, sender, recipients, prefix, digest, mail in batch:
            number, self.next_id = self.next_id, self.next_id + 1
            messages.append((number, mail_id, sender, len(mail), digest, now, prefix, mail))
            journal.append((now, "accepted", mail_id, sender, None, None, None))
            for to in recipients:
                folder = self.folders.setdefault(to, [len(self.folders) + 1, 1, 0])
                deliveries.append((folder[0], folder[1], number, to, len(mail)))
                journal.append((now, "delivered", mail_id, None, to, folder[0], folder[1]))
                folder[1] += 1
                folder[2] += len(mail)
        changed = {to for each in batch for to in each[3]}
        many = self.database.executemany
        many("INSERT INTO message VALUES (?,?,?,?,?,?,?,?)", messages)
        many(
            "INSERT INTO folder VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE SET"
            " uid_next = excluded.uid_next, octets = excluded.octets",
            [
                (folder[0], to, folder[1], folder[2])
                for to in changed
                for folder in [self.folders[to]]
            ],
        )
        many("INSERT INTO delivery VALUES (?,?,?,?,?)", deliveries)
        many(
            "INSERT INTO journal (at, event, mail_id, sender, recipient, folder_id, uid)"
            " VALUES (?,?,?,?,?,?,?)",
            journal,
        )
        self.database.execute("COMMIT")

    def answer(self, batch):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for session, mail_id, sender, *_ in batch:
            os.write(self.lines, f"{now} accepted {mail_id} from={sender}\n".encode())
            session.transport.write(OK)


class Files:
    """A file for each mail, flushed and renamed before the 250."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    def take(self, session, mail):
        self.count += 1
        path = f"{self.folder}/new-{self.count}"
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(file, mail)
        os.fsync(file)
        os.close(file)
        os.rename(path, f"{self.folder}/{self.count}")
        session.transport.write(OK)


class Nowhere:
    def __init__(self, folder):
        pass

    def take(self, session, mail):
        session.transport.write(OK)


def address_in(line):
    return line[line.index(b"<") + 1 : line.index(b">")].decode()


class Session(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.left, self.body, self.helo, self.sender, self.recipients = b"", None, b"", "", []
        self.transport.write(b"220 mx\r\n")

    def dataReceived(self, data):
        if self.body is None:
            self.commands(data)
            return
        self.body.append(data)
        if (data if len(data) >= 5 else b"".join(self.body[-5:])).endswith(b"\r\n.\r\n"):
            mail, self.body = b"".join(self.body), None
            store.take(self, mail)

    def commands(self, data):
        *lines, self.left = (self.left + data).split(b"\r\n")
        replies = []
        for line in lines:
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.transport.write(b"221 bye\r\n")
                self.transport.loseConnection()
                return
            if verb == b"DATA":
                self.body = []
            elif verb == b"MAIL":
                self.sender, self.recipients = address_in(line), []
            elif verb == b"RCPT":
                self.recipients.append(address_in(line))
            elif verb == b"EHLO":
                self.helo = line[5:]
            replies.append(
                b"354 go\r\n" if verb == b"DATA"
                else b"250-mx\r\n250 PIPELINING\r\n" if verb == b"EHLO"
                else OK
            )  # fmt: skip
        self.transport.write(b"".join(replies))


port, mode, folder = sys.argv[1:]
store = {"discard": Nowhere, "file": Files, "log": Log, "rows": Rows}[mode](folder)
factory = protocol.ServerFactory.forProtocol(Session)
factory.noisy = False
reactor.listenTCP(int(port), factory, 1024, "127.0.0.1")
reactor.run()
