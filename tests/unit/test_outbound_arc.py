"""`mailnode.outbound.arc`: what was found leaves under a seal, and dkimpy believes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dkim
from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.errors import LookupFailed
from mailnode.filters.authentication import Authentication
from mailnode.filters.origin import Origin
from mailnode.intake import Intake
from mailnode.mailauth.dkim import ED25519, RSA
from mailnode.mailauth.keys import key_record, make_private_key, packed, public_text, seal_label
from mailnode.model import Blob, Client, Envelope, Message, Remote, Verdict
from mailnode.outbound.arc import ArcSealer
from mailnode.outbound.signing import Signer
from mailnode.sealing import Seal
from mailnode.store.elsewhere import SigningKey
from tests.fakes import FakeMessages
from tests.unit.test_filters_authentication import BODY, NOW, AuthenticationCase, Reader
from tests.unit.test_intake import FakeFilter
from tests.unit.test_outbound_signing import FakeDirectory, FakeThreads

HERE = "example.net"
OURS = make_private_key(RSA)
RECEIVED = b"Received: from mx.example.org by mx.example.net; now\r\n"
FORWARDED = Remote(parse_address("carol@far.example"), alias=parse_address(f"old@{HERE}"))


class ForwardedCase(AuthenticationCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory, self.threads = FakeDirectory(), FakeThreads()
        self.sealed_under = Seal.open(Path(self.mktemp()))
        self.directory.keys[HERE] = (self.kept(HERE, OURS, RSA),)
        self.zone[f"one._domainkey.{HERE}", "TXT"] = [key_record(RSA, public_text(OURS))]
        signer = Signer(self.directory, self.sealed_under, self.threads)  # type: ignore[arg-type]
        self.sealer = ArcSealer(signer, "mx.example.net")
        self.filters: list[Any] = []

    def kept(self, domain: str, key: Any, algorithm: str, selector: str = "one") -> SigningKey:
        label = seal_label(domain, selector)
        return SigningKey(selector, algorithm, self.sealed_under.seal(packed(key), label))

    def forward(self, body: bytes | Blob, *remotes: Remote, **more: Any) -> bytes:
        """What stands in front of the mail as it leaves."""
        checks = Authentication(
            self.resolver, self.call, self.clock, "mx.example.net", roll=lambda: 0
        )
        origin = Origin(checks, sealing=self.sealer.wants, **more)
        messages = FakeMessages()
        intake = Intake(
            messages,  # type: ignore[arg-type]
            [origin, *self.filters],
            seconds=self.clock.seconds,
            sealer=self.sealer,
        )
        envelope = Envelope(
            "ID",
            parse_address("alice@example.org"),
            (),
            Client("192.0.2.7", helo="mx.example.org"),
            received_at=NOW,
            remotes=remotes or (FORWARDED,),
        )
        done = intake.accept(envelope, Message(RECEIVED, body, 0, b""))
        self.successResultOf(done)
        ((_envelope, message),) = messages.filed
        self.assertIs(body, message.body)
        return message.prefix

    def verified(self, mail: bytes) -> tuple[str, list[dict[bytes, Any]]]:
        """What dkimpy says of a chain, and of its sets from the last to the first."""

        def txt(name: bytes, timeout: float = 5) -> bytes | None:
            values = self.zone.get((name.decode().rstrip("."), "TXT"))
            return values[0].encode() if values else None

        result, sets, _reason = dkim.ARC(mail).verify(dnsfunc=txt)
        return (result or b"no chain").decode(), sets

    def one_hop_more(self, mail: bytes) -> bytes:
        return self.forward(mail) + mail


class ForwardedTests(ForwardedCase):
    def test_what_a_stranger_sent_leaves_with_what_was_found_sealed(self) -> None:
        mail = self.signed()
        front = self.forward(mail)
        self.assertTrue(front.startswith(RECEIVED + b"Authentication-Results: mx.example.net;"))
        result, (first,) = self.verified(front + mail)
        self.assertEqual("pass", result)
        self.assertEqual((b"example.net", b"none"), (first["as-domain"], first["cv"]))
        self.assertIn(b"dmarc=pass", front.partition(b"ARC-Authentication-Results: i=1;")[2])
        self.assertEqual(["_unseal", "seal"], self.threads.called)

    def test_an_octet_that_is_changed_on_the_way_is_seen(self) -> None:
        mail = self.signed()
        front = self.forward(mail)
        self.assertEqual("fail", self.verified(front + mail.replace(b"there", b"where"))[0])
        self.assertEqual("fail", self.verified(front + mail.replace(b"dmarc=pass", b"") + b"x")[0])

    def test_a_chain_that_holds_goes_on(self) -> None:
        mail = self.one_hop_more(self.one_hop_more(self.signed()))
        result, sets = self.verified(mail)
        self.assertEqual("pass", result)
        self.assertEqual([b"pass", b"none"], [each["cv"] for each in sets])

    def test_a_chain_that_is_broken_is_sealed_once_as_such_and_never_beyond(self) -> None:
        broken = self.one_hop_more(self.signed()) + b"A footer\r\n"
        front = self.forward(broken)
        self.assertIn(b"ARC-Seal: i=2; a=rsa-sha256; cv=fail;", front)
        self.assertNotEqual("pass", self.verified(front + broken)[0])
        self.assertNotIn(b"ARC-", self.forward(front + broken))

    def test_a_large_mail_is_sealed_as_it_is_read_in_pieces(self) -> None:
        mail = self.signed(body=BODY * 50_000)
        front = self.forward(Blob("key", lambda: Reader(mail)))
        self.assertEqual("pass", self.verified(front + mail)[0])

    def test_fields_that_others_put_in_front_are_covered(self) -> None:
        self.filters = [FakeFilter(Verdict(headers=b"List-Id: <x.example>\r\n"))]
        mail = self.signed()
        front = self.forward(mail)
        self.assertIn(b"List-Id", front)
        self.assertEqual("pass", self.verified(front + mail)[0])
        self.assertEqual("fail", self.verified(front.replace(b"<x.", b"<y.") + mail)[0])

    def test_nothing_is_sealed_that_stays_or_is_captured_or_was_named_by_its_sender(self) -> None:
        for remote in (
            evolve(FORWARDED, alias=None),
            evolve(FORWARDED, captured=True),
            evolve(FORWARDED, alias=parse_address("old@keyless.example")),
        ):
            self.assertNotIn(b"ARC-", self.forward(self.signed(), remote))
        self.assertEqual([], self.threads.called)

    def test_the_first_alias_whose_domain_has_a_key_seals(self) -> None:
        keyless = evolve(FORWARDED, alias=parse_address("old@keyless.example"))
        self.assertIn(b"d=example.net;", self.forward(self.signed(), keyless, FORWARDED))

    def test_the_rsa_key_seals_where_there_are_two(self) -> None:
        ed = self.kept(HERE, make_private_key(ED25519), ED25519, "ed")
        self.directory.keys[HERE] = (ed, *self.directory.keys[HERE])
        front = self.forward(self.signed())
        self.assertNotIn(b"s=ed;", front)
        self.assertEqual("pass", self.verified(front + self.signed())[0])

    def test_it_can_be_switched_off(self) -> None:
        self.sealer.enabled = False
        self.assertNotIn(b"ARC-", self.forward(self.signed()))

    def test_a_key_that_can_t_be_used_stops_no_mail(self) -> None:
        broken = SigningKey("one", RSA, self.sealed_under.seal(b"no key", seal_label(HERE, "one")))
        self.directory.keys[HERE] = (broken,)
        self.assertNotIn(b"ARC-", self.forward(self.signed()))
        self.threads.busy = True
        self.assertNotIn(b"ARC-", self.forward(self.signed()))

    def test_what_could_not_be_read_whole_is_not_vouched_for(self) -> None:
        far = b"X-Far: x\r\n" * 30_000 + self.signed()
        self.assertNotIn(b"ARC-", self.forward(far, dmarc="note"))

    def test_nor_is_a_chain_whose_keys_nobody_could_look_up(self) -> None:
        mail = self.one_hop_more(self.signed())
        self.zone[f"one._domainkey.{HERE}", "TXT"] = LookupFailed()
        self.assertNotIn(b"ARC-", self.forward(mail))
