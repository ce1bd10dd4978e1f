"""The line session that the SMTP and the POP3 server share.

`LineOnlyReceiver` can neither pause nor discard, so the session owns `dataReceived`. It
runs one command at a time: while a reply is pending nothing more is parsed, and what
arrives meanwhile stops the reading (RFC 2920; docs/rfc.rst S1 to S8, S23 to S25, P1, P2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITLSTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode.errors import MailError, answer_for
from mailnode.machine import is_loopback, plain_address
from mailnode.outgoing import LineOutput
from mailnode.sasl import SASL_OCTETS, SaslDialog
from mailnode.tls import TlsChannel

if TYPE_CHECKING:
    from mailnode.admission import Sessions

COMMAND_OCTETS = 512
CLOSE_S = 10.0
TURN_S = 0.002


class LongLine(MailError):
    smtp_code, enhanced, pop3_code = 500, "5.5.6", ""
    text = "Line is too long"


class BadLine(MailError):
    smtp_code, enhanced, pop3_code = 500, "5.5.2", ""
    text = "Lines end with CRLF"


@implementer(IHalfCloseableProtocol)
class LineSession(SaslDialog, LineOutput):
    """One connection's input and output, whatever the protocol.

    A server derives from this first and from Twisted's protocol second, and gives
    `commandReceived`, `commandFailed`, `sweepIdle` and the SASL replies.

    Attributes:
        sessions: who is connected; None for a protocol that stands alone.
        peer_host: the client's address in text, "" for a Unix socket.
        loopback: whether that is this machine.
        account: the canonical address that is signed in, "" for nobody.
        began_s: when it began, on the clock that sweeps.
        errors: failed commands so far.
    """

    sessions: Sessions | None = None
    factory: Any

    idle_s: float | None = 300.0
    most_errors = 10
    command_octets = COMMAND_OCTETS
    keep_dialog = False

    peer_host = ""
    loopback = False
    account = ""
    began_s = 0.0
    errors = 0

    _input = b""
    _at = 0
    _paused = False
    _discarding = False
    _half_closed = False
    _revoked = False
    _closing_since: float | None = None
    _hangs_up = False
    _reader: Callable[[bytes], object] | None = None  # takes raw octets instead of lines

    # The connection's life

    def beginSession(self) -> bool:
        """Learn who is there; False (and nothing more to do) when there are too many."""
        self.beginOutput()
        self._active_at = self.began_s = self.seconds()
        self.peer = self.transport.getPeer()
        self.peer_host = plain_address(str(getattr(self.peer, "host", "") or ""))
        self.loopback = is_loopback(self.peer_host)
        self.secure = ISSLTransport.providedBy(self.transport)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        return self.sessions is None or self.sessions.admit(self, self.peer_host, self.loopback)

    def endSession(self) -> None:
        """The connection is gone: nothing more is read or written."""
        self._gone = True
        self._input, self._reader = b"", None
        self.endSasl()
        if self.sessions is not None:
            self.sessions.leave(self)

    def readConnectionLost(self) -> None:
        """The client sends no more; what it is owed is still written (S29)."""
        self._half_closed = True
        if not (self._busy or self._blocked):
            self.close()

    def writeConnectionLost(self) -> None:
        pass

    def close(self) -> None:
        """Close once what was written is out; 10 s later the connection is aborted (S24)."""
        if self._closing_since is None and not self._gone:
            self._flush()
            self._closing_since = self.seconds()
            self._input = b""
            if self._working:
                self._hangs_up = True  # once the command that says so is done
            else:
                self.transport.unregisterProducer()
                self.transport.loseConnection()

    def turnAway(self) -> None:
        """Close a connection that is one too many: no sweep will look at it.

        Inside TLS `close` waits for a client that may never answer, so it is cut off.
        """
        self.close()
        if self.secure:
            self.abort()

    def abort(self) -> None:
        """Cut the connection off: nothing that waits is written or carried out."""
        if not self._gone:
            self._closing_since = self.seconds()
            self._hangs_up = False
            self._input, self._out = b"", []
            self.transport.abortConnection()

    def drain(self) -> None:
        """The node stops: an idle session ends now, another after its transaction (S30)."""
        if not self._busy and self._closing_since is None and not self.underWay():
            self.sayGoodbye()
            self.close()

    def _drain_at_stop(self) -> None:
        if self.sessions is not None and self.sessions.draining:
            self.drain()

    def revoke(self) -> None:
        """The account that is signed in has changed: this session ends."""
        if self._busy:
            self._revoked = True  # what is under way is answered first
        elif self._closing_since is None:
            self.sayRevoked()
            self.close()

    @property
    def tls_offered(self) -> bool:
        return (
            self.tls_context() is not None
            and not self.secure
            and ITLSTransport.providedBy(self.transport)
        )

    def tls_name(self) -> str:
        """Version and cipher of a connection inside TLS, "" in clear."""
        if not self.secure:
            return ""
        handle = self.transport.getHandle()
        return f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"

    def channel(self) -> TlsChannel | None:
        """What credentials may be bound to; None in clear."""
        return TlsChannel(self.transport.getHandle) if self.secure else None

    def startTls(self) -> None:
        """Speak TLS from here; nothing received before it is used after it (RFC 3207, 4.2)."""
        self._flush()
        self._input, self._at = b"", 0
        self.transport.startTLS(self.tls_context())
        self.secure = True

    # Input

    def dataReceived(self, data: bytes) -> None:
        self._active_at = self.seconds()
        if self._closing_since is not None:
            return
        self._input = self._input[self._at :] + data if self._at < len(self._input) else data
        self._at = 0
        if self._busy or self._blocked:
            self._pause()
        else:
            self._work()

    def _work(self) -> None:
        if self._working:  # a reply came at once, further down this stack
            return
        self._working = True
        until = self._active_at + TURN_S
        first = True
        try:
            while not (self._busy or self._blocked) and self._at < len(self._input):
                if self._closing_since is not None:
                    break
                if first:
                    first = False
                elif self.sessions is not None and self.seconds() > until:
                    self._busy = True  # the other sessions' turn
                    self.sessions.wait_for_turn(self._step_done)
                    break
                if self._reader is not None:
                    data, self._input, self._at = self._input[self._at :], b"", 0
                    self._wait_for(self._reader, data)
                elif not self._take_line():
                    break
        finally:
            self._working = False
        self._flush()
        if self._hangs_up and not self._gone:
            self._hangs_up = False
            self._hang_up()
        if self._busy or self._blocked or self._closing_since is not None:
            return
        self._drain_at_stop()
        if self._half_closed:
            self.close()
        elif self._paused and self._closing_since is None:
            self._paused = False
            self.transport.resumeProducing()

    def _take_line(self) -> bool:
        """Run the next command; False when it isn't whole yet."""
        end = self._input.find(b"\n", self._at)
        length = (end + 1 if end >= 0 else len(self._input)) - self._at
        too_long = length > self.command_octets and length > self._line_limit()
        if end < 0:
            if self._discarding:
                self._input, self._at = b"", 0
            elif too_long:
                self._input, self._at, self._discarding = b"", 0, True
                self.refuse(LongLine())
            return False
        line, self._at = self._input[self._at : end], end + 1
        if self._discarding:
            self._discarding = False
        elif too_long:
            self.refuse(LongLine())
        elif not line.endswith(b"\r"):
            self.refuse(BadLine())
        elif self.in_sasl:
            self._wait_for(self.saslLine, line[:-1])
        else:
            self._wait_for(self.commandReceived, line[:-1])
        return True

    def _line_limit(self) -> int:
        if self.in_sasl:
            return SASL_OCTETS
        return self.commandLimit(self._input[self._at : self._at + 5].upper())

    def putBack(self, rest: bytes) -> None:
        """A raw reader leaves what it didn't take to the next command."""
        self._input, self._at = rest, 0

    def readRaw(self, reader: Callable[[bytes], object] | None) -> None:
        """Give the octets that follow to `reader` (None, or a Deferred to wait for)."""
        self._reader = reader

    def _wait_for(self, step: Callable[[bytes], object], data: bytes) -> None:
        try:
            result = step(data)
        except Exception as error:
            self.refuse(error)
            return
        if result is not None and isinstance(result, Deferred):
            self._busy = True
            result.addCallbacks(self._step_done, self._step_failed)
            if self._busy:
                self._flush()

    def _step_failed(self, failure: Failure) -> None:
        error = failure.value
        assert error is not None
        try:
            if not self._gone:
                self.refuse(error)
            elif not isinstance(error, MailError):
                self._log.failure("a command failed after its client had gone", failure)
        finally:
            self._step_done(None)

    def _step_done(self, _result: object) -> None:
        self._busy = False
        self._active_at = self.seconds()
        if self._gone:
            return
        if self._revoked:
            self.revoke()
        else:
            self._drain_at_stop()
        self._work()

    def refuse(self, error: BaseException) -> None:
        """Answer a failed command; a bug is logged and answered as a temporary failure."""
        answer = answer_for(error)
        if not isinstance(error, MailError) and type(answer) is MailError and answer.detail:
            self._log.failure("a command failed", Failure(error))
        self.errors += answer.is_fault
        self.endSasl()
        self.commandFailed(answer)
        if self.errors >= self.most_errors and self._closing_since is None:
            self.tooManyErrors()
            self.close()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    # The sweep

    def sweep(self, now: float) -> None:
        if self._closing_since is not None:
            if now - self._closing_since > CLOSE_S:
                self.abort()
        elif self._blocked:
            if self.idle_s is not None and now - self._active_at > self.idle_s:
                self.abort()
        elif not self._busy:
            self.sweepIdle(now)

    def setTimeout(self, period: float | None) -> float | None:
        """Twisted's `TimeoutMixin`, kept for subclasses: the idle time, None for no limit."""
        previous, self.idle_s = self.idle_s, period
        return previous

    def resetTimeout(self) -> None:
        self._active_at = self.seconds()

    # What a server gives

    _log = Logger()

    def tls_context(self) -> Any:
        """What `startTLS` is given, or None where no TLS can be had."""

    def commandReceived(self, line: bytes) -> object:
        """Run one command; a Deferred holds back the next one until it fires."""

    def commandLimit(self, start: bytes) -> int:
        """Octets, line end included, of the command whose first five are `start`."""
        return SASL_OCTETS if start == b"AUTH " else self.command_octets

    def commandFailed(self, answer: MailError) -> None:
        """Write the one reply to a command that failed."""

    def sayGoodbye(self) -> None:
        """Tell the client that the node stops."""

    def sayRevoked(self) -> None:
        """Tell the client that its account has changed."""

    def tooManyErrors(self) -> None:
        """Tell the client that it has made too many errors."""

    def underWay(self) -> bool:
        """Whether a transaction has begun that a stop lets finish."""
        return False

    def sweepIdle(self, now: float) -> None:
        """No reply is pending: has the client been silent for too long?"""


def settled(result: Any) -> tuple[Deferred[Any] | None, Any]:
    """What is to be waited for, None for nothing; and then what is there already.

    The hot path answers without a callback where nothing is awaited.
    """
    if not isinstance(result, Deferred):
        return None, result
    if result.called and not result.paused:
        value = result.result
        if not isinstance(value, Failure | Deferred):
            return None, value
    return result, None
