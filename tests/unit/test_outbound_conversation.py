"""`mailnode.outbound.conversation`: who says what when, and what becomes of each recipient."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.outbound.conversation import Conversation
from mailnode.outbound.offers import Offers, xtext
from mailnode.outbound.replies import Reply
from mailnode.outbound.states import TABLE, Cue, State, draw
from mailnode.outbound.words import Answer, Login, Outgoing, Target
from tests.documents import DOCS, read

BODY = b"Subject: a\r\n\r\n.dot\r\n"
ALL = ("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN")
PLAIN = base64.b64encode(b"\0alice\0correct horse")


class Talk:
    """A remote host's side: says lines, and sees what it is told."""

    def __init__(self, *offers: str, **more: Any) -> None:
        self.offers = offers
        self.talk = Conversation(helo="mx.example.test", **more)
        self.talk.connected()

    def hear(self, *lines: str) -> list[str]:
        self.talk.receive("".join(f"{line}\r\n" for line in lines).encode())
        return self.said()

    def said(self) -> list[str]:
        return self.talk.take_output().decode().split("\r\n")[:-1]

    def ehlo(self, *offers: str) -> list[str]:
        lines = ["remote.test", *offers]
        last = len(lines) - 1
        return self.hear(*[f"250{'- '[at == last]}{line}" for at, line in enumerate(lines)])

    def ready(self) -> Talk:
        self.hear("220 remote.test")
        self.ehlo(*self.offers)
        assert self.talk.state is State.READY, self.talk.state
        return self

    def begin(self, *to: str | Target, **more: Any) -> list[str]:
        targets = [
            each if isinstance(each, Target) else Target(each) for each in to or ["b@r.test"]
        ]
        more = {"sender": "a@s.test", "size_octets": len(BODY), "eight_bit": False} | more
        self.talk.begin(Outgoing(targets=tuple(targets), open=lambda: None, **more))
        return self.said()

    def body(self) -> list[str]:
        self.talk.send_body(BODY)
        self.talk.end_body()
        return self.said()

    @property
    def codes(self) -> list[tuple[int, str]]:
        return [(answer.code, answer.stage) for answer in self.talk.answers()]


class TableTests(SynchronousTestCase):
    def test_the_picture_in_the_documentation_is_the_table_s(self) -> None:
        shown = "".join(f"    {line}\n" if line else "\n" for line in draw().splitlines())
        self.assertIn(shown, read(DOCS / "conversation.rst"))

    def test_every_state_is_reached_and_left(self) -> None:
        reached = {to for (_, cue), to in TABLE.items() if cue is not Cue.FAILED}
        left = {start for (start, cue) in TABLE if cue is not Cue.FAILED}
        self.assertEqual(set(State) - {State.CONNECT}, reached)
        self.assertEqual(set(State) - {State.CLOSED}, left)
        self.assertEqual(set(Cue), {cue for _, cue in TABLE})

    def test_whatever_fails_is_the_end(self) -> None:
        for state in set(State) - {State.CLOSED}:
            self.assertIs(State.CLOSED, TABLE[state, Cue.FAILED])

    def test_it_knows_no_twisted(self) -> None:
        modules = ("conversation", "offers", "replies", "states", "words")
        imports = "; ".join(f"import mailnode.outbound.{each}" for each in modules)
        code = f"{imports}; import sys; sys.exit(any('twisted' in m for m in sys.modules))"
        self.assertEqual(0, subprocess.run([sys.executable, "-c", code]).returncode)


class GreetingTests(SynchronousTestCase):
    def test_it_greets_and_is_ready(self) -> None:
        talk = Talk()
        self.assertEqual(["EHLO mx.example.test"], talk.hear("220-remote.test", "220 hello"))
        self.assertEqual([], talk.ehlo("SIZE 1000", "pipelining", "X-WHAT EVER"))
        self.assertIs(State.READY, talk.talk.state)
        self.assertEqual(1000, talk.talk.offers.size_octets)
        self.assertIn("PIPELINING", talk.talk.offers.words)

    def test_a_host_that_knows_no_ehlo_is_told_helo(self) -> None:
        talk = Talk()
        talk.hear("220 remote.test")
        self.assertEqual(["HELO mx.example.test"], talk.hear("502 5.5.2 What?"))
        talk.hear("250 remote.test")
        self.assertEqual(["MAIL FROM:<a@s.test>"], talk.begin())

    def test_lmtp_says_lhlo_and_nothing_else_will_do(self) -> None:
        talk = Talk(lmtp=True)
        self.assertEqual(["LHLO mx.example.test"], talk.hear("220 remote.test"))
        self.assertEqual(["QUIT"], talk.hear("500 What?"))
        self.assertEqual(500, talk.talk.failure.code)  # type: ignore[union-attr]

    def test_a_host_that_will_not_is_left(self) -> None:
        for greeting in ("554 no", "421 busy", "450 later"):
            talk = Talk()
            self.assertEqual(["QUIT"], talk.hear(greeting))
            self.assertEqual(Answer(int(greeting[:3]), f"{greeting[0]}.0.0", greeting[4:],
                                    "greeting"), talk.talk.failure)  # fmt: skip

    def test_offers_that_make_no_sense_are_none(self) -> None:
        reply = Reply(250, ("x", "SIZE many", "", "AUTH=LOGIN PLAIN", "SIZE"))
        offers = Offers.of(reply)
        self.assertEqual(0, offers.size_octets)
        self.assertEqual({"LOGIN", "PLAIN"}, offers.sign_in)


class TlsTests(SynchronousTestCase):
    def test_starttls_is_used_where_it_is_offered_and_ehlo_said_again(self) -> None:
        talk = Talk()
        talk.hear("220 remote.test")
        self.assertEqual(["STARTTLS"], talk.ehlo("STARTTLS", "SIZE 1"))
        talk.hear("220 Go ahead")
        self.assertIs(State.HANDSHAKE, talk.talk.state)
        talk.talk.secured()
        self.assertEqual(["EHLO mx.example.test"], talk.said())
        talk.ehlo("STARTTLS")
        self.assertIs(State.READY, talk.talk.state)
        self.assertEqual(0, talk.talk.offers.size_octets)

    def test_c04_octets_behind_the_reply_to_starttls_fail_the_connection(self) -> None:
        for behind in ("250 evil\r\n", "2"):
            talk = Talk()
            talk.hear("220 remote.test")
            talk.ehlo("STARTTLS")
            talk.talk.receive(b"220 Go ahead\r\n" + behind.encode())
            self.assertIs(State.CLOSED, talk.talk.state)
            self.assertEqual([], talk.said())
            failure = talk.talk.failure
            self.assertEqual((0, "STARTTLS"), (failure.code, failure.stage))  # type: ignore

    def test_c06_without_starttls_a_must_fails_for_now(self) -> None:
        talk = Talk(tls="must")
        talk.hear("220 remote.test")
        self.assertEqual([], talk.ehlo("SIZE 1"))
        failure = talk.talk.failure
        self.assertEqual((True, "STARTTLS"), (failure.temporary, failure.stage))  # type: ignore
        self.assertIs(State.CLOSED, talk.talk.state)

    def test_c06_a_refused_starttls_is_no_verdict_on_the_mail(self) -> None:
        for tls, state in (("must", State.CLOSED), ("may", State.READY)):
            talk = Talk(tls=tls)
            talk.hear("220 remote.test")
            talk.ehlo("STARTTLS")
            talk.hear("554 5.7.0 never")
            self.assertIs(state, talk.talk.state)
            if talk.talk.failure:
                self.assertTrue(talk.talk.failure.temporary)
            else:
                self.assertIn("554 5.7.0 never", talk.talk.tls_note)

    def test_c06_none_means_none(self) -> None:
        talk = Talk(tls="none")
        talk.hear("220 remote.test")
        self.assertEqual([], talk.ehlo("STARTTLS"))
        self.assertIs(State.READY, talk.talk.state)

    def test_c06_helo_is_no_way_around_tls(self) -> None:
        talk = Talk(tls="must")
        talk.hear("220 remote.test")
        self.assertEqual(["QUIT"], talk.hear("502 What?"))
        self.assertIs(State.CLOSED, talk.talk.state)


class SignInTests(SynchronousTestCase):
    login = Login("alice", "correct horse")

    def signing_in(self, *offers: str, **more: Any) -> tuple[Talk, list[str]]:
        talk = Talk(login=self.login, **more)
        talk.hear("220 remote.test")
        talk.ehlo("STARTTLS", *offers)
        talk.hear("220 Go ahead")
        talk.talk.secured()
        talk.said()
        return talk, talk.ehlo(*offers)

    def test_plain(self) -> None:
        talk, said = self.signing_in("AUTH LOGIN PLAIN")
        self.assertEqual([f"AUTH PLAIN {PLAIN.decode()}"], said)
        talk.hear("235 2.7.0 Welcome")
        self.assertIs(State.READY, talk.talk.state)

    def test_login(self) -> None:
        talk, said = self.signing_in("AUTH LOGIN XOAUTH2")
        self.assertEqual(["AUTH LOGIN"], said)
        self.assertEqual(["YWxpY2U="], talk.hear("334 VXNlcm5hbWU6"))
        self.assertEqual(["Y29ycmVjdCBob3JzZQ=="], talk.hear("334 UGFzc3dvcmQ6"))
        talk.hear("235 2.7.0 Welcome")
        self.assertIs(State.READY, talk.talk.state)

    def test_a_challenge_too_many_ends_it(self) -> None:
        talk, _ = self.signing_in("AUTH PLAIN")
        self.assertEqual([], talk.hear("334 "))
        self.assertEqual("AUTH", talk.talk.failure.stage)  # type: ignore[union-attr]

    def test_no_mechanism_of_ours(self) -> None:
        for offers in ((), ("AUTH CRAM-MD5",)):
            talk, said = self.signing_in(*offers)
            self.assertEqual([], said)
            self.assertEqual((0, "AUTH"), (talk.talk.failure.code, talk.talk.failure.stage))  # type: ignore

    def test_an_empty_password_hides_no_words_of_the_host(self) -> None:
        self.login = Login("alice", "")
        talk, _ = self.signing_in("AUTH PLAIN")
        talk.hear("535 5.7.8 No")
        self.assertEqual("535 5.7.8 No", str(talk.talk.failure))

    def test_c05_nothing_secret_goes_in_clear_whatever_is_wished(self) -> None:
        for tls in ("none", "may", "must"):
            for offers in (("AUTH PLAIN",), ("AUTH PLAIN", "STARTTLS")):
                talk = Talk(tls=tls, login=self.login)
                talk.hear("220 remote.test")
                said = [*talk.ehlo(*offers), *talk.hear("454 not today")]
                self.assertNotIn("AUTH", " ".join(said))
                self.assertIs(State.CLOSED, talk.talk.state)
                self.assertTrue(talk.talk.failure.temporary)  # type: ignore[union-attr]

    def test_c05_no_secret_stands_in_a_failure_or_a_repr(self) -> None:
        for echo in ("correct horse", PLAIN.decode(), "Y29ycmVjdCBob3JzZQ=="):
            talk, _ = self.signing_in("AUTH PLAIN")
            shown = f"{talk.talk!r} {self.login!r}"
            talk.hear(f"535 5.7.8 what is {echo}?")
            self.assertEqual((535, "5.7.8"),
                             (talk.talk.failure.code, talk.talk.failure.enhanced))  # fmt: skip # type: ignore
            shown += f"{talk.talk.failure!r} {talk.talk!r}"
            self.assertNotIn(echo, shown)

    def test_c05_nor_in_one_of_any_other_shape(self) -> None:
        echo = PLAIN.decode()
        for lines in (
            (echo,),  # no reply at all
            (f"535 5.7.8 {'x ' * 235}{echo}",),  # cut short within it
            ("235 2.7.0 Welcome", f"250 out of turn: {echo}"),
            ("235 2.7.0 Welcome", f"421 4.3.2 goodbye {echo}"),
        ):
            talk, _ = self.signing_in("AUTH PLAIN")
            talk.hear(*lines)
            self.assertIs(State.CLOSED, talk.talk.state)
            self.assertNotIn(echo[:12], f"{talk.talk.failure!r}")


class MailTests(SynchronousTestCase):
    def test_c07_a_host_that_pipelines_gets_the_envelope_at_once(self) -> None:
        talk = Talk(*ALL).ready()
        self.assertEqual(
            ["MAIL FROM:<a@s.test> SIZE=20", "RCPT TO:<b@r.test>", "RCPT TO:<c@r.test>", "DATA"],
            talk.begin("b@r.test", "c@r.test"),
        )
        talk.hear("250 ok", "250 ok", "550 5.1.1 no")
        self.assertIs(State.DATA, talk.talk.state)
        talk.hear("354 go")
        self.assertEqual(["Subject: a", "", "..dot", "."], talk.body())
        talk.hear("250 2.0.0 taken")
        self.assertEqual([(250, "dot"), (550, "RCPT")], talk.codes)
        self.assertIs(State.READY, talk.talk.state)

    def test_another_gets_one_command_at_a_time(self) -> None:
        talk = Talk().ready()
        self.assertEqual(["MAIL FROM:<>"], talk.begin("b@r.test", "c@r.test", sender=""))
        self.assertEqual(["RCPT TO:<b@r.test>"], talk.hear("250 ok"))
        self.assertEqual(["RCPT TO:<c@r.test>"], talk.hear("550 no"))
        self.assertEqual(["DATA"], talk.hear("251 elsewhere"))
        talk.hear("354 go")
        talk.body()
        talk.hear("450 later")
        self.assertEqual([(550, "RCPT"), (450, "dot")], talk.codes)

    def test_c07_all_that_is_offered_is_used(self) -> None:
        talk = Talk(*ALL).ready()
        bob = Target("bøb@r.test", "SUCCESS,DELAY", "rfc822;b+b=c@r.test")
        said = talk.begin(bob, eight_bit=True, ret="HDRS", envid="a b+c", smtputf8=True)
        self.assertEqual(
            [
                "MAIL FROM:<a@s.test> SIZE=20 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b+2Bc",
                "RCPT TO:<bøb@r.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bb+3Dc@r.test",
                "DATA",
            ],
            said,
        )

    def test_c07_nothing_is_said_that_is_not_offered(self) -> None:
        talk = Talk("PIPELINING").ready()
        bob = Target("b@r.test", "NEVER", "rfc822;b@r.test")
        said = talk.begin(bob, eight_bit=True, ret="FULL", envid="x")
        self.assertEqual(["MAIL FROM:<a@s.test>", "RCPT TO:<b@r.test>", "DATA"], said)

    def test_c07_smtputf8_that_is_needed_and_not_offered_is_permanent(self) -> None:
        never = [(553, "MAIL")]
        for more in ({"smtputf8": True}, {"sender": "ä@s.test"}):
            talk = Talk("PIPELINING").ready()
            self.assertEqual([], talk.begin(**more))
            self.assertEqual(never, talk.codes)
            self.assertEqual("5.6.7", talk.talk.answers()[0].enhanced)
            self.assertIs(State.READY, talk.talk.state)

    def test_c07_a_recipient_that_needs_smtputf8_does_not_fail_the_others(self) -> None:
        talk = Talk("PIPELINING").ready()
        said = talk.begin("ä@r.test", "b@r.test")
        self.assertEqual(["MAIL FROM:<a@s.test>", "RCPT TO:<b@r.test>", "DATA"], said)
        talk.hear("250 ok", "250 ok", "354 go")
        talk.body()
        talk.hear("250 ok")
        self.assertEqual([(553, "MAIL"), (250, "dot")], talk.codes)

    def test_c07_a_mail_larger_than_is_taken_is_not_begun(self) -> None:
        talk = Talk("SIZE 19").ready()
        self.assertEqual([], talk.begin())
        self.assertEqual("5.3.4", talk.talk.answers()[0].enhanced)
        self.assertTrue(talk.talk.answers()[0].permanent)

    def test_orcpt_beyond_ascii_goes_by_rfc_6533(self) -> None:
        talk = Talk("DSN", "SMTPUTF8").ready()
        talk.begin(Target("b@r.test", orcpt="utf-8;jörg+x@r.test"))
        self.assertEqual(
            ["RCPT TO:<b@r.test> ORCPT=utf-8;j\\x{F6}rg\\x{2B}x@r.test"], talk.hear("250 ok")
        )

    def test_xtext(self) -> None:
        self.assertEqual("a+20+2B+3D+C3+A4~!", xtext("a +=ä~!"))

    def test_a_control_octet_never_becomes_a_command(self) -> None:
        talk = Talk("DSN").ready()
        for target in (Target("b@r.test>\r\nRSET"), Target("b@r.test", "NEVER\r\nRSET")):
            self.assertRaises(ValueError, talk.begin, target)

    def test_mail_refused(self) -> None:
        talk = Talk().ready()
        talk.begin("b@r.test", "c@r.test")
        self.assertEqual([], talk.hear("451 4.3.0 not now"))
        self.assertEqual([(451, "MAIL")] * 2, talk.codes)
        self.assertIs(State.READY, talk.talk.state)

    def test_mail_refused_with_everything_sent(self) -> None:
        for data in ("503 no", "354 go"):
            talk = Talk("PIPELINING").ready()
            talk.begin("b@r.test", "c@r.test")
            said = talk.hear("550 5.7.1 no", "503 no", "250 what?", data)
            if data[0] == "3":
                self.assertEqual(["."], said)
                talk.hear("250 taken by nobody")
            self.assertEqual([(550, "MAIL")] * 2, talk.codes)
            self.assertTrue(talk.talk.usable)

    def test_nobody_taken_means_no_data(self) -> None:
        talk = Talk().ready()
        talk.begin()
        talk.hear("250 ok")
        self.assertEqual([], talk.hear("550 no"))
        self.assertEqual([(550, "RCPT")], talk.codes)
        self.assertEqual(["RSET"], talk.begin())
        self.assertEqual(["MAIL FROM:<a@s.test>"], talk.hear("250 ok"))

    def test_nobody_taken_with_data_sent_ends_with_an_empty_body(self) -> None:
        talk = Talk("PIPELINING").ready()
        talk.begin()
        self.assertEqual(["."], talk.hear("250 ok", "550 no", "354 go"))
        talk.hear("250 taken by nobody")
        self.assertEqual([(550, "RCPT")], talk.codes)
        self.assertIs(State.READY, talk.talk.state)

    def test_data_refused(self) -> None:
        for offers in ((), ("PIPELINING",)):
            talk = Talk(*offers).ready()
            talk.begin("b@r.test", "c@r.test")
            talk.hear("250 ok", "250 ok", "550 no", "451 4.3.0 full")
            self.assertEqual([(451, "DATA"), (550, "RCPT")], talk.codes)
            self.assertIs(State.STALE, talk.talk.state)

    def test_c07_rset_rides_with_the_next_mail(self) -> None:
        talk = Talk("PIPELINING").ready()
        talk.begin()
        talk.hear("250 ok", "250 ok", "451 full")
        said = talk.begin()
        self.assertEqual(["RSET", "MAIL FROM:<a@s.test>", "RCPT TO:<b@r.test>", "DATA"], said)
        talk.hear("250 reset", "250 ok", "250 ok", "354 go")
        self.assertIs(State.BODY, talk.talk.state)

    def test_a_refused_rset_bounces_nothing(self) -> None:
        talk = Talk().ready()
        talk.begin()
        talk.hear("250 ok", "550 no")
        talk.begin()
        talk.hear("550 no RSET here")
        self.assertTrue(talk.talk.answers()[0].temporary)
        self.assertIs(State.CLOSED, talk.talk.state)

    def test_lmtp_answers_for_each_behind_the_dot(self) -> None:
        talk = Talk("PIPELINING", lmtp=True).ready()
        talk.begin("b@r.test", "c@r.test", "d@r.test")
        talk.hear("250 ok", "250 ok", "550 no", "250 ok", "354 go")
        talk.body()
        talk.hear("250 filed")
        self.assertIs(State.DOT, talk.talk.state)
        talk.hear("452 4.2.2 full")
        self.assertEqual([(250, "dot"), (550, "RCPT"), (452, "dot")], talk.codes)

    def test_lmtp_lost_between_two_answers_keeps_the_first(self) -> None:
        talk = Talk("PIPELINING", lmtp=True).ready()
        talk.begin("b@r.test", "c@r.test")
        talk.hear("250 ok", "250 ok", "250 ok", "354 go")
        talk.body()
        talk.hear("250 filed")
        talk.talk.fail("lost")
        self.assertEqual([(250, "dot"), (0, "dot")], talk.codes)

    def test_421_ends_it_at_any_point_and_who_is_refused_stays_refused(self) -> None:
        talk = Talk("PIPELINING").ready()
        talk.begin("b@r.test", "c@r.test", "d@r.test")
        self.assertEqual(["QUIT"], talk.hear("250 ok", "550 5.1.1 no", "421 4.3.2 bye", "250 ok"))
        self.assertEqual([(550, "RCPT"), (421, "RCPT"), (421, "RCPT")], talk.codes)
        self.assertIs(State.CLOSED, talk.talk.state)

    def test_a_refusal_in_the_middle_of_the_body_counts(self) -> None:
        talk = Talk("PIPELINING").ready()
        talk.begin()
        talk.hear("250 ok", "250 ok", "354 go")
        talk.talk.send_body(b"a")
        talk.said()
        self.assertEqual([], talk.hear("552 5.3.4 too large"))
        self.assertEqual([(552, "DATA")], talk.codes)
        self.assertIs(State.CLOSED, talk.talk.state)

    def test_replies_out_of_turn_end_it_and_bounce_nothing(self) -> None:
        for lines in (["354 go"], ["250 ok", "354 go"], ["250 ok", "250 ok", "250 taken"]):
            talk = Talk("PIPELINING").ready()
            talk.begin()
            talk.hear(*lines)
            self.assertEqual(0, talk.talk.answers()[0].code)
            self.assertIs(State.CLOSED, talk.talk.state)
        talk = Talk().ready()
        talk.hear("250 for no command")
        self.assertFalse(talk.talk.usable)

    def test_quit(self) -> None:
        talk = Talk().ready()
        talk.talk.leave()
        self.assertEqual(["QUIT"], talk.said())
        talk.hear("221 bye")
        self.assertEqual((State.CLOSED, None), (talk.talk.state, talk.talk.failure))


class AnyTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from([250, 251, 220, 354, 334, 421, 450, 550, 0]), max_size=12),
        st.sampled_from([(), ("PIPELINING",)]),
        st.booleans(),
    )
    def test_whatever_is_said_every_recipient_has_one_answer_at_the_end(
        self, codes: list[int], offers: tuple[str, ...], lmtp: bool
    ) -> None:
        talk = Talk(*offers, lmtp=lmtp).ready()
        talk.begin("b@r.test", "c@r.test")
        dot = False
        for code in codes:
            if talk.talk.usable or talk.talk.state is State.CLOSED:
                break
            if code == 0 or talk.talk.state is State.BODY:
                if talk.talk.state is State.BODY:
                    dot = True
                    talk.body()
                continue
            talk.hear(f"{code} words")
        if not talk.talk.usable:
            talk.talk.fail("lost")
        answers = talk.talk.answers()
        self.assertEqual(2, len(answers))
        self.assertFalse(any(each.delivered for each in answers) and not dot)
