"""`restore`: a node's folder out of a backup."""

from __future__ import annotations

import fcntl
import glob
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mailnode.cli import output
from mailnode.cli.belongings import DATA, SETTINGS, USERS
from mailnode.cli.copying import Copied, copied
from mailnode.cli.frame import (
    EX_CANTCREAT,
    EX_CONFIG,
    EX_TEMPFAIL,
    Mistake,
    NodeCommand,
    answer_json,
)
from mailnode.durable import flush, make_folder
from mailnode.portability.backup import restore_files
from mailnode.portability.chunks import ChunkDamaged, Chunks, locked, require_backups
from mailnode.portability.manifests import Manifest, find_manifest
from mailnode.store.exchange import BESIDE
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.restored import Settled, settle
from mailnode.store.sqlite import schema_scripts

_ENGINES = {MAIL_DATABASE: "sqlite", USERS: "accounts"}


@click.command(cls=NodeCommand, example="mailnode restore /mnt/backups --to /srv/mailnode")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The node's folder to be; empty, or not there yet.",
)
@click.option(
    "--backup", "wanted", metavar="BACKUP", help="Which one; the newest unless it is given."
)
@click.pass_context
def restore(ctx: click.Context, folder: Path, target: Path, wanted: str | None) -> None:
    """Make a node's folder out of a backup in DIR.

    Every chunk is compared with its digest. FOLDER is there once all of it is right; a restore
    that was killed leaves a folder beside it, with which the next one goes on. Mail keeps its
    unique-ids, and no mail that comes gets one of a mail that came after the backup. What was in
    the queue is held.
    """
    target = target.absolute()
    with copied(ctx) as shown:
        require_backups(folder)
        with locked(folder, alone=False):
            manifest = find_manifest(folder, wanted)
            _require_known(manifest)
            _require_place(target)
            with _building(target, manifest) as place:
                settled = _build(Chunks(folder), manifest, place, shown)
                _put_in_place(place, target)
        seconds = shown.seconds
    told = {
        "backup": manifest.id,
        "folder": str(target),
        "files": manifest.files,
        "octets": manifest.octets,
        "seconds": round(seconds, 3),
        "deleted_meanwhile": settled.deleted,
        "held": settled.held,
        "faults": list(manifest.faults),
    }
    if not answer_json(ctx, told):
        _say(manifest, target, settled, seconds)


def _say(manifest: Manifest, target: Path, settled: Settled, seconds: float) -> None:
    files, octets = output.count(manifest.files, "file"), output.size(manifest.octets)
    output.say(f"restored backup {manifest.id} to {target}: {files}, {octets}", "green")
    for fault in manifest.faults:
        output.say(f"the node's store was damaged when it was made: {fault}", "red")
    if settled.held:
        count = output.count(settled.held, "recipient")
        output.say(
            f"{count} in the queue held, for their mail may have been sent since: `mailnode queue "
            "list --state held`, then `mailnode queue release` or `drop`",
            "yellow",
        )
    if (target / SETTINGS).exists():
        output.say(f"its settings are in {SETTINGS}: --config {SETTINGS} uses them")
    start = f"cd {shlex.quote(os.path.normpath(target))} && twistd -n mailnode"
    output.say(f"next, with the options that it was started with: {start} --smtp 2525 --pop3 1100")


def _require_known(manifest: Manifest) -> None:
    for name, version in manifest.schemas.items():
        if name in _ENGINES and version > max(schema_scripts(_ENGINES[name])):
            raise Mistake(
                f"backup {manifest.id} is of mailnode {manifest.mailnode}, which is newer: "
                "restore it with that version",
                EX_CONFIG,
            )


def _require_place(target: Path) -> None:
    if not target.parent.is_dir():
        raise Mistake(f"there is no folder {target.parent}: make it first", EX_CANTCREAT)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Mistake(
            f"{target} is there and not empty: name a folder that is not there yet, or move that "
            "one away",
            EX_CANTCREAT,
        )
    if target.exists() and (target.samefile(Path.cwd()) or target.is_mount()):
        raise Mistake(
            f"{target} can't be exchanged for another folder, for it is in use: name one that is "
            "not there yet",
            EX_CANTCREAT,
        )


@contextmanager
def _building(target: Path, manifest: Manifest) -> Iterator[Path]:
    """Where the folder is made; what a killed restore of another backup left is gone.

    Raises:
        Mistake: another restore makes it just now.
    """
    start = f".{target.name}.restoring-"
    place = target.with_name(f"{start}{manifest.id}")
    for each in target.parent.glob(f"{glob.escape(start)}*"):
        if each != place:
            with _alone(each):
                shutil.rmtree(each)
    make_folder(place)
    with _alone(place):
        yield place


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Mistake(f"another restore is at work in {place}", EX_TEMPFAIL) from None
    finally:
        os.close(fd)


def _build(chunks: Chunks, manifest: Manifest, place: Path, shown: Copied) -> Settled:
    disk = os.statvfs(place)
    already = sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
    missing = manifest.octets - already - disk.f_bavail * disk.f_frsize
    if missing > 0:
        wanted = output.size(missing)
        raise Mistake(f"the disk of {place.parent} needs {wanted} more room", EX_TEMPFAIL)
    for suffix in BESIDE:  # of a database that a killed restore had begun to look at
        Path(f"{place / DATA / MAIL_DATABASE}{suffix}").unlink(missing_ok=True)
    shown.begin("restoring", manifest.octets)
    try:
        restore_files(chunks, manifest.entries(), place, shown.told)
    except ChunkDamaged as error:
        raise Mistake(
            f"{error}; another backup may be without it (--backup), and where the node still runs "
            f"`mailnode backups verify {chunks.folder}` and a new backup mend this one"
        ) from None
    shown.begin("checking the databases", 0)
    settled = settle(place / DATA / MAIL_DATABASE, manifest.gone_blobs())
    flush(place / DATA / MAIL_DATABASE)
    flush(place / DATA)
    return settled


def _put_in_place(place: Path, target: Path) -> None:
    """It has its name, durably, and belongs to whom the folder there did, or the one around it."""
    if os.geteuid() == 0:
        like = (target if target.exists() else target.parent).stat()
        for folder, _, names in os.walk(place):
            for path in (Path(folder), *(Path(folder) / name for name in names)):
                os.chown(path, like.st_uid, like.st_gid)
    place.rename(target)
    flush(target.parent)
