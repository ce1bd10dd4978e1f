"""`backup`: a copy of a node, taken beside it while it runs."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import click

import mailnode
from mailnode.cli import output
from mailnode.cli.belongings import DATA, TRIES, USERS, Belonging, belongings
from mailnode.cli.copying import Copied, copied
from mailnode.cli.frame import (
    EX_CANTCREAT,
    EX_DATAERR,
    EX_TEMPFAIL,
    EX_USAGE,
    Mistake,
    NodeCommand,
    answer_json,
    config_of,
    wants_json,
)
from mailnode.cli.node import make_private_folder, require_mail, require_users, running_node
from mailnode.config import Config
from mailnode.machine import find_hostname
from mailnode.portability.backup import Copying, Whole, chunk_reader
from mailnode.portability.chunks import BACKUPS, CHUNKS, DAMAGED, LOCK, UNFINISHED, Chunks, locked
from mailnode.portability.manifests import ManifestWriter
from mailnode.store.blobs import blob_path
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.pinned import KeptBlob, Pinned, copy_database, names_blob, pinned
from mailnode.store.restored import open_sparsely


@click.command(cls=NodeCommand, example="mailnode backup /mnt/backups")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.pass_context
def backup(ctx: click.Context, folder: Path) -> None:
    """Copy the node into DIR, whether it runs or not: mail, accounts, keys, settings.

    It is the node as it was at one moment after the start of this command. What DIR has already
    isn't written again. Each new chunk is flushed and read back from the disk. One that was
    killed is no backup; the next one goes on with what it left.
    """
    config = config_of(ctx)
    require_users(config)
    require_mail(config)
    _require_place(config, folder)
    least_free = _least_free(config, folder)
    is_made = make_private_folder(folder)
    if not wants_json(ctx) and not (folder / BACKUPS).exists():  # mistyped, or no disk is mounted?
        there = f"made {folder}, which was not there" if is_made else f"{folder} holds no backup"
        output.say(f"{there}: this is the first one", "yellow")
    with copied(ctx) as shown:
        chunks = Chunks(folder, least_free)
        with locked(folder, alone=True):
            chunks.make_folders()
            try:
                made, manifest = _Backup(config, chunks, shown).run()
            finally:
                chunks.clear_unfinished()
        seconds = shown.seconds
    told = {
        "backup": made,
        "made_folder": is_made,
        "files": manifest.files,
        "octets": manifest.octets,
        "new_chunks": chunks.new,
        "new_octets": chunks.new_octets,
        "deleted_meanwhile": manifest.gone,
        "seconds": round(seconds, 3),
        "faults": manifest.faults,
    }
    if not answer_json(ctx, told):
        rate = output.size(int(manifest.octets / max(seconds, 1e-3)))
        output.say(
            f"backup {made}: {output.count(manifest.files, 'file')}, "
            f"{output.size(manifest.octets)}, of which {output.size(chunks.new_octets)} new, "
            f"in {seconds:.1f} s ({rate} a second)",
            "green",
        )
        if manifest.gone:
            mails = output.count(manifest.gone, "mail")
            output.say(f"{mails} deleted meanwhile: not in it")
        for fault in manifest.faults:
            output.say(fault, "red")
        if manifest.faults:
            output.say("the backup is done, but the node's store is damaged: `mailnode verify`")
    if manifest.faults:
        ctx.exit(EX_DATAERR)


def _require_place(config: Config, folder: Path) -> None:
    """A folder of backups, or one that can become one.

    Raises:
        Mistake: it is none.
    """
    place, data = folder.resolve(), config.data_path.resolve()
    if place == data or data in place.parents:
        raise Mistake(f"{folder} lies in {config.data_path}, the data folder itself", EX_USAGE)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise Mistake(f"{folder} is no folder", EX_CANTCREAT)
    ours = {BACKUPS, CHUNKS, DAMAGED, UNFINISHED, LOCK, "lost+found"}
    if any(each.name not in ours for each in folder.iterdir()):
        raise Mistake(
            f"{folder} holds other things than backups: name an empty folder, or one that is not "
            "there",
            EX_CANTCREAT,
        )


def _least_free(config: Config, folder: Path) -> int:
    """On the node's own disk a backup leaves the room that the node needs to take mail."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    own = there.stat().st_dev == config.data_path.stat().st_dev
    return config.store.free_space if own else 0


class _Backup:
    """One backup, in the order that makes it one moment's."""

    def __init__(self, config: Config, chunks: Chunks, shown: Copied) -> None:
        self.config, self.chunks, self.shown = config, chunks, shown
        self.mail = config.data_path / MAIL_DATABASE
        self.unfinished = chunks.folder / UNFINISHED

    def run(self) -> tuple[str, ManifestWriter]:
        """(its name, what is in it)."""
        at = time.time()
        with ExitStack() as stack:
            keys = stack.enter_context(tempfile.TemporaryFile(dir=self.unfinished))
            # Accounts after the mail: an account that is made in between has no mail here, where
            # mail of an account that is not known yet would be swept away.
            with pinned(self.mail) as pin:
                users = self.unfinished / USERS
                users_schema = copy_database(self.config.users_path, users)
                manifest = ManifestWriter.begin(
                    self.chunks,
                    hostname=self._hostname(),
                    mailnode=mailnode.__version__,
                    schemas={MAIL_DATABASE: pin.schema_version, USERS: users_schema},
                    at=at,
                )
                stack.callback(manifest.close)
                self.shown.begin("copying", pin.octets + pin.blob_octets())
                _write_rows(keys, pin)
                copying = Copying(
                    self.chunks, manifest, self.shown.told, partial(names_blob, self.mail)
                )
                self._copy_mail(copying, pin)
            copying.add_files([Whole(USERS, users)])
            self._copy_belongings(copying)  # keys after the accounts that they open
            copying.add_files(self._blobs(keys))
            return manifest.finish(), manifest

    def _hostname(self) -> str:
        running = running_node(self.config)
        told = running.hostname if running else ""
        return told or self.config.node.hostname or find_hostname()

    def _copy_mail(self, copying: Copying, pin: Pinned) -> None:
        """The database; and what was kept of it opens."""
        entry = copying.add_pieces(f"{DATA}/{MAIL_DATABASE}", pin.octets, pin.read)
        kept = chunk_reader(self.chunks, entry, pin.read)
        version = open_sparsely(kept, pin.octets, self.unfinished / "schema.db")
        if version != pin.schema_version:
            raise Mistake(f"what was kept of {self.mail} opens as schema {version}")

    def _copy_belongings(self, copying: Copying) -> None:
        """Files that belong together, such as a certificate and its key, are of one moment."""
        for _ in range(TRIES):
            try:
                before = belongings(self.config)
                aside = [self._copy_aside(each, number) for number, each in enumerate(before)]
                is_one_moment = belongings(self.config) == before
            except FileNotFoundError:  # it was exchanged just now, or is gone
                continue
            if is_one_moment:
                copying.add_files(aside)
                return
        raise Mistake(f"files in {self.config.data_path} change all the time", EX_TEMPFAIL)

    def _copy_aside(self, each: Belonging, number: int) -> Whole:
        copy = self.unfinished / f"belonging-{number}"
        if each.is_database:
            copy_database(each.path, copy)
        else:
            shutil.copyfile(each.path, copy)
        return Whole(each.name, copy, each.mode)

    def _blobs(self, keys: IO[bytes]) -> Iterator[Whole]:
        for blob in _read_rows(keys):
            path = blob_path(self.config.data_path, blob.key)
            name = f"{DATA}/blobs/{blob.key[:2]}/{blob.key}"
            yield Whole(name, path, 0o600, blob.octets, blob.digest, blob.key)


def _write_rows(keys: IO[bytes], pin: Pinned) -> None:
    """The rows are read once the moment is no longer pinned; memory is not for so many."""
    for blob in pin.blobs():
        keys.write(f"{blob.key} {blob.octets} {blob.digest}\n".encode())
    keys.seek(0)


def _read_rows(keys: IO[bytes]) -> Iterator[KeptBlob]:
    for line in keys:
        key, octets, digest = line.decode().removesuffix("\n").split(" ")
        yield KeptBlob(key, int(octets), digest)
