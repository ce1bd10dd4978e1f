"""What is looked up of a stranger: his names, the lists that have him, and who waits for that."""

from __future__ import annotations

from mailnode.errors import LookupFailed
from tests.unit.arrival_case import (
    ALICE,
    CLIENT,
    CLIENT6,
    HELO,
    MAIL,
    SILENCE,
    ZONE,
    ArrivalCase,
)

REVERSE = "7.2.0.192.in-addr.arpa"
LISTED = "7.2.0.192.zen.example.org"


class NamesTests(ArrivalCase):
    def test_a_name_that_leads_back_is_a_fact(self) -> None:
        self.come()
        facts = {"reverse": "confirmed", "reverse_name": "mail.sender.example", "helo": "own"}
        self.assertEqual(facts, self.facts())
        judged = self.judged()
        assert judged is not None
        self.assertEqual(("arrival", (), False), (judged.by, judged.reasons, judged.unwanted))

    def test_what_is_wrong_is_marked_with_its_reason_and_refused_where_the_settings_say_so(
        self,
    ) -> None:
        for zone, fact in (
            ({}, "none"),
            ({(REVERSE, "PTR"): []}, "none"),
            ({(REVERSE, "PTR"): ["mail.sender.example"]}, "unconfirmed"),
            (ZONE | {("mail.sender.example", "A"): ["192.0.2.8"]}, "unconfirmed"),
        ):
            self.come(zone=zone, helo="off")
            self.assertEqual(fact, self.facts()["reverse"])
            judged = self.judged()
            assert judged is not None
            self.assertIn("its address has no name that leads back to it", judged.reasons)
            self.assertEqual(1, self.arrival.counts["reverse", "marked"])
            self.come(zone=zone, helo="off", reverse="refuse", contact="see https://example.test")
            self.assertEqual(
                "550 5.7.25 192.0.2.7 has no name in the DNS that leads back to it "
                "(see https://example.test)",
                self.say(HELO, MAIL, ALICE),
            )
            self.assertEqual(f"its name: {fact}", self.because())
            self.assertEqual(1, self.arrival.counts["reverse", "refused"])

    def test_what_the_dns_cant_say_speaks_for_him(self) -> None:
        for zone in (
            {(REVERSE, "PTR"): LookupFailed(), ("mail.sender.example", "A"): [CLIENT]},
            ZONE | {("mail.sender.example", "A"): LookupFailed()},
        ):
            self.come(zone=zone, reverse="refuse", helo="refuse")
            self.assertEqual("unknown", self.facts()["reverse"])

    def test_ipv6_is_turned_by_nibbles(self) -> None:
        nibbles = ".".join("7" + "0" * 23 + "8bd01002")
        zone = {
            (f"{nibbles}.ip6.arpa", "PTR"): ["mail.sender.example"],
            ("mail.sender.example", "AAAA"): ["2001:db8:0:0::7"],
        }
        self.come(CLIENT6, zone=zone)
        self.assertEqual("confirmed", self.facts()["reverse"])
        self.assertEqual("own", self.facts()["helo"])

    def test_a_helo_is_own_elsewhere_or_none(self) -> None:
        zone = ZONE | {
            ("elsewhere.example", "A"): ["192.0.2.8"],
            ("empty.example", "TXT"): ["x"],
            ("broken.example", "A"): LookupFailed(),
        }
        for helo, fact, refused in (
            ("mail.sender.example", "own", False),
            ("MAIL.sender.example.", "own", False),
            (f"[{CLIENT}]", "own", False),
            (f"[IPv6:::ffff:{CLIENT}]", "own", False),
            ("elsewhere.example", "elsewhere", False),
            ("broken.example", "unknown", False),
            ("[192.0.2.8]", "pretends", True),
            ("mx.example.test", "pretends", True),
            ("example.test", "pretends", True),
            ("nowhere.example", "nowhere", True),
            ("empty.example", "nowhere", True),
            ("localhost", "bare", True),
            ("what?", "malformed", True),
        ):
            self.come(zone=zone)
            self.talk.say(f"EHLO {helo}", MAIL, ALICE)
            self.assertEqual("250", self.send()[:3])
            judged = self.judged()
            assert judged is not None
            self.assertEqual(fact, judged.facts["helo"], helo)
            self.assertEqual(fact not in ("own", "unknown"), bool(judged.reasons), helo)
            self.come(zone=zone, helo="refuse")
            reply = self.say(f"EHLO {helo}", MAIL, ALICE)
            self.assertEqual("550 5.7.1 " if refused else "250 2.1.5 ", reply[:10], helo)

    def test_whatever_he_calls_himself_is_judged(self) -> None:
        for helo in (
            "xn--\u0130",
            "\u3002.\u3002",
            "[]",
            "a" * 255,
            "\u00df.",
        ):
            self.come(zone=ZONE, domain_lists=("dbl.example.org",))
            self.talk.say(f"EHLO {helo}", MAIL, ALICE)
            self.assertEqual("250", self.send()[:3], helo)
            judged = self.judged()
            assert judged is not None
            self.assertIn(judged.facts["helo"], ("malformed", "nowhere", "bare", "pretends"), helo)

    def test_who_names_more_than_can_be_looked_up_is_sent_away(self) -> None:
        names = [f"h{number}.example" for number in range(50)]
        lists = ("dbl.example.org", "multi.example.net")
        asked = {(f"{name}.{zone}", "A"): SILENCE for name in names for zone in lists}
        zone = ZONE | asked | {(name, "A"): SILENCE for name in names}
        for command, settings in (
            ("EHLO {}", {}),
            ("EHLO {}", {"domain_lists": lists}),
            ("MAIL FROM:<anna@{}>", {"domain_lists": lists}),
        ):
            self.come(zone=zone, **settings)
            self.say(HELO)
            taken = 0
            while (reply := self.say("RSET", command.format(names[taken]))).startswith("250"):
                taken += 1
            self.assertEqual("421 4.7.1 Too many names at once", reply[:32])
            self.assertIn(taken, range(20, 32))
            self.assertTrue(self.talk.server.transport.disconnecting)

    def test_however_many_he_names_that_are_known_at_once_he_is_heard(self) -> None:
        self.come()
        for number in range(100):
            self.assertEqual("250", self.say(f"EHLO h{number}.example")[:3])

    def test_the_last_helo_counts_even_when_the_first_is_answered_later(self) -> None:
        self.come(zone=ZONE | {("slow.example", "A"): SILENCE})
        self.talk.say("EHLO slow.example", HELO, MAIL, ALICE)
        self.resolver.speak("slow.example", "A", ["192.0.2.8"])
        self.assertEqual("250", self.send()[:3])
        judged = self.judged()
        assert judged is not None
        self.assertEqual("own", judged.facts["helo"])

    def test_a_thousand_names_of_an_address_are_not_all_asked(self) -> None:
        names = [f"n{number}.example" for number in range(1_000)]
        self.come(zone={(REVERSE, "PTR"): names})
        self.assertEqual("unconfirmed", self.facts()["reverse"])
        self.assertLess(len(self.resolver.asked), 30)


class ListsTests(ArrivalCase):
    ZONE = ZONE | {
        (LISTED, "A"): ["127.0.0.2"],
        (LISTED, "TXT"): ["See https://zen.example.org/\r\n192.0.2.7"],
        ("sender.example.dbl.example.org", "A"): ["127.0.1.2"],
    }

    def test_a_listing_is_marked(self) -> None:
        self.come(
            zone=self.ZONE,
            address_lists=("zen.example.org*3", "other.example.org"),
            domain_lists=("dbl.example.org",),
        )
        facts = self.facts()
        self.assertEqual("zen.example.org dbl.example.org", facts["lists"])
        self.assertEqual("4", facts["listed_weight"])
        judged = self.judged()
        assert judged is not None
        self.assertEqual(
            (
                "192.0.2.7 is listed by zen.example.org",
                "sender.example is listed by dbl.example.org",
            ),
            judged.reasons,
        )
        self.assertNotIn((LISTED, "TXT"), self.resolver.asked)

    def test_enough_weight_is_refused_with_the_lists_own_words(self) -> None:
        self.come(zone=self.ZONE, address_lists=("zen.example.org",), refuse_weight=1)
        self.assertEqual(
            "554 5.7.1 192.0.2.7 is listed by zen.example.org: See https://zen.example.org/ "
            "192.0.2.7",
            self.say(HELO, MAIL, ALICE),
        )
        self.assertEqual("192.0.2.7 is listed by zen.example.org", self.because())
        self.assertEqual(1, self.arrival.counts["lists", "refused"])

    def test_weights_are_added_and_a_list_of_the_wanted_takes_away(self) -> None:
        lists = {"address_lists": ("zen.example.org",), "domain_lists": ("dbl.example.org",)}
        self.come(zone=self.ZONE, refuse_weight=2, **lists)
        self.assertEqual("554", self.say(HELO, MAIL, ALICE)[:3])
        self.come(zone=self.ZONE, refuse_weight=3, **lists)
        self.assertEqual("250", self.say(HELO, MAIL, ALICE)[:3])
        zone = self.ZONE | {("7.2.0.192.white.example.org", "A"): ["127.0.9.1"]}
        lists["address_lists"] += ("white.example.org=127.0.0.0/8*-5",)
        self.come(zone=zone, refuse_weight=1, **lists)
        self.assertEqual("250", self.say(HELO, MAIL, ALICE)[:3])

    def test_answers_that_dont_count_list_nobody(self) -> None:
        for answer in ("127.255.255.254", "192.0.2.99", "127.0.0.1"):
            self.come(
                zone=ZONE | {(LISTED, "A"): [answer]},
                address_lists=("zen.example.org",),
                refuse_weight=1,
            )
            self.assertNotIn("lists", self.facts())

    def test_postmaster_and_abuse_hear_whoever_is_listed(self) -> None:
        self.come(zone=self.ZONE, address_lists=("zen.example.org",), refuse_weight=1)
        self.say(HELO, MAIL)
        self.assertEqual("250", self.say("RCPT TO:<PostMaster@example.test>")[:3])
        self.assertEqual("554", self.say(ALICE)[:3])

    def test_who_isnt_there_is_what_the_sender_hears_of(self) -> None:
        self.come(zone=self.ZONE, address_lists=("zen.example.org",), refuse_weight=1)
        self.say(HELO, MAIL)
        self.assertEqual("550 5.1.1", self.say("RCPT TO:<nobody@example.test>")[:9])
        self.assertEqual("550 5.7.1", self.say("RCPT TO:<a@elsewhere.example>")[:9])

    def test_domains_are_the_sender_s_and_helo_s_and_what_was_registered_of_them(self) -> None:
        self.come(domain_lists=("dbl.example.org",), refuse_weight=1)
        self.talk.say("EHLO a.b.co.uk", "MAIL FROM:<x@c.d.example.net>", ALICE)
        asked = {name for name, kind in self.resolver.asked if name.endswith(".dbl.example.org")}
        self.assertEqual(
            {f"{name}.dbl.example.org" for name in ("a.b.co.uk", "b.co.uk", "c.d.example.net")}
            | {"example.net.dbl.example.org"},
            asked,
        )

    def test_addresses_bare_names_and_nonsense_are_no_domains(self) -> None:
        for helo in (f"[{CLIENT}]", CLIENT, "localhost", "a..b", "x" * 255, "."):
            self.come(domain_lists=("dbl.example.org",))
            self.talk.say(f"EHLO {helo}", "MAIL FROM:<>", ALICE)
            asked = [name for name, _ in self.resolver.asked if name.endswith("dbl.example.org")]
            self.assertEqual([], asked, helo)

    def test_a_sender_is_judged_by_his_own_mail_alone(self) -> None:
        self.come(zone=self.ZONE, domain_lists=("dbl.example.org",), refuse_weight=1)
        self.talk.say("EHLO mx.other.example", MAIL)
        self.assertEqual("554", self.say(ALICE)[:3])
        self.talk.say("RSET", "MAIL FROM:<x@other.example>")
        self.assertEqual("250", self.say(ALICE)[:3])


class WaitingTests(ArrivalCase):
    def test_a_recipient_waits_for_what_may_refuse_him(self) -> None:
        self.come(zone=ZONE | {(LISTED, "A"): SILENCE}, address_lists=("zen.example.org",))
        self.set(address_lists=("zen.example.org",), refuse_weight=1)
        self.come_again()
        self.assertEqual("", self.say(HELO, MAIL, ALICE))
        self.resolver.speak(LISTED, "A", ["127.0.0.2"])
        self.assertEqual("554", self.talk.read()[:3])

    def test_what_hangs_for_five_seconds_speaks_for_him(self) -> None:
        self.come(
            zone=ZONE | {(LISTED, "A"): SILENCE}, address_lists=("zen.example.org",),
            refuse_weight=1,
        )  # fmt: skip
        self.assertEqual("", self.say(HELO, MAIL, ALICE))
        self.house.clock.advance(4.9)
        self.assertEqual("", self.talk.read())
        self.house.clock.advance(0.2)
        self.assertEqual("250", self.talk.read()[:3])
        self.assertEqual(1, self.arrival.counts["lists", "unknown"])

    def test_one_list_that_hangs_hides_no_other(self) -> None:
        self.come(
            zone=ZONE | {(LISTED, "A"): ["127.0.0.2"], ("7.2.0.192.dead.example", "A"): SILENCE},
            address_lists=("dead.example", "zen.example.org"), refuse_weight=1,
        )  # fmt: skip
        self.say(HELO, MAIL, ALICE)
        self.house.clock.advance(5)
        self.assertEqual("554", self.talk.read()[:3])

    def test_what_is_only_marked_holds_up_no_recipient(self) -> None:
        zone = ZONE | {(LISTED, "A"): SILENCE, (REVERSE, "PTR"): SILENCE}
        self.come(zone=zone, address_lists=("zen.example.org",), helo="refuse")
        self.envelope()
        self.assertEqual("", self.send())
        self.resolver.speak(REVERSE, "PTR", [])
        self.assertEqual("", self.talk.read())
        self.house.clock.advance(5)
        self.assertEqual("250", self.talk.read()[:3])
        judged = self.judged()
        assert judged is not None
        self.assertEqual("none", judged.facts["reverse"])

    def test_who_leaves_while_his_recipient_waits_leaves_nothing_behind(self) -> None:
        self.come(
            zone=ZONE | {(LISTED, "A"): SILENCE}, address_lists=("zen.example.org",),
            refuse_weight=1,
        )  # fmt: skip
        self.say(HELO, MAIL, ALICE)
        self.talk.lose()
        self.house.clock.advance(5)
        self.assertEqual([], self.house.messages.filed)
        self.house.sessions.stop()
        self.assertEqual([], self.house.clock.getDelayedCalls())

    def test_what_breaks_speaks_for_him_and_is_logged(self) -> None:
        self.come(zone=ZONE | {(LISTED, "A"): RuntimeError("a bug")})
        self.set(address_lists=("zen.example.org",), refuse_weight=1)
        self.come_again()
        self.envelope()
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
