"""A mail's octets, wherever they lie: what readers of parts ask of them."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen


class Octets(Protocol):
    """As much of `bytes` as a mail is read by; those of a large mail lie in a file.

    No index is negative, and the only slices have no step.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...

    def find(self, wanted: bytes, start: int = ..., end: int = ..., /) -> int: ...

    def startswith(
        self, prefix: bytes | tuple[bytes, ...], start: int = ..., end: int = ..., /
    ) -> bool: ...


@frozen(eq=False)
class Span:
    """Some of other octets, without a copy: an attached mail is read as one of its own."""

    octets: Octets
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, place: slice, /) -> bytes:
        start, end, _ = place.indices(len(self))
        return self.octets[self.start + start : self.start + max(start, end)]

    def find(self, wanted: bytes, start: int = 0, end: int = 1 << 62, /) -> int:
        at = self.octets.find(wanted, self.start + start, min(self.start + end, self.end))
        return at - self.start if at >= 0 else -1

    def startswith(
        self, prefix: bytes | tuple[bytes, ...], start: int = 0, end: int = 1 << 62, /
    ) -> bool:
        return self.octets.startswith(prefix, self.start + start, min(self.start + end, self.end))
