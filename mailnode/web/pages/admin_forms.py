"""Forms for administrators: what was typed stays, and each mistake is told at its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from mailnode.values import read_count, read_size

if TYPE_CHECKING:
    from mailnode.errors import MailError
    from mailnode.web.bodies import Form

MOST_CHARACTERS = 4000
MOST_NUMBER = (1 << 63) - 1  # that a row can have


@define(eq=False)
class Typed:
    """A form as it was filled in.

    Attributes:
        values: by field; passwords are not among them.
        faults: what is wrong, by field; "" is the form as a whole.
    """

    values: Mapping[str, str] = field(factory=dict)
    faults: dict[str, str] = field(factory=dict)

    @classmethod
    def of(cls, form: Form, names: Sequence[str]) -> Typed:
        return cls({name: form.get(name).strip()[:MOST_CHARACTERS] for name in names})

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def fault(self, name: str) -> str:
        return self.faults.get(name, "")

    def mistake(self, name: str, text: str | MailError) -> None:
        """The first of a field counts."""
        said = text if isinstance(text, str) else text.text
        self.faults.setdefault(name, f"{said.rstrip('.')}.")

    @property
    def is_right(self) -> bool:
        return not self.faults


def number_of(said: str) -> int:
    """A row's number; 0 for what is none."""
    if said.isascii() and said.isdigit() and len(said) < 20 and int(said) <= MOST_NUMBER:
        return int(said)
    return 0


def read_quota(typed: Typed) -> tuple[int | None, int | None]:
    """Octets and mails; None where nothing was typed: as the node has it."""
    octets = mails = None
    try:
        said = typed.get("quota")
        if said:
            octets = read_size(int(said) if said.isascii() and said.isdigit() else said)
    except ValueError as error:
        typed.mistake("quota", f"This is not {error}")
    try:
        if typed.get("quota_mails"):
            mails = read_count(typed.get("quota_mails"))
    except ValueError as error:
        typed.mistake("quota_mails", f"This is not {error}")
    return octets, mails


def as_typed(octets: int) -> str:
    """As `read_size` reads it, without loss."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if octets and octets % (1 << power) == 0:
            return f"{octets >> power} {unit}"
    return str(octets)
