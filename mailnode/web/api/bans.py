"""/bans: from where nobody signs in, by an administrator's word or for guessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.networks import MOST_REASON
from mailnode.web.api.operations import (
    NOTHING,
    Call,
    Content,
    Operation,
    Result,
    answer_json,
    time_of,
)
from mailnode.web.api.problems import Fault, Faulty
from mailnode.web.api.schemas import Schema, instant, list_of, or_null, ref, text, thing, whole
from mailnode.web.routes import JSON, Answer, Need

if TYPE_CHECKING:
    from mailnode.store.guard import Ban, Block
    from mailnode.web.keeping_out import KeepingOut

MOST_BAN_S = 10 * 366 * 86400
_NETWORK = text("An address or a network.", least=1, most=64, example="192.0.2.0/24")
_REASON = text("For administrators.", most=MOST_REASON, example="guessed for a week")
SCHEMAS: dict[str, Schema] = {
    "Ban": thing(
        {
            "network": _NETWORK,
            "until": or_null(instant("Null: until it is lifted.")),
            "made_at": instant(),
            "made_by": text("An administrator's address, or `command`."),
            "reason": _REASON,
        }
    ),
    "Block": thing(
        {
            "address": text("An address; of IPv6 a /64.", example="198.51.100.7"),
            "account_id": or_null(whole("Kept from that account alone; null: from all.")),
            "until": instant(),
            "times": whole("How often it was blocked, this time included."),
        },
        "An address that guessed too often.",
    ),
}


@define(eq=False)
class Bans:
    """The operations."""

    guard: KeepingOut

    def operations(self) -> Sequence[Operation]:
        whose: dict[str, Any] = {"tag": "Bans", "scope": "admin", "need": Need.ADMIN}
        both = thing({"bans": list_of(ref("Ban")), "blocks": list_of(ref("Block"))})
        return (
            Operation(
                name="listBans", method="GET", path="/bans", answer=self.list_all,
                about="Networks that are banned, and addresses that are blocked for guessing",
                results=[Result(200, "All of them.", both)], **whose,
            ),
            Operation(
                name="addBan", method="POST", path="/bans", answer=self.add,
                about="Bans a network: nobody signs in from there",
                more="One that is banned already gets the new time and reason. Mail from servers "
                "there is taken all the same.",
                bodies=[Content(JSON, thing(
                    {"network": _NETWORK, "reason": _REASON, "for_s": or_null(
                        whole("Seconds; without it, until it is lifted.", 1, MOST_BAN_S))},
                    needs=("network",)), {"network": "192.0.2.0/24", "for_s": 86400})],
                results=[Result(201, "It.", ref("Ban"))], failures=[400], **whose,
            ),
            Operation(
                name="liftBan", method="DELETE", path="/bans/{network}", answer=self.lift,
                about="Lifts a ban, and the blocks of addresses in that network",
                places={"network": _NETWORK}, results=[Result(204, "It is lifted.", None, "")],
                failures=[400, 404], **whose,
            ),
        )  # fmt: skip

    async def list_all(self, call: Call) -> Answer:
        bans, blocks = self.guard.kept_out()
        return answer_json(
            {"bans": list(map(_ban_facts, bans)), "blocks": list(map(_block_facts, blocks))}
        )

    async def add(self, call: Call) -> Answer:
        reason = call.body.get("reason", "")
        if reason and not reason.isprintable():
            raise Faulty([Fault("reason", "must be one line of words")])
        network, for_s = call.body["network"], call.body.get("for_s")
        made = await self.guard.ban(network, for_s, reason, call.visit.actor)
        return answer_json(_ban_facts(made), 201)

    async def lift(self, call: Call) -> Answer:
        await self.guard.lift(call.places["network"], call.visit.actor)
        return NOTHING


def _ban_facts(ban: Ban) -> dict[str, Any]:
    return {
        "network": ban.network,
        "until": time_of(ban.until),
        "made_at": time_of(ban.made_at),
        "made_by": ban.made_by,
        "reason": ban.reason,
    }


def _block_facts(block: Block) -> dict[str, Any]:
    return {
        "address": block.address,
        "account_id": block.account_id or None,
        "until": time_of(block.until),
        "times": block.times,
    }
