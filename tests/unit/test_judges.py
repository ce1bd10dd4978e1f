"""`mailnode.judges`: which filters the settings make, and whose mail each is asked about."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailnode.config import ConfigError, load_config
from mailnode.interfaces import IContentFilter, ILateFilter
from mailnode.judges import Judges, Some
from mailnode.model import Client, Envelope, Message
from tests.unit.test_mailauth_dmarc_seen import authenticated, envelope

ALL = {
    "clamd.endpoint": "unix:path=/run/clamav/clamd.ctl",
    "clamd.timeout": "7s",
    "rspamd.endpoint": "tcp:host=127.0.0.1:port=11333",
    "rspamd.password": "secret",
    "spamd.endpoint": "tcp:host=127.0.0.1:port=783",
    "spamd.unwanted_at": "6.5",
    "milter.endpoints": ["unix:path=/run/a.sock", "tcp:host=127.0.0.1:port=8891"],
    "harmful.macros": "refuse",
}
MESSAGE = Message(b"", b"\r\n", 2, b"")


class FakeHouse:
    def __init__(self, **settings: Any) -> None:
        given = {name: (value, "test") for name, value in settings.items()}
        self.config = load_config(environment={}, options=given)
        self.reactor = reactor
        self.hostname = "mx.example.test"
        self.blobs: Any = self
        self.models: Any = None
        self.dmarc: Any = self
        self.counted: list[Any] = []
        self.has_written: Any = None

    def count(self, *seen: Any) -> None:
        self.counted.append(seen)

    def windows(self, key: str, head: bytes) -> Any:
        raise AssertionError


class Asked:
    name = "asked"

    def __init__(self, *, wants: bool = True) -> None:
        self.asked: list[Envelope] = []
        self._wants = wants

    def wants(self, envelope: Envelope) -> bool:
        return self._wants

    def judge(self, envelope: Envelope, message: Message) -> None:
        self.asked.append(envelope)


class JudgesTests(TestCase):
    def judges(self, *plugged: Any, **settings: Any) -> Judges:
        house: Any = FakeHouse(**settings)
        judges = Judges.of(house, plugged)
        self.addCleanup(judges.stop)
        return judges

    def names(self, *plugged: Any, **settings: Any) -> list[str]:
        return [each.name for each in self.judges(*plugged, **settings).filters]

    def test_without_settings_senders_are_found_out_and_attachments_looked_at(self) -> None:
        self.assertEqual(["authentication", "harmful", "senders", "learned"], self.names())
        off = {"judging.authenticate": False, "judging.harmful": False, "learning.enabled": False}
        self.assertEqual(["senders", "asked"], self.names(Asked(), **off))

    def test_programs_that_have_a_place_are_asked_in_front_of_plug_ins(self) -> None:
        self.assertEqual(
            [
                "authentication",
                "harmful",
                "clamd",
                "rspamd",
                "spamd",
                "milter1",
                "milter2",
                "senders",
                "learned",
                "asked",
            ],
            self.names(Asked(), **ALL),
        )
        one = {"milter.endpoints": ["unix:path=/run/a.sock"]}
        self.assertEqual(["milter", "senders", "learned"], self.names(**one)[-3:])

    def test_their_settings_are_theirs(self) -> None:
        found = {each.name: each._judge for each in self.judges(**ALL).filters}
        clamd, rspamd, spamd = found["clamd"], found["rspamd"], found["spamd"]
        self.assertEqual(
            (7.0, "defer", 25 << 20), (clamd.timeout_s, clamd.on_failure, clamd.most_octets)
        )
        self.assertEqual(("secret", "mx.example.test"), (rspamd.password, rspamd.hostname))
        self.assertEqual(
            (6.5, None, 500_000), (spamd.unwanted_at, spamd.refuse_at, spamd.most_octets)
        )
        harmful = found["harmful"].actions
        self.assertEqual(("refuse", "refuse"), (harmful["macros"], harmful["archive-of-programs"]))

    def test_mail_is_counted_for_dmarc_reports_where_the_settings_say_so(self) -> None:
        for said, counted in (("off", False), ("collect", True), ("send", True)):
            house: Any = FakeHouse(**{"judging.dmarc_reports": said})
            judges = Judges.of(house, ())
            self.addCleanup(judges.stop)
            origin: Any = judges.filters[0]
            found = authenticated()
            origin._judge.note(envelope(), MESSAGE, found, "none", None)
            self.assertEqual(counted, bool(house.counted), said)

    def test_a_place_that_is_none_is_told_with_examples(self) -> None:
        for section, key in (("clamd", "endpoint"), ("milter", "endpoints")):
            for wrong in ("/run/clamd.ctl", "tcp:port=x", "smoke:path=/x"):
                told: Any = [wrong] if key == "endpoints" else wrong
                with self.assertRaises(ConfigError) as caught:
                    self.judges(**{f"{section}.{key}": told})
                self.assertIn(f"[{section}] '{wrong}' is no endpoint", str(caught.exception))
                self.assertIn("tcp:host=127.0.0.1:port=11333", str(caught.exception))

    def asked(self, name: str, envelope: Envelope, **settings: Any) -> bool:
        (judge,) = (each for each in self.judges(**ALL, **settings).filters if each.name == name)
        judge._judge = asked = Asked()
        judge.judge(envelope, MESSAGE)
        self.assertEqual([envelope], asked.asked)
        return bool(judge.wants(envelope))

    def test_each_is_asked_about_the_mail_that_is_its_business(self) -> None:
        stranger = Envelope("ID", None, (), Client("192.0.2.1"))
        ours = Envelope("ID", None, (), Client("192.0.2.1"), account_id=1)
        beside = Envelope("ID", None, (), Client("127.0.0.1", loopback=True))
        own = Envelope("ID", None, ())  # a report of the node's
        for name, wanted in (
            ("authentication", (True, False, False, False)),
            ("harmful", (True, False, False, False)),
            ("clamd", (True, True, False, False)),
            ("rspamd", (True, True, False, False)),
            ("spamd", (True, False, False, False)),
            ("milter1", (True, True, False, False)),
            ("senders", (True, False, False, False)),
            ("learned", (True, False, False, False)),
        ):
            found = tuple(self.asked(name, each) for each in (stranger, ours, beside, own))
            self.assertEqual(wanted, found, name)
            self.assertTrue(self.asked(name, beside, **{"judging.loopback": True}))

    def test_what_was_learned_is_asked_behind_all_others(self) -> None:
        late = [each.name for each in self.judges(**ALL).filters if ILateFilter.providedBy(each)]
        self.assertEqual(["senders", "learned"], late)

    def test_one_that_has_nothing_to_say_yet_costs_a_mail_nothing(self) -> None:
        late = [each for each in self.judges(**ALL).filters if ILateFilter.providedBy(each)]
        for each in late:
            for something in (False, True):
                each._judge = Asked(wants=something)
                self.assertIs(something, each.wants(Envelope("ID", None, (), Client("192.0.2.1"))))
            self.assertFalse(each.wants(Envelope("ID", None, ())))

    def test_one_for_some_mails_is_a_content_filter_as_well(self) -> None:
        self.assertTrue(verifyObject(IContentFilter, Some(Asked(), bool)))
