"""Records backups, a prune and a restore, and cuts their power at many moments.

The program is this module, `python -m tests.faults.backup_cuts FOLDER LOG SEED`, under the shim: a
store is backed up, changes, is backed up again; a chunk is damaged, found and written anew by the
third backup; the first two are pruned, the third is restored.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field
from click.testing import CliRunner

from mailnode.cli import main as mailnode
from mailnode.cli.belongings import USERS
from mailnode.portability.chunks import Chunks
from mailnode.portability.manifests import find_manifest
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.messages import Messages
from mailnode.store.verify import verify
from tests.faults.powercut import (
    Nobody,
    Program,
    cuts,
    main,
    owners_of,
    raw_of,
    record,
    step_behind,
)
from tests.faults.upgrading import copies_in, rows, tokens_of

FIRST, SECOND = 10, 5
DELETED = 3


def command(*words: str, exit_code: int = 0) -> Any:
    """What the command answers.

    Raises:
        AssertionError: it ended otherwise.
    """
    done = CliRunner().invoke(mailnode, [*words, "--json"])
    assert done.exit_code == exit_code, f"{words}: {done.output}"
    return json.loads(done.stdout)


@define(eq=False)
class BackingUp(Program):
    async def run(self, reactor: Any) -> None:
        node, store = self.folder / "node", str(self.folder / "backups")
        node.mkdir()
        where = "--users", str(node / "users.db"), "--data", str(node / "var")
        first, second = tokens_of("one", self.seed, FIRST), tokens_of("two", self.seed, SECOND)
        await self.work(reactor, node, first, [])
        self.say(begun=True)
        self.say(backed_up=[command("backup", store, *where)["backup"], first])
        await self.work(reactor, node, second, first[:DELETED])
        left = first[DELETED:] + second
        self.say(backed_up=[command("backup", store, *where)["backup"], left])
        self.say(damaged=True)
        damage_a_chunk(self.folder / "backups")
        command("backups", "verify", store, exit_code=65)
        third = command("backup", store, *where)
        assert third["new_chunks"] == 1
        self.say(backed_up=[third["backup"], left], damaged=False)
        self.say(pruning=True)
        command("backups", "prune", store, "--keep", "1")
        command("restore", store, "--to", str(self.folder / "restored"))
        self.say(restored=left)

    async def work(self, reactor: Any, node: Path, filed: list[str], gone: list[str]) -> None:
        """Closed at its end: a backup in the process of a node would take its locks away."""
        accounts = Accounts.open(node / "users.db", create=True, data=node / "var")
        accounts.close()
        database = Database.open(
            node / "var" / "mail.db",
            call_in_reactor=reactor.callFromThread,
            on_fatal=lambda error: os._exit(74),
        )
        blobs = FileBlobs(node / "var", reactor.callFromThread)
        messages = Messages(database, blobs, Nobody())
        for token in filed:
            await self.file(messages, token)
        await self.delete(messages, gone)
        await database.close()
        blobs.close()


def damage_a_chunk(store: Path) -> None:
    """One octet of the newest backup's accounts is another, on the disk."""
    (digest,) = next(e.chunks for e in find_manifest(store, None).entries() if e.name == USERS)
    with Chunks(store).path_of(digest).open("r+b", buffering=0) as file:
        (octet,) = file.read(1)
        file.seek(0)
        file.write(bytes([octet ^ 1]))
        os.fsync(file.fileno())


@define(eq=False)
class Told:
    """What was said up to a moment: backups with their mails, the newest last."""

    backups: dict[str, list[str]] = field(factory=dict)
    damaged: bool = False
    pruning: bool = False
    restored: list[str] | None = None

    def hear(self, said: dict[str, Any]) -> None:
        if "backed_up" in said:
            name, tokens = said["backed_up"]
            self.backups[name] = tokens
        self.damaged = said.get("damaged", self.damaged)
        self.pruning = self.pruning or "pruning" in said
        self.restored = said.get("restored", self.restored)


def judge(folder: Path, told: Told) -> Iterator[str]:
    """What is wrong in a rebuilt folder: backups that were promised, and those that are there."""
    store, target = folder / "backups", folder / "restored"
    if told.restored is not None and not target.exists():
        yield "what was restored is gone"
    if target.exists():
        yield from judge_mail(target, told.restored)
    names = {path.name.removesuffix(".jsonl") for path in store.glob("backups/*")}
    for at, (name, _tokens) in enumerate(reversed(told.backups.items())):
        if name not in names and not (told.pruning and at):
            yield f"backup {name} is gone"
    for name in sorted(names):
        try:
            command("restore", str(store), "--to", str(folder / name), "--backup", name)
        except AssertionError as error:
            if not told.damaged:
                yield str(error)
        else:
            yield from judge_mail(folder / name, told.backups.get(name))


def judge_mail(folder: Path, tokens: list[str] | None) -> Iterator[str]:
    """A node's folder is whole, and has just that mail, where anything was said of it."""
    data = folder / "var"
    yield from map(str, verify(data, folder / "users.db"))
    if tokens is not None:
        wanted = sorted((token, owner) for token in tokens for owner in owners_of(token))
        if (found := sorted(copies_in(data / "mail.db"))) != wanted:
            yield f"{folder.name} has {found}, should have {wanted}"
    for subject, key, body in rows(data / "mail.db", "SELECT subject, blob_key, body FROM message"):
        octets = body if key is None else (data / "blobs" / key[:2] / key).read_bytes()
        if octets != raw_of(subject):
            yield f"{folder.name}: {subject} is not the octets that came"


def run(folder: Path, seed: int, points: int) -> tuple[int, list[str]]:
    """Steps that were recorded, and what `points` power cuts broke."""
    steps = record(folder / "recorded", seed, __name__)
    first = step_behind(steps, "begun")
    chance, faults, told = random.Random(seed), list[str](), Told()
    moments = [chance.randint(first, len(steps)) for _ in range(points)]
    moments[: points // 5] = [len(steps)] * (points // 5)  # all that was promised stays
    for cut in cuts(folder, steps, moments, told, chance):
        faults += cut.judged(judge(cut.folder, told))
    return len(steps) - first, faults


if __name__ == "__main__":
    main(BackingUp)
