"""Records an upgrade and a rollback, and cuts their power at many moments.

The program is this module, `python -m tests.faults.upgrading FOLDER LOG SEED`, under the shim: a
store with mail, opened by a version with one schema more; mail comes; then all is rolled back.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.store import database as database_module
from mailnode.store import users_file as users_module
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.exchange import KEPT, finish_exchange, fresh_folder
from mailnode.store.messages import Messages
from mailnode.store.rollback import newest_copies, roll_back
from mailnode.store.sqlite import schema_scripts
from mailnode.store.upgrade import copies
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

OLD = 8
NEW = 4
STEPS = {
    "sqlite": "ALTER TABLE message ADD COLUMN note TEXT NOT NULL DEFAULT '';"
    " CREATE TABLE label (id INTEGER PRIMARY KEY, message_id INTEGER NOT NULL);"
    " UPDATE delivery SET flags = flags | 1024;",
    "accounts": "ALTER TABLE account ADD COLUMN note TEXT NOT NULL DEFAULT '';",
}


def newer_scripts(engine: str = "sqlite") -> dict[int, str]:
    """Those of the numbered files, and one more."""
    scripts = schema_scripts(engine)
    return {**scripts, max(scripts) + 1: STEPS[engine]}


@contextmanager
def newer_version() -> Iterator[None]:
    """The program is one version on."""
    with (
        patch.object(database_module, "_schema_scripts", newer_scripts),
        patch.object(users_module, "schema_scripts", newer_scripts),
    ):
        yield


def tokens_of(what: str, seed: int, count: int) -> list[str]:
    return [f"{what}-{seed}-{number}" for number in range(count)]


@define(eq=False)
class Upgrading(Program):
    async def run(self, reactor: Any) -> None:
        data, users = self.folder / "var", self.folder / "users.db"
        await self.work(reactor, tokens_of("old", self.seed, OLD), "old@example.test")
        self.say(old=True)
        with newer_version():
            await self.work(reactor, tokens_of("new", self.seed, NEW), "new@example.test")
        self.say(upgraded=True)
        aside = fresh_folder(data / KEPT, "rollback")
        found = newest_copies((data / "mail.db", users), data / KEPT)
        assert len(found) == 2
        for path, copy in found.items():
            roll_back(path, copy, data, aside)
        self.say(rolled_back=True)

    async def work(self, reactor: Any, tokens: list[str], account: str) -> None:
        data = self.folder / "var"
        accounts = Accounts.open(self.folder / "users.db", create=True, data=data)
        if not accounts.domains():
            accounts.add_domain("example.test")
        database = Database.open(
            data / "mail.db",
            call_in_reactor=reactor.callFromThread,
            on_fatal=lambda error: os._exit(74),
        )
        blobs = FileBlobs(data, reactor.callFromThread)
        messages = Messages(database, blobs, Nobody())
        accounts.add_account(parse_address(account), "")
        self.say(made=account)
        for token in tokens:
            await self.file(messages, token)
        await database.close()
        blobs.close()
        accounts.close()


@define(eq=False)
class Told:
    """What was said up to a moment."""

    filed: list[str] = field(factory=list)
    made: list[str] = field(factory=list)
    stages: set[str] = field(factory=set)

    def hear(self, said: dict[str, Any]) -> None:
        for what, value in said.items():
            if what in ("filed", "made"):
                getattr(self, what).append(value)
            else:
                self.stages.add(what)


def judge(folder: Path, told: Told) -> Iterator[str]:
    """What is wrong in a rebuilt folder."""
    data = folder / "var"
    exported = sorted(path.read_bytes() for path in data.glob(f"{KEPT}/rollback-*/mails/*.eml"))
    for copy in copies(data / KEPT):
        yield from whole(copy.path, copy.version)
        if copy.database == "mail.db":
            there = {subject for subject, _ in copies_in(copy.path)}
            for token in told.filed[:OLD]:
                if token not in there:
                    yield f"{copy.path.name} lacks {token}"
    for path, engine in ((data / "mail.db", "sqlite"), (folder / "users.db", "accounts")):
        finish_exchange(path)
        before = max(schema_scripts(engine))
        yield from whole(path, before if "rolled_back" in told.stages else None)
    lying = sorted(copies_in(data / "mail.db"))
    for token in told.filed:
        wanted = [(token, owner) for owner in sorted(owners_of(token))]
        found = [each for each in lying if each[0] == token]
        files = sum(octets.endswith(raw_of(token)) for octets in exported)
        rolled_back = not found and token.startswith("new") and files >= len(wanted)
        if found != wanted and not rolled_back:
            yield f"{token}: lies in {found}, {files} files of it"
    there = {key for (key,) in rows(folder / "users.db", "SELECT key FROM account")}
    for account in told.made:
        if account not in there:
            yield f"there is no {account}"


def whole(path: Path, version: int | None) -> Iterator[str]:
    ((there,),) = rows(path, "PRAGMA user_version")
    if version is not None and there != version:
        yield f"{path.name} has schema {there}"
    for (line,) in rows(path, "PRAGMA integrity_check"):
        if line != "ok":
            yield f"{path.name}: {line}"


def copies_in(path: Path) -> list[tuple[str, int]]:
    return rows(
        path,
        "SELECT subject, account_id FROM delivery JOIN message ON message.id = message_id"
        " JOIN folder ON folder.id = folder_id",
    )


def rows(path: Path, text: str) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


def run(folder: Path, seed: int, points: int) -> tuple[int, list[str]]:
    """Steps that were recorded, and what `points` power cuts broke."""
    steps = record(folder / "recorded", seed, __name__)
    first = step_behind(steps, "old")
    chance, faults, told = random.Random(seed), list[str](), Told()
    moments = [chance.randint(first, len(steps)) for _ in range(points)]
    for cut in cuts(folder, steps, moments, told, chance):
        faults += cut.judged(judge(cut.folder, told))
    return len(steps) - first, faults


if __name__ == "__main__":
    main(Upgrading)
