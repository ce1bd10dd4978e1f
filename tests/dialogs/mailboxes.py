"""Mails that dialogs find in alice's mailbox, by name; each is served behind 67 octets of head."""

from __future__ import annotations


def _mail(subject: str, body: str) -> bytes:
    return f"Subject: {subject}\r\n\r\n{body}".encode()


MAILBOXES: dict[str, list[bytes]] = {
    "empty": [],
    "one": [_mail("one", "1\r\n")],
    "three": [
        _mail("one", "1\r\n"),
        _mail("two", "2\r\n22\r\n"),
        _mail("three", "3\r\n\r\n333\r\n"),
    ],
    "dots": [
        _mail("dots", ".\r\n..\r\n.x\r\nend.\r\n"),
        b".first: line\r\n\r\n.\r\n",
    ],
    # a mail whose dots stand at every edge that 16 KiB and 256 KiB chunks have
    "edges": [_mail("edges", "x" * 16362 + "\r\n.\r\n+OK forged\r\n")],
    "endless": [_mail("endless", "y" * 70000 + "\r\nlast\r\n"), b"Subject: headers only\r\n"],
    "large": [_mail("large", ("z" * 76 + "\r\n") * 9000 + ".\r\n")],
    "nothing": [b"\r\n", b""],
}
