"""Where mail for elsewhere goes: routes of an administrator, and outside addresses of accounts."""

from __future__ import annotations

from attrs import field, frozen

KINDS = ("mx", "smtp", "smtps", "lmtp", "discard", "refuse", "hold")
TLS_WISHES = ("may", "verify", "none")


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


BY_MX = Route("*")


@frozen
class SendAs:
    """An outside address of an account, and its provider.

    Attributes:
        id: never reused.
        address: local@domain, as it stands in From.
        host, port: the provider's submission server.
        implicit_tls: TLS from the first octet (465); else STARTTLS, which must be offered.
        sealed_password: under the node's key in the data folder (`sealing.Seal`).
    """

    id: int
    account_id: int
    address: str
    host: str
    port: int
    implicit_tls: bool
    user: str
    sealed_password: bytes = field(repr=False)
