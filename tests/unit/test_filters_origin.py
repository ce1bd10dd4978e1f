"""`mailnode.filters.origin`: what its author's domain asks is done with a mail, and told."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from mailnode.errors import FilterFailed, LookupFailed
from mailnode.filters.authentication import Authentication
from mailnode.filters.origin import NotTheAuthor, Origin
from mailnode.interfaces import IContentFilter
from mailnode.mailauth.arc import ArcResult
from mailnode.model import Client, Envelope, Message, Verdict
from tests.unit.test_filters_authentication import HEADER, AuthenticationCase

FORGED = HEADER + b"\r\nNot from her\r\n"


class OriginTests(AuthenticationCase):
    def judging(self, raw: bytes, host: str = "203.0.113.9", **more: Any) -> Deferred[Verdict]:
        examiner = Authentication(
            self.resolver, self.call, self.clock, "mx.example.net", roll=lambda: 0
        )
        self.origin = Origin(examiner, **more)
        envelope = Envelope("ID", None, (), Client(host, helo="mx.example.com"))
        return Deferred.fromCoroutine(self.origin.judge(envelope, Message(b"", raw, 0, b"")))

    def judge(self, raw: bytes, **more: Any) -> Verdict:
        return self.successResultOf(self.judging(raw, **more))

    def test_it_is_a_content_filter(self) -> None:
        self.judge(FORGED, dmarc="note")
        self.assertTrue(verifyObject(IContentFilter, self.origin))

    def test_a_genuine_mail_is_taken_and_its_results_are_told(self) -> None:
        verdict = self.judge(self.signed())
        self.assertEqual(("accept", False, ()), (verdict.action, verdict.unwanted, verdict.reasons))
        self.assertTrue(verdict.headers.startswith(b"Authentication-Results: mx.example.net; "))
        self.assertEqual(
            {
                "spf": "none mx.example.com",
                "dkim": "pass example.org",
                "dmarc": "pass example.org (policy reject)",
            },
            verdict.facts,
        )

    def test_what_its_domain_wants_refused_is_refused_with_the_reason(self) -> None:
        error = self.failureResultOf(self.judging(FORGED), NotTheAuthor).value
        self.assertEqual((550, "5.7.26"), (error.smtp_code, error.enhanced))
        self.assertIn("neither SPF nor DKIM proves example.org", error.text)
        self.assertIn("policy is reject", error.text)
        self.assertTrue(error.detail.startswith("by authentication (spf "), error.detail)
        self.assertTrue(
            error.detail.endswith(", dmarc fail example.org (policy reject))"), error.detail
        )

    def test_by_the_settings_it_is_unwanted_or_told_alone(self) -> None:
        verdict = self.judge(FORGED, dmarc="junk")
        self.assertTrue(verdict.unwanted)
        self.assertIn("neither SPF nor DKIM proves example.org", verdict.reasons[0])
        noted = self.judge(FORGED, dmarc="note")
        self.assertEqual((False, ()), (noted.unwanted, noted.reasons))
        self.assertEqual("fail example.org (policy reject)", noted.facts["dmarc"])

    def test_what_its_domain_wants_put_aside_is_unwanted(self) -> None:
        self.zone["_dmarc.example.org", "TXT"] = ["v=DMARC1; p=quarantine"]
        self.assertTrue(self.judge(FORGED).unwanted)
        self.zone["_dmarc.example.org", "TXT"] = ["v=DMARC1; p=none"]
        self.resolver.asked.clear()
        self.assertFalse(self.judge(FORGED).unwanted)

    def test_what_names_no_author_who_can_be_judged_is_unwanted(self) -> None:
        nobody = b"Subject: x\r\n\r\nFrom nobody\r\n"
        far = b"X-Far: x\r\n" * 30_000 + FORGED
        for raw in (nobody, far, b"From: a@b..example\r\n\r\n"):
            verdict = self.judge(raw)
            self.assertTrue(verdict.unwanted)
            self.assertIn("From names ", verdict.reasons[0])
            self.assertFalse(self.judge(raw, dmarc="note").unwanted)

    def test_a_seal_of_a_host_that_is_trusted_vouches_for_what_it_forwards(self) -> None:
        arc = ArcResult("pass", instances=1, sealers=("other.example", "list.example"))
        for trusted, result, refused in (
            (("list.example",), "pass", False),
            (("other.example",), "pass", True),
            ((), "pass", True),
            (("list.example",), "fail", True),
        ):
            judging = self._sealed(evolve(arc, result=result), trusted)
            if refused:
                self.failureResultOf(judging, NotTheAuthor)
            else:
                verdict = self.successResultOf(judging)
                self.assertEqual((False, ()), (verdict.unwanted, verdict.reasons))
                self.assertEqual("pass list.example", verdict.facts["arc"])

    def _sealed(self, arc: ArcResult, trusted: tuple[str, ...]) -> Deferred[Verdict]:
        """A forged mail of which the chain is as it is said."""
        found = self.examine(FORGED, host="203.0.113.9", sender="")
        examiner: Any = Examined(evolve(found, arc=arc))
        origin = Origin(examiner, trusted_sealers=trusted)
        return Deferred.fromCoroutine(
            origin.judge(Envelope("ID", None, ()), Message(b"", FORGED, 0, b""))
        )

    def test_while_nobody_can_say_a_mail_of_a_domain_that_cares_is_to_come_again(self) -> None:
        self.zone["s1._domainkey.example.org", "TXT"] = LookupFailed()
        error = self.failureResultOf(self.judging(self.signed()), FilterFailed).value
        self.assertEqual((451, "4.7.1"), (error.smtp_code, error.enhanced))
        self.assertIn("It can't be said now who sent this", error.text)
        self.assertEqual(
            "temperror example.org (policy reject)",
            self.judge(self.signed(), dmarc="junk").facts["dmarc"],
        )
        self.zone["_dmarc.example.org", "TXT"] = ["v=DMARC1; p=none"]
        self.assertFalse(self.judge(self.signed()).unwanted)

    def test_what_was_done_is_told_with_why_it_is_not_what_is_asked(self) -> None:
        refuse, aside = "v=DMARC1; p=reject", "v=DMARC1; p=quarantine"
        sealed = ArcResult("pass", instances=2, sealers=("other.example", "list.example"))
        for record, more, arc, told in (
            (refuse, {}, None, ("reject", None)),
            (aside, {}, None, ("quarantine", None)),
            ("v=DMARC1; p=none", {}, None, ("none", None)),
            (refuse, {"dmarc": "junk"}, None, ("quarantine", "local_policy")),
            (aside, {"dmarc": "junk"}, None, ("quarantine", None)),
            (refuse, {"dmarc": "note"}, None, ("none", "local_policy")),
            ("v=DMARC1; p=none", {"dmarc": "note"}, None, ("none", None)),
            (f"{refuse}; pct=0", {}, None, ("quarantine", "sampled_out")),
            (f"{refuse}; t=y", {}, None, ("quarantine", "other")),
            (refuse, {"trusted_sealers": ("list.example",)}, sealed, ("none", "local_policy")),
            (refuse, {"trusted_sealers": ("other.example",)}, sealed, ("reject", None)),
        ):
            noted = self._noted(record, arc, **more)
            ((disposition, override),) = noted
            kind = override.kind if override is not None else None
            self.assertEqual(told, (disposition, kind), (record, more))
            if arc is not None and kind is not None:
                self.assertEqual("arc=pass as[2].d=list.example", override.comment)

    def _noted(self, record: str, arc: ArcResult | None, **more: Any) -> list[Any]:
        """What was told of a forged mail under that record."""
        noted: list[Any] = []
        self.setUp()
        self.zone["_dmarc.example.org", "TXT"] = [record]
        found = self.examine(FORGED, host="203.0.113.9", sender="")
        if arc is not None:
            found = evolve(found, arc=arc)
        examiner: Any = Examined(found)
        origin = Origin(examiner, note=lambda *told: noted.append(told[-2:]), **more)
        judging = Deferred.fromCoroutine(
            origin.judge(Envelope("ID", None, ()), Message(b"", FORGED, 0, b""))
        )
        judging.addErrback(lambda failure: failure.trap(NotTheAuthor))
        self.successResultOf(judging)
        return noted

    def test_a_mail_that_is_to_come_again_is_not_told_of(self) -> None:
        noted: list[Any] = []
        self.zone["s1._domainkey.example.org", "TXT"] = LookupFailed()
        self.failureResultOf(
            self.judging(self.signed(), note=lambda *told: noted.append(told)), FilterFailed
        )
        self.assertEqual([], noted)

    def test_of_many_signatures_a_few_are_told(self) -> None:
        found = self.examine(self.signed())
        examiner: Any = Examined(evolve(found, dkim=found.dkim * 9))
        verdict = self.successResultOf(
            Deferred.fromCoroutine(
                Origin(examiner).judge(Envelope("ID", None, ()), Message(b"", FORGED, 0, b""))
            )
        )
        self.assertEqual(f"{'pass example.org, ' * 3}6 more", verdict.facts["dkim"])


class Examined:
    """Knows already what is found."""

    def __init__(self, found: Any) -> None:
        self.found = found

    async def examine(self, envelope: Envelope, message: Message, sealing: bool) -> Any:
        return self.found
