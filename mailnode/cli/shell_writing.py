"""Writing a mail in `mailnode shell`: asked part by part, each looked at before the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import click
from attrs import define

from mailnode.cli import output
from mailnode.cli.frame import told
from mailnode.cli.places import Place
from mailnode.cli.posting import hand_over, make, tell_answers, tell_captured
from mailnode.cli.send import author_of
from mailnode.cli.shell_face import Back, Face, Interrupted, Leave
from mailnode.cli.shell_menu import UNSENT, Deed
from mailnode.cli.typed import TEXT
from mailnode.cli.unsent import UNTITLED, for_others, keep_draft, keep_mail
from mailnode.client.carrier import Answers
from mailnode.client.composing import Made
from mailnode.client.submission import Letter
from mailnode.composing.drafts import Draft, fatal, look_over
from mailnode.composing.people import Mailbox, parse_groups
from mailnode.errors import BadAddress, MailError
from mailnode.filenames import expanded

NOBODY = "nobody"
NO_FILES = "none"
NO_SUBJECT = UNTITLED

T = TypeVar("T")


@define(eq=False)
class Writing:
    """The desk where mails are written, one after the other.

    Attributes:
        sender, to: what was said last, the defaults of the next.
    """

    place: Place
    face: Face
    sender: str = ""
    to: str = ""

    def write(self) -> None:
        """Ask for a mail, and send it."""
        self._tell_stopped_node()
        draft = self._ask_draft()
        try:
            made = make(draft)
        except (click.ClickException, MailError, OSError) as error:
            self.face.say(f"It can't be sent so: {told(error)[1]}")
            self._keep_text(draft)
            return
        letter = made.letter
        left = self._send(letter)
        while left:
            letter = attrs.evolve(letter, recipients=left)
            try:
                deed = self.face.choose(UNSENT).deed
            except (Back, Leave):
                self._keep(draft, made)
                raise
            if deed is Deed.KEEP:
                self._keep(draft, made)
                return
            if deed is Deed.DROP:
                self.face.say("Thrown away.")
                return
            if deed is Deed.CHANGE:
                changed = self._change(draft, left)
                if changed is None:
                    continue
                draft, made, letter = changed
            left = self._send(letter)

    def _ask_draft(self) -> Draft:
        face = self.face
        sender = self._ask_sender()
        to = self._ask_people("To", self.to or str(sender.address))
        self.to = ", ".join(map(str, to))
        cc = self._ask_people("Copies to", NOBODY)
        draft = Draft(sender=sender, to=to, cc=cc, subject=self._ask_subject(sender, to))
        draft = attrs.evolve(draft, files=self._ask_files(draft))
        face.say(TEXT)
        try:
            return attrs.evolve(draft, text=face.ask_text())
        except Interrupted as interrupted:
            if interrupted.text.strip():
                self._keep_text(attrs.evolve(draft, text=interrupted.text))
            raise

    def _tell_stopped_node(self) -> None:
        """Before anything is typed in vain; a mail that is written all the same can be kept."""
        try:
            self.place.require_running()
        except click.ClickException as error:
            self.face.say(f"It can't be sent now: {told(error)[1]}")

    def _ask_sender(self) -> Mailbox:
        place = self.place
        known = place.user if "@" in place.user else ""
        default = self.sender or place.profile.address or known or place.likely_address()
        help = "Your own address; answers come back to it."
        found = self._until_good("From", default, help, lambda said: author_of(place, said))
        self.sender = str(found)
        place.address = place.address or str(found.address)
        return found

    def _ask_people(self, question: str, default: str) -> tuple[Mailbox, ...]:
        help = (
            "An address such as carol@example.org, or several between commas; a name may stand "
            'before each, as in "Carol <carol@example.org>".'
        )

        def read(said: str) -> tuple[Mailbox, ...]:
            return () if said == NOBODY else parse_groups([said], question.lower())

        return self._until_good(question, default, help, read)

    def _until_good(self, question: str, default: str, help: str, read: Callable[[str], T]) -> T:
        while True:
            try:
                return read(self.face.ask(question, default, help))
            except BadAddress as error:
                self.face.say(f"That is not right: {error.text}")

    def _ask_subject(self, sender: Mailbox, to: tuple[Mailbox, ...]) -> str:
        """One that is too long for many programs is asked about."""
        help = "What it is about, in a few words."
        while True:
            said = self.face.ask("Subject", NO_SUBJECT, help)
            subject = "" if said == NO_SUBJECT else said
            doubts = look_over(Draft(sender=sender, to=to, subject=subject, text="-"))
            if not subject or not doubts:
                return subject
            self.face.say("; ".join(map(str, doubts)))
            if not fatal(doubts) and self.face.ask_yes("Use it all the same?", default=False):
                return subject

    def _ask_files(self, draft: Draft) -> tuple[Path, ...]:
        help = "Names of files that go with the mail, between commas."
        while True:
            said = self.face.ask("Files", NO_FILES, help)
            if said == NO_FILES:
                return ()
            try:
                files = tuple(expanded(each.strip()) for each in said.split(",") if each.strip())
            except OSError as error:
                self.face.say(f"That is not right: {told(error)[1]}")
                continue
            wrong = fatal(look_over(attrs.evolve(draft, files=files)))
            if not wrong:
                return files
            for doubt in wrong:
                self.face.say(f"That is not right: {doubt}")

    def _send(self, letter: Letter) -> tuple[str, ...]:
        """Who has not got it."""
        try:
            answers: Answers = hand_over(self.place, letter)
        except click.Abort:
            self.face.say("Stopped: it was not sent.")
            return letter.recipients
        except KeyboardInterrupt:
            self.face.say("Stopped: nobody knows whether it was sent.")
            return letter.recipients
        except (click.ClickException, MailError, OSError) as error:
            self.face.say(f"It was not sent: {told(error)[1]}")
            return letter.recipients
        for line in [*tell_answers(answers), *tell_captured(self.place, answers)]:
            self.face.say(line)
        left = tuple(address for address, answer in answers if not answer.delivered)
        if not left:
            self.face.say(f"Sent ({output.size(letter.size_octets)}).")
        return left

    def _change(self, draft: Draft, left: tuple[str, ...]) -> tuple[Draft, Made, Letter] | None:
        """The mail for others than those who have not got it; None where there are none."""
        try:
            others = self._ask_people("To whom instead", ", ".join(left))
            changed = for_others(draft, left, left, others)
        except Back:
            return None
        except OSError as error:
            self.face.say(f"It can't be sent so: {told(error)[1]}")
            return None
        if not changed[2].recipients:
            self.face.say("That would be nobody who has not got it already.")
            return None
        return changed

    def _keep(self, draft: Draft, made: Made) -> None:
        """As a file that mail programs can open, in the folder where one is."""
        try:
            self.face.say(f"Kept as {keep_mail(draft, made)}.")
        except OSError as error:
            self.face.say(f"It could not be kept: {error.strerror}")

    def _keep_text(self, draft: Draft) -> None:
        try:
            self.face.say(f"Kept as {keep_draft(draft)}.")
        except OSError as error:
            self.face.say(f"It could not be kept: {error.strerror}")
