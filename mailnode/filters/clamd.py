"""ClamAV's daemon: the mail goes to clamd by INSTREAM, over a Unix socket or TCP."""

from __future__ import annotations

import re
from contextlib import closing
from struct import pack

from attrs import define

from mailnode.filters.exchange import Exchange, NoAnswer, exchange_with, words_of
from mailnode.filters.harmful import HarmfulMail
from mailnode.filters.limits import Outside, TooLargeToJudge
from mailnode.filters.octets import MailReader
from mailnode.model import Envelope, Message, Verdict

ANSWER_OCTETS = 4_096
SIGNATURE_CHARACTERS = 100

_TOO_LARGE = "INSTREAM size limit exceeded"
_NO_SIGNATURE = re.compile(r"[^-A-Za-z0-9._:/()+]")


@define(eq=False, kw_only=True)
class Clamd(Outside):
    """Refuses what ClamAV knows, with 550 5.7.0 and the signature's name.

    `most_octets` is best clamd's StreamMaxLength: what is larger is sent up to there, and then
    too large, too.
    """

    name: str = "clamd"

    async def ask(self, envelope: Envelope, message: Message) -> Verdict:
        async with exchange_with(self.endpoint, self.clock) as exchange:
            with closing(MailReader.of(message)) as mail:
                await _send(exchange, mail)
            answer = await exchange.take_to(b"\0", ANSWER_OCTETS)
        words = answer.decode("latin-1").removeprefix("stream: ")
        if words == "OK":
            return Verdict()
        if words.startswith(_TOO_LARGE):
            raise TooLargeToJudge(words_of(words))
        if not words.endswith(" FOUND"):
            raise NoAnswer(words_of(words) or "its answer is empty")
        found = _NO_SIGNATURE.sub("?", words.removesuffix(" FOUND"))[:SIGNATURE_CHARACTERS]
        raise HarmfulMail(
            f"Message refused: {found} was found in it", detail=f"by filter {self.name}"
        )


async def _send(exchange: Exchange, mail: MailReader) -> None:
    """Until clamd has it all, or has said that it wants no more."""
    wanted = await exchange.send(b"zINSTREAM\0")
    while wanted and (piece := await mail.read()):
        wanted = await exchange.send(pack(">I", len(piece)) + piece)
    if wanted:
        await exchange.send(pack(">I", 0))
