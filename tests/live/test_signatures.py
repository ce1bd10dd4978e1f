"""OpenDKIM believes our signatures, and we believe its, but for an octet that is another."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.examination import read_mail
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.mailauth.signatures import DkimResult
from tests.live.conftest import Client
from tests.unit.mailauth_case import Zone, settle

# Of several blanks behind a colon, its test mode keeps none.
HEADER = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: A  folded\r\n"
    b"\tsubject \r\nDate: Fri, 27 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)
BODY = b"Hello  there \r\n\r\n and goodbye\r\n\r\n\r\n"
AT = 1_795_000_000
LATER = 1e11  # OpenDKIM takes the time from this machine's clock
KEY = DkimKey("example.org", "s1", RSA, make_private_key(RSA))
RECORD = key_record(RSA, public_text(KEY.private_key))


def judged(mail: bytes) -> DkimResult:
    header, _, body = mail.partition(b"\r\n\r\n")
    examination = read_mail(header + b"\r\n")
    examination.bodies.feed(body)
    examination.end_body()
    zone = Zone({("s1._domainkey.example.org", "TXT"): [RECORD]})
    (found,), _arc = settle(lambda answers: examination.judge(answers, LATER), zone)
    return found


def run(client: Client, folder: Path, mail: bytes, *settings: str) -> str:
    """What OpenDKIM would put in front of a mail, by its test mode."""
    (folder / "mail.eml").write_bytes(mail.replace(b"\r\n", b"\n"))
    (folder / "opendkim.conf").write_text("\n".join([*settings, ""]), "utf-8")
    done = client("opendkim", "-x", folder / "opendkim.conf", "-t", folder / "mail.eml", "-vvv")
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("forms", [*product(("simple", "relaxed"), repeat=2)])
def test_what_opendkim_signs_passes_and_an_octet_less_fails(
    client: Client, tmp_path: Path, forms: tuple[str, str]
) -> None:
    key = tmp_path / "key.pem"
    key.touch(0o600)
    key.write_bytes(
        KEY.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
    )
    told = run(
        client, tmp_path, HEADER + b"\r\n" + BODY,
        "Mode s", "Domain example.org", "Selector s1", f"KeyFile {key}", "RequireSafeKeys no",
        f"Canonicalization {'/'.join(forms)}", "InternalHosts 0.0.0.0/0",
    )  # fmt: skip
    (value,) = re.findall(r"hname='DKIM-Signature' hvalue='([^']*)'", told)
    field = f"DKIM-Signature: {value}".replace("\n", "\r\n").encode() + b"\r\n"
    assert f"c={'/'.join(forms)}".encode() in field
    found = judged(field + HEADER + b"\r\n" + BODY)
    assert (found.result, found.reason) == ("pass", "")
    for was, becomes in ((b"Hello", b"Hallo"), (b"folded", b"folden"), (b"bob@", b"rob@")):
        changed = (field + HEADER + b"\r\n" + BODY).replace(was, becomes)
        assert judged(changed).result == "fail"


def test_what_we_sign_passes_at_opendkim_and_an_octet_less_fails(
    client: Client, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"s1._domainkey.example.org {RECORD}\n", "utf-8")
    body_hash = BodyHash()
    body_hash.feed(BODY)
    mail = sign(HEADER, body_hash.digest(), [KEY], AT) + HEADER + b"\r\n" + BODY
    settings = ("Mode v", f"TestPublicKeys {keys}", "AuthservID mx.example.net")
    assert "dkim=pass" in run(client, tmp_path, mail, *settings)
    assert "dkim=fail" in run(client, tmp_path, mail.replace(b"Hello", b"Hallo"), *settings)
