"""The search that a page was come to by, and the way back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from attrs import asdict, frozen

if TYPE_CHECKING:
    from mailnode.web.visit import Visit

MOST_CHARACTERS = 5_000  # of one that is carried along; a longer one is not


@frozen
class Sought:
    """A page of a search; one without words is none.

    Attributes:
        q: what was typed.
        in_: id of the folder that it looks through; "" for all.
        before: where the page begins; "" for the first.
    """

    q: str = ""
    in_: str = ""
    before: str = ""

    @classmethod
    def read(cls, said: str) -> Sought:
        """What `text` gave; none where it didn't."""
        try:
            pairs = dict(parse_qsl(said[:MOST_CHARACTERS], max_num_fields=3))
        except ValueError:
            return cls()
        return cls(pairs.get("q", ""), pairs.get("in", ""), pairs.get("before", ""))

    @classmethod
    def of(cls, visit: Visit) -> Sought:
        """The one that a mail's page was come to by."""
        return cls.read(visit.query("found"))

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def text(self) -> str:
        """As a field of a form has it; "" for none."""
        pairs = {name.rstrip("_"): value for name, value in asdict(self).items() if value}
        text = urlencode(pairs) if self.q else ""
        return text if len(text) <= MOST_CHARACTERS else ""

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/search?{self.text}" if self.text else "/search"

    def beside(self, address: str = "") -> str:
        """An address, or the query of one, with the search carried along in it."""
        if not self.text:
            return address
        return f"{address}{'&' if '?' in address else '?'}found={quote(self.text, safe='')}"


NONE = Sought()
