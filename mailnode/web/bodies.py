"""Bodies of requests, taken as they come: small ones into memory, large ones to the disk.

A body has its bounds from the header on. What goes to the disk goes there in a thread, and no more
is read until it is there: what an upload costs in memory is a few pieces. All files of a body lie
in one, so that many small ones cost one descriptor; it has no name, so it is gone when the process
is, whatever becomes of it.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qsl

from attrs import define, field
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from twisted.internet.defer import Deferred

from mailnode.filenames import safe_name
from mailnode.web.refusals import BadRequest, BodyTooLarge, NoRoom, TooManyBodies

MOST_FIELDS = 1000
MOST_FIELD_OCTETS = 1 << 20  # of all fields of a form beside its files
MOST_NAME_CHARACTERS = 200
PIECE_OCTETS = 256 << 10
MOST_LARGE, MOST_LARGE_OF_ACCOUNT = 500, 100

InThread = Callable[..., Deferred[Any]]


@define(eq=False)
class Form:
    """Names and values, each name once or more."""

    _fields: Mapping[str, Sequence[str]] = field(factory=dict)

    def get(self, name: str, otherwise: str = "") -> str:
        """The last value of that name."""
        values = self._fields.get(name)
        return values[-1] if values else otherwise

    def all(self, name: str) -> Sequence[str]:
        return self._fields.get(name, ())

    def names(self) -> Iterable[str]:
        return self._fields.keys()


def read_form(octets: bytes) -> Form:
    """Of application/x-www-form-urlencoded.

    Raises:
        BadRequest: it is not that, or has too many fields.
    """
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            octets.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError as error:
        raise BadRequest("The form can't be read", detail=str(error)) from None
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return Form(fields)


@define(eq=False)
class UploadedFile:
    """A file that came.

    Attributes:
        field: its name in the form, "" for a body that is all file.
        name: safe for a file's name.
        kind: the Content-Type that was said, without parameters; "" where none was.
        file: it can be read once the body is whole; it has no name on the disk.
    """

    field: str
    name: str
    kind: str
    file: IO[bytes]
    size_octets: int = 0

    def open(self) -> BinaryIO:
        """Another reader of it from its beginning, which closes for itself."""
        return cast(BinaryIO, cast(_Window, self.file).again())

    def close(self) -> None:
        self.file.close()


class _Window(io.RawIOBase):
    """A file that lies in another one, read where it stands: several may be at once."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        super().__init__()
        self._file, self._start, self._at = file, start, 0
        self.size_octets = 0
        self._is_again = False

    def again(self) -> _Window:
        """Of a descriptor of its own."""
        made = _Window(os.fdopen(os.dup(self._file.fileno()), "rb"), self._start)
        made.size_octets, made._is_again = self.size_octets, True
        return made

    def close(self) -> None:
        super().close()
        if self._is_again:
            self._file.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        from_ = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size_octets}[whence]
        self._at = max(0, from_ + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Raises ValueError: it was closed."""
        count = max(0, min(len(buffer), self.size_octets - self._at))
        found = os.pread(self._file.fileno(), count, self._start + self._at)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@define(eq=False)
class Large:
    """How many large bodies come at the moment; each costs a descriptor and room on the disk."""

    _of_accounts: Counter[int] = field(factory=Counter, init=False)

    def come(self, account_id: int) -> Callable[[], None]:
        """One comes; it has come, or never will, when what this gives is called.

        Raises:
            TooManyBodies.
        """
        of_account = self._of_accounts[account_id]
        if of_account >= MOST_LARGE_OF_ACCOUNT or self._of_accounts.total() >= MOST_LARGE:
            raise TooManyBodies()
        self._of_accounts[account_id] += 1
        left = [account_id]

        def leave() -> None:
            if left:
                self._of_accounts[left.pop()] -= 1
                self._of_accounts += Counter()  # those with one stay

        return leave


@define(eq=False)
class Uploads:
    """What a streamed body held.

    Attributes:
        form: the fields beside the files.
        files: in their order.
    """

    form: Form = field(factory=Form)
    files: list[UploadedFile] = field(factory=list)

    def close(self) -> None:
        for each in self.files:
            each.close()


class Body(Protocol):
    """Takes a body; what it gives is the request's."""

    def take(self, data: bytes) -> Deferred[Any] | None:
        """The next octets; no more are brought until the Deferred fires.

        Raises:
            MailError: no more is taken.
        """

    def end(self) -> Deferred[Any] | None:
        """It was whole."""

    def drop(self) -> None:
        """Nobody wants it any more."""


@define(eq=False)
class Nothing:
    """What nobody needs is read and thrown away."""

    def take(self, data: bytes) -> None:
        """Nothing of it is kept."""

    def end(self) -> None:
        """There is nothing."""

    def drop(self) -> None:
        """There is nothing."""


@define(eq=False)
class InMemory:
    """A small one."""

    most_octets: int
    octets: bytearray = field(factory=bytearray, init=False)

    def take(self, data: bytes) -> None:
        if len(self.octets) + len(data) > self.most_octets:
            raise BodyTooLarge.past(self.most_octets)
        self.octets += data

    def end(self) -> None:
        """It is there."""

    def drop(self) -> None:
        self.octets = bytearray()


@define(eq=False)
class ToDisk:
    """A large one: a file, or a form with files in it.

    Args:
        boundary: of multipart/form-data; "" where all of it is one file.
        judge: is called with the form before the first file of it is taken, and may refuse.
        has_room: whether the disk takes more.
        leave: is called when nobody needs it any more.
    """

    most_octets: int
    folder: Path
    in_thread: InThread
    boundary: str = ""
    kind: str = ""
    judge: Callable[[Form], object] = field(default=lambda form: None)
    has_room: Callable[[], bool] = field(default=lambda: True)
    leave: Callable[[], None] = field(default=lambda: None)
    uploads: Uploads = field(factory=Uploads, init=False)
    _octets: int = field(default=0, init=False)
    _waiting: list[bytes] = field(factory=list, init=False)
    _waiting_octets: int = field(default=0, init=False)
    _parser: Any = field(default=None, init=False)
    _part: MultipartSegment | None = field(default=None, init=False)
    _value: bytearray | None = field(default=None, init=False)
    _fields: dict[str, list[str]] = field(factory=dict, init=False)
    _field_octets: int = field(default=0, init=False)
    _judged: bool = field(default=False, init=False)
    _dropped: bool = field(default=False, init=False)
    _file: IO[bytes] | None = field(default=None, init=False)
    _file_octets: int = field(default=0, init=False)
    _window: _Window | None = field(default=None, init=False)
    _writing: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.uploads.form = Form(self._fields)
        if self.boundary:
            self._parser = PushMultipartParser(
                self.boundary, max_segment_count=MOST_FIELDS, strict=True
            )

    def take(self, data: bytes) -> Deferred[Any] | None:
        self._octets += len(data)
        if self._octets > self.most_octets:
            raise BodyTooLarge.past(self.most_octets)
        if not self.has_room():
            raise NoRoom()
        self._waiting.append(data)
        self._waiting_octets += len(data)
        return self._work(last=False) if self._waiting_octets >= PIECE_OCTETS else None

    def end(self) -> Deferred[Any] | None:
        return self._work(last=True)

    def drop(self) -> None:
        """Files that a thread still writes are closed behind it."""
        self._dropped = True
        self._waiting = []
        if not self._writing:
            self._close()

    def _close(self) -> None:
        self.uploads.close()
        if self._file is not None:
            self._file.close()
        self.leave()

    def _work(self, last: bool) -> Deferred[Any]:
        data, self._waiting, self._waiting_octets = b"".join(self._waiting), [], 0
        self._writing = True
        done = self.in_thread(self._write, data, last)
        return done.addBoth(self._written)

    def _written(self, result: Any) -> Any:
        self._writing = False
        if self._dropped:
            self._close()
        return result

    # In a thread, one call at a time

    def _write(self, data: bytes, last: bool) -> None:
        if self._parser is None:
            if not self.uploads.files:
                self._begin_file("", "", self.kind)
            self._append(data)
        else:
            try:
                self._write_parts(data, last)
            except MultipartError as error:
                raise BadRequest("The form can't be read", detail=str(error)) from error
        if last and self._file is not None:
            self._file.flush()

    def _write_parts(self, data: bytes, last: bool) -> None:
        for event in self._parser.parse(data) if data else ():
            if isinstance(event, MultipartSegment):
                self._begin_part(event)
            elif event is not None:
                self._append(event)
            elif self._value is not None and self._part is not None:
                self._end_field(str(self._part.name))
        if last:
            self._parser.close()

    def _begin_part(self, part: MultipartSegment) -> None:
        self._part = part
        name = str(part.name or "")
        if len(name) > MOST_NAME_CHARACTERS:
            raise BadRequest("The form can't be read", detail="a field's name is too long")
        if part.filename is None:
            self._value = bytearray()
            return
        self._value = None
        self._judge()
        given = part.filename.replace("\\", "/").rpartition("/")[2]
        self._begin_file(name, given, part.content_type or "")

    def _judge(self) -> None:
        if not self._judged:
            self._judged = True
            self.judge(self.uploads.form)

    def _begin_file(self, name: str, given: str, kind: str) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        self._window = _Window(self._file, self._file_octets)
        file = cast(BinaryIO, self._window)
        self.uploads.files.append(UploadedFile(name, safe_name(given, "file"), kind[:200], file))

    def _append(self, data: bytes) -> None:
        if self._value is None:
            assert self._file is not None and self._window is not None
            self._file.write(data)
            self._file_octets += len(data)
            self._window.size_octets += len(data)
            self.uploads.files[-1].size_octets += len(data)
            return
        self._field_octets += len(data)
        if self._field_octets > MOST_FIELD_OCTETS:
            raise BodyTooLarge("The fields of a form may have 1 MiB together")
        self._value += data

    def _end_field(self, name: str) -> None:
        assert self._value is not None
        try:
            self._fields.setdefault(name, []).append(self._value.decode())
        except UnicodeDecodeError:
            raise BadRequest("The form is not UTF-8") from None
        self._value = None


def form_boundary(content_type: str) -> str:
    """The boundary of a multipart/form-data body; "" for any other.

    Raises:
        BadRequest: it has none that could be.
    """
    kind, parameters = parse_options_header(content_type[:1000])
    if kind != "multipart/form-data":
        return ""
    boundary = str(parameters.get("boundary", ""))
    if not boundary or len(boundary) > 70 or not boundary.isascii():
        raise BadRequest("The form has no boundary")
    return boundary
