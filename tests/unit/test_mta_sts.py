"""`mailnode.outbound.mta_sts`: policies are read, fetched when new, and kept (RFC 8461)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import LookupFailed
from mailnode.outbound import mta_sts
from mailnode.outbound.https import BadHost, NoPage
from mailnode.outbound.mta_sts import (
    AGAIN_S,
    MOST_AGE_S,
    BadPolicy,
    MtaSts,
    StsPolicy,
    in_file,
    read_id,
    read_policies,
    read_policy,
    write_policies,
)
from tests.fakes import FakeResolver

PAGE = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmx: *.Example.net\r\n"
    b"max_age: 1000\r\n"
)


class ReadTests(SynchronousTestCase):
    def test_a_policy(self) -> None:
        policy = read_policy(PAGE, "1", 50.0)
        self.assertEqual(
            StsPolicy("1", "enforce", ("mx.example.org", "*.example.net"), 50.0, 1050.0), policy
        )
        self.assertEqual(policy, read_policy(PAGE.replace(b"\r\n", b"\n").strip(), "1", 50.0))

    def test_keys_that_nobody_knows_are_passed_over_and_the_first_value_counts(self) -> None:
        page = PAGE + b"mode: none\r\nnew_key: x:y\r\n\r\n"
        self.assertEqual(read_policy(PAGE, "1", 0), read_policy(page, "1", 0))

    def test_what_is_no_policy(self) -> None:
        for page in (
            b"",
            b"<html>",
            PAGE.replace(b"STSv1", b"STSv2"),
            PAGE.replace(b"enforce", b"always"),
            PAGE.replace(b"max_age: 1000\r\n", b""),
            PAGE.replace(b"1000", b"-1"),
            PAGE.replace(b"1000", b"1" * 11),
            PAGE.replace(b"mx.example.org", b"mx.*.org"),
            PAGE.replace(b"mx.example.org", b"*"),
            PAGE.replace(b"mx.example.org", b""),
            b"version: STSv1\nmode: enforce\nmax_age: 10\n",
            PAGE + b"mx: a.example\r\n" * 200,
            PAGE + b"\xff\r\n",
        ):
            self.assertRaises(BadPolicy, read_policy, page, "1", 0)

    def test_none_needs_no_host_and_a_year_is_the_most(self) -> None:
        policy = read_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999\n", "1", 0)
        self.assertEqual(("none", MOST_AGE_S), (policy.mode, policy.expires_at))

    def test_a_star_is_one_label_the_first(self) -> None:
        policy = read_policy(PAGE, "1", 0)
        for host, allowed in (
            ("mx.example.org", True),
            ("mx2.example.org", False),
            ("a.example.net", True),
            ("example.net", False),
            ("a.b.example.net", False),
            ("*.example.net", True),
            ("net", False),
        ):
            self.assertEqual(allowed, policy.allows(host), host)

    def test_the_id_stands_in_the_one_record_that_is_ours(self) -> None:
        for texts, found in (
            (["v=STSv1; id=20260101T000000;"], "20260101T000000"),
            (["v=STSv1;id=1"], "1"),
            (["v=STSv1 ; id = 1 ;"], "1"),
            (["v=STSv1; x=y; id=1"], "1"),
            (["v=STSv1; id=1; x=y"], "1"),
            (["v=spf1 -all", "v=STSv1; id=1"], "1"),
            (["v=STSv1; id=1", "v=STSv1; id=2"], ""),
            (["v=STSv1; id=a_b"], ""),
            (["v=STSv1; id=" + "1" * 33], ""),
            (["v=STSv1;"], ""),
            (["v=STSv12; id=1"], ""),
            ([], ""),
        ):
            self.assertEqual(found, read_id(texts), texts)

    @given(st.binary(max_size=200))
    def test_octets_of_any_kind_are_a_policy_or_none(self, noise: bytes) -> None:
        for page in (noise, PAGE + noise):
            try:
                read_policy(page, "1", 0)
            except BadPolicy:
                continue
        read_id([noise.decode("latin-1"), "v=STSv1;" + noise.decode("latin-1")])


class FakeWeb:
    def __init__(self) -> None:
        self.page: bytes | NoPage | None = PAGE
        self.asked: list[str] = []
        self.held: Deferred[None] | None = None

    async def fetch(self, host: str, path: str) -> bytes:
        self.asked.append(f"{host}{path}")
        if self.held is not None:
            await self.held
        if self.page is None:
            raise NoPage("it answered 404")
        if isinstance(self.page, NoPage):
            raise self.page
        return self.page


class MtaStsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now, self.web = 1_000_000.0, FakeWeb()
        self.zone: dict[tuple[str, str], Any] = {
            ("_mta-sts.example.org", "TXT"): ["v=STSv1; id=1;"]
        }
        self.kept: list[dict[str, StsPolicy]] = []
        self.sts = self.made()

    def made(self, **more: Any) -> MtaSts:
        async def remember(policies: Mapping[str, StsPolicy]) -> None:
            self.kept.append(dict(policies))

        return MtaSts(FakeResolver(self.zone), self.web.fetch, remember, lambda: self.now, **more)

    def find(self) -> StsPolicy | None:
        return self.successResultOf(Deferred.fromCoroutine(self.sts.find("example.org")))

    def test_it_is_fetched_once_and_kept(self) -> None:
        for _ in range(3):
            policy = self.find()
        assert policy is not None
        self.assertEqual("enforce", policy.mode)
        self.assertEqual(["mta-sts.example.org/.well-known/mta-sts.txt"], self.web.asked)
        self.assertEqual([{"example.org": policy}], self.kept)

    def test_without_a_record_nothing_is_fetched(self) -> None:
        self.zone.clear()
        self.assertIs(None, self.find())
        self.zone["_mta-sts.example.org", "TXT"] = LookupFailed()
        self.assertIs(None, self.find())
        self.assertEqual([], self.web.asked)

    def test_another_id_is_a_new_policy(self) -> None:
        self.find()
        self.zone["_mta-sts.example.org", "TXT"] = ["v=STSv1; id=2"]
        self.web.page = PAGE.replace(b"enforce", b"testing")
        policy = self.find()
        assert policy is not None
        self.assertEqual(("2", "testing"), (policy.id, policy.mode))

    def test_one_that_is_kept_holds_whatever_the_dns_or_the_web_say(self) -> None:
        policy = self.find()
        self.web.page = None
        self.zone["_mta-sts.example.org", "TXT"] = ["v=STSv1; id=2"]
        self.assertEqual(policy, self.find())
        self.zone.clear()
        self.assertEqual(policy, self.find())
        self.now += 1000
        self.assertIs(None, self.find())

    def test_a_fetch_that_failed_is_not_tried_again_at_once(self) -> None:
        self.web.page = b"no policy"
        for _ in range(3):
            self.assertIs(None, self.find())
        self.assertEqual(1, len(self.web.asked))
        self.zone["_mta-sts.example.org", "TXT"] = ["v=STSv1; id=2"]
        self.find()
        self.assertEqual(2, len(self.web.asked))
        self.now += AGAIN_S
        self.web.page = PAGE
        self.assertIsNotNone(self.find())

    def test_a_fetch_in_vain_is_told_with_its_result_type(self) -> None:
        told: list[tuple[str, str, str]] = []
        for page, result in (
            (NoPage("it answered 404"), "sts-policy-fetch-error"),
            (BadHost("certificate verify failed"), "sts-webpki-invalid"),
            (b"nonsense", "sts-policy-invalid"),
        ):
            self.web.page = page
            sts = self.made(failed=lambda *facts: told.append(facts))
            self.successResultOf(Deferred.fromCoroutine(sts.find("example.org")))
            self.assertEqual(("example.org", result), told.pop()[:2])

    def test_from_the_middle_of_its_time_on_it_is_fetched_anew_and_nobody_waits(self) -> None:
        first = self.find()
        self.now += 501
        self.web.held = Deferred()
        self.assertEqual(first, self.find())
        self.assertEqual(first, self.find())
        self.assertEqual(2, len(self.web.asked))
        self.web.held.callback(None)
        second = self.find()
        assert second is not None
        self.assertEqual(self.now + 1000, second.expires_at)

    def test_those_who_ask_together_wait_for_one_page(self) -> None:
        self.web.held = Deferred()
        asked = [Deferred.fromCoroutine(self.sts.find("example.org")) for _ in range(3)]
        self.web.held.callback(None)
        for each in asked:
            self.assertIsNotNone(self.successResultOf(each))
        self.assertEqual(1, len(self.web.asked))

    def test_there_are_no_more_than_so_many(self) -> None:
        self.patch(mta_sts, "MOST_KEPT", 3)
        for n in range(5):
            self.zone[f"_mta-sts.d{n}.example", "TXT"] = ["v=STSv1; id=1"]
            self.successResultOf(Deferred.fromCoroutine(self.sts.find(f"d{n}.example")))
        self.assertEqual(["d2.example", "d3.example", "d4.example"], list(self.sts.policies))


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "mta-sts.json"
        self.policy = read_policy(PAGE, "1", 50.0)

    def test_what_was_kept_is_there_after_a_start_and_its_owner_s_alone(self) -> None:
        write_policies(self.path, {"example.org": self.policy})
        self.assertEqual({"example.org": self.policy}, read_policies(self.path))
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        self.assertEqual([self.path], list(self.path.parent.iterdir()))

    def test_what_another_process_kept_stays_when_it_is_newer(self) -> None:
        newer, other = read_policy(PAGE, "2", 60.0), read_policy(PAGE, "9", 10.0)
        write_policies(self.path, {"example.org": newer, "other.example": other})
        write_policies(self.path, {"example.org": self.policy})
        self.assertEqual({"example.org": newer, "other.example": other}, read_policies(self.path))

    def test_a_file_that_is_missing_or_broken_is_an_empty_one(self) -> None:
        self.assertEqual({}, read_policies(self.path))
        good = {"id": "1", "mode": "none", "mx": [], "fetched_at": 1, "expires_at": 2}
        for content in (
            "{",
            "[]",
            '{"a": 1}',
            json.dumps({"a": good | {"mode": "odd"}}),
            json.dumps({"a": good | {"mx": 7}}),
            json.dumps({"a": good | {"expires_at": "soon"}}),
        ):
            self.path.write_text(content)
            self.assertEqual({}, read_policies(self.path), content)
        write_policies(self.path, {"example.org": self.policy})
        self.assertEqual(1, len(read_policies(self.path)))

    def test_it_is_written_when_a_policy_is_new(self) -> None:
        zone = {("_mta-sts.example.org", "TXT"): ["v=STSv1; id=1"]}
        sts = MtaSts(FakeResolver(zone), FakeWeb().fetch, in_file(self.path, maybeDeferred))
        found = self.successResultOf(Deferred.fromCoroutine(sts.find("example.org")))
        self.assertEqual({"example.org": found}, read_policies(self.path))

    def test_what_comes_while_it_is_written_is_written_behind(self) -> None:
        writing: list[Deferred[None]] = []
        kept: list[list[str]] = []

        async def remember(policies: Mapping[str, StsPolicy]) -> None:
            kept.append(list(policies))
            writing.append(Deferred())
            await writing[-1]

        zone = {(f"_mta-sts.{name}.example", "TXT"): ["v=STSv1; id=1"] for name in "abc"}
        sts = MtaSts(FakeResolver(zone), FakeWeb().fetch, remember)
        for name in "abc":
            self.successResultOf(Deferred.fromCoroutine(sts.find(f"{name}.example")))
        self.assertEqual([["a.example"]], kept)
        writing[0].callback(None)
        self.assertEqual(["a.example", "b.example", "c.example"], kept[1])
        writing[1].callback(None)
        self.assertEqual(2, len(kept))
