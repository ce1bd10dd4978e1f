"""`mailnode.outbound.signing`: what a domain's keys sign, and what a broken key stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import SigningFailed
from mailnode.mailauth.dkim import ED25519, RSA, DkimKey, sign
from mailnode.mailauth.keys import make_private_key, packed, seal_label
from mailnode.outbound.signing import Signer
from mailnode.sealing import Seal
from mailnode.store.elsewhere import SigningKey
from mailnode.threads import TooMuchWaiting

HEADER = b"From: alice@example.org\r\n"
HASH = b"\0" * 32
AT = 1_795_000_000
ED = make_private_key(ED25519)


class FakeDirectory:
    def __init__(self) -> None:
        self.keys: dict[str, tuple[SigningKey, ...]] = {}

    def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        return self.keys.get(domain, ())


class FakeThreads:
    """Calls at once, and says what was called; or has no thread free."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.busy = False

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if self.busy:
            return fail(TooMuchWaiting())
        self.called.append(function.__name__)
        try:
            return succeed(function(*args))
        except Exception as error:
            return fail(error)


class SignerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory, self.threads = FakeDirectory(), FakeThreads()
        self.seal = Seal.open(Path(self.mktemp()))
        self.directory.keys["example.org"] = (self.sealed("example.org", "one"),)
        self.signer = Signer(self.directory, self.seal, self.threads)  # type: ignore[arg-type]

    def sealed(
        self, domain: str, selector: str, private_key: Any = ED, algorithm: str = ED25519
    ) -> SigningKey:
        return self.kept(domain, selector, packed(private_key), algorithm)

    def kept(
        self, domain: str, selector: str, plain: bytes, algorithm: str = ED25519
    ) -> SigningKey:
        sealed_key = self.seal.seal(plain, seal_label(domain, selector))
        return SigningKey(selector, algorithm, sealed_key)

    def sign(self, domain: str = "example.org") -> Deferred[bytes]:
        return Deferred.fromCoroutine(self.signer.sign(domain, HEADER, HASH, AT))

    def test_a_domain_with_a_key_is_signed_for_in_a_thread(self) -> None:
        key = DkimKey("example.org", "one", ED25519, ED)
        self.assertEqual(self.successResultOf(self.sign()), sign(HEADER, HASH, [key], AT))
        self.assertEqual(self.threads.called, ["_unseal", "sign"])

    def test_a_domain_without_one_is_not_and_costs_no_thread(self) -> None:
        self.assertEqual(self.successResultOf(self.sign("example.net")), b"")
        self.assertEqual(self.threads.called, [])
        self.assertIsNone(self.signer.body_hash("example.net"))
        self.assertIsNotNone(self.signer.body_hash("example.org"))

    def test_every_active_key_signs(self) -> None:
        rsa = make_private_key(RSA)
        self.directory.keys["example.org"] += (self.sealed("example.org", "two", rsa, RSA),)
        told = self.successResultOf(self.sign())
        self.assertIn(b"s=one;", told)
        self.assertIn(b"s=two;", told)

    def test_a_key_is_unsealed_once_until_the_directory_has_others(self) -> None:
        for _ in range(3):
            self.successResultOf(self.sign())
        self.assertEqual(self.threads.called.count("_unseal"), 1)
        self.directory.keys["example.org"] = (self.sealed("example.org", "new"),)
        self.assertIn(b"s=new;", self.successResultOf(self.sign()))
        self.assertEqual(self.threads.called.count("_unseal"), 2)
        del self.directory.keys["example.org"]
        self.assertEqual(self.successResultOf(self.sign()), b"")
        self.assertEqual(self.signer._open, {})

    def test_a_broken_key_is_a_temporary_failure_that_names_it_in_the_log_alone(self) -> None:
        good = self.sealed("example.org", "one")
        for broken in (
            self.sealed("example.net", "bad"),  # another's, put in this place
            self.kept("example.org", "bad", b"no key"),
            self.sealed("example.org", "bad", ED, RSA),
        ):
            self.directory.keys["example.org"] = (good, broken)
            error = self.failureResultOf(self.sign(), SigningFailed).value
            self.assertEqual((error.smtp_code, error.enhanced), (451, "4.7.5"))
            self.assertTrue(error.temporary)
            self.assertIn("the DKIM key bad of example.org", error.detail)
            self.assertNotIn("example.org", error.text)

    def test_a_key_that_was_mended_signs_again(self) -> None:
        keys = self.directory.keys["example.org"]
        self.directory.keys["example.org"] = (SigningKey("one", ED25519, b"broken"),)
        self.failureResultOf(self.sign(), SigningFailed)
        self.directory.keys["example.org"] = keys
        self.assertIn(b"s=one;", self.successResultOf(self.sign()))

    def test_without_a_free_thread_it_is_a_temporary_failure(self) -> None:
        self.threads.busy = True
        self.assertTrue(self.failureResultOf(self.sign(), TooMuchWaiting).value.temporary)
