"""What to beware of in a mail: a sender or a link that isn't what it looks like.

Only what can be shown is told, with both sides of it. A link whose text is words is never told of
for where it leads: every newsletter counts clicks at some other host.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote

from attrs import frozen
from selectolax.lexbor import LexborHTMLParser

from mailnode.reading.domains import (
    alphabets,
    as_latin,
    ascii_domain,
    is_ip_address,
    is_public,
    looks,
    registrable,
    shown_domain,
)
from mailnode.reading.markup import balance_markup

OTHER_HOST = "link-other-host"
OTHER_ADDRESS = "link-other-address"
SIGN_IN_NAME = "link-user-info"
BARE_ADDRESS = "link-ip-address"
PROGRAM = "link-program"
SENDER_NAME = "sender-name"
REPLY_ELSEWHERE = "reply-elsewhere"
LOOK_ALIKE = "look-alike"
NOT_PROVED = "not-proved"

MOST_CAUTIONS = 20
MOST_LINKS = 2_000
MOST_KNOWN = 10_000
_MOST_TEXT = 2_048
_LEAST_ALIKE = 5  # characters: a1.com and al.com are two companies

_ADDRESS = re.compile(r"[\w.+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[\w\-]{2,63}")
_LINK = re.compile(r"([a-z][a-z0-9+.\-]*):(.*)", re.I | re.S)
_NAMED_HOST = re.compile(
    r"(?:(?P<scheme>https?:[/\\]{2})(?:[^\s/@]{1,100}@)?)?(?P<host>(?:[\w\-]{1,63}\.){1,8}[\w\-]{2,63})\.?"
    r"(?::\d{1,5})?(?P<path>[/?#]\S*)?",
    re.I,
)
# Suffixes of domains that are as often those of files, or words: setup.sh, hello.world
_FILES = frozenset("app bz cab cc md mov pl ps py rs sh so st vi zip".split())
_LONGEST_SUFFIX = 4
_PROGRAMS = frozenset("javascript vbscript data file blob filesystem about view-source".split())


@frozen
class Caution:
    """One thing to beware of.

    Attributes:
        kind: one of the names above, for who counts or styles them.
        words: a sentence for a person.
        about: what it is about: an address, a domain, a link.
        mild: there are good reasons for it, too.
    """

    kind: str
    words: str
    about: str
    mild: bool = False


def cautions_of(
    mail: EmailMessage, html: str, *, known_domains: Collection[str] = ()
) -> list[Caution]:
    """What to beware of, the grave before the mild; at most `MOST_CAUTIONS`.

    Never raises, whatever the mail is; belongs into a thread.

    Args:
        mail: as `mime.read_mail` gives it.
        html: what is shown of it, as it came; "" for text.
        known_domains: those that others may pretend to be: the node's, and of who the reader
            writes to; the first `MOST_KNOWN` are taken.
    """
    known = _Known(known_domains)
    found: dict[tuple[str, str], Caution] = {}
    for each in _all_cautions(mail, html, known):
        found.setdefault((each.kind, each.about), each)
        if len(found) >= MOST_CAUTIONS:
            break
    return sorted(found.values(), key=lambda each: each.mild)


def _all_cautions(mail: EmailMessage, html: str, known: _Known) -> Iterator[Caution]:
    yield from _of_sender(mail, known)
    if html:
        for href, text in _links_of(html):
            yield from _of_link(href, text, known)


class _Known:
    """Domains that the reader knows, by what they look like."""

    def __init__(self, domains: Collection[str]) -> None:
        names = [ascii_domain(each) for each, _ in zip(domains, range(MOST_KNOWN), strict=False)]
        self.names = {registrable(each) for each in names if each}
        self.by_looks = {looks(each): each for each in sorted(self.names)}

    def cautions(self, domain: str) -> Iterator[Caution]:
        """Whether a domain looks like another, a known one or any."""
        mine = registrable(domain)
        if mine in self.names:
            return
        shown = _plain(shown_domain(mine))
        written = f"{shown} ({mine})" if mine != shown else shown
        alike = self.by_looks.get(looks(mine))
        if alike and (not shown.isascii() or len(mine.partition(".")[0]) >= _LEAST_ALIKE):
            words = f"{written} looks like {_plain(shown_domain(alike))}, but is another domain."
        elif len(mixed := alphabets(mine)) > 1 and "LATIN" in mixed and mixed & _CONFUSED:
            words = f"{written} mixes letters of several alphabets to look like another domain."
        elif latin := as_latin(mine):
            words = (
                f"{written} looks like {latin}, but is written with letters of another alphabet."
            )
        else:
            return
        yield Caution(LOOK_ALIKE, words, mine)


_CONFUSED = frozenset(["CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"])


def _of_sender(mail: EmailMessage, known: _Known) -> Iterator[Caution]:
    senders = _mailboxes(mail, "From")
    own = {address.casefold() for _, address in senders}
    domains = {registrable(_domain_of(address)) for _, address in senders} - {""}
    for name, address in senders:
        for shown in _ADDRESS.findall(name):
            if shown.casefold() not in own and address and not _is_forwarded_by_list(mail, name):
                yield Caution(
                    SENDER_NAME,
                    f"The sender's name shows {_plain(shown)}, but the mail is from"
                    f" {_plain(address)}.",
                    _plain(address),
                )
        if domain := _domain_of(address):
            yield from known.cautions(domain)
    for _, address in _mailboxes(mail, "Reply-To"):
        domain = _domain_of(address)
        if domain:
            yield from known.cautions(domain)
        if domain and domains and registrable(domain) not in domains and not _is_list(mail):
            yield Caution(
                REPLY_ELSEWHERE,
                f"An answer goes to {_plain(address)}, not to the domain that the mail is from.",
                _plain(address),
                mild=True,
            )


def _mailboxes(mail: EmailMessage, field: str) -> list[tuple[str, str]]:
    """Names and addresses of a field, as far as it can be read."""
    try:
        values: list[Any] = mail.get_all(field) or []
        return [
            (str(each.display_name)[:_MOST_TEXT], str(each.addr_spec)[:_MOST_TEXT])
            for value in values[:3]
            for each in getattr(value, "addresses", ())[:20]
        ]
    except Exception:  # what `email` makes of a field is not foreseeable
        return []


def _domain_of(address: str) -> str:
    return ascii_domain(address.rpartition("@")[2]) if "@" in address else ""


def _is_list(mail: EmailMessage) -> bool:
    return "List-Id" in mail or "List-Post" in mail


def _is_forwarded_by_list(mail: EmailMessage, name: str) -> bool:
    """Lists write "alice@example.org via list" where the sender's domain has a DMARC policy."""
    return _is_list(mail) and bool(re.search(r"\bvia\b", name, re.I))


def _links_of(html: str) -> Iterable[tuple[str, str]]:
    tree = LexborHTMLParser(balance_markup(html).html)
    for node, _ in zip(tree.css("a[href], area[href]"), range(MOST_LINKS), strict=False):
        href = (node.attributes.get("href") or "")[: 2 * _MOST_TEXT]
        yield _trimmed(href), " ".join(node.text()[:_MOST_TEXT].split())


def _trimmed(address: str) -> str:
    return re.sub(r"[\t\n\r]", "", address.strip("".join(map(chr, range(33)))))


def _of_link(href: str, text: str, known: _Known) -> Iterator[Caution]:
    found = _LINK.match(href)
    if found is None:
        return
    scheme, rest = found.group(1).lower(), found.group(2)
    if scheme in _PROGRAMS:
        yield Caution(
            PROGRAM,
            f"A link ({_plain(text) or 'a picture'}) would run a program or open a file of yours;"
            " it has been taken out.",
            _plain(href),
        )
    elif scheme == "mailto":
        yield from _of_mailto(rest, text)
    elif scheme in ("http", "https"):
        yield from _of_web_link(
            href, re.split(r"[/\\?#]", rest.lstrip("/\\"), maxsplit=1)[0], text, known
        )


def _of_mailto(rest: str, text: str) -> Iterator[Caution]:
    to = unquote(rest.partition("?")[0]).strip()
    if _ADDRESS.fullmatch(text) and to and text.casefold() not in to.casefold():
        yield Caution(
            OTHER_ADDRESS,
            f"A link shows the address {_plain(text)}, but writes to {_plain(to)}.",
            _plain(to),
        )


def _of_web_link(href: str, authority: str, text: str, known: _Known) -> Iterator[Caution]:
    user, _, place = authority.rpartition("@")
    host = place if place.startswith("[") else place.partition(":")[0]
    host = unquote(host)
    if user:
        yield Caution(
            SIGN_IN_NAME,
            f"A link begins with {_plain(unquote(user))}@ to look like another place; it leads to"
            f" {_plain(host)}.",
            _plain(href),
        )
    if is_ip_address(host.rstrip(".")):
        yield Caution(
            BARE_ADDRESS,
            f"A link leads to the bare number {_plain(host)} instead of a name.",
            _plain(href),
        )
    domain = ascii_domain(host)
    shown = _host_named_by(text)
    if shown and registrable(shown) != registrable(domain) and not (user and not domain):
        yield Caution(
            OTHER_HOST,
            f"A link shows {_plain(shown_domain(shown))}, but leads to"
            f" {_plain(shown_domain(domain) or host)}.",
            _plain(href),
        )
    if domain and not is_ip_address(domain):
        yield from known.cautions(domain)


def _host_named_by(text: str) -> str:
    """The host that a link's text names, if the text is an address and not words; else ""."""
    found = _NAMED_HOST.fullmatch(text.strip("<>()[]\"'.,;: "))
    if found is None:
        return ""
    domain = ascii_domain(found["host"])
    if found["scheme"] or domain.startswith("www."):
        return domain
    suffix = domain.rpartition(".")[2]
    if not found["path"] and (suffix in _FILES or len(suffix) > _LONGEST_SUFFIX):
        return ""
    return domain if is_public(domain) else ""


def _plain(text: str) -> str:
    """Text of a stranger on one line, without what turns or hides others' letters, cut short."""
    kept = "".join(each if each.isprintable() else " " for each in text[:400])
    kept = " ".join(kept.split())
    return kept if len(kept) <= 120 else f"{kept[:119]}…"
