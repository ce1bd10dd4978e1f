"""`mailnode.arrival`: what is found of a stranger, and said to him, before his mail is read."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred

from mailnode.errors import LookupFailed
from mailnode.store.greylist_rows import SEEN, Look
from tests.fakes import PASSWORD
from tests.unit.arrival_case import (
    ALICE,
    BOB,
    CLIENT,
    CLIENT6,
    HELO,
    MAIL,
    SILENCE,
    ZONE,
    ArrivalCase,
    FakeGreylist,
)

PLAIN = base64.b64encode(f"\0alice@example.test\0{PASSWORD}".encode()).decode()
REVERSE = "7.2.0.192.in-addr.arpa"
LISTED = "7.2.0.192.zen.example.org"


class StrangersTests(ArrivalCase):
    def test_this_machine_and_known_networks_are_asked_nothing(self) -> None:
        for client in ("127.0.0.1", "::1", CLIENT, CLIENT6):
            known = ("192.0.2.0/24", "2001:db8::/32")
            self.come(client, known=known, greylist=FakeGreylist(Look(300.0, "new")))
            self.assertEqual({}, self.facts())
            self.assertEqual([], self.resolver.asked)

    def test_a_submission_port_has_no_strangers(self) -> None:
        self.come()
        self.house.factory.submission = True
        self.resolver.asked.clear()
        self.come_again()
        self.say(HELO)
        self.assertEqual("530", self.say(MAIL)[:3])
        self.assertEqual([], self.resolver.asked)

    def test_look_ups_begin_when_he_comes_and_go_on_when_he_says_who_he_is(self) -> None:
        self.come(address_lists=("zen.example.org",))
        self.assertIn((REVERSE, "PTR"), self.resolver.asked)
        self.assertIn((LISTED, "A"), self.resolver.asked)
        before = len(self.resolver.asked)
        self.say("EHLO elsewhere.example")
        self.assertEqual([("elsewhere.example", "A")], self.resolver.asked[before:])

    def test_with_everything_off_nothing_is_looked_up(self) -> None:
        self.come(reverse="off", helo="off", early="off")
        self.assertEqual({}, self.facts())
        self.assertEqual([], self.resolver.asked)

    def test_who_signs_in_is_no_stranger_and_when_he_comes_again_nothing_is_looked_up(self) -> None:
        greylist = FakeGreylist(Look(300.0, "new"))
        self.come(greylist=greylist)
        self.set(greylist=True)
        for turn in range(2):
            asked = len(self.resolver.asked)
            self.say(HELO, "STARTTLS")
            replies = self.talk.say(
                HELO, f"AUTH PLAIN {PLAIN}", "MAIL FROM:<alice@example.test>", BOB
            )
            self.assertEqual(["250", "235", "250", "250"], [each[:3] for each in replies])
            self.assertEqual("250", self.send()[:3])
            self.assertIsNone(self.judged())
            self.assertEqual(turn == 0, asked > 0)
            self.resolver.asked.clear()
            self.come_again()
        self.assertEqual([], greylist.asked)

    def test_an_address_that_signed_in_once_is_looked_up_at_its_first_mail_without(self) -> None:
        self.come()
        self.arrival.signed_in(CLIENT)
        self.resolver.asked.clear()
        self.come_again()
        self.say(HELO)
        self.assertEqual([], self.resolver.asked)
        self.assertEqual({"confirmed"}, {self.facts()["reverse"]})

    def test_settings_are_taken_up_by_who_comes_next(self) -> None:
        self.come(reverse="off", helo="off", early="off")
        self.set(reverse="mark")
        self.assertEqual({}, self.facts())
        self.come_again()
        self.assertEqual("confirmed", self.facts()["reverse"])


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


class EarlyTests(ArrivalCase):
    def test_a_stranger_waits_for_the_greeting_and_others_dont(self) -> None:
        self.come(banner_delay="3s")
        self.assertEqual("", self.greeting)
        self.house.clock.advance(3)
        self.assertEqual("220", self.talk.read()[:3])
        self.assertNotIn("early", self.facts())
        self.come_again("127.0.0.1")
        self.assertEqual("220", self.greeting[:3])

    def test_who_speaks_meanwhile_is_marked_and_heard_behind_the_greeting(self) -> None:
        self.come(banner_delay="3s")
        self.assertEqual("", self.talk.send(f"{HELO}\r\n"))
        self.house.clock.advance(3)
        self.assertEqual(["220", "250"], [each[:3] for each in self.talk.read().split("\r\n")][:2])
        self.talk.say(MAIL, ALICE)
        self.send()
        judged = self.judged()
        assert judged is not None
        self.assertEqual("before the greeting", judged.facts["early"])
        self.assertIn("it spoke before the greeting", judged.reasons)

    def test_who_speaks_behind_helo_is_marked_or_refused(self) -> None:
        self.come()
        self.talk.send(f"{HELO}\r\n{MAIL}\r\n{ALICE}\r\n")
        self.send()
        judged = self.judged()
        assert judged is not None
        self.assertEqual("behind HELO", judged.facts["early"])
        self.come(early="refuse")
        replies = self.talk.send(f"{HELO}\r\n{MAIL}\r\n{ALICE}\r\n")
        self.assertIn("\r\n554 5.5.1 You spoke before you were answered\r\n", replies)
        self.assertEqual("it spoke behind HELO", self.because())
        self.assertEqual(1, self.arrival.counts["early", "refused"])

    def test_what_may_be_pipelined_is_not_early(self) -> None:
        self.come(early="refuse")
        self.say(HELO)
        replies = self.talk.send(f"{MAIL}\r\n{ALICE}\r\n{BOB}\r\nDATA\r\n")
        self.assertEqual("354", replies.splitlines()[-1][:3])

    def test_who_leaves_before_the_greeting_leaves_nothing_behind(self) -> None:
        self.come(banner_delay="3s", reverse="off", helo="off")
        self.talk.lose()
        self.house.sessions.stop()
        self.assertEqual([], self.house.clock.getDelayedCalls())


class GreylistTests(ArrivalCase):
    def grey(self, *looks: Any, **more: Any) -> FakeGreylist:
        greylist = FakeGreylist(*looks)
        self.come(greylist=greylist, **more)
        self.set(greylist=True, **{k: v for k, v in more.items() if k not in ("zone", "client")})
        self.come_again(more.get("client", CLIENT))
        return greylist

    def test_an_unknown_sender_is_put_off_and_it_counts_as_no_error(self) -> None:
        greylist = self.grey(Look(299.2, "new"))
        for _ in range(20):
            reply = self.say(HELO, MAIL, ALICE)
            self.assertEqual("450 4.7.1 You are unknown here, try again in 300 s", reply)
            self.say("RSET")
        asked = ("192.0.2.0/24", "anna@sender.example", "alice@example.test")
        self.assertEqual({asked}, set(greylist.asked))
        self.assertEqual("greylisted: new", self.because())
        self.assertEqual(20, self.arrival.counts["greylist", "put-off"])

    def test_networks_are_a_24_and_a_64(self) -> None:
        greylist = self.grey(Look(), client=CLIENT6)
        self.say(HELO, MAIL, ALICE)
        self.assertEqual("2001:db8::/64", greylist.asked[0][0])

    def test_why_he_was_let_through_is_a_fact(self) -> None:
        self.grey(Look(0.0, SEEN))
        self.assertEqual("seen before", self.facts()["greylist"])
        self.assertEqual(1, self.arrival.counts["greylist", "passed"])

    def test_a_list_that_doesnt_answer_lets_him_through(self) -> None:
        self.grey(Deferred())
        self.assertEqual("", self.say(HELO, MAIL, ALICE))
        self.house.clock.advance(5)
        self.assertEqual("250", self.talk.read()[:3])

    def test_who_is_refused_for_good_is_not_kept(self) -> None:
        greylist = self.grey(Look(300.0, "new"), helo="refuse")
        self.assertEqual("550", self.say("EHLO localhost", MAIL, ALICE)[:3])
        self.assertEqual("550", self.say("RCPT TO:<nobody@example.test>")[:3])
        self.assertEqual([], greylist.asked)


class PaceTests(ArrivalCase):
    def test_mails_of_an_address_and_its_network_are_421_and_the_end(self) -> None:
        for setting in ("mails_per_address", "mails_per_network"):
            self.come(**{setting: 2})
            for _ in range(2):
                self.envelope()
                self.send()
            reply = self.say(MAIL)
            self.assertEqual("421 4.7.1 Too many mails from this", reply[:34])
            self.assertTrue(self.talk.server.transport.disconnecting)
            self.assertIn("more than 2 mails an hour from 192.0.2.", str(self.because()))
            self.house.clock.advance(1801)
            self.come_again()
            self.envelope()

    def test_a_neighbour_shares_the_network_s(self) -> None:
        self.come(mails_per_network=1)
        self.envelope()
        self.come_again("192.0.2.99")
        self.assertEqual("421", self.say(HELO, MAIL)[:3])
        self.come_again("192.0.3.7")
        self.assertEqual("250", self.say(HELO, MAIL)[:3])

    def test_mails_of_a_sender_are_450_and_others_go_on(self) -> None:
        self.come(mails_per_sender=1)
        self.envelope()
        self.send()
        self.assertEqual("450 4.7.1 ", self.say(MAIL)[:10])
        self.assertEqual("250", self.say("MAIL FROM:<other@sender.example>")[:3])
        self.say("RSET")
        self.assertEqual("250", self.say("MAIL FROM:<>")[:3])

    def test_recipients_are_450_each_and_those_before_stay(self) -> None:
        for whose in ("address", "network", "sender"):
            self.come(**{f"recipients_per_{whose}": 1})
            self.envelope()
            self.assertEqual("450 4.7.1 Too many recipients", self.say(BOB)[:29])
            self.assertEqual("250", self.send()[:3])
            self.assertEqual(1, self.arrival.counts["pace", "put-off"])

    def test_mails_to_one_recipient_are_450_whoever_sends_them(self) -> None:
        self.come(mails_per_recipient=1)
        self.envelope()
        self.come_again("198.51.100.9")
        self.assertEqual("450", self.say(HELO, "MAIL FROM:<x@y.example>", ALICE)[:3])
        self.assertEqual("250", self.say(BOB)[:3])

    def test_it_is_counted_for_the_metrics(self) -> None:
        self.come(mails_per_sender=1)
        self.talk.say(HELO, MAIL, "RSET", MAIL)
        self.assertEqual(1, self.arrival.told()['check="pace",result="put-off"'])
