"""Makes users.db: u0, u1, ... and f0, f1, ... @example.test, all with the password "pw".

    make_accounts.py FILE        BENCH_USERS=100 BENCH_FIRST=2000 BENCH_ALIASES="1 10 100"

The f accounts are for the first sign-in: no run signs one in twice. The alias allN reaches u0 to
uN-1. With BENCH_RELAY=port the gear is live, and all mail for other hosts goes there. A file once
made is kept under BENCH_HOME and copied: each account costs a transaction.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from mailnode.addresses import Address
from mailnode.routes import Gear, Route
from mailnode.store.accounts import Accounts

DOMAIN = "example.test"


def make(path: Path, users: int, first: int, aliases: list[int], password_hash: str) -> None:
    accounts = Accounts.open(path, create=True)
    accounts.add_domain(DOMAIN)
    for number in range(users):
        accounts.add_account(Address(f"u{number}", DOMAIN), password_hash)
    for number in range(first):
        accounts.add_account(Address(f"f{number}", DOMAIN), password_hash)
    for size in aliases:
        for number in range(size):
            accounts.add_alias(f"all{size}@{DOMAIN}", f"u{number}@{DOMAIN}")
    accounts.close()


def relay_to(path: Path, port: int) -> None:
    accounts = Accounts.open(path)
    accounts.outside.add_route(Route("*", "smtp", "127.0.0.1", port))
    accounts.outside.add_route(Route("dead.test", "smtp", "127.0.0.1", 1))  # nobody listens
    accounts.outside.set_gear(Gear("live"))
    accounts.close()


def main() -> None:
    users = int(os.environ["BENCH_USERS"])
    first = int(os.environ.get("BENCH_FIRST", "2000"))
    aliases = [int(word) for word in os.environ.get("BENCH_ALIASES", "").split()]
    name = "-".join(["users", str(users), str(first), *map(str, aliases)]) + ".db"
    kept = Path(os.environ["BENCH_HOME"]) / "accounts" / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            path = Path(folder) / "users.db"
            make(path, users, first, aliases, os.environ["BENCH_HASH"])
            shutil.copyfile(path, f"{kept}.new")
        os.replace(f"{kept}.new", kept)
    shutil.copyfile(kept, sys.argv[1])
    os.chmod(sys.argv[1], 0o600)
    if port := os.environ.get("BENCH_RELAY"):
        relay_to(Path(sys.argv[1]), int(port))


def _memory() -> str | None:
    """A folder in memory when there is one: 10,000 flushes to a disk take minutes."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main()
