"""Where a person's mail is: profiles, SRV, autoconfig, options; and the names of saved files."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from http.client import BadStatusLine, HTTPMessage, IncompleteRead
from pathlib import Path
from unittest.mock import patch
from urllib.request import OpenerDirector, Request

import dns.resolver
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli.frame import Mistake
from mailnode.cli.server_names import read_server
from mailnode.client.connection import Server, Trust
from mailnode.client.discovery import _InsideTls, discover, fetch, look_up
from mailnode.client.passwords import NoPassword, from_command, from_file
from mailnode.client.profiles import BadProfile, Profile, profiles_path, read_profile
from mailnode.client.saving import Shelf
from mailnode.client.trouble import NotTrusted
from mailnode.errors import BadAddress
from mailnode.filenames import safe_name

AUTOCONFIG = b"""<?xml version="1.0"?><clientConfig version="1.1"><emailProvider id="example.org">
<incomingServer type="imap"><hostname>imap.example.org</hostname><port>993</port>
<socketType>SSL</socketType></incomingServer>
<incomingServer type="pop3"><hostname>pop.example.org</hostname><port>110</port>
<socketType>plain</socketType><username>%EMAILADDRESS%</username></incomingServer>
<incomingServer type="pop3"><hostname>pop.example.org</hostname><port>110</port>
<socketType>STARTTLS</socketType><username>%EMAILLOCALPART%</username></incomingServer>
<incomingServer type="pop3"><hostname>pop.example.org</hostname><port>995</port>
<socketType>SSL</socketType><username>%EMAILLOCALPART%</username></incomingServer>
<outgoingServer type="smtp"><hostname>smtp.example.org</hostname><port>587</port>
<socketType>STARTTLS</socketType></outgoingServer></emailProvider></clientConfig>"""


class ServerTests(SynchronousTestCase):
    def test_a_host_alone_has_the_usual_ports_tls_at_once_first(self) -> None:
        self.assertEqual(
            [Server("mx.example.org", 465, True), Server("mx.example.org", 587)],
            read_server("smtp", "mx.example.org"),
        )
        self.assertEqual(
            [Server("::1", 995, True), Server("::1", 110)], read_server("pop3", "[::1]")
        )

    def test_a_port_says_how_tls_begins_unless_the_scheme_does(self) -> None:
        for kind, text, server in (
            ("smtp", "mx.test:465", Server("mx.test", 465, True)),
            ("smtp", "mx.test:2525", Server("mx.test", 2525)),
            ("smtp", "smtps://mx.test:2525", Server("mx.test", 2525, True)),
            ("smtp", "smtp://mx.test/", Server("mx.test", 587)),
            ("pop3", "[::1]:995", Server("::1", 995, True)),
            ("pop3", "pop3s://[::1]:1100/", Server("::1", 1100, True)),
            ("pop3", "::1", Server("::1", 995, True)),
        ):
            self.assertEqual(server, read_server(kind, text)[0], text)

    def test_what_is_no_server_is_a_clear_word(self) -> None:
        for text in (
            *("", ":25", "mx.test:", "mx.test:x", "mx.test:0", "mx.test:70000", "a..b", ".test:25"),
            *(f"mx.test:{'9' * 5000}", f"{'a' * 64}.test", "mx test"),
        ):
            with self.assertRaisesRegex(Mistake, "is no server: it is such as", msg=text):
                read_server("smtp", text)
        with self.assertRaisesRegex(Mistake, "pop3:// or pop3s:// stands in front"):
            read_server("pop3", "smtp://mx.test")

    def test_hosts_of_a_house_and_of_other_scripts_are_servers(self) -> None:
        for host in ("mail_1", "b\xfccher.test", "mx.test.", "fe80::1%eth0"):
            self.assertEqual(host, read_server("smtp", host)[0].host)

    def test_this_machine_is_known_by_its_names(self) -> None:
        for host, here in (("localhost", True), ("127.0.0.2", True), ("::1", True),
                           ("localhost.example.org", False), ("192.0.2.1", False)):  # fmt: skip
            self.assertEqual(here, Server(host, 25).is_here, host)

    def test_certificates_count_everywhere_but_here_and_where_that_is_waived(self) -> None:
        there, here = Server("mx.test", 465), Server("localhost", 465)
        self.assertTrue(Trust().context(there).check_hostname)
        self.assertFalse(Trust().context(here).check_hostname)
        self.assertFalse(Trust(clear=True).context(there).check_hostname)
        with self.assertRaisesRegex(NotTrusted, "holds no certificates"):
            Trust(Path(__file__)).context(here)


class ProfileTests(SynchronousTestCase):
    def path(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return path

    def test_the_default_the_only_one_or_the_named(self) -> None:
        one = self.path('[work]\naddress = "a@x.test"\n')
        two = self.path('default = "b"\n[a]\nserver = "a.test"\n[b]\nserver = "b.test"\n')
        self.assertEqual(Profile(address="a@x.test"), read_profile(one))
        self.assertEqual(Profile(server="b.test"), read_profile(two))
        self.assertEqual(Profile(server="a.test"), read_profile(two, "a"))

    def test_several_without_a_default_are_none(self) -> None:
        self.assertIsNone(read_profile(self.path("[a]\n[b]\n")))
        self.assertIsNone(read_profile(Path(self.mktemp())))

    def test_what_is_wrong_names_the_mend(self) -> None:
        for text, name, words in (
            ("[a]\n", "b", "no profile 'b' in .*; there is: a"),
            (
                '[a]\nadress = "x"\n',
                "a",
                r"\[a\]: there is no key 'adress'; did you mean 'address'",
            ),
            ("[a]\nuser = 3\n", "a", "user is text, not 3"),
            ("a = 3\n", "a", "a is no profile"),
            ("default = 3\n", "", "default is the name"),
            ("[a\n", "", "Expected"),
        ):
            with self.assertRaisesRegex(BadProfile, words):
                read_profile(self.path(text), name)

    def test_what_is_wrong_with_another_profile_is_of_no_concern(self) -> None:
        path = self.path('[good]\nuser = "bob"\n[bad]\nadress = "x"\n')
        self.assertEqual(Profile(user="bob"), read_profile(path, "good"))
        with self.assertRaises(BadProfile):
            read_profile(path, "bad")

    def test_where_the_file_is(self) -> None:
        self.assertEqual(Path("/x"), profiles_path({"MAILNODE_CLIENT": "/x"}))
        self.assertEqual(Path("/c/mailnode/client.toml"), profiles_path({"XDG_CONFIG_HOME": "/c"}))

    def test_a_user_whom_the_machine_does_not_know_has_none(self) -> None:
        """As in a container that is run with a number for its user."""
        with patch.object(Path, "home", side_effect=RuntimeError("no home")):
            self.assertIsNone(read_profile(profiles_path({})))


class OwnerTests(SynchronousTestCase):
    def test_a_profile_is_its_addresss_and_its_users(self) -> None:
        work = Profile(address="carol@example.org", user="c123", password_command="pass work")
        for name, its in (
            ("Carol@Example.org", True),
            ("carol", True),
            ("c123", True),
            ("dave@example.org", False),
            ("carol@evil.example", False),
            ("c123@evil.example", False),
            ("mallory", False),
        ):
            self.assertEqual(its, work.is_of(name), name)

    def test_one_that_says_neither_is_anybodys(self) -> None:
        self.assertTrue(Profile(server="localhost").is_of("mallory@evil.example"))

    def test_another_gets_its_servers_and_nothing_that_is_secret(self) -> None:
        work = Profile("a@x.test", "a", "A", "x.test", "s", "p", "pass work", "file", "ca.pem")
        self.assertEqual(
            Profile(server="x.test", smtp="s", pop3="p", trust="ca.pem"), work.for_another()
        )

    def test_a_user_with_a_domain_is_an_address(self) -> None:
        self.assertEqual("c@x.test", Profile(user="c@x.test").mailbox)
        self.assertEqual("", Profile(user="c").mailbox)


class DiscoveryTests(SynchronousTestCase):
    def discover(self, zone: dict[str, list], pages: dict[str, bytes] | None = None):  # type: ignore[type-arg]
        self.asked: list[str] = []

        def fetch(url: str) -> bytes:
            self.asked.append(url)
            return (pages or {}).get(url.partition("?")[0], b"")

        return discover("carol@example.org", lambda name: zone.get(name, []), fetch)

    def test_srv_records_tls_at_once_first_and_no_page_is_fetched(self) -> None:
        found = self.discover(
            {
                "_submissions._tcp.example.org": [(0, 1, 465, "smtp.example.org")],
                "_submission._tcp.example.org": [(0, 1, 587, "no.example.org")],
                "_pop3s._tcp.example.org": [(0, 0, 0, ".")],
                "_pop3._tcp.example.org": [(5, 1, 1110, "b.test"), (1, 1, 110, "pop.example.org")],
            }
        )
        self.assertEqual(Server("smtp.example.org", 465, True), found.servers["smtp"])
        self.assertEqual(Server("pop.example.org", 110), found.servers["pop3"])
        self.assertEqual(([], "the DNS"), (self.asked, found.by))

    def test_autoconfig_is_asked_for_what_the_dns_does_not_say(self) -> None:
        page = "https://autoconfig.example.org/mail/config-v1.1.xml"
        found = self.discover({}, {page: AUTOCONFIG})
        self.assertEqual(Server("pop.example.org", 995, True), found.servers["pop3"])
        self.assertEqual(Server("smtp.example.org", 587), found.servers["smtp"])
        self.assertEqual("carol", found.sign_in_name("carol@example.org"))
        self.assertEqual(1, len(self.asked))

    def test_a_server_without_tls_a_bomb_and_nonsense_are_passed_over(self) -> None:
        page = "https://example.org/.well-known/autoconfig/mail/config-v1.1.xml"
        clear = AUTOCONFIG.replace(b"STARTTLS", b"plain").replace(b"SSL", b"plain")
        bomb = b'<!DOCTYPE a [<!ENTITY b "b">]>' + AUTOCONFIG
        for content in (clear, bomb, b"<html>", b"\xff\xfe", b"<a/>"):
            self.assertEqual({}, self.discover({}, {page: content}).servers)
        self.assertEqual(2, len(self.asked))

    def test_a_page_with_escapes_line_ends_or_no_host_name_tells_nothing(self) -> None:
        page = "https://autoconfig.example.org/mail/config-v1.1.xml"
        self.assertEqual(2, len(self.discover({}, {page: AUTOCONFIG}).servers))
        for host in ("pop.example.org&#10;&#10;Password ok", "a&#x9b;31m", "a&#x202e;gpj", "", ".",
                     "a b", "a..b", "-a", "a" * 300, "[192.0.2.1]", "localhost", "127.0.0.1",
                     "evil.test/pop", "user@evil.test"):  # fmt: skip
            told = AUTOCONFIG.replace(b"pop.example.org", host.encode())
            found = self.discover({}, {page: told})
            self.assertEqual({"smtp"}, set(found.servers), host)
        for name in ("a&#x9b;2J", "a&#10;b", "a&#x202e;b", "a" * 256):
            told = AUTOCONFIG.replace(b"%EMAILLOCALPART%", name.encode())
            self.assertEqual({"smtp"}, set(self.discover({}, {page: told}).servers), name)
        for port in (b"0", b"65536", b"9" * 5000, b"-1", b"pop"):
            told = AUTOCONFIG.replace(b"995", port).replace(b"110", port)
            self.assertEqual({"smtp"}, set(self.discover({}, {page: told}).servers), port)

    def test_a_record_with_escapes_or_no_host_name_is_passed_over(self) -> None:
        for host in ("pop.example.org\\010Password\\032ok", "a\x1b[31m", "a b.test", "localhost",
                     "_pop.example.org", "127.0.0.1", ""):  # fmt: skip
            found = self.discover({"_pop3s._tcp.example.org": [(0, 0, 995, host)]})
            self.assertEqual({}, found.servers, host)
        found = self.discover({"_pop3s._tcp.example.org": [(0, 0, 0, "pop.example.org")]})
        self.assertEqual({}, found.servers)

    def test_names_of_other_scripts_are_as_the_dns_has_them(self) -> None:
        found = self.discover({"_pop3s._tcp.example.org": [(0, 0, 995, "POP.B\xfccher.test")]})
        self.assertEqual(Server("pop.xn--bcher-kva.test", 995, True), found.servers["pop3"])
        asked: list[str] = []
        discover("\udcff@x.test", lambda name: [], lambda url: b"")
        discover("a b&c@B\xfccher.test", lambda name: [], lambda url: asked.append(url) or b"")
        self.assertEqual(
            "https://autoconfig.xn--bcher-kva.test/mail/config-v1.1.xml?emailaddress="
            "a%20b%26c%40B%C3%BCcher.test",
            asked[0],
        )

    def test_what_has_no_domain_is_asked_nowhere(self) -> None:
        for address in ("carol@", "carol@evil.test/x", "carol@a b", "carol@\x1b[2J"):
            self.assertRaises(BadAddress, discover, address, self.fail, self.fail)

    def test_a_page_is_https_all_the_way_or_none(self) -> None:
        """Whoever sits on the way of one step in clear could lead the next one anywhere."""
        follow = _InsideTls().redirect_request
        request = Request("https://example.org/")
        for url, followed in (
            ("https://mail.example.org/", True),
            ("http://mail.example.org/", False),
            ("ftp://mail.example.org/", False),
        ):
            found = follow(request, io.BytesIO(), 302, "Found", HTTPMessage(), url)
            self.assertEqual(followed, found is not None, url)

    def test_a_server_that_speaks_no_http_has_no_page(self) -> None:
        for error in (BadStatusLine("x"), IncompleteRead(b""), OSError(), ValueError()):
            with patch.object(OpenerDirector, "open", side_effect=error):
                self.assertEqual(b"", fetch("https://example.org/"))

    def test_a_machine_without_a_dns_server_finds_no_records(self) -> None:
        none = dns.resolver.NoResolverConfiguration()
        with patch.object(dns.resolver, "Resolver", side_effect=none):
            self.assertEqual([], look_up("_pop3s._tcp.example.org"))


class PasswordTests(SynchronousTestCase):
    def test_the_first_line_of_a_file_or_a_command(self) -> None:
        path = Path(self.mktemp())
        path.write_text("sécret \r\nmore\n", "utf-8")
        self.assertEqual("sécret ", from_file(path))
        self.assertEqual("a b", from_command("printf 'a b\\nc'"))

    def test_none_is_a_clear_word(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("\nx")
        for have, words in (
            (lambda: from_file(empty), "empty line in place of a password"),
            (lambda: from_file(Path(self.mktemp())), "No such file"),
            (lambda: from_command("false"), "failed with exit code 1"),
            (lambda: from_command("/nowhere/x"), "can't be run"),
            (lambda: from_command("'"), "can't be run"),
            (lambda: from_command("true"), "empty line"),
            (lambda: from_command(" "), "can't be run"),
        ):
            with self.assertRaisesRegex(NoPassword, words):
                have()

    def test_what_stands_behind_a_commands_name_is_not_told(self) -> None:
        for command in ("false secret", "/nowhere/x secret", "true secret"):
            with self.assertRaises(NoPassword) as caught:
                from_command(command)
            self.assertNotIn("secret", str(caught.exception))
            self.assertIn(command.split()[0], str(caught.exception))
        with patch("subprocess.run", side_effect=subprocess.TimeoutExpired(["x", "secret"], 1)):
            self.assertRaisesRegex(NoPassword, "took over 60 s", from_command, "x secret")


class NameTests(SynchronousTestCase):
    def test_names_are_harmless(self) -> None:
        for text, name in (
            ("Hello", "Hello"),
            ("../../etc/passwd", "etc-passwd"),
            ("a/b\\c:d", "a-b-c-d"),
            ("  .hidden. ", "hidden"),
            ("tab\tline\nend\x00\x1b[31m", "tab line end[31m"),
            ("ab\u202efdp.exe", "abfdp.exe"),
            ("con", "_con"),
            ("NUL.txt", "_NUL.txt"),
            ("", "?"),
            ("...", "?"),
            ("e\u0301", "é"),
        ):
            self.assertEqual(name, safe_name(text, "?"), repr(text))

    def test_long_ones_are_cut_between_characters_and_keep_their_ending(self) -> None:
        name = safe_name("ü" * 200 + ".pdf", "?")
        self.assertLessEqual(len(name.encode()), 100)
        self.assertTrue(name.endswith("ü.pdf"))


class ShelfTests(SynchronousTestCase):
    RAW = (
        b"Subject: ../up\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n"
        b'--b\r\nContent-Disposition: attachment; filename="../../evil.sh"\r\n\r\nrm\r\n--b--\r\n'
    )

    def shelf(self) -> Shelf:
        self.root = Path(self.mktemp()).resolve()
        shelf = Shelf(self.root, "bob@example.test")
        self.addCleanup(shelf.close)
        return shelf

    def retrieve(self, write) -> int:  # type: ignore[no-untyped-def]
        write(self.RAW[:10])
        write(self.RAW[10:])
        return len(self.RAW)

    def test_a_mail_is_kept_octet_for_octet_its_files_beside_it(self) -> None:
        saved = self.shelf().save(self.retrieve)
        folder = self.root / "bob@example.test"
        self.assertEqual(folder / "up.eml", saved.path)
        self.assertEqual(self.RAW, saved.path.read_bytes())
        self.assertEqual(hashlib.sha256(self.RAW).hexdigest(), saved.digest)
        self.assertEqual((folder / "up" / "evil.sh",), saved.attachments)
        self.assertEqual(b"rm", saved.attachments[0].read_bytes().strip())

    def test_nothing_is_overwritten_and_no_link_followed(self) -> None:
        shelf = self.shelf()
        outside, folder = self.root / "outside", self.root / "bob@example.test"
        outside.write_bytes(self.RAW)
        (folder / "up.eml").symlink_to(outside)
        (folder / "up (2).eml").write_bytes(b"x" * len(self.RAW))
        self.assertEqual("up (3).eml", shelf.save(self.retrieve).path.name)
        self.assertEqual(b"x" * len(self.RAW), (folder / "up (2).eml").read_bytes())

    def test_a_mail_that_lies_there_already_is_not_kept_twice(self) -> None:
        shelf = self.shelf()
        first, again = shelf.save(self.retrieve), shelf.save(self.retrieve)
        self.assertEqual((first.path, False, True), (again.path, first.known, again.known))
        self.assertEqual({"up", "up.eml"}, set(os.listdir(self.root / "bob@example.test")))

    def test_a_mail_whose_files_could_not_be_kept_is_not_there_for_the_next_time(self) -> None:
        shelf = self.shelf()
        full = patch.object(Shelf, "_save_attachments", side_effect=OSError(28, "full"))
        with full, self.assertRaises(OSError):
            shelf.save(self.retrieve)
        self.assertEqual([], os.listdir(self.root / "bob@example.test"))
        saved = shelf.save(self.retrieve)
        self.assertEqual((False, 1), (saved.known, len(saved.attachments)))

    def test_a_folder_that_is_a_link_is_not_entered(self) -> None:
        root = Path(self.mktemp())
        root.mkdir()
        (root / "bob@example.test").symlink_to("/tmp")
        with self.assertRaises(OSError):
            Shelf(root, "bob@example.test")

    def test_what_breaks_off_leaves_nothing(self) -> None:
        shelf = self.shelf()

        def broken(write) -> int:  # type: ignore[no-untyped-def]
            write(b"half")
            raise NotTrusted("gone")

        with self.assertRaises(NotTrusted):
            shelf.save(broken)
        self.assertEqual([], os.listdir(self.root / "bob@example.test"))

    def test_a_disk_that_gives_back_other_octets_is_told(self) -> None:
        shelf = self.shelf()
        damaged = patch.object(Shelf, "_read_back", side_effect=NotTrusted("other octets"))
        with damaged, self.assertRaises(NotTrusted):
            shelf.save(self.retrieve)
        self.assertEqual([], os.listdir(self.root / "bob@example.test"))
