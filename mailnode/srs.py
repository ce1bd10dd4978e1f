"""The Sender Rewriting Scheme: a reverse-path that is ours when we forward somebody's mail.

A receiver asks whether the reverse-path's domain lets our address send (SPF). What an alias
forwards therefore leaves as `SRS0=hash=day=domain=local@ours`; a report that comes back to it
is led to the one it was made from. The next forwarder writes `SRS1=hash=ours==...@theirs`, so
that the report takes one step over it and the length doesn't grow with each.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode

from attrs import field, frozen

from mailnode.addresses import LOCAL_MAX_OCTETS, Address, fold_local, parse_domain
from mailnode.errors import BadAddress, NoSuchMailbox

VALID_DAYS = 21
HASH_LETTERS = 6  # 30 bits: a guess costs a RCPT, and a session has ten errors
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ROUND_DAYS = 1024  # two letters of base32, after which the days begin again

_SRS = re.compile(r"srs[01][=+-]", re.I)
_SRS0_OF_OTHERS = re.compile(r"srs0(?P<rest>[=+-].*)", re.I | re.S)
_SRS1_OF_OTHERS = re.compile(r"srs1[=+-][^=]*=(?P<host>[^=]+)=(?P<rest>[=+-].*)", re.I | re.S)
_SRS0 = re.compile(r"srs0=([^=]*)=([^=]*)=([^=]*)=(.*)", re.I | re.S)
_SRS1 = re.compile(r"srs1=([^=]*)=([^=]*)=(.*)", re.I | re.S)


class NotOurReturnPath(NoSuchMailbox):
    text = "That return address was not given out here, or is too old"


def is_rewritten(address: Address) -> bool:
    """Whether it looks as if somebody had rewritten it; `Srs.reverse` knows whether we did."""
    return _SRS.match(address.local) is not None


@frozen
class Srs:
    """Rewrites reverse-paths, and knows its own again.

    Attributes:
        secret: who has it can make addresses that `reverse` takes.
        domain: ours, where reports come back to.
    """

    secret: bytes = field(repr=False)
    domain: str

    def forward(self, sender: Address, at_days: int) -> Address:
        """The reverse-path that a forwarded mail leaves with.

        `sender` itself, unchanged, when it is at our domain already, and when its rewritten local
        part would go over 64 octets: cut short it could not be led back, and longer it would be
        refused by hosts that count. The mail then leaves as plain forwarding always did: its
        reports go straight to the sender, and a receiver that is strict about SPF may refuse it.

        Args:
            at_days: whole days since the epoch.
        """
        if sender.domain == self.domain:
            return sender
        if found := _SRS1_OF_OTHERS.fullmatch(sender.local):
            local = self._srs1(found["host"], found["rest"])
        elif found := _SRS0_OF_OTHERS.fullmatch(sender.local):
            local = self._srs1(sender.domain, found["rest"])
        else:
            day = _day(at_days)
            signed = self._hash("0", day, sender.domain, sender.local)
            local = f"SRS0={signed}={day}={sender.domain}={sender.local}"
        if len(local.encode()) > LOCAL_MAX_OCTETS:
            return sender
        return Address(local, self.domain)

    def reverse(self, address: Address, now_days: int) -> Address:
        """Where a report to an address of ours goes on to.

        Raises:
            NotOurReturnPath: it is none that we made, or from more than 21 days ago (550 5.1.1).
        """
        if found := _SRS0.fullmatch(address.local):
            signed, day, domain, local = found.groups()
            self._check(signed, "0", day, domain, local)
            if _days_since(day, now_days) > VALID_DAYS:
                raise NotOurReturnPath(detail=f"it is from more than {VALID_DAYS} days ago")
            return Address(local, _domain_of(domain))
        if found := _SRS1.fullmatch(address.local):
            signed, host, rest = found.groups()
            self._check(signed, "1", host, rest)
            return Address(f"SRS0{rest}", _domain_of(host))
        raise NotOurReturnPath(detail="it is not rewritten")

    def _srs1(self, host: str, rest: str) -> str:
        return f"SRS1={self._hash('1', host, rest)}={host}={rest}"

    def _hash(self, *parts: str) -> str:
        """Letters that stay the same when a host on the way changes the case of the address."""
        text = "\n".join(map(fold_local, parts)).encode()
        digest = hmac.digest(self.secret, text, hashlib.sha256)
        return b32encode(digest).decode()[:HASH_LETTERS]

    def _check(self, signed: str, *parts: str) -> None:
        expected = self._hash(*parts).encode()
        if not hmac.compare_digest(signed.upper().encode(), expected):
            raise NotOurReturnPath(detail="its hash is another")


def _day(at_days: int) -> str:
    tens, ones = divmod(at_days % _ROUND_DAYS, 32)
    return _BASE32[tens] + _BASE32[ones]


def _days_since(day: str, now_days: int) -> int:
    tens, ones = map(_BASE32.index, fold_local(day).upper())
    return (now_days - 32 * tens - ones) % _ROUND_DAYS


def _domain_of(text: str) -> str:
    try:
        return parse_domain(text)
    except BadAddress:
        raise NotOurReturnPath(detail="its domain is none") from None
