"""What an SMTP server may say, by the states of RFC 5321, and what it must have filed by then.

The model takes one reply for each command. Where the RFCs leave a choice a set of codes is
allowed, and it goes on from the code that was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from attrs import define, field

from mailnode.addresses import parse_path, split_path
from mailnode.errors import MailError
from mailnode.model import Recipient
from tests.fuzz.model import SASL_OCTETS, Over, Walk
from tests.fuzz.smtp_house import DIRECTORY, HOSTNAME
from tests.fuzz.smtp_replies import Reply

SIMPLE_PATH = re.compile(rb"<([A-Za-z0-9]{1,40})@([a-z0-9]{1,20}(?:\.[a-z0-9]{1,20}){1,3})>")
OURS = {"alice": {1}, "bob": {2}, "team": {1, 2}, "some": {2}, "postmaster": {1}}
NOT_OURS = {"carol": 550, "dave": 452, "loop": 550}
FUNCTIONS = ("plain", "late", "never", "broken")
FOREIGN = {"carol": 451, "dave": 450, "some": 550}
COMMAND_OCTETS, MAIL_OCTETS, RCPT_OCTETS = 512, 1181, 1048
DSN_OF_MAIL = re.compile(rb'(<[^ >"]*>)((?: (?:RET|ENVID)=[!-<>-~]+)+)')
DSN_OF_RCPT = re.compile(rb'(<[^ >"]*>)((?: (?:NOTIFY|ORCPT)=[!-<>-~]+)+)')
_WORD = rb"(?:SUCCESS|FAILURE|DELAY)"
FINE_VALUES = {
    b"RET": re.compile(rb"FULL|HDRS", re.I),
    b"ENVID": re.compile(rb"(?=.{1,100}$)(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"),
    b"NOTIFY": re.compile(rb"NEVER|" + _WORD + rb"(?:," + _WORD + rb")*", re.I),
    b"ORCPT": re.compile(rb"(?i:rfc822);[A-Za-z0-9]{1,40}@[a-z0-9]{1,20}\.[a-z0-9]{1,20}"),
}
DOUBTFUL_ORCPT = re.compile(rb"(?i:rfc822|utf-8);.+")


@define(eq=False)
class Taken:
    """A mail that was answered 250; `accounts` has addresses elsewhere, too."""

    octets: bytes
    accounts: set[int | str]
    functions: set[str]
    sender: str | None
    mail_id: bytes
    messages: int


@define(eq=False, kw_only=True)
class SmtpModel(Walk):
    """One SMTP session.

    Attributes:
        taken: mails that were answered 250.
        sender: of the mail under way, None for <>; False when there is none.
        recipients: (accounts, functions, path) of each RCPT that was accepted.
        body: a mail in chunks that has begun; its octets so far.
        body_failed: the code that its next chunks are answered with, too.
    """

    replies: list[Reply]
    message_octets: int = 30_000
    most_recipients: int = 100
    most_mails: int = 0
    taken: list[Taken] = field(factory=list)
    disk_has_room: bool = True
    helo: bool = False
    account: str = ""
    sender: str | bool | None = False
    recipients: list[tuple[set[int | str], set[str], bytes]] = field(factory=list)
    body: bytearray | None = None
    body_failed: int = 0
    mails: int = 0
    _seen_store: set[str] = field(factory=set)

    @property
    def known(self) -> bool:
        return "l" in self.settings or bool(self.account)

    def greeted(self) -> None:
        self._take({421} if "F" in self.settings else {220}, counts=False)

    def nothing_left(self) -> None:
        if self.replies and not ((self.vague or self.draining) and self.replies[0].code == 421):
            self.wrong(f"nobody asked for {self.replies[0]}")

    # Replies

    def _take(self, allowed: set[int], counts: bool = True) -> Reply:
        """The next reply, which must be one of these."""
        if not self.replies:
            if self.gone or (self.vague and self.closed):
                raise Over
            self.wrong(f"no reply, not even one of {sorted(allowed)}")
        reply = self.replies.pop(0)
        if reply.code == 421 and 421 not in allowed and (self.draining or self.vague):
            raise Over
        if reply.code not in allowed:
            self.wrong(f"{reply} is none of {sorted(allowed)}")
        too_many = (reply.code, reply.text[:5]) in ((452, b"4.5.3"), (450, b"4.7.1"))
        if reply.code >= 400 and counts and not too_many:
            self.errors += 1
            if self.errors >= self.most_errors:
                self._end({421})
        return reply

    def _end(self, allowed: set[int]) -> NoReturn:
        """A last reply, and nothing behind it."""
        self._take(allowed, counts=False)
        raise Over

    # What befell

    def befell(self, mark: str) -> None:
        if mark == "n":
            self.disk_has_room = not self.disk_has_room
        elif mark == "v":
            if self.account:
                self._end({421})
        elif mark == "d":
            if self.sender is False and self.body is None:
                self._end({421})
            self.draining = True

    def pass_marks(self, before: int) -> None:
        for given, mark in self.marks:
            if given < before:
                self._seen_store.add(mark)
        super().pass_marks(before)

    def silent_too_long(self) -> None:
        if self.replies and self.replies[0].code == 421:
            self._take({421}, counts=False)
        elif "o" not in self.settings:
            self.wrong("a silent client is not sent away")

    # Lines

    def limit(self) -> int:
        start = self.stream[self.at : self.at + 5].upper()
        longer = {b"AUTH ": SASL_OCTETS, b"MAIL ": MAIL_OCTETS, b"RCPT ": RCPT_OCTETS}
        return longer.get(start, COMMAND_OCTETS)

    def malformed(self) -> None:
        self._take({500})

    def command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        if not (verb.isalnum() and verb.isascii()):
            self._take({500})
        elif any(octet < 32 or octet == 127 for octet in line):
            self._take({501})
        else:
            known = getattr(self, f"_{verb.decode().upper()}", None)
            if known is None:
                self._take({500})
            else:
                known(rest.strip(b" "))

    def _bare(self, rest: bytes, code: int) -> bool:
        """For verbs without an argument: whether it was done."""
        return self._take({501} if rest else {code}).code == code

    def _reset(self) -> None:
        self.sender, self.recipients = False, []
        self.body, self.body_failed = None, 0

    # Verbs

    def _HELO(self, rest: bytes) -> None:
        text = rest.decode("utf-8", "replace")
        good = text and " " not in text and len(rest) <= 255 and text.isprintable()
        if self._take({250} if good else {501}).code == 250:
            self.helo = True
            self._reset()

    _EHLO = _HELO

    def _NOOP(self, rest: bytes) -> None:
        self._take({250})

    def _HELP(self, rest: bytes) -> None:
        self._take({214})

    def _EXPN(self, rest: bytes) -> None:
        self._take({502})

    def _VRFY(self, rest: bytes) -> None:
        self._take({252} if rest else {501})

    def _RSET(self, rest: bytes) -> None:
        if self._bare(rest, 250):
            self._reset()

    def _QUIT(self, rest: bytes) -> None:
        if self._bare(rest, 221):
            raise Over

    def _STARTTLS(self, rest: bytes) -> None:
        if rest:
            self._take({501})
        elif self.secure or "t" not in self.settings or "y" in self.settings:
            self._take({503} if self.secure else {502})
        else:
            self._take({220})
            self._reset()
            self.helo, self.secure, self.account = False, True, ""
            self.jump_to_handshake()

    def _MAIL(self, rest: bytes) -> None:
        if not self.helo or self.sender is not False:
            self._take({503})
            return
        if self.most_mails and self.mails >= self.most_mails:
            self._end({421})
        word, path = rest[:5].upper(), rest[5:].lstrip(b" ")
        plain = SIMPLE_PATH.fullmatch(path)
        allowed = {250, 501, 530, 550, 552, 553, 555} | ({452} if not self.disk_has_room else set())
        if word != b"FROM:":
            allowed = {501}
        elif plain or path == b"<>":
            allowed = {self._code_for_sender(plain)}
        elif found := re.fullmatch(rb"(<>|<[a-z]+@[a-z]+\.[a-z]+>) SIZE=(\d{1,20})", path):
            if int(found[2]) > self.message_octets:
                allowed = {552}
            elif found[1] == b"<>":
                allowed = {self._code_for_sender(None)}
        elif found := DSN_OF_MAIL.fullmatch(path):
            plain = SIMPLE_PATH.fullmatch(found[1])
            fine = _are_fine(found[2])
            if fine is False:
                allowed = {501}
            elif fine and (plain or found[1] == b"<>"):
                allowed = {self._code_for_sender(plain)}
        if self._take(allowed).code == 250:
            self.sender = _address_in(path, self)
            self.recipients = []

    def _code_for_sender(self, plain: re.Match[bytes] | None) -> int:
        if not self.account and self.settings & {"u", "N"}:
            return 530
        if "f" in self.settings:
            return 553 if plain and plain[1] == b"never" else 250
        if not self.disk_has_room:
            return 452
        return 250 if plain is None or self._may_be(plain[0].decode()) else 550

    def _may_be(self, path: str) -> bool:
        """Whether who has signed in, if anybody, may send as that."""
        account = DIRECTORY.find_sign_in(self.account) if self.account else None
        address = parse_path(path)
        return (
            account is None
            or "W" in self.settings
            or (address is not None and DIRECTORY.speaks_for(account.id, address))
        )

    def _RCPT(self, rest: bytes) -> None:
        if self.sender is False or self.body is not None:
            self._take({503})
            return
        word, path = rest[:3].upper(), rest[3:].lstrip(b" ")
        allowed = {250, 450, 451, 452, 501, 550, 552, 553, 555}
        plain = SIMPLE_PATH.fullmatch(path)
        if found := DSN_OF_RCPT.fullmatch(path):
            fine = _are_fine(found[2])
            plain = SIMPLE_PATH.fullmatch(found[1]) if fine else None
            if fine is False:
                allowed = {501, 553}
        if word != b"TO:":
            allowed = {501}
        elif len(self.recipients) >= self.most_recipients:
            allowed = {452} if plain else allowed & {452, 501, 553, 555}
        elif plain:
            allowed = self._codes_for(plain[1].decode().lower(), plain[2].decode())
        if self._take(allowed).code == 250:
            path = split_path(path.decode())[0].encode()
            self.recipients.append((*self._behind(path), path))

    def _codes_for(self, local: str, domain: str) -> set[int]:
        if "f" in self.settings:
            return {FOREIGN.get(local, 250)}
        if "p" in self.settings and (
            (local in FUNCTIONS and domain == "example.test") or domain == "functions.test"
        ):
            return {250, 552}
        if domain == HOSTNAME and local == "postmaster":
            domain = "example.test"
        if domain != "example.test":
            if self.account:
                return {250, 450, 452}
            return {250, 452} if "l" in self.settings else {550}
        if any(isinstance(each, str) for accounts, *_ in self.recipients for each in accounts):
            return {250, 452} if local in OURS else {NOT_OURS.get(local, 550)}
        return {250} if local in OURS else {NOT_OURS.get(local, 550)}

    def _behind(self, path: bytes) -> tuple[set[int | str], set[str]]:
        """Accounts and functions that a mail to an accepted recipient goes to."""
        if "f" in self.settings:
            return set(), set()
        if path.lower() == b"<postmaster>":
            return {1}, set()
        address = _address_in(path, self)
        if address is None:
            self.wrong("an empty recipient was accepted")
        local, _, domain = address.rpartition("@")
        base = local.lower().partition("+")[0]
        if "p" in self.settings:
            if base in FUNCTIONS and domain == "example.test":
                return set(), {base}
            if domain == "functions.test":
                return set(), {"plain"}
        if domain == HOSTNAME and local.lower() == "postmaster":
            return {1}, set()
        if domain != "example.test":
            if not self.account and "l" not in self.settings:
                self.wrong(f"{address} is elsewhere, and a stranger's mail to it was taken")
            return {address}, set()
        try:
            found: Sequence[Recipient] = DIRECTORY.expand(parse_path(f"<{address}>"))  # type: ignore[arg-type]
        except MailError:
            self.wrong(f"{address} was accepted and is nobody here")
        return {each.account_id for each in found if each.account_id != 4}, set()

    def _local(self, path: bytes) -> str:
        found = None if path.lower() == b"<postmaster>" else _address_in(path, self)
        return found.lower().rpartition("@")[0] if found else ""

    def _has_foreign(self, local: str) -> bool:
        return "f" in self.settings and any(self._local(p) == local for *_, p in self.recipients)

    def _DATA(self, rest: bytes) -> None:
        if rest:
            self._take({501})
            return
        if self.body is not None or self.sender is False or not self.recipients:
            self._take({503})
            return
        if self._has_foreign("loop"):
            self._take({451})
            self._reset()
            return
        self._take({354})
        self._seen_store = {self.store}
        self.body = bytearray()  # a stop waits for it
        data = b"\r\n" + self.stream[self.at :]
        end = data.find(b"\r\n.\r\n")
        if end < 0:
            self.ends_unfinished()
        self.passes(self.at + end + 3)
        lines = data[2 : end + 2].split(b"\r\n")
        self._body_ends(b"\r\n".join(line[line[:1] == b"." :] for line in lines))

    def _BDAT(self, rest: bytes) -> None:
        found = re.fullmatch(rb"(\d{1,18})(?: +(LAST))?", rest.upper())
        if found is None:
            self._end({501})
        wanted, last = int(found[1]), found[2] is not None
        if self.body is None:
            self.body, self.body_failed = bytearray(), 0
            self._seen_store = {self.store}
            if self.sender is False or not self.recipients:
                self.body_failed = 503
            elif self._has_foreign("loop"):
                self._reset()
                self.body, self.body_failed = bytearray(), 451
        if self.at + wanted > len(self.stream):
            self.ends_unfinished()
        self.body += self.stream[self.at : self.at + wanted]
        self.passes(self.at + wanted)
        if last:
            octets = bytes(self.body)
            ended = octets.endswith(b"\n" if self.known else b"\r\n")
            self._body_ends(octets if ended or not octets else octets + b"\r\n")
            return
        allowed = {self.body_failed} if self.body_failed else {250}
        if not self.body_failed:
            if 2 * len(self.body) > self.message_octets or self._has_functions():
                allowed.add(552)
            if len(self.body) > self.message_octets + 1:
                allowed.discard(250)
            allowed |= self._codes_of_a_blob() | self._codes_for_author(bytes(self.body))
        code = self._take(allowed).code
        if code != 250:
            self.body_failed = code

    def _codes_of_a_blob(self) -> set[int]:
        """What a piece may be refused with while it is written."""
        if "b" not in self.settings:
            return set()
        bad = {"b": 451, "g": 451, "f": 452}
        return {bad[mood] for mood in self._seen_store if mood in bad}

    def _has_functions(self) -> bool:
        return any(functions for _, functions, _ in self.recipients)

    def _body_ends(self, octets: bytes) -> None:
        """The one reply at the end; what was answered 250 is kept for comparing."""
        self.mails += 1
        lone_lf = b"\n" in octets.replace(b"\r\n", b"")
        bad_ends = b"\r" in octets.replace(b"\r\n", b"") or (lone_lf and not self.known)
        if lone_lf and self.known:
            octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        allowed = self._codes_for_body(octets, bad_ends) | self._codes_for_author(octets)
        if self.account and "f" not in self.settings:
            octets = _without_bcc(octets)
        reply = self._take_and_reset(allowed)
        if reply.code == 250:
            self.taken.append(self._pending(octets, reply.text.rpartition(b" ")[2]))
        self.sender, self.recipients = False, []

    def _codes_for_author(self, octets: bytes) -> set[int]:
        """What a From or Sender field may be refused with, or one in a part of a header."""
        if not self.account or "f" in self.settings or self.body_failed:
            return set()
        octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return {550} if re.search(rb"^(?:from|sender)[ \t]*:", octets, re.I | re.M) else set()

    def _take_and_reset(self, allowed: set[int]) -> Reply:
        self.body, self.body_failed = None, 0
        return self._take(allowed)

    def _pending(self, octets: bytes, mail_id: bytes) -> Taken:
        accounts, functions, messages, together = set[int | str](), set[str](), 0, 0
        for each_accounts, each_functions, path in self.recipients:
            accounts |= each_accounts
            functions |= each_functions
            if self._local(path) == "bob":
                messages += 1
            else:
                together = 1
        sender = None if isinstance(self.sender, bool) else self.sender
        return Taken(octets, accounts, functions, sender, mail_id, messages + together)

    def _codes_for_body(self, octets: bytes, bad_ends: bool) -> set[int]:
        if self.body_failed:
            return {self.body_failed}
        early = self._codes_of_a_blob()
        functions = {name for _, names, _ in self.recipients for name in names}
        if len(octets) > self.message_octets or (functions and len(octets) > 200):
            return {552} | early
        if bad_ends:
            return {550} | early
        refused = {code for name, code in (("never", 550), ("broken", 451)) if name in functions}
        if refused:
            return refused | early
        if any(accounts for accounts, _, _ in self.recipients) or "f" in self.settings:
            header = octets.partition(b"\r\n\r\n")[0] if not octets.startswith(b"\r\n") else b""
            received = sum(line[:9].lower() == b"received:" for line in header.split(b"\r\n"))
            if received > 50 and "f" not in self.settings:
                return {554} | early
            return early | {{"b": 451, "g": 451, "f": 452}.get(self.store, 250)}
        return early | {250}

    # Sign-in (RFC 4954)

    def _AUTH(self, rest: bytes) -> None:
        if not self.helo or self.account or self.sender is not False:
            self._take({503})
        elif "a" in self.settings:
            self._take({502})
        elif not (self.secure or "l" in self.settings):
            self._take({538})
        elif len(words := rest.split()) not in (1, 2):
            self._take({501})
        elif words[0].upper() not in (b"PLAIN", b"LOGIN"):
            self._take({504})
        else:
            self.sasl(words[0].upper(), words[1] if len(words) == 2 else None)

    def challenged(self, challenge: bytes) -> None:
        if self._take({334}).text != challenge:
            self.wrong("another challenge was due")

    def malformed_response(self) -> None:
        self._take({501})

    def judged(self, name: bytes, password: bytes) -> None:
        if self.checker in "BG":
            self._take({454}, counts=False)
        elif self.may_sign_in(name, password):
            self._take({235})
            self.account = name.decode()
        else:
            self.refused_response()

    def refused_response(self) -> None:
        self._take({535})
        self.failures += 1
        if self.failures >= 3:
            self._end({421})


def _are_fine(parameters: bytes) -> bool | None:
    """Whether RFC 3461's parameters are taken; None where only the grammar of addresses tells."""
    given = [word.split(b"=") for word in parameters.split(b" ")[1:]]
    if len({name for name, _ in given}) < len(given):
        return False
    doubtful = False
    for name, value in given:
        if FINE_VALUES[name].fullmatch(value):
            continue
        if name != b"ORCPT" or not DOUBTFUL_ORCPT.fullmatch(value):
            return False
        doubtful = True
    return None if doubtful else True


def _without_bcc(octets: bytes) -> bytes:
    """Line by line: a Bcc field and what it is folded onto goes, up to the first empty line."""
    kept, cutting, in_header = [], False, True
    for line in octets.split(b"\r\n"):
        if in_header and line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].rstrip(b" \t").lower()
            cutting = b":" in line and name in (b"bcc", b"resent-bcc")
        if not line:
            in_header = cutting = False
        if not cutting:
            kept.append(line)
    return b"\r\n".join(kept)


def _address_in(path: bytes, model: Walk) -> str | None:
    """The address in what stood behind FROM: or TO: and was accepted; None for <>."""
    try:
        address = parse_path(split_path(path.decode())[0])
    except (MailError, ValueError):
        model.wrong(f"{path!r} was accepted and is no path")
    return str(address) if address else None
