"""An SMTP verb of one's own: XSTAT says how many sessions are open.

[plugins]
smtp_server = "stat_verb:StatServer"

PYTHONPATH=examples twistd -n mailnode --config mailnode.toml

$ nc -C localhost 2525
220 mx.example.test ESMTP mailnode
XSTAT
250 2.0.0 1 sessions, 0 mails in this one
"""

from __future__ import annotations

from typing import Any

from mailnode.errors import Refused
from mailnode.smtp.server import SmtpServer


class StatServer(SmtpServer):
    """A verb is a method `do_VERB(rest)`; `rest` are the octets behind it."""

    def do_XSTAT(self, rest: bytes) -> object:
        # What is raised becomes the reply; any other exception is 451, with a traceback logged.
        if not self.loopback:
            raise Refused("Not for others than this machine")
        if rest:
            raise Refused("XSTAT takes no argument", code=501, enhanced="5.5.4")
        self.sendCode(
            250, f"2.0.0 {len(self.sessions or ())} sessions, {self.mails} mails in this one"
        )
        # A verb that has to wait returns a Deferred: the next command is held back until then.
        return None

    def extensions(self) -> dict[bytes, Any]:
        """What EHLO lists: a keyword, and None or a list of its parameters."""
        return super().extensions() | {b"XSTAT": None}
