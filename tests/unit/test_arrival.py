"""`mailnode.arrival`: who is a stranger, and how he is treated before his mail is read."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred

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

    def test_at_a_stop_nobody_waits_for_the_greeting(self) -> None:
        self.come(banner_delay="3s")
        self.talk.send(f"{HELO}\r\n{MAIL}\r\n")
        self.house.sessions.drain()
        self.assertEqual(["421"], [each[:3] for each in self.talk.read().splitlines()])
        self.assertTrue(self.talk.server.transport.disconnecting)
        self.house.clock.advance(3)
        self.assertEqual("", self.talk.read())

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

    def test_who_stands_on_a_list_of_the_wanted_doesnt_wait(self) -> None:
        zone = ZONE | {("7.2.0.192.white.example.org", "A"): SILENCE}
        greylist = self.grey(Look(300.0, "new"), zone=zone, address_lists=("white.example.org*-1",))
        self.assertEqual("", self.say(HELO, MAIL, ALICE))
        self.resolver.speak("7.2.0.192.white.example.org", "A", ["127.0.0.2"])
        self.assertEqual("250", self.talk.read()[:3])
        self.send()
        judged = self.judged()
        assert judged is not None
        self.assertEqual("wanted by a list", judged.facts["greylist"])
        self.assertEqual([], greylist.asked)

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

    def test_who_is_turned_away_uses_up_nothing_of_a_recipient_s(self) -> None:
        lists = {"address_lists": ("zen.example.org",), "refuse_weight": 1}
        looks = FakeGreylist(Look(300.0, "new"), Look(0.0, SEEN))
        for values, greylist, settings in (
            (["127.0.0.2"], None, lists),
            (SILENCE, None, lists),
            ([], looks, {"greylist": True}),
        ):
            self.come(zone=ZONE | {(LISTED, "A"): values}, greylist=greylist)
            self.set(mails_per_recipient=1, **settings)
            self.come_again()
            self.talk.say(HELO, MAIL, ALICE)
            if self.resolver.silent:
                self.resolver.speak(LISTED, "A", ["127.0.0.2"])
            self.assertIn(self.refused().detail["code"], (450, 554))
            self.come_again("198.51.100.9")
            self.assertEqual("250", self.say(HELO, MAIL, ALICE)[:3])
            self.assertEqual("450 4.7.1 Too many mails to this", self.say(ALICE)[:32])

    def test_postmaster_s_are_counted_too(self) -> None:
        self.come(mails_per_recipient=1)
        postmaster = "RCPT TO:<postmaster@example.test>"
        self.say(HELO, MAIL, postmaster)
        self.assertEqual("450 4.7.1 Too many mails to this", self.say(postmaster)[:32])

    def test_it_is_counted_for_the_metrics(self) -> None:
        self.come(mails_per_sender=1)
        self.talk.say(HELO, MAIL, "RSET", MAIL)
        self.assertEqual(1, self.arrival.told()['check="pace",result="put-off"'])
