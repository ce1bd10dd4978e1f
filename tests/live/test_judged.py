"""A node that judges as it comes: a Postfix that signs by OpenDKIM, forwarders, and a real clamd.

The Postfix comes from 127.0.0.1, which its domains' SPF names; whoever comes from anywhere else
comes through 127.0.0.2, a proxy.
"""

from __future__ import annotations

import json
import re
import smtplib
import socket
import time
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailnode.mailauth.dkim import RSA
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from tests.live import judges
from tests.live.conftest import missing
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder
from tests.live.test_judges import forwarded_eicar, running
from tests.live.web_client import FORM, Browser
from tests.live.world import POSTFIX, Postfix, certificate_for, dns, folder_for_others, there

ALICE = f"alice@{DOMAIN}"
REJECTS, QUARANTINES = "rejects.test", "quarantines.test"
POLICIES = {REJECTS: "reject", QUARANTINES: "quarantine"}
PROXY, FORWARDER = "127.0.0.2", "192.0.2.66"
OPTIONS = ("--smtp", "0", "--pop3", "0", "--http", "0")
KEY = make_private_key(RSA)
RECORD = key_record(RSA, public_text(KEY))
KEYS = {f"s1._domainkey.{domain}": RECORD for domain in POLICIES}
SPF = "v=spf1 ip4:127.0.0.1 -all"
ZONE = {
    **{f"{name} TXT": [record] for name, record in KEYS.items()},
    **{f"{domain} TXT": [SPF] for domain in POLICIES},
    **{f"_dmarc.{domain} TXT": [f"v=DMARC1; p={policy}"] for domain, policy in POLICIES.items()},
}


class FromProxy(smtplib.SMTP):
    """A client that comes from FORWARDER, as the proxy says."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout, self.source_address)
        made.sendall(f"PROXY TCP4 {FORWARDER} {PROXY} 4711 25\r\n".encode())
        return made


def forward(to: Node, sender: str, mail: bytes) -> None:
    """A mail as it is, from an address that its domain doesn't name."""
    with FromProxy(
        "127.0.0.1", to.port("smtp"), "mx.forwarder.test", timeout=30, source_address=(PROXY, 0)
    ) as client:
        client.sendmail(sender, [ALICE], mail)


@pytest.fixture(scope="module")
def virus_scanner() -> Iterator[judges.Judge]:
    with running(judges.Clamd, judges.CLAMD) as judge:
        yield judge


@pytest.fixture(scope="module")
def judging(
    made_folder: Path, tmp_path_factory: pytest.TempPathFactory, virus_scanner: judges.Judge
) -> Iterator[Node]:
    """A node with a clamd, and all else as it comes; it asks a resolver that knows `ZONE`."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("judging") / "node")
    with dns(tmp_path_factory.mktemp("dns"), ZONE) as zone:
        settings = {
            "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{zone}",
            "MAILNODE_LISTEN__PROXY_FROM": PROXY,
            "MAILNODE_JUDGING__LOOPBACK": "true",
            "MAILNODE_CLAMD__ENDPOINT": virus_scanner.endpoint,
        }
        with Node(folder, OPTIONS, settings=settings) as node:
            yield node


@pytest.fixture(scope="module")
def signing_postfix(judging: Node) -> Iterator[Postfix]:
    """It takes what 127.0.0.2 sends, has it signed, and brings it to the node."""
    if not there(POSTFIX):
        missing("postfix (as root)")
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    signer = running(judges.OpenDkimSigner, judges.OPENDKIM, keys=KEYS, key=pem)
    with folder_for_others() as place, signer as opendkim:
        more = (
            f"relayhost = [127.0.0.1]:{judging.port('smtp')}",
            "smtpd_relay_restrictions = permit_mynetworks, reject",
            f"smtpd_milters = unix:{opendkim.socket}",
            "milter_default_action = tempfail",
        )
        tls = certificate_for(place, "mx.sender.test")
        postfix = Postfix(place, "sender.test", tls, more=more).start()
        try:
            yield postfix
        finally:
            postfix.stop()


@pytest.fixture(scope="module")
def signed(judging: Node, signing_postfix: Postfix) -> dict[str, bytes]:
    """A mail of each domain as it lies in alice's inbox."""
    for domain in POLICIES:
        with smtplib.SMTP(
            "127.0.0.1", signing_postfix.port, timeout=30, source_address=(PROXY, 0)
        ) as client:
            mail = (
                f"From: Anna <anna@{domain}>\r\nTo: {ALICE}\r\nSubject: {domain}\r\n\r\nHello\r\n"
            )
            client.sendmail(f"anna@{domain}", [ALICE], mail)
    deadline = time.monotonic() + 20
    while len(found := judging.mails()) < len(POLICIES):
        assert time.monotonic() < deadline, signing_postfix.log()[-3000:]
        time.sleep(0.1)
    by_domain = {domain: each for domain in POLICIES for each in found if domain.encode() in each}
    assert len(by_domain) == len(POLICIES)
    return by_domain


def as_signed(served: bytes) -> bytes:
    """From its signature on: what a forwarder hands on, without the traces of its way."""
    return served[served.index(b"DKIM-Signature:") :]


def trace(of: Node, sender: str) -> tuple[str, dict[str, Any]]:
    """What is told of the mail from there, in words; what its journal has, by who judged it."""
    (story,) = json.loads(command(of.folder, "trace", "--json", "--from", sender).stdout)
    first, *_ = events = story["events"]
    judged = {each["by"]: each for each in first["facts"].get("judged", ())}
    return "\n".join(each["words"] for each in events), judged


def counted(at: Node, name: str, labels: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{at.port('http')}/metrics") as page:
        found = re.search(rf"^{name}\{{{re.escape(labels)}\}} (\d+)$", page.read().decode(), re.M)
    return int(found.group(1)) if found else 0


@pytest.mark.parametrize("domain", POLICIES)
def test_what_another_host_signs_by_opendkim_passes_three_times(
    judging: Node, signed: dict[str, bytes], domain: str
) -> None:
    mail = signed[domain]
    results = mail[
        mail.index(b"Authentication-Results: localhost;") : mail.index(b"DKIM-Signature:")
    ]
    for check in (b"spf=pass", b"dkim=pass", b"dmarc=pass"):
        assert results.count(check) == 1, mail
    policy = f"pass {domain} (policy {POLICIES[domain]})"
    facts = {"spf": f"pass {domain}", "dkim": f"pass {domain}", "dmarc": policy}
    told, judged = trace(judging, f"anna@{domain}")
    assert judged == {"authentication": {"by": "authentication", "facts": facts}}
    in_words = ", ".join(f"{name} {said}" for name, said in facts.items())
    assert f"judged by authentication ({in_words})" in told, told
    assert "filed in the mailbox of" in told and "(folder " not in told, told


@pytest.mark.parametrize("domain", POLICIES)
def test_what_a_forwarder_leaves_as_it_is_passes_by_its_signature(
    judging: Node, signed: dict[str, bytes], domain: str
) -> None:
    sender = f"kept@{domain}"
    before = len(judging.mails())
    forward(judging, sender, as_signed(signed[domain]))
    assert len(judging.mails()) == before + 1
    _told, judged = trace(judging, sender)
    facts = judged["authentication"]["facts"]
    assert [facts[name].split()[0] for name in ("spf", "dkim", "dmarc")] == ["fail", "pass", "pass"]


def altered(mail: bytes) -> bytes:
    """By one octet."""
    changed = as_signed(mail).replace(b"\r\n\r\nHello", b"\r\n\r\nHallo")
    assert sum(a != b for a, b in zip(changed, as_signed(mail), strict=True)) == 1
    return changed


def why(domain: str) -> str:
    return f"neither SPF nor DKIM proves {domain}, whose policy is {POLICIES[domain]}"


def test_one_octet_more_and_it_is_refused_where_its_domain_asks_for_that(
    judging: Node, signed: dict[str, bytes]
) -> None:
    sender = f"altered@{REJECTS}"
    before = counted(judging, "mailnode_judged_total", 'by="authentication",result="refused"')
    with pytest.raises(smtplib.SMTPDataError) as refused:
        forward(judging, sender, altered(signed[REJECTS]))
    answer = refused.value.smtp_error.decode()
    assert (refused.value.smtp_code, answer.split()[0]) == (550, "5.7.26")
    assert f"Message refused: {why(REJECTS)}" in answer
    after = counted(judging, "mailnode_judged_total", 'by="authentication",result="refused"')
    assert after == before + 1
    told, _judged = trace(judging, sender)
    assert f"answered 550 5.7.26 Message refused: {why(REJECTS)}" in told, told
    found = f"(spf fail {REJECTS}, dkim fail {REJECTS}, dmarc fail {REJECTS} (policy reject))"
    assert f"because by authentication {found}" in told, told


def test_one_octet_more_and_it_lies_in_junk_where_its_domain_asks_for_that(
    judging: Node, signed: dict[str, bytes]
) -> None:
    sender = f"altered@{QUARANTINES}"
    before = len(judging.mails())
    forward(judging, sender, altered(signed[QUARANTINES]))
    assert len(judging.mails()) == before
    told, _judged = trace(judging, sender)
    found = f"(spf fail {QUARANTINES}, dkim fail {QUARANTINES}, dmarc fail {QUARANTINES} (policy"
    assert f"judged unwanted by authentication {found} quarantine))" in told, told
    assert f"because {why(QUARANTINES)}" in told and "(folder Junk)" in told, told


def test_the_page_of_what_lies_in_junk_says_why_until_it_is_not_junk(
    judging: Node, signed: dict[str, bytes]
) -> None:
    sender = f"page@{QUARANTINES}"
    forward(judging, sender, altered(signed[QUARANTINES]))
    (story,) = json.loads(command(judging.folder, "trace", "--json", "--from", sender).stdout)
    (filed,) = [each["facts"] for each in story["events"] if each["event"] == "delivered"]
    browser = Browser(judging.port("http"))
    browser.sign_in(ALICE, PASSWORD)
    page = browser.get(f"/mail/{filed['folder_id']}/{filed['uid']}")
    top = unescape(page.text[page.text.index('aria-label="Why it is in Junk"') :])
    top = top[: top.index("</section>")]
    assert f"authentication: {why(QUARANTINES)}" in top and "Not junk</button>" in top, top
    assert page.text.count("Not junk</button>") == 1
    (inbox,) = set(re.findall(r'name="to" value="(\d+)"', top))
    moved = urlencode({"csrf": browser.csrf, "uid": filed["uid"], "to": inbox}).encode()
    path = f"/mail/{filed['folder_id']}/move"
    assert browser.ask("POST", path, moved, {"Content-Type": FORM}).status == 200
    newest = f"/mail/{inbox}/{len(judging.mails())}"
    page = browser.get(newest)
    assert QUARANTINES in page.text and "In Junk because" not in page.text


@pytest.mark.parametrize(
    ("name", "by", "words"),
    [
        ("eicar.txt", "clamd", "Eicar-Test.UNOFFICIAL was found in it"),
        ("eicar.com", "harmful", "eicar.com"),  # its name says enough
    ],
)
def test_eicar_in_a_zip_in_a_forwarded_mail_is_refused_counted_and_traced(
    judging: Node, name: str, by: str, words: str
) -> None:
    sender = f"{by}@forwarder.test"
    labels = f'by="{by}",result="refused"'
    judged_before = counted(judging, "mailnode_judged_total", labels)
    refused_before = counted(judging, "mailnode_refusals_total", 'code="550"')
    with pytest.raises(smtplib.SMTPDataError) as refused:
        forward(judging, sender, forwarded_eicar(name))
    answer = refused.value.smtp_error.decode()
    assert (refused.value.smtp_code, answer.split()[0]) == (550, "5.7.0")
    assert words in answer
    assert counted(judging, "mailnode_judged_total", labels) == judged_before + 1
    assert counted(judging, "mailnode_refusals_total", 'code="550"') == refused_before + 1
    told, _judged = trace(judging, sender)
    assert f"answered 550 5.7.0 {answer.partition(' ')[2]}" in told and f"by filter {by}" in told
