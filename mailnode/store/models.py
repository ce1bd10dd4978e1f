"""The files of what was learned: `var/models/node.model`, and `var/models/<account_id>.model`.

Who changes them has the folder's lock: the process that keeps house, or a program beside the node.
All others read: `ModelShelf` has the models that were last asked for in memory, and reads a file
again when another one has taken its name.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from attrs import define, field, frozen
from twisted.logger import Logger

from mailnode.durable import make_folder, own_as, write_durably
from mailnode.giving_way import give_way
from mailnode.learning.features import Likeness
from mailnode.learning.form import (
    MOST_OCTETS,
    Damaged,
    mails_of,
    read_model,
    unpack,
    write_model,
)
from mailnode.learning.model import ACCOUNT_BITS, NODE_BITS, Model

MODELS_FOLDER, ENDING = "models", ".model"
LOCK_NAME, TAUGHT, COUNTED = "models.lock", "taught", "counted"
FORGOTTEN = "forgotten"  # a lesson that is taken back, whoever taught it
NODE = 0  # no account has this id
SHELF_OCTETS = 64 << 20
LOOK_S = 1.0
_NONE_OCTETS = 200  # what is kept of a file that isn't there

_Identity = tuple[int, int, int]

_log = Logger(namespace="mailnode")


@frozen
class Counted:
    """How many lessons were taken since the folder is there, for /metrics.

    Attributes:
        lessons: by (by what it was taught, as what).
        last_at: of the last one: UTC epoch seconds; None before the first.
    """

    lessons: Mapping[tuple[str, str], int] = field(factory=dict)
    last_at: float | None = None


@frozen
class ModelFiles:
    """The models of one node.

    Attributes:
        data: the node's folder.
    """

    data: Path

    @property
    def folder(self) -> Path:
        return self.data / MODELS_FOLDER

    def path_of(self, account_id: int) -> Path:
        """Of an account's model, or the node's."""
        return self.folder / f"{account_id or 'node'}{ENDING}"

    def account_ids(self) -> list[int]:
        """Accounts that have one, or of whose there is anything: damaged, or half-written."""
        names = {path.name.partition(".")[0] for path in self._all()}
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def _all(self) -> Iterator[Path]:
        return self.folder.glob(f"*{ENDING}*")

    @contextmanager
    def changing(self, *, wait: bool = True) -> Iterator[Changing | None]:
        """The models are nobody else's to change meanwhile; None: they are now, and `wait` is off.

        Raises:
            OSError: the folder can't be made, or not be locked.
        """
        make_folder(self.folder)
        path = self.data / LOCK_NAME
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            own_as(path, self.data)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield None
                return
            for unfinished in self.folder.glob("*.new"):  # of one that was killed
                unfinished.unlink(missing_ok=True)
            changing = Changing(self)
            try:
                yield changing
            finally:
                self._count(changing.counted)
        finally:
            os.close(lock)

    def drop(self, account_ids: Collection[int]) -> int:
        """These accounts' models are gone; how many there were."""
        names, gone = set(map(str, account_ids)), 0
        for path in self._all():
            if path.name.partition(".")[0] in names:
                path.unlink(missing_ok=True)
                gone += path.suffix == ENDING
        return gone

    def counted(self) -> Counted:
        """How many lessons were taken so far; none where that is not known any more."""
        try:
            said = json.loads((self.folder / COUNTED).read_text("ascii"))
            lessons = {
                (str(by), str(label)): int(count)
                for by, labels in said["lessons"].items()
                for label, count in labels.items()
            }
            return Counted(lessons, float(said["last_at"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return Counted()

    def _count(self, more: Mapping[tuple[str, str], int]) -> None:
        if not more:
            return
        lessons: dict[str, dict[str, int]] = {}
        for (by, label), count in (Counter(self.counted().lessons) + Counter(more)).items():
            lessons.setdefault(by, {})[label] = count
        path = self.folder / COUNTED
        said = json.dumps({"lessons": lessons, "last_at": time.time()})
        with suppress(OSError):  # what was learned counts, and is written already
            write_durably(path, said.encode() + b"\n")
            own_as(path, self.folder)

    def node_lessons(self) -> tuple[int, int] | None:
        """From how many wanted and unwanted mails the node has learned; None without a model."""
        try:
            return mails_of(self.path_of(NODE))
        except OSError:
            return None

    def node_octets(self) -> int:
        """How large the file of the node's model is; 0 without one."""
        try:
            return self.path_of(NODE).stat().st_size
        except OSError:
            return 0

    def taught_up_to(self) -> int:
        """The row of the journal up to which all moves are lessons; 0 for none."""
        try:
            row = json.loads((self.folder / TAUGHT).read_text("ascii"))["journal_row"]
        except (OSError, ValueError, LookupError, TypeError):
            return 0
        return row if isinstance(row, int) and row > 0 else 0

    def note_taught(self, row: int) -> None:
        """All moves up to that row of the journal are lessons: no process reads them again."""
        make_folder(self.folder)
        path = self.folder / TAUGHT
        write_durably(path, json.dumps({"journal_row": row}).encode() + b"\n")
        own_as(path, self.folder)


@define(eq=False)
class Changing:
    """Models in the hands of who has the lock; `ModelFiles.changing` gives it."""

    files: ModelFiles
    counted: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    _models: dict[int, Model] = field(factory=dict, init=False)

    def count(self, by: str, label: str) -> None:
        """A lesson was taken, or taken back; it is told once the models are put down."""
        self.counted[by, label] += 1

    def model(self, account_id: int) -> Model:
        """As its file has it; an empty one where there is none, or a damaged one, which is set
        aside."""
        model = self._models.get(account_id)
        if model is None:
            bits = ACCOUNT_BITS if account_id else NODE_BITS
            opened = read_model(self.files.path_of(account_id), bits)
            if opened.set_aside is not None:
                _log.warn(
                    "what was learned is begun anew, the file is now {path}: {why}",
                    path=str(opened.set_aside),
                    why=opened.why,
                )
            model = self._models[account_id] = opened.model
        return model

    def teach(self, account_id: int, likeness: Likeness, label: str) -> bool:
        """An account's, or the node's, learns that such a mail is of that kind; False: it knew."""
        node = self.model(NODE) if account_id else None
        is_new = self.model(account_id).train(likeness, label, node)
        give_way()
        return is_new

    def forget(self, account_id: int, likeness: Likeness) -> bool:
        """The lesson is taken back; False: there is none."""
        node = self.model(NODE) if account_id else None
        return self.model(account_id).forget(likeness, node)

    def write(self, account_id: int) -> None:
        """Its file holds it, durably.

        Raises:
            OSError: the file is as it was.
        """
        path = self.files.path_of(account_id)
        write_model(path, self.model(account_id))
        own_as(path, self.files.folder)

    def put_back(self, account_id: int) -> None:
        """It is no longer in memory."""
        self._models.pop(account_id, None)


@define
class _Shelved:
    """A model in memory, without the list of its lessons: who judges needs none.

    Attributes:
        identity: of its file; None where there was none.
        looked_at: on the clock.
    """

    identity: _Identity | None
    model: Model | None
    looked_at: float

    @property
    def octets(self) -> int:
        return _NONE_OCTETS if self.model is None else self.model.size_octets


@define(eq=False)
class ModelShelf:
    """Models as one process judges by them.

    Attributes:
        seconds: a monotonic clock.
        most_octets: what is in memory; one more, and the one not asked for the longest goes.
    """

    files: ModelFiles
    seconds: Callable[[], float] = time.monotonic
    most_octets: int = SHELF_OCTETS
    _shelved: OrderedDict[int, _Shelved] = field(factory=OrderedDict, init=False)
    _octets: int = field(default=0, init=False)
    _lock: Lock = field(factory=Lock, init=False)
    _empty: bool = field(default=True, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever learned; a look at the folder, once a second at most."""
        now = self.seconds()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._empty = not self._has_any()
        return self._empty

    def _has_any(self) -> bool:
        try:
            with os.scandir(self.files.folder) as entries:
                return any(entry.name.endswith(ENDING) for entry in entries)
        except OSError:
            return False

    def at_hand(self, account_ids: Iterable[int]) -> dict[int, Model | None] | None:
        """Of each what `model` gives, where no file must be read for it; else None.

        A look at the name of a file at most, once a second: so the reactor's thread may call it.
        """
        if not self._lock.acquire(blocking=False):  # one reads
            return None
        try:
            found: dict[int, Model | None] = {}
            for account_id in account_ids:
                kept = self._looked_at_anew(account_id)
                if kept is None:
                    return None
                self._shelved.move_to_end(account_id)
                found[account_id] = kept.model
            return found
        finally:
            self._lock.release()

    def _looked_at_anew(self, account_id: int) -> _Shelved | None:
        """What is kept, if its file is still as it was; the lock is held."""
        now = self.seconds()
        kept = self._shelved.get(account_id)
        if kept is not None and now - kept.looked_at < LOOK_S:
            return kept
        identity = _identity(self.files.path_of(account_id))
        if kept is None and identity is None:
            self._shelve(account_id, None, None, now)
            return self._shelved[account_id]
        if kept is None or identity != kept.identity:
            return None
        kept.looked_at = now
        return kept

    def model(self, account_id: int) -> Model | None:
        """An account's, or the node's, as its file has it; None without one. Called in threads.

        While one reads a file that was replaced, others judge by what was there before: a hundred
        mails that waited for it would then all be judged at once.
        """
        path = self.files.path_of(account_id)
        with self._lock:
            now = self.seconds()
            kept = self._shelved.get(account_id)
            if kept is None:
                identity = _identity(path)
                return self._shelve(account_id, identity, _read(path) if identity else None, now)
            self._shelved.move_to_end(account_id)
            if now - kept.looked_at < LOOK_S:
                return kept.model
            kept.looked_at = now
            before = kept.identity
        identity = _identity(path)
        if identity == before:
            return kept.model
        model = _read(path) if identity else None
        with self._lock:
            return self._shelve(account_id, identity, model, now)

    def _shelve(
        self, account_id: int, identity: _Identity | None, model: Model | None, now: float
    ) -> Model | None:
        """It is what is judged by from now on; the lock is held."""
        gone = self._shelved.pop(account_id, None)
        self._octets -= gone.octets if gone is not None else 0
        self._shelved[account_id] = made = _Shelved(identity, model, now)
        self._octets += made.octets
        while self._octets > self.most_octets and len(self._shelved) > 1:
            _, gone = self._shelved.popitem(last=False)
            self._octets -= gone.octets
        return model


def _identity(path: Path) -> _Identity | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_ctime_ns, about.st_size  # another owner may let us read it


def _read(path: Path) -> Model | None:
    """Without its lessons; None for one that can't be read: who teaches sets it aside."""
    try:
        with path.open("rb") as file:
            return unpack(file.read(MOST_OCTETS + 1), to_judge=True)
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        _log.warn("nothing is judged by {path}: {why}", path=str(path), why=str(error))
        return None
