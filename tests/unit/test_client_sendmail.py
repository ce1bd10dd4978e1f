"""Mail that programs pipe: its header, its octets, and sendmail's options."""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli.frame import Mistake
from mailnode.cli.sendmail import exit_code
from mailnode.cli.sendmail_options import Wanted, read_options
from mailnode.cli.sendmail_settings import (
    Settings,
    domain_of,
    read_settings,
    settings_path,
    spool_of,
)
from mailnode.client.header import Field, addresses_in, named_in
from mailnode.client.piped import Author, NoMail, Piped, read_piped
from mailnode.client.profiles import BadProfile
from mailnode.outbound.words import Answer

AUTHOR = Author("cron@box.test", "Cron Daemon", "box.test")


class Addresses(SynchronousTestCase):
    def test_they_are_found_in_whatever_stands_around_them(self) -> None:
        for value, found in (
            (b" root (Cron Daemon)\r\n", [b"root"]),
            (b' a@x.test, "B, b" <b@x.test>,c', [b"a@x.test", b"b@x.test", b"c"]),
            (b" friends: a@x.test, b@x.test;, c@x.test", [b"a@x.test", b"b@x.test", b"c@x.test"]),
            (b" undisclosed-recipients:;", []),
            (b" A (not <me@x.test>, (nor me)) <a@x.test>", [b"a@x.test"]),
            (b" <@relay.test,@b.test:a@x.test>", [b"a@x.test"]),
            (b' "odd, one"@x.test', [b'"odd, one"@x.test']),
            (b" a@[IPv6:::1], b", [b"a@[IPv6:::1]", b"b"]),
            (b' "x <y>" <"a>b"@x.test>', [b'"a>b"@x.test']),
            (b"\r\n\ta@x.test,\r\n b@x.test", [b"a@x.test", b"b@x.test"]),
            (b" <>", []),
            (b" , ,", []),
            (b' "open', [b'"open']),
            (b" <open", [b"open"]),
            (b" (open", []),
            (b" \\", [b"\\"]),
        ):
            self.assertEqual(found, [each.octets for each in addresses_in(value)], value)

    def test_only_an_address_without_a_domain_gets_one(self) -> None:
        for raw, completed in (
            (b"From: root (Cron Daemon)\r\n", b"From: root@box.test (Cron Daemon)\r\n"),
            (
                b"To: A <a>,\r\n b@x.test, c\r\n",
                b"To: A <a@box.test>,\r\n b@x.test, c@box.test\r\n",
            ),
            (b"Cc: two words\r\n", b"Cc: two words\r\n"),
            (b"Subject: root\r\n", b"Subject: root\r\n"),
            (b"TO: \xfc <\xfc>\r\n", b"TO: \xfc <\xfc@box.test>\r\n"),
        ):  # fmt: skip
            name = raw.partition(b":")[0].lower()
            self.assertEqual(completed, Field(name, raw).completed("box.test").raw)

    def test_a_mail_that_is_sent_again_goes_to_its_new_recipients_alone(self) -> None:
        fields = [Field(b"to", b"To: a\r\n"), Field(b"bcc", b"Bcc: a, b@x.test\r\n")]
        self.assertEqual(("a@box.test", "b@x.test"), named_in(fields, "box.test"))
        again = [*fields, Field(b"resent-to", b"Resent-To: c\r\n")]
        self.assertEqual(("c@box.test",), named_in(again, "box.test"))


class Piping(SynchronousTestCase):
    def read(self, raw: bytes, dot_ends: bool = True, author: Author = AUTHOR) -> Piped:
        return read_piped(io.BytesIO(raw), author, dot_ends=dot_ends)

    def body(self, raw: bytes, dot_ends: bool = True) -> bytes:
        return self.read(raw, dot_ends).open().read().partition(b"\r\n\r\n")[2]

    def test_what_is_missing_is_added_and_bcc_is_cut(self) -> None:
        piped = self.read(b"To: a\nBcc: b,\n c\nSubject: s\n\nbody\n")
        raw = piped.open().read()
        self.assertRegex(
            raw,
            rb"\AFrom: Cron Daemon <cron@box\.test>\r\nDate: [^\r]+\r\n"
            rb"Message-ID: <[^\r]+@box\.test>\r\nTo: a@box\.test\r\nSubject: s\r\n\r\nbody\r\n\Z",
        )
        self.assertEqual(("a@box.test", "b@box.test", "c@box.test"), piped.named)
        self.assertEqual(len(raw), piped.size_octets)

    def test_what_is_there_stays_octet_for_octet(self) -> None:
        raw = (
            b"From: x@y.test\r\nDate: whenever\r\nmessage-id : <1@y>\r\n"
            b"X-Odd:\xff \t\r\n\tfolded\r\n\r\n\xff\0body \r\n\r\n..\r\nend"
        )
        piped = self.read(raw)
        self.assertEqual(raw, piped.open().read())
        self.assertTrue(piped.eight_bit)
        self.assertEqual(raw, piped.open().read(), "it can be read again")

    def test_a_full_stop_ends_it_unless_that_is_waived(self) -> None:
        self.assertEqual(b"a\r\n", self.body(b"\na\n.\nb\n"))
        self.assertEqual(b"a\r\n", self.body(b"\r\na\r\n.\r\nb\r\n"))
        self.assertEqual(b"a\r\n.\r\nb\r\n", self.body(b"\na\n.\nb\n", dot_ends=False))
        self.assertEqual(b"a.\r\n..\r\n", self.body(b"\na.\n..\n"))
        self.assertEqual(b"", self.body(b"Subject: s\n.\nb\n"))
        long = b"x" * 65536
        self.assertEqual(long + b".\r\nb\r\n", self.body(b"\n" + long + b".\nb\n"))

    def test_line_ends_become_crlf_wherever_they_are_cut(self) -> None:
        for raw, body in (
            (b"a\r\r\nb\rc\n\n", b"a\r\nb\r\nc\r\n\r\n"),
            (b"x" * 65535 + b"\r\ny", b"x" * 65535 + b"\r\ny"),
            (b"x" * 65535 + b"\r\r\r", b"x" * 65535 + b"\r\n"),
            (b"x" * 65535 + b"\ry", b"x" * 65535 + b"\r\ny"),
        ):
            self.assertEqual(body, self.body(b"\n" + raw, dot_ends=False))

    def test_a_bare_cr_makes_no_field_of_a_header(self) -> None:
        raw = self.read(b"Subject: a\rBcc: b\n\n").open().read()
        self.assertIn(b"\r\nSubject: a Bcc: b\r\n", raw)

    def test_a_mail_without_a_header_is_a_body(self) -> None:
        self.assertEqual(b"hello\r\nFrom here\r\n", self.body(b"hello\nFrom here\n"))
        self.assertEqual(b"no field\r\n", self.body(b"Subject: s\nno field\n"))
        self.assertEqual(b"", self.body(b""))
        self.assertNotIn(b"From root", self.read(b"From root Sat\nSubject: s\n\n").open().read())

    def test_a_header_without_end_is_refused(self) -> None:
        for raw in (b"X: y\n" * 60_000, b"X: " + b"y" * 300_000):
            with self.assertRaisesRegex(NoMail, "larger than 256 KiB"):
                self.read(raw)
        self.assertEqual(300_000, len(self.body(b"y" * 300_000)))

    def test_a_name_adds_no_field(self) -> None:
        author = Author("a@x.test", "Gr\xfc\xdfe\r\nBcc: b", "x.test")
        raw = self.read(b"\n", author=author).open().read()
        self.assertTrue(raw.startswith(b"From: =?utf-8?"), raw)
        self.assertNotIn(b"\nBcc", raw)
        null = self.read(b"\n", author=Author("", "", "x.test")).open().read()
        self.assertTrue(null.startswith(b"From: MAILER-DAEMON@x.test\r\n"), null)


class Options(SynchronousTestCase):
    def wanted(self, line: str) -> Wanted:
        return read_options(line.split())

    def test_what_cron_and_scripts_say(self) -> None:
        for line, wanted in (
            ("-FCronDaemon -i -odi -oem -oi -t",
             Wanted(from_header=True, full_stop=False, name="CronDaemon")),
            ("-i -FCronDaemon -B8BITMIME -oem root",
             Wanted(full_stop=False, name="CronDaemon", recipients=("root",))),
            ("-ti -f a@x.test b@x.test -c", Wanted(
                from_header=True, full_stop=False, sender="a@x.test",
                recipients=("b@x.test", "-c"))),
            ("-tif a@x.test", Wanted(from_header=True, full_stop=False, sender="a@x.test")),
            ("-bm -oee -om -v -n -e q -- -x@y.test",
             Wanted(verbose=True, recipients=("q", "--", "-x@y.test"))),
            ("-eq -- -x@y.test", Wanted(recipients=("-x@y.test",))),
            ("-OIgnoreDots=true -ODeliveryMode=q a", Wanted(full_stop=False, keep=True,
                                                            recipients=("a",))),
            ("-O Timeout.queuewarn=1h -oq -d0.1 -h 5 -L tag -X /log -p SMTP:x -Am a",
             Wanted(recipients=("a",))),
            ("-odq a", Wanted(keep=True, recipients=("a",))),
            ("-N success,delay -Rhdrs -V id a", Wanted(
                notify="SUCCESS,DELAY", ret="HDRS", envid="id", recipients=("a",))),
            ("-N never a", Wanted(notify="NEVER", recipients=("a",))),
            ("-C /x.toml -bp", Wanted(mode="p", settings="/x.toml")),
            ("-q", Wanted(mode="q")),
            ("- a", Wanted(recipients=("-", "a"))),
        ):  # fmt: skip
            self.assertEqual(wanted, self.wanted(line), line)

    def test_an_empty_sender_is_one(self) -> None:
        self.assertEqual("", read_options(["-f", "", "a"]).sender)

    def test_what_is_not_done_says_why(self) -> None:
        for line, words in (
            ("-bs", "-bs is not done here: it speaks no SMTP"),
            ("-bd -q30m", "-bd is not done here: this is no daemon"),
            ("-q30m", "-q30m is not done here.*timer"),
            ("-bi", "no file of aliases"),
            ("-I", "no file of aliases"),
            ("-bv a", "verifies no addresses"),
            ("-bz", "there is no such mode here"),
            ("-Z", "there is no option -Z"),
            ("--help", "options are letters"),
            ("-t -f", "-f wants something behind it"),
            ("-N sometimes a", "never, or some of"),
            ("-N never,delay a", "never, or some of"),
            ("-R half a", "full or hdrs"),
        ):
            with self.assertRaisesRegex(Mistake, words) as caught:
                self.wanted(line)
            self.assertEqual(64, caught.exception.code, line)

    def test_the_name_of_the_program_counts(self) -> None:
        self.assertEqual("p", read_options([], "mailq").mode)
        with self.assertRaisesRegex(Mistake, "no file of aliases"):
            read_options([], "newaliases")

    def test_exit_codes_are_sysexits(self) -> None:
        for code, enhanced, exits in (
            (550, "5.1.1", 67), (550, "5.1.2", 68), (501, "5.1.3", 65), (552, "5.3.4", 65),
            (550, "5.6.0", 65), (550, "5.7.1", 77), (554, "5.0.0", 69),
        ):  # fmt: skip
            self.assertEqual(exits, exit_code(Answer(code, enhanced, "no", "RCPT")), enhanced)


class SettingsTests(SynchronousTestCase):
    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return path

    def test_the_file_says_where_mail_goes_or_port_25_of_this_machine(self) -> None:
        self.assertEqual("localhost:25", read_settings(None).smtp)
        found = read_settings(self.file('smtp = "mx.test:587"\ninsecure = true\n'))
        self.assertEqual(("mx.test:587", True), (found.smtp, found.insecure))

    def test_a_mistake_in_it_names_the_mend(self) -> None:
        for text, words in (
            ('smpt = "x"', "there is no key 'smpt'; did you mean 'smtp'"),
            ("insecure = 1", "insecure is true or false, not 1"),
            ("smtp = true", "smtp is text, not True"),
            ('domain = "a b"', "domain 'a b'"),
            ("smtp =", "Invalid value"),
        ):
            with self.assertRaisesRegex(BadProfile, words):
                read_settings(self.file(text))
        self.assertRaisesRegex(BadProfile, "No such file", read_settings, Path(self.mktemp()))

    def test_the_variable_wins_over_a_user_s_own_file_and_that_over_the_machine_s(self) -> None:
        self.assertEqual(Path("/x"), settings_path({"MAILNODE_SENDMAIL": "/x"}))
        home = Path(self.mktemp())
        (home / "mailnode").mkdir(parents=True)
        all_ = self.file("")
        with patch("mailnode.cli.sendmail_settings.FOR_ALL", all_):
            self.assertEqual(all_, settings_path({"XDG_CONFIG_HOME": str(home)}))
            own = home / "mailnode" / "sendmail.toml"
            own.touch()
            self.assertEqual(own, settings_path({"XDG_CONFIG_HOME": str(home)}))

    def test_each_user_has_a_spool(self) -> None:
        with patch("os.geteuid", return_value=0):
            self.assertEqual(Path("/var/spool/mailnode-sendmail"), spool_of(Settings(), {}))
            named = Settings(spool="/s/{user}")
            self.assertEqual(Path("/s/root"), spool_of(named, {}))
        with patch("os.geteuid", return_value=1):
            with patch.object(Path, "home", side_effect=RuntimeError("no home")):
                found = spool_of(Settings(), {})
            self.assertEqual(Path("/.local/state/mailnode/spool"), found)
            found = spool_of(Settings(), {"XDG_STATE_HOME": "/state"})
        self.assertEqual(Path("/state/mailnode/spool"), found)

    def test_addresses_without_a_domain_get_the_first_that_is_one(self) -> None:
        at = "mailnode.cli.sendmail_settings"
        for said, mailname, host, domain in (
            ("Set.test", "m.test", "h", "set.test"),
            ("", "m.test\nx", "h", "m.test"),
            ("", "no name", "h", "h"),
            ("", None, "bad_host", "localhost"),
        ):
            file = self.file(mailname) if mailname is not None else Path(self.mktemp())
            with patch(f"{at}.MAILNAME", file), patch("socket.gethostname", return_value=host):
                self.assertEqual(domain, domain_of(Settings(domain=said)))
