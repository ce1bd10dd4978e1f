"""Whom accounts and domains allow and block, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from mailnode.addresses import Address

ALLOW, BLOCK = "allow", "block"


@frozen
class SenderRule:
    """What an owner says of a sender.

    Attributes:
        owner: an account's address, or a domain, for all of its accounts.
        pattern: a folded address, or a domain, which stands for those under it, too.
        verdict: `ALLOW` or `BLOCK`.
    """

    owner: str
    pattern: str
    verdict: str


@frozen
class SenderRules:
    """All of them, to be found by recipient and sender."""

    _of_account: Mapping[int, Mapping[str, SenderRule]] = field(factory=dict)
    _of_domain: Mapping[str, Mapping[str, SenderRule]] = field(factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self._of_account and not self._of_domain

    def find(self, account_id: int, domain: str, sender: Address) -> SenderRule | None:
        """The rule of the account, or else of its domain; the most specific one of either."""
        for rules in (self._of_account.get(account_id), self._of_domain.get(domain)):
            for pattern in _patterns_of(sender) if rules else ():
                if rules and (found := rules.get(pattern)):
                    return found
        return None


def _patterns_of(sender: Address) -> Iterable[str]:
    yield sender.key
    labels = sender.domain.split(".")
    yield from (".".join(labels[at:]) for at in range(len(labels)))


NO_RULES = SenderRules()
