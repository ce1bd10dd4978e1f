"""The host name, the certificate and the ports."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from twisted.internet.endpoints import serverFromString

from mailnode.addresses import parse_domain
from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.cli.node import Running, running_node
from mailnode.config import Config
from mailnode.endpoints import why_no_endpoint
from mailnode.errors import BadAddress
from mailnode.listening import KINDS
from mailnode.machine import find_hostname

SOON_S = 14 * 86400.0
LOOPBACKS = ("127.0.0.1", "::1")


def host_name(config: Config) -> str:
    """The node's name, found as the server finds it, without asking a resolver."""
    running = running_node(config)
    return (running.hostname if running else "") or config.node.hostname or find_hostname()


def check_hostname(config: Config) -> Iterator[Finding]:
    name = host_name(config)
    source = "this machine's"
    if name == config.node.hostname:
        source = config.sources["node.hostname"]
    elif running_node(config):
        source = "the running node's"
    mend = "set node.hostname in the configuration, or --hostname mail.example.org"
    try:
        parse_domain(name)
    except BadAddress:
        yield fault("hostname", f"the host name {name!r} ({source}) is not a domain name", mend)
        return
    if "." not in name or name.endswith((".local", ".localdomain", ".internal")):
        yield warning(
            "hostname",
            f"the host name {name} ({source}) is not one that others can look up",
            mend,
        )
    else:
        yield good("hostname", f"the host name is {name} ({source})")


def check_certificate(config: Config) -> Iterator[Finding]:
    """The TLS pair: there, readable, belonging together, valid, for this name."""
    own = config.data_path / "tls" / "cert.pem", config.data_path / "tls" / "key.pem"
    running = running_node(config)
    if running is not None and running.pair is not None:  # its options may name another
        cert, key = running.pair
    elif config.tls.cert:
        cert, key = Path(config.tls.cert), Path(config.tls.key)
    else:
        cert, key = own
        if not cert.exists():
            yield good("tls", "no certificate is set: the node makes a self-signed one in var/tls")
            return
    mend = "set tls.cert and tls.key to a certificate chain and its key, PEM, that this user reads"
    try:
        chain = x509.load_pem_x509_certificates(cert.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        yield fault("tls", f"can't read {error.filename}: {error.strerror}", mend)
        return
    except (ValueError, TypeError) as error:
        yield fault("tls", f"{cert} and {key} are not a PEM pair: {error}", mend)
        return
    leaf = chain[0]
    ours, theirs = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (private.public_key(), leaf.public_key())
    )
    if ours != theirs:
        yield fault("tls", f"{key} is not the key of {cert}", mend)
        return
    yield from _check_leaf(
        leaf, cert, host_name(config), made_here=cert.absolute() == own[0].absolute()
    )


def _check_leaf(
    leaf: x509.Certificate, cert: Path, name: str, *, made_here: bool
) -> Iterator[Finding]:
    mend = "renew it; a changed file is taken up without a restart"
    if made_here:
        mend = f"rm {quote(str(cert))}; the node makes a new one at its next start"
    ends, begins = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    left_s = ends.timestamp() - time.time()
    if left_s < 0:
        yield fault("tls", f"{cert} expired on {ends:%Y-%m-%d}", mend)
    elif left_s < SOON_S:
        yield warning("tls", f"{cert} expires on {ends:%Y-%m-%d}", mend)
    if begins.timestamp() > time.time():
        yield fault("tls", f"{cert} is valid from {begins:%Y-%m-%d} on", "set the clock")
    if leaf.issuer == leaf.subject:
        yield warning(
            "tls",
            f"{cert} is self-signed: other people's programs will not trust it",
            "set tls.cert and tls.key to one from a certificate authority",
        )
    if not _names_host(leaf, name):
        made = f"have one made for {name}"
        if made_here:
            made = f"rm {quote(str(cert))}; the node makes one for {name} at its next start"
        yield warning(
            "tls",
            f"{cert} is not for the host name {name}, by which the node greets",
            f"{made}, or set node.hostname to the name that it is for",
        )
    elif left_s >= SOON_S:
        yield good("tls", f"{cert} is for {name} and valid until {ends:%Y-%m-%d}")


def _names_host(leaf: x509.Certificate, name: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wildcard = "*." + name.lower().partition(".")[2]
    known = {known.lower() for known in names.get_values_for_type(x509.DNSName)}
    return bool(known & {name.lower(), wildcard})


@frozen
class Listening:
    """A TCP port that is to be bound, and on which addresses."""

    port: int
    hosts: tuple[str, ...]


_UNESCAPED_COLON = re.compile(r"(?<!\\):")


def read_endpoint(text: str) -> Listening | None:
    """What a port number or endpoint string binds; None for what is no TCP port."""
    if text.isdigit():
        return Listening(int(text), LOOPBACKS)
    kind, values = endpoint_parts(text)
    port = values.get("port", values.get("0", ""))
    if kind not in ("tcp", "tcp4", "tcp6", "ssl") or not port.isdigit():
        return None
    default = "::" if kind == "tcp6" else "0.0.0.0"  # noqa: S104 - what Twisted would bind
    return Listening(int(port), (values.get("interface") or default,))


def endpoint_parts(text: str) -> tuple[str, dict[str, str]]:
    """The kind of an endpoint string, and its values by name, or by place ("0") without one."""
    kind, *parts = _UNESCAPED_COLON.split(text)
    values = {}
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        values[name if equals else str(index)] = (value if equals else name).replace("\\:", ":")
    return kind, values


def beyond_loopback(text: str) -> bool:
    """Whether others than this machine reach a port number, endpoint or `host:port`."""
    listening = read_endpoint(text)
    hosts = listening.hosts if listening else (text.rpartition(":")[0].strip("[]"),)
    for host in hosts:
        try:
            if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
                return True
        except ValueError:
            continue
    return False


def check_ports(config: Config) -> Iterator[Finding]:
    """Whether each configured port can be bound; a running node has bound its own."""
    running = running_node(config)
    if running is not None:
        told = [f"{name} {item}" for name in KINDS for item in running.listening.get(name, ())]
        yield good("ports", f"a node runs, process {running.pid}: {', '.join(told) or 'no ports'}")
    asked = False
    for protocol in KINDS:
        for text in getattr(config.listen, protocol):
            asked = True
            if wrong := _what_is_wrong_with(text):
                yield fault(
                    "ports",
                    f"{protocol}: {text!r} is no port and no endpoint: {wrong}",
                    f'set listen.{protocol} to a port such as "2525" or to "tcp:25"',
                )
                continue
            listening = read_endpoint(text)
            if listening is None or listening.port == 0:
                continue
            if listening.port > 65535:
                yield fault(
                    "ports",
                    f"{protocol}: {listening.port} is no port",
                    f"set listen.{protocol} to a number up to 65535",
                )
                continue
            for host in listening.hosts:
                if not _bound_by(running, host, listening.port):
                    yield _try_port(protocol, host, listening.port)
    if not asked and running is None:
        yield good("ports", "no ports are configured: they are given to twistd")


def _what_is_wrong_with(text: str) -> str:
    if text.isdigit():
        return ""
    try:
        serverFromString(None, text)
    except Exception as error:  # each kind of endpoint has its own
        return why_no_endpoint(text, error)
    return ""


def _bound_by(running: Running | None, host: str, port: int) -> bool:
    if running is None:
        return False
    return any(
        item.rpartition(":")[2] == str(port)
        for items in running.listening.values()
        for item in items
    )


def _try_port(protocol: str, host: str, port: int) -> Finding:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        try_binding(host, port)
    except OSError as error:
        return _port_trouble(protocol, where, error)
    return good("ports", f"{protocol}: {where} is free")


def try_binding(host: str, port: int) -> None:
    """Bind a TCP port as the node would, and let it go without having listened.

    Raises:
        OSError: it can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((host, port))


def _port_trouble(protocol: str, where: str, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        return fault(
            "ports",
            f"{protocol}: {where} is taken by another program",
            f"`ss -ltnp` names it; stop it, or set listen.{protocol} to another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return fault(
            "ports",
            f"{protocol}: {where} needs privileges that this user has not",
            "start twistd as root with --uid and --gid, or take a port over 1023",
        )
    if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and where.startswith("[::1]"):
        return warning(
            "ports",
            f"{protocol}: {where} can't be had: this machine has no IPv6",
            "none is needed: the other address is used",
        )
    return fault(
        "ports",
        f"{protocol}: {where} can't be bound: {error.strerror}",
        f"set listen.{protocol} to an address of this machine",
    )
