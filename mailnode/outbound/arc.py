"""ARC seals on what is forwarded for strangers: what was found when it came goes on with it."""

from __future__ import annotations

from attrs import define, evolve
from twisted.logger import Logger

from mailnode.errors import MailError
from mailnode.model import Envelope, Message
from mailnode.outbound.signing import Signer

_log = Logger()


@define(eq=False)
class ArcSealer:
    """Seals with the keys that sign for the domains of aliases.

    All copies of a mail have the same octets, so there is one seal, by the first alias whose
    domain has a key, and the copies that stay here have it, too.

    Attributes:
        authserv_id: of this host, whose results are sealed.
    """

    signer: Signer
    authserv_id: str
    enabled: bool = True

    def wants(self, envelope: Envelope) -> bool:
        """Whether a mail leaves under a seal of ours."""
        return self.enabled and self._domain(envelope) is not None

    async def sealed(self, envelope: Envelope, message: Message) -> Message:
        """The mail with its seal in front.

        Without one it is as good a mail as it was: a key that can't be used stops nothing.
        """
        domain = self._domain(envelope)
        if domain is None or not self.enabled:
            return message
        try:
            fields = await self.signer.seal(
                domain, message, self.authserv_id, int(envelope.received_at)
            )
        except MailError as error:
            _log.error(
                "mail {mail_id} is forwarded without an ARC seal: {error}",
                mail_id=envelope.mail_id,
                error=str(error),
            )
            return message
        return evolve(message, prefix=message.prefix + fields)

    def _domain(self, envelope: Envelope) -> str | None:
        """Of the first alias that forwards the mail and whose domain has a key."""
        for each in envelope.remotes:
            alias = each.alias
            if alias is not None and not each.captured and self.signer.has_key(alias.domain):
                return alias.domain
        return None
