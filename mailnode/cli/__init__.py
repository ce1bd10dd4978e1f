"""The `mailnode` command: administration of a node, beside it or while it runs."""

from __future__ import annotations

import sys

from mailnode.cli.accounts import domain, user
from mailnode.cli.aliases import alias
from mailnode.cli.audit import audit
from mailnode.cli.backup import backup
from mailnode.cli.backups import backups
from mailnode.cli.bans import ban
from mailnode.cli.check import check
from mailnode.cli.clock import clock
from mailnode.cli.dkim import dkim
from mailnode.cli.dmarc import dmarc
from mailnode.cli.dns import dns
from mailnode.cli.doctor import doctor
from mailnode.cli.domain_admins import user_admin
from mailnode.cli.export import export_mail
from mailnode.cli.factors import factor
from mailnode.cli.frame import RootGroup
from mailnode.cli.gear import gear
from mailnode.cli.import_mail import import_mail
from mailnode.cli.index import index
from mailnode.cli.learn import learn
from mailnode.cli.mailbox import mailbox
from mailnode.cli.maildrop import delete, list_mails, read, save, stat
from mailnode.cli.queue import queue
from mailnode.cli.repair import repair
from mailnode.cli.replay import replay
from mailnode.cli.restore import restore
from mailnode.cli.rollback import rollback
from mailnode.cli.routes import route
from mailnode.cli.search import search
from mailnode.cli.send import send
from mailnode.cli.send_as import send_as
from mailnode.cli.senders import sender
from mailnode.cli.sendmail import sendmail
from mailnode.cli.settings import config, init, verify, version
from mailnode.cli.shell import shell
from mailnode.cli.tokens import token
from mailnode.cli.trace import trace
from mailnode.cli.user_import import user_import
from mailnode.cli.watching import watch

main = RootGroup(
    "mailnode",
    example="mailnode user add carol@example.org",
    help="""Look after a mailnode, its accounts, its mail, its health; send and read mail anywhere.

    The server itself is started by `twistd -n mailnode`; these commands work beside it, and a
    running node takes changes up at once. They find the node as the server does: users.db and
    var/ in this folder, or what --config, MAILNODE_SECTION__KEY, --users and --data say. A
    mailnode.toml is read when --config or MAILNODE_CONFIG names it, never by itself.
    """,
)
COMMANDS = {
    "Mail": (shell, send, list_mails, read, save, delete, stat, watch, check, sendmail),
    "People": (
        init,
        domain,
        user,
        alias,
        mailbox,
        search,
        import_mail,
        export_mail,
        learn,
        sender,
        send_as,
        token,
    ),
    "Other hosts": (gear, route, queue, dkim, dns, dmarc, clock),
    "The node": (config, doctor, trace, replay, audit, ban, version),
    "Its data": (backup, backups, restore, verify, repair, rollback, index),
}
user.add_command(user_import)
user.add_command(factor)
for section, commands in COMMANDS.items():
    main.add_section(section, commands)


def sendmail_program() -> None:
    """`mailnode-sendmail`, which can stand where programs look for sendmail."""
    main(["sendmail", *sys.argv[1:]])


__all__ = ["main", "sendmail_program", "user_admin"]
