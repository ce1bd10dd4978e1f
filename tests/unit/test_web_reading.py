"""`mailnode.web.pages.reading` and what it is made of: what is shown of a mail, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading.parts import parts_of
from mailnode.web.letters import LOOK_S, Letter, Letters
from mailnode.web.outflow import PIECE_OCTETS, pour, pours
from mailnode.web.pages.mail_files import KEY_S, Keys, disposition, file_name, find_piece
from mailnode.web.pages.mail_view import SHOWN_FILES, View, frame_mail, print_mail, view_mail
from mailnode.web.pages.originals import offered_of
from mailnode.web.refusals import TakesTooLong

HASH = b"\x0a" * 32
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def a_mail(text: str = "Hello", **fields: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = fields.pop("sender", "Bob <bob@example.test>")
    for name, value in fields.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail


def view(
    raw: bytes | EmailMessage, of: str = "", wanted: str = "", all_files: bool = False
) -> View:
    octets = raw if isinstance(raw, bytes) else bytes(raw)
    found = view_mail(octets, of, wanted, all_files, lambda path: f"/cid/{path}", ["example.test"])
    assert found is not None
    return found


class ViewTests(SynchronousTestCase):
    def test_people_date_and_text_are_those_of_the_mail(self) -> None:
        mail = a_mail("One\nTwo", To="A <a@b.example>, c@d.example", Subject="Hi")
        seen = view(b"Date: x\r\n" + bytes(mail))
        self.assertEqual((("Bob", "bob@example.test"),), seen.senders)
        self.assertEqual((("A", "a@b.example"), ("", "c@d.example")), seen.to)
        self.assertEqual("Hi", seen.summary.subject)
        self.assertEqual((None, "x"), (seen.summary.sent_at, seen.date))
        self.assertEqual("One\nTwo\n", "".join(words for words, _link in seen.text))
        self.assertIsNone(seen.cleaned)

    def test_a_file_has_the_size_that_is_saved_wherever_it_is_named(self) -> None:
        for octets, words in (
            (b"x", "1 B"),
            (b"x" * 1000, "1000 B"),
            (b"x" * (1 << 20), "1.0 MiB"),
        ):
            mail = a_mail()
            mail.add_attachment(octets, maintype="application", subtype="pdf", filename="a.pdf")
            mail.add_attachment("é" * 60, filename="b.txt", cte="quoted-printable")
            self.assertEqual([words, "121 B"], [each.size for each in view(mail).files])
            offered = [each.size_octets for each in offered_of(parts_of(bytes(mail)))]
            self.assertEqual([len(octets), 121], offered)

    def test_addresses_of_the_web_in_a_text_are_links_without_what_stands_behind(self) -> None:
        seen = view(a_mail("see (https://a.example/x?y=1), or http://b.example."))
        self.assertEqual(
            ["https://a.example/x?y=1", "http://b.example"], [link for _, link in seen.text if link]
        )
        self.assertEqual(
            "see (https://a.example/x?y=1), or http://b.example.\n",
            "".join(words for words, _link in seen.text),
        )

    def test_html_is_shown_where_there_is_some_and_text_where_it_is_asked_for(self) -> None:
        mail = a_mail("plain words")
        mail.add_alternative("<p>rich words</p>", subtype="html")
        shown = view(mail)
        assert shown.cleaned is not None
        self.assertIn("rich words", shown.cleaned.html)
        asked = view(mail, wanted="text")
        self.assertIsNone(asked.cleaned)
        self.assertEqual("plain words\n", asked.text[0][0])

    def test_the_text_of_a_mail_that_has_html_alone_is_made_of_that(self) -> None:
        raw = b"Content-Type: text/html\r\n\r\n<p>only <b>this</b></p>"
        self.assertEqual((("only this", ""),), view(raw, wanted="text").text)

    def test_whatever_is_not_shown_is_among_the_files(self) -> None:
        mail = a_mail("body")
        mail.add_attachment(b"BEGIN:VCALENDAR", "text", "calendar")
        mail.add_attachment(PNG, "image", "png", filename="a.png")
        mail.add_attachment("more text", disposition="inline")
        inner = a_mail("inner", Subject="The inner one")
        mail.add_attachment(inner)
        files = view(mail).files
        self.assertEqual(
            [
                ("2", "part 2", "text/calendar", False, False),
                ("3", "a.png", "image/png", True, False),
                ("4", "part 4", "text/plain", False, False),
                ("5", "The inner one", "message/rfc822", False, True),
            ],
            [(each.path, each.name, each.kind, each.is_picture, each.is_mail) for each in files],
        )

    def test_a_picture_of_the_page_is_no_file_and_is_loaded_by_its_path(self) -> None:
        mail = a_mail("x")
        mail.add_alternative('<img src="cid:p@x">', subtype="html")
        related: Any = mail.get_payload()[1]
        related.add_related(PNG, "image", "png", cid="<p@x>")
        seen = view(mail)
        self.assertEqual((), seen.files)
        assert seen.cleaned is not None
        self.assertIn('src="/cid/2.2"', seen.cleaned.html)

    def test_of_many_files_the_first_are_shown_and_the_others_when_they_are_asked_for(self) -> None:
        part = b"--b\r\nContent-Type: application/x; name=f\r\n\r\nx\r\n"
        raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 300 + b"--b--\r\n"
        seen = view(raw)
        self.assertEqual((SHOWN_FILES, 100), (len(seen.files), seen.more_files))
        seen = view(raw, all_files=True)
        self.assertEqual((300, 0), (len(seen.files), seen.more_files))

    def test_an_attached_mail_is_shown_as_one_and_its_parts_are_counted_from_outside(self) -> None:
        inner = a_mail("inner words", Subject="Inner")
        inner.add_attachment(PNG, "image", "png", filename="a.png")
        outer = a_mail("outer words")
        outer.add_attachment(inner)
        seen = view(outer, of="2")
        self.assertEqual("Inner", seen.summary.subject)
        self.assertEqual("inner words\n", seen.text[0][0])
        (file,) = seen.files
        self.assertEqual("2.2", file.path)
        piece = find_piece(bytes(outer), file.path)
        assert piece is not None
        self.assertEqual(("a.png", "image/png"), (piece.name, piece.picture))

    def test_a_part_that_is_no_mail_is_not_opened_as_one(self) -> None:
        for of in ("1", "7", "x"):
            self.assertIsNone(view_mail(bytes(a_mail()), of, "", False, str, ()))

    def test_a_multipart_without_its_parts_is_shown_as_text(self) -> None:
        raw = b"Content-Type: multipart/mixed\r\n\r\nwords all the same\r\n"
        self.assertIn("words all the same", view(raw).text[0][0])

    def test_a_mail_of_nothing_has_a_view(self) -> None:
        for raw in (b"", b"\r\n", b"\0", b"Subject: x"):
            self.assertEqual((), view(raw).files)

    def test_who_pretends_to_be_another_is_called_out(self) -> None:
        mail = a_mail(sender='"bank@example.test" <evil@far.example>')
        (caution,) = view(mail).cautions
        self.assertIn("evil@far.example", caution.words)

    def test_what_is_not_proved_to_be_from_whom_it_says_is_told(self) -> None:
        mail = bytes(a_mail(sender="Ann <ann@gmail.example>"))
        for told, says in (
            ("mx.example.test; spf=none; dmarc=fail header.from=gmail.example", True),
            ("mx.example.test;\r\n\tspf=pass; dkim=none;\r\n\tdmarc=fail reason=x", True),
            ("mx.example.test; dmarc=pass header.from=gmail.example", False),
            ("mx.example.test; dmarc=none", False),
            ("mx.other.test; dmarc=fail", False),  # of somebody else's
        ):
            octets = f"Authentication-Results: {told}\r\n".encode() + mail
            seen = view_mail(octets, "", "", False, str, (), "mx.example.test")
            assert seen is not None
            self.assertEqual(["not-proved"] if says else [], [each.kind for each in seen.cautions])
            self.assertEqual(
                says, any("not proved to be from gmail.example" in c.words for c in seen.cautions)
            )
            self.assertEqual((), view(octets).cautions)

    def test_what_is_wrong_with_its_form_is_found_and_a_large_one_is_not_judged(self) -> None:
        found = view(b"Subject: x\r\n\r\nx\r\n").findings
        assert found is not None
        self.assertIn("from-missing", [each.name for each in found])
        self.assertIsNone(view(b"\r\n" + b"x" * (1 << 20)).findings)

    def test_text_past_the_bound_is_cut_and_that_is_said(self) -> None:
        seen = view(b"\r\n" + b"x" * 300_000)
        self.assertTrue(seen.text_cut)
        self.assertEqual(200_000, sum(len(words) for words, _link in seen.text))


class DocumentTests(SynchronousTestCase):
    def test_a_print_has_its_head_and_escapes_what_strangers_wrote(self) -> None:
        raw = b"From: <b>x</b> <a@b.example>\r\nSubject: <script>1</script>\r\n\r\n<i>text</i>"
        frame = print_mail(raw, "", False, str)
        assert frame is not None
        self.assertIn("&lt;script&gt;1&lt;/script&gt;", frame.document)
        self.assertIn("<pre>&lt;i&gt;text&lt;/i&gt;</pre>", frame.document)
        self.assertNotIn("<script", frame.document)
        self.assertNotIn("<i>", frame.document)

    def test_no_document_may_run_or_be_of_our_origin(self) -> None:
        raw = b"Content-Type: text/html\r\n\r\n<p onclick=x style='color:red'>x</p>"
        for made in (frame_mail(raw, "", False, str), print_mail(raw, "", True, str)):
            assert made is not None
            self.assertIn("default-src 'none'", made.policy)
            self.assertIn("sandbox", made.policy)
            for word in ("allow-scripts", "allow-same-origin", "unsafe", "script-src"):
                self.assertNotIn(word, made.policy)
            self.assertNotIn("onclick", made.document)

    def test_a_mail_without_html_has_no_frame(self) -> None:
        self.assertIsNone(frame_mail(b"\r\ntext", "", False, str))


class FileTests(SynchronousTestCase):
    def test_names_do_no_harm_wherever_they_are_saved(self) -> None:
        for said, wanted in (
            ("../../etc/passwd", "etc-passwd"),
            ("a\r\nX-Evil: 1.txt", "a X-Evil- 1.txt"),
            ("con.txt", "_con.txt"),
            ("", "part-2.png"),
            ("\u202egnp.exe", "gnp.exe"),
        ):
            self.assertEqual(wanted, file_name(said, "image/png", "2"))

    def test_a_name_is_told_to_old_browsers_and_new_ones(self) -> None:
        self.assertEqual('attachment; filename="a b.txt"', disposition("attachment", "a b.txt"))
        self.assertEqual(
            "attachment; filename=\"_ber _1_.pdf\"; filename*=UTF-8''%C3%BCber%20%221%22.pdf",
            disposition("attachment", 'über "1".pdf'),
        )

    def test_a_picture_is_one_by_its_octets(self) -> None:
        for kind, octets, wanted in (
            ("image/png", PNG, "image/png"),
            ("image/png", b"<svg onload=alert(1)>", ""),
            ("image/svg+xml", b"<svg/>", ""),
            ("text/html", PNG, ""),
        ):
            raw = f"Content-Type: {kind}\r\n\r\n".encode() + octets
            piece = find_piece(raw, "1")
            assert piece is not None
            self.assertEqual(wanted, piece.picture, kind)


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.keys = Keys(lambda: self.now)
        self.key = self.keys.make(HASH, "/mail/5/7")

    def test_a_key_opens_the_mail_that_it_was_made_for(self) -> None:
        self.assertEqual(HASH, self.keys.session_of(self.key, "/mail/5/7"))

    def test_it_opens_no_other_and_nothing_for_another(self) -> None:
        self.assertIsNone(self.keys.session_of(self.key, "/mail/5/8"))
        self.assertIsNone(self.keys.session_of(self.key, "/mail/6/7"))
        self.assertIsNone(self.keys.session_of("4" + self.key[1:], "/mail/5/7"))
        self.assertIsNone(self.keys.session_of(self.key.replace("4600", "9999"), "/mail/5/7"))
        of = HASH.hex()
        for forged in ("", "x", of, f"{of}.9999", f"{of}.9999.", f"{of}.\u0663.00", f"{of}.-1.1"):
            self.assertIsNone(self.keys.session_of(forged, "/mail/5/7"))

    def test_it_opens_nothing_after_an_hour(self) -> None:
        self.now += KEY_S + 1
        self.assertIsNone(self.keys.session_of(self.key, "/mail/5/7"))

    def test_another_process_has_other_keys(self) -> None:
        self.assertIsNone(Keys(lambda: self.now).session_of(self.key, "/mail/5/7"))


class FakeThreads:
    """A call waits until it is let go."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: done.callback(function(*arguments)))
        return done


class LettersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.threads = Clock(), FakeThreads()
        nothing: Any = None
        threads: Any = self.threads
        self.letters = Letters(nothing, nothing, nothing, threads, self.in_thread, self.clock)
        mail: Any = SimpleNamespace(head=b"Head: 1\r\n", body=b"\r\nbody")
        self.letter = Letter(mail, "/mail/1/2", "M", "")

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return succeed(function(*arguments))

    def look(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self.letters.look(self.letter, len))

    def test_a_mail_is_looked_at_as_it_is_served(self) -> None:
        looking = self.look()
        self.threads.waiting.pop()()
        self.assertEqual(15, self.successResultOf(looking))

    def test_who_waits_too_long_is_told_while_the_thread_goes_on(self) -> None:
        looking = self.look()
        self.clock.advance(LOOK_S - 1)
        self.assertNoResult(looking)
        self.clock.advance(2)
        self.failureResultOf(looking, TakesTooLong)
        self.threads.waiting.pop()()  # and what it returns is nobody's

    def test_a_stream_writes_on_when_the_client_reads(self) -> None:
        request = FakeRequest()
        pieces = [b"c", b"b", b"a"]

        async def next_piece() -> bytes:
            return pieces.pop() if pieces else b""

        request.full_after = 1
        asked: Any = request
        pouring = Deferred.fromCoroutine(pour(asked, next_piece))
        self.assertEqual([b"a"], request.written)
        request.full_after = 9
        request.producer.resumeProducing()
        self.assertEqual([b"a", b"b", b"c"], request.written)
        self.successResultOf(pouring)
        self.assertIsNone(request.producer)

    def test_a_stream_whose_client_is_gone_ends(self) -> None:
        request, ended = FakeRequest(), []

        async def next_piece() -> bytes:
            return b"x"

        async def stream() -> None:
            try:
                asked: Any = request
                await pour(asked, next_piece)
            finally:
                ended.append(True)

        request.full_after = 1
        pouring = Deferred.fromCoroutine(stream())
        request._disconnected = True
        pouring.cancel()
        self.failureResultOf(pouring)
        self.assertEqual([True], ended)

    def test_a_file_goes_out_as_far_as_was_said_and_is_closed_whoever_leaves(self) -> None:
        octets = bytes(PIECE_OCTETS) + b"ab"
        for full_after, told in ((9, octets[:-1]), (1, octets[:PIECE_OCTETS])):
            request, reader = FakeRequest(), FakeReader(octets)
            request.full_after = full_after
            asked: Any = request
            pouring = Deferred.fromCoroutine(pours(reader, len(octets) - 1)(asked))  # type: ignore[arg-type]
            self.assertEqual(told, b"".join(request.written))
            request._disconnected = True
            pouring.cancel()
            pouring.addErrback(lambda _gone: None)
            self.assertTrue(reader.is_closed)


class FakeRequest:
    """Takes so many pieces before its client is to be waited for."""

    _disconnected = False
    producer: Any = None
    full_after = 9

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if len(self.written) >= self.full_after:
            self.producer.pauseProducing()


class FakeReader:
    """A file that is read as a blob is."""

    def __init__(self, octets: bytes) -> None:
        self.file, self.is_closed = BytesIO(octets), False

    def read(self, count: int) -> Deferred[bytes]:
        return succeed(self.file.read(count))

    def close(self) -> None:
        self.is_closed = True
