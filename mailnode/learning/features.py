"""What a mail looks like to who learns: a bounded list of names, such as ``word viagra``.

A name is a kind, a blank, and what was found. Names are read from what the reader of a mail sees
and from what other checks have found out, and from nothing else:

- **Not read** are Received, Date, Message-ID, In-Reply-To, References, X-..., List-... and the
  other fields that tell the way of a mail. Whoever sends can write them as he likes. And in a
  collection of mails they tell who collected it, and when: a filter that reads them looks better
  on the collection than it will be on mail to come. That a sender is known, or that a mail answers
  one of ours, is something to find out and hand in as a fact.
- **To and Cc** are only counted: addresses in them are those of the one who judges, or of a list.
- **Digits** are all ``#``. The amount, the number and the day differ in each mail of a kind, their
  form does not.
- **Words alone**, no pairs of them: pairs double what a judgement costs, fill the tables, and
  changed no figure of the bench for the better.

Everything is bounded, whatever a stranger sends: the octets that are looked at, the characters of
text, the parts, and the names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from zlib import crc32

from attrs import field, frozen

from mailnode.learning.page import PAGE_CHARACTERS, links_of, read_page
from mailnode.reading.domains import ascii_domain, registrable
from mailnode.reading.fields import addresses_of, decoded, harmless
from mailnode.reading.octets import Octets
from mailnode.reading.parts import Parts, parts_of

VERSION = 1  # a model of another one has learned names that this doesn't give

MAIL_OCTETS = 256 << 10
PAGE_OCTETS = 2 * PAGE_CHARACTERS  # style sheets come first
TEXT_OCTETS = 16 << 10
TEXT_CHARACTERS = 8 << 10
SUBJECT_CHARACTERS = 300
MOST_PARTS = 30
MOST_WORDS = 300  # different ones; of long mails the beginning says what they are
MOST_NAMES = 500
MOST_FACTS = 40
NAME_CHARACTERS = 60
LONGEST_WORD = 24

_EDGES = "'.,@-_%"
_INNER = "$€£¥₹_'.,@-%"
_ASCII = {
    code: ("#" if chr(code).isdigit() else chr(code).lower() if chr(code).isalnum() else " ")
    for code in range(128)
    if chr(code) not in _INNER
}
_DIGIT = re.compile(r"\d")
_WORD = re.compile(rf"[#\w{re.escape(_INNER)}]+")
# What is written between letters and never seen.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\ufe00-\ufe0f\ufeff]+"
)
# Thai, Lao, Burmese, Khmer, Japanese, Chinese: no blanks between words; Korean has few.
_NO_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]"
)
_MANY = ((1, "one"), (5, "a few"))


@frozen
class Likeness:
    """What one mail looks like.

    Attributes:
        names: of what stands in it, none twice.
        facts: what other checks said, as names of kind ``fact``.
        numbers: one of 32 bits for each name and then each fact, the same on every machine.
        key: of `names`: two mails that look alike in everything have the same.
    """

    names: tuple[str, ...]
    facts: tuple[str, ...] = ()
    numbers: tuple[int, ...] = field(init=False, repr=False)
    key: int = field(init=False, repr=False)

    @numbers.default
    def _numbers(self) -> tuple[int, ...]:
        every = (*self.names, *self.facts)
        joined = "\n".join(every).encode("utf-8", "replace")
        return tuple(map(crc32, joined.split(b"\n"))) if every else ()

    @key.default
    def _key(self) -> int:
        digest = blake2b("\n".join(self.names).encode("utf-8", "replace"), digest_size=8)
        return int.from_bytes(digest.digest(), "little")


def likeness_of(mail: Octets | Parts, facts: Mapping[str, str] | Iterable[str] = ()) -> Likeness:
    """What a mail looks like; never raises, whatever the mail is.

    A millisecond, so it belongs into a thread.

    Args:
        mail: header and body as they came; the first `MAIL_OCTETS` are looked at.
        facts: what other checks found, such as ``spf=fail`` or ``{"spf": "fail"}``; those beyond
            `MOST_FACTS` are left out.
    """
    if isinstance(facts, Mapping):
        facts = (f"{name}={value}" for name, value in facts.items())
    parts = mail if isinstance(mail, Parts) else parts_of(mail[:MAIL_OCTETS])
    every = [*_of_header(parts), *_of_structure(parts), *_of_text(parts)]
    return Likeness(
        tuple(islice(dict.fromkeys(every), MOST_NAMES)),
        tuple(dict.fromkeys(_fact(each) for each in islice(facts, MOST_FACTS))),
    )


def likeness_of_file(path: Path, facts: Mapping[str, str] | Iterable[str] = ()) -> Likeness:
    """The same of a mail in a file, of which no more is read than is looked at.

    Raises:
        OSError.
    """
    with path.open("rb") as file:
        return likeness_of(file.read(MAIL_OCTETS), facts)


def _fact(fact: str) -> str:
    return f"fact {harmless(str(fact))[:NAME_CHARACTERS]}"


def _of_header(parts: Parts) -> Iterator[str]:
    fields = parts.fields
    subject = decoded(fields.get("subject", [""])[0])[:SUBJECT_CHARACTERS]
    yield from map("subject %s".__mod__, words_of(subject))
    if not subject:
        yield "form no subject"
    elif len(subject) > 7 and subject.isupper():
        yield "form subject in capitals"
    senders = addresses_of(fields.get("from", [])[:2])[:3]
    for name, address in senders:
        yield from map("from %s".__mod__, words_of(name[:NAME_CHARACTERS]))
        yield from _of_address(address)
    if len(senders) != 1:
        yield f"form {'several senders' if senders else 'no sender'}"
    own = {_domain(address) for _, address in senders}
    answers = addresses_of(fields.get("reply-to", [])[:1])[:1]
    if any(_domain(address) not in own for _, address in answers):
        yield "form answers go elsewhere"
    to = sum(value.count("@") for name in ("to", "cc") for value in fields.get(name, ()))
    yield f"form to {'nobody' if not to else next((s for n, s in _MANY if to <= n), 'many')}"


def _domain(address: str) -> str:
    domain = ascii_domain(address.rpartition("@")[2])
    return registrable(domain) if "." in domain else ""


def _of_address(address: str) -> Iterator[str]:
    local, _, _ = _DIGIT.sub("#", address.lower()[:254]).rpartition("@")
    domain = _domain(address)
    if domain:
        yield f"sender {local[:LONGEST_WORD]}@{domain}"
        yield f"sender @{domain}"
        yield f"sender .{domain.rpartition('.')[2]}"


def _of_structure(parts: Parts) -> Iterator[str]:
    """How it is made: kinds of parts, charsets, files."""
    for part in islice(parts, MOST_PARTS):
        yield f"part {part.kind[:NAME_CHARACTERS]}"
        if part.charset:
            yield f"charset {part.charset[:LONGEST_WORD]}"
        if part.encoding == "base64" and part.kind.startswith("text/"):
            yield "form text in base64"
        if part.name:
            ending = part.name.lower().rpartition(".")[2]
            yield f"file .{ending}" if ending.isalnum() and len(ending) < 9 else "form a file"


def _of_text(parts: Parts) -> list[str]:
    """The words of all texts, attached ones too, until there are enough."""
    found: list[str] = []
    left, words, pages = TEXT_CHARACTERS, dict[str, None](), 0
    for part in islice(parts, MOST_PARTS):
        if left <= 0:
            break
        if part.kind == "text/html" and not pages:
            pages += 1  # one: most of the time goes into reading it
            page = read_page(part.text(PAGE_OCTETS).lower())
            text = page.text[:left]
            found += page.marks
        elif part.kind.startswith("text/") and part.kind != "text/html":
            text = part.text(TEXT_OCTETS)[:left]
            if "://" in text:
                found += links_of(text.lower())
        else:
            continue
        left -= len(text)
        if "!!" in text:
            found.append("form several exclamation marks")
        words.update(dict.fromkeys(words_of(text)))
    if len(words) < 5:
        found.append("form hardly any text")
    return found + [f"word {word}" for word in words]


def words_of(text: str) -> list[str]:
    """The first `MOST_WORDS` different words of a text, in lower case, digits as ``#``.

    What joins the parts of a word stays in it: don't, e-mail, 50%, $9.99, example.org. A word of a
    language that puts no blanks between them is its pairs of letters.
    """
    text = text.replace("\xa0", " ")  # pages are full of them, and what is ASCII takes a third
    if text.isascii():
        found = text.translate(_ASCII).split()
    else:
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text)).lower()
        found = _WORD.findall(_DIGIT.sub("#", text))
        if _NO_BLANKS.search(text):
            found = list(chain.from_iterable(map(_parted, found)))
    # Lists: the half of the time that it would take word by word.
    words = [word.strip(_EDGES) for word in dict.fromkeys(found)]
    shown = [
        word if len(word) <= LONGEST_WORD else f"{word[0]}…" for word in words if len(word) > 1
    ]
    return list(dict.fromkeys(shown))[:MOST_WORDS]


def _parted(word: str) -> list[str]:
    if len(word) < 3 or not _NO_BLANKS.search(word):
        return [word]
    return [word[at : at + 2] for at in range(len(word) - 1)]
