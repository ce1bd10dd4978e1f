"""50 MiB of attachment, sent with STARTTLS by swaks, comes back the same by mpop and curl."""

from __future__ import annotations

import hashlib
import random
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from tests.live.conftest import Client
from tests.live.node import DOMAIN, PASSWORD, Node
from tests.live.test_fetchers import by_mpop

OCTETS = 50 << 20


def attachment_of(mail: bytes) -> bytes:
    message = message_from_bytes(mail, policy=default)
    (part,) = [part for part in message.walk() if part.get_filename() == "large.bin"]
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def test_an_attachment_of_50_mib_comes_back_the_same_to_the_byte(
    node: Node, client: Client, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(random.Random(50).randbytes(OCTETS))
    digest = hashlib.sha256(large.read_bytes()).digest()
    client(
        "swaks", "--server", "localhost", "--port", str(node.port("smtp")), "--tls",
        "--tls-verify", "--tls-ca-path", node.certificate, "--helo", "client.example",
        "--from", "sender@elsewhere.example", "--to", f"alice@{DOMAIN}",
        "--attach-type", "application/octet-stream", "--attach-name", "large.bin",
        "--attach", f"@{large}", "--header", "Subject: large", "--hide-all",
    )  # fmt: skip
    by_curl = client(
        "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", node.certificate,
        "--user", f"alice@{DOMAIN}:{PASSWORD}", f"pop3://localhost:{node.port('pop3')}/1",
    ).stdout  # fmt: skip
    assert hashlib.sha256(attachment_of(by_curl)).digest() == digest
    folder = tmp_path / "fetched"
    folder.mkdir()
    (mpop_s,) = by_mpop(node, "stls", client, folder)
    assert mpop_s == by_curl
