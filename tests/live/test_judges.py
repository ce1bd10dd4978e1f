"""Programs of others judge mail: ClamAV, SpamAssassin, Rspamd, and OpenDKIM as a milter."""

from __future__ import annotations

import hashlib
import io
import json
import os
import smtplib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.endpoints import clientFromString

from mailnode.addresses import parse_address
from mailnode.cli import checkup_judging
from mailnode.errors import FilterFailed, MailError, Refused
from mailnode.filters import clamd, milter, rspamd, spamd
from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.model import Blob, Client, Envelope, Message, Recipient, Verdict
from tests.documents import DOCS, files
from tests.live import judges
from tests.live.conftest import missing
from tests.live.node import DOMAIN, Node, command
from tests.live.world import folder_for_others

ENVELOPE = Envelope(
    "01JUDGED",
    parse_address("dave@elsewhere.example"),
    (Recipient(parse_address(f"alice@{DOMAIN}"), 1, f"alice@{DOMAIN}"),),
    Client("192.0.2.7", 4711, "mx.elsewhere.example", "ESMTP"),
)
RECEIVED = (
    b"Received: from mx.elsewhere.example ([192.0.2.7])\r\n\tby localhost (mailnode) with ESMTP"
    b" id 01JUDGED; Sat, 28 Nov 2026 11:00:00 +0000\r\n"
)


@contextmanager
def running(kind: type[judges.Judge], program: str, **more: Any) -> Iterator[judges.Judge]:
    if os.getuid() or not Path(program).exists():
        missing(Path(program).name)
    with folder_for_others() as folder:
        judge = kind(folder, **more).start()
        try:
            yield judge
        finally:
            judge.stop()


def settings(judge: judges.Judge) -> dict[str, Any]:
    return {"endpoint": clientFromString(reactor, judge.endpoint), "clock": reactor}


def mail_with(subject: str = "Hello", text: str = "Hello, Alice.\n", **files: bytes) -> bytes:
    mail = EmailMessage(SMTP)
    mail["From"], mail["To"] = "Dave <dave@elsewhere.example>", f"alice@{DOMAIN}"
    mail["Subject"], mail["Date"] = subject, "Sat, 28 Nov 2026 11:00:00 +0000"
    mail["Message-ID"] = "<1@elsewhere.example>"
    mail.set_content(text)
    for name, octets in files.items():
        mail.add_attachment(octets, "application", "octet-stream", filename=name)
    return mail.as_bytes()


def message_of(raw: bytes) -> Message:
    return Message(RECEIVED, raw, len(raw), hashlib.sha256(raw).digest())


def as_blob(raw: bytes) -> Message:
    """The same, read in pieces."""

    class Reader(io.BytesIO):
        def read(self, count: int | None = -1) -> Any:
            return succeed(super().read(count))

    blob = Blob("key", lambda: Reader(raw))
    return Message(RECEIVED, blob, len(raw), hashlib.sha256(raw).digest())


def in_zip(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in files.items():
            archive.writestr(name, octets)
    return packed.getvalue()


def forwarded_eicar(name: str = "eicar.com") -> bytes:
    """In a zip in a mail that is attached to another."""
    inner = mail_with(**{"test.zip": in_zip(**{name: judges.EICAR})})
    return (
        b"From: dave@elsewhere.example\r\nSubject: Fwd\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )


async def refusal_of(judging: Any) -> MailError:
    try:
        verdict = await judging
    except MailError as error:
        return error
    raise AssertionError(f"it was taken: {verdict}")


# ClamAV


@pytest.fixture(scope="module")
def virus_scanner() -> Iterator[judges.Judge]:
    with running(judges.Clamd, judges.CLAMD) as judge:
        yield judge


@pytest_twisted.ensureDeferred
async def test_clamd_finds_eicar_in_a_zip_in_a_forwarded_mail(virus_scanner: judges.Judge) -> None:
    scanner = clamd.Clamd(**settings(virus_scanner))
    for message in (message_of(forwarded_eicar()), as_blob(forwarded_eicar())):
        error = await refusal_of(scanner.judge(ENVELOPE, message))
        assert (error.smtp_code, error.enhanced) == (550, "5.7.0")
        assert error.text == "Message refused: Eicar-Test.UNOFFICIAL was found in it"
    assert await scanner.judge(ENVELOPE, message_of(mail_with())) == Verdict()
    assert (scanner.asked, scanner.failed) == (3, 0)


@pytest_twisted.ensureDeferred
async def test_what_is_past_clamd_s_own_limit_is_too_large(virus_scanner: judges.Judge) -> None:
    """Its StreamMaxLength is 1 MiB."""
    large = as_blob(mail_with(large=os.urandom(3 << 20)))
    passing = clamd.Clamd(**settings(virus_scanner), on_failure="defer")
    verdict = await passing.judge(ENVELOPE, large)
    assert verdict.action == "accept"
    assert verdict.reasons == ("clamd did not judge it: INSTREAM size limit exceeded. ERROR",)
    deferring = clamd.Clamd(**settings(virus_scanner), on_too_large="defer")
    error = await refusal_of(deferring.judge(ENVELOPE, large))
    assert (error.smtp_code, error.enhanced) == (451, "4.7.1")


def test_a_node_as_the_page_shows_it_refuses_eicar_and_takes_the_rest(
    virus_scanner: judges.Judge, rspamd_worker: judges.Judge, folder: Path
) -> None:
    """By the sections of its file, and by the objects that stand behind them."""
    shown = files(DOCS / "outside-filters.rst")
    shown["judges.toml"] += shown.pop("plugins.toml")
    for name, place, judge in (
        ("judges.toml", "unix:path=/run/clamav/clamd.ctl", virus_scanner),
        ("judges.toml", "tcp:host=127.0.0.1:port=11333", rspamd_worker),
        ("judges.py", "tcp:host=192.0.2.3:port=3310", virus_scanner),
        ("judges.py", "tcp:host=192.0.2.3:port=11333", rspamd_worker),
    ):
        assert place in shown[name]
        shown[name] = shown[name].replace(place, judge.endpoint)
    for name, text in shown.items():
        (folder / name).write_text(text)
    ports = ("--smtp", "0", "--pop3", "0", "--config", "judges.toml")
    tried = {"MAILNODE_JUDGING__LOOPBACK": "true", "MAILNODE_JUDGING__AUTHENTICATE": "false"}
    with Node(folder, ports, settings=tried) as node:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            node.send(forwarded_eicar("eicar.txt"))
        assert refused.value.smtp_code == 550
        assert refused.value.smtp_error == (
            b"5.7.0 Message refused: Eicar-Test.UNOFFICIAL was found in it"
        )
        with pytest.raises(smtplib.SMTPDataError) as refused:
            node.send(mail_with(text=judges.GTUBE))
        assert refused.value.smtp_error == b"5.7.1 Gtube pattern"
        node.send(mail_with("Fine", fine=os.urandom(300_000)))
        node.send(mail_with("So cheap"))
        (inbox,) = node.mails()
        assert b"Subject: Fine" in inbox and b"X-Spam-Flag" not in inbox
        traced = command(folder, "trace", "--to", f"alice@{DOMAIN}").stdout
    for words in ("by filter clamd", "by filter rspamd", "unwanted by rspamd", "by rspamd2"):
        assert words in traced, traced
    assert "(folder Junk)" in traced, traced
    (junk,) = json.loads(
        command(folder, "search", "--json", f"alice@{DOMAIN}", "subject:cheap").stdout
    )
    assert [copy["folder"] for copy in junk["copies"]] == ["Junk"]


def test_doctor_knows_whether_clamd_is_there(
    virus_scanner: judges.Judge, rspamd_worker: judges.Judge, folder: Path
) -> None:
    told = {"MAILNODE_CLAMD__ENDPOINT": virus_scanner.endpoint}
    said = command(folder, "doctor", settings=told, check=False).stdout
    assert f"good:    clamd answers at {virus_scanner.endpoint}\n" in said, said
    with pytest.raises(ValueError, match="another program is there"):
        checkup_judging.ask(rspamd_worker.endpoint, b"zPING\0", b"PONG")
    with pytest.raises(FileNotFoundError):
        checkup_judging.ask(f"unix:{folder}/nowhere", b"", b"")


# SpamAssassin


@pytest.fixture(scope="module")
def spam_assassin() -> Iterator[judges.Judge]:
    with running(judges.Spamd, judges.SPAMD) as judge:
        yield judge


@pytest_twisted.ensureDeferred
async def test_spamassassin_s_rules_are_the_reasons(spam_assassin: judges.Judge) -> None:
    judge = spamd.Spamd(**settings(spam_assassin))
    spam = await judge.judge(ENVELOPE, as_blob(mail_with(text=judges.GTUBE + "\n")))
    assert spam.action == "accept" and spam.unwanted
    assert spam.headers.startswith(b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=")
    told, first = spam.reasons[:2]
    assert told.startswith("SpamAssassin gives it ") and told.endswith(" 5.0 make it spam")
    assert first == "GTUBE (+1000.0): BODY: Generic Test for Unsolicited Bulk Email", spam.reasons
    ham = await judge.judge(ENVELOPE, message_of(mail_with()))
    assert (ham.action, ham.unwanted, ham.headers) == ("accept", False, b"")
    strict = spamd.Spamd(**settings(spam_assassin), refuse_at=900.0)
    error = await refusal_of(strict.judge(ENVELOPE, message_of(mail_with(text=judges.GTUBE))))
    assert (error.smtp_code, error.enhanced) == (550, "5.7.1")


# Rspamd


@pytest.fixture(scope="module")
def rspamd_worker() -> Iterator[judges.Judge]:
    with running(judges.Rspamd, judges.RSPAMD) as judge:
        yield judge


@pytest_twisted.ensureDeferred
async def test_rspamd_s_actions_are_done(rspamd_worker: judges.Judge) -> None:
    judge = rspamd.Rspamd(**settings(rspamd_worker), hostname="mx.example.test")
    for action, letter in (("add header", "Y"), ("rewrite subject", "Z")):
        marked = as_blob(mail_with(text=letter + judges.GTUBE[1:] + "\n"))
        verdict = await judge.judge(ENVELOPE, marked)
        assert verdict.unwanted, action
        assert verdict.headers.startswith(b"X-Spam-Flag: YES\r\n")
    error = await refusal_of(judge.judge(ENVELOPE, message_of(mail_with(text=judges.GTUBE))))
    assert (error.smtp_code, error.enhanced, error.text) == (550, "5.7.1", "Gtube pattern")


@pytest_twisted.ensureDeferred
async def test_rspamd_s_symbols_are_the_reasons(rspamd_worker: judges.Judge) -> None:
    judge = rspamd.Rspamd(**settings(rspamd_worker))
    verdict = await judge.judge(ENVELOPE, message_of(mail_with("So cheap")))
    assert verdict.unwanted
    assert verdict.reasons[0].startswith("Rspamd gives it ")
    assert "CHEAP (+7.5): Something is cheap" in verdict.reasons
    ham = await judge.judge(ENVELOPE, message_of(mail_with()))
    assert (ham.action, ham.unwanted, ham.headers) == ("accept", False, b"")


@pytest_twisted.ensureDeferred
async def test_what_rspamd_would_greylist_without_its_module_is_taken(
    rspamd_worker: judges.Judge,
) -> None:
    """It says so of the same mail each time: deferred, that would never come in."""
    judge = rspamd.Rspamd(**settings(rspamd_worker))
    verdict = await judge.judge(ENVELOPE, message_of(mail_with("Doubtful")))
    assert "DOUBTFUL (+4.5): A doubt" in verdict.reasons
    assert (verdict.action, verdict.unwanted) == ("accept", False)


# OpenDKIM, a milter


@pytest.fixture(scope="module")
def dkim_key() -> DkimKey:
    return DkimKey("elsewhere.example", "s1", RSA, make_private_key(RSA))


@pytest.fixture(scope="module")
def dkim_milter(dkim_key: DkimKey) -> Iterator[judges.Judge]:
    record = key_record(RSA, public_text(dkim_key.private_key))
    keys = {"s1._domainkey.elsewhere.example": record}
    with running(judges.OpenDkim, judges.OPENDKIM, keys=keys) as judge:
        yield judge


def signed(key: DkimKey, raw: bytes) -> bytes:
    header, _, body = raw.partition(b"\r\n\r\n")
    hashed = BodyHash()
    hashed.feed(body)
    return sign(header + b"\r\n", hashed.digest(), [key], 1_795_000_000) + raw


@pytest.mark.parametrize("form", [message_of, as_blob])
@pytest_twisted.ensureDeferred
async def test_a_milter_verifies_a_signature_and_says_so_in_front(
    dkim_milter: judges.Judge, dkim_key: DkimKey, form: Callable[[bytes], Message]
) -> None:
    judge = milter.Milter(**settings(dkim_milter), name="opendkim", hostname="mx.example.test")
    raw = signed(dkim_key, mail_with(file=os.urandom(200_000)))
    verdict = await judge.judge(ENVELOPE, form(raw))
    assert verdict.headers.startswith(b"Authentication-Results: judge.example;\r\n\t")
    assert b"dkim=pass" in verdict.headers and b"header.d=elsewhere.example" in verdict.headers
    altered = raw.replace(b"Hello, Alice.", b"Hello, Malice")
    error = await refusal_of(judge.judge(ENVELOPE, form(altered)))
    assert isinstance(error, Refused) and error.smtp_code == 550, error
    assert (judge.asked, judge.failed) == (2, 0)


@pytest.fixture(scope="module")
def small_milter() -> Iterator[judges.Judge]:
    if not Path(judges.PYMILTER).exists():
        missing("python3-milter")
    with running(judges.SmallMilter, "/usr/bin/python3") as judge:
        yield judge


@pytest_twisted.ensureDeferred
async def test_what_a_milter_wants_is_done_or_counted(small_milter: judges.Judge) -> None:
    judge = milter.Milter(**settings(small_milter), name="small", hostname="mx.example.test")
    taken = await judge.judge(ENVELOPE, message_of(mail_with(text="x" * 60 + "\n")))
    assert (taken.unwanted, taken.reasons) == (False, ())
    assert taken.headers == (
        b"X-Octets: 62\r\nX-Told: 01JUDGED mx.example.test 192.0.2.7 None\r\n"
        b"X-Envelope: <dave@elsewhere.example>\r\n\t<alice@example.test>\r\n"
    )
    for subject, reason in (
        ("quarantine", "small would put it aside: Looks bad"),
        ("discard", "small would throw it away"),
    ):
        verdict = await judge.judge(ENVELOPE, message_of(mail_with(subject)))
        assert (verdict.unwanted, verdict.reasons) == (True, (reason,))
    for subject, answer in (
        ("refuse", (554, "5.7.9", "Not today")),
        ("later", (450, "4.2.1", "In an hour")),
    ):
        error = await refusal_of(judge.judge(ENVELOPE, message_of(mail_with(subject))))
        assert (error.smtp_code, error.enhanced, error.text) == answer
    assert not judge.undone
    changed = await judge.judge(ENVELOPE, message_of(mail_with("change")))
    assert changed.headers.startswith(b"X-Octets: ")
    assert set(judge.undone) == {"change a header field", "replace the body", "add a recipient"}
    assert judge.failed == 0


@pytest_twisted.ensureDeferred
async def test_a_milter_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    endpoint = clientFromString(reactor, f"unix:path={tmp_path}/nowhere")
    judge = milter.Milter(endpoint=endpoint, clock=reactor, on_failure="defer")
    error = await refusal_of(judge.judge(ENVELOPE, message_of(mail_with())))
    assert isinstance(error, FilterFailed)
