"""What aggregate reports are made of, and the schema that they keep."""

from __future__ import annotations

from functools import cache
from typing import Any

from lxml import etree

from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.store.dmarc_rows import OPEN, Collected
from tests.documents import ROOT

DAY = "2025-01-01"
NOON = 1_735_732_800.0  # of that day, UTC
DAY_S, HOUR_S = 86400.0, 3600.0
DOMAIN = "remote.test"
RECORD = "v=DMARC1; p=reject; sp=quarantine; adkim=s; pct=50; rua=mailto:dmarc@remote.test"
PUBLISHED = Published(DOMAIN, RECORD)


def seen(**more: Any) -> Seen:
    values: dict[str, Any] = {
        "source": "192.0.2.7",
        "disposition": "none",
        "dkim": "pass",
        "spf": "fail",
        "overrides": (),
        "header_from": DOMAIN,
        "envelope_from": "bounces.remote.test",
        "envelope_to": "example.test",
        "signatures": ((DOMAIN, "s1", "pass"),),
        "spf_check": ("bounces.remote.test", "mfrom", "softfail"),
    }
    return Seen(**{**values, **more})


def collected(**more: Any) -> Collected:
    values: dict[str, Any] = {
        "report_id": 1,
        "day": DAY,
        "domain": DOMAIN,
        "record": RECORD,
        "number": 0,
        "rows": 1,
        "mails": 1,
        "left_out": 0,
        "state": OPEN,
        "settled_at": None,
        "note": "",
    }
    return Collected(**{**values, **more})


# Of which there may be several, so that they are read as lists.
LISTS = {"record", "reason", "dkim", "spf", "error"}


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(file=str(ROOT / "tests" / "vectors" / "dmarc-feedback.xsd"))


def read_feedback(xml: bytes) -> dict[str, Any]:
    """A report that keeps the schema, as nested dicts; else an exception says what is wrong."""
    root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False))
    _schema().assertValid(root)
    return dict(_read(root))


def _read(element: Any) -> Any:
    if not len(element):
        return element.text or ""
    found: dict[str, Any] = {}
    for each in element:
        many = (each.tag in LISTS and element.tag != "policy_evaluated") or each.tag == "reason"
        if many:
            found.setdefault(each.tag, []).append(_read(each))
        else:
            found[each.tag] = _read(each)
    return found
