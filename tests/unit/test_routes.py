"""A person's words become a route or a clear refusal, and an address finds the nearest one."""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import BadAddress, BadRoute
from mailnode.routes import (
    BY_MX,
    ENDS,
    GEARS,
    PORTS,
    TLS_WISHES,
    Gear,
    Route,
    Routes,
    SendAs,
    checked,
    patterns_of,
    read_pattern,
    read_route,
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
LOCALS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


class PatternTests(SynchronousTestCase):
    def test_an_address_a_domain_a_suffix_and_everything_have_one_spelling_each(self) -> None:
        for text, read in {
            "*": "*",
            "BOB@Example.NET": "bob@example.net",
            '"Bob Roe"@example.net': '"bob roe"@example.net',
            "bob@[192.0.2.1]": "bob@[192.0.2.1]",
            "[IPv6:2001:DB8:0::1]": "[IPv6:2001:db8::1]",
            "Example.NET": "example.net",
            "BÜCHER.example": "xn--bcher-kva.example",
            ".Example.NET": ".example.net",
        }.items():
            self.assertEqual(read, read_pattern(text))
            self.assertEqual(read, read_pattern(read))

    def test_what_is_none_is_refused_in_words(self) -> None:
        for text in ("", ".", "..", ".[192.0.2.1]", "a b", "bob@", "@example.net", "exa_mple.net"):
            self.assertIn(repr(text), str(self.assertRaises(BadRoute, read_pattern, text)))
        error = self.assertRaises(BadRoute, read_pattern, "*@example.net")
        self.assertIn("give example.net alone", str(error))
        self.assertRaises(BadRoute, read_pattern, "ŉ" * 32 + "@example.net")  # grows when folded

    def test_the_most_specific_comes_first(self) -> None:
        self.assertEqual(
            ["bob@a.b.example", "a.b.example", ".b.example", ".example", "*"],
            list(patterns_of(parse_address("Bob@A.b.example"))),
        )
        literal = list(patterns_of(parse_address("bob@[192.0.2.1]")))
        self.assertEqual(["bob@[192.0.2.1]", "[192.0.2.1]", "*"], literal)

    @given(LOCALS, DOMAINS)
    def test_a_pattern_of_any_address_names_that_address(self, local: str, domain: str) -> None:
        try:
            address = parse_address(f"{local}@{domain}")
            read = read_pattern(str(address))
        except (BadAddress, BadRoute):
            assume(False)
            return
        self.assertIn(read, patterns_of(address))
        self.assertIn(domain, patterns_of(address))

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            read = read_pattern(text)
        except BadRoute:
            return
        self.assertEqual(read, read_pattern(read))


class TargetTests(SynchronousTestCase):
    def read(self, target: str, **facts: str) -> Route:
        return read_route("example.net", target, **facts)

    def test_each_kind_and_its_port(self) -> None:
        route = Route("example.net")
        for target, meant in {
            "mx": route,
            "discard": evolve(route, kind="discard"),
            "refuse": evolve(route, kind="refuse"),
            "hold": evolve(route, kind="hold"),
            "smtp://Relay.Example": evolve(route, kind="smtp", host="relay.example", port=25),
            "smtp://relay:2525/": evolve(route, kind="smtp", host="relay", port=2525),
            "SMTPS://relay": evolve(route, kind="smtps", host="relay", port=465),
            "lmtp://127.0.0.1": evolve(route, kind="lmtp", host="127.0.0.1", port=24),
            "smtp://[2001:DB8::1]:26": evolve(route, kind="smtp", host="2001:db8::1", port=26),
            "smtp://[192.0.2.1]": evolve(route, kind="smtp", host="192.0.2.1", port=25),
            "lmtp:///run/dovecot/lmtp": evolve(route, kind="lmtp", host="/run/dovecot/lmtp"),
        }.items():
            self.assertEqual(meant, self.read(target))

    def test_a_user_may_be_an_address_and_has_his_password_in_a_file(self) -> None:
        route = self.read("smtps://carol@example.org@relay.example", password_file="/etc/secret")
        self.assertEqual(("carol@example.org", "relay.example"), (route.user, route.host))
        self.assertEqual(("verify", "/etc/secret"), (route.tls, route.password_file))
        odd = self.read("smtp://a%3Ab%2Fc%25@relay", password_file="f", tls="may")
        self.assertEqual(("a:b/c%", "may"), (odd.user, odd.tls))
        self.assertEqual(odd, self.read(odd.target, password_file="f", tls="may"))

    def test_every_mistake_has_its_words(self) -> None:
        for target, words in {
            "": "no target",
            "smtp": "no target",
            "mxx": "one is mx, smtp://",
            "relay.example:25": "did you mean smtp://relay.example:25?",
            "smtp:localhost": "did you mean smtp://localhost?",
            "lmtp:mail.example:24": "did you mean lmtp://mail.example:24?",
            "http://relay": "http:// leads nowhere",
            "smtp://": "names no host",
            "smtp://:25": "names no host",
            "smtp:///run/lmtp": "names no host",
            "lmtp:///": "names no host",
            "smtp://relay:": "'' is no port",
            "smtp://relay:0": "'0' is no port",
            "smtp://relay:65536": "'65536' is no port",
            "smtp://relay:+25": "'+25' is no port",
            "smtp://relay:\u0662": "'\u0662' is no port",
            "smtp://2001:db8::1": "in brackets",
            "smtp://[2001:db8::1": "closing bracket",
            "smtp://[2001:db8::1]25": "closing bracket",
            "smtp://[relay]:25": "no IP address",
            "smtp://192.0.2.300": "no IP address",
            "smtp://re lay": "no host name",
            "smtp://relay/x": "behind the port",
            "lmtp://run/dovecot/lmtp": "behind the port",
            "smtp://relay\r\nX": "control character",
            "lmtp:///run/\x00": "control character",
            "lmtp://carol@relay": "LMTP has no sign-in",
            "smtps://carol:secret@relay": "--password-file",
            "smtps://carol@relay": "--password-file FILE",
            "smtps://@relay": "no user",
            "smtps://%ff@relay": "no user",
            "smtps://%0a@relay": "no user",
        }.items():
            error = self.assertRaises(BadRoute, self.read, target)
            self.assertIn(words, str(error), target)
            self.assertNotIn("secret", str(error))

    def test_what_does_not_go_together_is_refused(self) -> None:
        for target, facts, words in (
            ("mx", {"tls": "must"}, "tls is may, verify, none"),
            ("discard", {"tls": "verify"}, "takes no --tls"),
            ("hold", {"tls": "may"}, "takes no --tls"),
            ("smtp://relay", {"password_file": "f"}, "without a user"),
            ("mx", {"password_file": "f"}, "without a user"),
            ("smtp://u@relay", {"password_file": "f", "tls": "none"}, "never sent without TLS"),
            ("smtp://u@relay", {"password_file": "f\n"}, "control character"),
            ("smtps://relay", {"tls": "none"}, "TLS from the first octet"),
            ("lmtp:///run/lmtp", {"tls": "verify"}, "no certificate"),
        ):
            self.assertIn(words, str(self.assertRaises(BadRoute, self.read, target, **facts)))

    @given(st.sampled_from(["", *(f"{kind}://" for kind in PORTS), "lmtp:///"]), st.text())
    def test_any_text_is_read_or_refused(self, start: str, text: str) -> None:
        try:
            route = self.read(start + text)
        except BadRoute:
            return
        self.assertEqual(route, self.read(route.target))

    @given(
        st.sampled_from(sorted(PORTS)),
        DOMAINS.filter(lambda name: not name.rpartition(".")[2].isdigit())
        | st.ip_addresses().map(str),
        st.integers(1, 65535),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),
        st.sampled_from(TLS_WISHES),
    )
    def test_what_a_route_says_of_itself_is_read_again_and_is_right_in_a_row(
        self, kind: str, host: str, port: int, user: str, tls: str
    ) -> None:
        user = "" if kind == "lmtp" else user
        assume(not (tls == "none" and (user or kind == "smtps")))
        file = "/etc/secret" if user else ""
        route = Route("example.net", kind, host, port, user, file, tls)
        self.assertEqual(route, self.read(route.target, tls=tls, password_file=file))
        self.assertEqual(route, checked(route))


class CheckedTests(SynchronousTestCase):
    def test_what_the_command_writes_is_right(self) -> None:
        for target in ("mx", "discard", "hold", "refuse", "smtp://relay", "lmtp:///run/lmtp"):
            route = read_route("example.net", target)
            self.assertEqual(route, checked(route))

    def test_another_spelling_is_taken(self) -> None:
        route = Route("Example.NET", "smtp", "Relay.Example", 25)
        self.assertEqual(Route("example.net", "smtp", "relay.example", 25), checked(route))

    def test_what_it_never_writes_is_not(self) -> None:
        good = Route("example.net", "smtp", "relay", 25)
        for facts in (
            {"kind": "pigeon"},
            {"kind": None},
            {"kind": "mx"},
            {"pattern": "a b"},
            {"pattern": b"example.net"},
            {"host": ""},
            {"host": "/run/smtp"},
            {"port": 0},
            {"port": "25"},
            {"port": 70000},
            {"user": "carol"},
            {"password_file": "f"},
            {"tls": "perhaps"},
        ):
            self.assertRaises(BadRoute, checked, evolve(good, **facts))
        for kind in ENDS:
            self.assertRaises(BadRoute, checked, Route("example.net", kind, tls="verify"))


class FindTests(SynchronousTestCase):
    def test_the_most_specific_route_wins(self) -> None:
        patterns = ("*", ".example", ".b.example", "a.b.example", "bob@a.b.example")
        routes = Routes.of(read_route(pattern, "hold") for pattern in patterns)
        for name, pattern in {
            "Bob@a.b.example": "bob@a.b.example",
            "carol@A.B.example": "a.b.example",
            "bob@x.b.example": ".b.example",
            "bob@x.y.b.example": ".b.example",
            "bob@b.example": ".example",
            "bob@example": "*",
            "bob@[192.0.2.1]": "*",
        }.items():
            self.assertEqual(pattern, routes.find(parse_address(name)).pattern)

    def test_without_one_it_is_by_mx(self) -> None:
        routes = Routes.of([read_route("example.org", "hold")])
        self.assertEqual(BY_MX, routes.find(parse_address("bob@example.net")))


class GearTests(SynchronousTestCase):
    def test_capture_keeps_all_live_lets_out_all_and_the_list_what_it_names(self) -> None:
        bob, carol = parse_address("Bob@example.net"), parse_address("carol@x.example.org")
        allowed = ("bob@example.net", ".example.org")
        told = {name: Gear(name, allowed).lets_out(bob) for name in GEARS}
        self.assertEqual({"capture": False, "allow-list": True, "live": True}, told)
        listed = Gear("allow-list", ("bob@example.net", ".example.org"))
        self.assertTrue(listed.lets_out(carol))
        self.assertFalse(listed.lets_out(parse_address("carol@example.org")))
        self.assertFalse(Gear().lets_out(bob))
        self.assertFalse(Gear("allow-list").lets_out(bob))


class SendAsTests(SynchronousTestCase):
    def test_its_password_is_sealed_for_this_account_address_and_host(self) -> None:
        entry = SendAs(1, 7, "me@example.net", "mail.example.net", 587, False, "me", b"sealed")
        self.assertEqual(entry.about, evolve(entry, id=2, sealed_password=b"").about)
        for facts in (
            {"account_id": 8},
            {"address": "you@example.net"},
            {"host": "evil.example"},
            {"port": 25},
            {"implicit_tls": True},
            {"user": "you"},
        ):
            self.assertNotEqual(entry.about, evolve(entry, **facts).about)

    def test_what_is_sealed_does_not_show_in_a_log(self) -> None:
        self.assertNotIn("sealed", repr(SendAs(1, 7, "a@b", "h", 587, False, "u", b"sealed!")))
