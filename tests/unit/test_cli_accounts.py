"""`domain`, `user`, `alias`: what an administrator changes, and how passwords get in."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.cred.passwords import password_matches
from mailnode.cred.stored import ScramKeys, read_kept
from mailnode.sealing import Seal
from mailnode.store.accounts import Accounts
from mailnode.store.audit_lines import read_back
from tests.unit.cli_case import CommandCase

PASSWORD = "correct horse"
BCRYPT = "$2y$05$h7orBuFPBAfLkSqMfBDLZe8Mm6xpI2Wc4xEY9gnCa.Q2yB04sytbi"


class TypedPasswords:
    """A terminal where these passwords are typed, unseen, one after the other."""

    def __init__(self, case: CommandCase, *typed: str, answer: bool = True) -> None:
        self.left = list(typed)
        self.asked: list[str] = []
        for target, stand_in in (
            ("mailnode.cli.passwords.stdin_is_terminal", lambda: True),
            ("mailnode.cli.accounts.stdin_is_terminal", lambda: True),
            ("mailnode.cli.passwords.click.prompt", self.prompt),
        ):
            patched = patch(target, stand_in)
            patched.start()
            case.addCleanup(patched.stop)

    def prompt(self, words: str, **how: Any) -> str:
        assert how["hide_input"] and how["err"]
        self.asked.append(words)
        return self.left.pop(0)


class AccountCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@example.org", "bob@example.org")

    def account(self, name: str) -> Any:
        accounts = Accounts.open("users.db")
        try:
            return accounts.account(name)
        finally:
            accounts.close()

    def addresses(self) -> list[str]:
        return [row["address"] for row in self.run_json("user list")]


class Domains(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_command("init")

    def test_one_is_added_listed_and_deleted(self) -> None:
        self.assertIn(
            "user add NAME@example.org", self.run_command("domain add Example.ORG").stdout
        )
        rows = self.run_json("domain list")
        self.assertEqual(
            [(row["domain"], row["accounts"], row["aliases"]) for row in rows],
            [("example.org", 0, 0)],
        )
        self.run_command("domain delete example.org")
        self.assertEqual(self.run_json("domain list"), [])

    def test_an_alias_with_several_targets_is_one(self) -> None:
        self.run_command("domain add example.org")
        for name in ("alice", "bob"):
            self.run_command(f"user add {name}@example.org", PASSWORD)
        self.run_command("alias add sales@example.org alice@example.org bob@example.org")
        (row,) = self.run_json("domain list")
        self.assertEqual((2, 1), (row["accounts"], row["aliases"]))

    def test_an_empty_list_names_the_next_step(self) -> None:
        self.assertIn("mailnode domain add", self.run_command("domain list").stdout)

    def test_an_international_name_is_kept_as_a_labels(self) -> None:
        self.assertEqual(
            self.run_json("domain add bücher.example")["domain"], "xn--bcher-kva.example"
        )

    def test_what_is_no_domain_is_65(self) -> None:
        self.assertIn("such as example.org", self.refusal("domain add 'foo bar'", 65))

    def test_one_that_is_there_is_73_and_one_that_is_not_67(self) -> None:
        self.run_command("domain add example.org")
        self.refusal("domain add example.org", 73)
        self.refusal("domain delete example.com", 67)

    def test_one_with_accounts_is_not_deleted(self) -> None:
        self.make_accounts("alice@example.org")
        self.assertIn("delete them first", self.refusal("domain delete example.org", 65))


class Users(AccountCase):
    def test_one_is_added_with_the_password_from_standard_input(self) -> None:
        told = self.run_json("user add carol@example.org --quota '2 GiB'", PASSWORD + "\n")
        self.assertEqual(told["address"], "carol@example.org")
        self.assertEqual(told["quota_octets"], 2 << 30)
        self.assertTrue(password_matches(self.account("carol").password_hash, PASSWORD))
        self.assertNotIn("hash", str(told))

    def test_a_bare_name_means_the_first_domain(self) -> None:
        self.run_command("user add carol", PASSWORD)
        self.assertIn("carol@example.org", self.addresses())

    def test_one_in_a_foreign_domain_names_the_mend_before_a_password_is_asked_for(self) -> None:
        self.assertIn("mailnode domain add x.example", self.refusal("user add a@x.example", 67))

    def test_one_that_is_there_names_passwd(self) -> None:
        told = self.refusal("user add alice@example.org", 73, PASSWORD)
        self.assertIn("mailnode user passwd alice@example.org", told)

    def test_what_is_no_address_is_65(self) -> None:
        self.assertIn("such as carol@example.org", self.refusal("user add a..b@example.org", 65))

    def test_a_quota_that_is_no_size_is_64(self) -> None:
        self.assertIn("25 MiB", self.refusal("user add carol --quota much", 64, PASSWORD))

    def test_a_quota_that_no_file_can_hold_is_64(self) -> None:
        self.assertIn("25 MiB", self.refusal(f"user quota alice {10**23}", 64))
        self.assertIn("in the range", self.refusal(f"user quota alice --quota-mails {10**23}", 64))

    def test_show_tells_state_aliases_and_mail(self) -> None:
        self.run_command("alias add sales@example.org alice@example.org")
        self.file_mail("alice@example.org")
        facts = self.run_json("user show alice")
        self.assertEqual(facts["aliases"], ["sales@example.org"])
        self.assertEqual(facts["mails"], 1)
        self.assertGreater(facts["octets"], 40)
        self.assertIn("1 mail,", self.run_command("user show alice").stdout)

    def test_one_that_is_not_there_is_67(self) -> None:
        for command in ("show", "passwd", "disable", "enable", "quota", "delete"):
            self.refusal(f"user {command} nobody@example.org", 67)

    def test_disabled_and_enabled_again(self) -> None:
        self.assertTrue(self.run_json("user disable alice")["disabled"])
        self.assertTrue(self.account("alice").disabled)
        self.assertIn("disabled", self.run_command("user list").stdout)
        self.assertFalse(self.run_json("user enable alice")["disabled"])

    def test_quota_is_set_and_taken_back_to_the_default(self) -> None:
        told = self.run_json("user quota alice '1 MiB' --quota-mails 0")
        self.assertEqual((told["quota_octets"], told["quota_mails"]), (1 << 20, 0))
        self.assertIn("1.0 MiB, any number of mails", self.run_command("user list").stdout)
        self.assertIsNone(self.run_json("user quota alice")["quota_octets"])

    def test_an_administrator_is_made_so_and_no_more_one(self) -> None:
        added = self.run_json("user add dora@example.org --admin", "seven sleepy owls\n")
        self.assertTrue(added["admin"])
        self.assertIn("active, administrator", self.run_command("user list").stdout)
        self.run_command("user set dora --no-admin")
        self.assertFalse(self.account("dora").admin)
        self.run_command("user set dora --admin")
        self.assertTrue(self.account("dora").admin)
        self.assertIn("--admin", self.refusal("user set dora", 64))
        self.refusal("user set nobody --admin", 67)

    def test_unwanted_mail_lies_in_junk_or_in_the_inbox_for_pop3(self) -> None:
        self.assertIn("lies in Junk", self.run_command("user show alice").stdout)
        told = self.run_command("user set alice --junk inbox").stdout
        self.assertIn("lies in the INBOX, with X-Spam-Flag: YES in front", told)
        self.assertEqual("INBOX", self.account("alice").junk)
        self.assertEqual("Junk", self.run_json("user set alice --junk folder")["junk_folder"])
        tagged = self.run_json("user set alice --junk tagged")
        self.assertEqual(("INBOX", True), (tagged["junk_folder"], tagged["junk_tagged"]))
        self.assertIn(
            "a Subject that begins with the tag", self.run_command("user show alice").stdout
        )
        self.assertFalse(self.run_json("user set alice --junk inbox")["junk_tagged"])
        self.refusal("user set alice --junk tag", 64)

    def test_the_list_can_be_of_one_domain(self) -> None:
        self.make_accounts("zoe@second.example")
        rows = self.run_json("user list --domain second.example")
        self.assertEqual([row["address"] for row in rows], ["zoe@second.example"])


class Deleting(AccountCase):
    def test_without_a_terminal_it_needs_yes_and_says_what_goes(self) -> None:
        self.file_mail("alice@example.org")
        told = self.refusal("user delete alice", 64)
        self.assertIn("alice@example.org and its 1 mail", told)
        self.assertIn("--yes", told)
        self.assertIn("alice@example.org", self.addresses())
        self.run_command("user delete alice --yes")
        self.assertNotIn("alice@example.org", self.addresses())

    def test_on_a_terminal_it_asks(self) -> None:
        TypedPasswords(self)
        self.run_command("user delete alice", typed="n\n", exit_code=130)
        self.assertIn("alice@example.org", self.addresses())
        self.run_command("user delete alice", typed="y\n")
        self.assertNotIn("alice@example.org", self.addresses())

    def test_aliases_that_lead_to_it_are_named_and_go_with_force(self) -> None:
        self.run_command("alias add sales@example.org alice@example.org bob@example.org")
        told = self.refusal("user delete alice --yes", 65)
        self.assertIn("sales@example.org", told)
        self.assertIn("--force", told)
        self.run_command("user delete alice --yes --force")
        self.assertEqual(
            self.run_json("alias list"),
            [{"source": "sales@example.org", "targets": ["bob@example.org"]}],
        )


class Passwords(AccountCase):
    def test_on_a_terminal_it_is_asked_for_twice_unseen(self) -> None:
        terminal = TypedPasswords(self, PASSWORD, PASSWORD)
        result = self.run_command("user passwd alice")
        self.assertEqual(len(terminal.asked), 2)
        self.assertNotIn(PASSWORD, result.output)
        self.assertTrue(password_matches(self.account("alice").password_hash, PASSWORD))

    def test_one_that_is_not_good_is_asked_for_again(self) -> None:
        typed = ("short", " ", PASSWORD, PASSWORD)
        for line in ("user passwd alice", "init --user eve@example.org"):
            terminal = TypedPasswords(self, *typed)
            told = self.run_command(line).stderr
            self.assertIn("A password has at least 10 characters: once more", told)
            self.assertIn("The password is empty or blank: once more", told)
            self.assertEqual([], terminal.left)

    def test_two_that_differ_change_nothing(self) -> None:
        before = self.account("alice").password_hash
        TypedPasswords(self, *(PASSWORD, PASSWORD + "x") * 3)
        told = self.run_command("user passwd alice", exit_code=65).stderr.splitlines()
        self.assertEqual(["the two passwords differ: once more"] * 2, told[:2])
        self.assertIn("differ; nothing was changed", told[2])
        self.assertEqual(self.account("alice").password_hash, before)

    def test_only_the_first_line_is_taken_without_its_line_end(self) -> None:
        self.run_command("user passwd alice", typed=f"  {PASSWORD} \r\nmore\n")
        self.assertTrue(password_matches(self.account("alice").password_hash, f"  {PASSWORD} "))

    def test_empty_short_missing_and_unreadable_ones_are_refused(self) -> None:
        before = self.account("alice").password_hash
        for typed, why in (
            (b"", "no password"),
            (b"\n", "empty"),
            (b"seven 77\n", "10 characters"),
            (b"password 1234\n", "easy to guess"),
            (b"alice@example.org\n", "not the name"),
            (b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\n", "UTF-8"),
            (b"with\x00zero-octet\n", "control character"),
        ):
            self.assertIn(why, self.refusal("user passwd alice", 65, typed))
        self.assertEqual(self.account("alice").password_hash, before)

    def test_ten_characters_will_do_whatever_their_octets(self) -> None:
        self.run_command("user passwd alice", typed="äöüÄÖÜßéüñ\n")
        self.refusal("user passwd alice", 65, "äöüÄÖÜßéü\n")

    def test_the_last_five_are_refused_and_the_one_before_may_come_back(self) -> None:
        words = [
            f"{each} sleepy owls" for each in ("seven", "eight", "nine", "ten", "eleven", "12")
        ]
        for word in words[:5]:
            self.run_command("user passwd alice", typed=f"{word}\n")
        for word in words[:5]:
            self.assertIn("new", self.refusal("user passwd alice", 65, f"{word}\n"))
        self.run_command("user passwd alice", typed=f"{words[5]}\n")
        self.run_command("user passwd alice", typed=f"{words[0]}\n")

    def test_its_keys_for_scram_are_sealed_about_the_account(self) -> None:
        self.run_command("user passwd alice", typed=f"{PASSWORD}\n")
        accounts = Accounts.open("users.db")
        directory = accounts.load_directory()
        accounts.close()
        alice = directory.find(parse_address("alice@example.org"))
        assert alice is not None
        kept = directory.scram_keys[alice.id]
        keys = read_kept(alice, kept, Seal.open(Path("var")))
        assert keys is not None
        self.assertEqual(ScramKeys.of(PASSWORD, keys.salt), keys)
        self.assertNotIn(keys.stored_key, kept.keys)
        self.assertIsNone(read_kept(evolve(alice, id=alice.id + 1), kept, Seal.open(Path("var"))))

    def test_a_demo_account_may_have_a_short_one_but_never_none(self) -> None:
        self.assertTrue(self.run_json("user add --demo demo@example.org", "demo\n")["demo"])
        self.refusal("user add --demo other@example.org", 65, "\n")

    def test_a_new_password_is_published_nowhere_and_as_long_as_any(self) -> None:
        self.run_json("user add --demo demo@example.org", "demo\n")
        self.refusal("user passwd demo", 65, "tiny\n")
        self.assertFalse(self.run_json("user passwd demo", "no longer tiny\n")["demo"])


class Aliases(AccountCase):
    def test_several_targets_are_added_and_deleted_one_by_one_or_together(self) -> None:
        self.run_command("alias add sales@example.org alice@example.org bob@example.org")
        self.run_command("alias delete sales@example.org alice@example.org")
        self.assertEqual(self.run_json("alias list")[0]["targets"], ["bob@example.org"])
        self.run_command("alias delete sales@example.org")
        self.assertEqual(self.run_json("alias list"), [])
        self.assertIn("mailnode alias add", self.run_command("alias list").stdout)

    def test_a_catch_all_is_an_alias_too(self) -> None:
        self.run_command("alias add '*@example.org' alice@example.org")
        self.assertIn("*@example.org", self.run_command("alias list --domain example.org").stdout)

    def test_when_one_target_is_unknown_none_is_added(self) -> None:
        self.refusal("alias add sales@example.org alice@example.org nobody@example.org", 67)
        self.assertEqual(self.run_json("alias list"), [])
        told = {each.entry.event for each in read_back(self.folder / "var")}
        self.assertFalse({"alias-added", "alias-deleted"} & told)

    def test_one_that_is_not_there_is_67(self) -> None:
        self.refusal("alias delete sales@example.org", 67)

    def test_a_bare_name_means_the_first_domain(self) -> None:
        self.run_command("alias add sales alice bob")
        aliases = [
            {"source": "sales@example.org", "targets": ["alice@example.org", "bob@example.org"]}
        ]
        self.assertEqual(self.run_json("alias list"), aliases)
        self.run_command("alias delete sales bob")
        aliases[0]["targets"] = ["alice@example.org"]
        self.assertEqual(self.run_json("alias list"), aliases)

    def test_no_address_is_65_and_says_what_an_address_is(self) -> None:
        self.assertIn("an address is such as", self.refusal("alias add a@b@c alice", 65))


class TheBell(AccountCase):
    def setUp(self) -> None:
        super().setUp()
        self.rung: list[tuple[Path, str]] = []
        for module in ("node", "settings"):
            patched = patch(f"mailnode.cli.{module}.ring_from_outside", self.ring)
            patched.start()
            self.addCleanup(patched.stop)

    def ring(self, data: Path, topic: str) -> None:
        self.rung.append((data, topic))

    def test_each_change_rings_accounts_once_at_that_node(self) -> None:
        for line in (
            "user disable alice",
            "user set alice --admin",
            "domain add second.example",
            "alias add sales@example.org alice@example.org",
            "user delete bob --yes",
            "init --domain third.example",
        ):
            self.run_command(f"{line} --data elsewhere")
            self.assertEqual(self.rung, [(Path("elsewhere"), "accounts")], line)
            self.rung.clear()

    def test_a_change_is_in_the_file_before_it_rings(self) -> None:
        with patch("mailnode.cli.node.ring_from_outside", self.look):
            self.run_command("user disable alice")
        self.assertEqual(self.seen, [True])

    def look(self, data: Path, topic: str) -> None:
        self.seen = [self.account("alice").disabled]

    def test_looking_and_failing_ring_nothing(self) -> None:
        self.run_command("user list")
        self.refusal("user disable nobody", 67)
        self.assertEqual(self.rung, [])


class Init(CommandCase):
    def test_it_makes_both_for_their_owner_alone(self) -> None:
        told = self.run_json("init")
        self.assertEqual(told["made"], ["var", "users.db"])
        self.assertEqual(stat.S_IMODE(Path("var").stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(Path("users.db").stat().st_mode), 0o600)

    def test_a_second_time_it_changes_nothing(self) -> None:
        self.run_command("init --domain example.org")
        before = Path("users.db").read_bytes()
        self.assertEqual(self.run_json("init --domain example.org")["made"], [])
        self.assertEqual(Path("users.db").read_bytes(), before)

    def test_a_first_account_brings_its_domain(self) -> None:
        told = self.run_json("init --user carol@example.org", PASSWORD)
        self.assertIn("account carol@example.org", told["made"])
        self.assertEqual(told["domains"], ["example.org"])

    def test_a_bad_password_makes_nothing_at_all(self) -> None:
        self.refusal("init --user carol@example.org", 65, "short\n")
        self.assertEqual(list(Path().iterdir()), [])

    def test_an_account_that_is_there_is_73(self) -> None:
        self.make_accounts("carol@example.org")
        told = self.refusal("init --user carol@example.org", 73)
        self.assertIn("mailnode user passwd carol@example.org", told)

    def test_where_no_folder_is_it_is_73(self) -> None:
        self.assertIn("make it first", self.refusal("init --users no/where/users.db", 73))


class ForeignPasswords(AccountCase):
    """Accounts of another mail server come with the hashes of their passwords."""

    def hash_of(self, name: str) -> str:
        return str(self.account(name).password_hash)

    def test_one_is_made_with_what_another_system_kept(self) -> None:
        for name, given in (("carol", f"{{BLF-CRYPT}}{BCRYPT}"), ("dora", BCRYPT)):
            self.run_command(f"user add {name}@example.org --hash '{given}'")
            self.assertEqual(BCRYPT, self.hash_of(name))

    def test_a_hash_that_costs_too_much_or_is_none_makes_no_account(self) -> None:
        for given in (BCRYPT.replace("$05$", "$20$"), "sesame", "{PLAIN}sesame", ""):
            self.refusal(f"user add carol@example.org --hash '{given}'", 65)
        self.assertNotIn("carol@example.org", self.addresses())
        said = self.refusal(f"user add carol@example.org --demo --hash '{BCRYPT}'", 64)
        self.assertIn("without --hash", said)

    def import_file(self, *lines: str | bytes, exit_code: int = 0) -> Any:
        octets = [each if isinstance(each, bytes) else each.encode() for each in lines]
        Path("users").write_bytes(b"\n".join(octets))
        return self.run_json("user import users", exit_code=exit_code)

    def test_a_file_of_dovecots_is_taken_and_taking_it_again_does_no_harm(self) -> None:
        lines = (
            "# name:hash:uid:gid:gecos:home:shell:extra",
            "",
            f"carol:{{BLF-CRYPT}}{BCRYPT}:1000:1000::/home/carol::userdb_quota=1G",
            f"dora@example.org:{BCRYPT}",
            f"alice:{BCRYPT}:::",
        )
        before = self.hash_of("alice")
        told = self.import_file(*lines)
        self.assertEqual(["carol@example.org", "dora@example.org"], told["made"])
        self.assertEqual((["alice@example.org"], []), (told["kept"], told["unusable"]))
        self.assertEqual(BCRYPT, self.hash_of("carol"))
        self.assertEqual(before, self.hash_of("alice"))
        again = self.import_file(*lines)
        self.assertEqual(([], 3), (again["made"], len(again["kept"])))

    def test_lines_that_can_not_be_taken_are_told_and_the_others_are(self) -> None:
        told = self.import_file(
            "no hash at all",
            f"carol:{{MD5-CRYPT}}{BCRYPT}",
            f"eve@elsewhere.example:{BCRYPT}",
            b"\xff:" + BCRYPT.encode(),
            "x" * 100_000,
            f"not an @ddress:{BCRYPT}",
            f"dora:{BCRYPT}",
            f"dora:{BCRYPT}",
            f"eve:{BCRYPT.replace('$05$', '$31$')}",
            exit_code=65,
        )
        self.assertEqual(["dora@example.org"], told["made"])
        whys = [f"{each['where']}: {each['why']}" for each in told["unusable"]]
        for number, words in (
            (1, "no name, colon and hash"),
            (2, "{MD5-CRYPT} is no scheme"),
            (3, "mailnode domain add elsewhere.example"),
            (4, "not UTF-8"),
            (5, "longer than 4096"),
            (6, "not an @ddress"),
            (8, "stands in a line before"),
            (9, "cost is 31"),
        ):
            line = next(each for each in whys if each.startswith(f"users, line {number}: "))
            self.assertIn(words, line)
        self.assertEqual(8, len(whys))

    def test_what_can_not_be_read_is_said(self) -> None:
        self.refusal("user import nowhere", 65)
