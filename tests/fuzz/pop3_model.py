"""What a POP3 server may say, by the states of RFC 1939, and what it must have deleted by then."""

from __future__ import annotations

import re

from attrs import define, field

from tests.fakes_pop3 import HEAD
from tests.fuzz.model import SASL_OCTETS, Over, Walk
from tests.fuzz.pop3_house import FAILING, LARGE

LINE_OCTETS = 255
ARGUMENTS = {
    "CAPA": (0, 0), "USER": (1, 1), "PASS": (1, 999), "AUTH": (0, 2), "STLS": (0, 0),
    "UTF8": (0, 0), "QUIT": (0, 0), "NOOP": (0, 0), "STAT": (0, 0), "LIST": (0, 1),
    "UIDL": (0, 1), "RETR": (1, 1), "TOP": (2, 2), "DELE": (1, 1), "RSET": (0, 0),
}  # fmt: skip
GOODBYES = (
    b"-ERR [SYS/TEMP] Service is stopping, please try again later",
    b"-ERR [AUTH] Your account has changed, sign in again",
)
SIGNING_IN = {"USER", "PASS", "AUTH", "STLS", "UTF8"}
ALWAYS = {"CAPA", "QUIT"}
_NUMBER = re.compile(rb"[0-9]{1,10}")


def on_the_wire(mail: bytes) -> bytes:
    """A mail line by line, stuffed and ended (RFC 1939 section 3)."""
    lines = mail.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines) + b".\r\n"


def top_of(mail: bytes, count: int) -> bytes:
    """Header, blank line and `count` lines of the body (RFC 1939 section 7)."""
    taken, in_body = b"", False
    for line in re.split(rb"(?<=\r\n)", mail):
        if in_body:
            if not count:
                break
            count -= 1
        taken += line
        in_body = in_body or line == b"\r\n"
    return taken


@define(eq=False, kw_only=True)
class Pop3Model(Walk):
    """One POP3 session.

    Attributes:
        said: what the server said and is not yet accounted for.
        mails: as they are served, without stuffing.
        sizes: as the mailbox tells them.
        deleted: indices of mails that must be gone now; None while they may be.
    """

    said: bytes
    mails: list[bytes]
    sizes: list[int]
    signed_in: bool = False
    user: bytes | None = None
    marked: set[int] = field(factory=set)
    deleted: set[int] | None = field(factory=set)
    left: bool = False
    first_may_be_gone: bool = False
    read_before: bool = False

    # Replies

    def _line_of_reply(self) -> bytes:
        line, end, rest = self.said.partition(b"\r\n")
        if not end:
            if self.gone or (self.vague and self.closed):
                raise Over
            self.wrong(f"no reply, {self.said!r} is left")
        if not re.fullmatch(rb"(?:\+OK|-ERR)(?: [ -~]+)?|\+ [!-~]*", line) or len(line) > 510:
            self.wrong(f"no reply: {line!r}")
        self.said = rest
        if self.draining and line in GOODBYES:
            raise Over
        return line

    def _good(self, wanted: bytes | None = None) -> None:
        line = self._line_of_reply()
        if not line.startswith(b"+OK") or (wanted is not None and line != wanted):
            self.wrong(f"{line!r}, not +OK or {wanted!r}")

    def _bad(self, counts: bool = True, ends: bool = True) -> None:
        line = self._line_of_reply()
        if not line.startswith(b"-ERR"):
            self.wrong(f"{line!r}, where nothing could be done")
        self._erred(counts, ends)

    def _erred(self, counts: bool, ends: bool = True) -> None:
        self.errors += counts
        if ends and self.errors >= self.most_errors:
            raise Over

    def _either(self, may_fail: bool, must_fail: bool = False) -> bool:
        """Whether a command was done that may fail for reasons of the server's own."""
        if must_fail or (may_fail and self.said.startswith(b"-ERR")):
            self._bad(counts=False)
            return False
        return True

    def _octets(self, wanted: bytes, may_be_cut: bool = False) -> None:
        if self.said.startswith(wanted):
            self.said = self.said[len(wanted) :]
            return
        if wanted.startswith(self.said) and (
            self.gone or (self.closed and (may_be_cut or self.vague))
        ):
            self.said = b""
            raise Over
        self.wrong(f"{self.said[: len(wanted) + 40]!r} were sent, not {wanted!r}")

    def greeted(self) -> None:
        if "F" in self.settings:
            self._bad()
        else:
            self._good()

    def nothing_left(self) -> None:
        if self.said and not (self.draining and self.said[:-2] in GOODBYES):
            self.wrong(f"nobody asked for {self.said!r}")

    # What befell

    def befell(self, mark: str) -> None:
        if mark == "n":
            self.first_may_be_gone = True
        elif mark == "v":
            if self.signed_in and "f" not in self.settings:
                self._bad()
                raise Over
        elif mark == "d":
            if not self.marked:
                self._bad()
                raise Over
            self.draining = True

    # Lines

    def limit(self) -> int:
        is_auth = self.stream[self.at : self.at + 5].upper() == b"AUTH "
        return SASL_OCTETS if is_auth else LINE_OCTETS

    def malformed(self) -> None:
        self._bad()

    def command(self, line: bytes) -> None:
        first, *words = line.split(b" ")
        verb = first.decode("ascii", "replace").upper()
        least, most = ARGUMENTS.get(verb, (1, 0))
        right_state = verb in ALWAYS or (verb in SIGNING_IN) != self.signed_in
        if not right_state or not least <= len(words) <= most:
            self._bad()
        else:
            getattr(self, f"_{verb}")(*words)

    # Any state

    def _CAPA(self) -> None:
        lines = [b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"UTF8 USER"]
        if not self.signed_in:
            if self._may_sign_in():
                lines.append(b"USER")
                if "a" not in self.settings:
                    lines.append(b"SASL LOGIN PLAIN")
            if self._tls_offered():
                lines.append(b"STLS")
        expire = b"0" if self.signed_in and {"C", "f"} <= self.settings else b"NEVER"
        of_user = b" USER" if "C" in self.settings and not self.signed_in else b""
        if "c" not in self.settings:
            lines += [b"EXPIRE " + expire + of_user, b"LOGIN-DELAY 0" + of_user]
        self._good()
        self._octets(b"".join(line + b"\r\n" for line in lines))
        if self.signed_in:
            self._octets(b"IMPLEMENTATION mailnode-")
            self.said = self.said.partition(b"\r\n")[2]
        self._octets(b".\r\n")

    def _QUIT(self) -> None:
        self.left = True
        failing = bool(self.marked) and self.store in "bfg"
        if "f" in self.settings:
            failing = self.signed_in and "D" in self.settings and self.store in "bfg"
        doomed = set(self.marked)
        self.deleted = None if doomed else set()
        if failing:
            self.deleted = set()
            self._bad(counts=False)
        else:
            self._good(b"+OK Bye")
            self.deleted = doomed
        raise Over

    def _NOOP(self) -> None:
        self._good(b"+OK")

    # AUTHORIZATION

    def _may_sign_in(self) -> bool:
        return self.secure or "l" in self.settings

    def _tls_offered(self) -> bool:
        return "t" in self.settings and not self.secure and "y" not in self.settings

    def _STLS(self) -> None:
        if not self._tls_offered():
            self._bad()
            return
        self._good()
        self.secure, self.user = True, None
        self.jump_to_handshake()

    def _UTF8(self) -> None:
        self._good()

    def _USER(self, name: bytes) -> None:
        if not self._may_sign_in() or not name:
            self._bad()
        else:
            self._good()
            self.user = name

    def _PASS(self, *words: bytes) -> None:
        if not self._may_sign_in() or self.user is None:
            self._bad()
            return
        name, self.user = self.user, None
        self._judge(name, b" ".join(words))

    def _AUTH(self, mechanism: bytes = b"", initial: bytes | None = None) -> None:
        if "a" in self.settings or not self._may_sign_in():
            self._bad()
        elif not mechanism:
            self._good()
            self._octets(b"LOGIN\r\nPLAIN\r\n.\r\n")
        elif mechanism.upper() not in (b"PLAIN", b"LOGIN"):
            self._bad()
        else:
            self.sasl(mechanism.upper(), initial)

    def challenged(self, challenge: bytes) -> None:
        if self._line_of_reply() != b"+ " + challenge:
            self.wrong("another challenge was due")

    def malformed_response(self) -> None:
        self._bad()

    def refused_response(self) -> None:
        self._bad()
        self._failed()

    def judged(self, name: bytes, password: bytes) -> None:
        self._judge(name, password)

    def _failed(self) -> None:
        self.failures += 1
        if self.failures >= 3:
            raise Over

    def _judge(self, name: bytes, password: bytes) -> None:
        if not name or not password:
            self._bad(ends=False)
            self._failed()
        elif self.checker in "BG":
            self._bad(counts=False)
        elif not self.may_sign_in(name, password):
            self._bad(ends=False)
            self._failed()
        elif "f" not in self.settings and (self.store in "bfg" or self._in_use(name)):
            self._bad(counts=False)
        else:
            self._good(self._sum())
            self.signed_in = True

    def _in_use(self, name: bytes) -> bool:
        return "u" in self.settings and name.lower().startswith(b"alice")

    def _sum(self) -> bytes:
        return b"+OK %d messages (%d octets)" % self._left()

    def _left(self) -> tuple[int, int]:
        left = [size for index, size in enumerate(self.sizes) if index not in self.marked]
        return len(left), sum(left)

    # TRANSACTION

    def _index(self, number: bytes) -> int | None:
        """The mail of that number; None when there is none, and that has been said."""
        if _NUMBER.fullmatch(number):
            index = int(number) - 1
            if 0 <= index < len(self.mails) and index not in self.marked:
                return index
        self._bad()
        return None

    def _STAT(self) -> None:
        self._good(b"+OK %d %d" % self._left())

    def _LIST(self, number: bytes | None = None) -> None:
        self._list(number, [b"%d" % size for size in self.sizes], self._sum())

    def _UIDL(self, number: bytes | None = None) -> None:
        if self._fails and not self._told_of_failing(number):
            return
        name = b"foreign-%d" if "f" in self.settings else b"1000.%d"
        first = 0 if "f" in self.settings else 11
        self._list(number, [name % (first + at) for at in range(len(self.mails))], b"+OK")

    @property
    def _fails(self) -> bool:
        return {"f", "U"} <= self.settings and len(self.mails) > FAILING

    def _told_of_failing(self, number: bytes | None) -> bool:
        """Whether UIDL goes well over a mailbox that fails on its seventh mail."""
        if number is None and "o" in self.settings and FAILING not in self.marked:
            self._good(b"+OK")
            rows = [at for at in range(4) if at not in self.marked]
            self._octets(b"".join(b"%d foreign-%d\r\n" % (at + 1, at) for at in rows), True)
            raise Over
        if FAILING in self.marked or number not in (None, b"%d" % (FAILING + 1)):
            return True
        self._bad()
        return False

    def _list(self, number: bytes | None, column: list[bytes], first: bytes) -> None:
        if number is not None:
            index = self._index(number)
            if index is not None:
                self._good(b"+OK %d %b" % (index + 1, column[index]))
            return
        rows = [
            b"%d %b" % (at + 1, word) for at, word in enumerate(column) if at not in self.marked
        ]
        self._good(first)
        self._octets(b"".join(row + b"\r\n" for row in rows) + b".\r\n")

    def _DELE(self, number: bytes) -> None:
        index = self._index(number)
        if index is not None:
            self._good()
            self.marked.add(index)

    def _RSET(self) -> None:
        self.marked.clear()
        self._good(self._sum())

    def _RETR(self, number: bytes) -> None:
        index = self._index(number)
        if index is not None:
            self._mail(index, self.mails[index], b"+OK %d octets" % self.sizes[index])

    def _TOP(self, number: bytes, lines: bytes) -> None:
        index = self._index(number)
        if index is None:
            return
        if not _NUMBER.fullmatch(lines):
            self._bad()
            return
        self._mail(index, top_of(self.mails[index], int(lines)), b"+OK")

    def _mail(self, index: int, octets: bytes, first: bytes) -> None:
        ours = "f" not in self.settings
        if self._fails and index == FAILING:
            self._bad()
            return
        broken_blob = self._is_blob(index) and bool(self.settings & set("xX"))
        fault = ours and self.store in "bfg"
        may_fail = fault or broken_blob or (self.first_may_be_gone and index == 0)
        if self._either(may_fail, must_fail=fault and not self.read_before):
            self.read_before = True
            self._good(first)
            self._octets(on_the_wire(octets), may_be_cut=broken_blob)

    def _is_blob(self, index: int) -> bool:
        return "f" not in self.settings and self.mails[index][len(HEAD) :] in LARGE
