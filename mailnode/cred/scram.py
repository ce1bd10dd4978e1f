"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: who knows the password proves it and doesn't say it.

RFC 5802 and 7677; PLUS binds the proof to this TLS connection, by tls-exporter (RFC 9266) or
tls-server-end-point (RFC 5929), so that nobody in between can use it on another.

    client: gs2-header n=NAME,r=NONCE            the name, and octets of its own
    server: r=NONCE+ours,s=SALT,i=ITERATIONS     alike whether or not there is such an account
    client: c=BINDING,r=NONCE+ours,p=PROOF
    server: v=SIGNATURE                          the server knows the password's keys, too

What is wrong with a proof is said by the portal, as late as it answers a wrong password. No two
proofs are alike, so one that fails is held against the keys of passwords that the account had
before: a program that keeps such a one makes the same guess each time, not another. The
arithmetic is a few lines of `hmac`, and the messages are short: PyPI's scramp knows neither
tls-exporter nor an authzid.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mailnode.cred.checkers import SignInDenied
from mailnode.cred.credentials import BadResponse
from mailnode.cred.stored import ITERATIONS, KEY_OCTETS, ScramKeys, read_kept, salt_of
from mailnode.errors import MailError
from mailnode.sasl import strict_base64

if TYPE_CHECKING:
    from mailnode.cred.ageing import Ageing
    from mailnode.sealing import Seal
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.people import Account
    from mailnode.store.sign_in import KeptKeys

BINDINGS = ("tls-exporter", "tls-server-end-point")
MOST_OCTETS = 2048  # of a message: names have 320, nonces far less
MOST_NONCE = 256
NONCE_OCTETS = 18  # ours
_NOBODY = 0  # an account id that is never given

_log = Logger(namespace="mailnode")

_FIRST = re.compile(
    r"(?P<gs2>(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.-]{1,64})),"
    r"(?:a=(?P<authzid>[^,\0]{1,1500}))?,)"
    r"(?P<bare>n=(?P<name>[^,\0]{1,1500}),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)"
    r"(?:,[A-Za-z]=[^,\0]+)*)"
)
_FINAL = re.compile(
    r"(?P<unproved>c=(?P<binding>[A-Za-z0-9+/=]{1,1500}),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)"
    r"(?:,[A-Za-z]=[^,\0]+)*),p=(?P<proof>[A-Za-z0-9+/=]{1,100})"
)
_ESCAPED = re.compile(r"=(2C|3D)?")


class IScramProof(ICredentials):
    """Credentials with a proof in them, which `proves(keys)` judges."""


@implementer(IScramProof)
@define(eq=False)
class ScramCredentials:
    """The dialog of one sign-in.

    Attributes:
        username: UTF-8, as the client wrote it.
        client: the address of the other end in text, "" when it has none.
        service: whose dialog it is: smtp or pop3.
        channel: what it may be bound to: None in clear.
        last_words: what is sent before the success, once the portal lets the client in.
        wrong: why no proof counts, "" while one may.
        token_id, token_name: of the app password that was proved; None where it was no such.
        former_key: tells the password of before that was proved from others; b"" where it was none.
    """

    initial_first = True

    _find_keys: Callable[[str], ScramKeys]
    _plus: bool = False
    _plus_is_offered: bool = True
    username: bytes = b""
    client: str = ""
    service: str = ""
    channel: Any = None
    last_words: bytes | None = field(default=None, init=False, repr=False)
    wrong: str = field(default="", init=False)
    token_id: int | None = field(default=None, init=False)
    token_name: str | None = field(default=None, init=False)
    former_key: bytes = field(default=b"", init=False, repr=False)
    _nonce: str = field(factory=lambda: token_urlsafe(NONCE_OCTETS))
    _first: re.Match[str] | None = field(default=None, init=False)
    _final: re.Match[str] | None = field(default=None, init=False)
    _proof: bytes = field(default=b"", init=False, repr=False)
    _server_first: str = field(default="", init=False)

    def getChallenge(self) -> bytes:
        return self._server_first.encode()

    def moreChallenges(self) -> bool:
        return self._final is None and not self.wrong

    def setResponse(self, response: bytes) -> None:
        """Take the client's first message, then its final one.

        Raises:
            BadResponse: it is not of that form.
        """
        if self._first is None:
            self._take_first(_read(_FIRST, response))
        else:
            self._take_final(_read(_FINAL, response))

    def _take_first(self, first: re.Match[str]) -> None:
        if len(first["nonce"]) > MOST_NONCE:
            raise BadResponse()
        name = _unescape(first["name"])
        self._first, self.username = first, name.encode()
        self.wrong = self._wrong_with_header(first)
        if self.wrong:
            return
        keys = self._find_keys(name)
        self._nonce = first["nonce"] + self._nonce
        salt = b64encode(keys.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={keys.iterations}"

    def _wrong_with_header(self, first: re.Match[str]) -> str:
        authzid, kind = first["authzid"], first["binding"]
        if authzid is not None and _unescape(authzid).encode() != self.username:
            return "would act for another"
        if self._plus and kind is None:
            return "a channel binding is missing"
        if kind is not None and not self._plus:
            return "a channel binding where none is used"
        if kind is not None and (kind not in BINDINGS or self._bound(kind) is None):
            return f"no channel binding {kind} on this connection"
        if first["flag"] == "y" and self._plus_is_offered and self.channel is not None:
            return "somebody took SCRAM-SHA-256-PLUS out of what was offered"
        return ""

    def _bound(self, kind: str) -> bytes | None:
        bound: bytes | None = self.channel.binding(kind) if self.channel is not None else None
        return bound

    def _take_final(self, final: re.Match[str]) -> None:
        assert self._first is not None
        kind = self._first["binding"]
        expected = self._first["gs2"].encode() + ((self._bound(kind) or b"") if kind else b"")
        said, proof = (strict_base64(final[each].encode()) for each in ("binding", "proof"))
        if len(proof) != KEY_OCTETS:
            raise BadResponse()
        self._final, self._proof = final, proof
        if not hmac.compare_digest(said, expected):
            self.wrong = "bound to another connection"
        elif not hmac.compare_digest(final["nonce"], self._nonce):
            self.wrong = "another sign-in's nonce"

    def proves(self, keys: ScramKeys) -> bool:
        """Whether the password that these keys are of is known; then there are last words."""
        if not self.fits(keys) or self.wrong:
            return False
        verifier = hmac.digest(keys.server_key, self._unproved, "sha256")
        self.last_words = b"v=" + b64encode(verifier)
        return True

    def fits(self, keys: ScramKeys) -> bool:
        """Whether the proof was made with the password of these keys, whatever follows from it."""
        if self._final is None:
            return False
        signature = hmac.digest(keys.stored_key, self._unproved, "sha256")
        client_key = bytes(a ^ b for a, b in zip(self._proof, signature, strict=True))
        return hmac.compare_digest(sha256(client_key).digest(), keys.stored_key)

    @property
    def _unproved(self) -> bytes:
        assert self._first is not None
        assert self._final is not None
        return f"{self._first['bare']},{self._server_first},{self._final['unproved']}".encode()


def _read(form: re.Pattern[str], response: bytes) -> re.Match[str]:
    """
    Raises:
        BadResponse: it is too long, not UTF-8, or not of the form.
    """
    try:
        match = form.fullmatch(response.decode()) if len(response) <= MOST_OCTETS else None
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise BadResponse()
    return match


def _unescape(name: str) -> str:
    """
    Raises:
        BadResponse: a "=" in it is neither =2C nor =3D.
    """

    def meant(match: re.Match[str]) -> str:
        if match[1] is None:
            raise BadResponse()
        return "," if match[1] == "2C" else "="

    return _ESCAPED.sub(meant, name)


@frozen
class ScramMechanism:
    """Makes the credentials of a sign-in.

    Attributes:
        binds_channel: it is SCRAM-SHA-256-PLUS.
        plus_is_offered: inside TLS; who can bind and says that we can't was lied to.
    """

    book: ScramBook
    binds_channel: bool = False
    plus_is_offered: bool = True

    def __call__(self) -> ScramCredentials:
        return ScramCredentials(self.book.keys_for, self.binds_channel, self.plus_is_offered)


@define(eq=False)
class ScramBook:
    """Whose keys are which; a name without any has some all the same, which nothing fits."""

    _directory: LiveDirectory
    _seal: Seal
    _secret: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._secret = self._seal.secret_for(b"scram keys of nobody")

    def keys_for(self, name: str) -> ScramKeys:
        """Of an account that may sign in, or for show."""
        account = self._directory.find_sign_in(name)
        return self.keys_of(account) or self._for_show(name)

    def keys_of(self, account: Account | None) -> ScramKeys | None:
        """None where nobody can sign in by a proof."""
        shown = account if account is not None and not account.disabled else None
        kept = self._directory.scram_keys(shown.id) if shown is not None else None
        return read_kept(shown, kept, self._seal) if shown is not None else None

    def former_keys(
        self, account: Account, kept: Sequence[KeptKeys], shown: ScramKeys
    ) -> list[ScramKeys]:
        """Those among keys of before that a proof with the salt that was shown may fit."""
        like_shown = [
            each for each in kept if (each.salt, each.iterations) == (shown.salt, shown.iterations)
        ]
        return [keys for each in like_shown if (keys := read_kept(account, each, self._seal))]

    def _for_show(self, name: str) -> ScramKeys:
        """Each name's own, at every time and in every spelling."""
        key = self._directory.sign_in_key(name) or name
        made = [hmac.digest(self._secret, part + key.encode(), "sha256") for part in (b"k", b"v")]
        return ScramKeys(salt_of(key, self._seal), ITERATIONS, *made)


@implementer(ICredentialsChecker)
@define(eq=False)
class ScramChecker:
    """Twisted's checker over proofs: no thread hashes, for the client did what costs time.

    Args:
        find_former: SCRAM's keys of the passwords that an account had before, five at most. They
            are read in a thread when a proof fails: the directory would hold six times the keys.
            That takes its time, and the same for a name without an account, of which as many are
            looked for; the portal answers by the time of the question, so that no more is told.
    """

    credentialInterfaces = (IScramProof,)

    _directory: LiveDirectory
    _book: ScramBook
    _ageing: Ageing
    _find_former: Callable[[int], Awaitable[Sequence[KeptKeys]]]

    def requestAvatarId(self, credentials: ScramCredentials) -> Deferred[bytes | tuple[()]]:
        """The canonical address of the account, in UTF-8.

        Raises:
            SignInDenied: no.
        """
        return Deferred.fromCoroutine(self._judge(credentials))

    async def _judge(self, credentials: ScramCredentials) -> bytes | tuple[()]:
        name = credentials.username.decode()
        account = self._directory.find_sign_in(name)
        keys = self._book.keys_of(account)
        shown = keys or self._book.keys_for(name)
        fits = credentials.proves(shown)
        if credentials.wrong:
            raise SignInDenied(detail=credentials.wrong)
        if not fits and await self._is_former(credentials, account, shown):
            raise SignInDenied(detail="a former password")
        if account is None:
            raise SignInDenied(detail="no such account")
        if account.disabled:
            raise SignInDenied(detail="the account is disabled")
        if keys is None:
            raise SignInDenied(detail="no SCRAM keys yet: it signs in by its password once")
        if not fits:
            raise SignInDenied(detail="wrong password")
        self._ageing.require_young(account, credentials.service)
        return str(account.address).encode()

    async def _is_former(
        self, credentials: ScramCredentials, account: Account | None, shown: ScramKeys
    ) -> bool:
        """Whether it proves a password of before, which the credentials then tell from others."""
        owner = None if account is None or account.disabled else account
        try:
            kept = await self._find_former(_NOBODY if owner is None else owner.id)
        except MailError as error:
            _log.warn("a failed proof counts as another guess: {error}", error=str(error))
            return False
        if owner is None:
            return False
        for keys in self._book.former_keys(owner, kept, shown):
            if credentials.fits(keys):
                credentials.former_key = keys.stored_key
        return bool(credentials.former_key)
