"""The first page for administrators: the last hour in charts, and the node's health."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode import __version__
from mailnode.signposts import GEARS_MEAN
from mailnode.web.figures import EVERY_S, FIGURES, KEPT
from mailnode.web.routes import JSON, Answer, Need, Route

if TYPE_CHECKING:
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

# By the part that `readiness` names; what none of them fits, the log tells more of.
_MENDS = {
    "node": "Wait until it has started. If it stays so, the log says what it waits for.",
    "disk": "Make room on the disk of the data folder, or set store.free_space lower. Mail is "
    "taken again by itself.",
    "store": "Look at the log and the disk. mailnode verify names each mail concerned; with the "
    "node stopped mailnode repair keeps all that can be read.",
    "store read": "The disk could not be read: look at the kernel's log. mailnode verify names "
    "each mail concerned.",
    "blobs": "Large mails could not be written: look at the disk and at who owns the data folder.",
    "blobs read": "A large mail could not be read: mailnode verify names it.",
    "filter": "Start the program, or mend where it is asked; mailnode doctor tells which setting "
    'that is. With on_failure = "pass" in its section mail is taken unjudged meanwhile.',
    "dns": "Look at the DNS servers: outbound.resolvers, or /etc/resolv.conf. Until they answer, "
    "mail for other hosts waits, and nobody can say who sent what comes.",
    "worker": "The node starts another process by itself. If it stays so, the log says why.",
}
_ANY_MEND = "The log says more, and mailnode doctor looks at all of it."


@frozen
class Fault:
    """What is wrong.

    Attributes:
        part: of the node.
        mend: what to do about it.
        warning: it works all the same.
    """

    part: str
    what: str
    mend: str
    warning: bool = False


@define(eq=False)
class AdminDashboard:
    """The page, and the numbers that its charts are drawn of."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        return (
            Route("/admin", ("GET",), self.show, "The last hour, and health", Need.ADMIN),
            Route(
                "/admin/figures",
                ("GET",),
                self.figures,
                "The numbers of the charts as JSON: ``after`` a time",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        gear = self.desk.directory.gear
        return await self.desk.page(
            visit,
            "admin_dashboard.html",
            title="Administration",
            figures=FIGURES,
            faults=self._faults(),
            gear=gear,
            gear_means=GEARS_MEAN[gear],
            captured=_captured(self.desk.metrics()),
            version=__version__,
            every_s=EVERY_S,
        )

    async def figures(self, visit: Visit) -> Answer:
        try:
            after = float(visit.query("after", "0"))
        except ValueError:
            after = 0.0
        told = {
            "every_s": EVERY_S,
            "kept": KEPT,
            "names": [each.name for each in FIGURES],
            "rows": [
                [round(row[0], 3), *(_number(each) for each in row[1:])]
                for row in self.desk.figures.since(after)
            ],
            "faults": [
                {"part": each.part, "what": each.what, "mend": each.mend, "warning": each.warning}
                for each in self._faults()
            ],
        }
        return Answer(json.dumps(told, allow_nan=False), kind=JSON)

    def _faults(self) -> list[Fault]:
        return [*self._of_readiness(), *self._of_warnings(), *self._of_people()]

    def _of_readiness(self) -> list[Fault]:
        return [
            Fault(part, what, _MENDS.get(_key(part), _ANY_MEND))
            for part, what in sorted(self.desk.readiness().items())
        ]

    def _of_warnings(self) -> list[Fault]:
        return [
            Fault(part, what, _MENDS.get(_key(part), _ANY_MEND), True)
            for part, what in sorted(self.desk.warnings().items())
        ]

    def _of_people(self) -> list[Fault]:
        directory = self.desk.directory
        found = []
        if not directory.domains:
            found.append(
                Fault("domains", "No domain is served", "Add one on the page Domains.", True)
            )
        elif not any(not each.disabled for each in directory.accounts()):
            found.append(
                Fault(
                    "accounts",
                    "No account takes mail, so all of it is refused",
                    "Add one on the page Accounts, or enable one.",
                    True,
                )
            )
        if directory.demo_accounts:
            names = ", ".join(str(each.address) for each in directory.demo_accounts)
            found.append(
                Fault(
                    "demo",
                    f"The passwords of {names} are published",
                    "Delete these accounts, or give them new passwords, on the page Accounts.",
                    True,
                )
            )
        if directory.gear == "live":
            bare = [each for each in directory.domains if not directory.signing_keys(each)]
            if bare:
                found.append(
                    Fault(
                        "dkim",
                        f"Mail from {', '.join(bare)} is not signed: many receivers refuse it",
                        f"mailnode dkim generate {bare[0]}",
                        True,
                    )
                )
        return found


def _key(part: str) -> str:
    """`worker 2, disk` is a disk's fault, `worker 2` is the worker's."""
    of_worker = part.rpartition(", ")[2]
    kind = of_worker.partition(" ")[0]
    return kind if kind in ("worker", "filter") else of_worker


def _captured(values: object) -> int:
    states = values.get("mailnode_queue_recipients", {}) if isinstance(values, dict) else {}
    return int(states.get('state="captured"', 0))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
