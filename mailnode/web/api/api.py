"""All of the API, as pages are: its routes, and the document that is made of the same table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from mailnode.web.api import (
    accounts,
    audit,
    bans,
    captured,
    mail_routes,
    queue,
    searching,
    sending,
    shapes,
)
from mailnode.web.api.operations import Operation
from mailnode.web.api.schemas import Schema

if TYPE_CHECKING:
    from mailnode.web.api.reference import Reference
    from mailnode.web.routes import Route

SCHEMAS: Mapping[str, Schema] = {
    **sending.SCHEMAS,
    **shapes.SCHEMAS,
    **searching.SCHEMAS,
    **captured.SCHEMAS,
    **accounts.SCHEMAS,
    **mail_routes.SCHEMAS,
    **queue.SCHEMAS,
    **bans.SCHEMAS,
    **audit.SCHEMAS,
}


class Resource(Protocol):
    """Some of the operations."""

    def operations(self) -> Sequence[Operation]: ...


@define(eq=False)
class Api:
    """What programs may ask for."""

    reference: Reference
    resources: Sequence[Resource]
    operations: list[Operation] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        for resource in (*self.resources, self.reference):
            self.operations += resource.operations()
        self.reference.describe(self.operations, SCHEMAS)

    def routes(self) -> Sequence[Route]:
        return [each.route() for each in self.operations]
