"""SCRAM-SHA-256 with a password that the account had before: refused, and told from others."""

from __future__ import annotations

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.cred.ageing import Ageing
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.scram import ScramChecker, ScramMechanism
from mailnode.cred.stored import ScramKeys, StoredPassword, store_password
from mailnode.errors import StoreBusy
from mailnode.store.people import Account
from mailnode.store.sign_in import KeptKeys
from tests.scram_client import ScramClient
from tests.unit.node_case import NodeCase
from tests.unit.test_scram import BOUND, SALT, SEAL, ScramCase


class FormerPasswordTests(ScramCase):
    """A program goes on with a password that its owner has changed."""

    def had(self, account: Account, *passwords: str, salt: bytes = SALT) -> None:
        """These are passwords that the account had before, the latest first."""
        made = [StoredPassword("h", ScramKeys.of(each, salt), SEAL) for each in passwords]
        self.former[account.id] = [
            KeptKeys(salt, 100_000, each.kept_keys(account.id, is_published=False)) for each in made
        ]

    def poll(self, name: str, password: str, *, plus: bool = False) -> tuple[str, bytes]:
        """What the log says of a refusal, and what tells a former password from others."""
        flag, server = "p=tls-exporter" if plus else "n", self.begin(plus=plus)
        client = ScramClient(name, password, flag, BOUND["tls-exporter"] if plus else b"")
        said = self.refusal(client, server)
        return said, server.former_key

    def test_it_is_told_from_others_by_the_same_octets_each_time(self) -> None:
        self.had(self.alice, "pen", "quill", "brush", "chalk", "coal")
        said = {self.poll(name, "pen") for name in ("alice", "ALICE@Example.Test") * 2}
        said |= {self.poll("alice", "pen", plus=True)}
        self.assertEqual(1, len(said))
        ((reason, pen),) = said
        self.assertEqual("a former password", reason)
        self.assertTrue(pen)
        others = {self.poll("alice", each) for each in ("quill", "brush", "chalk", "coal")}
        self.assertEqual(4, len(others))
        self.assertNotIn((reason, pen), others)

    def test_it_lets_nobody_in_though_the_account_has_no_keys_now(self) -> None:
        stored = StoredPassword("h", ScramKeys.of("pen", self.book.keys_for("carol").salt), SEAL)
        assert stored.scram is not None
        kept = KeptKeys(stored.scram.salt, 100_000, stored.kept_keys(3, is_published=False))
        self.former[3] = [kept]
        self.assertEqual("a former password", self.poll("carol", "pen")[0])
        self.assertEqual(b"", self.poll("carol", "guess")[1])

    def test_what_fits_none_may_be_another_guess_each_time(self) -> None:
        self.had(self.alice, "pen", "quill")
        self.assertEqual(("wrong password", b""), self.poll("alice", "guess"))

    def test_keys_of_another_salt_or_account_or_seal_are_passed_over(self) -> None:
        self.had(self.alice, "pen", salt=b"o" * 16)
        self.assertEqual(("wrong password", b""), self.poll("alice", "pen"))
        self.had(self.alice, "pen")
        (kept,) = self.former[1]
        self.former[1] = [evolve(kept, iterations=4096)]
        self.assertEqual(("wrong password", b""), self.poll("alice", "pen"))
        self.former[1] = [evolve(kept, keys=b"broken")]
        self.assertEqual(("wrong password", b""), self.poll("alice", "pen"))
        self.had(evolve(self.alice, id=7), "pen")
        self.former[1] = self.former[7]
        self.assertEqual(("wrong password", b""), self.poll("alice", "pen"))

    def test_as_much_is_looked_for_where_there_is_no_account(self) -> None:
        self.had(self.bob, "pen")
        for name in ("alice", "bob", "carol", "dora"):
            self.poll(name, "pen")
        self.assertEqual(4, len(self.looked_for))
        self.assertNotIn(2, self.looked_for, "bob is disabled: he is shown the keys of nobody")

    def test_a_right_proof_is_let_in_and_nothing_is_looked_for(self) -> None:
        self.had(self.alice, "pencil", "pen")
        client, server = ScramClient("alice", "pencil"), self.begin()
        server.setResponse(client.first())
        server.setResponse(client.final(server.getChallenge()))
        self.successResultOf(self.checker.requestAvatarId(server))
        self.assertEqual(([], b""), (self.looked_for, server.former_key))

    def test_what_is_wrong_with_the_dialog_is_no_former_password(self) -> None:
        self.had(self.alice, "pen")
        server, client = self.begin(), ScramClient("alice", "pen", authzid="bob")
        self.assertEqual("would act for another", self.refusal(client, server))
        server = self.begin()
        client = ScramClient("alice", "pen")
        self.assertEqual(
            "another sign-in's nonce", self.refusal(client, server, nonce=client.nonce)
        )
        self.assertEqual(b"", server.former_key)

    def test_where_nobody_can_look_it_is_a_wrong_password(self) -> None:
        async def look(_account_id: int) -> list[KeptKeys]:
            raise StoreBusy()

        ageing = Ageing(lambda: self.settings, lambda: self.now)
        self.checker = ScramChecker(self.live, self.book, ageing, look)
        self.assertEqual(("wrong password", b""), self.poll("alice", "pen"))


class NodeTests(NodeCase):
    async def test_a_node_knows_of_each_former_password_that_was_set_in_its_users_db(self) -> None:
        accounts, alice = self.add_accounts("alice"), parse_address("alice@example.test")
        node = self.started()
        await self.until(lambda: node.directory.find(alice) is not None)
        for password in ("pen", "pencil"):
            accounts.set_password("alice", store_password(password, alice, node.seal))
        (known,) = accounts.load_directory().scram_keys.items()
        await self.until(lambda: node.directory.scram_keys(known[0]) == known[1])
        proved = []
        for _ in range(2):
            client = ScramClient("alice", "pen")
            server = ScramMechanism(node.password_house.scram_book)()
            server.setResponse(client.first())
            server.setResponse(client.final(server.getChallenge()))
            with self.assertRaises(SignInDenied) as refused:
                await self.done(node.password_house.proofs.requestAvatarId(server))
            self.assertEqual("a former password", refused.exception.detail)
            proved.append(server.former_key)
        self.assertTrue(proved[0])
        self.assertEqual(proved[0], proved[1])
