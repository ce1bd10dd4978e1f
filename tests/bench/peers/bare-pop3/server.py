"""What Twisted can reach: a bare Protocol that speaks just enough POP3, for any user.

    server.py PORT FOLDER

FOLDER/mail.db has the mails: measuring.fill writes them. What is small is a row, read in one of
two threads, up to 256 KiB ahead, what was asked for together up to 1 MiB; what is large is a file,
read in pieces of 256 KiB in such a thread. It stuffs nothing, locks nothing, keeps no account of
anything and has no limits, so a server that does its duty costs more.
"""

import contextlib
import os
import queue
import sqlite3
import sys
import threading

from twisted.internet import protocol, reactor

THREADS = 2
AHEAD_OCTETS = 256 << 10
BATCH_OCTETS = 1 << 20
PIECE_OCTETS = 256 << 10


class Store:
    """Two threads that read what they are asked for, and call back in the reactor's thread."""

    def __init__(self, path):
        self.path = path
        self.asked = queue.SimpleQueue()
        for _ in range(THREADS):
            threading.Thread(target=self.run, daemon=True).start()

    def ask(self, function, done):
        self.asked.put((function, done))

    def run(self):
        database = sqlite3.connect(self.path, isolation_level=None)
        while True:
            function, done = self.asked.get()
            reactor.callFromThread(done, function(database))


def open_box(user):
    """The box as it was, when no mail came since: (id of the newest, ids, sizes, octets)."""

    def read(database):
        newest = database.execute("SELECT max(id) FROM mail WHERE user = ?", (user,)).fetchone()[0]
        if user not in boxes or boxes[user][0] != newest:
            packed = database.execute(
                "SELECT group_concat(id), group_concat(octets) FROM"
                " (SELECT id, octets FROM mail WHERE user = ? ORDER BY id)",
                (user,),
            ).fetchone()
            ids, sizes = (list(map(int, (text or "").split(","))) for text in packed)
            boxes[user] = newest, ids, sizes, sum(sizes)
        return boxes[user]

    return read


def read_mails(first, last):
    """Those rows as one: each row more is two hand-overs of the GIL."""

    def read(database):
        sizes, octets, file = database.execute(
            "SELECT group_concat(length(body)), CAST(group_concat(body, '') AS BLOB), max(file)"
            " FROM mail WHERE id BETWEEN ? AND ?",
            (first, last),
        ).fetchone()
        if file is not None:
            return [file]
        mails, at = [], 0
        for size in map(int, sizes.split(",")):
            mails.append((b"+OK\r\n", octets[at : at + size], b".\r\n"))
            at += size
        return mails

    return read


boxes = {}


class Session(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.left, self.waiting, self.ahead = b"", [], {}
        self.busy = self.full = self.held_up = False
        self.transport.write(b"+OK\r\n")

    def dataReceived(self, data):
        *lines, self.left = (self.left + data).split(b"\r\n")
        self.waiting += lines
        if not self.busy:
            self.work()

    def work(self):
        out = []
        while self.waiting and not self.busy:
            line = self.waiting.pop(0)
            verb, _, argument = line.partition(b" ")
            if verb == b"RETR":
                number = int(argument) - 1
                mail = self.ahead.pop(number, None)
                if mail is None:
                    self.fetch(number)
                elif isinstance(mail, str):
                    self.send_file(mail)
                else:
                    out += mail
            elif verb == b"USER":
                self.user = argument.decode().partition("@")[0]
                out.append(b"+OK\r\n")
            elif verb == b"PASS":
                self.busy = True
                store.ask(open_box(self.user), self.opened)
            elif verb == b"STAT":
                out.append(b"+OK %d %d\r\n" % (len(self.sizes), self.octets))
            elif verb == b"UIDL":
                rows = [b"%d %d\r\n" % each for each in enumerate(self.ids, 1)]
                out += [b"+OK\r\n", *rows, b".\r\n"]
            elif verb == b"LIST":
                rows = [b"%d %d\r\n" % each for each in enumerate(self.sizes, 1)]
                out += [b"+OK\r\n", *rows, b".\r\n"]
            else:
                out.append(b"+OK\r\n")
                if verb == b"QUIT":
                    self.write(out)
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()
                    return
        self.write(out)

    def write(self, out):
        if not out:
            return
        octets, transport = sum(map(len, out)), self.transport
        sent = 0
        if not transport.dataBuffer and not transport._tempDataLen and len(out) <= 1024:
            with contextlib.suppress(BlockingIOError):
                sent = transport.socket.sendmsg(out)
        if sent < octets:
            transport.write(b"".join(out)[sent:])

    def opened(self, box):
        _, self.ids, self.sizes, self.octets = box
        self.busy = False
        self.write([b"+OK\r\n"])
        self.work()

    def fetch(self, number):
        self.busy = True
        most = BATCH_OCTETS if len(self.waiting) > 1 else AHEAD_OCTETS
        last, octets = number, self.sizes[number]
        while last + 1 < len(self.sizes) and last - number < 63:
            octets += self.sizes[last + 1]
            if octets > most:
                break
            last += 1
        store.ask(
            read_mails(self.ids[number], self.ids[last]),
            lambda mails: self.fetched(number, mails),
        )

    def fetched(self, number, mails):
        self.ahead = dict(enumerate(mails, number))
        self.waiting.insert(0, b"RETR %d" % (number + 1))
        self.busy = False
        self.work()

    def send_file(self, path):
        self.busy = True
        self.held = b"+OK\r\n"
        self.file = os.open(path, os.O_RDONLY)
        self.read_on()

    def read_on(self):
        store.ask(lambda _: os.read(self.file, PIECE_OCTETS), self.piece)

    def piece(self, data):
        if not data:
            os.close(self.file)
            self.busy = False
            self.write([self.held, b".\r\n"])
            self.work()
            return
        held, self.held = self.held, data
        self.write([held])
        if not self.full:
            self.read_on()
        else:
            self.held_up = True

    def pauseProducing(self):
        self.full = True

    def resumeProducing(self):
        self.full = False
        if self.held_up:
            self.held_up = False
            self.read_on()

    def stopProducing(self):
        pass


store = Store(f"{sys.argv[2]}/mail.db")
factory = protocol.ServerFactory.forProtocol(Session)
factory.noisy = False
reactor.listenTCP(int(sys.argv[1]), factory, 1024, "127.0.0.1")
reactor.run()
