"""The story of a mail for who looks after a domain: what concerns its accounts, and no others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import evolve

from mailnode.events import Event


def events_of_domains(events: Sequence[Event], domains: Collection[str]) -> list[Event]:
    """Those of mail that an account of these domains sent or got; [] where none did.

    Who sent it learns what became of each recipient, and not in whose mailbox that was. What a
    session said as a whole is not among it: it names all that it was about.
    """

    def is_ours(address: object) -> bool:
        return str(address or "").rpartition("@")[2] in domains

    sent = any(each.name == "accepted" and is_ours(each.detail.get("account")) for each in events)
    elsewhere = {
        each.recipient for each in events if each.recipient and is_ours(each.detail.get("alias"))
    }

    def concerns(each: Event) -> bool:
        return (
            is_ours(each.recipient)
            or is_ours(each.detail.get("mailbox"))
            or is_ours(each.detail.get("account"))
            or each.recipient in elsewhere
            or (sent and each.recipient is not None and each.folder_id is None)
            or (sent and each.name == "delivered")
        )

    if not any(map(concerns, events)):
        return []
    told = [each for each in events if each.name == "accepted" or concerns(each)]
    return [_without_others(each, domains) for each in told]


def _without_others(event: Event, domains: Collection[str]) -> Event:
    """What is said there of accounts of other domains is left out."""
    detail = dict(event.detail)
    owner = str(detail.get("mailbox", event.recipient) or "").rpartition("@")[2]
    account = str(detail.get("account") or "").rpartition("@")[2]
    detail.pop("dialog", None)
    if owner not in domains:
        for name in ("mailbox", "judged"):
            detail.pop(name, None)
    if account not in domains:
        detail.pop("account", None)
    same = len(detail) == len(event.detail)
    return event if same else evolve(event, detail=detail)
