"""`doctor` on mail that leaves: the gear, what it keeps here, keys, sealed passwords."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.mailauth.dkim import RSA
from mailnode.mailauth.keys import seal_label
from mailnode.model import Envelope, Message, Remote, new_mail_id
from mailnode.routes import Gear, SendAs
from mailnode.sealing import KEY_FILE, Seal
from mailnode.store.accept import accept_mails
from mailnode.store.accounts import Accounts
from mailnode.store.outside import Outside
from tests.unit.test_cli_doctor import DoctorCase


class Sending(DoctorCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("dan@mailnode.org")

    def outside(self, work: Any) -> None:
        accounts = Accounts.open("users.db")
        try:
            work(accounts.outside)
        finally:
            accounts.close()

    def capture(self, to: str) -> None:
        remote = Remote(parse_address(to), captured=True)
        envelope = Envelope(
            new_mail_id(),
            parse_address("dan@mailnode.org"),
            (),
            received_at=time.time(),
            remotes=(remote,),
        )
        body = b"Subject: x\r\n\r\nhello\r\n"
        message = Message(b"", body, len(body), b"\0" * 32, subject="x")
        self.write_mail(lambda connection: accept_mails(connection, [(envelope, message)]))

    def seal_key(self, outside: Outside, about: bytes | None = None) -> None:
        seal = Seal.open(Path("var"))
        sealed = seal.seal(b"key", about or seal_label("mailnode.org", "s1"))
        outside.add_key("mailnode.org", "s1", RSA, sealed, "public")

    def test_the_gear_is_told(self) -> None:
        self.assertIn("mailnode gear set live lets it out", self.found("good")["gear"])
        self.outside(lambda outside: outside.set_gear(Gear("allow-list", ("example.net",))))
        self.assertIn("only for example.net", self.found("good")["gear"])

    def test_a_live_node_whose_domain_signs_nothing_is_warned_of(self) -> None:
        self.assertNotIn("dkim", self.found("warning"))
        self.outside(lambda outside: outside.set_gear(Gear("live")))
        self.assertIn("mailnode dkim generate mailnode.org", self.warning("dkim"))
        self.outside(self.seal_key)
        self.assertNotIn("dkim", self.found("warning"))

    def test_what_was_captured_is_counted_and_never_leaves(self) -> None:
        self.capture("a@example.net")
        self.capture("b@example.net")
        told = self.warning("captured")
        self.assertIn("2 recipients elsewhere", told)
        self.assertIn("mailnode gear set live, and send it again", told)
        self.outside(lambda outside: outside.set_gear(Gear("live")))
        told = self.warning("captured")
        self.assertIn("queue drop --state captured", told)
        self.assertNotIn("gear set live", told)

    def test_what_the_data_folder_s_key_does_not_open_is_a_fault(self) -> None:
        self.outside(self.seal_key)
        self.assertNotIn("seal", self.found("good"))
        key = Path("var") / KEY_FILE
        kept = key.read_bytes()
        for content, words in ((None, "it is missing"), (b"short", "holds 5 octets")):
            key.unlink(missing_ok=True)
            if content:
                key.touch(mode=0o600)
                key.write_bytes(content)
            self.assertIn(words, self.fault("seal"))
            self.assertEqual(key.exists(), content is not None)
        key.write_bytes(kept[::-1])
        self.assertIn("1 key or password in users.db", self.fault("seal"))
        self.assertIn("mailnode dkim rotate mailnode.org --now", self.fault("seal"))
        key.write_bytes(kept)
        self.assertNotIn("seal", self.found("warning"))

    def test_a_provider_s_password_that_was_sealed_for_another_host_is_one(self) -> None:
        accounts = Accounts.open("users.db")
        carol = accounts.account("carol@example.org").id
        entry = SendAs(0, carol, "carol@example.net", "mail.example.net", 465, True, "carol", b"")
        sealed = Seal.open(Path("var")).seal(b"secret", evolve(entry, host="evil.example").about)
        accounts.outside.add_send_as(evolve(entry, sealed_password=sealed))
        accounts.close()
        self.assertIn("send-as delete and add, for carol@example.net", self.fault("seal"))

    def test_a_route_s_password_file_is_looked_into(self) -> None:
        secret = Path("secret")
        secret.touch(mode=0o600)
        secret.write_text("pw\n")
        self.run_command("route add '*' smtps://carol@relay.example.net --password-file secret")
        self.assertNotIn("password", self.found("warning"))
        secret.chmod(0o640)
        told = self.warning("password")
        self.assertIn("others may read", told)
        self.assertIn(f"chmod 600 {secret.absolute()}", told)
        secret.write_text("\n")
        self.assertIn("not on the first line", self.fault("password"))
        secret.unlink()
        told = self.fault("password")
        self.assertIn("smtps://carol@relay.example.net:465 (mail for *)", told)
        self.assertIn("No such file", told)
