"""What an alias forwards for a stranger, over a real Postfix: dkimpy believes its ARC chain."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from tests.live.conftest import missing
from tests.live.node import DOMAIN, Node, command, copy_folder
from tests.live.world import (
    POSTFIX,
    Postfix,
    certificate_for,
    dns,
    dns_of_dkimpy,
    folder_for_others,
    texts_of,
    there,
)

REMOTE, SENDER = "remote.test", "sender.test"
KEY = DkimKey(SENDER, "s1", RSA, make_private_key(RSA))
AT = 1_795_000_000
HEADER = (
    f"From: anna@{SENDER}\r\nTo: forwarded@{DOMAIN}\r\nSubject: Hello\r\n"
    f"Date: Fri, 27 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@{SENDER}>\r\n"
).encode()
BODY = b"Gr\xc3\xbc\xc3\x9fe  \r\n.dot\r\n\r\nend\r\n"


def signed() -> bytes:
    hashed = BodyHash()
    hashed.feed(BODY)
    return sign(HEADER, hashed.digest(), [KEY], AT) + HEADER + b"\r\n" + BODY


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    if not there(POSTFIX):
        missing("postfix (as root)")
    with folder_for_others() as folder:
        tls = certificate_for(folder, f"mx.{REMOTE}")
        server = Postfix(folder, REMOTE, tls).start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """What the DNS has as TXT."""
    return {
        f"s1._domainkey.{SENDER}": key_record(RSA, public_text(KEY.private_key)),
        SENDER: "v=spf1 ip4:127.0.0.1 -all",
        f"_dmarc.{SENDER}": "v=DMARC1; p=reject",
    }


@pytest.fixture(scope="module")
def forwarder(
    made_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    postfix: Postfix,
    texts: dict[str, str],
) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("forwarder") / "node")
    command(folder, "dkim", "generate", DOMAIN)
    texts.update(texts_of(command(folder, "dns", "show", DOMAIN, "--json").stdout))
    command(folder, "alias", "add", f"forwarded@{DOMAIN}", f"remote@{REMOTE}")
    command(folder, "gear", "set", "live", "--yes")
    zone = {
        **{f"{name} TXT": [text] for name, text in texts.items()},
        f"{REMOTE} MX": [f"10 mx.{REMOTE}"],
        f"mx.{REMOTE} A": ["127.0.0.1"],
    }
    with dns(tmp_path_factory.mktemp("dns"), zone) as port:
        settings = {
            "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{port}",
            "MAILNODE_OUTBOUND__PORT": str(postfix.port),
            "MAILNODE_JUDGING__LOOPBACK": "true",
        }
        with Node(folder, ("--smtp", "0", "--pop3", "0"), settings=settings) as node:
            yield node


def forwarded(node: Node, postfix: Postfix, mail: bytes) -> bytes:
    """The mail as the next host has it."""
    count = len(postfix.mails("remote"))
    with smtplib.SMTP("localhost", node.port("smtp"), f"mx.{SENDER}", timeout=60) as session:
        session.sendmail(
            f"anna@{SENDER}", [f"forwarded@{DOMAIN}"], mail, mail_options=["BODY=8BITMIME"]
        )
    postfix.wait_for("remote", count + 1)
    return postfix.newest("remote")


def chain_of(mail: bytes, texts: dict[str, str]) -> tuple[bytes | None, list[dict[bytes, object]]]:
    result, sets, _reason = dkim.ARC(mail).verify(dnsfunc=dns_of_dkimpy(texts))
    return result, sets


def test_its_chain_holds_at_the_next_host_and_its_octets_are_those_that_came(
    forwarder: Node, postfix: Postfix, texts: dict[str, str]
) -> None:
    mail = forwarded(forwarder, postfix, signed())
    assert mail.endswith(signed())
    result, (first,) = chain_of(mail, texts)
    assert (result, first["as-domain"], first["cv"]) == (b"pass", DOMAIN.encode(), b"none")
    assert b"dmarc=pass" in mail.partition(b"ARC-Authentication-Results: i=1;")[2]


def test_a_chain_goes_on_and_once_broken_is_sealed_as_such_and_never_beyond(
    forwarder: Node, postfix: Postfix, texts: dict[str, str]
) -> None:
    def as_it_left(mail: bytes) -> bytes:
        """Without the traces of its way, in which the forwarder would see a loop."""
        return mail[mail.index(b"Authentication-Results:") :]

    first = as_it_left(forwarded(forwarder, postfix, signed()))
    second = as_it_left(forwarded(forwarder, postfix, first))
    result, sets = chain_of(second, texts)
    assert (result, [each["cv"] for each in sets]) == (b"pass", [b"pass", b"none"])
    broken = as_it_left(forwarded(forwarder, postfix, second + b"A footer\r\n"))
    assert b"ARC-Seal: i=3; a=rsa-sha256; cv=fail;" in broken
    beyond = forwarded(forwarder, postfix, broken)
    assert b"i=4" not in beyond and beyond.count(b"ARC-Seal:") == 3
