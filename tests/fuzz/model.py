"""What the models of both servers share: a walk along all that the client said.

A model is told nothing of how the octets came, so what a server makes of a cut, a pause or a
pipeline can't show in what it allows.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import NoReturn

from attrs import define, field

from tests.fakes import PASSWORD
from tests.fuzz.client import IDLE_S, Wrong
from tests.fuzz.smtp_house import DIRECTORY

SASL_OCTETS = 12288
_CHALLENGES = {b"PLAIN": [b""], b"LOGIN": [b"Username:", b"Password:"]}


class Over(Exception):
    """Nothing more is to be said: the connection ended."""


class Unfinished(Exception):
    """The input ended inside of something: there is nothing to reply to."""


@define(eq=False, kw_only=True)
class Walk:
    """One session, as it must have gone.

    Attributes:
        stream: all that the server was given.
        marks: (octets given before, what befell).
        handshakes: octets given at each start of TLS; what came before is not used after.
        gone: the client left without waiting for replies.
        closed: the server hung up.
        draining: the node stops, or the account has changed: a last reply may say so.
        vague: so much time has passed that the server may hang up, or not.
    """

    settings: frozenset[str]
    stream: bytes
    marks: list[tuple[int, str]]
    handshakes: list[int]
    gone: bool
    closed: bool
    most_errors: int = 10
    at: int = 0
    vague: bool = False
    draining: bool = False
    secure: bool = False
    store: str = "k"
    checker: str = "K"
    silent_s: float = 0.0
    errors: int = 0
    failures: int = 0
    commands: int = field(default=0, init=False)
    _silent_from: int = field(default=0, init=False)

    def check(self) -> None:
        """Raises Wrong: the session can't have gone so."""
        self.secure = "i" in self.settings
        # a client that reads nothing for so long is cut off in the middle of a reply
        befell = "".join(mark for _, mark in self.marks)
        self.vague = self.vague or "sW" in befell.replace("D", "").replace("V", "")
        self.draining = "D" in befell or "V" in befell
        over = True
        try:
            self.greeted()
            if "F" in self.settings:
                raise Over
            while self._command():
                pass
            self.ends_unfinished()
        except Over:
            pass
        except Unfinished:
            over = False
        self.nothing_left()
        if self.closed != over and not (self.vague or self.gone or self.draining):
            self.wrong("the server hung up" if self.closed else "the connection is still open")

    def wrong(self, what: str) -> NoReturn:
        around = self.stream[max(0, self.at - 60) : self.at + 60]
        raise Wrong(f"{what}; command {self.commands}, octet {self.at}, near {around!r}")

    # What befell

    def pass_marks(self, before: int) -> None:
        """What befell before the octet at `before` was there."""
        while self.marks and self.marks[0][0] < before:
            given, mark = self.marks.pop(0)
            if given != self._silent_from:
                self.silent_s, self._silent_from = 0.0, given
            self._befell(mark)

    def _befell(self, mark: str) -> None:
        if mark in "wW":
            self._waited(1.0 if mark == "w" else IDLE_S + 5.0)
        elif mark == "z":
            raise Over
        elif mark in "klbfg":
            self.store = mark
        elif mark in "KLBG":
            self.checker = mark
        elif mark not in "DV":
            self.befell(mark)

    def _waited(self, seconds: float) -> None:
        self.silent_s += seconds
        if self.silent_s > IDLE_S + 2.0:
            self.silent_too_long()
            raise Over
        if self.silent_s > IDLE_S - 10.0:
            self.vague = True

    # Lines

    def _command(self) -> bool:
        line = self.line(self.limit())
        if line is None:
            return False
        self.commands += 1
        if line:
            self.command(line[:-2])
        return True

    def line(self, limit: int) -> bytes | None:
        """The next line; None when it isn't whole, b"" when it was refused as it is."""
        end = self.stream.find(b"\n", self.at) + 1
        if (end or len(self.stream)) - self.at > limit:
            self.pass_marks(self.at + limit + 1)
            self.malformed()
            self.at = end or len(self.stream)
            return b""
        if not end:
            return None
        line = self.stream[self.at : end]
        self.passes(end)
        if not line.endswith(b"\r\n"):
            self.malformed()
            return b""
        return line

    def passes(self, end: int) -> None:
        """The octets up to `end` were given."""
        self.pass_marks(end)
        self.at = end

    def ends_unfinished(self) -> NoReturn:
        """What befell while the server waited for the rest."""
        self.pass_marks(len(self.stream) + 1)
        raise Unfinished

    def jump_to_handshake(self) -> None:
        if not self.handshakes:
            self.wrong("TLS was promised and never begun")
        self.at = self.handshakes.pop(0)

    # SASL (RFC 4954, RFC 5034)

    def sasl(self, mechanism: bytes, response: bytes | None) -> None:
        """The dialog behind AUTH; `response` is what came with it."""
        said: list[bytes] = []
        response = b"" if response == b"=" else response
        while True:
            if response is None:
                self.challenged(b64encode(_CHALLENGES[mechanism][len(said)]))
                line = self.line(SASL_OCTETS)
                if line is None:
                    self.ends_unfinished()
                if not line:
                    return
                response = line[:-2]
            decoded = _decoded(response)
            response = None
            if decoded is None or not _is_utf8(decoded):
                self.malformed_response()
                return
            if mechanism == b"PLAIN":
                self._plain(decoded)
                return
            if b"\0" in decoded:
                self.malformed_response()
                return
            if not decoded:
                self.refused_response()
                return
            said.append(decoded)
            if len(said) == 2:
                self.judged(*said)
                return

    def _plain(self, decoded: bytes) -> None:
        parts = decoded.split(b"\0")
        if len(parts) != 3:
            self.malformed_response()
        elif not parts[1] or not parts[2] or parts[0] not in (b"", parts[1]):
            self.refused_response()
        else:
            self.judged(parts[1], parts[2])

    def may_sign_in(self, name: bytes, password: bytes) -> bool:
        try:
            account = DIRECTORY.find_sign_in(name.decode())
        except UnicodeDecodeError:
            return False
        return password == PASSWORD.encode() and account is not None and not account.disabled

    # What a model gives

    def greeted(self) -> None:
        """The greeting came."""

    def nothing_left(self) -> None:
        """Raises Wrong: more was said than was asked for."""

    def limit(self) -> int:
        """Octets of the line that begins here."""
        raise NotImplementedError

    def command(self, line: bytes) -> None:
        """A line that could be read."""

    def malformed(self) -> None:
        """A line that could not was answered."""

    def befell(self, mark: str) -> None:
        """Something else befell."""

    def silent_too_long(self) -> None:
        """The client was sent away."""

    def challenged(self, challenge: bytes) -> None: ...
    def malformed_response(self) -> None: ...
    def refused_response(self) -> None: ...
    def judged(self, name: bytes, password: bytes) -> None: ...


def _decoded(response: bytes) -> bytes | None:
    try:
        decoded = b64decode(response, validate=True)
    except (NotBase64, ValueError):
        return None
    return decoded if b64encode(decoded) == response else None


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
