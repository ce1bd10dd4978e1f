"""Hands mail to the next hop over TCP, TLS or a Unix socket (docs/rfc.rst C1 to C7).

session = await Sender(reactor, "mx.example.org").connect(hop, policy)
answers = await session.send(outgoing)
await session.quit()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from mailnode.outbound.certificates import Handshake, Trust
from mailnode.outbound.conversation import Conversation
from mailnode.outbound.link import Link
from mailnode.outbound.replies import printable
from mailnode.outbound.states import State
from mailnode.outbound.words import (
    Answer,
    CannotSend,
    Hop,
    Login,
    Outgoing,
    Target,
    Tlsa,
    TlsPolicy,
)

__all__ = [
    "Answer",
    "CannotSend",
    "Hop",
    "Login",
    "Outgoing",
    "Sender",
    "Session",
    "Target",
    "TlsPolicy",
    "Tlsa",
    "Trust",
]

CONNECT_S = 30.0
CHUNK_OCTETS = 65536


def always() -> bool:
    return True


@define(eq=False)
class Session:
    """One connection to a hop, for mail after mail.

    Attributes:
        tls: version and cipher, "" in clear.
        tls_note: how the certificate was verified ("verified", "DANE-EE", "DANE-TA"), or why it is
            spoken to in clear where TLS was wished; "" when there is nothing to say.
    """

    hop: Hop
    tls_note: str
    _link: Link

    @property
    def host(self) -> str:
        return self.hop.host

    @property
    def address(self) -> str:
        return self.hop.address

    @property
    def tls(self) -> str:
        return self._link.tls

    @property
    def doubt(self) -> str:
        """What was wrong with the certificate, by a policy that is on trial; "" for nothing."""
        return self._link.handshake.doubt

    @property
    def dsn(self) -> bool:
        """Whether the host takes over NOTIFY, and the reports with it (RFC 3461)."""
        return "DSN" in self._link.conversation.offers.words

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent: nobody has closed it, and none is under way."""
        return self._link.conversation.usable

    async def send(
        self, outgoing: Outgoing, still_ours: Callable[[], bool] = always
    ) -> list[Answer]:
        """Hand over one mail: an answer for each target, in order.

        Args:
            still_ours: asked before the last dot; when it says no the mail is not handed over, and
                the connection is cut off, since nothing else ends a body that has begun.
        Raises:
            MailError: the mail can't be read here. The remote host makes nothing be raised.
        """
        link, conversation = self._link, self._link.conversation
        reader = outgoing.open()
        try:
            first = await reader.read(CHUNK_OCTETS)
            if not self.usable:  # whatever ended it was said to another mail, or to none
                why = f"the connection was closed before ({conversation.failure or 'QUIT'})"
                return [Answer(0, "4.4.2", printable(why), "MAIL")] * len(outgoing.targets)
            conversation.begin(outgoing)
            await link.turn()
            if conversation.state is State.BODY:
                await self._send_body(reader, first, outgoing.size_octets, still_ours)
        except BaseException:
            if not self.usable:  # it stands in the middle of a mail
                link.abort()
            raise
        finally:
            reader.close()
        return conversation.answers()

    async def _send_body(
        self, reader: Any, chunk: bytes, size_octets: int, still_ours: Callable[[], bool]
    ) -> None:
        """One chunk is in memory at a time; the last one leaves with the dot."""
        link, conversation = self._link, self._link.conversation
        while chunk:
            conversation.send_body(chunk)
            size_octets -= len(chunk)
            chunk = await reader.read(CHUNK_OCTETS) if size_octets else b""
            if chunk and (behind := link.drained()) is not None:
                await behind
            if conversation.state is not State.BODY:
                return
        if still_ours():
            conversation.end_body()
            await link.turn()
        else:
            link.abort("given up before the dot: somebody else has the mail")

    async def quit(self) -> None:
        """Say goodbye and close; what the remote host makes of it is nobody's concern."""
        if self.usable:
            self._link.conversation.leave()
            await self._link.turn()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection off."""
        self._link.abort()


@define(eq=False)
class Sender:
    """Connects to next hops.

    Attributes:
        helo: the name that we give ourselves.
        trust: whose certificates are believed where they are to be verified.
    """

    reactor: Any
    helo: str
    trust: Trust = field(factory=Trust)

    async def connect(self, hop: Hop, policy: TlsPolicy, login: Login | None = None) -> Session:
        """A session, greeted, inside TLS as the policy asks for it, and signed in.

        With a `login` TLS is a must, whatever the policy says: nothing secret goes in clear. With
        the level "may" a handshake that fails is followed by one more connection, in clear.

        Raises:
            CannotSend: its answer says why, and whether to try again.
        """
        if login is not None and not policy.required:
            policy = evolve(policy, level="must")
        elif hop.local and not policy.required:
            policy = evolve(policy, level="none")
        link = await self._try(hop, policy, login)
        if link.handshake_fault and not policy.required and not hop.implicit_tls:
            note = f"TLS handshake failed: {link.handshake_fault}; sent in clear"
            link = await self._try(hop, evolve(policy, level="none"), None)
            link.conversation.tls_note = note
        if link.conversation.failure is not None:
            raise CannotSend(link.conversation.failure)
        return Session(hop, link.conversation.tls_note or link.verified, link)

    async def _try(self, hop: Hop, policy: TlsPolicy, login: Login | None) -> Link:
        conversation = Conversation(
            helo=self.helo,
            lmtp=hop.lmtp,
            implicit_tls=hop.implicit_tls,
            tls="must" if policy.required else policy.level,
            login=login,
        )
        link = Link(conversation, Handshake(hop, policy, self.trust), self.reactor)
        factory = _Connecting(link)
        if hop.local:
            connector = self.reactor.connectUNIX(hop.address, factory, timeout=CONNECT_S)
        else:
            connector = self.reactor.connectTCP(hop.address, hop.port, factory, timeout=CONNECT_S)
        try:
            await link.turn()
        except BaseException:
            connector.disconnect()
            link.abort()
            raise
        return link


class _Connecting(ClientFactory):
    """Gives the one protocol there is, or tells it that there is no connection."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self.link = link

    def buildProtocol(self, addr: object) -> Link:
        return self.link

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.link.connectionFailed(reason)
