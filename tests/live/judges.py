"""Programs of others that judge mail: real ones, each in a folder of its own, with few rules."""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

CLAMD, RSPAMD = "/usr/sbin/clamd", "/usr/bin/rspamd"
SPAMD, OPENDKIM = "/usr/sbin/spamd", "/usr/sbin/opendkim"
PYMILTER = "/usr/lib/python3/dist-packages/Milter"
START_S = 20.0

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@define(eq=False)
class Judge:
    """A daemon that listens on a Unix socket in its folder.

    Attributes:
        folder: others can enter it.
    """

    ended_by = signal.SIGTERM

    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def endpoint(self) -> str:
        """Where it listens, for `clientFromString`."""
        return f"unix:path={self.socket}"

    def start(self) -> Judge:
        self.prepare()
        out = self.folder / "out"
        with out.open("ab") as written:
            self.process = subprocess.Popen(
                self.program(), stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while not self._listens():
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"nothing listens:\n{out.read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        return self

    def prepare(self) -> None:
        """Write what it needs to start."""

    def program(self) -> list[str]:
        raise NotImplementedError

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(self.ended_by)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Clamd(Judge):
    """Knows EICAR and nothing else; takes streams of up to 1 MiB."""

    def prepare(self) -> None:
        (self.folder / "db").mkdir()
        digest = hashlib.md5(EICAR).hexdigest()
        (self.folder / "db" / "eicar.hdb").write_text(f"{digest}:{len(EICAR)}:Eicar-Test\n")
        (self.folder / "clamd.conf").write_text(
            f"DatabaseDirectory {self.folder}/db\nLocalSocket {self.socket}\n"
            "Foreground yes\nStreamMaxLength 1M\nMaxThreads 2\n"
        )

    def program(self) -> list[str]:
        return [CLAMD, "--config-file", str(self.folder / "clamd.conf")]


class Spamd(Judge):
    """With the rules that come with it, none of which asks the network."""

    def prepare(self) -> None:
        (self.folder / "site").mkdir()
        (self.folder / "site" / "local.cf").write_text("use_bayes 0\nuse_auto_whitelist 0\n")
        for plugins in Path("/etc/spamassassin").glob("v3[12]0.pre"):
            (self.folder / "site" / plugins.name).write_bytes(plugins.read_bytes())
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)

    def program(self) -> list[str]:
        return [
            SPAMD, "--local", "--nouser-config", "--max-children=1", "--username=nobody",
            f"--socketpath={self.socket}", "--socketmode=0666", f"--helper-home-dir={self.folder}",
            "--configpath=/usr/share/spamassassin", f"--siteconfigpath={self.folder}/site",
            "--syslog=stderr",
        ]  # fmt: skip


class Rspamd(Judge):
    """With its own rules and two of ours; asks no network, and has no module that greylists."""

    def prepare(self) -> None:
        (self.folder / "suffixes").write_text("com\norg\ntest\nexample\n")  # all take 15 s
        (self.folder / "rspamd.conf").write_text(
            _RSPAMD.format(folder=self.folder, socket=self.socket)
        )
        owner = pwd.getpwnam("_rspamd")
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def program(self) -> list[str]:
        conf = str(self.folder / "rspamd.conf")
        return [RSPAMD, "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", conf]


_RSPAMD = """\
options {{
    pidfile = "{folder}/pid"; cache_file = "{folder}/symbols"; tempdir = "{folder}";
    control_socket = "{folder}/control mode=0600"; url_tld = "{folder}/suffixes";
    filters = "regexp"; enable_test_patterns = true; disable_hyperscan = true;
    dns {{ timeout = 0.1s; retransmits = 1; nameserver = ["127.0.0.1:1"]; }}
}}
logging {{ type = "console"; level = "warning"; }}
lua = "/usr/share/rspamd/rules/rspamd.lua";
actions {{ reject = 15; add_header = 6; greylist = 4; }}
regexp {{
    CHEAP {{ re = "Subject=/cheap/i{{header}}"; score = 7.5; description = "Something is cheap"; }}
    DOUBTFUL {{ re = "Subject=/doubtful/i{{header}}"; score = 4.5; description = "A doubt"; }}
}}
worker "normal" {{ bind_socket = "{socket} mode=0666"; count = 1; }}
"""


@define(eq=False)
class OpenDkim(Judge):
    """Verifies: a bad signature is refused; says of the others what it found.

    Attributes:
        keys: the TXT records that it finds, by their names.
    """

    ended_by = signal.SIGKILL  # libmilter looks every five seconds whether it is to end

    keys: Mapping[str, str] = field(factory=dict)

    def prepare(self) -> None:
        records = "".join(f"{name} {text}\n" for name, text in self.keys.items())
        (self.folder / "records").write_text(records)
        (self.folder / "opendkim.conf").write_text(
            f"Mode v\nSocket local:{self.socket}\nTestDNSData file:{self.folder}/records\n"
            "On-BadSignature reject\nOn-NoSignature accept\nAlwaysAddARHeader yes\n"
            "AuthservID judge.example\nSyslog no\nRequireSafeKeys no\n"
            f"PidFile {self.folder}/pid\nTemporaryDirectory {self.folder}\n"
        )

    def program(self) -> list[str]:
        return [OPENDKIM, "-f", "-x", str(self.folder / "opendkim.conf")]


@define(eq=False)
class OpenDkimSigner(OpenDkim):
    """Signs what comes From one of the domains that `keys` names, whoever sends it, by `key`.

    Attributes:
        keys: a name in each domain, `SELECTOR._domainkey.DOMAIN`, and what is published there.
        key: the private one, in PEM.
    """

    key: bytes = b""

    def prepare(self) -> None:
        path = self.folder / "key.pem"
        path.touch(0o600)
        path.write_bytes(self.key)
        selectors = {name.partition("._domainkey.")[0] for name in self.keys}
        domains = [name.partition("._domainkey.")[2] for name in self.keys]
        (selector,) = selectors
        (self.folder / "opendkim.conf").write_text(
            f"Mode s\nSocket local:{self.socket}\nUMask 000\nDomain {','.join(domains)}\n"
            f"Selector {selector}\nKeyFile {path}\nRequireSafeKeys no\n"
            "Canonicalization relaxed/simple\nInternalHosts 0.0.0.0/0\nSyslog no\n"
            f"PidFile {self.folder}/pid\nTemporaryDirectory {self.folder}\n"
        )


class SmallMilter(Judge):
    """A milter on Sendmail's own library that does what the subject says."""

    ended_by = signal.SIGKILL

    def prepare(self) -> None:
        (self.folder / "small.py").write_text(_SMALL_MILTER)

    def program(self) -> list[str]:
        return ["/usr/bin/python3", str(self.folder / "small.py"), f"unix:{self.socket}"]


_SMALL_MILTER = """\
import sys
import Milter

class Small(Milter.Base):
    def envfrom(self, sender, *parameters):
        self.told = [self.getsymval(name) for name in ("i", "j", "{client_addr}", "{auth_authen}")]
        self.sender, self.subject, self.octets, self.recipients = sender, "", 0, []
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        self.recipients.append(recipient)
        return Milter.CONTINUE

    def header(self, name, value):
        if name == "Subject":
            self.subject = value
        return Milter.CONTINUE

    def body(self, chunk):
        self.octets += len(chunk)
        return Milter.CONTINUE

    def eom(self):
        self.addheader("X-Told", " ".join(map(str, self.told)))
        self.addheader("X-Envelope", self.sender + "\\n\\t" + " ".join(self.recipients))
        self.addheader("X-Octets", str(self.octets), 0)
        if self.subject == "refuse":
            self.setreply("554", "5.7.9", "Not", "today")
            return Milter.REJECT
        if self.subject == "later":
            self.setreply("450", "4.2.1", "In an hour")
            return Milter.TEMPFAIL
        if self.subject == "discard":
            return Milter.DISCARD
        if self.subject == "quarantine":
            self.quarantine("Looks bad")
        if self.subject == "change":
            self.progress()
            self.chgheader("Subject", 1, "SPAM")
            self.replacebody("nothing")
            self.addrcpt("<eve@elsewhere.example>")
        return Milter.ACCEPT

Milter.factory = Small
flags = Milter.ADDHDRS, Milter.CHGHDRS, Milter.CHGBODY, Milter.ADDRCPT, Milter.QUARANTINE
Milter.set_flags(sum(flags))
Milter.runmilter("small", sys.argv[1], 60)
"""
