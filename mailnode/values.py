"""How the value of a setting is read, from TOML, the environment or an option.

Each raises ValueError, whose words name what it would have taken.
"""

from __future__ import annotations

import ipaddress
import math
import re

from mailnode.addresses import parse_address, parse_domain
from mailnode.dnslists import DnsList
from mailnode.errors import BadAddress

MOST = 10**18  # of anything: a database's number holds it
MOST_WORKERS = 64

_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.I)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_DURATION = re.compile(
    r"(?:(\d{1,9})d)?\s*(?:(\d{1,9})h)?\s*(?:(\d{1,9})m)?\s*(?:(\d{1,15}(?:\.\d+)?)s)?"
)


def read_size(value: object) -> int:
    """Octets: a whole number, or text such as "25 MiB"."""
    octets = -1
    if isinstance(value, int) and not isinstance(value, bool):
        octets = value
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        octets = int(float(found.group(1)) * 1024 ** _POWERS[found.group(2).upper()])
    if 0 <= octets <= MOST:
        return octets
    raise ValueError('a size such as "25 MiB"')


def read_duration(value: object) -> float:
    """Seconds: a number, or text such as "30m" or "1d 12h"."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}(\.\d+)?", value.strip()):
        return float(value)
    if isinstance(value, str) and value.strip():
        found = _DURATION.fullmatch(value.strip())
        if found:
            days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
            return days * 86400 + hours * 3600 + minutes * 60 + seconds
    raise ValueError('a duration such as "30m"')


def read_typed_duration(text: str) -> float:
    """The same of what a person types at a command, who may mean days by a bare number."""
    if (hint := unit_hint(text)) and float(text):
        raise ValueError(f"a duration: it has no unit; {hint}")
    return read_duration(text)


def unit_hint(text: str) -> str:
    """What may be meant by a bare number, as a question; "" for what is none."""
    if not re.fullmatch(r"\d{1,15}(\.\d+)?", text.strip()):
        return ""
    return f"{text.strip()}{'s' if '.' in text else 'd'}?"


def read_count(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a whole number, 0 or more")


def read_score(value: object) -> int:
    """As zxcvbn judges a password."""
    return _read_up_to(4, value)


def read_few(value: object) -> int:
    """Passwords of before: users.db keeps five."""
    return _read_up_to(5, value)


def _read_up_to(most: int, value: object) -> int:
    try:
        count = read_count(value)
    except ValueError:
        count = most + 1
    if count <= most:
        return count
    raise ValueError(f"a whole number from 0 to {most}")


def read_workers(value: object) -> int:
    try:
        workers = read_count(value)
    except ValueError:
        workers = 0
    if 1 <= workers <= MOST_WORKERS:
        return workers
    raise ValueError(f"a whole number from 1 to {MOST_WORKERS}")


def read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "on": True}
    words |= {"false": False, "no": False, "0": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("true or false")


def read_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("text between quotes")


def read_hostname(value: object) -> str:
    """A domain in lower-case A-labels, or "" for this machine's name."""
    try:
        if isinstance(value, str) and not value.startswith("["):
            return value and parse_domain(value)
    except BadAddress:
        pass
    raise ValueError('a host name such as "mx.example.org"')


def read_list(value: object) -> tuple[str, ...]:
    """Texts: a TOML array, or in the environment words parted by commas or spaces."""
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split())
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    if isinstance(value, list | tuple) and all(
        isinstance(v, str | int) and not isinstance(v, bool) for v in value
    ):
        return tuple(str(v) for v in value)
    raise ValueError('a list such as ["2525"]')


def read_names(value: object) -> tuple[str, ...]:
    """Host names in lower-case A-labels."""
    try:
        return tuple(read_hostname(each) for each in read_list(value))
    except ValueError:
        raise ValueError('a list of host names such as ["mail.example.org"]') from None


def read_networks(value: object) -> tuple[str, ...]:
    """Networks and single addresses, each in its usual form."""
    try:
        return tuple(str(ipaddress.ip_network(each)) for each in read_list(value))
    except ValueError:
        raise ValueError('a list of networks such as ["10.0.0.0/8", "127.0.0.1"]') from None


def read_clock(value: object) -> str:
    if value in ("wall", "manual"):
        return str(value)
    raise ValueError('"wall" or "manual"')


def split_server(text: str) -> tuple[str, int]:
    """The address and port of a DNS server: "192.0.2.53", "127.0.0.1:5353", "[::1]:53".

    Raises:
        ValueError: it is none.
    """
    host, port = text, "53"
    if text.startswith("[") or text.count(":") == 1:
        host, colon, port = text.rpartition(":")
        if text.endswith("]"):
            host, port = text, "53"
        elif not colon or (text.startswith("[") and not host.endswith("]")):
            raise ValueError(text)
        host = host.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(text)
    return str(ipaddress.ip_address(host)), int(port)


def read_resolvers(value: object) -> tuple[str, ...]:
    """DNS servers by address, each with its port where that isn't 53."""
    try:
        servers = read_list(value)
        for each in servers:
            split_server(each)
    except ValueError:
        raise ValueError('a list such as ["192.0.2.53", "127.0.0.1:5353"]') from None
    return servers


def read_dns_lists(value: object) -> tuple[str, ...]:
    """Lists in the DNS, as `DnsList.parse` takes each."""
    try:
        lists = read_list(value)
        for each in lists:
            DnsList.parse(each)
    except ValueError:
        raise ValueError(
            'a list such as ["zen.example.org", "zen.example.net=127.0.0.2-11*2"]'
        ) from None
    return lists


def read_action(value: object) -> str:
    if value in ("off", "mark", "refuse"):
        return str(value)
    raise ValueError('"off", "mark" or "refuse"')


def read_points(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,3})?", value.strip()):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**6:
        return float(value)
    raise ValueError("points such as 5 or 7.5")


def read_probability(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"[01]?\.[0-9]{1,6}", value.strip()):
        value = float(value)
    if isinstance(value, float) and 0.5 <= value < 1:
        return value
    raise ValueError("a probability from 0.5 to 0.999, such as 0.9")


def read_tag(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch("[!-~](?:[ -~]{0,38}[!-~])?", text):
        return text
    raise ValueError('up to 40 printable letters of ASCII, such as "[SPAM]"')


def read_dmarc(value: object) -> str:
    if value in ("obey", "junk", "note"):
        return str(value)
    raise ValueError('"obey", "junk" or "note"')


def read_dmarc_reports(value: object) -> str:
    if value in ("off", "collect", "send"):
        return str(value)
    raise ValueError('"off", "collect" or "send"')


def read_reporter(value: object) -> str:
    """An address in ASCII, or "" for the node's postmaster."""
    try:
        if isinstance(value, str) and (not value or parse_address(value).is_ascii):
            return value
    except BadAddress:
        pass
    raise ValueError('an address such as "dmarc-reports@example.org"')


def read_harm(value: object) -> str:
    if value in ("refuse", "unwanted", "note", "off"):
        return str(value)
    raise ValueError('"refuse", "unwanted", "note" or "off"')


def read_failure(value: object) -> str:
    if value in ("pass", "defer"):
        return str(value)
    raise ValueError('"pass" or "defer"')


def read_format(value: object) -> str:
    if value in ("auto", "json", "text"):
        return str(value)
    raise ValueError('"auto", "json" or "text"')
