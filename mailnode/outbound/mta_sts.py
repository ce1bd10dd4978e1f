"""MTA-STS: what a domain says of TLS at its mail hosts (RFC 8461); read, fetched and kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailnode.background import Together, background
from mailnode.durable import write_durably
from mailnode.errors import MailError
from mailnode.outbound.https import BadHost, NoPage

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

PAGE = "/.well-known/mta-sts.txt"
MODES = ("enforce", "testing", "none")
MOST_AGE_S = 31557600.0
MOST_PATTERNS = 100
MOST_KEPT = 10_000
AGAIN_S = 300.0  # behind a fetch that failed (section 3.3)

_ID = re.compile(r"v=STSv1\s*;(?:.*;)?\s*id\s*=\s*([A-Za-z0-9]{1,32})\s*(?:;|$)")
_LINE = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*")
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*")

_log = Logger()


class BadPolicy(ValueError):
    """The page is no policy: why."""


RESULTS: Mapping[type, str] = {
    BadHost: "sts-webpki-invalid",
    NoPage: "sts-policy-fetch-error",
    BadPolicy: "sts-policy-invalid",
}


@frozen
class StsPolicy:
    """A domain's policy.

    Attributes:
        id: of the TXT record that announced it.
        mode: "enforce", "testing" or "none".
        mx: patterns, `mx.example.org` or `*.example.org`.
        fetched_at, expires_at: UTC epoch seconds.
    """

    id: str
    mode: str
    mx: tuple[str, ...]
    fetched_at: float
    expires_at: float

    def allows(self, host: str) -> bool:
        """Whether it names this mail host."""
        return allows(self.mx, host)

    @property
    def lines(self) -> tuple[str, ...]:
        """As it stands on its page."""
        named = (f"mx: {pattern}" for pattern in self.mx)
        age_s = self.expires_at - self.fetched_at
        return "version: STSv1", f"mode: {self.mode}", *named, f"max_age: {age_s:.0f}"


def allows(patterns: Collection[str], host: str) -> bool:
    """Whether one of a policy's patterns fits (section 4.1): `*` is one label, the first."""
    above = host.partition(".")[2]
    return host in patterns or (bool(above) and f"*.{above}" in patterns)


def read_id(texts: Iterable[str]) -> str:
    """The id in the TXT records of `_mta-sts.domain`; "" where there is no policy (section 3.1)."""
    ours = [text for text in texts if text.startswith("v=STSv1;") or text.startswith("v=STSv1 ")]
    found = _ID.fullmatch(ours[0]) or _ID.match(ours[0]) if len(ours) == 1 else None
    return found[1] if found else ""


def read_policy(page: bytes, policy_id: str, now: float) -> StsPolicy:
    """The policy on the page (section 3.2).

    Raises:
        BadPolicy: it is none.
    """
    try:
        lines = page.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise BadPolicy("not UTF-8") from None
    values: dict[str, str] = {}
    patterns: list[str] = []
    for line in filter(str.strip, lines):
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadPolicy("a line without its key")
        if found[1] == "mx":
            patterns.append(found[2].lower().removesuffix("."))
        else:
            values.setdefault(found[1], found[2])  # the first one counts
    mode, age = values.get("mode", ""), values.get("max_age", "")
    if values.get("version") != "STSv1" or mode not in MODES:
        raise BadPolicy("no version or mode that is known")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise BadPolicy("no max_age")
    if (mode != "none" and not patterns) or len(patterns) > MOST_PATTERNS:
        raise BadPolicy("no mx, or too many")
    if not all(_PATTERN.fullmatch(each) for each in patterns):
        raise BadPolicy("an mx that is no host name")
    return StsPolicy(policy_id, mode, tuple(patterns), now, now + min(float(age), MOST_AGE_S))


@define(eq=False)
class MtaSts:
    """The policies of the domains that mail goes to.

    Args:
        fetch: the page of a host: (host, path), as `Https.fetch`; raises NoPage.
        remember: keeps all policies for the next start, away from the reactor; as
            `write_policies` in a thread does.
        now: UTC epoch seconds.

    Attributes:
        policies: by domain; put there what `read_policies` finds at a start.
        failed: hears of a fetch in vain: domain, result type (RFC 8460 section 4.3), words.
    """

    _resolver: IResolver
    _fetch: Callable[[str, str], Awaitable[bytes]]
    _remember: Callable[[Mapping[str, StsPolicy]], Awaitable[Any]] | None = None
    _now: Callable[[], float] = time.time
    policies: dict[str, StsPolicy] = field(factory=dict, kw_only=True)
    failed: Callable[[str, str, str], object] | None = field(default=None, kw_only=True)
    _failed_at: dict[tuple[str, str], float] = field(factory=dict, init=False)
    _under_way: Together = field(factory=Together, init=False)
    _writing: Together = field(factory=Together, init=False)
    _changed: bool = field(default=False, init=False)

    async def find(self, domain: str) -> StsPolicy | None:
        """The policy that holds for mail to `domain` now; None without one.

        One that is kept holds until its time is over, whatever the DNS or the web say; it is
        fetched anew when another id is announced, and from the middle of its time on.
        """
        kept = self._kept(domain)
        announced = await self._find_id(domain)
        if not announced:
            return kept
        if kept is not None and kept.id == announced:
            if self._now() > (kept.fetched_at + kept.expires_at) / 2:
                background(self._refresh(domain, announced), "fetching an MTA-STS policy")
            return kept
        await self._refresh(domain, announced)
        return self._kept(domain)

    async def close(self) -> None:
        """Nothing more is fetched, and what was is kept."""
        await self._under_way.close()
        await self.written()

    async def written(self) -> None:
        """All policies that are known now are kept for the next start."""
        await self._writing.run("", self._write)

    def _kept(self, domain: str) -> StsPolicy | None:
        kept = self.policies.get(domain)
        return kept if kept is not None and kept.expires_at > self._now() else None

    async def _find_id(self, domain: str) -> str:
        try:
            found = await self._resolver.look_up(f"_mta-sts.{domain}", "TXT")
        except MailError:
            return ""
        return read_id(found.values)

    async def _refresh(self, domain: str, announced: str) -> None:
        key = domain, announced
        if self._now() < self._failed_at.get(key, float("-inf")) + AGAIN_S:
            return
        await self._under_way.run(key, lambda: self._fetch_policy(domain, announced))

    async def _fetch_policy(self, domain: str, announced: str) -> None:
        key = domain, announced
        try:
            page = await self._fetch(f"mta-sts.{domain}", PAGE)
            policy = read_policy(page, announced, self._now())
        except (NoPage, BadPolicy) as error:
            self._failed_at[key] = self._now()
            _shorten(self._failed_at, MOST_KEPT)
            _log.warn("MTA-STS policy of {domain}: {error}", domain=domain, error=str(error))
            if self.failed is not None:
                result = next(RESULTS[kind] for kind in type(error).__mro__ if kind in RESULTS)
                self.failed(domain, result, str(error))
            return
        self._failed_at.pop(key, None)
        self.policies.pop(domain, None)  # the one fetched last stands last
        self.policies[domain] = policy
        _shorten(self.policies, MOST_KEPT)
        self._changed = True
        background(self.written(), "keeping MTA-STS policies")

    async def _write(self) -> None:
        """One that comes while they are written is in the next writing."""
        while self._changed and self._remember is not None:
            self._changed = False
            now = self._now()
            await self._remember({k: p for k, p in self.policies.items() if p.expires_at > now})


def _shorten(kept: dict[Any, Any], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]


def read_policies(path: Path) -> dict[str, StsPolicy]:
    """What `write_policies` kept; nothing where there is no such file, or one that is broken."""
    try:
        rows = json.loads(path.read_bytes())
        return {
            domain: StsPolicy(
                str(row["id"]),
                MODES[MODES.index(row["mode"])],
                tuple(map(str, row["mx"])),
                float(row["fetched_at"]),
                float(row["expires_at"]),
            )
            for domain, row in rows.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_policies(path: Path, policies: Mapping[str, StsPolicy]) -> None:
    """They outlive the process and a power cut; it blocks.

    What another process of the node kept meanwhile stays, when it is the newer.
    """
    kept = read_policies(path)
    for domain, policy in policies.items():
        if domain not in kept or kept[domain].fetched_at <= policy.fetched_at:
            kept[domain] = policy
    rows = {domain: attrs.asdict(policy) for domain, policy in sorted(kept.items())}
    write_durably(path, json.dumps(rows, indent=1).encode())


def in_file(path: Path, in_thread: Callable[..., Deferred[Any]]) -> Callable[..., Awaitable[None]]:
    """What `MtaSts` is given to remember its policies in a file, written in a thread."""

    async def remember(policies: Mapping[str, StsPolicy]) -> None:
        await in_thread(write_policies, path, policies)

    return remember
