"""`mailnode.filters.senders`: who is blocked is unwanted, who is allowed and proved is wanted."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.addresses import parse_address
from mailnode.errors import StoreBroken
from mailnode.filters.senders import Senders
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.model import Blob, Envelope, Judgement, Message, Recipient, Verdict
from mailnode.store.sender_rules import ALLOW, BLOCK, SenderRule, SenderRules

ALICE, BOB = "alice@example.test", "bob@example.test"
PASSED = {"spf": "pass news.shop.example", "dkim": "none", "dmarc": "none shop.example"}


def rules(*said: tuple[str, str, str]) -> SenderRules:
    """(owner, verdict, pattern) each; alice is account 1, bob 2."""
    of: dict[Any, dict[str, SenderRule]] = {}
    for owner, verdict, pattern in said:
        key = {ALICE: 1, BOB: 2}.get(owner, owner)
        of.setdefault(key, {})[pattern] = SenderRule(owner, pattern, verdict)
    return SenderRules(
        {key: found for key, found in of.items() if isinstance(key, int)},
        {key: found for key, found in of.items() if isinstance(key, str)},
    )


def no_blob(key: str, head: bytes) -> Any:
    raise StoreBroken


class SendersTests(SynchronousTestCase):
    def judge(
        self,
        given: SenderRules,
        author: str = "Shop <info@shop.example>",
        sender: str | None = "bounce@shop.example",
        facts: dict[str, str] | None = PASSED,
        body: Any = None,
        **more: Any,
    ) -> dict[int, Verdict]:
        """What is said of the copies of alice and of bob."""
        to = tuple(Recipient(parse_address(a), n, a) for n, a in enumerate((ALICE, BOB), 1))
        envelope = Envelope("ID", parse_address(sender) if sender else None, to)
        raw = f"From: {author}\r\nSubject: x\r\n\r\nx\r\n".encode()
        judged = () if facts is None else (Judgement("authentication", facts=facts),)
        message = Message(b"", raw if body is None else body, len(raw), b"", judgements=judged)
        settings: dict[str, Any] = {"in_thread": execute, "open_octets": no_blob} | more
        senders = Senders(rules=lambda: given, **settings)
        if not senders.wants(envelope):
            return {}
        verdict = self.successResultOf(Deferred.fromCoroutine(senders.judge(envelope, message)))
        self.assertEqual((False, False), (verdict.unwanted, verdict.wanted))
        return dict(verdict.of_copies)

    def test_it_is_asked_behind_the_others(self) -> None:
        found: Any = Senders(rules=rules, in_thread=execute, open_octets=no_blob)
        self.assertTrue(verifyObject(ILateFilter, found))
        self.assertTrue(verifyObject(ISomeMailFilter, found))

    def test_without_a_rule_or_a_recipient_here_it_wants_none(self) -> None:
        given = rules((ALICE, BLOCK, "info@shop.example"))
        here = Envelope("ID", None, (Recipient(parse_address(BOB), 2, BOB),))
        for said, envelope, wanted in (
            (given, here, True),
            (given, Envelope("ID", None, ()), False),
            (rules(), here, False),
        ):
            senders = Senders(rules=lambda said=said: said, in_thread=execute, open_octets=no_blob)  # type: ignore[misc]
            self.assertIs(wanted, senders.wants(envelope))

    def test_who_is_blocked_is_unwanted_by_that_owner_alone(self) -> None:
        found = self.judge(rules((ALICE, BLOCK, "info@shop.example")))
        self.assertEqual([1], list(found))
        self.assertTrue(found[1].unwanted)
        self.assertEqual(
            (f"{ALICE} blocks info@shop.example, and info@shop.example sent it",), found[1].reasons
        )

    def test_a_domain_blocks_for_all_of_its_accounts_and_stands_for_those_under_it(self) -> None:
        for pattern in ("shop.example", "example"):
            found = self.judge(rules(("example.test", BLOCK, pattern)))
            self.assertEqual({1: True, 2: True}, {n: each.unwanted for n, each in found.items()})
        self.assertEqual({}, self.judge(rules(("example.test", BLOCK, "op.example"))))
        self.assertEqual({}, self.judge(rules(("other.test", BLOCK, "shop.example"))))

    def test_an_account_s_rule_goes_before_its_domain_s_an_address_before_a_domain(
        self,
    ) -> None:
        domain = ("example.test", BLOCK, "info@shop.example")
        found = self.judge(rules(domain, (ALICE, ALLOW, "example")))
        self.assertEqual((True, True), (found[1].wanted, found[2].unwanted))
        own = rules((ALICE, BLOCK, "shop.example"), (ALICE, ALLOW, "info@shop.example"))
        self.assertTrue(self.judge(own, sender=None)[1].wanted)

    def test_the_reverse_path_is_blocked_too_and_allows_nothing(self) -> None:
        self.assertTrue(self.judge(rules((ALICE, BLOCK, "bounce@shop.example")))[1].unwanted)
        self.assertEqual({}, self.judge(rules((ALICE, ALLOW, "bounce@shop.example"))))

    def test_who_is_allowed_must_be_proved(self) -> None:
        allowed = rules((ALICE, ALLOW, "info@shop.example"))
        for facts, wanted in (
            (PASSED, True),
            ({"spf": "fail x.example", "dkim": "pass other.example, pass shop.example"}, True),
            ({"spf": "none", "dkim": "none", "dmarc": "pass shop.example"}, True),
            ({"spf": "none", "dkim": "none", "dmarc": "pass elsewhere.example"}, False),
            (None, True),
            ({"spf": "fail shop.example", "dkim": "fail shop.example"}, False),
            ({"spf": "pass other.example", "dkim": "none", "dmarc": "fail shop.example"}, False),
            ({"spf": "pass shop.example", "dmarc": "fail shop.example (policy none)"}, False),
            ({"spf": "pass", "dkim": "2 more"}, False),
            ({}, False),
        ):
            found = self.judge(allowed, facts=facts)
            self.assertEqual(wanted, found[1].wanted, facts)
            self.assertEqual(not wanted, "it isn't proved" in found[1].reasons[0], facts)

    def test_the_proof_is_of_the_author_who_is_read_here(self) -> None:
        """DMARC may have read another one out of a From that people read in several ways."""
        allowed = rules((ALICE, ALLOW, "info@shop.example"))
        hidden = "info@shop.example" + " " * 4096 + "<evil@elsewhere.example>"
        facts = {"spf": "pass elsewhere.example", "dmarc": "pass elsewhere.example (policy reject)"}
        self.assertFalse(self.judge(allowed, author=hidden, facts=facts)[1].wanted)
        beyond = rules((ALICE, ALLOW, "info@xn--bcher-kva.example"))
        facts = {"dmarc": "pass xn--bcher-kva.example"}
        found = self.judge(beyond, author="info@b\xfccher.example", facts=facts)
        self.assertTrue(found[1].wanted)

    def test_of_several_authors_none_is_proved(self) -> None:
        allowed = rules((ALICE, ALLOW, "info@shop.example"))
        two = "info@shop.example, evil@elsewhere.example"
        self.assertFalse(self.judge(allowed, author=two)[1].wanted)
        blocked = rules((ALICE, BLOCK, "elsewhere.example"))
        self.assertTrue(self.judge(blocked, author=two)[1].unwanted)

    def test_a_mail_without_an_author_has_its_reverse_path_alone(self) -> None:
        found = rules((ALICE, BLOCK, "shop.example"))
        self.assertTrue(self.judge(found, author="nobody at all")[1].unwanted)
        self.assertEqual({}, self.judge(found, author="", sender=None))

    def test_what_can_t_be_read_is_taken(self) -> None:
        blocked = rules((ALICE, BLOCK, "shop.example"))
        self.assertEqual({}, self.judge(blocked, body=Blob("key")))
        self.assertEqual({}, self.judge(blocked, in_thread=lambda *_: fail(StoreBroken())))
