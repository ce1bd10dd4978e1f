"""The client's side of SMTP and LMTP as a state machine: octets in, octets out, no I/O.

Whoever drives it gives it what the remote host says (`receive`) and writes what it has to say
(`take_output`). Now and then it is our turn (`ours`): to shake hands for TLS, to begin a mail,
to send its body. RFC 5321, 2033 (LMTP), 2920 (PIPELINING), 3207, 4954; docs/rfc.rst C1 to C7.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable

from attrs import define, field

from mailnode.outbound.offers import Offers
from mailnode.outbound.replies import BadReply, Reply, ReplyReader, printable
from mailnode.outbound.states import DEADLINES_S, KINDS, OURS, STAGE_OF, TABLE, USUAL_S, Cue, State
from mailnode.outbound.words import Answer, Login, Outgoing
from mailnode.wire import DotWriter


@define(eq=False, repr=False, kw_only=True)
class Conversation:
    """One connection's conversation.

    Attributes:
        helo: the name we give ourselves.
        lmtp: it is LMTP: LHLO, and a reply for each recipient behind the dot.
        implicit_tls: TLS begins with the first octet.
        tls: "none", "may" or "must". What is to be verified, whoever shakes hands verifies.
        login: whom to sign in as; TLS is a must then, for it is never sent in clear (C5).
        state: where it stands.
        steps: how many there have been: it grows whenever somebody's turn begins.
        secure: whether it is inside TLS.
        offers: what the remote host offers, as it said last.
        tls_note: why it goes on in clear where TLS was wished; "" otherwise.
        failure: why it has ended; None while it has not, and behind QUIT.
    """

    helo: str
    lmtp: bool = False
    implicit_tls: bool = False
    tls: str = "may"
    login: Login | None = None
    state: State = State.CONNECT
    steps: int = 0
    secure: bool = False
    offers: Offers = field(factory=Offers)
    tls_note: str = ""
    failure: Answer | None = None
    _replies: ReplyReader = field(factory=ReplyReader)
    _out: list[bytes] = field(factory=list)
    _commands: deque[bytes] = field(factory=deque)  # of this mail, that are still to be said
    _answers: list[Answer | None] = field(factory=list)
    _asked: list[int] = field(factory=list)  # targets that RCPT is said for, by their number
    _taken: list[int] = field(factory=list)
    _at: int = 0  # of `_asked`, or behind the dot of `_taken`: whose reply comes next
    _ahead: bool = False  # all commands of this mail are sent, the remote host pipelines
    _sign_in: deque[bytes] = field(factory=deque)  # lines of AUTH, likewise
    _dots: DotWriter = field(factory=DotWriter)

    @property
    def ours(self) -> bool:
        """Whether it is our turn, or all is over."""
        return self.state in OURS

    @property
    def stage(self) -> str:
        """The word of `words.STAGES` for where it stands."""
        return STAGE_OF.get(self.state, "MAIL")

    @property
    def deadline_s(self) -> float:
        """How long the remote host has for its next step."""
        return DEADLINES_S.get(self.state, USUAL_S)

    @property
    def usable(self) -> bool:
        """Whether a mail can begin."""
        return self.state is State.READY or self.state is State.STALE

    def take_output(self) -> bytes:
        """What is to be written now."""
        if not self._out:
            return b""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # What we do

    def connected(self) -> None:
        self._step(Cue.CONNECTED_TLS if self.implicit_tls else Cue.CONNECTED)

    def secured(self) -> None:
        """The handshake is done, and the certificate is as it should be."""
        self.secure = True
        self._step(Cue.SECURED)

    def begin(self, outgoing: Outgoing) -> None:
        """Begin a mail; whom the remote host can't be asked for has an answer at once."""
        assert self.usable, self.state
        self._answers = self.offers.refusals(outgoing)
        self._asked = [at for at, answer in enumerate(self._answers) if answer is None]
        self._taken, self._at = [], 0
        if not self._asked:
            return
        targets = tuple([outgoing.targets[at] for at in self._asked])
        commands = [b"RSET\r\n"] if self.state is State.STALE else []
        commands.append(self.offers.mail_command(outgoing, targets))
        commands += map(self.offers.rcpt_command, targets)
        commands.append(b"DATA\r\n")
        self._commands = deque(commands)
        self._dots = DotWriter()
        self._ahead = "PIPELINING" in self.offers.words
        if self._ahead:
            self._out += commands
            self._commands.clear()
        self._step(Cue.BEGIN)

    def send_body(self, chunk: bytes) -> None:
        """Some of the body, cut anywhere: CRLF lines, not dot-stuffed."""
        assert self.state is State.BODY, self.state
        self._out.append(self._dots.feed(chunk))

    def end_body(self) -> None:
        """From here the mail is the remote host's, when it says so."""
        self._out.append(self._dots.end())
        self._at = 0
        self._step(Cue.ENDED)

    def leave(self) -> None:
        self._step(Cue.LEAVE)

    def fail(self, text: str, enhanced: str = "4.4.2") -> None:
        """The connection is lost, or is of no use any more; nothing is said any more."""
        self._fail_at(self.stage, text, enhanced)

    def answers(self) -> list[Answer]:
        """What became of each target of the last mail, in order."""
        return [answer for answer in self._answers if answer is not None]

    # What the remote host does

    def receive(self, data: bytes) -> None:
        """Take what it said, cut anywhere."""
        self._replies.feed(data)
        try:
            while self.state not in _DEAF and (reply := self._replies.take()) is not None:
                self._hear(reply)
        except BadReply as error:  # cut short, what it shows can't be searched for a secret
            self.fail(str(error) if self.login is None else BadReply.text, error.enhanced)
        if self.state is State.HANDSHAKE and self._replies.rest:
            self.fail("octets behind the reply to STARTTLS, in clear", "4.7.0")

    def _hear(self, reply: Reply) -> None:
        if reply.code == 421:
            self._close(self._answer(reply))
            return
        if (hear := _HEARS.get(self.state)) is not None:
            cue = hear(self, reply)
        else:
            cue = KINDS[reply.kind]
        if self.state is State.CLOSED:
            return
        to = TABLE.get((self.state, cue))
        if to is None:
            said = _HIDDEN if self._tells_secret(reply) else reply.answer("")
            self.fail(f"a reply out of turn: {said}", "4.5.0")
        elif to is State.CLOSED and self.state is not State.QUIT:
            self._close(self._answer(reply))
        else:
            self._enter(to)

    def _hear_ehlo(self, reply: Reply) -> Cue:
        if reply.kind == 5 and not (self.lmtp or self.login or self._tls_due):
            return Cue.UNKNOWN
        if reply.kind != 2:
            return KINDS[reply.kind]
        self.offers = Offers.of(reply)
        if not self.secure and self.tls != "none" and "STARTTLS" in self.offers.words:
            return Cue.WANT_TLS
        if self._tls_due:
            self._fail_at(
                "STARTTLS", "STARTTLS is not offered, and nothing may go in clear", "4.7.10"
            )
        elif self.login is not None:
            self._sign_in = _sign_in_lines(self.login, self.offers.sign_in)
            if not self._sign_in:
                self._fail_at("AUTH", "no sign-in is offered that we know (PLAIN, LOGIN)", "4.7.0")
            return Cue.WANT_LOGIN
        return Cue.TAKEN

    @property
    def _tls_due(self) -> bool:
        return not self.secure and (self.tls == "must" or self.login is not None)

    def _hear_starttls(self, reply: Reply) -> Cue:
        if reply.kind < 4 or self._tls_due:
            return KINDS[reply.kind]
        self.tls_note = f"{self._answer(reply)}; sent in clear"
        return Cue.FORGONE

    def _hear_auth(self, reply: Reply) -> Cue:
        if reply.kind == 3 and not self._sign_in:
            self.fail("a challenge too many in the sign-in", "4.5.0")
        return KINDS[reply.kind]

    def _hear_mail(self, reply: Reply) -> Cue:
        if reply.kind < 4:
            return KINDS[reply.kind]
        self._answer_all(self._answer(reply))
        return Cue.REFUSED_AHEAD if self._ahead else Cue.REFUSED

    def _hear_rcpt(self, reply: Reply) -> Cue:
        if reply.kind == 3:
            return Cue.GO_ON
        who = self._asked[self._at]
        if self._answers[who] is not None:
            pass  # MAIL was refused
        elif reply.kind == 2:
            self._taken.append(who)
        else:
            self._answers[who] = self._answer(reply)
        self._at += 1
        if self._at < len(self._asked):
            return Cue.NEXT
        if self._taken:
            return Cue.SOME
        return Cue.NONE_AHEAD if self._ahead else Cue.NONE

    def _hear_data(self, reply: Reply) -> Cue:
        if reply.kind >= 4:
            self._answer_all(self._answer(reply))
        return KINDS[reply.kind]

    def _hear_dot(self, reply: Reply) -> Cue:
        if reply.kind == 3:
            return Cue.GO_ON
        answer = self._answer(reply)
        if not self.lmtp:
            self._answer_all(answer)
            return Cue.LAST
        self._answers[self._taken[self._at]] = answer
        self._at += 1
        return Cue.NEXT if self._at < len(self._taken) else Cue.LAST

    def _hear_nobody(self, reply: Reply) -> Cue:
        if reply.kind == 3 and self.lmtp:
            self.fail("a body is asked for, and no recipient was taken", "4.5.0")
        return KINDS[reply.kind]

    def _answer(self, reply: Reply) -> Answer:
        answer = reply.answer(self.stage)
        if self.state in (State.STARTTLS, State.RSET):  # no verdict on the mail, whatever the code
            verb = self.state.name
            return Answer(0, "4.5.0", printable(f"{verb} was refused: {answer}"), answer.stage)
        if self._tells_secret(reply):
            return Answer(answer.code, answer.enhanced, _HIDDEN, answer.stage)
        return answer

    def _tells_secret(self, reply: Reply) -> bool:
        """Whether it says back to us what we signed in with, in a reply to whatever."""
        if self.login is None:
            return False
        said = "".join(reply.lines)  # whole: an answer's words may end within the secret
        return any(secret in said for secret in _secrets_of(self.login))

    def _fail_at(self, stage: str, text: str, enhanced: str) -> None:
        if self.state is not State.CLOSED:
            self._out.clear()
            self._close(Answer(0, enhanced, printable(text), stage))

    def _answer_all(self, answer: Answer) -> None:
        """Who has no answer yet has this one."""
        self._answers = [each or answer for each in self._answers]

    def _close(self, answer: Answer) -> None:
        """The end, but for a QUIT where the remote host still listens."""
        if answer.code and self.state is not State.BODY:
            self._out.append(b"QUIT\r\n")
        self.failure = answer
        self._answer_all(answer)
        self.state = TABLE[self.state, Cue.FAILED]
        self.steps += 1

    # What we say on the way

    def _step(self, cue: Cue) -> None:
        self._enter(TABLE[self.state, cue])

    def _enter(self, state: State) -> None:
        self.state = state
        self.steps += 1
        if (say := _SAYS.get(state)) is not None:
            say(self)

    def _say_ehlo(self) -> None:
        self._out.append(f"{'LHLO' if self.lmtp else 'EHLO'} {self.helo}\r\n".encode())

    def _say_helo(self) -> None:
        self.offers = Offers()
        self._out.append(f"HELO {self.helo}\r\n".encode())

    def _say_starttls(self) -> None:
        self._out.append(b"STARTTLS\r\n")

    def _say_auth(self) -> None:
        assert self.secure, "a password would go in clear"
        self._out.append(self._sign_in.popleft() + b"\r\n")

    def _say_next(self) -> None:
        """The mail's next command, unless all of them are said."""
        if self._commands:
            self._out.append(self._commands.popleft())

    def _say_nothing(self) -> None:
        """A body for nobody."""
        self._out.append(b".\r\n")

    def _say_quit(self) -> None:
        self._out.append(b"QUIT\r\n")


_HEARS: dict[State, Callable[[Conversation, Reply], Cue]] = {
    State.EHLO: Conversation._hear_ehlo,
    State.STARTTLS: Conversation._hear_starttls,
    State.AUTH: Conversation._hear_auth,
    State.MAIL: Conversation._hear_mail,
    State.RCPT: Conversation._hear_rcpt,
    State.DATA: Conversation._hear_data,
    State.DOT: Conversation._hear_dot,
    State.NOBODY: Conversation._hear_nobody,
}
_SAYS: dict[State, Callable[[Conversation], None]] = {
    State.EHLO: Conversation._say_ehlo,
    State.HELO: Conversation._say_helo,
    State.STARTTLS: Conversation._say_starttls,
    State.AUTH: Conversation._say_auth,
    State.RSET: Conversation._say_next,
    State.MAIL: Conversation._say_next,
    State.RCPT: Conversation._say_next,
    State.DATA: Conversation._say_next,
    State.VOID: Conversation._say_nothing,
    State.QUIT: Conversation._say_quit,
}


_HIDDEN = "(words that hold a secret)"
_DEAF = frozenset({State.CLOSED, State.HANDSHAKE})


def _encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


def _sign_in_lines(login: Login, offered: frozenset[str]) -> deque[bytes]:
    """What is to be said one after the other; nothing when no mechanism of ours is offered."""
    if "PLAIN" in offered:
        return deque([b"AUTH PLAIN " + _encoded(f"\0{login.user}\0{login.password}")])
    if "LOGIN" in offered:
        return deque([b"AUTH LOGIN", _encoded(login.user), _encoded(login.password)])
    return deque()


def _secrets_of(login: Login) -> tuple[str, ...]:
    plain, password = _encoded(f"\0{login.user}\0{login.password}"), _encoded(login.password)
    secrets = plain.decode(), password.decode(), login.password
    return tuple(filter(None, secrets))
