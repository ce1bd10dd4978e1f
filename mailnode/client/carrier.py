"""Takes mail from a spool to a server, several in one session, and settles what became of each.

What is refused or waited too long becomes a report to its sender in the same spool, before the mail
is removed from it. What nobody can be told of is kept as a dead letter.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field

from mailnode.client.spool import BadSpool, Kept, Slip, Spool
from mailnode.client.submission import Letter, Submission
from mailnode.errors import MailError
from mailnode.outbound.dsn import Told, gives_all_back, make_report, may_be_told, wants
from mailnode.outbound.words import Answer

OVERDUE_S = 5 * 86400.0
HEAD_OCTETS = 65536
SIGN_IN_NEEDED = 530

Answers = Sequence[tuple[str, Answer]]
Bury = Callable[[Letter, Answers], None]


class CannotCarry(MailError):
    """There is no server to take mail to now; nothing was handed over."""


@define(eq=False)
class Carrier:
    """Hands over mail, in one session as long as that can be used.

    Attributes:
        connect: opens a session; raises MailError.
        hostname: who writes reports.
        bury: keeps a mail that nobody can be told of; raises OSError when it can't.
        now: UTC epoch seconds.
    """

    connect: Callable[[], Submission]
    hostname: str
    bury: Bury
    now: Callable[[], float] = time.time
    _session: Submission | None = field(default=None, init=False)

    def hand_over(self, letter: Letter) -> Answers:
        """What became of each recipient.

        Raises:
            CannotCarry: no server took it to look at.
        """
        used = self._session is not None
        answers = self._over(letter)
        if used and self._session is None and all(_is_lost(answer) for _, answer in answers):
            answers = self._over(letter)  # a server may end a session after so many mails
        return answers

    def _over(self, letter: Letter) -> Answers:
        if self._session is None:
            try:
                self._session = self.connect()
            except MailError as error:
                raise CannotCarry(str(error)) from None
        try:
            answers = self._session.send(letter)
        except ValueError as error:  # an address with a control octet
            self.leave()
            return [(each, Answer(501, "5.1.3", str(error), "RCPT")) for each in letter.recipients]
        if not self._session.usable:
            self.leave()
        return answers

    def leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.quit()

    def carry(self, kept: Kept) -> Answers:
        """Hand over a mail that was just written; who refused it is for the caller to tell.

        Those who may take it later wait; for those who refused it, it is buried.

        Raises:
            CannotCarry: all of them wait.
            OSError: it could not be buried: all that were not served wait.
            BadSpool: what became of it can't be noted there: all of them wait.
        """
        try:
            answers = self.hand_over(kept.letter())
        except CannotCarry as error:
            kept.settle(kept.slip.recipients, str(error))
            raise
        waiting, refused = _sorted(answers)
        if refused:
            try:
                self.bury(kept.letter(), refused)
            except OSError:
                kept.settle(_addresses([*waiting, *refused]), _why([*waiting, *refused]))
                raise
        kept.settle(_addresses(waiting), _why(waiting))
        return answers

    def carry_spooled(self, spool: Spool, most: int | None = None) -> int:
        """Hand over what waits there, the longest untried first; how many mails are gone.

        Raises:
            CannotCarry: there is no server now; the rest waits.
            BadSpool: what became of one can't be noted: whoever has it will get it again.
        """
        gone = 0
        for name in spool.names()[:most]:
            with taken(spool, name) as kept:
                if kept is not None:
                    gone += self._carry_spooled(spool, kept)
        return gone

    def _carry_spooled(self, spool: Spool, kept: Kept) -> bool:
        answers = self.hand_over(kept.letter())
        waiting, refused = _sorted(answers)
        if self.now() - kept.slip.at > OVERDUE_S:
            waiting, refused = [], [*refused, *waiting]
        try:
            if refused:
                self._tell(spool, kept, refused)
        except (OSError, BadSpool):  # nobody knows of it yet: all of them wait
            waiting = [*waiting, *refused]
        kept.settle(_addresses(waiting), _why(waiting))
        if waiting:
            kept.tried()
        return not waiting

    def _tell(self, spool: Spool, kept: Kept, refused: Answers) -> None:
        """A report waits in the spool, or the mail is buried."""
        slip = kept.slip
        if not wants(slip.notify, "failure"):
            return
        if not may_be_told(slip.sender):
            self.bury(kept.letter(), refused)
            return
        report = self._report(kept, refused)
        told = spool.keep(
            Slip("", (slip.sender,), self.now(), eight_bit=not report.isascii()), io.BytesIO(report)
        )
        try:
            self._carry_spooled(spool, told)
        except CannotCarry:
            pass
        finally:
            told.let_go()

    def _report(self, kept: Kept, refused: Answers) -> bytes:
        slip, at = kept.slip, self.now()
        told = [
            Told(
                address,
                status=answer.enhanced if answer.permanent else "4.4.7",
                remote_host=self._host if answer.code else "",
                reply=str(answer),
                last_attempt_at=at,
            )
            for address, answer in refused
        ]
        with kept.open() as body:
            whole = gives_all_back(slip.ret, kept.size_octets, told)
            original = body.read() if whole else None
            head = original or body.read(HEAD_OCTETS)
        return make_report(
            hostname=self.hostname,
            to=slip.sender,
            mail_id=kept.name,
            envid=slip.envid,
            arrived_at=slip.at,
            told=told,
            original_head=head,
            original=original,
            smtputf8=slip.smtputf8,
            at=at,
            report_id=secrets.token_hex(16),
        )

    @property
    def _host(self) -> str:
        return self._session.connection.server.host if self._session is not None else ""


@contextmanager
def taken(spool: Spool, name: str) -> Iterator[Kept | None]:
    """A mail of the spool, locked meanwhile; None when it is somebody's, gone or damaged."""
    try:
        kept = spool.take(name)
    except BadSpool:
        kept = None
    try:
        yield kept
    finally:
        if kept is not None:
            kept.let_go()


def is_refused(answer: Answer) -> bool:
    """Whether later won't do; a server that wants a sign-in refuses us, not the mail."""
    return answer.permanent and answer.code != SIGN_IN_NEEDED


def _sorted(answers: Answers) -> tuple[Answers, Answers]:
    """Who may take it later, and who refused it."""
    left = [each for each in answers if not each[1].delivered]
    refused = [each for each in left if is_refused(each[1])]
    return [each for each in left if not is_refused(each[1])], refused


def _addresses(answers: Answers) -> tuple[str, ...]:
    return tuple(address for address, _ in answers)


def _why(answers: Answers) -> str:
    return str(answers[0][1]) if answers else ""


def _is_lost(answer: Answer) -> bool:
    """Whether the server broke off before it could know the mail."""
    return answer.code in (0, 421) and answer.stage != "dot"
