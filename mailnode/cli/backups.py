"""`backups list`, `verify` and `prune`: what lies in a folder of backups."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.belongings import DATA, USERS
from mailnode.cli.copying import Copied, copied
from mailnode.cli.frame import EX_DATAERR, Mistake, NodeCommand, NodeGroup, answer_json
from mailnode.portability.backup import read_again, restore_files
from mailnode.portability.chunks import DAMAGED, UNFINISHED, Chunks, locked, require_backups
from mailnode.portability.manifests import Entry, Manifest, find_manifest, find_manifests, prune
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.restored import settle
from mailnode.store.verify import verify as find_faults

BLOBS = f"{DATA}/blobs/"
folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group(
    cls=NodeGroup,
    example="mailnode backups list /mnt/backups",
    help="Look after backups that `mailnode backup` made.",
)
def backups() -> None:
    pass


@backups.command(
    "list", cls=NodeCommand, has_node=False, example="mailnode backups list /mnt/backups"
)
@folder_argument
@click.pass_context
def list_backups(ctx: click.Context, folder: Path) -> None:
    """List the backups in DIR, the newest last."""
    with copied(ctx):
        require_backups(folder)
        found = find_manifests(folder)
    if answer_json(ctx, [_facts(each) for each in found]):
        return
    if not found:
        output.say("no backup was finished yet")
        return
    rows = [
        (each.id, output.when(each.at), each.hostname, str(each.files), output.size(each.octets))
        for each in found
    ]
    output.show_table(["backup", "as of", "node", "files", "size"], rows, right=("files", "size"))


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "backup": manifest.id,
        "at": manifest.at,
        "hostname": manifest.hostname,
        "mailnode": manifest.mailnode,
        "schemas": dict(manifest.schemas),
        "files": manifest.files,
        "octets": manifest.octets,
        "deleted_meanwhile": manifest.gone,
        "faults": list(manifest.faults),
    }


@backups.command(
    "verify", cls=NodeCommand, has_node=False, example="mailnode backups verify /mnt/backups"
)
@folder_argument
@click.argument("wanted", metavar="[BACKUP]", required=False)
@click.pass_context
def verify(ctx: click.Context, folder: Path, wanted: str | None) -> None:
    """Read all of a backup again and name each fault; the newest one unless BACKUP is named.

    Every chunk is compared with its digest; a damaged one is set aside, so that the next `mailnode
    backup` writes it anew. Where all are right, the databases are put together in DIR, and every
    mail is looked at as `mailnode verify` does. Exit code 65 when there is a fault.
    """
    with copied(ctx) as shown:
        require_backups(folder)
        with locked(folder, alone=False) as is_locked:
            chunks = Chunks(folder)
            manifest = find_manifest(folder, wanted)
            shown.begin("reading", manifest.octets)
            damage = list(read_again(chunks, manifest.entries(), shown.told))
            faults = [f"{entry.name}: {wrong}" for entry, wrong in damage]
            mend = ""
            if damage:
                mend = _set_aside(chunks, {wrong.digest for _, wrong in damage}, is_locked)
            else:
                faults += _faults_of_mail(chunks, manifest, shown)
    if not answer_json(ctx, {"backup": manifest.id, "faults": faults, "mend": mend}):
        for fault in faults:
            output.say(fault, "red")
        if mend:
            output.say(mend)
        if not faults:
            output.say(f"no fault in backup {manifest.id}", "green")
    if faults:
        ctx.exit(EX_DATAERR)


def _set_aside(chunks: Chunks, digests: Set[str], is_locked: bool) -> str:
    """None of them is in a backup's way; in words what mends the ones that need them."""
    folder = chunks.folder
    try:
        if not is_locked:
            raise PermissionError(errno.EACCES, "it can't be written here")
        aside = sum(chunks.set_aside(digest) for digest in sorted(digests))
    except OSError as error:
        return (
            f"{folder} is left as it is ({error.strerror}): verify it where it can be written, or "
            "the next backup uses what is damaged"
        )
    if not aside:
        return "read again it was right: don't trust the memory of this machine, or that disk"
    return (
        f"the next `mailnode backup {folder}` writes {output.count(aside, 'chunk')} anew, if the "
        f"node has the same octets still; what is damaged lies in {folder / DAMAGED} until a prune"
    )


def _faults_of_mail(chunks: Chunks, manifest: Manifest, shown: Copied) -> Iterator[str]:
    place = chunks.folder / UNFINISHED
    usual = None if os.access(place, os.W_OK) else tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=usual or place) as name:
        folder = Path(name)
        shown.begin("putting together", manifest.octets)
        restore_files(chunks, _with_links(chunks, manifest, folder), folder, shown.told)
        data = folder / DATA
        settle(data / MAIL_DATABASE, manifest.gone_blobs(), in_use=False)
        shown.begin("looking at each mail", 0)
        for fault in find_faults(data, folder / USERS):
            yield str(fault)


def _with_links(chunks: Chunks, manifest: Manifest, folder: Path) -> Iterator[Entry]:
    """The files that must be copied; of the others there is a link to the chunk."""
    for entry in manifest.entries():
        if not entry.name.startswith(BLOBS):
            yield entry
            continue
        link = folder / entry.name
        if not link.resolve().is_relative_to(folder.resolve()):
            raise Mistake(f"the backup names a file outside of its folder: {entry.name!r}")
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(chunks.path_of(entry.chunks[0]).absolute())


@backups.command(
    "prune",
    cls=NodeCommand,
    has_node=False,
    example="mailnode backups prune /mnt/backups --keep 14",
)
@folder_argument
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    metavar="COUNT",
    help="How many of the newest backups stay.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.pass_context
def prune_backups(ctx: click.Context, folder: Path, keep: int, dry_run: bool) -> None:
    """Delete all but the newest backups, and what only they needed.

    What a killed backup left goes, too. A prune that was killed is done by the next one.
    """
    with copied(ctx):
        require_backups(folder)
        with locked(folder, alone=not dry_run):
            done = prune(Chunks(folder), keep, dry_run=dry_run)
    told = {
        "deleted": list(done.backups),
        "chunks": done.chunks,
        "octets": done.octets,
        "dry_run": dry_run,
    }
    if not answer_json(ctx, told):
        for name in done.backups:
            output.say(f"backup {name} {'would be' if dry_run else 'is'} deleted")
        if done.chunks:
            chunks = output.count(done.chunks, "chunk")
            which = "would be deleted:" if dry_run else "deleted"
            output.say(f"{which} {chunks}, {output.size(done.octets)}")
        elif not done.backups:
            output.say("nothing to delete")
