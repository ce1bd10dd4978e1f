"""The client's half of SCRAM-SHA-256, for tests that say what no honest client says."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac, sha256

from attrs import define


@define
class ScramClient:
    """One sign-in of somebody who knows the password.

    Attributes:
        flag: the gs2 header's: "n", "y", or "p=KIND" with what that binds to.
        authzid: for whom the client would act, "" for itself.
    """

    name: str
    password: str
    flag: str = "n"
    bound: bytes = b""
    authzid: str = ""
    nonce: str = "rOprNGfwEbeRWgbNEkqO"
    server_first: str = ""
    unproved: str = ""

    @property
    def gs2(self) -> str:
        return f"{self.flag},{f'a={self.authzid}' if self.authzid else ''},"

    @property
    def bare(self) -> str:
        return f"n={self.name},r={self.nonce}"

    def first(self) -> bytes:
        return f"{self.gs2}{self.bare}".encode()

    def final(self, server_first: bytes, *, nonce: str = "", channel: bytes | None = None) -> bytes:
        """The proof; with another nonce or channel binding where one is given."""
        self.server_first = server_first.decode()
        told = dict(part.split("=", 1) for part in self.server_first.split(","))
        bound = self.gs2.encode() + self.bound if channel is None else channel
        self.unproved = f"c={b64encode(bound).decode()},r={nonce or told['r']}"
        salted = pbkdf2_hmac("sha256", self.password.encode(), b64decode(told["s"]), int(told["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        self._server_key = hmac.digest(salted, b"Server Key", "sha256")
        signature = hmac.digest(sha256(key).digest(), self._said(), "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{self.unproved},p={b64encode(proof).decode()}".encode()

    def is_the_server(self, server_final: bytes) -> bool:
        """Whether the other end knows the password's keys, too."""
        verifier = hmac.digest(self._server_key, self._said(), "sha256")
        return server_final == b"v=" + b64encode(verifier)

    def _said(self) -> bytes:
        return f"{self.bare},{self.server_first},{self.unproved}".encode()

    _server_key: bytes = b""
