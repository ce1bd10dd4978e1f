"""Hands a mail to an SMTP server: the conversation of the relay, on a blocking socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import BinaryIO

from attrs import define, frozen

from mailnode.addresses import parse_domain
from mailnode.client.connection import Connection
from mailnode.client.trouble import Denied, Late, NotTrusted, SignInRefused, Unreachable
from mailnode.errors import MailError
from mailnode.outbound.conversation import Conversation
from mailnode.outbound.states import State
from mailnode.outbound.words import Answer, Login, Outgoing, Target

PIECE_OCTETS = 65536
_SHAKE = (State.HANDSHAKE, State.TLS_FIRST)


@frozen
class Letter:
    """A mail that is ready to be sent.

    Attributes:
        sender: the reverse-path, "" for `<>`.
        open: gives its octets, from the first: CRLF lines.
        smtputf8: an address or a header field of it has UTF-8.
        eight_bit: it has octets over 127.
        notify, ret, envid: what its sender asks of reports (RFC 3461); "" for nothing.
    """

    sender: str
    recipients: tuple[str, ...]
    size_octets: int
    open: Callable[[], BinaryIO]
    smtputf8: bool = False
    eight_bit: bool = False
    notify: str = ""
    ret: str = ""
    envid: str = ""


def _nobody(sent_octets: int) -> None:
    """Nobody looks."""


@define(eq=False)
class Submission:
    """One SMTP session, ready for a mail."""

    connection: Connection
    conversation: Conversation

    @classmethod
    def open(cls, connection: Connection, login: Login | None = None) -> Submission:
        """Greeted, inside TLS wherever that can be had, signed in if there is a login.

        Without TLS nobody signs in, and a mail goes in clear to this machine alone, or where that
        is asked for.

        Raises:
            NotTrusted, SignInRefused, Denied, Unreachable.
        """
        clear = connection.server.is_here or connection.trust.clear
        conversation = Conversation(
            helo=own_name(),
            implicit_tls=connection.server.implicit_tls,
            tls="may" if clear else "must",
            login=login,
        )
        submission = cls(connection, conversation)
        try:
            connection.expect_greeting()
            conversation.connected()
            submission._turn()
            if conversation.failure is not None:
                raise _trouble(conversation.failure, connection, login)
        except BaseException:
            connection.close()
            raise
        return submission

    def send(
        self, letter: Letter, told: Callable[[int], object] = _nobody
    ) -> list[tuple[str, Answer]]:
        """Hand it over: what became of each recipient, in order.

        Args:
            told: hears after each piece how many octets are sent.
        """
        conversation = self.conversation
        outgoing = Outgoing(
            sender=letter.sender,
            targets=tuple(Target(each, letter.notify) for each in letter.recipients),
            size_octets=letter.size_octets,
            open=letter.open,
            smtputf8=letter.smtputf8,
            eight_bit=letter.eight_bit,
            ret=letter.ret,
            envid=letter.envid,
        )
        conversation.begin(outgoing)
        self._turn()
        if conversation.state is State.BODY:
            with letter.open() as body:
                sent = 0
                while conversation.state is State.BODY and (piece := body.read(PIECE_OCTETS)):
                    conversation.send_body(piece)
                    self._write()
                    sent += len(piece)
                    told(sent)
            if conversation.state is State.BODY:
                conversation.end_body()
                self._turn()
        return list(zip(letter.recipients, conversation.answers(), strict=True))

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent."""
        return self.conversation.usable

    def quit(self) -> None:
        """Leave; what the server makes of that is nobody's concern."""
        if self.conversation.usable:
            self.conversation.leave()
            self._turn()
        self.connection.close()

    def _turn(self) -> None:
        """Go on until it is ours to act."""
        conversation, connection = self.conversation, self.connection
        while True:
            self._write()
            if conversation.state in _SHAKE:
                if not connection.is_secure:
                    connection.secure()
                conversation.secured()
            elif conversation.ours:
                return
            else:
                connection.wait_at_most(conversation.deadline_s)
                try:
                    conversation.receive(connection.read())
                except Unreachable as error:
                    conversation.fail(error.text)

    def _write(self) -> None:
        if out := self.conversation.take_output():
            try:
                self.connection.write(out)
            except Unreachable as error:
                self.conversation.fail(error.text)


def _trouble(answer: Answer, connection: Connection, login: Login | None) -> MailError:
    """What a person is told where no mail can begin."""
    server = connection.server
    if answer.stage == "AUTH" and answer.permanent and login is not None:
        return SignInRefused(f"{login.user} is not let in at {server}: {answer}")
    if answer.enhanced == "4.7.10":
        return NotTrusted(
            f"{server} offers no TLS, and what is sent would be read on the way; "
            "without a sign-in it goes in clear with --insecure"
        )
    if not answer.code:
        return Unreachable(answer.text if str(server) in answer.text else f"{server}: {answer}")
    if answer.temporary:
        return Late(f"{server} says {answer}")
    return Denied(f"{server} says {answer}")


def own_name() -> str:
    """What this machine calls itself at EHLO (RFC 5321 section 4.1.4)."""
    name = socket.gethostname()
    try:
        return parse_domain(name)
    except MailError:
        return "[127.0.0.1]"
