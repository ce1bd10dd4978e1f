"""Mails whose bytes tempt a client or a server to change them."""

from __future__ import annotations


def mail(subject: str, body: bytes, *fields: bytes) -> bytes:
    head = [
        b"From: Bob <bob@example.test>",  # whoever signs in, does as bob
        b"To: alice@example.test",
        b"Subject: " + subject.encode(),
        b"Date: Mon, 02 Mar 2026 10:00:00 +0000",
        b"Message-ID: <" + subject.replace(" ", ".").encode() + b"@example.test>",
        *fields,
    ]
    return b"".join(line + b"\r\n" for line in head) + b"\r\n" + body


MIME = (b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8")

MAILS: dict[str, bytes] = {
    "plain": mail("plain", b"Hello,\r\n\r\nthis is a mail.\r\n"),
    "dots": mail("dots", b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n.QUIT\r\n \r\n.\r\n"),
    "8-bit": mail(
        "8-bit",
        "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e\r\n".encode() + b"\xe9\xff\x80 latin\r\n",
        *MIME,
        b"Content-Transfer-Encoding: 8bit",
    ),
    "long lines": mail("long lines", b"x" * 998 + b"\r\n" + b"y" * 5000 + b"\r\n.z" * 3 + b"\r\n"),
    "empty body": mail("empty body", b""),
    "white space": mail("white space", b"trailing  \r\n\t\r\n\r\n\r\n\r\n"),
    "folded": mail("folded", b"body\r\n", b"X-Long: one\r\n two\r\n\tthree", b"X-Empty:"),
    "From lines": mail("From lines", b"From nobody Mon Mar  2 10:00:00 2026\r\n>From you\r\n"),
}
