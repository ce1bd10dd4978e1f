"""`mailnode.telemetry`: each event is told once, nothing floods the log or breaks it."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mailnode import telemetry
from mailnode.events import Accepted, Delivered, Event, Queued, RefusedMail, SignedIn, SignInFailed
from mailnode.measures import describe_lessons
from mailnode.telemetry import LogWriter, MailLog, Metrics, log_to_people

ID = "01JABCDEFGHJKMNPQRSTVWXYZ0"


def accepted(**more: Any) -> Accepted:
    values: dict[str, Any] = {
        "at": 1.0,
        "mail_id": ID,
        "sender": "a@x.example",
        "client": "192.0.2.1",
        "detail": {"size_octets": 100},
    }
    return Accepted(**values | more)


def refused(client: str = "192.0.2.1", code: int = 550) -> RefusedMail:
    return RefusedMail(client=client, recipient="nobody@example.test", detail={"code": code})


class LoggedCase(SynchronousTestCase):
    """What the module logs goes to `self.logged`, and nowhere else."""

    def setUp(self) -> None:
        self.logged: list[dict[str, Any]] = []
        publisher = LogPublisher(self.logged.append)
        self.patch(telemetry, "_log", Logger(namespace="mailnode", observer=publisher))


class MailLogTests(LoggedCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.rows: list[Event] = []
        self.log = MailLog(self.clock, self.rows.extend)

    def lines(self) -> list[str]:
        return [mail.name for each in self.logged for mail in each["mails"]]

    def tell(self, event: Event) -> None:
        self.log.tell(event)
        self.clock.advance(telemetry.TOLD_AFTER_S)

    def test_an_event_is_counted_and_has_one_line(self) -> None:
        event = SignedIn(recipient="alice@example.test", client="192.0.2.1")
        self.tell(event)
        self.assertEqual({"signed-in": 1}, dict(self.log.counts))
        self.assertEqual([event], self.logged[0]["mails"])
        self.assertEqual(["signed-in"], self.lines())
        self.assertEqual([event], self.rows)

    def test_under_a_log_of_twisted_s_the_line_says_who(self) -> None:
        self.tell(SignedIn(client="192.0.2.1", detail={"account": "alice@example.test"}))
        self.assertEqual(
            "signed-in client=192.0.2.1 account=alice@example.test", formatEvent(self.logged[0])
        )

    def test_what_is_told_within_10_ms_is_one_event_of_the_log(self) -> None:
        for _ in range(3):
            self.log.tell(SignedIn(client="192.0.2.1"))
        self.assertEqual([], self.logged)
        self.clock.advance(0.01)
        self.assertEqual([3], [len(each["mails"]) for each in self.logged])
        self.assertEqual(3, len(self.rows))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_whoever_wants_to_read_what_was_told_has_it_told_now(self) -> None:
        self.log.tell(SignedIn(client="192.0.2.1"))
        self.log.tell_late()
        self.log.tell_late()
        self.assertEqual(["signed-in"], self.lines())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_stop_waits_for_no_other_event(self) -> None:
        self.log.tell(SignedIn(client="192.0.2.1"))
        self.log.flush()
        self.log.tell(SignedIn(client="192.0.2.2"))
        self.assertEqual(["signed-in"] * 2, self.lines())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_what_was_committed_is_not_journaled_again(self) -> None:
        self.log.committed([accepted()])
        self.assertEqual([], self.rows)

    def test_a_copy_is_counted_and_the_line_is_its_mail_s(self) -> None:
        self.log.committed([accepted(), Delivered(mail_id=ID), Delivered(mail_id=ID)])
        self.assertEqual({"accepted": 1, "delivered": 2}, dict(self.log.counts))
        self.assertEqual(["accepted"], self.lines())

    def test_a_queued_recipient_has_a_line_once_it_leaves_and_a_captured_one_at_once(self) -> None:
        self.log.committed([Queued(recipient="a@x.example")])
        self.assertEqual([], self.logged)
        self.log.committed([Queued(recipient="b@x.example", detail={"captured": True})])
        self.assertEqual(["queued"], self.lines())
        self.assertEqual({"queued": 2}, dict(self.log.counts))

    def test_octets_of_accepted_mail_add_up_whatever_a_part_of_others_says(self) -> None:
        self.log.committed([accepted(), accepted(detail={}), accepted(detail={"size_octets": "?"})])
        self.log.committed([accepted(detail={"size_octets": 11})])
        self.assertEqual(111, self.log.octets_accepted)

    def test_a_batch_is_one_event_of_the_log_with_each_mail_in_it(self) -> None:
        self.log.committed([accepted(), Delivered(), accepted(), Delivered(), accepted()])
        self.assertEqual(1, len(self.logged))
        self.assertEqual(["accepted"] * 3, self.lines())
        self.assertEqual(3, len(formatEvent(self.logged[0]).splitlines()))
        self.log.committed([Delivered()])
        self.assertEqual(1, len(self.logged))

    def test_ten_refusals_a_minute_of_one_client_are_told_and_the_rest_is_summed(self) -> None:
        for _ in range(25):
            self.tell(refused())
        self.assertEqual(["refused"] * 10, self.lines())
        self.assertEqual(10, len(self.rows))
        self.assertEqual(25, self.log.counts["refused"])
        self.clock.advance(60)
        self.tell(refused())
        self.assertEqual(["refused-more", "refused"], self.lines()[10:])
        summed = self.rows[10]
        self.assertEqual(("refused-more", "192.0.2.1"), (summed.name, summed.client))
        self.assertEqual({"refusals": 15}, dict(summed.detail))

    def test_ten_refusals_need_no_sum(self) -> None:
        for _ in range(10):
            self.tell(refused())
        self.log.flush()
        self.assertEqual(["refused"] * 10, self.lines())

    def test_a_stop_tells_what_was_summed_so_far(self) -> None:
        for _ in range(11):
            self.tell(refused())
        self.log.flush()
        self.log.flush()
        self.assertEqual(1, self.lines().count("refused-more"))

    def test_a_minute_that_is_over_is_summed_though_nobody_is_refused_any_more(self) -> None:
        for _ in range(12):
            self.tell(refused())
        self.log.each_second()
        self.assertNotIn("refused-more", self.lines())
        self.clock.advance(60)
        self.log.each_second()
        self.assertEqual(1, self.lines().count("refused-more"))

    def test_one_client_s_refusals_hide_nobody_else_s(self) -> None:
        for _ in range(30):
            self.tell(refused("192.0.2.1"))
        self.tell(refused("192.0.2.2"))
        self.assertEqual("192.0.2.2", self.logged[-1]["mails"][0].client)

    def test_a_64_of_ipv6_is_one_client(self) -> None:
        for host in range(30):
            self.tell(refused(f"2001:db8::{host:x}"))
        self.assertEqual(["refused"] * 10, self.lines())
        self.log.flush()
        self.assertEqual("2001:db8::/64", self.rows[-1].client)

    def test_failed_sign_ins_are_refusals(self) -> None:
        for _ in range(12):
            self.tell(SignInFailed(client="192.0.2.1", recipient="alice"))
        self.assertEqual(["sign-in-failed"] * 10, self.lines())

    def test_what_is_no_refusal_is_always_told(self) -> None:
        for _ in range(30):
            self.tell(SignedIn(client="192.0.2.1"))
        self.assertEqual(30, len(self.logged))

    def test_refusals_are_counted_by_code_told_or_not(self) -> None:
        for _ in range(20):
            self.tell(refused(code=550))
        self.tell(refused("192.0.2.2", code=452))
        self.assertEqual({"550": 20, "452": 1}, dict(self.log.refusals))

    def test_clients_past_those_that_are_told_apart_share_ten_lines(self) -> None:
        self.patch(telemetry, "MOST_ADDRESSES", 3)
        for host in range(40):
            self.tell(refused(f"192.0.2.{host}"))
        self.assertEqual(3 + 10, len(self.logged))
        self.log.flush()
        self.assertEqual(("others", {"refusals": 27}), (self.rows[-1].client, self.rows[-1].detail))


class Pipe(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


class NoReader(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class LogWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = Pipe()

    def logger(self, as_json: bool = False, **more: Any) -> Logger:
        writer = LogWriter(self.out, as_json=as_json, **more)
        return Logger(namespace="mailnode", observer=writer)

    def write(self, event: dict[str, Any], as_json: bool = False) -> str:
        values = {"log_level": LogLevel.info, "log_time": 1_700_000_000.25}
        LogWriter(self.out, as_json=as_json)(values | event)
        return self.out.getvalue()

    def row(self, event: dict[str, Any]) -> Any:
        return json.loads(self.write(event, as_json=True))

    def test_text_for_people_is_a_time_and_words(self) -> None:
        event = accepted(detail={"size_octets": 100, "subject": "Hello you", "empty": ""})
        self.assertEqual(
            f"2023-11-14T22:13:20.250Z accepted {ID} from=<a@x.example> client=192.0.2.1 "
            'size_octets=100 subject="Hello you"\n',
            self.write({"mails": [event]}),
        )

    def test_a_strangers_words_do_not_pass_for_another_field(self) -> None:
        line = self.write({"mails": [accepted(sender='"> to=<victim@v.example"@x.example')]})
        self.assertIn(r'from="<\"> to=<victim@v.example\"@x.example>"', line)

    def test_json_is_one_object_a_line(self) -> None:
        row = self.row({"mails": [accepted(recipient="b@example.test", folder_id=4)]})
        self.assertEqual(
            {
                "at": "2023-11-14T22:13:20.250Z", "event": "accepted", "mail_id": ID,
                "sender": "a@x.example", "recipient": "b@example.test", "client": "192.0.2.1",
                "size_octets": 100,
            },
            row,
        )  # fmt: skip

    def test_other_lines_have_a_level_and_a_message(self) -> None:
        self.logger(as_json=True).warn("{count} left", count=3)
        row = json.loads(self.out.getvalue())
        self.assertEqual(("warn", "3 left"), (row["level"], row["message"]))
        self.logger().error("it broke")
        self.assertTrue(self.out.getvalue().endswith("Z ERROR it broke\n"))

    def test_a_failure_comes_with_its_traceback(self) -> None:
        for as_json in (False, True):
            try:
                raise ValueError("in the works")
            except ValueError:
                self.logger(as_json).failure("a part broke")
            self.assertIn("a part broke", self.out.getvalue())
            self.assertIn("ValueError: in the works", self.out.getvalue())

    def test_the_dialog_is_never_logged(self) -> None:
        event = refused()
        event.detail["dialog"] = "C: AUTH PLAIN secret"  # type: ignore[index]
        self.write({"mails": [event]})
        self.write({"mails": [event]}, as_json=True)
        self.assertIn("550", self.out.getvalue())
        self.assertNotIn("dialog", self.out.getvalue())
        self.assertNotIn("secret", self.out.getvalue())

    def test_no_control_characters_of_a_client_get_through(self) -> None:
        nasty = "x\r\n2023 accepted \x1b[2Jforged\x00\x85\u2028\u202e"
        event = RefusedMail(recipient="x\n2023", detail={"helo": nasty})
        for as_json in (False, True):
            self.write({"mails": [event]}, as_json)
            self.logger(as_json).warn("a client said {what}", what=nasty)
        said = self.out.getvalue()
        self.assertEqual(4, said.count("forged"))
        for character in "\r\x1b\x00\x85\u2028\u202e":
            self.assertNotIn(character, said)
        for line in said.splitlines():
            self.assertFalse(line.startswith("2023 "), line)
        self.assertEqual(5, len(said.splitlines()))

    def test_what_the_encoding_of_the_log_lacks_is_written_all_the_same(self) -> None:
        octets = io.BytesIO()
        self.out = io.TextIOWrapper(octets, "latin-1")  # type: ignore[assignment]
        self.logger().warn("alias {name} \udc80", name="\u4f60\u597d")
        self.assertIn(rb"alias \u4f60\u597d ?", octets.getvalue())

    def test_nothing_in_an_event_can_make_it_raise(self) -> None:
        for as_json in (False, True):
            writer = LogWriter(self.out, as_json=as_json)
            for event in (
                {},
                {"log_level": None, "log_time": 0.0},
                {"log_level": LogLevel.info},
                {"log_level": LogLevel.info, "log_time": "now"},
                {"log_level": LogLevel.info, "log_time": 0.0, "log_format": "{a.b.c}", "a": 1},
                {"log_level": LogLevel.warn, "log_time": 0.0, "log_failure": "no failure"},
                {"log_level": LogLevel.info, "log_time": 0.0, "log_format": "{it}",
                 "it": Unprintable()},
                {"log_level": LogLevel.info, "log_time": 0.0,
                 "mails": [accepted(detail={"size": Unprintable(), (1, 2): "no key"})]},
            ):  # fmt: skip
                before = self.out.getvalue().count("\n")
                writer(event)
                self.assertLess(before, self.out.getvalue().count("\n"), event)
                if as_json:
                    json.loads(self.out.getvalue().splitlines()[-1])

    def test_nobody_at_the_other_end_is_no_error(self) -> None:
        LogWriter(NoReader(), as_json=False)({"log_level": LogLevel.info, "log_time": 0.0})
        closed = io.StringIO()
        closed.close()
        LogWriter(closed, as_json=True)({"log_level": LogLevel.info, "log_time": 0.0})

    def test_lower_levels_are_passed_over(self) -> None:
        self.logger().debug("too small to tell")
        self.assertEqual("", self.out.getvalue())
        self.logger(level=LogLevel.debug).debug("small")
        self.assertIn("small", self.out.getvalue())
        self.logger(level=LogLevel.error).warn("a warning")
        self.assertNotIn("a warning", self.out.getvalue())

    def test_a_batch_s_lines_are_flushed_once(self) -> None:
        self.write({"mails": [accepted(), accepted(), accepted()]})
        self.assertEqual(3, self.out.getvalue().count("\n"))
        self.assertEqual(1, self.out.flushes)

    def test_a_line_that_can_t_be_written_hides_no_other_of_its_batch(self) -> None:
        bad = accepted(detail={"size": Unprintable()})
        for as_json in (False, True):
            lines = self.write({"mails": [accepted(), bad, accepted()]}, as_json).splitlines()[-3:]
            self.assertIn(ID, lines[0])
            self.assertIn("could not be written", lines[1])
            self.assertIn(ID, lines[2])

    def test_twisted_s_chatter_is_passed_over_but_not_its_errors(self) -> None:
        for text in (
            "SmtpFactory starting on 2525",
            "Starting factory <SmtpFactory>",
            "Stopping factory <SmtpFactory>",
            "(TCP Port 2525 Closed)",
        ):
            self.write({"log_namespace": "log_legacy", "log_format": text})
        self.write({"log_namespace": "twisted.internet.udp.Port", "log_format": "starting"})
        self.assertEqual("", self.out.getvalue())
        self.write({"log_namespace": "log_legacy", "log_format": "Server Shut Down."})
        self.write({"log_namespace": "twisted.web", "log_format": "bad",
                    "log_level": LogLevel.critical})  # fmt: skip
        self.assertEqual(2, self.out.getvalue().count("\n"))


class PeopleTests(SynchronousTestCase):
    def test_a_terminal_is_for_people_and_anything_else_is_not(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        closed = Terminal()
        self.assertTrue(log_to_people(closed))
        self.assertFalse(log_to_people(io.StringIO()))
        self.assertFalse(log_to_people(object()))  # type: ignore[arg-type]


class MetricsTests(SynchronousTestCase):
    def test_the_page_has_each_measure_as_it_is_now(self) -> None:
        metrics, counts = Metrics(), {'event="b"': 2, 'event="a"': 1}
        metrics.counter("x_events_total", "what happened", lambda: counts)
        metrics.gauge("x_open", "open things", lambda: 3)
        counts['event="c"'] = 7
        self.assertEqual(
            "# HELP x_events_total what happened\n# TYPE x_events_total counter\n"
            'x_events_total{event="a"} 1\nx_events_total{event="b"} 2\n'
            'x_events_total{event="c"} 7\n'
            "# HELP x_open open things\n# TYPE x_open gauge\nx_open 3\n",
            metrics.text(),
        )
        self.assertEqual(
            [("x_events_total", "what happened"), ("x_open", "open things")], metrics.names()
        )

    def test_what_was_learned_is_told_by_kind_and_nothing_of_an_age_before_the_first(self) -> None:
        metrics, last_at = Metrics(), list[float]()
        describe_lessons(
            metrics,
            lessons=lambda: {("page", "unwanted"): 3, ("forgotten", "wanted"): 1},
            last_at=lambda: last_at[0] if last_at else None,
            known=lambda: (5, 7),
            octets=lambda: 4711,
            now=lambda: 1000.0,
        )
        self.assertNotIn("\nmailnode_lesson_age_seconds", metrics.text())
        last_at.append(940.0)
        told = metrics.text()
        for line in (
            'mailnode_lessons_total{by="page",kind="spam"} 3',
            'mailnode_lessons_total{by="forgotten",kind="ham"} 1',
            "mailnode_lesson_age_seconds 60.0",
            'mailnode_model_lessons{kind="ham"} 5',
            'mailnode_model_lessons{kind="spam"} 7',
            "mailnode_model_octets 4711",
        ):
            self.assertIn(f"\n{line}\n", told)
