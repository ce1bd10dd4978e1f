"""`dkim`: keys are made, take over from others once they are published, and go."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import dkim

from mailnode.mailauth.dkim import ED25519, RSA, BodyHash, sign
from mailnode.mailauth.keys import seal_label, unpack_key
from mailnode.sealing import Seal
from mailnode.store.outside import Outside
from tests.unit.keys_case import KeysCase


class DkimCase(KeysCase):
    def setUp(self) -> None:
        super().setUp()
        self.month("mn202611")

    def month(self, text: str) -> None:
        patched = patch("mailnode.cli.dkim.time.strftime", lambda _form, _at: text)
        patched.start()
        self.addCleanup(patched.stop)

    def states(self) -> dict[str, str]:
        shown = self.run_json("dkim show example.org")
        return {key["selector"]: key["state"] for key in shown["keys"]}

    def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run_json("dkim show example.org")["keys"]
        return found


class Generate(DkimCase):
    def test_both_kinds_are_made_and_sign_and_their_records_are_shown(self) -> None:
        told = self.run_command("dkim generate Example.ORG").stdout
        self.assertEqual(self.states(), {"mn202611-rsa": "signs", "mn202611-ed": "signs"})
        self.assertIn('mn202611-rsa._domainkey.example.org. IN TXT "v=DKIM1; k=rsa; p=MII', told)
        self.assertIn('mn202611-ed._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519;', told)

    def test_what_they_sign_verifies_with_the_records_that_are_shown(self) -> None:
        self.run_command("dkim generate example.org")
        seal = Seal.open(self.folder / "var")
        keys = [
            unpack_key(
                "example.org",
                key.selector,
                key.algorithm,
                seal.unseal(key.sealed_key, seal_label("example.org", key.selector)),
            )
            for key in self.kept()
        ]
        self.assertEqual([key.algorithm for key in keys], [RSA, ED25519])
        header = b"From: alice@example.org\r\n"
        mail = sign(header, BodyHash().digest(), keys, 1_795_000_000) + header + b"\r\n"
        records = {f"{key['name']}.".encode(): key["value"].encode() for key in self.keys()}
        for index in range(2):
            verifier = dkim.DKIM(mail)
            self.assertTrue(verifier.verify(index, dnsfunc=lambda name, timeout: records[name]))

    def test_a_domain_that_has_keys_is_73_and_names_rotate(self) -> None:
        self.run_command("dkim generate example.org")
        self.assertIn("mailnode dkim rotate", self.refusal("dkim generate example.org", 73))

    def test_a_domain_that_is_not_served_is_67(self) -> None:
        for command in ("generate", "show", "rotate"):
            self.refusal(f"dkim {command} example.net", 67)
        self.refusal("dkim delete example.net x", 67)

    def test_a_selector_may_be_named_and_must_be_a_label(self) -> None:
        self.run_command("dkim generate example.org --selector Key-1")
        self.assertEqual(list(self.states()), ["key-1-rsa", "key-1-ed"])
        for wrong in ("a.b", "-a", "a_b", "a" * 51):
            self.assertIn(
                "no selector", self.refusal(f"dkim rotate example.org --selector {wrong}", 65)
            )

    def test_a_domain_without_keys_shows_the_next_step(self) -> None:
        told = self.run_command("dkim show example.org").stdout
        self.assertIn("mailnode dkim generate example.org", told)

    def test_private_keys_are_never_shown(self) -> None:
        self.run_command("dkim generate example.org")
        told = self.run_command("dkim show example.org").stdout + str(self.keys())
        self.assertNotIn("sealed", told)
        self.assertNotIn("PRIVATE", told)


class Rotate(DkimCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_command("dkim generate example.org")

    def test_new_keys_wait_until_they_are_published_and_then_the_old_ones_are_retired(self) -> None:
        told = self.run_command("dkim rotate example.org").stdout
        self.assertIn("mn202611b-rsa._domainkey.example.org. IN TXT", told)
        self.assertNotIn("mn202611-rsa", told)
        old, new = ["mn202611-rsa", "mn202611-ed"], ["mn202611b-rsa", "mn202611b-ed"]
        waiting = dict.fromkeys(old, "signs") | dict.fromkeys(new, "waiting")
        self.assertEqual(self.states(), waiting)

        told = self.refusal("dkim rotate example.org", 75)
        self.assertIn("mn202611b-rsa._domainkey.example.org is not published yet (missing)", told)
        self.publish(self.keys()[:3])
        self.assertIn("mn202611b-ed", self.refusal("dkim rotate example.org --server ::1", 75))
        self.assertEqual(self.asked, [None, "::1"])
        self.assertEqual(self.states(), waiting)

        self.publish(self.keys())
        told = self.run_command("dkim rotate example.org").stdout
        self.assertIn("mailnode dkim delete example.org mn202611-rsa", told)
        switched = dict.fromkeys(old, "retired") | dict.fromkeys(new, "signs")
        self.assertEqual(self.states(), switched)

    def test_another_key_in_their_place_is_not_theirs(self) -> None:
        self.run_command("dkim rotate example.org")
        self.publish(self.keys())
        self.dns["mn202611b-ed._domainkey.example.org", "TXT"] = ["v=DKIM1; k=ed25519; p=AAAA"]
        self.assertIn("(differs)", self.refusal("dkim rotate example.org", 75))

    def test_now_asks_nobody(self) -> None:
        self.run_command("dkim rotate example.org --now")
        self.assertEqual(list(self.states().values()), ["retired"] * 2 + ["signs"] * 2)
        self.assertEqual(self.asked, [])

    def test_now_takes_those_that_wait(self) -> None:
        self.run_command("dkim rotate example.org")
        self.run_command("dkim rotate example.org --now")
        self.assertEqual(list(self.states().values()), ["retired"] * 2 + ["signs"] * 2)

    def test_there_is_a_key_that_signs_at_every_moment(self) -> None:
        set_active, seen = Outside.set_key_active, []

        def look(kept: Outside, domain: str, selector: str, active: bool) -> None:
            set_active(kept, domain, selector, active)
            seen.append(any(key.active for key in kept.keys(domain)))

        self.patch(Outside, "set_key_active", look)
        self.run_command("dkim rotate example.org --now")
        self.assertEqual(seen, [True] * 6)

    def test_a_selector_that_is_taken_makes_no_key(self) -> None:
        self.refusal("dkim rotate example.org --selector mn202611", 73)
        self.assertEqual(len(self.states()), 2)

    def test_a_new_month_is_a_new_name(self) -> None:
        self.month("mn202612")
        self.run_command("dkim rotate example.org")
        self.assertIn("mn202612-rsa", self.states())


class Delete(DkimCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_command("dkim generate example.org")

    def test_one_that_signs_is_kept_unless_forced(self) -> None:
        told = self.refusal("dkim delete example.org mn202611-ed", 65)
        self.assertIn("mailnode dkim rotate", told)
        self.run_command("dkim delete example.org mn202611-ed --force")
        self.assertEqual(list(self.states()), ["mn202611-rsa"])

    def test_a_retired_one_goes_and_its_record_is_named(self) -> None:
        self.run_command("dkim rotate example.org --now")
        told = self.run_command("dkim delete example.org mn202611-rsa").stdout
        self.assertIn("take mn202611-rsa._domainkey.example.org out of the DNS", told)
        self.assertNotIn("mn202611-rsa", self.states())

    def test_one_that_is_not_there_is_67(self) -> None:
        self.assertIn("mailnode dkim show", self.refusal("dkim delete example.org other", 67))
