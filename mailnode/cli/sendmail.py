"""`sendmail`: takes mail from cron and scripts, and keeps it while no server does."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_NOHOST,
    EX_NOPERM,
    EX_NOUSER,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    Mistake,
    NodeCommand,
    answer_json,
)
from mailnode.cli.posting import tell_answers
from mailnode.cli.sendmail_options import Wanted, read_options
from mailnode.cli.sendmail_settings import (
    Settings,
    connect,
    domain_of,
    read_settings,
    settings_path,
    spool_of,
    user_and_name,
)
from mailnode.client.carrier import Answers, CannotCarry, Carrier, is_refused
from mailnode.client.deadletters import bury
from mailnode.client.header import addresses_in
from mailnode.client.piped import Author, Piped, read_piped
from mailnode.client.profiles import home_folder
from mailnode.client.spool import BadSpool, Kept, Slip, Spool
from mailnode.client.submission import Letter
from mailnode.errors import MailError
from mailnode.outbound.words import Answer

FOLLOWERS = 10  # of the spool that a mail which gets through takes along
_CODES = {"1.1": EX_NOUSER, "1.2": EX_NOHOST, "1.3": EX_DATAERR, "3.4": EX_DATAERR}
_KINDS = {"6": EX_DATAERR, "7": EX_NOPERM}


class SendmailCommand(NodeCommand):
    """A command whose options are sendmail's, but for help and version, when they stand alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args in (["-h"], ["--help"], ["--version"]):
            return super().parse_args(ctx, args)
        ctx.params["words"] = tuple(args)
        ctx.args = []
        return []

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[-t] [-i] [-f SENDER] [-F NAME] [-C FILE] [-bp | -q] [--] [RECIPIENT...]"]


@click.command(cls=SendmailCommand, has_node=False, example="mailnode sendmail -t -i < mail.txt\n"
               "mailnode sendmail -q")  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sendmail(ctx: click.Context, words: Sequence[str]) -> None:
    """Send a mail from standard input as the system's sendmail does.

    -t takes the recipients from To, Cc and Bcc too; -i: a full stop alone on a line doesn't end the
    mail; -f is who sends, -F the name in From; -v tells what happens; -odq spools without an
    attempt; -N, -R and -V ask for reports; -C names the settings. -bp lists the spool, -q hands
    over what waits there. Other options of sendmail's are taken and mean nothing.

    A mail that can't be handed over now is kept in the spool, and that is success. The settings
    are in /etc/mailnode/sendmail.toml or in your ~/.config/mailnode/sendmail.toml.
    """
    wanted = read_options(words, Path(sys.argv[0]).name)
    settings = read_settings(Path(wanted.settings) if wanted.settings else settings_path())
    desk = Desk(ctx, wanted, settings)
    if wanted.mode == "p":
        desk.list_spool()
    elif wanted.mode == "q":
        desk.run_spool()
    else:
        ctx.exit(desk.send())


@define(eq=False)
class Desk:
    """One run: where mail is kept, and who takes it."""

    ctx: click.Context
    wanted: Wanted
    settings: Settings
    _domain: str = field(init=False)
    _folder: Path = field(init=False)
    _carrier: Carrier = field(init=False)
    _buried: list[Path] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._domain = domain_of(self.settings)
        self._folder = spool_of(self.settings)
        self._carrier = Carrier(partial(connect, self.ctx, self.settings), self._domain, self._bury)

    # Sending

    def send(self) -> int:
        """Hand over the mail on standard input, or keep it: the exit code."""
        if sys.stdin is None:
            raise Mistake("standard input is closed: a mail is read from it", EX_USAGE)
        author = self._author()
        try:
            piped = read_piped(sys.stdin.buffer, author, dot_ends=self.wanted.full_stop)
        except OSError as error:
            raise Mistake(f"there is no room for the mail: {error.strerror}", EX_TEMPFAIL) from None
        good, bad = self._recipients(piped)
        slip = Slip(
            author.address,
            good,
            time.time(),
            piped.eight_bit,
            self.wanted.notify,
            self.wanted.ret,
            self.wanted.envid,
        )
        try:
            answers = [*bad, *(self._send_kept(slip, piped) if good else ())]
        finally:
            self._carrier.leave()
        if bad:
            self._bury_bad(slip, piped, bad)
        return self._tell(answers)

    def _send_kept(self, slip: Slip, piped: Piped) -> Answers:
        """From the spool, where it is safe whatever becomes of us."""
        try:
            spool = Spool.open(self._folder)
            kept = spool.keep(slip, piped.file)
        except BadSpool as error:
            return self._send_unkept(slip, piped, error)
        try:
            if self.wanted.keep:
                self._note(f"the mail waits in {self._folder} as {kept.name}")
                return ()
            answers = self._carry(kept)
            if any(answer.delivered for _, answer in answers):
                self._take_along(spool)
            return answers
        finally:
            kept.let_go()

    def _carry(self, kept: Kept) -> Answers:
        try:
            answers = self._carrier.carry(kept)
        except CannotCarry as error:
            self._note(f"the mail waits in {self._folder} as {kept.name}: {error}")
            return ()
        except BadSpool as error:  # it is safe: who sends it once more would only add to it
            self._complain(f"the mail was sent and waits to be sent again: {error}")
            return ()
        except OSError as error:
            raise Mistake(
                f"refused, and there is no place for a dead letter ({error.strerror}); the mail "
                f"waits in {self._folder}, and who sent it will be told",
                EX_UNAVAILABLE,
            ) from None
        if kept.slip.recipients:
            who = ", ".join(kept.slip.recipients)
            self._note(f"the mail for {who} waits in {self._folder} as {kept.name}")
        return answers

    def _send_unkept(self, slip: Slip, piped: Piped, trouble: BadSpool) -> Answers:
        """At once or not at all: there is no spool."""
        if self.wanted.keep:
            raise Mistake(f"the mail can't be kept: {trouble}", EX_TEMPFAIL)
        letter = _letter(slip, piped)
        try:
            answers = self._carrier.hand_over(letter)
        except CannotCarry as error:
            raise Mistake(f"{error}; nor can it be kept: {trouble}", EX_TEMPFAIL) from None
        if refused := [each for each in answers if is_refused(each[1])]:
            self._try_to_bury(letter, refused)
        left = [each for each in answers if not each[1].delivered and not is_refused(each[1])]
        if left:
            lines = "; ".join(tell_answers(left))
            raise Mistake(f"{lines}; nor can it be kept: {trouble}", EX_TEMPFAIL)
        return answers

    def _take_along(self, spool: Spool) -> None:
        """Some of what waited for this; whatever is wrong with it, this one has been sent."""
        with suppress(MailError, OSError):
            self._carrier.carry_spooled(spool, FOLLOWERS)

    def _author(self) -> Author:
        user, name = user_and_name()
        said = self.wanted.sender
        if said is None:
            said = self.settings.sender or user
        address = "" if said.strip() in ("", "<>") else self._read_sender(said)
        return Author(address, self.wanted.name or name, self._domain)

    def _read_sender(self, said: str) -> str:
        spots = addresses_in(said.encode("utf-8", "surrogateescape"))
        if len(spots) != 1:
            raise Mistake(f"{said!r} is not the address of a sender", EX_USAGE)
        try:
            return str(parse_address(spots[0].text(self._domain)))
        except MailError as error:
            raise Mistake(f"the sender {said!r}: {error.text}", EX_USAGE) from None

    def _recipients(self, piped: Piped) -> tuple[tuple[str, ...], Answers]:
        """Whom to send it to, and what is no address."""
        asked = [
            spot.text(self._domain)
            for word in self.wanted.recipients
            for spot in addresses_in(word.encode("utf-8", "surrogateescape"))
        ]
        if self.wanted.from_header:
            asked += piped.named
        if not asked:
            where = "in the header or " if self.wanted.from_header else ""
            raise Mistake(f"to whom? There are no recipients {where}behind the options", EX_USAGE)
        good, bad = dict[str, str](), list[tuple[str, Answer]]()
        for each in asked:
            try:
                address = parse_address(each)
                good.setdefault(address.key, str(address))
            except MailError as error:
                bad.append((each, Answer(501, "5.1.3", error.text, "RCPT")))
        return tuple(good.values()), bad

    # What becomes of what is refused

    def _bury(self, letter: Letter, refused: Answers) -> None:
        places = (home_folder() / "dead.letter", self._folder / "dead.letter")
        path = bury(places, letter, refused)
        if path not in self._buried:
            self._buried.append(path)

    def _bury_bad(self, slip: Slip, piped: Piped, bad: Answers) -> None:
        self._try_to_bury(_letter(slip, piped), bad)

    def _try_to_bury(self, letter: Letter, refused: Answers) -> None:
        try:
            self._bury(letter, refused)
        except OSError as error:
            self._complain(f"there is no place for a dead letter: {error.strerror}")

    def _tell(self, answers: Answers) -> int:
        """Refusals on standard error, the rest where that is asked for; the exit code."""
        refused = [each for each in answers if is_refused(each[1])]
        for line in tell_answers(refused):
            self._complain(line)
        for path in self._buried:
            self._complain(f"the mail is kept in {path}")
        for line in tell_answers([each for each in answers if each not in refused]):
            self._note(line)
        return exit_code(refused[0][1]) if refused else 0

    def _complain(self, line: str) -> None:
        click.echo(f"mailnode: {output.printable(line)}", err=True)

    def _note(self, line: str) -> None:
        """Programs that call sendmail expect it to be silent."""
        if self.wanted.verbose or sys.stderr.isatty():
            self._complain(line)

    # The spool

    def list_spool(self) -> None:
        spool = Spool.open(self._folder, make=False)
        told: list[dict[str, Any]] = []
        for name in spool.names():
            try:
                slip = spool.slip(name)
            except BadSpool as error:
                slip = Slip("", (), 0, why=str(error))
            if slip is not None:
                told.append(
                    {
                        "id": name,
                        "octets": spool.octets_of(name),
                        "at": slip.at,
                        "sender": slip.sender,
                        "recipients": slip.recipients,
                        "why": slip.why,
                    }
                )
        told.sort(key=lambda each: each["at"])
        if answer_json(self.ctx, told):
            return
        if not told:
            output.say(f"the spool {self._folder} is empty")
            return
        output.show_table(
            ["id", "size", "since", "from", "for", "why"],
            [
                (
                    each["id"],
                    output.size(each["octets"]),
                    output.when(each["at"]),
                    each["sender"] or "<>",
                    ", ".join(each["recipients"]),
                    each["why"],
                )
                for each in told
            ],
            right=["size"],
        )

    def run_spool(self) -> None:
        """Hand over all that waits."""
        spool = Spool.open(self._folder, make=False)
        spool.sweep()
        if not spool.names():
            return
        try:
            gone = self._carrier.carry_spooled(spool)
        except CannotCarry as error:
            waits = output.count(len(spool.names()), "mail")
            raise Mistake(f"{error}; {waits} in {self._folder}", EX_TEMPFAIL) from None
        finally:
            self._carrier.leave()
            for path in self._buried:
                self._complain(f"mail that nobody took is kept in {path}")
        waits = output.count(len(spool.names()), "mail")
        output.say(f"{output.count(gone, 'mail')} left the spool, {waits} in {self._folder}")


def _letter(slip: Slip, piped: Piped) -> Letter:
    """Of a mail that is in no spool; it can be opened several times, one after the other."""
    return Letter(
        sender=slip.sender,
        recipients=slip.recipients,
        size_octets=piped.size_octets,
        open=piped.open,
        smtputf8=slip.smtputf8,
        eight_bit=slip.eight_bit,
        notify=slip.notify,
        ret=slip.ret,
        envid=slip.envid,
    )


def exit_code(answer: Answer) -> int:
    """As sysexits.h has it: no such user, no such host, bad data, not permitted, unavailable."""
    status = answer.enhanced.partition(".")[2]
    if status in _CODES:
        return _CODES[status]
    return _KINDS.get(status.partition(".")[0], EX_UNAVAILABLE)
