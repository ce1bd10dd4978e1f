"""The `mailnode` command: administration of a node, beside it or while it runs."""

from __future__ import annotations

from mailnode.cli.accounts import alias, domain, user
from mailnode.cli.backup import backup
from mailnode.cli.backups import backups
from mailnode.cli.clock import clock
from mailnode.cli.dkim import dkim
from mailnode.cli.dns import dns
from mailnode.cli.doctor import doctor
from mailnode.cli.frame import RootGroup
from mailnode.cli.gear import gear
from mailnode.cli.mailbox import mailbox
from mailnode.cli.queue import queue
from mailnode.cli.repair import repair
from mailnode.cli.restore import restore
from mailnode.cli.rollback import rollback
from mailnode.cli.routes import route
from mailnode.cli.send_as import send_as
from mailnode.cli.settings import config, init, verify, version
from mailnode.cli.trace import trace

main = RootGroup(
    "mailnode",
    example="mailnode user add carol@example.org",
    help="""Look after a mailnode: its accounts, its mail, its health.

    The server itself is started by `twistd -n mailnode`; these commands work beside it, and a
    running node takes changes up at once. They find the node as the server does: users.db and
    var/ in this folder, or what --config, MAILNODE_SECTION__KEY, --users and --data say. A
    mailnode.toml is read when --config or MAILNODE_CONFIG names it, never by itself.
    """,
)
COMMANDS = (
    init,
    domain,
    user,
    alias,
    gear,
    route,
    send_as,
    dkim,
    dns,
    mailbox,
    queue,
    trace,
    clock,
    config,
    doctor,
    verify,
    backup,
    backups,
    restore,
    repair,
    rollback,
    version,
)
for command in COMMANDS:
    main.add_command(command)

__all__ = ["main"]
