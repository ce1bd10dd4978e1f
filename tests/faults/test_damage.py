"""Flipped, zeroed, cut and missing pages and blobs: verify names them, the rest is served, and
`mailnode repair` keeps all that can be read.

24 damages, in each kind of page by turns; DAMAGES=500 for more, DAMAGE_SEED for others.
"""

from __future__ import annotations

import os
import poplib
import random
import shutil
import smtplib
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailnode.store.pages import Pages
from tests.faults.damage import Store, serve, suffer
from tests.live.node import DOMAIN, PASSWORD, Node, command, make_folder

DAMAGES = int(os.environ.get("DAMAGES", "24"))
SEED = int(os.environ.get("DAMAGE_SEED", "1"))
MAILS = 90

pytestmark = pytest.mark.timeout(120 + DAMAGES)


class DamageTests(TestCase):
    timeout = 120 + DAMAGES

    async def test_every_damage_is_named_and_all_that_can_be_read_is_kept(self) -> None:
        folder = Path(self.mktemp())
        store = Store.make(folder / "whole", MAILS, SEED)
        copy = folder / "served"
        shutil.copytree(store.folder, copy)
        store.copies, refused = await serve(copy, reactor)
        self.assertEqual(refused, [])
        self.assertGreater(len(store.copies), MAILS)
        wrong, told = list[str](), Counter[str]()
        for number, damage in enumerate(islice(store.damages(random.Random(SEED)), DAMAGES)):
            place = folder / f"damage-{number}"
            outcome = await suffer(store, damage, place, reactor)
            told["named"] += bool(outcome.faults)
            told["kept"] += len(outcome.after)
            told["harmless"] += outcome.after == store.copies
            kind = store.kinds.get(damage.file, {}).get(damage.page, "")
            wrong += [f"{number} {damage} in {kind}: {each}" for each in outcome.wrong]
            if not outcome.wrong:
                shutil.rmtree(place)
        print(f"{DAMAGES} damages: {dict(told)}, {len(wrong)} wrong", file=sys.stderr)
        self.assertEqual(wrong[:20], [])


class RunningNodeTests(SynchronousTestCase):
    """A real node, and the commands beside it."""

    def maildrop(self) -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", self.node.port("pop3"), timeout=20)
        self.addCleanup(client.close)
        client.user(f"alice@{DOMAIN}")
        client.pass_(PASSWORD)
        return client

    def damage_mail_seven(self) -> None:
        """One of the pages that its octets fill is nothing but zeros."""
        path = self.folder / "var" / "mail.db"
        pages = Pages(path)
        roots = {row.values[1]: row.values[3] for row in pages.tree(1, index=False)}
        (page, *_) = next(
            row.pages for row in pages.tree(roots["message"], index=False) if row.rowid == 7
        )
        pages.close()
        octets = bytearray(path.read_bytes())
        octets[(page - 1) * 4096 : page * 4096] = bytes(4096)
        path.write_bytes(octets)

    def test_it_serves_the_rest_and_after_the_repair_all_with_the_damaged_one_marked(self) -> None:
        self.folder = make_folder(Path(self.mktemp()).resolve(), ("alice",))
        self.node = Node(self.folder, ("--smtp", "0", "--pop3", "0"))
        self.addCleanup(self.node.kill)
        self.node.start()
        with smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=20) as client:
            for number in range(12):
                raw = b"Subject: %d\r\n\r\n" % number + (b"x" * 70 + b"\r\n") * 150
                client.sendmail("a@b.example", [f"alice@{DOMAIN}"], raw)
        self.node.stop()
        self.damage_mail_seven()
        named = command(self.folder, "verify", check=False)
        self.assertEqual(named.returncode, 65)
        self.assertIn("message: message 7 (mail ", named.stdout)
        self.node.start()
        client = self.maildrop()
        before = client.uidl()[1]
        for number in range(1, 13):
            if number != 7:
                self.assertGreater(len(client.retr(number)[1]), 150)
        with self.assertRaises(poplib.error_proto) as caught:
            client.retr(7)
        self.assertIn("SYS/TEMP", str(caught.exception))
        client.quit()
        self.assertEqual(command(self.folder, "repair", check=False).returncode, 75)
        self.node.stop()
        self.assertIn("kept: mail message 7", command(self.folder, "repair").stdout)
        command(self.folder, "verify")
        self.node.start()
        client = self.maildrop()
        after = client.uidl()[1]
        ids = [line.split()[1] for line in before]
        self.assertEqual([line.split()[1] for line in after[:-1]], ids[:6] + ids[7:])
        self.assertNotIn(after[-1].split()[1], ids)
        self.assertIn(b"X-Mailnode-Damaged: ", b"\n".join(client.retr(12)[1]))
        client.quit()
