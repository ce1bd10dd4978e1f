"""What Twisted can reach: a bare Protocol that speaks just enough SMTP and looks
for CRLF.CRLF with bytes.find (no per-line Python in the body).

mode discard: throw the message away;
mode file: each message to its own file, fsync in the reactor thread, then 250;
mode log: messages that arrive in one reactor turn share one append and one
            fdatasync in a single writer thread; 250s go out after it.
"""

import os
import queue
import sys
import threading

from twisted.internet import protocol, reactor

PORT, MODE, DIR = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Group:
    def __init__(self):
        self.q = queue.SimpleQueue()
        self.fd = os.open(os.path.join(DIR, "log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            batch = [self.q.get()]
            while len(batch) < 256 and not self.q.empty():
                batch.append(self.q.get())
            for i in range(0, len(batch), 512):
                os.writev(self.fd, [b for _, b in batch[i : i + 512]])
            os.fdatasync(self.fd)
            reactor.callFromThread(self.done, batch)

    @staticmethod
    def done(batch):
        for p, _ in batch:
            p.transport.write(b"250 ok\r\n")


seq = 0


def to_file(data):
    global seq
    seq += 1
    tmp = f"{DIR}/t{seq}"
    fd = os.open(tmp, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.rename(tmp, f"{DIR}/m{seq}")


class P(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.buf, self.body = b"", None
        self.transport.write(b"220 mx\r\n")

    def dataReceived(self, d):
        if self.body is not None:
            self.body.append(d)
            if d[-5:] == b"\r\n.\r\n" or (
                len(d) < 5 and b"".join(self.body[-5:])[-5:] == b"\r\n.\r\n"
            ):
                data, self.body = b"".join(self.body), None
                if MODE == "log":
                    group.q.put((self, data))
                    return
                if MODE == "file":
                    to_file(data)
                self.transport.write(b"250 ok\r\n")
            return
        self.buf += d
        out = []
        while (i := self.buf.find(b"\r\n")) >= 0:
            v, self.buf = self.buf[:4].upper(), self.buf[i + 2 :]
            if v == b"DATA":
                out.append(b"354 go\r\n")
                self.body = []
                break
            if v == b"QUIT":
                self.transport.write(b"221 bye\r\n")
                return self.transport.loseConnection()
            out.append(b"250-mx\r\n250 PIPELINING\r\n" if v == b"EHLO" else b"250 ok\r\n")
        self.transport.write(b"".join(out))


group = Group() if MODE == "log" else None
f = protocol.ServerFactory()
f.noisy = False
f.protocol = P
reactor.listenTCP(PORT, f, 1024, "127.0.0.1")
reactor.run()
