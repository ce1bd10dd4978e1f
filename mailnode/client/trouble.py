"""What keeps a person's mail from being sent or read, in words that name the mend."""

from __future__ import annotations

from mailnode.errors import MailError


class Unreachable(MailError):
    """There is no connection, or it was lost, or TLS can't be had: later may do."""

    exit_code = 75


class Late(Unreachable):
    """The server has not said a word for too long."""


class NoSuchHost(Unreachable):
    """Nobody knows a host of that name."""

    exit_code = 68


class NoTls(Unreachable):
    """What the server speaks there is no TLS."""

    exit_code = 76


class NoReply(Unreachable):
    """What the server says is no reply, or has no end: we have hung up."""

    exit_code = 76


class NotTrusted(MailError):
    """The certificate isn't one that we trust, or what is secret would go in clear."""

    smtp_code, enhanced, exit_code = 550, "5.7.10", 76


class NoCertificates(NotTrusted):
    """The file of certificates to believe isn't there."""

    exit_code = 66


class SignInRefused(MailError):
    """The server does not let this user in with this password."""

    smtp_code, enhanced, exit_code = 535, "5.7.8", 77


class InUse(MailError):
    """Another session has the mailbox (RFC 2449 section 8.1.1): later may do."""

    smtp_code, enhanced, exit_code = 450, "4.2.0", 75


class Denied(MailError):
    """The server said no."""

    smtp_code, enhanced, exit_code = 550, "5.0.0", 76
