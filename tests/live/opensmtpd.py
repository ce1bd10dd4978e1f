"""OpenSMTPD as a next hop, unpacked from its package: it can't be installed beside Postfix."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from attrs import define

from tests.live.world import OWNER, Server, make_maildirs

HOME = Path(os.environ.get("BENCH_HOME") or Path(os.environ.get("TMPDIR") or "/tmp") / "bench")
UNPACKED = HOME / "opensmtpd" / "usr"  # tests/bench/install-peers puts it there


def opensmtpd_is_there() -> bool:
    """Whether it is unpacked, and has its users, and this user may give it a world of its own."""
    try:
        pwd.getpwnam("opensmtpd"), pwd.getpwnam("opensmtpq")
    except KeyError:
        return False
    there = (UNPACKED / "sbin" / "smtpd").exists() and shutil.which("unshare") is not None
    return os.getuid() == 0 and there


@define(eq=False)
class OpenSmtpd(Server):
    """Takes mail for `domain`: `users` have a maildir, all others get 550."""

    users: tuple[str, ...] = ("remote",)

    def start(self) -> OpenSmtpd:
        folder = self.folder
        make_maildirs(folder / "mail", self.users)
        for name in ("spool/smtpd", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "spool" / "smtpd").chmod(0o711)
        users = (f"{user} {OWNER}:{OWNER}:{folder}/mail/{user}\n" for user in self.users)
        (folder / "etc" / "users").write_text("".join(users))
        cert, key = self.tls
        settings = _SETTINGS.format(
            folder=folder, cert=cert, key=key, port=self.port, domain=self.domain
        )
        (folder / "etc" / "smtpd.conf").write_text(settings)
        (folder / "etc" / "smtpd.conf").chmod(0o600)
        (folder / "etc" / "resolv.conf").write_text("lookup file\n")  # no question leaves
        places = {  # they are compiled in; outside of its own mounts nothing is touched
            UNPACKED / "libexec": "/usr/libexec",
            folder / "spool": "/var/spool",
            folder / "etc" / "resolv.conf": os.path.realpath("/etc/resolv.conf"),
        }
        mounts = " && ".join(f"mount --bind {ours} {place}" for ours, place in places.items())
        program = f"exec {UNPACKED}/sbin/smtpd -d -f {folder}/etc/smtpd.conf"
        self._run("unshare", "-m", "sh", "-c", f"{mounts} && {program}")
        return self


_SETTINGS = """\
pki remote cert "{cert}"
pki remote key "{key}"
table users file:{folder}/etc/users
listen on 127.0.0.1 port {port} tls pki remote hostname mx.{domain}
action "store" maildir "{folder}/mail/%{{dest.user:strip}}" userbase <users>
match from any for domain "{domain}" action "store"
"""
