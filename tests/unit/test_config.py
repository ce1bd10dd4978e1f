"""`mailnode.config`: where settings come from, and what a mistake in them is told."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.config import Config, ConfigError, load_config
from mailnode.settings import MIB, all_settings
from mailnode.values import (
    read_action,
    read_count,
    read_dns_lists,
    read_duration,
    read_flag,
    read_hostname,
    read_list,
    read_networks,
    read_resolvers,
    read_size,
)


class ReadTests(SynchronousTestCase):
    def test_sizes(self) -> None:
        for value, octets in [
            (0, 0), (7, 7), ("7", 7), ("25 MiB", 25 * MIB), ("25MB", 25 * MIB), ("1k", 1024),
            ("1.5 GiB", 3 << 29), (" 10 ", 10), ("2 TiB", 2 << 40),
        ]:  # fmt: skip
            self.assertEqual(read_size(value), octets, value)

    def test_durations(self) -> None:
        for value, seconds in [
            (0, 0.0), (1.5, 1.5), ("30", 30.0), ("30s", 30.0), ("30m", 1800.0),
            ("1d 12h", 129600.0), ("1h30m", 5400.0), ("0.5s", 0.5),
        ]:  # fmt: skip
            self.assertEqual(read_duration(value), seconds, value)

    def test_flags_and_lists(self) -> None:
        self.assertEqual([read_flag(v) for v in (True, "yes", "ON", "0", False)], [1, 1, 1, 0, 0])
        self.assertEqual(read_list("2525, tcp:25"), ("2525", "tcp:25"))
        self.assertEqual(read_list(2525), ("2525",))
        self.assertEqual(read_list([2525, "tcp:25"]), ("2525", "tcp:25"))

    def test_networks_take_their_usual_form(self) -> None:
        self.assertEqual(
            read_networks("10.0.0.0/8, 127.0.0.1 2001:DB8::/32"),
            ("10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"),
        )

    def test_dns_servers_are_addresses_each_with_a_port_or_without(self) -> None:
        given = ("192.0.2.53", "127.0.0.1:5353", "::1", "[::1]:5353")
        self.assertEqual(given, read_resolvers(list(given)))
        self.assertEqual(given, read_resolvers(", ".join(given)))

    def test_host_names_become_a_labels(self) -> None:
        self.assertEqual(read_hostname("MX.Example.org"), "mx.example.org")
        self.assertEqual(read_hostname("b\u00fccher.example"), "xn--bcher-kva.example")
        self.assertEqual(read_hostname(""), "")

    def test_lists_in_the_dns_and_actions_stay_as_they_are_written(self) -> None:
        given = ("zen.example.org=127.0.0.2-11+127.0.1.0/24*2", "dbl.example.org")
        self.assertEqual(given, read_dns_lists(list(given)))
        self.assertEqual(given, read_dns_lists(", ".join(given)))
        self.assertEqual(
            ["off", "mark", "refuse"], list(map(read_action, ("off", "mark", "refuse")))
        )

    def test_what_can_t_be_read_says_what_would_do(self) -> None:
        for read, values in [
            (read_size, ["", "x", "-1", -1, True, 1.5, "1 XB", "1 MiB 2", None, "9" * 400]),
            (read_size, [10**19, "99999999 TiB"]),
            (
                read_duration,
                ["", "  ", "x", -1, True, "1w", "5m 1h", None, float("nan"), float("inf")],
            ),
            (read_count, ["", "x", -1, True, 1.5, "\u00b2", "1.5", None]),
            (read_flag, ["", "maybe", 2, None]),
            (read_hostname, ["not a name", "a..b", "-x", "[127.0.0.1]", "a\r\nb", 1, None]),
            (read_list, [None, True, 1.5, {}, [None], [True]]),
            (read_resolvers, ["dns.example.org", "127.0.0.1:0", "[::1", ["127.0.0.1:x"], None]),
            (read_dns_lists, ["zen", "zen.example.org=1", ["zen.example.org*x"], None]),
            (read_action, ["", "on", True, None]),
            (read_networks, ["10.0.0.1/8", "proxy", ["10.0.0.0/33"], [""], None]),
        ]:
            for value in values:
                with self.assertRaises(ValueError, msg=f"{read.__name__}({value!r})") as caught:
                    read(value)
                self.assertRegex(str(caught.exception), r"^(a |true or false|\"off\")")


class LoadConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, text: str, name: str = "mailnode.toml") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode("latin-1"))
        return path

    def complaint(self, *args: object, **kwargs: object) -> str:
        with self.assertRaises(ConfigError) as caught:
            load_config(*args, **{"environment": {}, **kwargs})  # type: ignore[arg-type]
        self.assertNotIn("\n", str(caught.exception))
        return str(caught.exception)

    def test_without_anything_it_is_the_defaults(self) -> None:
        config = load_config(environment={})
        self.assertEqual(config, Config())
        self.assertEqual(set(config.sources.values()), {"default"})

    def test_the_environment_goes_over_the_file_and_options_over_both(self) -> None:
        path = self.write('[limits]\nmessage_size = "1 MiB"\nrecipients = 1\nerrors = 1\n')
        config = load_config(
            path,
            {"MAILNODE_LIMITS__RECIPIENTS": "2", "MAILNODE_LIMITS__ERRORS": "2"},
            {"limits.errors": (3, "--errors")},
        )
        limits = config.limits
        self.assertEqual((limits.message_size, limits.recipients, limits.errors), (MIB, 2, 3))
        self.assertEqual(config.sources["limits.message_size"], str(path))
        self.assertEqual(config.sources["limits.recipients"], "MAILNODE_LIMITS__RECIPIENTS")
        self.assertEqual(config.sources["limits.errors"], "--errors")
        self.assertEqual(config.sources["limits.stop"], "default")

    def test_paths_in_the_file_are_relative_to_its_folder(self) -> None:
        config = load_config(self.write('[node]\nusers = "u.db"\ndata = "/srv/mail"\n'), {})
        self.assertEqual(config.users_path, self.folder / "u.db")
        self.assertEqual(config.data_path, Path("/srv/mail"))

    def test_a_value_may_lie_in_a_file_of_its_own(self) -> None:
        secret = self.write("mail.example\r\n", "secret")
        config = load_config(environment={"MAILNODE_NODE__HOSTNAME_FILE": str(secret)})
        self.assertEqual(config.node.hostname, "mail.example")
        self.assertEqual(config.sources["node.hostname"], "MAILNODE_NODE__HOSTNAME_FILE")

    def test_dmarc_reports_need_what_they_tell(self) -> None:
        path = self.write('[judging]\nauthenticate = false\ndmarc_reports = "collect"\n')
        self.assertIn("tells what judging.authenticate finds", self.complaint(path))

    def test_who_reports_has_an_address_in_ascii(self) -> None:
        for said in ("reports", "\\u00fc@example.org", "a@", "a b@example.org"):
            path = self.write(f'[judging]\ndmarc_reporter = "{said}"\n')
            self.assertIn("an address such as", self.complaint(path))

    def test_a_greylist_must_let_somebody_through(self) -> None:
        for wait, until in (("4h", "4h"), ("5m", "1m")):
            path = self.write(f'[arrival]\ngreylist_wait = "{wait}"\ngreylist_until = "{until}"\n')
            told = self.complaint(path)
            self.assertIn("arrival.greylist_until must be longer than arrival.greylist_wait", told)

    def test_other_variables_are_left_alone(self) -> None:
        load_config(environment={"MAILNODE_PIDFILE": "x", "PATH": "/bin", "NODE__HOSTNAME": "x"})

    def test_an_unknown_key_names_the_nearest_known_one(self) -> None:
        path = self.write("[limits]\nmesage_size = 1\n")
        self.assertEqual(
            self.complaint(path),
            f"{path}: there is no setting limits.mesage_size; did you mean message_size?",
        )
        self.assertIn("did you mean limits?", self.complaint(self.write("[limit]\n")))
        told = self.complaint(self.write('[clamd]\naddress = "x"\n'))
        self.assertIn("no setting clamd.address; there are endpoint, timeout, ", told)
        self.assertIn(
            "did you mean recipients?",
            self.complaint(environment={"MAILNODE_LIMITS__RECIPIENT": "1"}),
        )

    def test_a_bad_value_says_where_it_stands_and_what_would_do(self) -> None:
        path = self.write('[limits]\nstop = "soon"\n')
        self.assertEqual(
            self.complaint(path),
            f"{path}: limits.stop must be a duration such as \"30m\", not 'soon'",
        )

    def test_files_that_can_t_be_used_are_one_line(self) -> None:
        missing = self.folder / "nowhere.toml"
        self.assertIn(f"can't read {missing}", self.complaint(missing))
        self.assertIn("can't read", self.complaint(self.folder))
        self.assertIn("is not TOML", self.complaint(self.write("[limits\n")))
        self.assertIn("is not TOML", self.complaint(self.write("a = '\xff'\n")))
        self.assertIn("must be a table", self.complaint(self.write("limits = 1\n")))
        binary = self.write("\xff\xfe", "binary")
        for path in (missing, binary):
            self.assertIn(
                "MAILNODE_NODE__HOSTNAME_FILE: can't read",
                self.complaint(environment={"MAILNODE_NODE__HOSTNAME_FILE": str(path)}),
            )

    def test_a_certificate_and_its_key_go_together(self) -> None:
        self.assertIn("go together", self.complaint(options={"tls.cert": ("c.pem", "--tls-cert")}))

    def test_every_setting_has_a_line_of_help_and_a_default_that_its_own_reader_takes(self) -> None:
        for section, key, default, about in all_settings():
            self.assertTrue(about, f"{section}.{key}")
            config = load_config(environment={}, options={f"{section}.{key}": (default, "-")})
            self.assertEqual(getattr(getattr(config, section), key), default)
