"""What is kept of a mail for an aggregate report, and of which mails nothing is."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.mailauth.arc import ArcResult, Chain
from mailnode.mailauth.dmarc import DmarcResult
from mailnode.mailauth.dmarc_record import read_record
from mailnode.mailauth.dmarc_seen import MOST_SIGNATURES, Override, Published, Seen, seen_in
from mailnode.mailauth.examination import Authenticated
from mailnode.mailauth.signatures import DkimResult
from mailnode.mailauth.spf import SpfResult
from mailnode.model import Client, Envelope, Recipient, Remote
from tests.unit.reports_case import DOMAIN, RECORD

ALICE = Recipient(parse_address("Alice+x@example.test"), 1, "alice@example.test")
BOB = Recipient(parse_address("bob@other.test"), 2, "bob@example.test")


def authenticated(record: str = RECORD, dkim: Any = (), **more: Any) -> Authenticated:
    dmarc = DmarcResult(
        "fail",
        "news.remote.test",
        organization=DOMAIN,
        policy_domain=DOMAIN,
        record=read_record(record) if record else None,
        dkim_aligned=True,
        **more,
    )
    spf = SpfResult("softfail", "bounces.remote.test")
    return Authenticated(spf, None, tuple(dkim), ArcResult("none"), Chain(), dmarc, (), b"")


def envelope(sender: str = "Bounce-7@bounces.remote.test", **more: Any) -> Envelope:
    values = {"recipients": (ALICE,), "client": Client("192.0.2.7", helo="mx.remote.test"), **more}
    return Envelope("ID", parse_address(sender) if sender else None, **values)


class SeenTests(SynchronousTestCase):
    def seen(self, found: Authenticated | None = None, **more: Any) -> Seen:
        told = seen_in(envelope(**more), found or authenticated(), "quarantine", None)
        assert told is not None
        return told[1]

    def test_of_addresses_the_domains_are_kept_and_nobodys_name(self) -> None:
        told = seen_in(envelope(), authenticated(), "reject", Override("other", "why"))
        assert told is not None
        published, row = told
        self.assertEqual(Published(DOMAIN, RECORD), published)
        expected = Seen(
            source="192.0.2.7",
            disposition="reject",
            dkim="pass",
            spf="fail",
            overrides=(("other", "why"),),
            header_from="news.remote.test",
            envelope_from="bounces.remote.test",
            envelope_to="example.test",
            signatures=(),
            spf_check=("bounces.remote.test", "mfrom", "softfail"),
        )
        self.assertEqual(expected, row)

    def test_without_a_reverse_path_the_check_was_of_the_helo(self) -> None:
        row = self.seen(sender="")
        self.assertEqual(("", "helo"), (row.envelope_from, row.spf_check[1]))

    def test_an_ipv4_address_in_the_dress_of_ipv6_is_told_without(self) -> None:
        self.assertEqual("192.0.2.7", self.seen(client=Client("::ffff:192.0.2.7")).source)
        self.assertEqual("2001:db8::7", self.seen(client=Client("2001:DB8:0::7")).source)

    def test_recipients_of_several_domains_are_not_told(self) -> None:
        self.assertEqual("", self.seen(recipients=(ALICE, BOB)).envelope_to)
        away = Remote(parse_address("x@away.test"), alias=parse_address("x@example.test"))
        self.assertEqual("example.test", self.seen(remotes=(away,)).envelope_to)
        self.assertEqual("example.test", self.seen(recipients=(), remotes=(away,)).envelope_to)

    def test_of_many_signatures_those_are_told_that_prove_most(self) -> None:
        named = [
            ("fail", DOMAIN),
            ("pass", "other.test"),
            ("pass", DOMAIN),
            ("pass", "news.remote.test"),
            ("permerror", ""),
            *[("fail", f"d{number}.test") for number in range(9)],
        ]
        dkim = [DkimResult(result, domain=domain, selector="s") for result, domain in named]
        told = self.seen(authenticated(dkim=dkim)).signatures
        self.assertEqual(
            [
                ("news.remote.test", "s", "pass"),
                (DOMAIN, "s", "pass"),
                ("other.test", "s", "pass"),
                (DOMAIN, "s", "fail"),
            ],
            list(told[:4]),
        )
        self.assertEqual(MOST_SIGNATURES, len(told))

    def test_who_asks_for_nothing_is_told_nothing(self) -> None:
        for found, sent in (
            (authenticated(record=""), envelope()),
            (authenticated(record="v=DMARC1; p=reject"), envelope()),
            (authenticated(), envelope(client=Client(""))),
        ):
            self.assertIsNone(seen_in(sent, found, "none", None))
