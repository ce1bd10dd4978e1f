"""Recipients and senders as a person types them; what is wrong with one is said in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.headerregistry import Address as Shown
from itertools import chain, islice

from attrs import field, frozen

from mailnode.addresses import Address, parse_address
from mailnode.composing.headers import undecoded
from mailnode.errors import BadAddress, MailError


def one_line(text: str) -> str:
    """A name without the line ends and halves of characters that no header field may have."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(whole.split())


MAILBOX_CHARACTERS = 1_000


@frozen
class Mailbox:
    """A recipient or a sender, as a person names it."""

    address: Address
    name: str = field(default="", converter=one_line)

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else str(self.address)

    @property
    def shown(self) -> Shown:
        """For a header field: the domain as people write it where the local part is, too."""
        return Shown(undecoded(self.name), self.address.local, self.address.domain)


def read_mailboxes(text: str, most: int | None = None) -> tuple[Mailbox, ...]:
    """The mailboxes in a list as people type them, with or without names; the first so many.

    Raises:
        BadAddress: which is wrong, and why.
    """
    found = []
    for each in islice(_each(text), most):
        if isinstance(each, Wrong):
            raise BadAddress(each.words)
        found.append(each)
    if not found:
        raise BadAddress(f"{text[:40]!r} names nobody")
    return tuple(found)


@frozen
class Wrong:
    """What was typed for a mailbox and names none.

    Attributes:
        words: what is wrong with which part of it.
    """

    text: str
    words: str


def read_each(text: str) -> list[Mailbox | Wrong]:
    """The mailboxes in such a list, and what in it is none, in their order; [] for nobody.

    A list that was pasted may have its addresses on lines of their own, or semicolons.
    """
    return list(_each(text))


def _each(text: str) -> Iterator[Mailbox | Wrong]:
    for part in chain.from_iterable(map(_parts, text.split("\n"))):
        if said := " ".join(part.split()):
            if len(said) > MAILBOX_CHARACTERS:
                yield Wrong(said, f"{said[:40]!r}... is longer than a name and an address")
                continue
            match = _NAMED.fullmatch(said)
            name, address = match.groups() if match else ("", said)
            try:
                yield Mailbox(read_address(address), _unquoted(name.strip()))
            except BadAddress as error:
                yield Wrong(said, error.text)


def _parts(line: str) -> Iterator[str]:
    """What stands between commas and semicolons, but for those between quotes that are closed."""
    closed = _CLOSED.match(line)
    assert closed is not None
    begin = 0
    for found in chain(_QUOTED_OR_END.finditer(line, 0, closed.end()),
                       _END.finditer(line, closed.end())):  # fmt: skip
        if found.group() in (",", ";"):
            yield line[begin : found.start()]
            begin = found.end()
    yield line[begin:]


# They pass each character once, whatever was pasted: nothing else runs while an expression does.
_CLOSED = re.compile(r'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+')
_QUOTED_OR_END = re.compile(r'"(?:[^"\\]++|\\.)*+"|[,;]')
_END = re.compile(r"[,;]")
_NAMED = re.compile(r"(.*?)<([^<>]*)>", re.S)


def _unquoted(name: str) -> str:
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def read_address(text: str) -> Address:
    """An address that a person typed, with a whole domain.

    Raises:
        BadAddress: it is none; the text says what is wrong with which part.
    """
    said = text.strip()
    if "@" not in said:
        raise BadAddress(f"{said!r} has no @: an address is such as carol@example.org")
    local, _, domain = said.rpartition("@")
    if not local or not domain:
        raise BadAddress(f"{said!r} lacks what stands {'before' if domain else 'behind'} the @")
    if "=?" in local:
        raise BadAddress(f"{said!r} looks like an encoded word: no address begins so")
    try:
        address = parse_address(said)
    except MailError as error:
        raise BadAddress(f"{said!r}: {error.text}") from None
    if "." not in address.domain and address.domain != "localhost" and address.domain[0] != "[":
        raise BadAddress(f"{said!r}: {address.domain!r} is not a whole domain")
    return address


def parse_groups(values: Sequence[str], part: str) -> tuple[Mailbox, ...]:
    """The mailboxes of an option that may be given several times.

    Raises:
        BadAddress: as `read_mailboxes`, with the part in front.
    """
    found: list[Mailbox] = []
    for value in values:
        try:
            found += read_mailboxes(value)
        except BadAddress as error:
            raise BadAddress(f"{part}: {error.text}") from None
    return tuple(found)
