"""Bodies of requests, taken as they come: small ones into memory, large ones to the disk.

A body has its bounds from the header on. What goes to the disk goes there in a thread, and no more
is read until it is there: what an upload costs in memory is a few pieces. Files have no name, so
they are gone when the process is, whatever becomes of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import parse_qsl

from attrs import define, field
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from twisted.internet.defer import Deferred

from mailnode.filenames import safe_name
from mailnode.web.refusals import BadRequest, BodyTooLarge

MOST_FIELDS = 1000
MOST_FIELD_OCTETS = 1 << 20  # of all fields of a form beside its files
MOST_NAME_CHARACTERS = 200
PIECE_OCTETS = 256 << 10

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
        file: at its beginning once it is whole; it has no name on the disk.
    """

    field: str
    name: str
    kind: str
    file: IO[bytes]
    size_octets: int = 0

    def close(self) -> None:
        self.file.close()


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
    """

    most_octets: int
    folder: Path
    in_thread: InThread
    boundary: str = ""
    kind: str = ""
    judge: Callable[[Form], object] = field(default=lambda form: None)
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
            self.uploads.close()

    def _work(self, last: bool) -> Deferred[Any]:
        data, self._waiting, self._waiting_octets = b"".join(self._waiting), [], 0
        self._writing = True
        done = self.in_thread(self._write, data, last)
        return done.addBoth(self._written)

    def _written(self, result: Any) -> Any:
        self._writing = False
        if self._dropped:
            self.uploads.close()
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
        if last:
            for each in self.uploads.files:
                each.file.seek(0)

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
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        self.uploads.files.append(UploadedFile(name, safe_name(given, "file"), kind[:200], file))

    def _append(self, data: bytes) -> None:
        if self._value is None:
            into = self.uploads.files[-1]
            into.file.write(data)
            into.size_octets += len(data)
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
