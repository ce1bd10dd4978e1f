"""Where mail for elsewhere goes: routes of an administrator, and outside addresses of accounts.

Pure: a person's words become a `Route`, and an address finds the most specific one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

from attrs import evolve, field, frozen

from mailnode.addresses import Address, bracketed, fold_local, parse_address, parse_domain
from mailnode.errors import BadAddress, BadRoute

KINDS = ("mx", "smtp", "smtps", "lmtp", "discard", "refuse", "hold")
TLS_WISHES = ("may", "verify", "none")
PORTS: Mapping[str, int] = {"smtp": 25, "smtps": 465, "lmtp": 24}
ENDS = ("discard", "refuse", "hold")  # nothing is connected to
ANY = "*"
GEARS = ("capture", "allow-list", "live")

_TARGETS = (
    "mx, smtp://HOST:PORT, smtps://USER@HOST:465, lmtp://HOST:PORT, lmtp:///PATH/OF/SOCKET,"
    " discard, refuse or hold"
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@frozen
class Route:
    """The way for the addresses that `pattern` names.

    Attributes:
        pattern: an address, a domain, `.suffix` for what lies under it, or `*`.
        kind: one of `KINDS`; "mx" asks the DNS, "discard" throws the mail away, "refuse" bounces
            it, "hold" keeps it until an administrator releases it.
        host: name or address of the next hop, or the path of a Unix socket (lmtp); "" with mx.
        port: of the next hop; 0 with mx and a Unix socket.
        user: to sign in as; "" for no sign-in.
        password_file: where its password stands, on the first line; "" for none.
        tls: "may" (when it is offered, whatever its certificate), "verify" or "none".
    """

    pattern: str
    kind: str = "mx"
    host: str = ""
    port: int = 0
    user: str = ""
    password_file: str = ""
    tls: str = "may"

    @property
    def target(self) -> str:
        """The text that `read_route` reads."""
        if self.kind not in PORTS:
            return self.kind
        if not self.port:
            return f"{self.kind}://{self.host}"
        user = f"{quote(self.user, safe='@')}@" if self.user else ""
        return f"{self.kind}://{user}{bracketed(self.host)}:{self.port}"


BY_MX = Route(ANY)


@frozen
class SendAs:
    """An outside address of an account, and its provider.

    Attributes:
        id: never reused.
        address: local@domain, as it stands in From.
        host, port: the provider's submission server.
        implicit_tls: TLS from the first octet (465); else STARTTLS, which must be offered.
        sealed_password: under the node's key in the data folder (`sealing.Seal`), about `about`.
    """

    id: int
    account_id: int
    address: str
    host: str
    port: int
    implicit_tls: bool
    user: str
    sealed_password: bytes = field(repr=False)

    @property
    def about(self) -> bytes:
        """What the password is sealed for: this account, and this host alone."""
        whose = (self.account_id, self.address, self.host, self.port, self.implicit_tls, self.user)
        return "\0".join(("send-as", *map(str, whose))).encode()


# Patterns


def read_pattern(text: str) -> str:
    """An address, a domain, `.suffix` or `*` in its one spelling.

    Raises:
        BadRoute: it is none of these.
    """
    if text == ANY:
        return text
    try:
        if "@" in text:
            address = parse_address(text)
            if address.local == ANY:
                raise BadRoute(f"{text} stands for a whole domain: give {address.domain} alone")
            folded = str(_folded(address))
            parse_address(folded)  # it may have grown
            return folded
        if text.startswith(".") and not text.startswith(".["):
            return f".{parse_domain(text[1:])}"
        return parse_domain(text)
    except BadAddress as error:
        raise BadRoute(
            f"{text!r} is no address, domain, .suffix or *: {error.text.lower()}"
        ) from None


def patterns_of(address: Address) -> Iterator[str]:
    """Every pattern that names an address, the most specific first."""
    yield str(_folded(address))
    yield address.domain
    if not address.domain.startswith("["):
        rest = address.domain
        while "." in rest:
            rest = rest.partition(".")[2]
            yield f".{rest}"
    yield ANY


def _folded(address: Address) -> Address:
    return address.with_local(fold_local(address.local))


# Routes


def read_route(
    pattern: str, target: str, *, tls: str | None = None, password_file: str = ""
) -> Route:
    """The route that a person meant.

    Args:
        target: `mx`, `smtp://host:port`, `smtps://user@host:port`, `lmtp://host:port`,
            `lmtp:///path`, `discard`, `refuse` or `hold`; without a port 25, 465 and 24.
        tls: one of `TLS_WISHES`; None is "verify" where a password is sent, else "may".

    Raises:
        BadRoute: what is wrong, and what would be right.
    """
    kind, separator, rest = target.partition("://")
    host, port, user = "", 0, ""
    if separator:
        kind = kind.lower()
        if kind not in PORTS:
            raise BadRoute(f"{kind}:// leads nowhere; a target is {_TARGETS}")
        host, port, user = _read_hop(kind, rest, target)
    elif kind not in KINDS or kind in PORTS:
        hop = rest_of[2] if (rest_of := target.partition(":"))[0].lower() in PORTS else target
        scheme = rest_of[0].lower() if hop != target else "smtp"
        hint = (
            f"; did you mean {scheme}://{hop}?" if hop and ("." in target or ":" in target) else ""
        )
        raise BadRoute(f"{target!r} is no target{hint or f'; one is {_TARGETS}'}")
    route = Route(
        read_pattern(pattern),
        kind,
        host,
        port,
        user,
        password_file,
        tls or ("verify" if user else "may"),
    )
    _check_together(route, tls is not None)
    return route


def checked(route: Route) -> Route:
    """The same in one spelling, whoever wrote its row.

    Raises:
        BadRoute: no `read_route` could have made it.
    """
    texts = (route.pattern, route.kind, route.host, route.user, route.password_file, route.tls)
    if not all(isinstance(text, str) for text in texts) or not isinstance(route.port, int):
        raise BadRoute("a column holds a value of another type")
    wish = None if route.kind in ENDS and route.tls == "may" else route.tls
    again = read_route(route.pattern, route.target, tls=wish, password_file=route.password_file)
    if _but_for_case(again) != _but_for_case(route):
        raise BadRoute(f"a column holds what {route.target} doesn't say")
    return again


def _but_for_case(route: Route) -> Route:
    host = route.host if route.host.startswith("/") else route.host.lower()
    return evolve(route, pattern="", host=host)


def _check_together(route: Route, tls_was_said: bool) -> None:
    if route.tls not in TLS_WISHES:
        raise BadRoute(f"tls is {', '.join(TLS_WISHES)}, not {route.tls!r}")
    if tls_was_said and route.kind in ENDS:
        raise BadRoute(f"{route.kind} connects to nobody: it takes no --tls")
    if route.user and not route.password_file:
        raise BadRoute(
            f"to sign in as {route.user} a password is needed: --password-file FILE, with it on "
            "the first line"
        )
    if route.password_file and not route.user:
        raise BadRoute(f"a password without a user: {route.kind}://USER@HOST names one")
    if _UNPRINTABLE.search(route.password_file):
        raise BadRoute("the name of the password file holds a control character")
    if route.user and route.tls == "none":
        raise BadRoute("a password is never sent without TLS: --tls none does not go with a user")
    if route.kind == "smtps" and route.tls == "none":
        raise BadRoute("smtps:// is TLS from the first octet: for none, smtp://")
    if route.host.startswith("/") and route.tls == "verify":
        raise BadRoute("a Unix socket has no certificate to verify")


def _read_hop(kind: str, rest: str, target: str) -> tuple[str, int, str]:
    """(host, port, user) of what stands behind `://`."""
    if _UNPRINTABLE.search(rest):
        raise BadRoute(f"{target!r} holds a control character")
    if rest.startswith("/"):
        if kind != "lmtp" or not rest.strip("/"):
            raise BadRoute(f"{target} names no host: {kind}://HOST:{PORTS[kind]}")
        return rest, 0, ""
    who, at, place = rest.rpartition("@")
    if at and kind == "lmtp":
        raise BadRoute("LMTP has no sign-in: lmtp://HOST:PORT or lmtp:///PATH/OF/SOCKET")
    user = _read_user(who, place) if at else ""
    place = place.removesuffix("/")
    if place.startswith("["):
        inside, closing, after = place[1:].partition("]")
        if not closing or (after and not after.startswith(":")):
            raise BadRoute(f"{target}: the address lacks its closing bracket, as in [2001:db8::1]")
        host = _read_ip(inside, target)
        colon, port = after[:1], after[1:]
    else:
        name, colon, port = place.partition(":")
        if ":" in port:
            raise BadRoute(f"{target}: an IPv6 address stands in brackets, as in [2001:db8::1]")
        if "/" in place:
            raise BadRoute(f"{target}: nothing may stand behind the port")
        host = _read_name(name, kind, target)
    return host, _read_port(port, target) if colon else PORTS[kind], user


def _read_user(text: str, place: str) -> str:
    if ":" in text:
        raise BadRoute(
            "a password does not belong in a command, where others read it: name its file by "
            "--password-file (a colon in a user is %3A)"
        )
    try:
        user = unquote(text, errors="strict")
    except UnicodeDecodeError:
        user = ""
    if not user or _UNPRINTABLE.search(user):
        raise BadRoute(f"before @{place} stands no user")
    return user


def _read_ip(text: str, target: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadRoute(f"{target}: between brackets stands no IP address") from None


def _read_name(text: str, kind: str, target: str) -> str:
    if not text:
        raise BadRoute(f"{target} names no host: {kind}://HOST:{PORTS[kind]}")
    if text.rpartition(".")[2].isdigit():
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise BadRoute(f"{target}: {text} is no IP address") from None
    try:
        return parse_domain(text)
    except BadAddress:
        raise BadRoute(f"{target}: {text!r} is no host name") from None


def _read_port(text: str, target: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 1 << 16:
        return int(text)
    raise BadRoute(f"{target}: {text!r} is no port, which is a number from 1 to 65535")


@frozen
class Routes:
    """All routes, to be found by address."""

    _by_pattern: Mapping[str, Route]

    @classmethod
    def of(cls, routes: Iterable[Route]) -> Routes:
        return cls({route.pattern: route for route in routes})

    def find(self, address: Address) -> Route:
        """The most specific one; `BY_MX` where none was set."""
        for pattern in patterns_of(address):
            if route := self._by_pattern.get(pattern):
                return route
        return BY_MX


@frozen
class Gear:
    """How far mail goes.

    Attributes:
        name: "capture" keeps and shows all mail for elsewhere, "allow-list" lets out what goes
            to `allowed`, "live" all.
        allowed: patterns, as routes have them.
    """

    name: str = "capture"
    allowed: tuple[str, ...] = ()

    def lets_out(self, address: Address) -> bool:
        if self.name == "allow-list":
            return any(pattern in self.allowed for pattern in patterns_of(address))
        return self.name == "live"


CAPTURE = Gear()
