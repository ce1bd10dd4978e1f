"""Who may ask what: host, origin, session or token, role; before a body is read.

A request is judged by its header alone: its Host must be a name of ours (a stranger's name that was
pointed at this address is none), an unsafe one must come from a page of ours, and who must be
signed in is. What says so in a form is looked at once the form is there (`require_csrf`).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection
from hashlib import sha256
from secrets import compare_digest, token_bytes, token_urlsafe
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from mailnode.errors import SignInBlocked
from mailnode.machine import is_loopback, plain_address
from mailnode.web.channel import host_of
from mailnode.web.guest import Guest
from mailnode.web.refusals import (
    BadToken,
    Forged,
    InClear,
    MustChangePassword,
    MustSignIn,
    NotAllowed,
    WrongHost,
)
from mailnode.web.routes import UNSAFE, Need, Route

if TYPE_CHECKING:
    from mailnode.store.directory import Account
    from mailnode.store.guests import Guests, Session
    from mailnode.web.bodies import Body
    from mailnode.web.requests import WebRequest

COOKIE = "mailnode"
VISIT = "mailnode-visit"
DEVICE = "mailnode-device"
DEVICE_S = 400 * 86400  # browsers keep none for longer
HALF = "mailnode-half"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
_FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")
OF_OLD_PASSWORDS = frozenset({"/settings", "/settings/password", "/sign-out"})
MOST_SECRET_CHARACTERS = 200
DEVICE_CHARACTERS = 32


@frozen
class Peer:
    """The other end.

    Attributes:
        client: its address in text, "" for a Unix socket.
        secure: it speaks TLS with us, or with a proxy of ours.
        local: it is a program of this machine, with no proxy in between that we don't know.
    """

    client: str
    secure: bool
    local: bool

    @property
    def may_sign_in(self) -> bool:
        return self.secure or self.local


@frozen
class Admission:
    """A request that may go on.

    Attributes:
        arguments: what the path holds.
        guest: who asks; None for nobody.
        body: where its body goes.
    """

    route: Route
    arguments: dict[str, Any]
    peer: Peer
    guest: Guest | None
    body: Body


def forwarded(request: Any) -> bool:
    """Whether a proxy says that it brings this."""
    names = [name.lower() for name, _values in request.requestHeaders.getAllRawHeaders()]
    return any(name.startswith(_FORWARDED) for name in names)


@define(eq=False)
class Guard:
    """Judges requests.

    Args:
        names: that this server goes by, in lower case, beside loopback's and addresses.
        is_proxy: whether an address is a proxy of ours, whose X-Forwarded-For and
            X-Forwarded-Proto count.
        find_account: an account by its id, from memory.
        is_over: whether an account's password is too old for anything but its change.
        turn_away: for how long nobody signs in from an address; 0 for who may.
        bad_token: hears of each token that lets nobody in, and from where it came.
    """

    guests: Guests
    find_account: Callable[[int], Account | None]
    names: Collection[str] = ()
    is_proxy: Callable[[str], bool] = field(default=lambda host: False)
    is_over: Callable[[Account], bool] = field(default=lambda account: False)
    turn_away: Callable[[str], float] = field(default=lambda client: 0.0)
    bad_token: Callable[[str, bytes], object] = field(default=lambda client, token: None)
    _secret: bytes = field(factory=lambda: token_bytes(32), init=False, repr=False)

    # Where from

    def peer_of(self, request: WebRequest) -> Peer:
        host = plain_address(host_of(request.getClientAddress()))
        secure = bool(request.isSecure())
        if not forwarded(request):
            return Peer(host, secure, is_loopback(host))
        if not self.is_proxy(host):
            return Peer(host, secure, local=False)
        named = request.header("X-Forwarded-For").rpartition(",")[2].strip()
        try:
            client = plain_address(str(ipaddress.ip_address(named)))
        except ValueError:
            return Peer(host, secure, local=False)
        scheme = request.header("X-Forwarded-Proto").rpartition(",")[2].strip().lower()
        # The loopback of another machine is not ours.
        local = is_loopback(client) and is_loopback(host)
        return Peer(client, secure or scheme == "https", local)

    def require_host(self, request: WebRequest) -> None:
        """
        Raises:
            WrongHost: it names another server: a page of a stranger's may stand behind it.
        """
        hosts = request.requestHeaders.getRawHeaders(b"Host") or ()
        name = host_name(request.header("Host")) if len(hosts) == 1 else None
        if name is None or not (
            name == "localhost"
            or name.endswith(".localhost")
            or name in self.names
            or _is_address(name)
        ):
            raise WrongHost(detail=f"Host: {request.header('Host')[:100]!r}")

    def require_origin(self, request: WebRequest, peer: Peer) -> None:
        """An unsafe request comes from a page of ours, as the browser has it.

        Raises:
            Forged: it says that it doesn't.
        """
        site, origin = request.header("Sec-Fetch-Site"), request.header("Origin")
        if site and site not in ("same-origin", "none"):
            raise Forged(detail=f"Sec-Fetch-Site: {site[:40]!r}")
        scheme = "https" if peer.secure else "http"
        if origin and origin.lower() != f"{scheme}://{request.header('Host').lower()}":
            raise Forged(detail=f"Origin: {origin[:100]!r}")

    # Who

    async def guest_of(self, request: WebRequest, peer: Peer, route: Route) -> Guest | None:
        """Who asks; None for nobody.

        Raises:
            InClear: a token came over a wire that others may read.
            SignInBlocked: nobody is let in from there.
            BadToken: it lets nobody in.
        """
        kind, _, secret = request.header("Authorization").partition(" ")
        if kind.lower() == "bearer" and secret:
            if not peer.may_sign_in:
                raise InClear()
            if left_s := self.turn_away(peer.client):
                raise SignInBlocked.until(left_s)
            token = await self.guests.token(secret.strip()[:MOST_SECRET_CHARACTERS], peer.client)
            account = self.find_account(token.account_id) if token else None
            if token is None or account is None:
                self.bad_token(peer.client, secret.encode("utf-8", "replace"))
                raise BadToken()
            return Guest(account, token=token)
        if route.need is Need.NOBODY or not peer.may_sign_in:
            return None
        secret = self.cookie(request, peer, COOKIE)
        session = await self.guests.session(secret) if secret else None
        account = self.find_account(session.account_id) if session else None
        return Guest(account, session=session) if account is not None else None

    def require_role(self, peer: Peer, route: Route, guest: Guest | None) -> None:
        """
        Raises:
            MustSignIn, InClear: nobody is signed in, or can.
            NotAllowed: who asks is none of those who may.
            MustChangePassword: who asks has one that is too old.
        """
        if route.need is Need.NOBODY:
            return
        if guest is None:
            raise MustSignIn() if peer.may_sign_in else InClear()
        if not guest.may(route.scope):
            scope = f"a token with the scope {route.scope}" if route.scope else "a browser"
            raise NotAllowed(f"That is for {scope} alone")
        if route.need is Need.ADMIN and not guest.is_admin:
            raise NotAllowed("That is for administrators alone")
        if route.need is Need.DOMAIN_ADMIN and not guest.administers:
            raise NotAllowed("That is for those who look after a domain, or the node")
        if guest.session is None or route.path in OF_OLD_PASSWORDS:
            return
        if self.is_over(guest.account):
            raise MustChangePassword()

    # Cookies

    def cookie(self, request: WebRequest, peer: Peer, name: str) -> str:
        """What a cookie of ours says; "" where it is none, or longer than any."""
        value = request.received_cookies.get(cookie_name(request, peer, name).encode(), b"")
        return value.decode("ascii", "replace") if len(value) <= MOST_SECRET_CHARACTERS else ""

    def session_cookie(self, request: WebRequest, peer: Peer, secret: str, max_age_s: int) -> str:
        """Set-Cookie of a session; one that has no time left is taken away."""
        return _set_cookie(request, peer, COOKIE, secret, max_age_s, "Lax")

    def device(self, request: WebRequest, peer: Peer) -> tuple[str, str]:
        """What tells this browser from others at a sign-in, and the Set-Cookie that keeps it.

        It lets nobody in: it is what makes a sign-in from elsewhere news to its owner or not.
        """
        said = self.cookie(request, peer, DEVICE)
        if len(said) != DEVICE_CHARACTERS:
            said = token_urlsafe(24)
        known = sha256(said.encode("utf-8", "replace")).hexdigest()[:16]
        return known, _set_cookie(request, peer, DEVICE, said, DEVICE_S, "Strict")

    def half_cookie(self, request: WebRequest, peer: Peer, secret: str, max_age_s: int) -> str:
        """Set-Cookie of half a sign-in, which no page of a stranger's brings along."""
        return _set_cookie(request, peer, HALF, secret, max_age_s, "Strict")

    # CSRF

    def csrf_of(self, session: Session) -> str:
        return session.csrf

    def visitor_csrf(self, request: WebRequest, peer: Peer) -> tuple[str, str | None]:
        """What the form of somebody who isn't signed in says, and the Set-Cookie that it needs."""
        said = self.cookie(request, peer, VISIT)
        if len(said) >= 32:
            return self._sealed(said), None
        said = token_urlsafe(32)
        return self._sealed(said), _set_cookie(request, peer, VISIT, said, None, "Strict")

    def require_csrf(
        self, request: WebRequest, peer: Peer, guest: Guest | None, said: str = ""
    ) -> None:
        """An unsafe request says what its page was given, in its header or in its form.

        Raises:
            Forged: it doesn't.
        """
        if guest is not None and guest.session is None:
            return  # no browser sends a token by itself
        said = request.header(CSRF_HEADER) or said
        if guest is not None and guest.session is not None:
            wanted = guest.session.csrf
        else:
            visit = self.cookie(request, peer, VISIT)
            wanted = self._sealed(visit) if visit else ""
        if not wanted or not compare_digest(said.encode("utf-8", "replace"), wanted.encode()):
            raise Forged(detail="the CSRF token is missing or another's")

    def _sealed(self, said: str) -> str:
        return hmac.new(self._secret, said.encode("utf-8", "replace"), sha256).hexdigest()


def is_unsafe(request: WebRequest) -> bool:
    return request.method.decode("ascii", "replace") in UNSAFE


def host_name(host: str) -> str | None:
    """The name of a Host field in lower case, without port and last dot; None for no such."""
    name, _, port = host.strip().lower().rpartition(":")
    if not name or not port.isdigit():
        name = host.strip().lower()
    name = name.removesuffix(".")
    return name if name and not set(name) & set("/\\@ ,#?") else None


def _is_address(name: str) -> bool:
    """No DNS stands behind an address, so none can be pointed elsewhere."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def cookie_name(request: WebRequest, peer: Peer, name: str) -> str:
    """On TLS one that no other host can set; else one a port: nodes of a machine share cookies."""
    if peer.secure:
        return f"__Host-{name}"
    return f"{name}-{getattr(request.getHost(), 'port', 0)}"


def _set_cookie(
    request: WebRequest, peer: Peer, name: str, value: str, max_age_s: int | None, same_site: str
) -> str:
    parts = [f"{cookie_name(request, peer, name)}={value}", "Path=/", "HttpOnly"]
    parts.append(f"SameSite={same_site}")
    if max_age_s is not None:
        parts.append(f"Max-Age={max_age_s}")
    if peer.secure:
        parts.append("Secure")
    return "; ".join(parts)


def safe_next(path: str) -> str:
    """Where to go behind a sign-in: a path of ours, or "" for what may be elsewhere."""
    if not path.startswith("/") or path[1:2] in ("/", "\\") or len(path) > 1000:
        return ""
    return path if path.isprintable() and path.isascii() and " " not in path else ""
