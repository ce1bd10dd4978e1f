"""`mailnode-sendmail` under cron and scripts: up, down, killed, many at once."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from mailnode.client.spool import Slip, Spool
from tests.live.conftest import missing
from tests.live.node import BIN, DOMAIN, Node, environment, without_ours
from tests.live.world import POSTFIX, Postfix, certificate_for, folder_for_others, free_port, there

PROGRAM = BIN / "mailnode-sendmail"
CRON = "-FCronDaemon -i -odi -oem -oi -t"
KILLS = int(os.environ.get("SENDMAIL_KILLS", "6"))


@define(eq=False)
class Sendmail:
    """The program with settings, a spool and a home of its own."""

    folder: Path

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def settings(self) -> dict[str, str]:
        home = str(self.folder)
        return environment() | {
            "MAILNODE_SENDMAIL": str(self.folder / "sendmail.toml"),
            "HOME": home,
            "SENDMAIL": str(PROGRAM),
        }

    def use(self, port: int, **more: str) -> None:
        told = {"smtp": f"localhost:{port}", "domain": DOMAIN, "spool": str(self.spool), **more}
        lines = [f'{key} = "{value}"\n' for key, value in told.items()]
        (self.folder / "sendmail.toml").write_text("".join(lines))

    def pipe(self, options: str, raw: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """As cron runs it."""
        return subprocess.run(
            ["sh", "-c", f'"$SENDMAIL" {options}'], input=raw, capture_output=True,
            env=self.settings, cwd=self.folder, timeout=120,
        )  # fmt: skip

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PROGRAM, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=self.settings, cwd=self.folder,
        )  # fmt: skip

    def put(self, count: int) -> None:
        """So many mails wait."""
        spool = Spool.open(self.spool)
        for number in range(count):
            raw = b"From: x@y.test\r\nSubject: %d\r\n\r\n" % number
            slip = Slip(f"root@{DOMAIN}", (f"alice@{DOMAIN}",), time.time())
            spool.keep(slip, io.BytesIO(raw)).let_go()

    def waiting(self) -> int:
        return len(list(self.spool.glob("*.json")))


@pytest.fixture
def sendmail(tmp_path: Path) -> Sendmail:
    if not PROGRAM.exists():
        missing("mailnode-sendmail")
    (tmp_path / "sendmail").mkdir()
    return Sendmail(tmp_path / "sendmail")


@pytest.fixture
def own_node(folder: Path) -> Iterator[Node]:
    node = Node(folder, options=("--smtp", "0", "--pop3", "0"))
    yield node
    node.kill()


def subjects(node: Node, name: str = "alice") -> Counter[str]:
    found = (re.search(rb"^Subject: (.*?)\r$", raw, re.M) for raw in node.mails(name))
    return Counter(each[1].decode() for each in found if each)


MAIL = b"""\
From: root (Cron Daemon)
To: alice
Bcc: bob
Subject: Cron <root@box> backup
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
X-Cron-Env: <SHELL=/bin/sh>

Gr\xc3\xbc\xc3\x9fe
.
end
"""


def test_what_cron_pipes_arrives_and_waits_while_the_node_is_down(
    own_node: Node, sendmail: Sendmail
) -> None:
    sendmail.use(own_node.start().port("smtp"))
    done = sendmail.pipe(CRON, MAIL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (raw,) = own_node.mails("alice")
    lines = without_ours(raw).split(b"\r\n")
    assert lines[2:] == [
        b"From: root@example.test (Cron Daemon)",
        b"To: alice@example.test",
        *MAIL.splitlines()[3:],
        b"",
    ]
    assert [each.partition(b":")[0] for each in lines[:2]] == [b"Date", b"Message-ID"]
    assert len(own_node.mails("bob")) == 1
    own_node.stop()

    assert sendmail.pipe(CRON, MAIL).returncode == 0
    assert sendmail.waiting() == 1
    done = sendmail.pipe("-q")
    assert (done.returncode, b"Connection refused; 1 mail" in done.stderr) == (75, True)
    assert b"alice@example.test, bob@example.test" in sendmail.pipe("-bp").stdout

    sendmail.use(own_node.start().port("smtp"))
    assert sendmail.pipe("-q").returncode == 0
    assert sendmail.pipe("-q").returncode == 0
    assert (len(own_node.mails("alice")), len(own_node.mails("bob"))) == (2, 2)
    assert list(sendmail.spool.iterdir()) == []
    own_node.stop()


def test_the_next_mail_that_gets_through_takes_some_along(node: Node, sendmail: Sendmail) -> None:
    sendmail.put(12)
    sendmail.use(node.port("smtp"))
    assert sendmail.pipe("alice", b"Subject: next\n\n").returncode == 0
    assert sendmail.waiting() == 2
    assert set(subjects(node).values()) == {1}


def test_without_a_spool_it_is_sent_at_once_or_is_for_later(node: Node, sendmail: Sendmail) -> None:
    sendmail.use(node.port("smtp"), spool="/dev/null/spool")
    assert sendmail.pipe("alice", b"Subject: at once\n\n").returncode == 0
    assert subjects(node) == {"at once": 1}
    sendmail.use(free_port(), spool="/dev/null/spool")
    done = sendmail.pipe("alice", b"Subject: later\n\n")
    assert (done.returncode, b"nor can it be kept" in done.stderr) == (75, True)


def test_a_refusal_has_its_exit_code_and_a_dead_letter(node: Node, sendmail: Sendmail) -> None:
    sendmail.use(node.port("smtp"))
    done = sendmail.pipe("nobody alice", b"Subject: half\n\n")
    assert done.returncode == 67
    assert b"refused for nobody@example.test: 550 5.1.1" in done.stderr
    kept = (sendmail.folder / "dead.letter").read_text()
    assert "X-Undelivered: nobody@example.test: 550 5.1.1" in kept
    assert (subjects(node), sendmail.waiting()) == ({"half": 1}, 0)
    done = sendmail.pipe("-- 'no one@x'", b"\n")
    assert (done.returncode, b"501 5.1.3" in done.stderr) == (65, True)


def test_a_sender_learns_by_mail_what_was_refused_later(node: Node, sendmail: Sendmail) -> None:
    sendmail.use(free_port())
    assert sendmail.pipe("-f bob nobody", b"Subject: s\n\n").returncode == 0
    sendmail.use(node.port("smtp"))
    assert sendmail.pipe("-q").returncode == 0
    assert subjects(node, "bob") == {"Delivery failed: the mail did not arrive": 1}
    assert (sendmail.waiting(), (sendmail.folder / "dead.letter").exists()) == (0, False)


def test_many_runs_at_once_send_each_mail_once(node: Node, sendmail: Sendmail) -> None:
    sendmail.put(40)
    sendmail.use(node.port("smtp"))
    runs = [sendmail.start("-q") for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4
    sendmail.pipe("-q")
    assert (len(subjects(node)), set(subjects(node).values())) == (40, {1})


def test_a_killed_run_loses_nothing_and_sends_twice_only_what_it_was_about_to_remove(
    node: Node, sendmail: Sendmail
) -> None:
    sendmail.put(10 * KILLS)
    sendmail.use(node.port("smtp"))
    luck = random.Random(7)
    killed = 0
    for _ in range(KILLS):
        before, until = sendmail.waiting(), time.monotonic() + 30
        if not before:
            break
        run = sendmail.start("-q")
        most = luck.randrange(1, 8)
        while run.poll() is None and sendmail.waiting() > before - most:
            assert time.monotonic() < until
        time.sleep(luck.uniform(0, 0.004))
        run.send_signal(signal.SIGKILL)
        killed += run.wait(10) == -signal.SIGKILL
    assert sendmail.pipe("-q").returncode == 0
    found = subjects(node)
    assert set(found) == {str(number) for number in range(10 * KILLS)}
    assert killed > KILLS // 2
    assert sum(found.values()) - len(found) <= killed, "a kill sends at most one mail twice"
    assert max(found.values()) <= 2
    left = {path.suffix for path in sendmail.spool.iterdir()}
    assert left <= {".eml"}, "only what the sweep takes away later"


def test_a_mail_whose_sending_was_killed_is_there_once_it_was_spooled(
    node: Node, sendmail: Sendmail
) -> None:
    sendmail.use(node.port("smtp"))
    luck = random.Random(8)
    certain = set()
    for number in range(KILLS):
        run = sendmail.start("alice")
        assert run.stdin is not None
        run.stdin.write(b"Subject: %d\n\n" % number)
        run.stdin.close()
        until = time.monotonic() + 30
        while run.poll() is None and not sendmail.waiting():
            assert time.monotonic() < until
        time.sleep(luck.uniform(0, 0.08))
        run.send_signal(signal.SIGKILL)
        run.wait(10)
        certain.add(str(number))  # either its slip was seen, or it has ended by itself
        sendmail.pipe("-q")
    found = subjects(node)
    assert set(found) == certain
    assert max(found.values()) <= 2


def test_a_postfix_takes_it_and_its_words_are_the_refusal(sendmail: Sendmail) -> None:
    if not there(POSTFIX):
        missing("postfix")
    with folder_for_others() as place:
        tls = certificate_for(place / "tls", "localhost")
        (place / "postfix").mkdir()
        postfix = Postfix(place / "postfix", "remote.test", tls).start()
        try:
            sendmail.use(postfix.port, domain="remote.test")
            assert sendmail.pipe("-t", b"To: remote\nSubject: hi\n\n\xff\n").returncode == 0
            assert postfix.wait_for("remote")[0]["Subject"] == "hi"
            done = sendmail.pipe("nobody", b"\n")
            assert (done.returncode, b"User unknown" in done.stderr) == (67, True)
        finally:
            postfix.stop()


_CRON = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount --bind "$1/crontabs" /var/spool/cron/crontabs
mount --bind "$1/none" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount --bind "$1/sendmail" "$(realpath /usr/sbin/sendmail)"
exec cron -f -L 15
"""
_JOBS = """\
MAILTO=alice
* * * * * echo it is up
MAILTO=bob
* * * * * echo it is down
"""
_WRAPPER = """\
#!/bin/sh
# alice's mail goes to the node, bob's to where nobody listens yet
for last; do :; done
export HOME={home} MAILNODE_SENDMAIL={home}/$last.toml
{program} "$@"
echo "$last $?" >>{home}/called
"""


def test_the_real_cron_is_served_whether_the_node_is_up_or_down(
    node: Node, sendmail: Sendmail
) -> None:
    cron_or_skip()
    home = sendmail.folder
    (home / "none").mkdir()
    (home / "crontabs").mkdir(mode=0o730)
    (home / "crontabs" / "root").write_text(_JOBS)
    (home / "crontabs" / "root").chmod(0o600)
    (home / "sendmail").write_text(_WRAPPER.format(home=home, program=PROGRAM))
    (home / "sendmail").chmod(0o755)
    (home / "called").touch()
    for name, port in (("alice", node.port("smtp")), ("bob", free_port())):
        sendmail.use(port, spool=str(home / f"of {name}"))
        (home / "sendmail.toml").rename(home / f"{name}.toml")
    cron = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", _CRON, "sh", str(home)],
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: len((home / "called").read_text().splitlines()) >= 2, cron, 90)
    finally:
        cron.kill()
        cron.wait()
    assert sorted((home / "called").read_text().splitlines()[:2]) == ["alice 0", "bob 0"]
    (raw,) = node.mails("alice")
    assert b"From: root@example.test (Cron Daemon)\r\n" in raw
    assert raw.endswith(b"\r\n\r\nit is up\r\n")
    assert (len(list((home / "of bob").glob("*.json"))), node.mails("bob")) == (1, [])
    sendmail.use(node.port("smtp"), spool=str(home / "of bob"))
    assert sendmail.pipe("-q").returncode == 0
    (raw,) = node.mails("bob")
    assert raw.endswith(b"\r\n\r\nit is down\r\n")


def cron_or_skip() -> None:
    if not (there("cron") and Path("/usr/sbin/sendmail").exists()):
        missing("cron")
    with contextlib.suppress(OSError):
        if not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
            return
    pytest.skip("mounts of one's own are not allowed here")


def wait_until(
    there_is: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float
) -> None:
    until = time.monotonic() + seconds
    while not there_is():
        assert process.poll() is None, "cron has ended"
        assert time.monotonic() < until, "cron runs nothing"
        time.sleep(0.2)
