"""Which mails count for an aggregate report."""

from __future__ import annotations

from attrs import define
from twisted.logger import Logger

from mailnode.mailauth.dmarc_seen import Override, seen_in
from mailnode.mailauth.examination import Authenticated
from mailnode.model import Envelope, Message
from mailnode.outbound.daily_mail import is_report
from mailnode.outbound.tls_outcomes import day_of
from mailnode.store.dmarc_file import DmarcFile

_log = Logger()


@define(eq=False)
class Collecting:
    """Counts what was examined, beside the mail's way: nothing of it holds up or fails a mail."""

    file: DmarcFile

    def note(
        self,
        envelope: Envelope,
        message: Message,
        found: Authenticated,
        disposition: str,
        override: Override | None,
    ) -> None:
        """Such a mail was examined, and that was done with it.

        A report counts for nothing, ours or that of others, or two nodes whose domains ask for
        reports would report each day on each other's reports for ever.
        """
        try:
            if is_report(message.subject):
                return
            seen = seen_in(envelope, found, disposition, override)
            if seen is not None:
                self.file.count(day_of(envelope.received_at), *seen)
        except Exception:
            _log.failure("mail {mail_id} is in no DMARC report", mail_id=envelope.mail_id)
