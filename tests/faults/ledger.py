"""Mail that flows in and out of a node, and a ledger that finds what was lost or doubled.

Each mail is made again from its number alone, so what comes back is compared to the byte. A copy
that was read and deleted counts once its QUIT was answered; where the answer never came, it may
be there or not.
"""

from __future__ import annotations

import contextlib
import itertools
import poplib
import random
import smtplib
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from tests.live.node import DOMAIN, PASSWORD, Node, without_ours

GONE = (OSError, EOFError, smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)
GONE_BEFORE_IT_GREETED = "-ERR EOF"  # as poplib says it
AGAIN_S = 0.05
MAILS_A_VISIT = 40


@frozen
class Mail:
    """One mail: all of it follows from the seed and the number."""

    seed: int
    number: int
    names: Sequence[str]
    sizes: Sequence[int]

    @property
    def token(self) -> str:
        return f"{self.seed}-{self.number}"

    def recipients(self) -> list[str]:
        """One mostly, all now and then."""
        chance = random.Random(f"{self.token} to")
        return list(self.names) if self.number % 4 == 0 else [chance.choice(self.names)]

    def raw(self) -> bytes:
        chance = random.Random(self.token)
        line = b"." + chance.randbytes(30).hex().encode() + b"\r\n"
        size = chance.choice(self.sizes)
        return b"Subject: " + self.token.encode() + b"\r\n\r\n" + line * (size // len(line))


@define(eq=False)
class Ledger:
    """What was tried, promised, and taken away.

    Attributes:
        gone: (name, token) to copies whose deletion was confirmed.
        perhaps: the same, where the answer to QUIT never came.
        put_off: mails that were answered with a temporary failure.
        faults: what must not be.
    """

    tried: dict[str, Mail] = field(factory=dict)
    acknowledged: set[str] = field(factory=set)
    gone: Counter[tuple[str, str]] = field(factory=Counter)
    perhaps: Counter[tuple[str, str]] = field(factory=Counter)
    put_off: int = 0
    refused: int = 0
    faults: list[str] = field(factory=list)

    def read(self, name: str, served: bytes) -> str:
        """The token of a mail that was fetched; one that isn't as it was sent is a fault."""
        came = without_ours(served)
        token = came.split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode("ascii", "replace")
        mail = self.tried.get(token)
        if mail is None:
            self.faults.append(f"{token}: {name} has a mail that nobody sent")
        elif came != mail.raw():
            self.faults.append(f"{token}: not the bytes that were sent, with {name}")
        elif name not in mail.recipients():
            self.faults.append(f"{token}: with {name}, whom it was not for")
        return token

    def judge(self, left: Mapping[str, Iterable[bytes]]) -> list[str]:
        """All that is wrong, now that these mails are left in the maildrops."""
        copies = Counter(self.gone)
        for name, mails in left.items():
            copies.update((name, self.read(name, served)) for served in mails)
        return self.faults + [
            f"{token}: {fault}"
            for token, mail in self.tried.items()
            if (fault := self._judge(mail, copies))
        ]

    def _judge(self, mail: Mail, copies: Counter[tuple[str, str]]) -> str:
        keys = [(name, mail.token) for name in mail.recipients()]
        counts = [copies[key] for key in keys]
        there = [bool(copies[key] or self.perhaps[key]) for key in keys]
        if max(counts) > 1:
            return f"there {counts} times"
        if mail.token in self.acknowledged:
            return "" if all(there) else f"acknowledged, and there {counts} times"
        return "" if len(set(there)) == 1 else f"kept in part, {counts}"


@define(eq=False)
class Traffic:
    """Senders and readers that go on until they are told to stop, whatever the node does.

    Attributes:
        names: whose maildrops mail goes to; each has one reader.
        sizes: of mails, in octets.
        pause_s: between a sender's mails.
        with_tls: every third session is inside STARTTLS or STLS.
    """

    node: Node
    ledger: Ledger
    names: Sequence[str] = ("alice", "bob")
    seed: int = 1
    senders: int = 3
    sizes: Sequence[int] = (0, 300, 2_000, 2_000, 20_000, 400_000)
    pause_s: float = 0.0
    with_tls: bool = True
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)
    _sessions: itertools.count[int] = field(factory=itertools.count, init=False)

    def start(self) -> None:
        work: list[Callable[[], None]] = [self._send] * self.senders
        work += [lambda name=name: self._read(name) for name in self.names]  # type: ignore[misc]
        for each in work:
            thread = threading.Thread(target=self._again_and_again, args=(each,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """What is under way is ended; all threads are gone."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.ledger.faults.append("a client waits for an answer that does not come")

    def _again_and_again(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                work()
            except GONE:
                self._stop.wait(AGAIN_S)
            except Exception as error:  # a client that fell over says nothing of the mail
                if str(error) != GONE_BEFORE_IT_GREETED:
                    self.ledger.faults.append(f"a client failed: {error!r}")
                    return
                self._stop.wait(AGAIN_S)

    def _inside_tls(self) -> ssl.SSLContext | None:
        if not self.with_tls or next(self._sessions) % 3:
            return None
        return ssl._create_unverified_context()

    # In

    def _send(self) -> None:
        with contextlib.closing(
            smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=30)
        ) as client:
            client.ehlo("load.example")
            if (context := self._inside_tls()) is not None:
                client.starttls(context=context)
                client.ehlo("load.example")
            for _ in range(30):
                if self._stop.wait(self.pause_s):
                    break
                mail = Mail(self.seed, next(self._numbers), self.names, self.sizes)
                if mail.number % 10 == 5:
                    self._be_refused(client)
                if not self._one(client, mail):
                    return
            client.quit()

    def _one(self, client: smtplib.SMTP, mail: Mail) -> bool:
        """Send a mail; whether the session goes on."""
        self.ledger.tried[mail.token] = mail
        to = [f"{name}@{DOMAIN}" for name in mail.recipients()]
        try:
            turned_away = client.sendmail("load@elsewhere.example", to, mail.raw())
        except smtplib.SMTPRecipientsRefused as error:
            self._put_off(mail, [code for code, _text in error.recipients.values()])
        except smtplib.SMTPResponseException as error:
            if error.smtp_code == -1:  # the line broke in the middle
                return False
            self._put_off(mail, [error.smtp_code])
            return error.smtp_code != 421
        else:
            if turned_away:
                self.ledger.faults.append(f"{mail.token}: {turned_away}")
            self.ledger.acknowledged.add(mail.token)
        return True

    def _put_off(self, mail: Mail, codes: Sequence[int]) -> None:
        self.ledger.put_off += 1
        if any(code // 100 != 4 for code in codes):
            self.ledger.faults.append(f"{mail.token}: bounced with {codes}")
        self._stop.wait(AGAIN_S)

    def _be_refused(self, client: smtplib.SMTP) -> None:
        code, text = client.mail("load@elsewhere.example")
        if code == 250:
            code, text = client.rcpt(f"nobody@{DOMAIN}")
            if code // 100 == 2:
                self.ledger.faults.append(f"nobody was taken for somebody: {code} {text!r}")
            self.ledger.refused += 1
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            client.rset()

    # Out

    def _read(self, name: str) -> None:
        """Fetch some and delete them; every fifth visit ends without QUIT, and deletes nothing."""
        if self._stop.wait(AGAIN_S):
            return
        client = poplib.POP3("127.0.0.1", self.node.port("pop3"), timeout=30)
        try:
            if (context := self._inside_tls()) is not None:
                client.stls(context)
            client.user(f"{name}@{DOMAIN}")
            client.pass_(PASSWORD)
            count = min(MAILS_A_VISIT, client.stat()[0])
            marked = []
            for number in range(1, count + 1):
                served = b"".join(line + b"\r\n" for line in client.retr(number)[1])
                marked.append((name, self.ledger.read(name, served)))
                client.dele(number)
            if next(self._sessions) % 5:
                self._quit(client, marked)
        except poplib.error_proto as error:
            if any(word in str(error) for word in ("SYS/TEMP", "IN-USE", "shutting", "-ERR EOF")):
                return
            if "AUTH" in str(error) or "-ERR" in str(error):
                self.ledger.faults.append(f"{name}: {error}")
        finally:
            client.close()

    def _quit(self, client: poplib.POP3, marked: Sequence[tuple[str, str]]) -> None:
        try:
            client.quit()
        except poplib.error_proto as error:
            if "SYS/" not in str(error):
                self.ledger.perhaps.update(marked)
                raise
        except GONE:
            self.ledger.perhaps.update(marked)
            raise
        else:
            self.ledger.gone.update(marked)
