"""What a fuzzed input means: settings, a client's octets and where they are cut, and what befalls.

The first line is settings, one letter each; which letters mean something is said in
`smtp_target` and `pop3_target`, and a digit N cuts everything into pieces of N octets. Behind
it stand the client's octets. The octet FE is a mark; the octet behind it says of what:

    |   the packet ends here
    x n 64 * n octets of "x", n being the octet that follows
    \\xfe  an octet FE
    w W one second passes; so many that whoever is silent is thrown out
    k l b f g  from here on the store takes what it gets; takes it late; is busy; is full; has a bug
    K L B G  the checker of passwords answers; answers late; is busy; has a bug
    n   the disk has no room any more, or has it again
    s r the client doesn't read; reads again
    d v the node stops; the account of the session has changed
    D V the same, while commands are under way
    z   the client sends no more
    q Q the client is gone, at once; once all has been answered

So an input can be read, and a mutation of one is mostly another dialog.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

MARK = b"\xfe"
FILLER = 64
MOST_OCTETS = 40_000
MARKS = b"wWklbfgKLBGnsrdvDVzqQ"
LAST_WORDS = b"zqQ"


@frozen
class Script:
    """An input, read.

    Attributes:
        settings: the letters of the first line.
        items: packets of octets, and marks of one letter, in order.
    """

    settings: frozenset[str]
    items: tuple[bytes | str, ...]

    @classmethod
    def read(cls, data: bytes) -> Script:
        """Every octet string is a script."""
        head, _, rest = data.partition(b"\n")
        settings = frozenset(chr(octet) for octet in head[:32] if 33 <= octet <= 126)
        digits = [int(letter) for letter in settings if letter in "123456789"]
        return cls(settings, tuple(_cut(_items(rest), min(digits, default=0))))


def _items(rest: bytes) -> Iterator[bytes | str]:
    first, *others = rest.split(MARK)
    packet, octets, literal = first, len(first), False
    for part in others:
        if literal:  # FE FE: the second one is an octet, not a mark
            packet, literal = packet + part, False
            continue
        kind, after = part[:1], part[1:]
        if kind == b"x" and after:
            after = b"x" * (FILLER * after[0]) + after[1:]
            packet += after
        elif not kind:
            packet, literal = packet + MARK, True
        else:
            if packet:
                yield packet
            packet = after
            if kind != b"|" and kind in MARKS:
                yield kind.decode()
                if kind in LAST_WORDS:
                    return
        octets += len(after)
        if octets > MOST_OCTETS:
            return
    if packet:
        yield packet


def _cut(items: Iterator[bytes | str], length: int) -> Iterator[bytes | str]:
    for item in items:
        if isinstance(item, str) or not length or len(item) > 600 * length:
            yield item
        else:
            yield from (item[at : at + length] for at in range(0, len(item), length))
