"""`dns`: the records of a domain, as a zone and beside what is published."""

from __future__ import annotations

from typing import Any

import dns.zone
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli.dns import service_ports
from mailnode.cli.frame import Mistake
from mailnode.cli.published import make_look_up, read_server
from mailnode.cli.records import STANDARD_PORTS, Record, quoted
from mailnode.config import Config
from mailnode.settings import ListenSettings, NodeSettings, OutboundSettings
from tests.unit.keys_case import KeysCase

HOST = "mail.example.org"


class DnsCase(KeysCase):
    def setUp(self) -> None:
        super().setUp()
        self.host(HOST)
        self.run_command("dkim generate example.org --selector mn1")

    def host(self, name: str) -> None:
        with open("node.toml", "w") as file:
            file.write(f'[node]\nhostname = "{name}"\n')

    def show(self, name: str = "example.org") -> Any:
        return self.run_json(f"--config node.toml dns show {name}")

    def check(self, exit_code: int = 0) -> dict[tuple[str, str], Any]:
        told = self.run_json("--config node.toml dns check example.org", exit_code=exit_code)
        self.assertEqual(told["right"], exit_code == 0)
        return {(each["type"], each["name"]): each for each in told["records"]}

    def statuses(self, exit_code: int = 0) -> dict[tuple[str, str], str]:
        return {key: each["status"] for key, each in self.check(exit_code).items()}


class Show(DnsCase):
    def zone(self) -> dict[tuple[str, str], list[str]]:
        text = self.run_command("--config node.toml dns show example.org").stdout
        zone = dns.zone.from_text(text, "example.org.", relativize=False, check_origin=False)
        found: dict[tuple[str, str], list[str]] = {}
        for name, _ttl, rdata in zone.iterate_rdatas():
            kind = rdata.rdtype.name
            value = b"".join(rdata.strings).decode() if kind == "TXT" else str(rdata)
            found.setdefault((str(name).rstrip("."), kind), []).append(value)
        return found

    def test_a_zone_parser_reads_every_record_as_json_has_it(self) -> None:
        zone = self.zone()
        shown = self.show()["records"]
        self.assertEqual(zone, {(each["name"], each["type"]): [each["value"]] for each in shown})
        self.assertEqual(zone["example.org", "MX"], [f"10 {HOST}."])
        self.assertEqual(zone["example.org", "TXT"], ["v=spf1 mx ~all"])
        self.assertEqual(zone[HOST, "TXT"], ["v=spf1 a -all"])
        self.assertEqual(
            zone["_dmarc.example.org", "TXT"],
            ["v=DMARC1; p=none; rua=mailto:postmaster@example.org"],
        )
        self.assertRegex(zone["_mta-sts.example.org", "TXT"][0], r"\Av=STSv1; id=[0-9a-f]{16}\Z")
        self.assertEqual(
            zone["_smtp._tls.example.org", "TXT"],
            ["v=TLSRPTv1; rua=mailto:postmaster@example.org"],
        )
        self.assertEqual(zone["_submissions._tcp.example.org", "SRV"], [f"0 1 465 {HOST}."])
        self.assertEqual(zone["_imaps._tcp.example.org", "SRV"], ["0 0 0 ."])

    def test_a_text_over_255_octets_is_cut_and_the_same_in_one_piece(self) -> None:
        (line,) = (
            line
            for line in self.run_command(
                "--config node.toml dns show example.org"
            ).stdout.splitlines()
            if line.startswith("mn1-rsa._domainkey")
        )
        strings = line.partition(" TXT ")[2].strip('"').split('" "')
        self.assertEqual([len(each) <= 255 for each in strings], [True, True])
        (key, _ed) = self.kept()
        self.assertEqual("".join(strings), f"v=DKIM1; k=rsa; p={key.public_key}")

    def test_the_host_s_addresses_and_their_names_are_comments(self) -> None:
        self.addresses = ("8.8.8.8", "10.1.2.3", "2a00:1450::1")
        told = self.run_command("--config node.toml dns show example.org").stdout
        self.assertIn(f";   {HOST}. IN A 8.8.8.8\n", told)
        self.assertIn(f";   8.8.8.8.in-addr.arpa. IN PTR {HOST}.\n", told)
        self.assertIn(f";   {HOST}. IN AAAA 2a00:1450::1\n", told)
        self.assertIn(f"{HOST}. IN A 10.1.2.3\n;   (not reachable from outside", told)
        self.assertNotIn("10.in-addr.arpa", told)

    def test_what_belongs_into_another_zone_is_a_comment(self) -> None:
        self.host("mx.example.net")
        self.assertNotIn(("mx.example.net", "TXT"), self.zone())
        told = self.run_command("--config node.toml dns show example.org").stdout
        self.assertIn('; mx.example.net. IN TXT "v=spf1 a -all"\n', told)

    def test_a_host_that_is_the_domain_has_one_spf_record(self) -> None:
        self.host("example.org")
        self.assertEqual(self.zone()["example.org", "TXT"], ["v=spf1 mx ~all"])

    def test_a_host_name_that_nobody_can_look_up_is_said(self) -> None:
        self.host("laptop")
        told = self.run_command("--config node.toml dns show example.org").stdout
        self.assertIn("; laptop is no name that others can look up: set node.hostname", told)

    def test_the_policy_of_mta_sts_is_shown_with_its_place(self) -> None:
        policy = self.show()["mta_sts_policy"]
        self.assertEqual(policy["url"], "https://mta-sts.example.org/.well-known/mta-sts.txt")
        self.assertIn(f"\r\nmx: {HOST}\r\n", policy["text"])
        told = self.run_command("--config node.toml dns show example.org").stdout
        self.assertIn(";   mode: testing\n", told)

    def test_a_domain_that_is_not_served_is_67(self) -> None:
        self.refusal("dns show example.net", 67)
        self.refusal("dns check example.net", 67)


class Check(DnsCase):
    addresses = ("8.8.8.8",)

    def setUp(self) -> None:
        super().setUp()
        self.publish(self.show()["records"])
        self.dns[HOST, "A"] = ["8.8.8.8"]
        self.dns["8.8.8.8.in-addr.arpa", "PTR"] = [f"{HOST}."]

    def test_what_is_published_as_shown_is_right(self) -> None:
        self.assertEqual(set(self.statuses().values()), {"right"})
        told = self.run_command("--config node.toml dns check example.org --server ::1").stdout
        self.assertIn("right:   MX example.org", told)
        self.assertIn(", 0 missing, 0 differs, 0 unknown\n", told)
        self.assertEqual(self.asked, [None, "::1"])

    def test_each_record_that_is_needed_is_missed(self) -> None:
        for key in (
            (HOST, "A"),
            ("8.8.8.8.in-addr.arpa", "PTR"),
            ("example.org", "MX"),
            ("example.org", "TXT"),
            ("mn1-ed._domainkey.example.org", "TXT"),
            ("_dmarc.example.org", "TXT"),
        ):
            kept = self.dns.pop(key)
            told = self.check(1)[key[1], key[0]]
            self.assertEqual((told["status"], told["published"]), ("missing", []))
            shown = self.run_command("--config node.toml dns check example.org", exit_code=1)
            self.assertIn(f"missing: {key[1]} {key[0]}: ", shown.stdout)
            self.dns[key] = kept

    def test_one_that_is_not_needed_is_told_and_is_no_fault(self) -> None:
        del self.dns["_mta-sts.example.org", "TXT"]
        self.assertEqual(self.statuses()["TXT", "_mta-sts.example.org"], "missing")
        told = self.run_command("--config node.toml dns check example.org").stdout
        self.assertIn("(not needed)", told)

    def test_one_that_differs_is_shown_with_both_values(self) -> None:
        self.dns["example.org", "MX"] = ["10 mx.old.example."]
        told = self.run_command("--config node.toml dns check example.org", exit_code=1).stdout
        self.assertIn("differs: MX example.org", told)
        self.assertIn("is:        10 mx.old.example.\n", told)
        self.assertIn(f"should be: 10 {HOST}.\n", told)

    def test_what_does_the_same_is_right(self) -> None:
        for name, kind, *values in (
            ("example.org", "MX", "5 mx.other.example.", "20 MAIL.example.org."),
            ("example.org", "TXT", "google-site-verification=x", "v=spf1 +mx -all"),
            ("example.org", "TXT", "v=spf1 ip4:8.8.8.8 -all"),
            ("example.org", "TXT", "v=spf1 include:_spf.example.net a:mail.example.org ~all"),
            (HOST, "TXT", "v=spf1 ip4:8.8.8.8 -all"),
            ("_dmarc.example.org", "TXT", "v=DMARC1;p=reject"),
            ("_mta-sts.example.org", "TXT", "v=STSv1; id=1;"),
            ("_smtp._tls.example.org", "TXT", "v=TLSRPTv1; rua=https://example.net/r"),
            ("_pop3s._tcp.example.org", "SRV", f"5 9 995 {HOST}."),
            (HOST, "A", "8.8.8.8", "8.8.4.4"),
            ("4.4.8.8.in-addr.arpa", "PTR", f"{HOST}."),
        ):
            self.dns[name, kind] = values
            if (name, kind) == (HOST, "A"):
                continue  # its second address has its name in the next row
            self.assertEqual(set(self.statuses().values()), {"right"}, values)

    def test_what_does_not_differs(self) -> None:
        key = self.kept()[1].public_key
        for name, kind, *values in (
            ("example.org", "TXT", "v=spf1 -all"),
            ("example.org", "TXT", "v=spf1 -mx ~all"),
            ("example.org", "TXT", "v=spf1 mx ~all", "v=spf1 a ~all"),
            ("mn1-ed._domainkey.example.org", "TXT", "v=DKIM1; k=ed25519; p="),
            ("mn1-ed._domainkey.example.org", "TXT", f"v=DKIM1; p={key}"),
            ("mn1-ed._domainkey.example.org", "TXT", f"v=DKIM1; k=ed25519; p={key.lower()}"),
            ("_dmarc.example.org", "TXT", "v=DMARC1; p=maybe"),
            ("8.8.8.8.in-addr.arpa", "PTR", "dynamic-8-8-8-8.example.net."),
            (HOST, "A", "9.9.9.9"),
        ):
            kept, self.dns[name, kind] = self.dns[name, kind], values
            self.assertEqual(self.statuses(1)[kind, name], "differs", values)
            self.dns[name, kind] = kept

    def test_a_key_that_waits_is_among_them(self) -> None:
        self.run_command("dkim rotate example.org --selector mn2")
        self.assertEqual(self.statuses(1)["TXT", "mn2-rsa._domainkey.example.org"], "missing")

    def test_what_no_server_can_tell_is_unknown_and_75(self) -> None:
        self.dns["_dmarc.example.org", "TXT"] = None
        self.assertEqual(self.statuses(75)["TXT", "_dmarc.example.org"], "unknown")
        del self.dns["example.org", "MX"]
        self.assertEqual(self.statuses(1)["TXT", "_dmarc.example.org"], "unknown")

    def test_addresses_that_nobody_outside_sees_are_not_asked_for(self) -> None:
        self.addresses = ("10.1.2.3", "fe80::1")
        self.assertEqual(set(self.statuses().values()), {"right"})

    def test_a_public_address_that_is_not_published_needs_its_name_too(self) -> None:
        self.addresses = ("8.8.8.8", "2a00:1450::1")
        (pointer,) = (key for key, status in self.statuses(1).items() if status == "missing")
        self.assertTrue(pointer[1].endswith(".ip6.arpa"))


class Parts(SynchronousTestCase):
    def test_ports_are_those_that_others_reach_or_the_usual_ones(self) -> None:
        def ports(**listen: tuple[str, ...]) -> Any:
            node = NodeSettings(data=self.mktemp())
            return service_ports(Config(node=node, listen=ListenSettings(**listen)))

        self.assertEqual(ports(), STANDARD_PORTS)
        self.assertEqual(ports(smtps=("4650",)), STANDARD_PORTS)  # this machine alone
        self.assertEqual(
            ports(smtps=("tcp:4650", "tcp:465"), pop3=("tcp:110:interface=\\:\\:",)),
            {"submissions": 4650, "pop3": 110},
        )

    def test_a_dns_server_is_an_address_with_or_without_a_port(self) -> None:
        for text, read in {
            "192.0.2.1": ("192.0.2.1", 53),
            "192.0.2.1:5353": ("192.0.2.1", 5353),
            "2001:db8::1": ("2001:db8::1", 53),
            "[2001:db8::1]": ("2001:db8::1", 53),
            "[2001:db8::1]:5353": ("2001:db8::1", 5353),
        }.items():
            self.assertEqual(read_server(text), read)
        for text in (
            "",
            "ns.example.org",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:x",
            "[::1]:70000",
        ):
            with self.assertRaises(ValueError):
                read_server(text)

    def test_one_that_is_none_is_64_or_78_by_where_it_stands(self) -> None:
        with self.assertRaises(Mistake) as caught:
            make_look_up(Config(), "ns.example.org")
        self.assertEqual(caught.exception.code, 64)
        with self.assertRaises(Mistake) as caught:
            make_look_up(Config(outbound=OutboundSettings(resolvers=("ns",))), None)
        self.assertEqual(caught.exception.code, 78)
        self.assertIn("outbound.resolvers", caught.exception.message)

    def test_quotes_and_backslashes_are_escaped(self) -> None:
        self.assertEqual(quoted('a"b\\c'), '"a\\"b\\\\c"')
        self.assertEqual(quoted(""), '""')
        self.assertEqual(
            str(Record("example.org", "TXT", "x" * 256, "")),
            f'example.org. IN TXT "{"x" * 255}" "x"',
        )
