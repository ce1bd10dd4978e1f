"""What people on a terminal are told once their node has started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mailnode import __version__
from mailnode.listening import WEB_KINDS

if TYPE_CHECKING:
    from mailnode.house import House


def say(text: str) -> None:
    """To the terminal itself: standard output belongs to the log by now."""
    print(text, file=sys.__stdout__)


def welcome(node: House) -> None:
    """For people on a terminal: where it listens, who can sign in, two lines to paste."""
    demo = node.directory.demo_accounts
    say("")
    say(f"  mailnode {__version__} is {node.hostname}")
    for listener in node.listeners:
        beyond = "" if listener.beyond_loopback else "   (only this machine)"
        _say_fact(listener.kind, f"{'  '.join(listener.addresses())}{beyond}")
    _say_web(node)
    mail = [each for each in node.listeners if each.kind not in WEB_KINDS]
    if not demo and not all(each.beyond_loopback for each in mail):
        _say_fact("For others", "--smtp tcp:25 --pop3s tcp:995")
    if node.certificate.self_signed:
        _say_fact("TLS", f"self-signed, {node.certificate.cert}")
    _say_gear(node)
    if demo:
        say("")
        say("  Demo accounts, for this machine only:")
        for account in demo:
            admin = "   (administrator)" if account.admin else ""
            say(f"    {account.key}   password {account.address.local}-demo{admin}")
    elif not node.directory.accounts():
        say("")
        say("  There is no account yet. The first, in another terminal:")
        say(f"    {node.command} init --user you@your.domain")
    _say_lines_to_paste(node, demo)
    say("")


def _say_fact(name: str, value: str) -> None:
    say(f"  {name:<11}{value}")


def _say_web(node: House) -> None:
    """Where a browser goes: what a person can click."""
    for listener in node.listeners:
        if listener.kind in WEB_KINDS and (place := next(listener.addresses(), "")):
            if place.startswith("unix:"):
                continue
            port = place.rpartition(":")[2]
            host = node.hostname if listener.beyond_loopback else "localhost"
            _say_fact("Web", f"{listener.kind}://{host}:{port}/")


def _say_gear(node: House) -> None:
    """How far mail for other hosts goes, where that is less than people may think."""
    stays = {
        "capture": "mail for other hosts is captured, never sent",
        "allow-list": "mail for other hosts is captured but for the allow list",
    }.get(node.directory.gear)
    if stays:
        _say_fact("Elsewhere", f"{stays}; to see it: {node.command} queue list")
        _say_fact("", f"to let it out: {node.command} gear set live")


def _say_lines_to_paste(node: House, demo: Any) -> None:
    ports = {each.kind: next(each.addresses(), "") for each in node.listeners}
    smtp, pop3 = ports.get("smtp", ""), ports.get("pop3", "")
    if len(demo) < 2 or not smtp or not pop3:
        return
    sender, reader = demo[1], demo[0]
    print(
        f"""
  Send a mail, and fetch it:
    printf 'From: {sender.key}\\r\\nTo: {reader.key}\\r\\nSubject: Hello\\r\\n\\r\\n\
It works.\\r\\n' | curl smtp://{smtp} --mail-from {sender.key} --mail-rcpt {reader.key} -T -
    curl pop3://{pop3}/1 -u {reader.key}:{reader.address.local}-demo""",
        file=sys.__stdout__,
    )
