"""The programs of others that judge mail: can they be asked, and does somebody answer there?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.cli.checkup_network import endpoint_parts
from mailnode.config import Config, ConfigError

ANSWERS_WITHIN_S = 3.0
ANSWER_OCTETS = 64

_PROGRAMS = {"clamd": "clamd", "rspamd": "Rspamd", "spamd": "spamd", "milter": "a milter"}
_UNJUDGED = {"defer": "mail is put off", "pass": "mail is taken unjudged"}


def check_judging(config: Config) -> Iterator[Finding]:
    """Each place that the settings name."""
    for section in _PROGRAMS:
        key = "endpoints" if section == "milter" else "endpoint"
        told = getattr(getattr(config, section), key)
        for where in (told,) if isinstance(told, str) else told:
            if where:
                yield _check_place(config, section, key, where)


def _check_place(config: Config, section: str, key: str, where: str) -> Finding:
    from mailnode.judges import endpoint_of  # 0.3 s that who asks nobody is spared

    program, on_failure = _PROGRAMS[section], getattr(config, section).on_failure
    try:
        endpoint_of(None, section, where)
    except ConfigError as error:
        return fault("judging", str(error), f"mend {section}.{key}, or take it out")
    try:
        ask(where, b"zPING\0" if section == "clamd" else b"", b"PONG")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        grave = fault if on_failure == "defer" else warning
        return grave(
            "judging",
            f"{program} does not answer at {where}: {words}; until it does,"
            f" {_UNJUDGED[on_failure]}",
            f"start it, or mend {section}.{key}",
        )
    return good("judging", f"{program} answers at {where}")


def ask(where: str, question: bytes, expected: bytes) -> None:
    """Connect to an endpoint that could be read, and let it go.

    Args:
        question: what is sent to learn who is there; b"" for nothing.
        expected: how the answer to it begins.

    Raises:
        OSError: nobody is there, or nothing is said in time.
        ValueError: somebody else is.
    """
    kind, values = endpoint_parts(where)
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(ANSWERS_WITHIN_S)
        place: str | tuple[str, int] = values.get("path") or values["0"]
    else:
        host = values.get("host") or values["0"]
        port = int(values.get("port") or values["1"])
        client = socket.create_connection((host, port), ANSWERS_WITHIN_S)
        place = ""
    with client:
        if place:
            client.connect(place)
        if question:
            client.sendall(question)
            if not client.recv(ANSWER_OCTETS).startswith(expected):
                raise ValueError("another program is there")
