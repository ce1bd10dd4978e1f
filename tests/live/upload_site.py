"""A site that takes uploads, in a process whose memory can be measured: prints its port.

It is a real server with a route of its own, of what `mailnode.web` is made of.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from mailnode.web.guard import Guard
from mailnode.web.routes import Answer, Route, Taken
from mailnode.web.site import make_site
from mailnode.web.templates import Templates
from mailnode.web.web import Web
from tests.unit.web_case import ASSETS, Account, MadeUpGuests, Token, hash_secret, parse_address

MOST = 300 << 20
TOKEN = "mailnode_for_tests"


def digest_of(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


class Uploading:
    def routes(self) -> list[Route]:
        taken = Taken(MOST, streamed=True)
        return [Route("/api/v1/up", ("POST",), self.take, "x", scope="send", takes=taken)]

    async def take(self, visit: Any) -> Answer:
        (file,) = visit.uploads.files
        return Answer(f"{file.size_octets} {await deferToThread(digest_of, file.file)}\n")


def main(folder: Path) -> None:
    address = parse_address("alice@example.test")
    accounts = {1: Account(1, address, address.key, "h")}
    guests: Any = MadeUpGuests()
    key = hash_secret(TOKEN)
    guests.tokens_by[key] = Token(1, key, 1, "x", ("send",), 0.0, None, None, None)
    guard = Guard(guests, accounts.get)
    templates = Templates(ASSETS, guard, "localhost")
    web = Web(guard, templates, [Uploading()], folder, deferToThread)
    port = reactor.listenTCP(0, make_site(dict, str, reactor, web=web), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
