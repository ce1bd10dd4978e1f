"""The lines of a session, as `trace --show-dialog` tells them; bounded, and without secrets."""

from __future__ import annotations

from attrs import define, field

SESSION_OCTETS = 4096
MAIL_OCTETS = 12288
LINE_OCTETS = 512
LEFT_OUT = "..."


@define(eq=False)
class Lines:
    """As many as fit; that something was left out is said."""

    most_octets: int
    _lines: list[str] = field(factory=list, init=False)
    _octets: int = field(default=0, init=False)

    def add(self, line: str) -> None:
        if self._octets < self.most_octets:
            self._lines.append(line[:LINE_OCTETS])
            self._octets += len(self._lines[-1])
        elif self._lines[-1] != LEFT_OUT:
            self._lines.append(LEFT_OUT)

    def told(self) -> list[str]:
        return self._lines


@define(eq=False)
class Dialog:
    """What belongs to the session (its greeting, TLS, the sign-in), and the mail under way.

    Lines of a mail that is done are forgotten: the next one's are told without them.
    """

    _session: Lines = field(factory=lambda: Lines(SESSION_OCTETS), init=False)
    _mail: Lines | None = field(default=None, init=False)

    def note(self, line: str) -> None:
        (self._session if self._mail is None else self._mail).add(line)

    def begin_mail(self) -> None:
        """What follows is a mail's. One that came to nothing was the session's: it may have
        signed in since."""
        if self._mail is not None:
            for line in self._mail.told():
                self._session.add(line)
        self._mail = Lines(MAIL_OCTETS)

    def end_mail(self) -> None:
        self._mail = None

    def __str__(self) -> str:
        mail = [] if self._mail is None else self._mail.told()
        return "\n".join([*self._session.told(), *mail])
