"""Where a conversation with a remote host can stand, and every way from there to there.

`draw` makes the picture of docs/conversation.rst; a test holds the two together.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Whose reply is awaited, or what we are to do."""

    __hash__ = object.__hash__  # in C: tables are asked for every reply

    CONNECT = "the connection is awaited"
    TLS_FIRST = "shake hands, the greeting comes inside TLS"
    GREETING = "the greeting is awaited"
    EHLO = "the reply to EHLO (LHLO) is awaited"
    HELO = "the reply to HELO is awaited"
    STARTTLS = "the reply to STARTTLS is awaited"
    HANDSHAKE = "shake hands"
    AUTH = "the reply to AUTH, or to its next line, is awaited"
    READY = "a mail may begin"
    STALE = "a mail may begin, behind a RSET"
    RSET = "the reply to RSET is awaited"
    MAIL = "the reply to MAIL is awaited"
    RCPT = "the reply to the next RCPT is awaited"
    DATA = "the reply to DATA is awaited"
    BODY = "send the body"
    DOT = "the reply to the dot is awaited (LMTP: the next recipient's)"
    NOBODY = "the reply to DATA is awaited, and nobody was taken"
    VOID = "the reply to the dot of a body for nobody is awaited"
    QUIT = "the reply to QUIT is awaited"
    CLOSED = "the end"


class Cue(Enum):
    """What takes the conversation on."""

    __hash__ = object.__hash__

    CONNECTED = "connected"
    CONNECTED_TLS = "connected, and TLS is from the first octet"
    SECURED = "the handshake is done"
    BEGIN = "a mail is begun"
    ENDED = "the body is sent"
    LEAVE = "no more mail"
    TAKEN = "2xx"
    GO_ON = "3xx"
    REFUSED = "4xx, 5xx"
    UNKNOWN = "5xx, and HELO may do"
    WANT_TLS = "2xx, and TLS is to begin"
    WANT_LOGIN = "2xx, and a sign-in is due"
    FORGONE = "4xx, 5xx, and TLS is no must"
    REFUSED_AHEAD = "4xx, 5xx, and RCPT and DATA are sent"
    NEXT = "a reply, and there is another recipient"
    SOME = "the last recipient's, and some are taken"
    NONE = "the last recipient's, and nobody is taken"
    NONE_AHEAD = "the last recipient's, nobody is taken, and DATA is sent"
    LAST = "a reply, the last recipient's"
    FAILED = "421, lost, late, no reply, one out of turn"


_S, _C = State, Cue
TABLE: dict[tuple[State, Cue], State] = {
    (_S.CONNECT, _C.CONNECTED): _S.GREETING,
    (_S.CONNECT, _C.CONNECTED_TLS): _S.TLS_FIRST,
    (_S.TLS_FIRST, _C.SECURED): _S.GREETING,
    (_S.GREETING, _C.TAKEN): _S.EHLO,
    (_S.GREETING, _C.REFUSED): _S.CLOSED,
    (_S.EHLO, _C.TAKEN): _S.READY,
    (_S.EHLO, _C.WANT_TLS): _S.STARTTLS,
    (_S.EHLO, _C.WANT_LOGIN): _S.AUTH,
    (_S.EHLO, _C.UNKNOWN): _S.HELO,
    (_S.EHLO, _C.REFUSED): _S.CLOSED,
    (_S.HELO, _C.TAKEN): _S.READY,
    (_S.HELO, _C.REFUSED): _S.CLOSED,
    (_S.STARTTLS, _C.TAKEN): _S.HANDSHAKE,
    (_S.STARTTLS, _C.FORGONE): _S.READY,
    (_S.STARTTLS, _C.REFUSED): _S.CLOSED,
    (_S.HANDSHAKE, _C.SECURED): _S.EHLO,
    (_S.AUTH, _C.GO_ON): _S.AUTH,
    (_S.AUTH, _C.TAKEN): _S.READY,
    (_S.AUTH, _C.REFUSED): _S.CLOSED,
    (_S.READY, _C.BEGIN): _S.MAIL,
    (_S.READY, _C.LEAVE): _S.QUIT,
    (_S.STALE, _C.BEGIN): _S.RSET,
    (_S.STALE, _C.LEAVE): _S.QUIT,
    (_S.RSET, _C.TAKEN): _S.MAIL,
    (_S.RSET, _C.REFUSED): _S.CLOSED,
    (_S.MAIL, _C.TAKEN): _S.RCPT,
    (_S.MAIL, _C.REFUSED): _S.READY,
    (_S.MAIL, _C.REFUSED_AHEAD): _S.RCPT,
    (_S.RCPT, _C.NEXT): _S.RCPT,
    (_S.RCPT, _C.SOME): _S.DATA,
    (_S.RCPT, _C.NONE): _S.STALE,
    (_S.RCPT, _C.NONE_AHEAD): _S.NOBODY,
    (_S.DATA, _C.GO_ON): _S.BODY,
    (_S.DATA, _C.REFUSED): _S.STALE,
    (_S.BODY, _C.ENDED): _S.DOT,
    (_S.BODY, _C.REFUSED): _S.CLOSED,
    (_S.DOT, _C.NEXT): _S.DOT,
    (_S.DOT, _C.LAST): _S.READY,
    (_S.NOBODY, _C.GO_ON): _S.VOID,
    (_S.NOBODY, _C.REFUSED): _S.STALE,
    (_S.VOID, _C.TAKEN): _S.READY,
    (_S.VOID, _C.REFUSED): _S.READY,
    (_S.QUIT, _C.TAKEN): _S.CLOSED,
    (_S.QUIT, _C.REFUSED): _S.CLOSED,
}
TABLE.update({(state, _C.FAILED): _S.CLOSED for state in State if state is not _S.CLOSED})

OURS = frozenset({_S.TLS_FIRST, _S.HANDSHAKE, _S.READY, _S.STALE, _S.BODY, _S.CLOSED})

STAGE_OF = {
    _S.CONNECT: "connect",
    _S.TLS_FIRST: "STARTTLS",
    _S.GREETING: "greeting",
    _S.EHLO: "EHLO",
    _S.HELO: "EHLO",
    _S.STARTTLS: "STARTTLS",
    _S.HANDSHAKE: "STARTTLS",
    _S.AUTH: "AUTH",
    _S.RCPT: "RCPT",
    _S.DATA: "DATA",
    _S.BODY: "DATA",
    _S.DOT: "dot",
    _S.NOBODY: "DATA",
    _S.VOID: "DATA",
}

# RFC 5321 section 4.5.3.2; where it says nothing, its five minutes. Nobody waits for QUIT.
USUAL_S = 300.0
DEADLINES_S = {_S.DATA: 120.0, _S.NOBODY: 120.0, _S.BODY: 180.0, _S.DOT: 600.0, _S.QUIT: 10.0}
DEADLINES_S |= {_S.TLS_FIRST: 120.0, _S.HANDSHAKE: 120.0}
KINDS = {2: _C.TAKEN, 3: _C.GO_ON, 4: _C.REFUSED, 5: _C.REFUSED}


def draw() -> str:
    """The table for docs/conversation.rst: a paragraph a state, a line a way out of it."""
    drawn = []
    for state in State:
        ways = [(cue, to) for (start, cue), to in TABLE.items() if start is state]
        lines = [f"    {cue.value:56} -> {to.name}" for cue, to in ways if cue is not _C.FAILED]
        turn = " (our turn)" if state in OURS and state is not _S.CLOSED else ""
        drawn.append("\n".join([f"{state.name}: {state.value}{turn}", *lines]))
    return "\n".join([*drawn, f"\nfrom everywhere\n    {_C.FAILED.value:56} -> CLOSED"]) + "\n"
