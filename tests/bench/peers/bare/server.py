"""What Twisted can reach: a bare Protocol that speaks just enough SMTP.

    server.py PORT discard|file|log FOLDER

discard: the mail is thrown away;
file: each mail goes to a file of its own, flushed in the reactor's thread;
log: mails that came during the last flush share one append and one flush, in one thread.

It looks for the final dot at the end of what came, unstuffs nothing, counts nothing and keeps no
mailboxes, so a server that does its duty costs more.
"""

import os
import queue
import sys
import threading

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


class Session(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.left, self.body = b"", None
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
            replies.append(
                b"354 go\r\n" if verb == b"DATA"
                else b"250-mx\r\n250 PIPELINING\r\n" if verb == b"EHLO"
                else OK
            )  # fmt: skip
        self.transport.write(b"".join(replies))


port, mode, folder = sys.argv[1:]
store = {"discard": Nowhere, "file": Files, "log": Log}[mode](folder)
factory = protocol.ServerFactory.forProtocol(Session)
factory.noisy = False
reactor.listenTCP(int(port), factory, 1024, "127.0.0.1")
reactor.run()
