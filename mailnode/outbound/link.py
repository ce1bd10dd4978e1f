"""A connection that a conversation runs over: octets, the handshake, deadlines, back-pressure."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode.outbound.certificates import BadCertificate, Handshake
from mailnode.outbound.conversation import Conversation
from mailnode.outbound.replies import printable
from mailnode.outbound.states import State
from mailnode.outgoing import AT_ONCE_OCTETS, write_at_once

CLOSE_S = 10.0
_NEVER = float("inf")
_SHAKE = frozenset({State.HANDSHAKE, State.TLS_FIRST})
_SETTLED = frozenset({State.READY, State.STALE, State.BODY, State.CLOSED})


@implementer(IHandshakeListener, IPushProducer)
class Link(Protocol):
    """Drives a conversation over Twisted's transport.

    Each step of the remote host has its deadline (RFC 5321 section 4.5.3.2), which no octet but a
    whole reply puts off. One timer serves them all: it is not set anew for every reply.

    Attributes:
        handshake_fault: why a handshake failed; "" while none did.
        tls: version and cipher, "" in clear.
        verified: how the certificate was verified, "" for not at all.
    """

    transport: Any

    handshake_fault = ""
    tls = ""
    verified = ""

    def __init__(self, conversation: Conversation, handshake: Handshake, clock: Any) -> None:
        self.conversation = conversation
        self.handshake = handshake
        self.clock = clock
        self._waiting: Deferred[None] | None = None  # for our turn
        self._draining: Deferred[None] | None = None  # for what we sent to be out
        self._timer: Any = None
        self._due_at = _NEVER
        self._steps = -1  # of the conversation, when its deadline was set
        self._shaking = self._closing = self._gone = False
        self._blocked = False  # the remote host doesn't read what we send

    # For the session

    def turn(self) -> Deferred[None]:
        """Write what there is to say, and wait until the session has something to do."""
        self._go_on()
        if self.conversation.state in _SETTLED:
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting

    def drained(self) -> Deferred[None] | None:
        """Write a piece of a body; what to wait for while the remote host is behind."""
        self._write()
        if not self._blocked or self._gone:
            return None
        self._set_deadline(self.conversation.deadline_s)
        self._draining = Deferred()
        return self._draining

    def abort(self, why: str = "the connection was given up") -> None:
        """Cut the connection off; nothing that waits is sent any more."""
        self.conversation.fail(why)
        if self.connected and not self._gone:
            self.transport.abortConnection()
            self._go_on()

    # What Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.conversation.connected()
        self._go_on()

    def connectionFailed(self, reason: Failure) -> None:
        """There is no connection at all."""
        self._gone = self._closing = True
        self.conversation.fail(_words_of(reason.value), "4.4.1")
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        if not self._closing:
            self.conversation.receive(data)
            self._go_on()

    def handshakeCompleted(self) -> None:
        if self._closing:
            return
        connection = self.transport.getHandle()
        try:
            self.verified = self.handshake.judge(connection)
        except BadCertificate as error:
            self._handshake_failed(error.text)
        else:
            self.tls = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
            self.conversation.secured()
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = self._closing = True
        if self.conversation.state in _SHAKE:
            self._handshake_failed(self.handshake.fault or _words_of(reason.value))
        self.conversation.fail("the connection was lost")
        self._go_on()

    def pauseProducing(self) -> None:
        self._blocked = True

    def resumeProducing(self) -> None:
        self._blocked = False
        draining, self._draining = self._draining, None
        if draining is not None:
            self._due_at = _NEVER  # the next piece is ours to bring
            draining.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` says so, too."""

    # The conversation goes on

    def _handshake_failed(self, why: str) -> None:
        self.handshake_fault = why
        self.conversation.fail(f"TLS handshake failed: {why}", "4.7.5")

    def _write(self) -> None:
        out = self.conversation.take_output()
        if not out or self._gone:
            return
        # `_shaking` from the first octet of TLS to the end.
        at_once = not self._shaking and len(out) <= AT_ONCE_OCTETS
        if not (at_once and write_at_once(self.transport, out)):
            self.transport.write(out)

    def _go_on(self) -> None:
        self._write()
        conversation = self.conversation
        if conversation.state in _SHAKE and not self._shaking:
            self._shaking = True
            self.transport.startTLS(self.handshake)
        state = conversation.state
        if state is State.CLOSED:
            self._hang_up()
        elif self._steps != conversation.steps:
            self._steps = conversation.steps
            if state in _SETTLED or state is State.CONNECT:  # Twisted's connector has its own
                self._due_at = _NEVER
            else:
                self._set_deadline(conversation.deadline_s)
        if self._waiting is not None and state in _SETTLED:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def _hang_up(self) -> None:
        """Close once what was written is out; 10 s later the connection is cut off."""
        if self._gone:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif not self._closing:
            self._closing = True
            self._set_deadline(CLOSE_S)
            self.transport.unregisterProducer()
            if self.conversation.failure is None or self.conversation.failure.code:
                self.transport.loseConnection()
            else:
                self.transport.abortConnection()
        self.resumeProducing()

    # Deadlines

    def _set_deadline(self, seconds: float) -> None:
        """Something must have happened by then; the timer is only moved to an earlier time."""
        self._due_at = self.clock.seconds() + seconds
        if self._timer is None:
            self._timer = self.clock.callLater(seconds, self._look_at_deadline)
        elif self._timer.getTime() > self._due_at:
            self._timer.reset(seconds)

    def _look_at_deadline(self) -> None:
        self._timer = None
        left_s = self._due_at - self.clock.seconds()
        if left_s > 0:
            if self._due_at != _NEVER:
                self._timer = self.clock.callLater(left_s, self._look_at_deadline)
        elif self._closing:
            self.transport.abortConnection()
        else:
            self._late()
            self._go_on()

    def _late(self) -> None:
        conversation = self.conversation
        within = f"within {conversation.deadline_s:.0f} s"
        if conversation.state in _SHAKE:
            self._handshake_failed(f"not done {within}")
        elif conversation.state is State.BODY:
            conversation.fail(f"a piece of the mail was not taken {within}")
        else:
            conversation.fail(f"no reply {within}")


def _words_of(error: BaseException | None) -> str:
    """OpenSSL's reason, or the transport's."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return printable(str(error.args[0][-1][-1]))
    return printable(str(error)).rstrip(".")
