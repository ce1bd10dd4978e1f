"""Pages for administrators: the queue, the journal, sessions and the last hour."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.task import Clock

from mailnode.addresses import parse_address
from mailnode.admission import Sessions
from mailnode.events import Accepted, Bounced, Delivered, Moved, Queued, RefusedMail
from mailnode.routes import Gear
from mailnode.timings import LABELS
from mailnode.web.figures import KEPT, Figures
from mailnode.web.templates import when
from tests.unit.admin_case import AdminCase
from tests.unit.web_case import AT

ID = "01JD3V8Q6ZK7M2T9X4B5C6D7E8"
OTHER = "01JD3V8Q6ZK7M2T9X4B5C6D7E9"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


class QueueTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()
        self.dave = self.put_queued("dave@example.net", last_reply="451 greylisted", attempts=1)
        self.erin = self.put_queued("erin@example.net")
        self.frank = self.put_queued("frank@example.com", "held")

    def test_rows_are_found_by_state_destination_and_reply(self) -> None:
        self.put_queued("x@example.org", "captured")
        for query, found in (
            ("", "dave erin frank"),
            ("state=held", "frank"),
            ("state=captured", "x"),
            ("domain=Example.NET", "dave erin"),
            ("recipient=erin@example.net", "erin"),
            ("sender=alice@example.test", "dave erin frank"),
            ("sender=%3C%3E", ""),
            ("reply=GREY", "dave"),
        ):
            page = self.ask(f"/admin/queue?{query}").text
            shown = re.findall(r"Choose the row to (\w+)@", page)
            self.assertEqual(found.split(), shown, query)

    def test_what_is_no_filter_is_told_at_its_field(self) -> None:
        reply = self.ask("/admin/queue?domain=a+b&state=waiting")
        self.assertEqual(422, reply.status)
        self.assertIn('id="domain-help" class="fault"', reply.text)
        self.assertIn('value="a b"', reply.text)

    def test_chosen_rows_are_held_released_and_retried_and_others_are_not(self) -> None:
        self.sent("/admin/queue/change", do="hold", row=[self.dave, self.frank])
        self.assertEqual("held", self.states()["dave@example.net"])
        self.assertEqual("waiting", self.states()["erin@example.net"])
        self.assertIn("left alone: held", self.says())
        self.sent("/admin/queue/change", do="release", row=[self.frank])
        self.assertEqual("waiting", self.states()["frank@example.com"])
        self.sent("/admin/queue/change", do="retry", row=[self.erin])
        due = self.mail.execute("SELECT due_at FROM queue WHERE id = ?", (self.erin,)).fetchone()
        self.assertEqual((AT,), due)
        self.assertEqual([("hold", "alice@example.test", ""), ("release", "alice@example.test", ""),
                          ("retry", "alice@example.test", "")], self.done)  # fmt: skip

    def test_all_that_fit_the_filters_are_meant_where_that_is_said(self) -> None:
        reply = self.sent("/admin/queue/change", do="hold", all="yes", domain="example.net")
        self.assertEqual("/admin/queue?domain=example.net", reply.header("location"))
        self.assertEqual({"dave@example.net": "held", "erin@example.net": "held",
                          "frank@example.com": "held"}, self.states())  # fmt: skip

    def test_nothing_chosen_changes_nothing_and_says_so(self) -> None:
        self.sent("/admin/queue/change", do="hold")
        self.assertIn("Choose rows first", self.says())
        self.assertEqual([], self.done)

    def test_a_drop_asks_first(self) -> None:
        asked = self.sent("/admin/queue/change", do="drop", row=[self.dave, self.erin])
        self.assertIn("2 recipients goes for good", asked.text)
        self.assertEqual(3, len(self.states()))
        fields = dict(
            re.findall(r'<input type="hidden" name="(do|back|sure)" value="([^"]*)"', asked.text)
        )
        rows = re.findall(r'<input type="hidden" name="row" value="(\d+)"', asked.text)
        self.sent("/admin/queue/change", **fields, row=rows)
        self.assertEqual(["frank@example.com"], list(self.states()))

    def test_all_is_kept_through_the_question(self) -> None:
        asked = self.sent("/admin/queue/change", do="drop", all="yes", domain="example.net").text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked)
        fields = {name: value for name, value in hidden if name != "csrf"}
        kept = {name: fields[name] for name in ("do", "all", "domain", "sure")}
        wanted = {"do": "drop", "all": "yes", "domain": "example.net", "sure": "yes"}
        self.assertEqual(wanted, kept)
        self.sent("/admin/queue/change", **fields)
        self.assertEqual(["frank@example.com"], list(self.states()))

    def test_a_bounce_needs_a_reason_of_one_line(self) -> None:
        asked = self.sent("/admin/queue/change", do="bounce", row=[self.dave])
        self.assertIn('name="reason"', asked.text)
        for wrong in ("  ", "x" * 501, "a\0b"):
            reply = self.sent(
                "/admin/queue/change", do="bounce", row=self.dave, sure="yes", reason=wrong
            )
            self.assertEqual(422, reply.status)
            self.assertIn('id="reason-help" class="fault"', reply.text)
        self.assertEqual([], self.done)
        self.sent("/admin/queue/change", do="bounce", row=self.dave, sure="yes", reason="We  moved")
        self.assertEqual([("bounce", "alice@example.test", "We moved")], self.done)

    def test_rows_that_are_none_are_refused(self) -> None:
        for fields in ({"do": "burn", "row": "1"}, {"do": "hold", "row": "x"},
                       {"do": "hold", "all": "yes", "state": "odd"}):  # fmt: skip
            self.assertEqual(400, self.sent("/admin/queue/change", **fields).status)
        self.assertEqual([], self.done)

    def test_back_leads_to_pages_of_ours_alone(self) -> None:
        for said in ("https://example.org/", "//example.org", "/sign-out", "/admin/queue\nX: y"):
            reply = self.sent("/admin/queue/change", do="retry", row=self.dave, back=said)
            self.assertEqual("/admin/queue", reply.header("location"))

    def test_a_long_queue_goes_on_behind_its_last_row(self) -> None:
        for number in range(120):
            self.put_queued(f"u{number}@example.org")
        first = self.ask("/admin/queue").text
        link = re.search(r'href="(/admin/queue\?after=\d+)" rel="next"', first)
        assert link is not None
        second = self.ask(link[1]).text
        self.assertIn("u119@", second)
        self.assertNotIn("dave@", second)

    def test_a_row_says_all_that_is_known_of_it(self) -> None:
        page = self.ask(f"/admin/queue/{self.dave}").text
        for words in ("451 greylisted", "alice@example.test", "Invoice"):
            self.assertIn(words, page)
        self.assertEqual(404, self.ask("/admin/queue/99").status)

    def test_what_a_remote_host_said_is_escaped(self) -> None:
        row = self.put_queued("x@example.org", last_reply=HOSTILE, subject=HOSTILE)
        for path in ("/admin/queue", f"/admin/queue/{row}"):
            self.assertNotIn("<script>alert", self.ask(path).text)
            self.assertNotIn("<img src=x", self.ask(path).text)

    def test_numbers_that_no_row_can_have_are_none(self) -> None:
        huge = "9" * 40
        for path in (f"queue/{huge}", f"accounts/{huge}"):
            self.assertEqual(404, self.ask(f"/admin/{path}").status, path)
        for query in (f"queue?after={huge}", f"journal?before={huge}", f"accounts?after={huge}"):
            self.assertEqual(200, self.ask(f"/admin/{query}").status, query)
        self.assertEqual(400, self.sent("/admin/queue/change", do="hold", row=huge).status)


class JournalTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()
        self.tell(
            Accepted(at=AT - 9, mail_id=ID, sender="shop@example.net", client="192.0.2.7",
                     detail={"size_octets": 10, "protocol": "ESMTPS", "tls": "TLSv1.3",
                             "dialog": "S: 220 hello\nC: EHLO x"}),
            Delivered(at=AT - 9, mail_id=ID, recipient="bob@example.test", folder_id=1, uid=4),
            Queued(at=AT - 9, mail_id=ID, recipient="dave@example.net"),
            Bounced(at=AT - 1, mail_id=ID, recipient="dave@example.net",
                    detail={"host": "mx.example.net", "reply": "550 no such user"}),
            RefusedMail(at=AT, sender="spam@example.org", recipient="x@example.test",
                        client="192.0.2.8",
                        detail={"stage": "rcpt", "code": 550, "enhanced": "5.1.1",
                                "text": "No such user here"}),
        )  # fmt: skip

    def test_why_a_mail_was_refused_stands_in_the_list(self) -> None:
        page = self.ask("/admin/journal").text
        for words in ("Refused at RCPT", "x@example.test", "550 5.1.1 No such user here"):
            self.assertIn(words, page)

    def test_it_is_found_by_anything(self) -> None:
        for query, is_there in (
            ("q=spam@example.org", True),
            ("q=no+such+user+here", True),
            ("q=192.0.2.8", True),
            ("client=192.0.2.8", True),
            ("sender=%3Cspam@EXAMPLE.org%3E", True),
            ("recipient=x@example.test&outcome=refused", True),
            ("outcome=bounced", False),
            ("q=shop@example.net", False),
            ("since=2001-01-01T00:00&until=2001-01-02T00:00", False),
        ):
            page = self.ask(f"/admin/journal?{query}")
            self.assertEqual(200, page.status)
            self.assertEqual(is_there, "No such user here" in page.text, query)

    def test_a_mails_id_leads_to_its_life(self) -> None:
        reply = self.ask(f"/admin/journal?q={ID.lower()}")
        self.assertEqual(f"/admin/journal/{ID}", reply.header("location"))
        page = self.ask(f"/admin/journal/{ID}").text
        for words in ("accepted from shop@example.net", "bob@example.test as uid 4",
                      "550 no such user", "C: EHLO x"):  # fmt: skip
            self.assertIn(words, page)
        self.assertEqual(404, self.ask(f"/admin/journal/{'0' * 26}").status)
        self.assertEqual(404, self.ask("/admin/journal/nothing").status)

    def test_the_list_says_what_became_of_each_recipient(self) -> None:
        page = self.ask("/admin/journal?q=shop@example.net").text
        self.assertIn('class="state delivered"', page)
        self.assertIn("given up for dave@example.net", page)

    def test_the_list_tells_the_last_that_happened_with_its_time(self) -> None:
        day = 86400.0
        self.tell(
            RefusedMail(at=AT + day, mail_id=OTHER, sender="slow@example.org",
                        recipient="y@example.test", client="192.0.2.8",
                        detail={"stage": "rcpt", "code": 450, "text": "Come back later"}),
            Delivered(at=AT + day, mail_id=OTHER, recipient="bob@example.test", folder_id=1, uid=5),
            Moved(at=AT + 9 * day, mail_id=OTHER, recipient="bob@example.test", folder_id=2, uid=1,
                  detail={"from_folder": "INBOX", "from_uid": 5, "to_folder": "Bills"}),
        )  # fmt: skip
        page = self.ask("/admin/journal?q=slow@example.org").text
        head, refused, moved = re.findall(r"<p.*?</p>", page.partition('class="stories"')[2])[:3]
        self.assertIn(when(AT + 9 * day), head)
        self.assertIn(when(AT + day), refused)
        self.assertIn("Come back later", refused)
        self.assertIn("Bills", moved)
        self.assertNotIn("UTC", moved)
        page = self.ask("/admin/journal?q=shop@example.net").text
        told = re.findall(r"<p.*?</p>", page.partition('class="stories"')[2].partition("</li>")[0])
        self.assertEqual(1, len(told), told)  # each recipient's fate says it

    def test_a_mail_that_never_was_here_is_not_called_one_that_is_gone(self) -> None:
        self.tell(RefusedMail(at=AT, mail_id=OTHER, sender="a@example.org", detail={"code": 550}))
        for mail_id, heading in (
            (OTHER, "A refused mail"),
            (ID, "A mail whose subject is not here"),
        ):
            page = self.ask(f"/admin/journal/{mail_id}").text
            self.assertIn(f">{heading}</h1>", page)

    def test_what_is_no_time_or_address_is_told_at_its_field_and_kept(self) -> None:
        for name, wrong in (("since", "yesterday"), ("until", "9999-99-99"), ("client", "host"),
                            ("outcome", "odd")):  # fmt: skip
            reply = self.ask(f"/admin/journal?{name}={wrong}&subject=kept")
            self.assertEqual(422, reply.status, name)
            self.assertIn('class="fault"', reply.text)
            self.assertIn('value="kept"', reply.text)
        backwards = self.ask("/admin/journal?since=2027-01-02T00:00&until=2027-01-01T00:00")
        self.assertEqual(422, backwards.status)

    def test_older_ones_are_a_link_away(self) -> None:
        for number in range(120):
            self.tell(RefusedMail(at=AT, sender=f"s{number}@example.org", detail={"code": 550}))
        path, seen = "/admin/journal", ""
        for _ in range(9):
            page = self.ask(path).text
            seen += page
            link = re.search(r'href="(/admin/journal\?before=\d+)"', page)
            if link is None:
                break
            path = link[1]
        self.assertEqual(120, len(set(re.findall(r"from (s\d+)@example.org<", seen))))
        self.assertIn("No such user here", seen)

    def test_what_strangers_said_is_escaped(self) -> None:
        self.tell(RefusedMail(at=AT, sender=HOSTILE, client="192.0.2.9",
                              detail={"text": HOSTILE, "helo": HOSTILE}))  # fmt: skip
        page = self.ask("/admin/journal").text
        self.assertNotIn("<script>alert", page)
        self.assertNotIn("<img src=x", page)


class Seated:
    """A session as `Sessions` asks it."""

    def __init__(self, account: str = "") -> None:
        self.account, self.peer_host, self.began_s = account, "192.0.2.7", 0.0

    def tls_name(self) -> str:
        return "TLSv1.3 AES"


class SessionTests(AdminCase):
    def test_who_is_connected_stands_there(self) -> None:
        self.sign_in()
        clock = Clock()
        self.sessions |= {name: Sessions(clock) for name in ("smtp", "pop3")}
        somebody: Any = Seated("bob@example.test")
        self.sessions["pop3"].admit(somebody, "192.0.2.7", False)
        clock.advance(75)
        page = self.ask("/admin/sessions").text
        for words in ("POP3: 1 open", "bob@example.test", "192.0.2.7", "TLSv1.3 AES", "1m 15s"):
            self.assertIn(words, page)
        self.assertIn("SMTP: 0 open", page)

    def test_those_of_other_processes_are_counted(self) -> None:
        self.sign_in()
        self.values["mailnode_sessions"] = {'server="smtp"': 12}
        page = self.ask("/admin/sessions").text
        self.assertIn("SMTP: 12 open", page)
        self.assertIn("not listed", page)


class DashboardTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def figures_now(self, after: float = 0) -> Any:
        return json.loads(self.ask(f"/admin/figures?after={after}").body)

    def take(self, accepted: int = 0, took_s: float = 0.0, **more: Any) -> None:
        within = dict.fromkeys(LABELS, 0) | {label: accepted for label in LABELS[3:]}
        self.values.clear()
        self.values |= {
            "mailnode_events_total": {'event="accepted"': accepted},
            "mailnode_accepted_within_total": within,
            "mailnode_accept_seconds_total": took_s,
            "mailnode_queue_recipients": {'state="waiting"': 3, 'state="captured"': 9},
            "mailnode_queue_oldest_seconds": 7.5,
            "mailnode_sessions": {'server="smtp"': 2, 'server="http"': 5},
        } | more
        self.figures.sample()

    def test_rates_are_what_lies_between_two_samples(self) -> None:
        self.take(accepted=10)
        self.now += 5
        self.take(accepted=20, took_s=0.05)
        said = self.figures_now()
        row = dict(zip(said["names"], said["rows"][0][1:], strict=True))
        self.assertEqual(
            {"accepted": 120.0, "queue": 3.0, "oldest": 7.5, "sessions": 2.0, "took": 5.0,
             "took99": 10.0},
            {name: row[name] for name in
             ("accepted", "queue", "oldest", "sessions", "took", "took99")},
        )  # fmt: skip

    def test_nothing_that_came_took_no_time_and_json_has_no_nan(self) -> None:
        for _ in range(2):
            self.take(accepted=10)
            self.now += 5
        self.assertIsNone(self.figures_now()["rows"][0][-1])

    def test_only_what_is_newer_is_told_again(self) -> None:
        for _ in range(4):
            self.take()
            self.now += 5
        rows = self.figures_now()["rows"]
        self.assertEqual(3, len(rows))
        self.assertEqual(rows[2:], self.figures_now(rows[1][0])["rows"])
        for odd in ("x", "nan", "inf", "1e999"):
            self.assertEqual(200, self.ask(f"/admin/figures?after={odd}").status)

    def test_an_hour_is_kept_and_no_more(self) -> None:
        figures = Figures(lambda: {}, lambda: self.now)
        for _ in range(KEPT + 50):
            figures.sample()
            self.now += 5
        self.assertEqual(KEPT, len(figures.since(0)))

    def test_a_counter_that_shrank_is_no_negative_rate(self) -> None:
        self.take(accepted=10)
        self.now += 5
        self.take(accepted=4)
        self.assertEqual(0.0, self.figures_now()["rows"][0][1])

    def test_each_fault_has_its_mend(self) -> None:
        self.assertIn("Nothing is wrong", self.ask("/admin").text)
        self.faults |= {"disk": "full", "worker 2": "it does not answer", "worker 1, store": "odd"}
        page = self.ask("/admin").text
        for words in ("full", "Make room on the disk", "it does not answer", "mailnode verify"):
            self.assertIn(words, page)
        self.assertEqual(3, len(self.figures_now()["faults"]))

    def test_published_passwords_and_unsigned_mail_are_called_out(self) -> None:
        self.users.add_account(parse_address("demo@example.test"), "h", demo=True)
        self.users.outside.set_gear(Gear("live"))
        self.take_up()
        page = self.ask("/admin").text
        self.assertIn("The passwords of demo@example.test are published", page)
        self.assertIn("mailnode dkim generate example.test", page)
        self.assertIn("mailnode gear set capture", page)
