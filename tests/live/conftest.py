"""Fixtures of the live tests: nodes, and clients that must be there."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from attrs import frozen
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

from tests.live.node import Node, copy_folder, environment, make_folder
from tests.live.world import (
    DOVECOT,
    POSTFIX,
    Dovecot,
    Postfix,
    certificate_for,
    folder_for_others,
    there,
)


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with alice and bob, made once."""
    return make_folder(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made_folder: Path, tmp_path: Path) -> Path:
    return copy_folder(made_folder, tmp_path / "node")


@pytest.fixture(scope="session")
def shared_node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests that leave it as it was; it must end without a complaint."""
    node = Node(copy_folder(made_folder, tmp_path_factory.mktemp("shared") / "node")).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture
def node(shared_node: Node) -> Node:
    """The shared node, with empty maildrops."""
    assert shared_node.process is not None
    assert shared_node.process.poll() is None, f"the node is gone\n{shared_node.tail()}"
    for name in ("alice", "bob"):
        shared_node.empty(name)
    return shared_node


def missing(program: str) -> None:
    """Skip this test for lack of a client; where CI=true that is a failure."""
    why = f"{program} is not installed; as root, tests/live/install-clients installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@frozen
class Mailhost:
    """A Dovecot whose maildirs a Postfix fills.

    Attributes:
        address: whose mailbox it has; the password is "pw".
        pop3, smtp: options that lead there, its certificate included, for which nobody vouches.
    """

    address: str
    pop3: tuple[str, ...]
    smtp: tuple[str, ...]


@pytest.fixture(scope="module")
def mailhost() -> Iterator[Mailhost]:
    if not (there(DOVECOT) and there(POSTFIX) and Path("/usr/lib/dovecot/pop3").exists()):
        missing("dovecot-pop3d or postfix")
    with folder_for_others() as place:
        tls = certificate_for(place / "tls", "localhost")
        for name in ("dovecot", "postfix"):
            (place / name).mkdir()
        dovecot = Dovecot(place / "dovecot", "remote.test", tls).start()
        maildirs = f"virtual_mailbox_base = {dovecot.folder}/mail"
        postfix = Postfix(place / "postfix", "remote.test", tls, more=(maildirs,)).start()
        trust = ("--trust", str(tls[0]))
        yield Mailhost(
            "remote@remote.test",
            ("--pop3", f"localhost:{dovecot.pop3_port}", *trust),
            ("--smtp", f"localhost:{postfix.port}", *trust),
        )
        postfix.stop()
        dovecot.stop()


Client = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Run a mail client in a home of its own, and expect that it ends well."""
    home = tmp_path / "home"
    home.mkdir()

    def run(
        program: str, *arguments: str | Path, stdin: bytes = b"", expect: int = 0, **extra: str
    ) -> subprocess.CompletedProcess[bytes]:
        if shutil.which(program) is None:
            missing(program)
        done = subprocess.run(
            [program, *map(str, arguments)],
            cwd=home,
            env=environment() | {"HOME": str(home)} | extra,
            input=stdin,
            capture_output=True,
            timeout=90,
        )
        said = done.stderr[-4000:] + b"\n" + done.stdout[-2000:]
        assert done.returncode == expect, (
            program,
            done.returncode,
            said.decode("utf-8", "replace"),
        )
        return done

    return run


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    """Fail a test that leaves a delayed call, or whose Deferred failed and nobody looked."""
    errors: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            errors.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(observe)
    yield
    pytest_twisted.blockon(deferLater(reactor, 0.0))  # what is due now is not left over
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert not errors, errors
    left = reactor.getDelayedCalls()  # type: ignore[attr-defined]
    assert not left, left
