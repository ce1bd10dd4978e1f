"""What lists show of mails that their index doesn't have yet: read from the store, within bounds.

Under load the index falls behind, and every look at a list would read the same mails anew, in
threads that take turns with the reactor. So what was read is kept, and only a part of the time is
spent so; lists then show what the mail database says of a mail, until it is indexed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from mailnode.reading.summary import Summary
from mailnode.store.index_filling import Row, read_entry

KEPT_SUMMARIES, KEPT_CHARACTERS = 2_000, 2_000
MOST_S = 0.5  # that may be spent at once: a page of a mailbox whose index is new
PART = 0.05  # of the time, in the long run
PAUSE_S = 0.0005  # behind each: the reactor waits for the interpreter while one is read, no longer


@define(eq=False)
class Unindexed:
    """Summaries of these mails. Called in the threads that ask.

    Attributes:
        data: the node's folder.
    """

    data: Path
    seconds: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = time.sleep
    _kept: OrderedDict[int, Summary] = field(factory=OrderedDict, init=False)
    _left_s: float = field(default=MOST_S, init=False)
    _at: float = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._at = self.seconds()

    def summary(self, message_id: int, row: Callable[[], Row | None]) -> Summary | None:
        """Of a mail of whoever asks; None where it is gone, or too much was read lately.

        Args:
            row: reads it.
        """
        with self._lock:
            now = self.seconds()
            self._left_s = min(MOST_S, self._left_s + (now - self._at) * PART)
            self._at = now
            kept = self._kept.get(message_id)
            if kept is not None:
                self._kept.move_to_end(message_id)
                return kept
            if self._left_s <= 0:
                return None
        found = row()
        if found is None:
            return None
        summary = read_entry(found, self.data).summary
        self.pause(PAUSE_S)
        with self._lock:
            self._left_s -= self.seconds() - now
            if _characters_of(summary) <= KEPT_CHARACTERS:
                self._kept[message_id] = summary
                if len(self._kept) > KEPT_SUMMARIES:
                    self._kept.popitem(last=False)
        return summary


def _characters_of(summary: Summary) -> int:
    told = (summary.sender_name, summary.sender_address, summary.to, summary.subject)
    texts = (*told, summary.snippet, summary.message_id, *summary.attachments, *summary.references)
    return sum(map(len, texts))
