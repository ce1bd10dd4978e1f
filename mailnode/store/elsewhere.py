"""What users.db says of mail for other hosts, in memory: routes, providers, keys, the gear.

And of mail from there: who is allowed or blocked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from mailnode.addresses import Address, parse_address
from mailnode.errors import StoreBroken
from mailnode.routes import CAPTURE, Gear, Route, Routes, SendAs
from mailnode.store.sender_rules import NO_RULES, SenderRules

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")


@frozen
class SigningKey:
    """A key that signs mail of a domain (DKIM).

    Attributes:
        selector: names its record, SELECTOR._domainkey.DOMAIN.
        algorithm: one of `ALGORITHMS`.
        sealed_key: PKCS 8 DER under the node's key in the data folder (`sealing.Seal`).
        public_key: base64 as it stands in p= of the record.
        active: it signs; else it is published still, for mail on its way.
        created_at: UTC epoch seconds.
    """

    selector: str
    algorithm: str
    sealed_key: bytes = field(repr=False)
    domain: str = ""
    public_key: str = ""
    active: bool = True
    created_at: float = 0.0


@frozen
class Elsewhere:
    """All of it, to be found by address, id and domain.

    Attributes:
        senders: whose mail from there is allowed or blocked.
    """

    gear: Gear
    senders: SenderRules
    _routes: Routes
    _send_as: Mapping[tuple[int, str], SendAs]
    _send_as_by_id: Mapping[int, SendAs]
    _keys: Mapping[str, tuple[SigningKey, ...]]

    @classmethod
    def of(
        cls,
        routes: Iterable[Route] = (),
        send_as: Iterable[SendAs] = (),
        keys: Iterable[SigningKey] = (),
        gear: Gear = CAPTURE,
        senders: SenderRules = NO_RULES,
    ) -> Elsewhere:
        by_id = {each.id: each for each in send_as}
        active: dict[str, list[SigningKey]] = {}
        for key in keys:
            if key.active:
                active.setdefault(key.domain, []).append(key)
        return cls(
            gear=gear,
            senders=senders,
            routes=Routes.of(routes),
            send_as={
                (each.account_id, parse_address(each.address).key): each for each in by_id.values()
            },
            send_as_by_id=by_id,
            keys={domain: tuple(found) for domain, found in active.items()},
        )

    def route_for(self, address: Address) -> Route:
        """The most specific route; by MX where none was set."""
        return self._routes.find(address)

    def send_as(self, account_id: int, address: Address) -> SendAs | None:
        """The account's outside address, and by whose provider it leaves."""
        return self._send_as.get((account_id, address.key))

    def send_as_of(self, account_id: int) -> tuple[SendAs, ...]:
        """All outside addresses of an account."""
        return tuple(each for (owner, _), each in self._send_as.items() if owner == account_id)

    def send_as_by_id(self, send_as_id: int) -> SendAs | None:
        return self._send_as_by_id.get(send_as_id)

    def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        """The active keys of exactly this domain."""
        return self._keys.get(domain, ())


NOTHING = Elsewhere.of()


def bad_row(table: str, where: str, said: str, why: str) -> StoreBroken:
    """A row that none of our commands writes: which, why, and how it goes.

    Args:
        where: a condition that only this row meets, such as "id = 2".
        said: what stands in it.
    """
    return StoreBroken(
        detail=f"users.db: the row of table {table} with {where.replace(' = ', ' ')}, {said}, is "
        f"no {table}: {why}; with the node stopped: "
        f'sqlite3 users.db "DELETE FROM {table} WHERE {where}"'
    )
