"""What whoever looks after accounts may see and change of them.

An administrator may do all. Who looks after domains sees their accounts alone, as though there were
no others, and changes those that could do no more than he could: no administrator's, and none that
looks after another domain, for whoever sets a password may sign in by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailnode.errors import NotFound
from mailnode.web.refusals import NotAllowed

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.store.people import Account
    from mailnode.web.guest import Guest


def require_seen(guest: Guest, account: Account) -> None:
    """
    Raises:
        NotFound: it is of a domain that the guest doesn't look after.
    """
    if not guest.looks_after(account.address.domain):
        raise NotFound(f"there is no account {account.address}; see: mailnode user list")


def may_change(guest: Guest, account: Account) -> bool:
    """Whether it could do no more than the guest."""
    if guest.is_admin:
        return True
    return not account.admin and all(map(guest.looks_after, account.looks_after))


def require_changed(guest: Guest, account: Account) -> None:
    """
    Raises:
        NotFound, NotAllowed: the guest may not change it.
    """
    require_seen(guest, account)
    if not may_change(guest, account):
        raise NotAllowed("An account that may do more than yours is changed by administrators")


def require_domain(guest: Guest, domain: str) -> None:
    """
    Raises:
        NotAllowed: the guest doesn't look after it.
    """
    if not guest.looks_after(domain):
        raise NotAllowed(f"You don't look after {domain}")


def require_address(guest: Guest, address: Address, owner: Account | None) -> None:
    """Mail for an address may be given to somebody.

    Args:
        owner: the account that it is a subaddress of: what has just that address takes it away.

    Raises:
        NotAllowed: it is of a domain, or an account, that the guest may not change.
    """
    require_domain(guest, address.domain)
    if owner is not None and not may_change(guest, owner):
        raise NotAllowed(f"It belongs to {owner.address}, which administrators change")


def require_admin(guest: Guest) -> None:
    """
    Raises:
        NotAllowed: it needs an administrator of the node.
    """
    if not guest.is_admin:
        raise NotAllowed("That is for administrators alone")
