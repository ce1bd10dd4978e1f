"""Mistakes are one clear line and an exit code; a node starts quickly, anywhere, for anyone."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.node import (
    DOMAIN,
    PASSWORD,
    WORKERS,
    Node,
    command,
    environment,
    twistd,
    without_ours,
)
from tests.live.world import free_port

USAGE, UNAVAILABLE, TRY_AGAIN, NO_PERMISSION, CONFIG = 64, 69, 75, 77, 78


def run_twistd(
    folder: Path, *options: str, before: tuple[str, ...] = ("-n", "--pidfile=")
) -> subprocess.CompletedProcess[str]:
    """Run a node that must not come up."""
    return subprocess.run(
        twistd(*before, "mailnode", *options),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--smpt", "2525"], "--smpt"),
        (["--smtp", "0", "stray"], "stray"),
        (["--smtp", "70000"], "70000"),
        (["--smtp", "nonsense"], "nonsense"),
        (["--smtp", "nonsense:25"], "nonsense"),
        (["--pop3"], "pop3"),
        (["--smtp", "0", "--hostname", "not a name"], "not a name"),
        (["--smtp", "0", "--auth", "nonsense:x"], "nonsense"),
        (["--smtp", "0", "--tls-cert", "cert.pem"], "tls"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_options_is_one_line_and_64_or_78(
    folder: Path, options: list[str], words: str
) -> None:
    done = run_twistd(folder, *options)
    assert words in one_line(done, done.returncode)
    assert done.returncode in (USAGE, CONFIG)
    assert not (folder / "var" / "mail.db").exists()


def test_an_unknown_option_and_a_stray_word_are_usage_errors(folder: Path) -> None:
    assert run_twistd(folder, "--smpt", "0").returncode == USAGE
    assert run_twistd(folder, "--smtp", "0", "stray").returncode == USAGE


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[limits]\nrecipient = 1\n", "did you mean recipients?"),
        ("[limit]\nrecipients = 1\n", "did you mean limits?"),
        ('[limits]\nstop = "soon"\n', '"30m"'),
        ("[limits\n", "not TOML"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_and_78(
    folder: Path, toml: str, words: str
) -> None:
    (folder / "m.toml").write_text(toml)
    done = run_twistd(folder, "--smtp", "0", "--config", "m.toml")
    assert words in one_line(done, CONFIG)


def test_a_configuration_that_is_not_there_is_78(folder: Path) -> None:
    assert "none.toml" in one_line(run_twistd(folder, "--config", "none.toml"), CONFIG)


def test_a_certificate_that_can_t_be_used_is_78(folder: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_text("nonsense")
    options = ("--smtp", "0", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    assert "cert.pem" in one_line(run_twistd(folder, *options), CONFIG)


def test_a_start_in_the_background_that_fails_says_why(folder: Path) -> None:
    options = ("--smtp", "0", "--tls-cert", "nix.pem", "--tls-key", "nix.pem")
    done = run_twistd(folder, *options, before=())
    assert "can't read nix.pem" in one_line(done, CONFIG)
    assert "can't read nix.pem" in (folder / "twistd.log").read_text()
    assert not (folder / "twistd.pid").exists()


def test_a_taken_port_is_69_in_the_background_too_and_its_line_is_whole(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_twistd(folder, "--data", "long" * 40, "--smtp", "0", "--pop3", port, before=())
    said = one_line(done, UNAVAILABLE)
    assert said.startswith("mailnode: ") and port in said
    assert said.removeprefix("mailnode: ") in (folder / "twistd.log").read_text()
    assert not (folder / "twistd.pid").exists()


def test_a_start_without_a_port_is_64(folder: Path) -> None:
    assert "--smtp 2525" in one_line(run_twistd(folder), USAGE)


def test_a_users_file_that_is_no_database_is_69_and_named(folder: Path) -> None:
    (folder / "users.db").write_bytes(b"nonsense" * 512)
    assert "users.db" in one_line(run_twistd(folder, "--smtp", "0"), UNAVAILABLE)
    assert (folder / "users.db").read_bytes() == b"nonsense" * 512


def test_a_taken_port_is_69(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_twistd(folder, "--pop3", "0", "--smtp", port)
    assert port in one_line(done, UNAVAILABLE)
    assert not (folder / "var" / "listening.json").exists()


def test_a_second_node_on_the_folder_is_75_and_the_first_goes_on(folder: Path) -> None:
    with Node(folder) as first:
        said = one_line(run_twistd(folder, "--smtp", "0"), TRY_AGAIN)
        assert "var" in said
        first.send(b"Subject: still here\r\n\r\n")
        assert len(first.mails()) == 1


def test_help_explains_every_option_with_an_example(tmp_path: Path) -> None:
    done = subprocess.run(
        twistd("mailnode", "--help"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    for option in ("smtp", "submission", "smtps", "pop3", "pop3s", "users", "data", "config",
                   "hostname", "tls-cert", "tls-key", "http", "auth"):  # fmt: skip
        assert f"--{option}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_gets_an_empty_users_db_and_a_word_about_the_first_account(
    tmp_path: Path,
) -> None:
    with Node(tmp_path, options=("--smtp", "0", "--pop3", "0")) as node:
        assert (tmp_path / "users.db").exists()
        assert "mailnode init --user" in node.text()
        command(tmp_path, "init", "--user", f"carol@{DOMAIN}", stdin=f"{PASSWORD}\n")
        deadline = time.monotonic() + 5
        while (
            True
        ):  # the bell is rung before the command returns; its reader may be a moment behind
            try:
                node.send(b"Subject: first\r\n\r\nhello\r\n", to="carol")
                break
            except Exception:
                assert time.monotonic() < deadline, node.text()
                time.sleep(0.05)
        (served,) = node.mails("carol")
        assert without_ours(served) == b"Subject: first\r\n\r\nhello\r\n"
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"users.db", "var", "log"}
    assert (tmp_path / "users.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700


def test_a_node_is_up_within_a_second_or_so(folder: Path) -> None:
    """The best of three, with room for a machine that is busy with other tests."""
    node, times = Node(folder), []
    for _ in range(3):
        began = time.monotonic()
        node.start()
        times.append(time.monotonic() - began)
        node.stop()
    assert min(times) < 2.0, times


def test_ports_may_be_given_several_times_and_as_endpoints(folder: Path) -> None:
    options = ("--smtp", "0", "--smtp", "tcp:0:interface=127.0.0.1", "--pop3", "0")
    with Node(folder, options) as node:
        ports = {address.rpartition(":")[2] for address in node.listening["smtp"]}
        assert len(ports) >= 2
        for port in [int(port) for port in ports]:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                assert client.recv(4) == b"220 "


def test_a_bare_port_listens_on_loopback_alone_in_both_families(folder: Path) -> None:
    with Node(folder, ("--smtp", "0")) as node:
        hosts = [address.rpartition(":")[0] for address in node.listening["smtp"]]
    assert set(hosts) <= {"127.0.0.1", "[::1]"}
    assert "127.0.0.1" in hosts


NOBODY = 65534


AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
IMPORT = "import mailnode.store"
BEGIN_ANOTHER = f"import subprocess, sys; subprocess.check_call([sys.executable, '-c', '{IMPORT}'])"
SHED_AND_IMPORT = f"""
import fcntl
import os
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
import importlib.readers, mailnode.store
"""


def nobody_can(arguments: list[str]) -> bool:
    if os.getuid() != 0 or shutil.which(arguments[0]) is None:
        return False
    tried = subprocess.run(arguments, env=environment(), capture_output=True, cwd="/", timeout=30)
    return tried.returncode == 0


@pytest.fixture
def open_folder(folder: Path) -> Path:
    """A folder of nobody's, that nobody can reach."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    return folder


@pytest.mark.skipif(
    not nobody_can([*AS_NOBODY, sys.executable, "-c", IMPORT if WORKERS == 1 else BEGIN_ANOTHER]),
    reason="not root, or nobody can't read this python",
)
def test_another_user_than_who_installed_it_runs_it_without_a_complaint(open_folder: Path) -> None:
    with Node(open_folder, before=AS_NOBODY) as node:
        node.send(b"Subject: a\r\n\r\n")
        assert len(node.mails()) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="not root")
def test_a_user_who_may_not_use_the_folder_is_told_with_the_mend(open_folder: Path) -> None:
    os.chown(open_folder, 0, 0)
    open_folder.chmod(0o700)
    done = run_twistd(open_folder, "--uid", str(NOBODY), "--smtp", "0")
    assert done.returncode == NO_PERMISSION, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    user = pwd.getpwuid(NOBODY).pw_name
    if "is installed" not in line:
        assert line.endswith(f"chown -R {user}: {open_folder}"), line
    assert f"user {user} may not" in line
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(
    not nobody_can([sys.executable, "-c", SHED_AND_IMPORT]),
    reason="not root, or nobody can't read this python",
)
def test_uid_and_gid_are_shed_after_the_bind_and_mail_still_comes_in(open_folder: Path) -> None:
    node = Node(open_folder, twistd_options=["--uid", str(NOBODY), "--gid", str(NOBODY)])
    with node:
        assert node.process is not None
        status = Path(f"/proc/{node.process.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
        node.send(b"Subject: a\r\n\r\n")
        assert len(node.mails()) == 1


def test_make_run_names_a_node_that_runs_there_before_other_ports(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "var").mkdir()
    installed = root / ".venv" / "installed"
    if not installed.exists():
        pytest.skip("this environment was not made by make")
    ports = [f"{name}={free_port()}" for name in ("SMTP", "POP3")]
    words = ["make", "-f", str(root / "Makefile"), f"VENV={root / '.venv'}", "-o", str(installed)]
    with (tmp_path / "var" / "node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [*words, "run", *ports],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    said = done.stderr.splitlines()
    assert said[0] == "A node runs in this folder already: stop it first", done.stderr
    assert "is taken" not in done.stderr
