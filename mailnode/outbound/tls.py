"""How the way to another host is to be protected."""

from __future__ import annotations

from attrs import frozen


@frozen
class Tlsa:
    """What DANE says of a certificate (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@frozen
class TlsPolicy:
    """What TLS a connection must have.

    Attributes:
        level: "none" (in clear), "may" (when it is offered, whatever its certificate), "must"
            (always, whatever its certificate) or "verify" (always, with the right certificate).
        names: certificate names that are right besides the host's.
        dane: what the certificate must match; it outranks names.
        source: who asks for it, for the trace: "MTA-STS", "DANE", "route"
    """

    level: str = "may"
    names: tuple[str, ...] = ()
    dane: tuple[Tlsa, ...] = ()
    source: str = ""
