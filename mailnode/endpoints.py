"""Why a text is no endpoint, in words for whoever wrote it."""

from __future__ import annotations

import re

_HOST_AND_PORT = re.compile(r"[^:]*:(?P<port>[0-9]{1,5})")
_LACKS = re.compile(r"missing \d+ required \w+ arguments?: (.*)")
_UNKNOWN_WORD = re.compile(r"unexpected keyword argument '(\w+)'")
_NO_NUMBER = re.compile(r"invalid literal for int\(\) with base 10: (.*)")


def why_no_endpoint(text: str, error: BaseException) -> str:
    """What is wrong with it.

    Args:
        error: what Twisted's parser raised; of each kind of endpoint it is another.
    """
    said = str(error)
    if "Unknown endpoint type" in said:
        return _no_kind(text)
    if isinstance(error, KeyError):
        return f"there is no {said}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if found := _LACKS.search(said):
        return f"it names no {found[1]}".replace("'", "")
    if found := _UNKNOWN_WORD.search(said):
        return f"there is no {found[1]}= in it"
    if found := _NO_NUMBER.search(said):
        return f"{found[1]} is no number"
    return said if isinstance(error, ValueError) and said else "it can't be read"


def _no_kind(text: str) -> str:
    kind, colon, _rest = text.partition(":")
    if not colon:
        return "it has no kind, such as tcp: or unix:"
    hint = ""
    if (found := _HOST_AND_PORT.fullmatch(text)) and (kind == "localhost" or "." in kind):
        connects = f"tcp:host={kind}:port={found['port']}"
        hint = f"; to connect say {connects}, to listen tcp:{found['port']}:interface={kind}"
    return f"no kind of endpoint is {kind!r}{hint or '; tcp, ssl, unix and systemd are some'}"
