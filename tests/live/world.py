"""The world outside: real mail servers of others on loopback, and the DNS that names them."""

from __future__ import annotations

import contextlib
import email.policy
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

from attrs import define, field

START_S = 20.0
POSTFIX = "/usr/lib/postfix/sbin/master"
DOVECOT = "/usr/sbin/dovecot"
OWNER = 5000  # whose the maildirs are: nobody's account


@contextmanager
def folder_for_others() -> Iterator[Path]:
    """A folder that the servers' own users can reach, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="mailnode-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"nothing on port {port}:\n{out.read_text()}") from None
            time.sleep(0.05)


def mails_in(maildir: Path) -> list[EmailMessage]:
    """What was delivered there, oldest first."""
    files = [path for part in ("new", "cur") for path in (maildir / part).glob("*")]
    files.sort(key=lambda path: path.stat().st_mtime_ns)
    found = []
    for path in files:
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        found.append(mail)
    return found


@define(eq=False)
class Server:
    """A mail server of others, in a folder of its own.

    Attributes:
        domain: whose mail it takes.
        tls: certificate and key.
    """

    folder: Path
    domain: str
    tls: tuple[Path, Path]
    port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def _run(self, *program: str) -> None:
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                program, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        wait_for_port(self.port, self.process, self.out)

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def maildir(self, user: str) -> Path:
        return self.folder / "mail" / user

    def mails(self, user: str) -> list[EmailMessage]:
        return mails_in(self.maildir(user))

    def newest(self, user: str) -> bytes:
        """The octets of the mail that came last."""
        files = sorted(self.maildir(user).glob("new/*"), key=lambda path: path.stat().st_mtime_ns)
        return files[-1].read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def wait_for(self, user: str, count: int = 1, seconds: float = 30.0) -> list[EmailMessage]:
        """The mails of `user`, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := self.mails(user)) < count:
            log = self.log()
            assert time.monotonic() < deadline, f"{len(found)} of {count} mails:\n{log[-3000:]}"
            time.sleep(0.05)
        return found

    def log(self) -> str:
        return self.out.read_text("utf-8", "replace")


def children(pid: int) -> list[int]:
    """The processes that this one has started and that are still there."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def make_maildirs(folder: Path, users: tuple[str, ...]) -> None:
    """A maildir each, which the servers' own user may write."""
    for user in users:
        for part in ("tmp", "new", "cur"):
            (folder / user / part).mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER, OWNER)


@define(eq=False)
class Postfix(Server):
    """Takes mail for `domain`: `users` have a maildir, `refused` get 550, all others, too.

    Attributes:
        sign_in: a Dovecot that knows who may relay through it.
        more: lines of main.cf.
    """

    users: tuple[str, ...] = ("remote",)
    sign_in: Dovecot | None = None
    more: tuple[str, ...] = ()

    def start(self) -> Postfix:
        folder = self.folder
        for name in ("queue", "data", "log", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        make_maildirs(folder / "mail", self.users)
        (folder / "etc" / "main.cf").write_text("\n".join(self._settings()) + "\n")
        (folder / "etc" / "master.cf").write_text(_MASTER.format(port=self.port))
        users = "".join(f"{user}@{self.domain} {user}/\n" for user in self.users)
        (folder / "etc" / "users").write_text(users, "utf-8")
        subprocess.run(
            ["postmap", "-c", folder / "etc", f"hash:{folder}/etc/users"], check=True, timeout=30
        )
        subprocess.run(["postfix", "-c", folder / "etc", "check"], capture_output=True, timeout=60)
        self._run(POSTFIX, "-c", str(folder / "etc"), "-d")
        return self

    def stop(self) -> None:
        """With its daemons: one that was just beginning listens on, and waits for its master."""
        daemons = children(self.process.pid) if self.process is not None else []
        super().stop()
        for pid in daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        path = self.folder / "log" / "maillog"
        return path.read_text("utf-8", "replace") if path.exists() else super().log()

    def _settings(self) -> Iterator[str]:
        folder = self.folder
        cert, key = self.tls
        yield from (
            "compatibility_level = 3.6",
            f"queue_directory = {folder}/queue",
            f"data_directory = {folder}/data",
            "command_directory = /usr/sbin",
            "daemon_directory = /usr/lib/postfix/sbin",
            "mail_owner = postfix",
            "setgid_group = postdrop",
            f"maillog_file = {folder}/log/maillog",
            f"maillog_file_prefixes = {folder}/log",
            "inet_interfaces = 127.0.0.1",
            "inet_protocols = ipv4",
            f"myhostname = mx.{self.domain}",
            "mydestination =",
            "mynetworks = 127.0.0.2/32",
            "local_transport = error:none",
            "disable_dns_lookups = yes",
            "smtpd_peername_lookup = no",
            "smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_recipient_restrictions =",
            "mailbox_size_limit = 0",
            "virtual_mailbox_limit = 0",
            f"virtual_mailbox_domains = {self.domain}",
            f"virtual_mailbox_base = {folder}/mail",
            f"virtual_mailbox_maps = hash:{folder}/etc/users",
            f"virtual_uid_maps = static:{OWNER}",
            f"virtual_gid_maps = static:{OWNER}",
            "virtual_minimum_uid = 100",
            "alias_maps =",
            "alias_database =",
            "smtpd_tls_security_level = may",
            f"smtpd_tls_cert_file = {cert}",
            f"smtpd_tls_key_file = {key}",
            "smtpd_tls_received_header = yes",
            "smtputf8_enable = yes",
            "tls_random_source = dev:/dev/urandom",
            *self.more,
        )
        if self.sign_in is not None:
            yield from (
                "smtpd_sasl_auth_enable = yes",
                "smtpd_sasl_type = dovecot",
                f"smtpd_sasl_path = {self.sign_in.auth_socket}",
                "smtpd_sasl_authenticated_header = yes",
                "smtpd_tls_auth_only = yes",
            )


_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
tlsmgr    unix  - - n 1000? 1 tlsmgr
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


@define(eq=False)
class Dovecot(Server):
    """LMTP and POP3 for `users`, and a socket where Postfix asks who may sign in.

    Passwords are "pw".
    """

    users: tuple[str, ...] = ("remote",)
    pop3_port: int = field(factory=free_port)
    pop3s_port: int = field(factory=free_port)

    @property
    def auth_socket(self) -> Path:
        return self.folder / "auth"

    @property
    def lmtp_socket(self) -> Path:
        return self.folder / "lmtp"

    def start(self) -> Dovecot:
        folder = self.folder
        for name in ("home", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        make_maildirs(folder / "mail", self.users)
        os.chown(folder / "home", OWNER, OWNER)
        users = "".join(f"{user}@{self.domain}:{{PLAIN}}pw::::::\n" for user in self.users)
        (folder / "etc" / "users").write_text(users)
        (folder / "etc" / "users").chmod(0o644)
        cert, key = self.tls
        settings = _DOVECOT.format(
            folder=folder,
            cert=cert,
            key=key,
            port=self.port,
            pop3=self.pop3_port,
            pop3s=self.pop3s_port,
            owner=OWNER,
            auth=self.auth_socket,
            lmtp=self.lmtp_socket,
        )
        (folder / "etc" / "dovecot.conf").write_text(settings)
        self._run(DOVECOT, "-F", "-c", str(folder / "etc" / "dovecot.conf"))
        return self


_DOVECOT = """\
base_dir = {folder}/base
state_dir = {folder}/state
log_path = {folder}/out
protocols = lmtp pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
default_login_user = nobody
default_internal_user = dovecot
mail_location = maildir:{folder}/mail/%n
mail_uid = {owner}
mail_gid = {owner}
first_valid_uid = 100
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/etc/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/etc/users
  default_fields = uid={owner} gid={owner} home={folder}/home/%n
}}
service auth {{
  unix_listener {auth} {{
    mode = 0666
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {lmtp} {{
    mode = 0666
  }}
}}
"""


@contextmanager
def dns(folder: Path, zone: Mapping[str, object]) -> Iterator[int]:
    """A DNS server whose zone is `zone`, "example.org MX" to values; gives its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "zone.json").write_text(json.dumps(zone))
    with (folder / "out").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.dns_world", str(port), str(folder / "zone.json")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )
    try:
        wait_for_port(port, process, folder / "out")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def texts_of(published: str) -> dict[str, str]:
    """The TXT records that `mailnode dns show --json` would have published."""
    return {
        each["name"].rstrip("."): each["value"]
        for each in json.loads(published)["records"]
        if each["type"] == "TXT"
    }


def dns_of_dkimpy(texts: Mapping[str, str]) -> Callable[..., bytes | None]:
    """What dkimpy asks the DNS."""

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        found = texts.get(name.decode().rstrip("."))
        return None if found is None else found.encode()

    return ask


def certificate_for(folder: Path, *names: str) -> tuple[Path, Path]:
    """A self-signed certificate for these names, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "30", "-subj", f"/CN={names[0]}",
         "-addext", f"subjectAltName={alternatives}", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    cert.chmod(0o644)
    return cert, key


@define(eq=False)
class Sink(Server):
    """Postfix's smtp-sink: takes all mail, and keeps each as a file with its envelope."""

    def start(self) -> Sink:
        shutil.chown(self.folder, "nobody")
        self._run(
            "smtp-sink", "-u", "nobody", "-D", f"{self.folder}/mail.", f"127.0.0.1:{self.port}", "9"
        )
        return self

    def recipients(self) -> list[str]:
        """Of the mails that it has, in no order."""
        text = "".join(path.read_text() for path in self.folder.glob("mail.*"))
        return re.findall(r"^X-Rcpt-Args: <(.+?)>", text, re.M)


def there(program: str) -> bool:
    return os.getuid() == 0 and (Path(program).exists() or shutil.which(program) is not None)
