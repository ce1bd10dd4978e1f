"""A node in a `.tac`, for those who run it beside other services in one process.

    MAILNODE_LISTEN__SMTP=2525 MAILNODE_LISTEN__POP3=1100 twistd -ny node.tac

All settings come from the environment, and from a file: MAILNODE_CONFIG=mailnode.toml.
"""

import os
import time

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.logger import Logger

from mailnode.config import load_config
from mailnode.service import Node

# Durations are measured on the monotonic clock, whatever happens to the wall clock.
reactor.seconds = time.monotonic

log = Logger(namespace="node.tac")
application = Application("mail")
node = Node(load_config(os.environ.get("MAILNODE_CONFIG")), reactor)
node.setServiceParent(application)


def count():
    """A service beside it, that looks into its parts."""
    log.info("{mails} mails were taken so far", mails=node.mail_log.counts["accepted"])


TimerService(3600, count).setServiceParent(application)
