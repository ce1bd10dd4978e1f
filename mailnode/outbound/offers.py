"""What a remote host offers, and the commands that make use of it. No I/O.

RFC 1870 SIZE, 2920 PIPELINING, 3461 DSN, 6152 8BITMIME, 6531 SMTPUTF8, 4954 AUTH.
"""

from __future__ import annotations

import re

from attrs import frozen

from mailnode.outbound.replies import Reply
from mailnode.outbound.words import Answer, Outgoing, Target


@frozen
class Offers:
    """The reply to EHLO.

    Attributes:
        size_octets: the largest mail that is taken; 0 when that is not said.
        sign_in: mechanisms of AUTH.
    """

    words: frozenset[str] = frozenset()
    size_octets: int = 0
    sign_in: frozenset[str] = frozenset()

    @classmethod
    def of(cls, reply: Reply) -> Offers:
        """Read a reply's lines; what can't be understood is not offered."""
        words, size_octets, sign_in = set(), 0, set()
        for line in reply.lines[1:]:
            word, *values = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
            words.add(word)
            if word == "SIZE" and values and re.fullmatch("[0-9]{1,18}", values[0]):
                size_octets = int(values[0])
            elif word == "AUTH":
                sign_in.update(values)
        return cls(frozenset(words), size_octets, frozenset(sign_in))

    def refusals(self, outgoing: Outgoing) -> list[Answer | None]:
        """The answer of each target that this host can't be asked for, None for the others."""
        if 0 < self.size_octets < outgoing.size_octets:
            most = f"{outgoing.size_octets} octets; the remote host takes {self.size_octets}"
            return [Answer(552, "5.3.4", f"message of {most}", "MAIL")] * len(outgoing.targets)
        if "SMTPUTF8" in self.words:
            return [None] * len(outgoing.targets)
        lacking = Answer(553, "5.6.7", "the remote host does not offer SMTPUTF8", "MAIL")
        if outgoing.smtputf8 or not outgoing.sender.isascii():
            return [lacking] * len(outgoing.targets)
        return [None if each.address.isascii() else lacking for each in outgoing.targets]

    def mail_command(self, outgoing: Outgoing, targets: tuple[Target, ...]) -> bytes:
        """MAIL, with every parameter that this host understands.

        Without 8BITMIME a mail with octets over 127 is sent as it is: hosts that don't say so
        take them, and a bounce would help nobody.
        """
        said = [f"MAIL FROM:<{outgoing.sender}>"]
        if "SIZE" in self.words:
            said.append(f"SIZE={outgoing.size_octets}")
        if outgoing.eight_bit and "8BITMIME" in self.words:
            said.append("BODY=8BITMIME")
        if "SMTPUTF8" in self.words and _needs_utf8(outgoing, targets):
            said.append("SMTPUTF8")
        if "DSN" in self.words:
            if outgoing.ret:
                said.append(f"RET={outgoing.ret}")
            if outgoing.envid:
                said.append(f"ENVID={xtext(outgoing.envid)}")
        return _command(said)

    def rcpt_command(self, target: Target) -> bytes:
        said = [f"RCPT TO:<{target.address}>"]
        if "DSN" in self.words:
            if target.notify:
                said.append(f"NOTIFY={target.notify}")
            if target.orcpt:
                said.append(f"ORCPT={_original(target.orcpt)}")
        return _command(said)


def _needs_utf8(outgoing: Outgoing, targets: tuple[Target, ...]) -> bool:
    if outgoing.smtputf8 or not outgoing.sender.isascii():
        return True
    return not all(each.address.isascii() for each in targets)


_CONTROL = re.compile(r"[\0-\x1f\x7f]")


def _command(said: list[str]) -> bytes:
    line = " ".join(said)
    if _CONTROL.search(line):  # it would become a command of its own
        raise ValueError(f"a control octet stands in a command: {line!r}")
    return line.encode() + b"\r\n"


_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_NOT_UNITEXT = re.compile(r"[^!-*,-<>-\[\]-~]")


def xtext(text: str) -> str:
    """As a parameter's value stands on the wire (RFC 3461 section 4)."""
    return _NOT_XTEXT.sub(lambda found: b"+%02X" % found.group()[0], text.encode()).decode()


def _original(orcpt: str) -> str:
    """ORCPT's value; an address beyond ASCII goes by RFC 6533 section 3."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind};{xtext(address)}"
    escaped = _NOT_UNITEXT.sub(lambda found: f"\\x{{{ord(found.group()):02X}}}", address)
    return f"{kind};{escaped}"
