"""The `mailnode` command: administration of a node, beside it or while it runs."""

from __future__ import annotations

import sys

from mailnode.cli.frame import RootGroup

# What each is, in a module of this package: `module:command`, or both names alike.
COMMANDS = {
    "Mail": {
        "shell": "shell",
        "send": "send",
        "list": "maildrop:list_mails",
        "read": "maildrop:read",
        "save": "maildrop:save",
        "delete": "maildrop:delete",
        "stat": "maildrop:stat",
        "watch": "watching:watch",
        "check": "check",
        "sendmail": "sendmail",
    },
    "People": {
        "init": "settings:init",
        "domain": "accounts:domain",
        "user": "user",
        "alias": "aliases:alias",
        "mailbox": "mailbox",
        "search": "search",
        "import": "import_mail",
        "export": "export:export_mail",
        "learn": "learn",
        "sender": "senders:sender",
        "send-as": "send_as",
        "token": "tokens:token",
    },
    "Other hosts": {
        "gear": "gear",
        "route": "routes:route",
        "queue": "queue",
        "dkim": "dkim",
        "dns": "dns",
        "dmarc": "dmarc",
        "clock": "clock",
    },
    "The node": {
        "config": "settings:config",
        "doctor": "doctor",
        "trace": "trace",
        "replay": "replay",
        "audit": "audit",
        "ban": "bans:ban",
        "version": "settings:version",
    },
    "Its data": {
        "backup": "backup",
        "backups": "backups",
        "restore": "restore",
        "verify": "settings:verify",
        "repair": "repair",
        "rollback": "rollback",
        "index": "index",
    },
}
main = RootGroup(
    "mailnode",
    sections=COMMANDS,
    example="mailnode user add carol@example.org",
    help="""Look after a mailnode, its accounts, its mail, its health; send and read mail anywhere.

    The server itself is started by `twistd -n mailnode`; these commands work beside it, and a
    running node takes changes up at once. They find the node as the server does: users.db and
    var/ in this folder, or what --config, MAILNODE_SECTION__KEY, --users and --data say. A
    mailnode.toml is read when --config or MAILNODE_CONFIG names it, never by itself.
    """,
)


def sendmail_program() -> None:
    """`mailnode-sendmail`, which can stand where programs look for sendmail."""
    main(["sendmail", *sys.argv[1:]])
