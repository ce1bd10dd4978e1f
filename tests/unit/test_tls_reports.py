"""TLS reports (RFC 8460): what is counted, what is told, and to whom."""

from __future__ import annotations

import email
import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import LookupFailed
from mailnode.mailauth.dkim import ED25519
from mailnode.mailauth.keys import key_record, make_private_key, packed, public_text, seal_label
from mailnode.outbound.https import NoPage
from mailnode.outbound.pool import Way
from mailnode.outbound.reporting import Reports
from mailnode.outbound.signing import Signer
from mailnode.outbound.tls_outcomes import (
    MOST_DAYS,
    MOST_DOMAINS,
    MOST_FAILURES,
    Failure,
    Outcomes,
    Sums,
    day_of,
    failure_of,
    failure_of_answer,
)
from mailnode.outbound.tls_report import read_places
from mailnode.outbound.tls_reporting import TlsReporting, read_outcomes, write_outcomes
from mailnode.outbound.words import Answer, Hop, TlsPolicy
from mailnode.sealing import Seal
from mailnode.store.elsewhere import SigningKey
from tests.fakes import FakeResolver
from tests.unit.relay_case import People, row
from tests.unit.test_outbound_signing import FakeDirectory, FakeThreads

NOON = 1_735_732_800.0  # 2025-01-01 12:00:00 UTC
DAY_S, HOUR_S = 86400.0, 3600.0
WANTS = "v=TLSRPTv1; rua=mailto:tls@reports.example"
LINES = ("version: STSv1", "mode: testing", "mx: *.remote.test", "max_age: 86400")
TESTING = TlsPolicy(source="MTA-STS testing", trial=True, lines=LINES)


def session(tls: str = "TLSv1.3 X", note: str = "", doubt: str = "") -> Any:
    return SimpleNamespace(tls=tls, tls_note=note, doubt=doubt)


class ResultTests(SynchronousTestCase):
    """A session's words become one of the RFC's result types."""

    def result(self, policy: TlsPolicy = TESTING, host: str = "mx.remote.test", **said: str) -> str:
        facts = {"tls": "TLSv1.3 X", "note": "", "doubt": "", **said}
        failure = failure_of(policy, host, "192.0.2.1", **facts)
        return failure.result if failure else ""

    def test_tls_without_a_doubt_is_a_success(self) -> None:
        self.assertEqual("", self.result())
        self.assertEqual("", self.result(TlsPolicy("verify", source="MTA-STS"), note="verified"))

    def test_what_is_wrong_with_a_certificate_has_its_name(self) -> None:
        for words, result in {
            "the certificate has expired": "certificate-expired",
            "the certificate is self-signed": "certificate-not-trusted",
            "the certificate's authority is not one that we trust": "certificate-not-trusted",
            "the certificate is not for mx.remote.test": "certificate-host-mismatch",
            "wrong version number": "validation-failure",
        }.items():
            self.assertEqual(result, self.result(doubt=words))
            note = f"TLS handshake failed: {words}; sent in clear"
            self.assertEqual(result, self.result(TlsPolicy(), tls="", note=note))
            failed = Answer(0, "4.7.5", f"TLS handshake failed: {words}", "STARTTLS")
            failure = failure_of_answer("mx", "192.0.2.1", failed)
            self.assertEqual(Failure(result, "mx", "192.0.2.1", words), failure)

    def test_without_starttls_that_is_it(self) -> None:
        self.assertEqual("starttls-not-supported", self.result(tls=""))
        note = "454 not today; sent in clear"
        self.assertEqual("starttls-not-supported", self.result(tls="", note=note))
        words = "STARTTLS is not offered, and nothing may go in clear"
        failure = failure_of_answer("mx", "192.0.2.1", Answer(0, "4.7.10", words, "STARTTLS"))
        self.assertEqual("starttls-not-supported", failure.result if failure else "")

    def test_a_host_that_the_policy_does_not_name_fails_it(self) -> None:
        self.assertEqual("validation-failure", self.result(host="mx.elsewhere.test"))

    def test_other_trouble_is_none_of_tls(self) -> None:
        refused = Answer(0, "4.4.1", "connection refused", "connect")
        self.assertIsNone(failure_of_answer("mx", "192.0.2.1", refused))


class SumTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outcomes = Outcomes()

    def test_they_are_kept_and_read_again(self) -> None:
        failure = Failure("certificate-expired", "mx", "192.0.2.1", "it has")
        for each in (None, None, failure):
            self.outcomes.count(NOON, "remote.test", TESTING, each)
        self.outcomes.count(NOON + DAY_S, "other.test", TlsPolicy(), None)
        path = Path(self.mktemp())
        write_outcomes(path, self.outcomes.as_json())
        again = read_outcomes(path)
        self.assertEqual(self.outcomes.as_json(), again.as_json())
        sums = again.days["2025-01-01"]["remote.test"]["sts", LINES]
        self.assertEqual((2, {failure: 1}), (sums.successes, sums.failures))

    def test_a_broken_file_is_as_good_as_none(self) -> None:
        path = Path(self.mktemp())
        self.assertEqual({}, read_outcomes(path).days)
        for text in ("{", "[]", '{"today": {}}', '{"2025-01-01": {"x": [{}]}}', '{"1": []}'):
            path.write_text(text)
            self.assertEqual({}, read_outcomes(path).days, text)

    def test_they_are_bounded(self) -> None:
        for number in range(MOST_DAYS + 3):
            self.outcomes.count(NOON + number * DAY_S, "remote.test", TlsPolicy(), None)
        self.assertEqual(MOST_DAYS, len(self.outcomes.days))
        last = NOON + (MOST_DAYS + 2) * DAY_S
        domains = self.outcomes.days[day_of(last)]
        for number in range(MOST_DOMAINS + 5):
            domains.setdefault(f"d{number}.test", {})
        self.outcomes.count(last, "one.more.test", TlsPolicy(), None)
        self.assertNotIn("one.more.test", domains)
        for number in range(MOST_FAILURES + 5):
            failure = Failure("validation-failure", "mx", "192.0.2.1", str(number))
            self.outcomes.count(last, "remote.test", TlsPolicy(), failure)
        sums = domains["remote.test"]["no-policy-found", ()]
        self.assertEqual(MOST_FAILURES, len(sums.failures))
        self.assertEqual(MOST_FAILURES + 5, sums.failures.total())


class PlaceTests(SynchronousTestCase):
    def test_where_a_domain_wants_its_reports(self) -> None:
        for texts, found in (
            ([WANTS], ["tls@reports.example"]),
            (["v=TLSRPTv1;rua=mailto:a@x.example,https://x.example/,mailto:b%2Bc@y.example"],
             ["a@x.example", "https://x.example/", "b+c@y.example"]),
            (["v=TLSRPTv1; rua=HTTPS://X.example:443/a/b?c=d#e , https://\u00fc.example"],
             ["https://x.example/a/b?c=d", "https://xn--tda.example/"]),
            (["v=TLSRPTv1; rua=https://,https://x.example:8443/,https://u:p@x.example/,"
              "https://x.example/a b,https://[::1/,https:x.example,http://x.example/"], []),
            (["something else", WANTS], ["tls@reports.example"]),
            ([WANTS, WANTS], []),
            (["v=TLSRPTv12; rua=mailto:a@x.example"], []),
            (["v=TLSRPTv1; rua=mailto:nonsense,mailto:%FF@x.example,mailto:%C3%BC@x.example"], []),
            ([], []),
        ):  # fmt: skip
            self.assertEqual(found, [str(each) for each in read_places(texts)], texts)

    def test_a_crowd_is_cut_short(self) -> None:
        many = ",".join(f"mailto:a{number}@x.example" for number in range(50))
        self.assertEqual(5, len(read_places([f"v=TLSRPTv1; rua={many}"])))


class ReportingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.people = Clock(), People()
        self.zone: dict[tuple[str, str], Any] = {("_smtp._tls.remote.test", "TXT"): [WANTS]}
        self.filed: list[Any] = []
        self.kept: list[Any] = []
        self.posted: list[tuple[str, str, bytes, str]] = []
        self.refuse: set[str] = set()
        self.held: Deferred[None] | None = None
        self.directory, seal = FakeDirectory(), Seal.open(Path(self.mktemp()))
        key = make_private_key(ED25519)
        sealed = seal.seal(packed(key), seal_label("example.test", "s1"))
        self.directory.keys["example.test"] = (
            SigningKey("s1", ED25519, sealed, "example.test", public_text(key)),
        )
        self.record = key_record(ED25519, public_text(key))
        self.reporting = TlsReporting(
            enabled=True,
            clock=self.clock,
            now=lambda: NOON + self.clock.seconds(),
            resolver=FakeResolver(self.zone),
            reports=Reports(self.people, "mx.example.test"),
            signer=Signer(self.directory, seal, FakeThreads()),  # type: ignore[arg-type]
            file=lambda *mail: succeed(self.filed.append(mail)),
            post=self.post,
            keep=self.keep,
            outcomes=Outcomes(),
            random=lambda: 0.5,
        )
        self.reporting.start()

    async def post(self, host: str, path: str, page: bytes, media_type: str) -> None:
        self.posted.append((host, path, page, media_type))
        if self.held is not None:
            await self.held
        if host in self.refuse:
            raise NoPage(f"{host}: it answered 503")

    async def keep(self, told: Any) -> None:
        self.kept.append(told)

    def observe(
        self, outcome: Any = None, policy: TlsPolicy = TESTING, domain: str = "remote.test"
    ) -> None:
        way = Way(Hop("mx.remote.test", "192.0.2.1", 25), policy, domain=domain)
        self.reporting.observe(way, outcome or session())

    def pass_hours(self, hours: float) -> None:
        self.clock.pump([60.0] * round(hours * 60))

    def report(self, number: int = 0) -> tuple[Any, dict[str, Any]]:
        """A mail that was filed, and the report in it."""
        _envelope, message = self.filed[number]
        mail = email.message_from_bytes(message.body)
        packed_report = mail.get_payload()[1].get_payload(decode=True)
        return mail, json.loads(gzip.decompress(packed_report))

    def test_who_asks_is_told_once_when_the_day_is_over(self) -> None:
        self.observe()
        self.observe(session(doubt="the certificate has expired"))
        self.observe(Answer(0, "4.4.1", "connection refused", "connect"))  # counts for nothing
        self.pass_hours(13.9)  # some time of the four hours behind midnight
        self.assertEqual([], self.filed)
        self.pass_hours(0.2)
        mail, report = self.report()
        self.pass_hours(48)
        self.assertEqual(1, len(self.filed))
        self.assertEqual(
            {
                "organization-name": "example.test",
                "date-range": {
                    "start-datetime": "2025-01-01T00:00:00Z",
                    "end-datetime": "2025-01-01T23:59:59Z",
                },
                "contact-info": "postmaster@example.test",
                "report-id": report["report-id"],
                "policies": [
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-string": list(LINES),
                            "policy-domain": "remote.test",
                            "mx-host": ["*.remote.test"],
                        },
                        "summary": {
                            "total-successful-session-count": 1,
                            "total-failure-session-count": 1,
                        },
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "receiving-mx-hostname": "mx.remote.test",
                                "receiving-ip": "192.0.2.1",
                                "failed-session-count": 1,
                                "failure-reason-code": "the certificate has expired",
                            }
                        ],
                    }
                ],
            },
            report,
        )
        self.assertEqual(
            ("multipart/report", "tlsrpt"), (mail.get_content_type(), mail.get_param("report-type"))
        )
        self.assertEqual("application/tlsrpt+gzip", mail.get_payload()[1].get_content_type())
        name = mail.get_payload()[1].get_filename()
        begin = NOON - 12 * HOUR_S
        self.assertEqual(
            f"example.test!remote.test!{begin:.0f}!{begin + DAY_S - 1:.0f}!{report['report-id']}"
            ".json.gz",
            name,
        )
        told = {name: mail[name] for name in ("TLS-Report-Domain", "TLS-Report-Submitter")}
        expected = {"TLS-Report-Domain": "remote.test", "TLS-Report-Submitter": "example.test"}
        self.assertEqual(expected, told)

    def test_it_leaves_signed_with_a_reverse_path_that_takes_reports_and_asks_for_none(
        self,
    ) -> None:
        self.observe()
        self.pass_hours(15)
        envelope, message = self.filed[0]
        self.assertEqual("postmaster@example.test", str(envelope.sender))
        self.assertEqual(
            [("tls@reports.example", "NEVER")],
            [(str(each.address), each.notify) for each in envelope.remotes],
        )
        raw = message.prefix + message.body
        self.assertTrue(max(map(len, raw.split(b"\r\n"))) <= 998)
        answer = self.record.encode()
        self.assertTrue(dkim.DKIM(raw).verify(dnsfunc=lambda name, timeout=5: answer))

    def test_a_web_server_is_told_too(self) -> None:
        self.zone["_smtp._tls.remote.test", "TXT"] = [f"{WANTS},https://r.example/v1?x=1"]
        self.observe()
        self.pass_hours(15)
        ((host, path, page, media_type),) = self.posted
        self.assertEqual(
            ("r.example", "/v1?x=1", "application/tlsrpt+gzip"), (host, path, media_type)
        )
        self.assertEqual(self.report()[1], json.loads(gzip.decompress(page)))

    def test_one_that_does_not_take_it_is_asked_each_hour_and_nobody_hears_twice(self) -> None:
        self.zone["_smtp._tls.remote.test", "TXT"] = [
            f"{WANTS},https://bad.example/,https://good.example/"
        ]
        self.refuse = {"bad.example"}
        self.observe()
        self.pass_hours(17)
        hosts = [host for host, *_ in self.posted]
        self.assertIn(hosts.count("bad.example"), (3, 4))
        self.refuse = set()
        self.pass_hours(2)
        hosts = [host for host, *_ in self.posted]
        self.assertEqual((1, 1), (hosts.count("good.example"), len(self.filed)))
        self.assertEqual({}, self.reporting.outcomes.days)
        self.observe()
        self.pass_hours(40)
        self.assertEqual(2, len(self.filed), "the next day is another report")

    def test_a_web_server_alone_is_sent_no_mail(self) -> None:
        self.zone["_smtp._tls.remote.test", "TXT"] = ["v=TLSRPTv1; rua=https://r.example"]
        self.observe()
        self.pass_hours(15)
        self.assertEqual((1, []), (len(self.posted), self.filed))

    def test_a_policy_that_can_not_be_had_is_a_failure_of_its_own(self) -> None:
        for _ in range(2):
            self.reporting.observe_no_policy(
                "remote.test", "sts-policy-fetch-error", "it answered 404"
            )
            self.observe(policy=TlsPolicy())
        self.observe(policy=TlsPolicy())
        self.pass_hours(15)
        none, sts = self.report()[1]["policies"]
        self.assertEqual("no-policy-found", none["policy"]["policy-type"])
        self.assertEqual(
            {
                "policy": {"policy-type": "sts", "policy-domain": "remote.test", "mx-host": []},
                "summary": {
                    "total-successful-session-count": 0,
                    "total-failure-session-count": 2,
                },
                "failure-details": [
                    {
                        "result-type": "sts-policy-fetch-error",
                        "failed-session-count": 2,
                        "failure-reason-code": "it answered 404",
                    }
                ],
            },
            sts,
        )

    def test_a_policy_that_only_a_report_asked_for_counts_for_nothing(self) -> None:
        for _ in range(3):
            self.reporting.observe_no_policy("remote.test", "sts-policy-fetch-error", "404")
        self.assertEqual({}, self.reporting.outcomes.days)

    def test_a_slow_web_server_is_asked_once_and_holds_up_no_other_domain(self) -> None:
        self.held = Deferred()
        self.zone["_smtp._tls.slow.test", "TXT"] = ["v=TLSRPTv1; rua=https://slow.example"]
        self.observe(domain="slow.test")
        self.observe()
        self.pass_hours(16)
        self.assertEqual((1, 1), (len(self.posted), len(self.filed)))
        self.assertEqual(["slow.test"], list(*self.reporting.outcomes.days.values()))

    def test_the_stop_waits_for_no_web_server_and_the_sums_are_kept(self) -> None:
        self.held = Deferred(lambda held: held.errback(NoPage("given up")))
        self.zone["_smtp._tls.slow.test", "TXT"] = [
            "v=TLSRPTv1; rua=https://slow.example,https://slow.example/2"
        ]
        self.observe(domain="slow.test")
        self.pass_hours(16)
        self.kept.clear()
        self.reporting.outcomes.changed = True
        self.successResultOf(Deferred.fromCoroutine(self.reporting.stop()))
        self.assertEqual(1, len(self.posted))
        self.assertEqual(["slow.test"], list(*self.kept[-1].values()))

    def test_the_stop_is_quiet_however_many_are_being_told(self) -> None:
        self.held = Deferred()
        for number in range(30):
            self.zone[f"_smtp._tls.d{number}.test", "TXT"] = [
                "v=TLSRPTv1; rua=https://slow.example"
            ]
            self.observe(domain=f"d{number}.test")
        self.pass_hours(16)
        self.assertEqual(10, len(self.posted))
        self.successResultOf(Deferred.fromCoroutine(self.reporting.stop()))
        self.assertEqual((10, 30), (len(self.posted), len(*self.reporting.outcomes.days.values())))
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_bug_in_one_report_holds_up_no_other(self) -> None:
        self.zone["_smtp._tls.bad.test", "TXT"] = RuntimeError("a bug")
        self.observe(domain="bad.test")
        self.observe()
        self.pass_hours(15)
        self.assertEqual(1, len(self.filed))
        self.assertEqual(["bad.test"], list(*self.reporting.outcomes.days.values()))
        self.assertIn(len(self.flushLoggedErrors(RuntimeError)), (1, 2))

    def test_a_web_server_hears_nothing_that_the_gear_keeps_here(self) -> None:
        self.zone["_smtp._tls.stays.test", "TXT"] = ["v=TLSRPTv1; rua=https://r.example"]
        self.people.stays = {"stays.test"}
        self.observe(domain="stays.test")
        self.pass_hours(40)
        self.assertEqual(([], {}), (self.posted, self.reporting.outcomes.days))

    def test_nobody_is_told_who_does_not_ask_or_can_not_be_reached(self) -> None:
        self.zone["_smtp._tls.here.test", "TXT"] = ["v=TLSRPTv1; rua=mailto:x@stays.test"]
        self.people.stays = {"stays.test"}
        for domain in ("silent.test", "here.test"):
            self.observe(domain=domain)
        self.pass_hours(40)
        self.assertEqual(([], {}), (self.filed, self.reporting.outcomes.days))

    def test_what_the_dns_can_not_tell_is_asked_each_hour_for_a_day(self) -> None:
        self.zone["_smtp._tls.remote.test", "TXT"] = LookupFailed()
        self.observe()
        self.pass_hours(17)
        self.assertIn(len(self.reporting.resolver.asked), (3, 4))  # type: ignore[attr-defined]
        self.zone["_smtp._tls.remote.test", "TXT"] = [WANTS]
        self.pass_hours(1)
        self.assertEqual(1, len(self.filed))
        self.zone["_smtp._tls.remote.test", "TXT"] = LookupFailed()
        self.observe()
        self.pass_hours(60)
        self.assertEqual((1, {}), (len(self.filed), self.reporting.outcomes.days))

    def test_routes_providers_and_literals_are_nobody_s_business(self) -> None:
        self.observe(domain="")
        self.observe(domain="[192.0.2.1]")
        self.assertEqual({}, self.reporting.outcomes.days)

    def test_without_the_setting_nothing_is_counted_or_sent(self) -> None:
        self.observe()
        self.reporting.enabled = False
        self.observe()
        self.pass_hours(40)
        self.assertEqual([], self.filed)
        (sums,) = self.reporting.outcomes.days["2025-01-01"]["remote.test"].values()
        self.assertIsInstance(sums, Sums)
        self.assertEqual(1, sums.successes)

    def test_a_session_for_a_report_counts_for_nothing(self) -> None:
        self.assertTrue(
            self.reporting.is_report(row(sender="postmaster@example.test", notify="NEVER"))
        )
        for other in (
            row(sender="postmaster@example.test"),
            row(sender="alice@example.test", notify="NEVER"),
        ):
            self.assertFalse(self.reporting.is_report(other))

    def test_sums_are_kept_each_hour_and_at_the_stop(self) -> None:
        self.observe()
        self.pass_hours(0.9)
        self.assertEqual([], self.kept)
        self.pass_hours(0.2)
        self.assertEqual(1, len(self.kept))
        self.pass_hours(3)
        self.assertEqual(1, len(self.kept))
        self.observe()
        stopped = Deferred.fromCoroutine(self.reporting.stop())
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reporting.outcomes.as_json(), self.kept[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_full_disk_is_told_and_they_are_kept_later(self) -> None:
        async def fail(told: Any) -> None:
            raise OSError(28, "No space left on device")

        self.reporting.keep, keep = fail, self.reporting.keep
        self.observe()
        self.pass_hours(1.1)
        self.reporting.keep = keep
        self.pass_hours(1.1)
        self.assertEqual(1, len(self.kept))
