"""Times, durations, sizes and numbers as people are told them, on a terminal and on a page."""

from __future__ import annotations

from datetime import datetime


def when(at: float) -> str:
    """UTC epoch seconds as local time with its offset."""
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")


def day_and_time(at: float) -> str:
    """The same for lists of mail, to the minute; "" for a time that no clock shows.

    A stranger wrote it.
    """
    try:
        return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def age(seconds: float) -> str:
    """A duration in its two largest units: `3d 4h`, `12m 5s`."""
    left, parts = max(0, int(seconds)), list[str]()
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, unit_s)
        if number or (parts and len(parts) < 2) or unit == "s":
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])


def size(octets: int) -> str:
    """Octets in the largest unit that keeps the number over one; `B` is what people call them."""
    if octets < 1024:
        return f"{octets} B"
    number = float(octets)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        number /= 1024
        if number < 1024 or unit == "TiB":
            break
    return f"{number:.1f} {unit}"


def count(number: int, thing: str) -> str:
    """`1 mail`, `2 mails`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
