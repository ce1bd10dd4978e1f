"""Records a program that files, deletes and changes accounts, and cuts its power at many moments.

The program is this module, `python -m tests.faults.powercut FOLDER LOG SEED`, under the shim.
It says what it begins and what it was promised; a start on each rebuilt folder must agree.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailnode.addresses import parse_address
from mailnode.model import Blob, Envelope, Message, Recipient, new_mail_id
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.messages import Messages
from mailnode.store.verify import verify
from tests.faults.disk import Disk
from tests.faults.shim import SAID, Step, build, read_steps, say
from tests.live.node import environment

OWNERS = (1, 2, 3)
ROUNDS = 40
CHECKPOINT_OCTETS = 150_000  # many checkpoints, too, in little time
BLOB_OVER_OCTETS = 30_000


class Nobody:
    def committed(self, events: object) -> None:
        """Nobody listens."""


def raw_of(token: str) -> bytes:
    """The octets of a mail follow from its token."""
    chance = random.Random(token)
    size = chance.choice([0, 100, 2000, 2000, 12_000, 40_000])
    return b"Subject: %s\r\n\r\n%s\r\n" % (
        token.encode(),
        chance.randbytes(size // 2).hex().encode(),
    )


def owners_of(token: str) -> tuple[int, ...]:
    chance = random.Random(f"owners {token}")
    return tuple(chance.sample(OWNERS, chance.choice([1, 1, 2, 3])))


# The program


@define(eq=False)
class Program:
    """Works at the store under a data folder that isn't there yet."""

    folder: Path
    seed: int
    log_fd: int

    def say(self, **said: object) -> None:
        say(self.log_fd, json.dumps(said).encode())

    async def run(self, reactor: Any) -> None:
        accounts = Accounts.open(self.folder / "users.db", create=True)
        accounts.add_domain("example.test")
        database = Database.open(
            self.folder / "var" / "mail.db",
            call_in_reactor=reactor.callFromThread,
            on_fatal=lambda error: os._exit(74),
        )
        database._batches.checkpointer.size_octets = CHECKPOINT_OCTETS
        blobs = FileBlobs(self.folder / "var", reactor.callFromThread)
        messages = Messages(database, blobs, Nobody())
        chance = random.Random(self.seed)
        filed: list[str] = []
        for number in range(ROUNDS):
            tokens = [f"{self.seed}-{number}-{each}" for each in range(chance.choice([1, 3, 9]))]
            filing = [Deferred.fromCoroutine(self.file(messages, token)) for token in tokens]
            await gatherResults(filing)
            filed += tokens
            self.change(accounts, number)
            if number % 2:
                gone = [filed.pop(chance.randrange(len(filed)))]
                await self.delete(messages, gone)
        await database.close()
        blobs.close()
        accounts.close()

    async def file(self, messages: Messages, token: str) -> None:
        raw = raw_of(token)
        body: bytes | Blob = raw
        if len(raw) > BLOB_OVER_OCTETS:
            writer = messages.blobs.create()
            writer.write(raw)
            body = Blob(await writer.commit())
        to = [
            Recipient(parse_address(f"u{each}@example.test"), each, f"u{each}@example.test")
            for each in owners_of(token)
        ]
        envelope = Envelope(new_mail_id(), parse_address("a@b.example"), tuple(to))
        digest = hashlib.sha256(raw).digest()
        await messages.file_message(envelope, Message(b"", body, len(raw), digest, subject=token))
        self.say(filed=token)

    async def delete(self, messages: Messages, tokens: list[str]) -> None:
        for token in tokens:
            self.say(deleting=token)
            for owner in owners_of(token):
                folder = await messages.inbox(owner)
                copies = await messages.database.read(
                    lambda sql, folder_id=folder.folder_id, token=token: sql.execute(
                        "SELECT uid FROM delivery JOIN message ON message.id = message_id"
                        " WHERE folder_id = ? AND subject = ?",
                        (folder_id, token),
                    ).fetchall()
                )
                await messages.delete_mails(folder.folder_id, [uid for (uid,) in copies])
            self.say(deleted=token)

    def change(self, accounts: Accounts, number: int) -> None:
        """A new account each fifth time, else another password of an old one."""
        name = f"user{number // 5}@example.test"
        self.say(changing=[name, f"hash-{number}"])
        if number % 5:
            accounts.set_password(name, f"hash-{number}")
        else:
            accounts.add_account(parse_address(name), f"hash-{number}")
        self.say(changed=[name, f"hash-{number}"])


def record(folder: Path, seed: int, program: str = "tests.faults.powercut") -> list[Step]:
    """What the program does in `folder`, step by step."""
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    environ = environment() | {
        "LD_PRELOAD": str(build()),
        "RECORD_ROOT": str(folder.resolve()),
        "RECORD_LOG": str(log.resolve()),
    }
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", program, folder.resolve(), log.resolve(), str(seed)],
        cwd=root,
        env=environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return list(read_steps(log))


# The cuts


class Listener(Protocol):
    """Keeps what a program said."""

    def hear(self, said: dict[str, Any]) -> None: ...


@frozen
class Cut:
    """The power was cut behind a step, and `folder` is as the disk then is."""

    folder: Path
    step: int
    steps: int

    def judged(self, found: Iterable[str]) -> list[str]:
        """The faults that were found in it, each with the moment; a folder without any goes."""
        faults = [f"{self.folder.name} after step {self.step} of {self.steps}: {f}" for f in found]
        if not faults:
            shutil.rmtree(self.folder)
        return faults


def cuts(
    folder: Path, steps: list[Step], moments: Iterable[int], told: Listener, chance: random.Random
) -> Iterator[Cut]:
    """One behind each of so many steps, ascending; `told` has heard what was said before it."""
    disk, at = Disk(), 0
    for number, moment in enumerate(sorted(moments)):
        for step in steps[at:moment]:
            if step.op == SAID:
                told.hear(json.loads(step.data))
            else:
                disk.take(step)
        at, rebuilt = moment, folder / f"cut-{number}"
        disk.write_after_the_cut(rebuilt, chance)
        yield Cut(rebuilt, moment, len(steps))


def step_behind(steps: list[Step], word: str) -> int:
    """The number of the first step after the program said that it has come so far."""
    wanted = f'"{word}"'.encode()
    return 1 + next(at for at, step in enumerate(steps) if step.op == SAID and wanted in step.data)


# The judge


@define(eq=False)
class Promises:
    """What was said up to a moment."""

    filed: set[str] = field(factory=set)
    deleting: set[str] = field(factory=set)
    deleted: set[str] = field(factory=set)
    passwords: dict[str, str] = field(factory=dict)
    changing: list[str] = field(factory=list)

    def hear(self, said: dict[str, Any]) -> None:
        for what, value in said.items():
            if what == "changing":
                self.changing = value
            elif what == "changed":
                self.passwords[value[0]], self.changing = value[1], []
            else:
                getattr(self, what).add(value)


async def judge(folder: Path, promises: Promises, reactor: Any) -> list[str]:
    """What a start in the rebuilt folder has wrong."""
    faults = _judge_accounts(folder, promises)
    fatal: list[BaseException] = []
    database = Database.open(
        folder / "var" / "mail.db",
        call_in_reactor=reactor.callFromThread,
        on_fatal=fatal.append,
    )
    blobs = FileBlobs(folder / "var", reactor.callFromThread)
    messages = Messages(database, blobs, Nobody())
    try:
        faults += [str(fault) for fault in verify(folder / "var")]
        found: dict[str, list[int]] = {}
        for owner in OWNERS:
            shot = await messages.snapshot((await messages.inbox(owner)).folder_id)
            wanted = list(zip(shot.uids, shot.message_ids, strict=True))
            for mail in await messages.read_mails(shot.folder_id, wanted):
                body = mail.body
                if not isinstance(body, bytes):
                    body = blobs.path_of(body.key).read_bytes()
                body = body[max(0, body.find(b"Subject: ")) :]  # behind the head
                token = body.split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode()
                if body != raw_of(token):
                    faults.append(f"{token}: not the octets that came")
                found.setdefault(token, []).append(owner)
    finally:
        await database.close()
        blobs.close()
    for token in promises.filed | found.keys():
        faults += _judge_mail(token, sorted(found.get(token, [])), promises)
    return faults + [f"the flush failed: {error}" for error in fatal]


def _judge_mail(token: str, owners: list[int], promises: Promises) -> list[str]:
    wanted = sorted(owners_of(token))
    if token in promises.deleted:
        fine = not owners
    elif token in promises.deleting:
        fine = set(owners) <= set(wanted) and len(owners) == len(set(owners))
    elif token in promises.filed:
        fine = owners == wanted
    else:
        fine = owners in ([], wanted)
    return [] if fine else [f"{token}: for {wanted}, is with {owners}"]


def _judge_accounts(folder: Path, promises: Promises) -> list[str]:
    accounts = Accounts.open(folder / "users.db", create=True)
    try:
        found = {str(each.address): each.password_hash for each in accounts.accounts()}
        (state,) = accounts.file._connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        accounts.close()
    wanted = [dict(promises.passwords)]
    if promises.changing:
        wanted.append(wanted[0] | {promises.changing[0]: promises.changing[1]})
    faults = [] if state == "ok" else [f"users.db: {state}"]
    return faults if found in wanted else [*faults, f"accounts: {found}, promised {wanted}"]


async def run(folder: Path, seed: int, points: int, reactor: Any) -> tuple[int, list[str]]:
    """Steps that were recorded, and what `points` power cuts broke."""
    steps = record(folder / "recorded", seed)
    chance, promises, faults = random.Random(seed), Promises(), list[str]()
    moments = [chance.randint(1, len(steps)) for _ in range(points)]
    for cut in cuts(folder, steps, moments, promises, chance):
        faults += cut.judged(await judge(cut.folder, promises, reactor))
    return len(steps), faults


def main(kind: type[Program]) -> None:
    """Runs the program that `record` records."""
    from twisted.internet import reactor, task

    folder, log, seed = sys.argv[1:]
    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    program = kind(Path(folder), int(seed), log_fd)
    task.react(lambda _: Deferred.fromCoroutine(program.run(reactor)))


if __name__ == "__main__":
    main(Program)
