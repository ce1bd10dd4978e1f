"""A content filter: refuses mail about lotteries, and says of the rest that it looked.

    [plugins]
    filters = ["no_lottery:NoLottery"]

or, found by `twisted.plugin` under its name (twisted/plugins/mailnode_examples.py):

    filters = ["no-lottery"]

A filter sees each mail once, whichever way it came and however many recipients it has, after
its last octet and before anything is stored.
"""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import implementer

from mailnode.interfaces import IContentFilter
from mailnode.model import ACCEPT, Envelope, Message, Verdict


@implementer(IContentFilter, IPlugin)
class NoLottery:
    """What it returns is the verdict; `judge` may be an `async def`, too."""

    name = "no-lottery"

    def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """Called on the reactor: what takes longer than a millisecond belongs in a thread."""
        if envelope.client.account:
            return ACCEPT  # somebody of ours, signed in
        if "lottery" in message.subject.lower():
            # 550 to the client. "defer" is 451, and the client tries again.
            return Verdict("refuse", reason="We don't play")
        return Verdict(headers=b"X-Lottery: none\r\n")
