"""A store with mail, damaged in one place; what verify, a node and repair make of it."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailnode.addresses import parse_address
from mailnode.errors import MailError
from mailnode.model import Blob, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs, blob_path
from mailnode.store.database import Database
from mailnode.store.messages import Messages
from mailnode.store.pages import Pages
from mailnode.store.removal import delete_copies
from mailnode.store.repair import Report, is_whole, repair
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from mailnode.store.verify import Fault, verify

DOMAIN = "example.test"
OWNERS = 6
WORDLESS = 200  # accounts without mail, so that users.db has several pages

Copies = dict[tuple[str, str], bytes]  # (address, unique-id) to the octets that came


class Nobody:
    def committed(self, events: object) -> None:
        """Nobody listens."""


@frozen
class Damage:
    """One thing that happens to a file of the store.

    Attributes:
        file: below the folder.
        how: "flip", "zero", "noise", "cut" or "remove".
        page: 1-based; of a blob 0.
    """

    file: str
    how: str
    page: int
    seed: int

    def do(self, folder: Path) -> None:
        path, chance = folder / self.file, random.Random(self.seed)
        if self.how == "remove":
            path.unlink()
            return
        octets = bytearray(path.read_bytes())
        start = max(0, self.page - 1) * 4096
        end = min(len(octets), start + 4096) if self.page else len(octets)
        if self.how == "cut":
            del octets[start + (0 if self.page else chance.randrange(len(octets))) :]
        elif self.how == "flip":
            octets[chance.randrange(start, end)] ^= 1 << chance.randrange(8)
        else:
            size = end - start
            octets[start:end] = bytes(size) if self.how == "zero" else chance.randbytes(size)
        path.write_bytes(octets)


@define(eq=False)
class Store:
    """A whole store, and what is known of it.

    Attributes:
        copies: what each maildrop serves.
        queue: (recipient, octets) of what leaves.
        pages_of: the pages of mail.db that each mail's octets stand on, by octets.
        kinds: of each page in use, by file: such as "message leaf" or "delivery inner".
    """

    folder: Path
    copies: Copies = field(factory=dict)
    queue: set[tuple[str, bytes]] = field(factory=set)
    pages_of: dict[bytes, set[int]] = field(factory=dict)
    kinds: dict[str, dict[int, str]] = field(factory=dict)

    @classmethod
    def make(cls, folder: Path, mails: int, seed: int) -> Store:
        chance, data = random.Random(seed), folder / "var"
        data.mkdir(parents=True)
        accounts = Accounts.open(folder / "users.db", create=True, data=data)
        accounts.add_domain(DOMAIN)
        owners = [
            accounts.add_account(parse_address(f"user{number}@{DOMAIN}"), "hash")
            for number in range(OWNERS)
        ]
        for number in range(WORDLESS):
            accounts.add_account(parse_address(f"other{number}@{DOMAIN}"), "hash" * 20)
        accounts.close()
        prepare(data / "mail.db")
        with closing(connect(data / "mail.db")) as connection:
            migrate(connection, schema_scripts())
            for number in range(mails):
                some = chance.sample(owners, chance.choice([1, 1, 1, 2]))
                to = tuple(Recipient(each.address, each.id, str(each.address)) for each in some)
                remotes = tuple(
                    Remote(parse_address(f"r{number}@{domain}"))
                    for domain in ("example.com", "example.net")
                    if number % 3 == 0
                )
                envelope = Envelope(
                    new_mail_id(),
                    parse_address("from@example.org"),
                    () if number % 9 == 0 else to,
                    remotes=remotes,
                )
                size = chance.choice([100, 700, 700, 2500, 9000, 40_000])
                raw = b"Subject: mail %d\r\n\r\n.%s\r\n" % (
                    number, chance.randbytes(size // 2).hex().encode(),
                )  # fmt: skip
                body: bytes | Blob = raw
                if size > 20_000:
                    key = chance.randbytes(16).hex()
                    path = blob_path(data, key)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(raw)
                    body = Blob(key)
                digest = hashlib.sha256(raw).digest()
                prefix = b"Received: by mx.example.test\r\n"
                message = Message(prefix, body, len(raw), digest, dot_lines=1, subject="mail")
                connection.execute("BEGIN IMMEDIATE")
                accept_mails(connection, [(envelope, message)])
                connection.execute("COMMIT")
            folder_id, uids = connection.execute(
                "SELECT folder_id, group_concat(uid) FROM delivery GROUP BY folder_id LIMIT 1"
            ).fetchone()
            connection.execute("BEGIN IMMEDIATE")
            _, removed = delete_copies(connection, [(folder_id, [int(uids.split(",")[1])])])
            connection.execute("COMMIT")
            for key in removed.blob_keys:
                blob_path(data, key).unlink()
        made = cls(folder)
        made.queue = queue_in(folder)
        made._look_at("users.db")
        made._look_at("var/mail.db")
        return made

    def _look_at(self, file: str) -> None:
        """Which tree each page belongs to."""
        pages = Pages(self.folder / file)
        kinds = self.kinds[file] = dict[int, str]()
        roots = {
            str(row.values[1]): (row.values[0], int(str(row.values[3])))
            for row in pages.tree(1, index=False)
        }
        at = [number for number in range(1, pages.count + 1) if pages.claimed[number]]
        kinds.update(dict.fromkeys(at, "schema"))
        for name, (kind, root) in roots.items():
            index = kind == "index" or name in ("delivery", "counter")
            before = bytes(pages.claimed)
            for row in pages.tree(root, index=index):
                kinds.update(dict.fromkeys(row.pages, f"{name} overflow"))
                if name == "message":
                    raw = row.values[12]
                    if isinstance(raw, bytes):
                        self.pages_of[raw] = {row.page, *row.pages}
                    else:
                        blob = blob_path(self.folder / "var", str(row.values[10]))
                        self.pages_of[blob.read_bytes()] = {row.page}
            for number in range(1, pages.count + 1):
                if pages.claimed[number] and not before[number] and number not in kinds:
                    leaf = pages.page(number)[0] in (0x0A, 0x0D)
                    kinds[number] = f"{name} {'leaf' if leaf else 'inner'}"
        pages.close()

    def damages(self, chance: random.Random) -> Iterator[Damage]:
        """Without end; each kind of page and each way before any comes again."""
        blobs = [str(each.relative_to(self.folder)) for each in self.folder.glob("var/blobs/??/*")]
        while True:
            some = []
            for file, kinds in self.kinds.items():
                for kind in sorted(set(kinds.values())):
                    page = chance.choice([at for at, each in kinds.items() if each == kind])
                    for how in ("flip", "flip", "flip", "zero", "noise", "cut"):
                        some.append(Damage(file, how, page, chance.getrandbits(32)))
            for how in ("flip", "cut", "remove", "zero"):
                some.append(Damage(chance.choice(blobs), how, 0, chance.getrandbits(32)))
            chance.shuffle(some)
            yield from some

    def harmed(self, damage: Damage) -> set[bytes]:
        """The mails of whose octets some stand where the damage is."""
        if damage.file.endswith(".db"):
            if damage.file != "var/mail.db":
                return set()
            cut = damage.how == "cut"
            return {
                raw
                for raw, pages in self.pages_of.items()
                if damage.page in pages or (cut and max(pages) >= damage.page)
            }
        return {(self.folder / damage.file).read_bytes()}


def queue_in(folder: Path, state: str = "waiting") -> set[tuple[str, bytes]]:
    """What leaves by itself (recipient, octets), or is held."""
    with closing(connect(folder / "var" / "mail.db")) as connection:
        rows = connection.execute(
            "SELECT recipient, blob_key, body FROM queue JOIN message ON message.id = message_id"
            " WHERE state = ?",
            (state,),
        ).fetchall()
    return {
        (recipient, body if key is None else blob_path(folder / "var", key).read_bytes())
        for recipient, key, body in rows
    }


async def serve(folder: Path, reactor: Any) -> tuple[Copies, list[str]]:
    """What POP3 would serve of each maildrop, and what it could not."""
    data, refused = folder / "var", list[str]()
    found: Copies = {}
    ended: list[BaseException] = []
    try:
        accounts = Accounts.open(folder / "users.db", data=data)
    except MailError as error:
        return found, [f"users.db: {error}"]
    try:
        known = accounts.accounts()
    except MailError as error:
        return found, [f"users.db: {error}"]
    finally:
        accounts.close()
    try:
        database = Database.open(
            data / "mail.db", call_in_reactor=reactor.callFromThread, on_fatal=ended.append
        )
    except MailError as error:
        return found, [f"mail.db: {error}"]
    blobs = FileBlobs(data, reactor.callFromThread)
    try:
        messages = Messages(database, blobs, Nobody())
        for account in known:
            if str(account.address).startswith("other"):
                continue
            try:
                inbox = await messages.inbox(account.id)
                shot = await messages.snapshot(inbox.folder_id)
            except MailError as error:
                refused.append(f"{account.address}: {error}")
                continue
            wanted = list(zip(shot.uids, shot.message_ids, strict=True))
            for at, (uid, _) in enumerate(wanted):
                try:
                    mail = (await messages.read_mails(shot.folder_id, wanted[at:]))[0]
                    body = mail.body
                    if isinstance(body, Blob):
                        body = blobs.path_of(body.key).read_bytes()
                    body = body[max(0, body.find(b"Subject: mail")) :]  # behind the head
                except (MailError, IndexError, OSError) as error:
                    refused.append(f"{account.address} uid {uid}: {error}")
                    continue
                found[str(account.address), f"{shot.uidvalidity}.{uid}"] = body
    except MailError as error:
        refused.append(f"mail.db: {error}")
    finally:
        await database.close()
        blobs.close()
    return found, refused + [f"ended: {error}" for error in ended]


@define(eq=False)
class Outcome:
    """What became of one damage."""

    faults: list[Fault] = field(factory=list)
    served: Copies = field(factory=dict)
    refused: list[str] = field(factory=list)
    report: Report = field(factory=Report)
    after: Copies = field(factory=dict)
    wrong: list[str] = field(factory=list)


async def suffer(store: Store, damage: Damage, folder: Path, reactor: Any) -> Outcome:
    """Damage a copy of the store; have it verified, served, and repaired."""
    shutil.copytree(store.folder, folder)
    damage.do(folder)
    outcome = Outcome()
    outcome.faults = list(verify(folder / "var", folder / "users.db"))
    running = folder.with_name(f"{folder.name}-running")
    shutil.copytree(folder, running)
    outcome.served, outcome.refused = await serve(running, reactor)
    shutil.rmtree(running)
    outcome.report = repair(folder / "var", folder / "users.db")
    left = list(verify(folder / "var", folder / "users.db"))
    outcome.wrong += [f"after repair: {fault}" for fault in left]
    if not is_whole(folder / "users.db"):
        outcome.wrong.append("after repair: users.db is not whole")
    outcome.after, refused = await serve(folder, reactor)
    outcome.wrong += [f"after repair: {each}" for each in refused]
    outcome.wrong += list(_judge(store, damage, folder, outcome))
    return outcome


def _judge(store: Store, damage: Damage, folder: Path, outcome: Outcome) -> Iterator[str]:
    harmed = store.harmed(damage)
    came = {(address, raw) for (address, _), raw in store.copies.items()}
    for (address, uid), raw in outcome.served.items():
        if (address, raw) not in came and raw not in harmed and not outcome.faults:
            yield f"{address} was served what never came under {uid}, and verify is content"
    mail_page = damage.file == "var/mail.db" and damage.how != "cut"
    kind = store.kinds.get(damage.file, {}).get(damage.page, "")
    if damage.file.startswith("var/blobs") or (mail_page and kind.startswith("message overflow")):
        for key, raw in store.copies.items():
            if raw not in harmed and outcome.served.get(key) != raw:
                yield f"the node doesn't serve {key}, which is whole"
    if damage.how != "flip" and not outcome.faults:
        yield "verify finds nothing"
    if (
        harmed
        and not outcome.faults
        and any(
            outcome.served.get(key) != raw for key, raw in store.copies.items() if raw in harmed
        )
    ):
        yield "verify doesn't find what a client is served"
    there = {(address, raw) for (address, _), raw in outcome.after.items()}
    aside = [each.read_bytes() for each in folder.glob("var/kept/repair-*/mails/*.eml")]
    for address, raw in sorted(came - there):
        if raw not in harmed and not any(each.endswith(raw) for each in aside):
            yield f"repair lost a mail of {address} whose pages are whole"
    leaves = queue_in(folder)
    for recipient, _ in sorted(leaves - store.queue):
        yield f"{recipient} would be sent what is not theirs"
    if not kind.startswith("queue") and damage.how != "cut":
        stays = leaves | queue_in(folder, "held")
        for recipient, raw in sorted(store.queue - stays):
            if raw not in harmed:
                yield f"repair lost a queued mail to {recipient} whose pages are whole"
    for (address, uid), raw in outcome.after.items():
        before = store.copies.get((address, uid))
        if before is not None and before != raw:
            yield f"{address}: {uid} names another mail than before"
        if before is None and (address, raw) not in came and any(raw == each for _, each in came):
            yield f"{address} has a mail of somebody else"
