"""What is harmful by its look: programs, disguises, macros, and what archives hide.

`find_harm` is pure: tables say what is what, and a table says what is done about each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen

from mailnode.errors import Refused, one_line
from mailnode.filters.archives import NoDirectory, list_zip
from mailnode.filters.exchange import NoAnswer
from mailnode.filters.limits import REASONS, Limited, detail_of
from mailnode.findings.kinds import BY_EXTENSION, BY_TYPE, KINDS, PROGRAMS, Kind, kind_of, words
from mailnode.model import Envelope, Message, Verdict
from mailnode.reading.fields import harmless, header_end
from mailnode.reading.octets import Octets
from mailnode.reading.parts import Part, parts_of
from mailnode.threads import Threads, TooMuchWaiting

REFUSE, UNWANTED, NOTE = "refuse", "unwanted", "note"
# What is done about each, if no setting says otherwise: what has hardly a good reason is refused,
# what people do send each other goes to Junk, the rest is only told.
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "program": REFUSE,
        "disguised-program": REFUSE,
        "archive-of-programs": REFUSE,
        "program-in-archive": UNWANTED,
        "macros": UNWANTED,
        "disk-image": UNWANTED,
        "opens-programs": UNWANTED,
        "broken-archive": UNWANTED,
        "too-many-parts": UNWANTED,
        "encrypted": NOTE,
        "archive-in-archive": NOTE,
    }
)

_MACROS = words("docm dotm xlsm xltm xlam xlsb pptm potm ppam ppsm sldm")
_DISK_IMAGES = words("iso img vhd vhdx udf dmg")
_OPENS_PROGRAMS = words(
    "url website library-ms search-ms searchconnector-ms settingcontent-ms appref-ms application"
    " appcontent-ms contact diagcab theme themepack one onepkg iqy oqy slk rdp xbap"
)
_ARCHIVES = words("zip rar 7z tar gz tgz bz2 xz zst cab arj ace lzh z")
_DOCUMENTS = words(
    "pdf doc docx xls xlsx ppt pptx odt ods odp rtf txt csv html htm jpg jpeg png gif bmp tif tiff"
    " webp mp3 mp4 avi mov wav eml msg ics"
)
_OLE2 = "OLE2 document"
_OLE2_MACROS = "_VBA_PROJECT".encode("utf-16-le")
_OLE2_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_OFFICE_MACROS = re.compile(r"(?:^|/)vbaProject\.bin$", re.I)

_TURNED_ROUND = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FAR_OFF = re.compile(r"\s{8,}\.|\s{20,}")
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")
_CONTENT_TYPE = re.compile(rb"\ncontent-type[ \t]*:\s*([^;\r\n]*)")

NAME_CHARACTERS = 100
SMALL_OCTETS = 65_536
MOST_NAMES = 10_000
NAMES_FOR_DAMAGE = 500  # what a damaged directory counts: it takes as long


class HarmfulMail(Refused):
    enhanced = "5.7.0"
    text = "Message refused: it is harmful"


@frozen
class Harm:
    """One thing that may do harm.

    Attributes:
        rule: a key of `ACTIONS`.
        words: what it is, for people.
        path: of the part.
    """

    rule: str
    words: str
    path: str = ""


def _known_actions(_filter: Any, _attribute: Any, actions: Mapping[str, str]) -> None:
    for rule, action in actions.items():
        if rule not in ACTIONS:
            raise ValueError(f"no rule is called {rule!r}: there are {', '.join(ACTIONS)}")
        if action not in (REFUSE, UNWANTED, NOTE, "off"):
            raise ValueError(f'{rule} is "refuse", "unwanted", "note" or "off", not {action!r}')


@define(eq=False, kw_only=True)
class Harmful(Limited):
    """Refuses, or finds unwanted, what is attached, by `ACTIONS`; looks in a thread.

    Attributes:
        open_octets: `store.blobs.FileBlobs.windows`, or what does the same: the octets of a mail
            whose body is a blob, from its key and what stands in front; called in a thread.
        actions: where another is taken than `ACTIONS` has.
    """

    name: str = "harmful"

    threads: Threads
    open_octets: Callable[[str, bytes], Octets]
    most_octets: int = 100 << 20
    actions: Mapping[str, str] = field(factory=dict, validator=_known_actions)

    async def judge_surely(self, envelope: Envelope, message: Message) -> Verdict:
        """As every filter; but nothing is waited for where nothing is attached."""
        body = message.body
        if isinstance(body, bytes) and len(body) <= SMALL_OCTETS and is_text_alone(body):
            self.asked += 1
            return Verdict()
        return await Limited.judge_surely(self, envelope, message)

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        try:
            found = await self.threads.run(self._look, message)
        except TooMuchWaiting:
            raise NoAnswer("too much waits to be looked at") from None
        return self.verdict_on(found)

    def verdict_on(self, found: Sequence[Harm]) -> Verdict:
        """What the table makes of what was found, the gravest first.

        Raises:
            HarmfulMail: it is refused.
        """
        actions = {**ACTIONS, **self.actions}
        ranked = [
            [each for each in found if actions[each.rule] == action]
            for action in (REFUSE, UNWANTED, NOTE)
        ]
        refused, unwanted, noted = ranked
        if refused:
            gravest = one_line(f"Message refused: {refused[0].words}")
            told = [each.words for each in (*refused, *unwanted, *noted)]
            raise HarmfulMail(gravest, detail=detail_of(self.name, told))
        reasons = tuple(each.words for each in (*unwanted, *noted))
        return Verdict(unwanted=bool(unwanted), reasons=reasons[:REASONS])

    def _look(self, message: Message) -> list[Harm]:
        body = message.body
        octets = body if isinstance(body, bytes) else self.open_octets(body.key, b"")
        try:
            return find_harm(octets)
        finally:
            close = getattr(octets, "close", None)
            if close is not None:
                close()


def is_text_alone(body: bytes) -> bool:
    """Whether a mail is one text without a name: nothing is attached."""
    header = b"\n" + body[: header_end(body, 0, len(body))].lower()
    if b"multipart/" in header or b"name" in header:
        return False
    return all(kind.startswith(b"text/") for kind in _CONTENT_TYPE.findall(header))


def find_harm(octets: Octets) -> list[Harm]:
    """All that may do harm in a mail; belongs into a thread.

    A part is read once from its beginning to its end at most, in pieces; of an archive the
    directory is looked at.
    """
    parts, look = parts_of(octets), _Look()
    found = list[Harm]()
    for part in parts:
        if not part.is_multipart and not part.is_mail:
            by_rule = {harm.rule: harm for harm in reversed(list(look.at(part)))}
            found += reversed(by_rule.values())
    if parts.cut:
        found.append(Harm("too-many-parts", "it has more parts, or deeper ones, than can be read"))
    if look.names_left <= 0:
        words = "there are more files in its archives than can be looked at"
        found.append(Harm("too-many-parts", words))
    return found


@define(eq=False)
class _Look:
    """What is looked at in a mail.

    Attributes:
        names_left: of files in archives; the directories of many archives take time.
    """

    names_left: int = MOST_NAMES

    def at(self, part: Part) -> Iterator[Harm]:
        pieces = part.pieces()
        head = next(pieces, b"")
        kind = kind_of(head)
        by_name = _harm_of_name(part.name)
        typed = BY_TYPE.get(part.kind)
        if by_name is None and (kind or typed) and _is_program(kind, typed):
            by_name = _program_by_content(part, kind or typed)
        if by_name is not None:
            yield Harm(*by_name, part.path)
            if by_name[0] in ("program", "disguised-program"):
                return
        extension = _extension(part.name)
        called = BY_EXTENSION.get(extension) or typed
        if _is_zip(kind) or (_is_zip(called) and (kind is None or kind.name != _OLE2)):
            yield from self._in_zip(part, _joined(head, pieces))
        elif kind is not None and kind.name == _OLE2:
            yield from _harm_in_ole2(part, _joined(head, pieces))

    def _in_zip(self, part: Part, pieces: Iterable[bytes]) -> Iterator[Harm]:
        shown = _shown(part.name)
        if self.names_left <= 0:
            return
        try:
            listing = list_zip(pieces)
        except NoDirectory as error:
            self.names_left -= NAMES_FOR_DAMAGE
            yield Harm("broken-archive", f"{shown} can't be looked into: {error}", part.path)
            return
        self.names_left -= len(listing.names)
        if listing.encrypted:
            yield Harm("encrypted", f"{shown} is encrypted: nobody can look into it", part.path)
        if any(map(_OFFICE_MACROS.search, listing.names)):
            yield Harm("macros", f"{shown} is a document with macros", part.path)
        found = [
            (each, harm) for name in listing.names if (harm := _harm_of_name(each := _base(name)))
        ]
        programs = [each for each in found if each[1][0] in ("program", "disguised-program")]
        disguised = next((harm for _name, harm in programs if harm[0] == "disguised-program"), None)
        if disguised is not None:
            yield Harm("disguised-program", f"{disguised[1]}, in {shown}", part.path)
        elif programs:
            rule = (
                "archive-of-programs"
                if len(programs) == len(listing.names)
                else "program-in-archive"
            )
            yield Harm(rule, f"{_shown(programs[0][0])} in {shown} is a program", part.path)
        for rule in ("macros", "disk-image", "opens-programs"):
            other = next((harm for _name, harm in found if harm[0] == rule), None)
            if other is not None:
                yield Harm(rule, f"{other[1]}, in {shown}", part.path)
        inner = next((name for name in listing.names if _extension(name) in _ARCHIVES), None)
        if inner is not None:
            words = f"{_shown(_base(inner))} in {shown} is an archive, too, and is not looked into"
            yield Harm("archive-in-archive", words, part.path)


def _harm_of_name(name: str) -> tuple[str, str] | None:
    """(rule, words) for a file's name."""
    extension = _extension(name)
    shown = _shown(name)
    if extension in PROGRAMS:
        before = _extension(name.rpartition(".")[0])
        if before in _DOCUMENTS:
            return "disguised-program", f"{shown} looks like a .{before}, but is a program"
        if _TURNED_ROUND.search(name) or _FAR_OFF.search(name):
            return "disguised-program", f"{shown} hides that it is a program (.{extension})"
        return "program", f"{shown} is a program"
    for table, rule, text in (
        (_MACROS, "macros", "is a document with macros"),
        (_DISK_IMAGES, "disk-image", "is a disk image, which hides what is in it"),
        (_OPENS_PROGRAMS, "opens-programs", "is a file that opens programs or other hosts"),
    ):
        if extension in table:
            return rule, f"{shown} {text}"
    return None


def _is_program(kind: Kind | None, typed: Kind | None) -> bool:
    return any(each is not None and each.is_program for each in (kind, typed))


def _program_by_content(part: Part, kind: Kind | None) -> tuple[str, str]:
    assert kind is not None
    called = f" ({kind.name})"
    if _extension(part.name) in _DOCUMENTS:
        return "disguised-program", f"{_shown(part.name)} is a program{called} by another name"
    return "program", f"{_shown(part.name)} is a program{called}"


def _harm_in_ole2(part: Part, pieces: Iterable[bytes]) -> Iterator[Harm]:
    """Its directory may lie anywhere, and has the names of its streams in UTF-16."""
    wanted = {
        _OLE2_MACROS: Harm("macros", f"{_shown(part.name)} is a document with macros", part.path),
        _OLE2_ENCRYPTED: Harm(
            "encrypted", f"{_shown(part.name)} is encrypted: nobody can look into it", part.path
        ),
    }
    before = b""
    for piece in pieces:
        data = before + piece
        for name in [each for each in wanted if each in data]:
            yield wanted.pop(name)
        before = data[-64:]


def _is_zip(kind: Kind | None) -> bool:
    return kind is not None and (kind is KINDS["zip"] or kind.built_on == "zip")


def _joined(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from pieces


def _base(name: str) -> str:
    """A file's name without its folders."""
    return re.split(r"[/\\]", name)[-1]


def _extension(name: str) -> str:
    """What systems take for it: Windows passes over blanks and dots at the end of a name."""
    stripped = _TURNED_ROUND.sub("", name).rstrip(". \t\0").lower()
    extension = stripped.rpartition(".")[2].strip() if "." in stripped else ""
    return extension if _EXTENSION.fullmatch(extension) else ""


def _shown(name: str) -> str:
    """A name for people; one that is too long keeps its end, where the extension is."""
    name = harmless(_TURNED_ROUND.sub("\N{REPLACEMENT CHARACTER}", name))
    if len(name) > NAME_CHARACTERS:
        name = name[: NAME_CHARACTERS // 2] + "…" + name[1 - NAME_CHARACTERS // 2 :]
    return f'"{name}"' if name else "a file without a name"
