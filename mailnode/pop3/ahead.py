"""What of a mailbox was read before it was asked for, if it can be as the replies to its RETRs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import define, field

from mailnode.outgoing import Octets
from mailnode.pop3.body import CHUNK_OCTETS, Mail


class Run(Protocol):
    """Mails end to end, each as the reply to its RETR: `store.fetching.Run`."""

    bounds: Sequence[int]
    dot_lines: Sequence[int]

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> Mail: ...

    def framed(self, start: int, stop: int, skip: int = 0) -> tuple[Octets, ...]: ...

    def fitting(self, start: int, octets: int) -> int: ...

    def begun(self, start: int, octets: int) -> int: ...


@define(eq=False)
class Ahead:
    """Mails by their 0-based index; each is given once.

    Attributes:
        mails: those that came one by one.
    """

    mails: dict[int, Mail] = field(factory=dict)
    _run: Run | None = field(default=None, init=False)
    _begin: int = field(default=0, init=False)  # index of the run's first
    _next: int = field(default=0, init=False)  # what lies before was given already
    _end: int = field(default=0, init=False)

    def __bool__(self) -> bool:
        return bool(self.mails) or self._run is not None

    def __contains__(self, index: int) -> bool:
        return index in self.mails or self._is_in_run(index)

    def keep(self, indices: Sequence[int], found: Any) -> None:
        """What a mailbox's `fetch` gave for these: mails in a row, or a run of all."""
        if isinstance(found, Sequence):
            self.mails.update(zip(indices, found, strict=False))
        else:
            self._run, self._begin = found, indices[0]
            self._next, self._end = indices[0], indices[-1] + 1

    def take(self, index: int) -> Mail | None:
        """A mail; None when it isn't here."""
        if self._is_in_run(index):
            self._part_run()
        return self.mails.pop(index, None)

    def take_small(self, index: int) -> Mail | None:
        """The same, if one write takes it."""
        mail = self.mails.get(index)
        if mail is None or not isinstance(mail[1], bytes):
            return None
        return self.mails.pop(index) if len(mail[0]) + len(mail[1]) <= CHUNK_OCTETS else None

    def replies(self, index: int, following: Sequence[bytes]) -> tuple[Run, int, int] | None:
        """What answers RETR of that mail and of the numbers that follow: those of a run from one
        place to another, as far as no line begins with a dot; None when not even the first lies so.

        `given` says what of it was taken.
        """
        run, at = self._run, index - self._begin
        if run is None or not self._is_in_run(index) or run.dot_lines[at]:
            return None
        stop, number = at + 1, index + 2
        for each in following:
            if stop == len(run) or int(each) != number or run.dot_lines[stop]:
                break
            stop, number = stop + 1, number + 1
        return run, at, stop

    def given(self, stop: int) -> None:
        """The run is taken up to there."""
        self._next = self._begin + stop
        if self._next == self._end:
            self._run = None

    def discard(self, index: int) -> None:
        """That one isn't wanted any more."""
        _close(self.take(index))

    def forget(self) -> None:
        """None is."""
        mails, self.mails, self._run = self.mails, {}, None
        for mail in mails.values():
            _close(mail)

    def _is_in_run(self, index: int) -> bool:
        return self._run is not None and self._next <= index < self._end

    def _part_run(self) -> None:
        """What is left of it is given mail by mail."""
        run, self._run = self._run, None
        if run is not None:
            for index in range(self._next, self._end):
                self.mails[index] = run[index - self._begin]


def _close(mail: Mail | None) -> None:
    if mail is not None and not isinstance(mail[1], bytes):
        mail[1].close()
