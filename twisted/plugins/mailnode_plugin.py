"""``twistd mailnode``: tells twistd where the options and the service are."""

from twisted.application.service import ServiceMaker

mailnode = ServiceMaker(
    "mailnode",
    "mailnode.tap",
    "A mail server: SMTP in, a durable store, POP3 out.",
    "mailnode",
)
