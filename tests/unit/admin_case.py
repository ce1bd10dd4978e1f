"""Pages for administrators in memory: users.db is a file, mail.db is SQLite's in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from mailnode.addresses import Address, parse_address
from mailnode.admission import Sessions
from mailnode.audited import Actor
from mailnode.cred.policy import PasswordPolicy
from mailnode.cred.stored import StoredPassword
from mailnode.errors import NotFound
from mailnode.events import Event
from mailnode.networks import read_network
from mailnode.settings import PasswordSettings, QuotaSettings
from mailnode.store.accounts import Account, Accounts
from mailnode.store.audit_search import Wanted, find_lines
from mailnode.store.directory import LiveDirectory
from mailnode.store.guard import Ban, Block
from mailnode.store.journal import insert_events, read_trace
from mailnode.store.journal_search import Sought, read_subject, search_journal
from mailnode.store.lists import Sums
from mailnode.store.queue_desk import (
    Changed,
    QueueFilter,
    change_rows,
    count_rows,
    list_destinations,
    list_rows,
)
from mailnode.store.sqlite import schema_scripts
from mailnode.web.admin_desk import AdminDesk, QueueSight
from mailnode.web.figures import Figures
from mailnode.web_admin import admin_pages
from tests.unit.web_case import AT, Reply, WebCase


@define
class KeepingOut:
    """Bans as `guarding.Guard` keeps them, in memory, and who made and lifted them."""

    now: Callable[[], float]
    bans: list[Ban] = field(factory=list)
    blocks: list[Block] = field(factory=list)
    told: list[str] = field(factory=list)

    def kept_out(self) -> tuple[list[Ban], list[Block]]:
        return self.bans, self.blocks

    async def ban(self, network: str, for_s: float | None, reason: str, actor: Actor) -> Ban:
        until = None if for_s is None else self.now() + for_s
        self.bans.append(Ban(read_network(network), self.now(), until, reason, actor.by))
        return self.bans[-1]

    async def lift(self, network: str, actor: Actor) -> None:
        name = read_network(network)
        if name not in [each.network for each in self.bans]:
            raise NotFound(f"nobody is banned or blocked at {network}")
        self.bans = [each for each in self.bans if each.network != name]
        self.told.append(f"{name} by {actor.by}")


class AdminCase(WebCase):
    """alice looks after the node, bob doesn't; both have accounts of those ids in users.db."""

    def setUp(self) -> None:
        self.users = Accounts.open(Path(self.mktemp()), create=True)
        self.addCleanup(self.users.close)
        self.users.add_domain("example.test")
        for number, name in enumerate(("alice", "bob"), 1):
            address = parse_address(f"{name}@example.test")
            made = self.users.add_account(address, "h", admin=name == "alice")
            self.renumber(made.id, number)
        self.directory = LiveDirectory()
        self.mail = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(self.mail.close)
        for _version, script in sorted(schema_scripts().items()):
            self.mail.executescript(script)
        self.sums: dict[int, Sums] = {2: Sums(2, 3, 2048, AT)}
        self.quota = QuotaSettings()
        self.faults: dict[str, str] = {}
        self.warned: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.sessions: dict[str, Sessions] = {}
        self.keeping_out = KeepingOut(lambda: self.now)
        self.done: list[Any] = []
        self.now = AT
        self.take_up()
        super().setUp()

    def renumber(self, was: int, number: int) -> None:
        """As the guests of `WebCase` have it."""
        other = sqlite3.connect(self.users.path, isolation_level=None)
        other.execute("UPDATE account SET id = ? WHERE id = ?", (number, was))
        other.close()

    @property
    def more_pages(self) -> Sequence[Any]:  # type: ignore[override]
        return admin_pages(self.make_desk(), self.keeping_out)

    def make_desk(self) -> AdminDesk:
        async def changed() -> None:
            self.take_up()

        async def choose(
            password: str, address: Address, account: Account | None
        ) -> StoredPassword:
            PasswordPolicy(PasswordSettings).judge(password, address)
            return StoredPassword(f"hash of {password}")

        async def search(before: int, limit: int, known: Mapping[str, Any]) -> Any:
            return search_journal(self.mail, Sought(**known), before=before, limit=limit)

        async def trace(mail_id: str) -> Any:
            return read_subject(self.mail, mail_id), read_trace(self.mail, mail_id)

        async def audit(wanted: Mapping[str, Any], before: int, limit: int) -> Any:
            return find_lines(self.folder, Wanted(**wanted), limit, before=before)

        self.figures = Figures(lambda: dict(self.values), lambda: self.now)
        self.desk = AdminDesk(
            templates=self.templates,
            accounts=self.users,
            directory=self.directory,
            in_thread=self.in_thread,
            changed=changed,
            choose_password=choose,
            least_characters=lambda: 10,
            sets_passwords=True,
            sums=lambda: self.sums,
            quota=lambda: self.quota,
            queue=self.make_queue(),
            search=search,
            trace=trace,
            audit=audit,
            figures=self.figures,
            readiness=lambda: self.faults,
            warnings=lambda: self.warned,
            sessions=lambda: self.sessions,
            metrics=lambda: self.values,
            processes=1,
            now=lambda: self.now,
            shelf=self.shelf,
        )
        return self.desk

    def make_queue(self) -> QueueSight:
        @contextmanager
        def transaction() -> Iterator[sqlite3.Connection]:
            yield self.mail

        async def change(wanted: QueueFilter, name: str, by: str, reason: str) -> Changed:
            self.done.append((name, by, reason))
            return change_rows(transaction, wanted, name, now=self.now, by=by, reason=reason)

        async def page(wanted: QueueFilter, after: int, limit: int) -> Any:
            return list_rows(self.mail, wanted, limit, after)

        async def count(wanted: QueueFilter) -> int:
            return count_rows(self.mail, wanted)

        async def destinations(limit: int) -> Any:
            return list_destinations(self.mail, self.now, limit)

        async def row(row_id: int) -> Any:
            rows = list_rows(self.mail, QueueFilter(ids=(row_id,)), 1)
            return rows[0] if rows else None

        return QueueSight(
            make_filter=QueueFilter,
            page=page,
            count=count,
            destinations=destinations,
            change=change,
            row=row,
        )

    def take_up(self) -> None:
        self.directory.replace(self.users.load_directory())

    def sent(self, path: str, **fields: Any) -> Reply:
        """A form of alice's, once she is signed in."""
        return self.ask(path, form={"csrf": self.csrf(), **fields})

    def says(self) -> str:
        """What the next page says first."""
        return self.ask("/admin/domains").text.partition('id="flash"')[2].partition("</nav>")[0]

    # What lies there

    def put_queued(self, recipient: str, state: str = "waiting", **facts: Any) -> int:
        """A mail to a recipient elsewhere; its row's id."""
        raw = facts.pop("raw", b"Subject: Invoice\r\n\r\nHello.\r\n")
        (number,) = self.mail.execute("SELECT coalesce(max(id), 0) + 1 FROM message").fetchone()
        mail_id = facts.pop("mail_id", f"M{number:025d}")
        self.mail.execute(
            "INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,"
            " received_at, prefix, body) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (number, mail_id, "alice@example.test", facts.pop("subject", "Invoice"), len(raw),
             b"d", AT, b"Received: by here\r\n", raw),
        )  # fmt: skip
        row = {
            "message_id": number,
            "mail_id": mail_id,
            "sender": "alice@example.test",
            "recipient": recipient,
            "domain": recipient.rpartition("@")[2],
            "priority": 1,
            "state": state,
            "due_at": AT + 60,
            "queued_at": AT - 60,
        } | facts
        marks = ", ".join("?" * len(row))
        (row_id,) = self.mail.execute(
            f"INSERT INTO queue ({', '.join(row)}) VALUES ({marks}) RETURNING id",
            tuple(row.values()),
        ).fetchone()
        return int(row_id)

    def states(self) -> dict[str, str]:
        return dict(self.mail.execute("SELECT recipient, state FROM queue ORDER BY id").fetchall())

    def tell(self, *events: Event) -> None:
        insert_events(self.mail, events)
