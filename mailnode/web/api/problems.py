"""What a program is told of a request that won't do: RFC 9457, with each field that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from mailnode.web.refusals import WebRefused

MOST_FAULTS = 20


@frozen
class Fault:
    """What is wrong with a field.

    Attributes:
        field: "to[1]", "attachments[0].name"; "" for the whole.
        code: of SMTP (RFC 3463), such as "5.1.1"; "" for none.
    """

    field: str
    detail: str
    code: str = ""

    @property
    def facts(self) -> dict[str, str]:
        facts = {"field": self.field, "detail": self.detail}
        return facts | {"code": self.code} if self.code else facts


class Faulty(WebRefused):
    """Fields of the request are wrong, and which.

    Attributes:
        members: beside those of every problem.
    """

    http_status = 422
    title = "Not as it must be"
    text = "The request has faults"

    def __init__(
        self, faults: Sequence[Fault], text: str | None = None, status: int | None = None
    ) -> None:
        told = faults[:MOST_FAULTS]
        if text is None and told:
            text = "; ".join(f"{each.field} {each.detail}".strip() for each in told[:3])
        super().__init__(text)
        if status is not None:
            self.http_status = status
        self.members: Mapping[str, Any] = {"errors": [each.facts for each in told]}


class Conflict(WebRefused):
    http_status = 409
    title = "Not as things are"
    text = "That can't be done as things are"


class UnknownKind(WebRefused):
    http_status = 415
    title = "Another kind"
    text = "This takes another Content-Type"
