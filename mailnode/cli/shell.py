"""`shell`: a mail program by menus, for those who have never seen a command line."""

from __future__ import annotations

import click
from attrs import define, field

from mailnode.cli import output
from mailnode.cli.frame import EX_USAGE, Mistake, told
from mailnode.cli.passwords import stdin_is_terminal
from mailnode.cli.places import ClientCommand, Place
from mailnode.cli.shell_face import Back, Face, Leave, terminal
from mailnode.cli.shell_managing import Managing
from mailnode.cli.shell_menu import MAIN, Deed
from mailnode.cli.shell_writing import Writing
from mailnode.errors import MailError


@click.command(cls=ClientCommand, example="mailnode shell --user alice@example.test")
@click.pass_context
def shell(ctx: click.Context) -> None:
    """Write and manage mail by menus, one question after the other.

    Numbers and words both do. Enter takes what stands in brackets, ? explains, Ctrl-C goes back and
    Ctrl-D leaves. What you delete is deleted when you leave, and can be taken back until then.
    """
    if not stdin_is_terminal():
        raise Mistake(
            "this needs a terminal; `mailnode send`, `list`, `read`, `save` and `delete` need none",
            EX_USAGE,
        )
    Shell(Place.of(ctx), terminal()).run()


@define(eq=False)
class Shell:
    """The whole of it."""

    place: Place
    face: Face
    writing: Writing = field(init=False)
    managing: Managing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.writing = Writing(self.place, self.face)
        self.managing = Managing(self.place, self.face)

    def run(self) -> None:
        """Until somebody leaves."""
        self.face.say("This is mailnode, for your mail. ? explains.")
        while True:
            try:
                self._turn()
            except Back:
                self.face.say("To leave: 3, or Ctrl-D.")
            except Leave:
                if self._leave():
                    return
            except BaseException:  # a fault of ours, or the end of the process
                self._say_what_stays()
                raise

    def _say_what_stays(self) -> None:
        """Nobody shall believe that a mail is gone which isn't."""
        marked = len(self.managing.visit.marked)
        self.managing.visit.leave()
        if marked:
            mails = output.count(marked, "mail")
            self.face.say(f"Nothing was deleted; what you had marked stays: {mails}.")

    def _turn(self) -> None:
        deed = self.face.choose(MAIN).deed
        if deed is Deed.WRITE:
            try:
                self.writing.write()
            except Back:
                self.face.say("Nothing was sent.")
        else:
            try:
                self.managing.manage()
            except Back:
                return

    def _leave(self) -> bool:
        """Whether it is done with; deletions take effect, if that is still wanted."""
        visit = self.managing.visit
        marked = len(visit.marked)
        if marked:
            mails = output.count(marked, "mail")
            try:
                wanted = self.face.ask_yes(
                    f"Delete {mails} for good?", default=True,
                    help="No: you leave, and they stay. Ctrl-D: likewise.",
                )  # fmt: skip
            except Back:
                return False
            except Leave:
                wanted = False
            if not wanted:
                visit.leave()
                self.face.say("Nothing was deleted. Goodbye.")
                return True
        return self._end()

    def _end(self) -> bool:
        try:
            ended = self.managing.visit.end()
        except (KeyboardInterrupt, click.Abort):
            self.face.say("Stopped: nobody knows whether they were deleted.")
            return True
        except (click.ClickException, MailError, OSError) as error:
            self.face.say(f"Nothing was deleted: {told(error)[1]}")
            return True
        if ended.deleted:
            self.face.say(f"Deleted: {output.count(ended.deleted, 'mail')}.")
        if ended.kept:
            self.face.say(f"Not deleted: {output.count(ended.kept, 'mail')}: {ended.why}")
        self.face.say("Goodbye.")
        return True
