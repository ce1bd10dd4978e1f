"""This machine's name in the form that mail needs."""

from __future__ import annotations

import socket

from mailnode.addresses import parse_domain
from mailnode.errors import BadAddress


def find_hostname() -> str:
    """The full name when the machine knows one without asking the network, else its short one."""
    name = socket.gethostname()
    if "." not in name:
        name = _from_hosts_file(name) or name
    try:
        return parse_domain(name)
    except BadAddress:
        return "localhost"


def _from_hosts_file(name: str) -> str:
    """The first dotted name on a line of /etc/hosts that has ours; no resolver is asked."""
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as hosts:
            for line in hosts:
                names = line.partition("#")[0].split()[1:]
                if name in names:
                    return next((each for each in names if "." in each), "")
    except OSError:
        pass
    return ""
