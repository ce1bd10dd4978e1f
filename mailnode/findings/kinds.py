"""What octets are, by how they begin; and which types and extensions say so.

A table of our own. The libraries that guess (puremagic, filetype) answer with the likeliest of many
kinds, some by a single octet; here a wrong answer is a false alarm. They don't know which kinds
may stand behind an extension (an encrypted .docx is no zip), nor scripts, HTML and calendars.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import field, frozen

LOOKED_AT_OCTETS = 65_536


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@frozen
class Kind:
    """What octets can be.

    Attributes:
        name: for people.
        extensions, types: that name it.
        is_program: whether opening it runs it.
        is_sure: whether octets without its beginning can't be of this kind.
        or_else: kinds whose octets may stand behind its name, too.
        built_on: the kind that it is as well.
    """

    name: str
    extensions: frozenset[str] = field(converter=words)
    types: frozenset[str] = field(converter=words)
    is_program: bool = False
    is_sure: bool = True
    or_else: tuple[str, ...] = ()
    built_on: str = ""

    @property
    def is_text(self) -> bool:
        return self.name in ("HTML", "script", "calendar", "address card", "RTF")

    @property
    def is_media(self) -> bool:
        return any(each.startswith(("image/", "audio/", "video/")) for each in self.types)

    def may_be(self, found: Kind | None) -> bool:
        """Whether octets of that kind may stand behind a name of this one.

        Args:
            found: None: their beginning doesn't tell.
        """
        if found is None:
            return not self.is_sure
        if self.is_text and found.is_text and not self.is_sure:
            return True  # a web page may begin with anything
        return found is self or found.name in self.or_else or found.built_on == self.name


_KINDS = (
    Kind("PDF", "pdf", "application/pdf application/x-pdf"),
    Kind("PNG", "png", "image/png"),
    Kind("JPEG", "jpg jpeg jfif jpe", "image/jpeg image/jpg image/pjpeg"),
    Kind("GIF", "gif", "image/gif"),
    Kind("WebP", "webp", "image/webp"),
    Kind("TIFF", "tif tiff", "image/tiff"),
    Kind("BMP", "bmp", "image/bmp image/x-ms-bmp"),
    Kind("WAV", "wav", "audio/wav audio/x-wav audio/wave"),
    Kind("Ogg", "ogg oga ogv opus", "audio/ogg video/ogg application/ogg"),
    Kind(
        "MP4",
        "mp4 m4a m4v mov heic heif avif",
        "video/mp4 audio/mp4 image/heic image/heif image/avif",
        is_sure=False,
    ),
    Kind("zip", "zip", "application/zip application/x-zip-compressed"),
    Kind(
        "Word document",
        "docx docm dotx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        or_else=("OLE2 document", "zip"),
        built_on="zip",
    ),
    Kind(
        "Excel sheet",
        "xlsx xlsm xltx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        or_else=("OLE2 document", "zip"),
        built_on="zip",
    ),
    Kind(
        "PowerPoint",
        "pptx pptm ppsx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        or_else=("OLE2 document", "zip"),
        built_on="zip",
    ),
    Kind(
        "OpenDocument",
        "odt ods odp odg ott",
        "application/vnd.oasis.opendocument.text application/vnd.oasis.opendocument.spreadsheet"
        " application/vnd.oasis.opendocument.presentation",
        built_on="zip",
    ),
    Kind("EPUB", "epub", "application/epub+zip", built_on="zip"),
    Kind(
        "Java archive",
        "jar war",
        "application/java-archive",
        is_program=True,
        or_else=("zip",),
        built_on="zip",
    ),
    Kind(
        "Android app",
        "apk",
        "application/vnd.android.package-archive",
        is_program=True,
        or_else=("zip", "Java archive"),
        built_on="zip",
    ),
    Kind("gzip", "gz tgz", "application/gzip application/x-gzip"),
    Kind("bzip2", "bz2", "application/x-bzip2"),
    Kind("xz", "xz", "application/x-xz"),
    Kind("Zstandard", "zst", "application/zstd"),
    Kind("7z", "7z", "application/x-7z-compressed"),
    Kind("RAR", "rar", "application/vnd.rar application/x-rar-compressed application/x-rar"),
    Kind(
        "Windows program",
        "exe dll scr com sys cpl pif",
        "application/x-msdownload application/x-dosexec"
        " application/vnd.microsoft.portable-executable",
        is_program=True,
        is_sure=False,
    ),
    Kind("ELF program", "elf so", "application/x-executable", is_program=True, is_sure=False),
    Kind("Mach-O program", "dylib", "application/x-mach-binary", is_program=True, is_sure=False),
    Kind("script", "sh bash", "application/x-sh text/x-shellscript", is_sure=False),
    Kind(
        "OLE2 document",
        "doc xls ppt msg msi",
        "application/msword application/vnd.ms-excel application/vnd.ms-powerpoint",
        or_else=("RTF", "Word document", "Excel sheet", "PowerPoint"),
    ),
    Kind("RTF", "rtf", "application/rtf text/rtf"),
    Kind("HTML", "html htm xhtml", "text/html application/xhtml+xml", is_sure=False),
    Kind("calendar", "ics", "text/calendar"),
    Kind("address card", "vcf", "text/vcard text/x-vcard"),
)
KINDS = {kind.name: kind for kind in _KINDS}
BY_EXTENSION = {name: kind for kind in _KINDS for name in kind.extensions}
BY_TYPE = {name: kind for kind in _KINDS for name in kind.types}
# Extensions that systems run, beyond those of the kinds above.
PROGRAMS = words(
    "ade adp apk app appx bat chm cmd com cpl dll exe hta inf ins isp jar js jse lib lnk mde msc"
    " msi msp mst nsh pif ps1 ps1xml reg scf scr sct shb sys vb vbe vbs vxd wsc wsf wsh xll"
)

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"OggS\0", "Ogg"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x7fELF", "ELF program"),
    (b"\xfe\xed\xfa\xce", "Mach-O program"),
    (b"\xfe\xed\xfa\xcf", "Mach-O program"),
    (b"\xce\xfa\xed\xfe", "Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE2 document"),
    (b"{\\rtf", "RTF"),
)
_PDF = re.compile(rb"%PDF-\d\.\d")
_PDF_OBJECT = re.compile(rb"[\r\n]\d{1,9} \d{1,5} obj\b")
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_SCRIPT = re.compile(rb"#![ \t]*/[!-~]+")
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.{0,2000}?-->\s*|<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html)\b",
    re.I | re.S,
)
_ZIP_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_NAMES = (
    (b"word/", "Word document"),
    (b"xl/", "Excel sheet"),
    (b"ppt/", "PowerPoint"),
    (b"AndroidManifest.xml", "Android app"),
    (b"META-INF/", "Java archive"),
)


def kind_of(data: bytes) -> Kind | None:
    """What octets surely are; None where their beginning doesn't tell."""
    head = data[:LOOKED_AT_OCTETS]
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return KINDS[name]
    for is_it, name in _LOOKS:
        if is_it(head):
            return KINDS[name]
    return _zip_of(head) if head.startswith(_ZIP_BEGINNINGS) else None


def _is_windows_program(head: bytes) -> bool:
    """MZ may begin a text; the offset of the new header, or octets that are no text, tell."""
    if not head.startswith(b"MZ") or len(head) < 64:
        return False
    at = int.from_bytes(head[60:64], "little")
    return head[at : at + 4] == b"PE\0\0" or b"\0" in head[:64]


def _is_pdf(head: bytes) -> bool:
    """A text may speak of it; readers take one that has something in front, and then objects."""
    found = _PDF.search(head[:1024])
    return bool(found and (not head[: found.start()].strip() or _PDF_OBJECT.search(head)))


def _is_bmp(head: bytes) -> bool:
    return head.startswith(b"BM") and head[6:10] == bytes(4) and len(head) > 26


def _text_begins(word: bytes) -> Callable[[bytes], bool]:
    pattern = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,100}" + word, re.I)
    return lambda head: bool(pattern.match(head))


_LOOKS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (_is_pdf, "PDF"),
    (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", "WebP"),
    (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WAVE", "WAV"),
    (lambda head: head[4:8] == b"ftyp", "MP4"),
    (_is_bmp, "BMP"),
    (_is_windows_program, "Windows program"),
    (lambda head: bool(_BZIP2.match(head)), "bzip2"),
    (lambda head: bool(_SCRIPT.match(head)), "script"),
    (lambda head: bool(_HTML.match(head)), "HTML"),
    (_text_begins(b"BEGIN:VCALENDAR"), "calendar"),
    (_text_begins(b"BEGIN:VCARD"), "address card"),
)


def _zip_of(head: bytes) -> Kind:
    """What is built on zip is told by the names in it; OpenDocument's first one says its type."""
    if head[30:38] == b"mimetype":
        opens = head[38:].startswith(b"application/epub")
        return KINDS["EPUB" if opens else "OpenDocument"]
    names = re.findall(rb"PK\x03\x04.{26}([ -~]{1,40})", head, re.S)
    for beginning, name in _ZIP_NAMES:
        if any(each.startswith(beginning) for each in names):
            return KINDS[name]
    return KINDS["zip"]
