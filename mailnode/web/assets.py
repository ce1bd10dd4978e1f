"""Scripts, styles and icons: read once, kept compressed, named by their content.

The address of a file holds a digest of all of them, so a browser may keep it for ever, and a new
version of mailnode is a new address.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from attrs import field, frozen

from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Need, Route

if TYPE_CHECKING:
    from mailnode.web.visit import Visit

FOR_EVER = "public, max-age=31536000, immutable"
A_DAY = "public, max-age=86400"
_TEXTS = ("text/", "image/svg", "application/manifest")
_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@frozen
class Asset:
    """A file.

    Attributes:
        packed: the same by gzip; None where that saves nothing.
    """

    octets: bytes = field(repr=False)
    packed: bytes | None = field(repr=False)
    kind: str

    @classmethod
    def of(cls, name: str, octets: bytes) -> Asset:
        suffix = name[name.rfind(".") :] if "." in name else ""
        kind = _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        text = kind.startswith(_TEXTS)
        return cls(octets, gzip.compress(octets, 9, mtime=0) if text else None, kind)


@frozen
class Assets:
    """All of them.

    Attributes:
        digest: of all of them.
        manifest: what a browser needs to install the web as an application.
    """

    files: Mapping[str, Asset]
    digest: str
    manifest: Asset

    @classmethod
    def read(cls, name: str) -> Assets:
        """Those of the package.

        Args:
            name: of the application, the node's.
        """
        folder = resources.files("mailnode.web") / "static"
        found = dict(sorted(_walk(folder, "")))
        digest = hashlib.sha256()
        for each, octets in found.items():
            digest.update(f"{each}\0{len(octets)}\0".encode() + octets)
        mark = digest.hexdigest()[:16]
        files = {each: Asset.of(each, octets) for each, octets in found.items()}
        return cls(files, mark, _manifest(name, mark))

    def address(self, name: str) -> str:
        """Where a browser finds a file.

        Raises:
            KeyError: there is none.
        """
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.digest}/{name}"

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/static/<digest>/<path:name>",
                ("GET",),
                self.show,
                "Scripts, styles and icons; the digest is of all of them",
                Need.NOBODY,
            ),
            Route(
                "/manifest.webmanifest",
                ("GET",),
                self.show_manifest,
                "What a browser needs to install the web as an application",
                Need.NOBODY,
            ),
            Route("/favicon.ico", ("GET",), self.show_icon, "The icon", Need.NOBODY),
        )

    async def show(self, visit: Visit, digest: str, name: str) -> Answer:
        """A file; of an older address, what stands in its place now, not to be kept."""
        asset = self.files.get(name)
        if asset is None:
            raise NoSuchPage()
        return _answer(visit, asset, FOR_EVER if digest == self.digest else "no-cache")

    async def show_manifest(self, visit: Visit) -> Answer:
        return _answer(visit, self.manifest, "no-cache")

    async def show_icon(self, visit: Visit) -> Answer:
        answer = _answer(visit, self.files["icon-192.png"], A_DAY)
        # For the document of a mail on a page of its own, too, whose origin is none of ours.
        return answer.with_headers(("Cross-Origin-Resource-Policy", "cross-origin"))


def _answer(visit: Visit, asset: Asset, cache: str) -> Answer:
    headers = [("Cache-Control", cache), ("Vary", "Accept-Encoding")]
    accepted = visit.request.header("Accept-Encoding").lower()
    if asset.packed is not None and _takes_gzip(accepted):
        headers.append(("Content-Encoding", "gzip"))
        return Answer(asset.packed, kind=asset.kind, headers=tuple(headers))
    return Answer(asset.octets, kind=asset.kind, headers=tuple(headers))


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.split(","):
        name, _, weight = each.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "").rstrip("0").rstrip(".") != "q="
    return False


def _walk(folder: Traversable, before: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{before}{each.name}/")
        elif each.name.endswith((".js", ".css", ".svg", ".png")):
            yield f"{before}{each.name}", each.read_bytes()


def _manifest(name: str, mark: str) -> Asset:
    told = {
        "name": f"Mail of {name}",
        "short_name": "Mail",
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#0172ad",
        "icons": [
            {"src": f"/static/{mark}/icon-{size}.png", "sizes": f"{size}x{size}",
             "type": "image/png", "purpose": purpose}
            for size in (192, 512)
            for purpose in ("any", "maskable")
        ],
    }  # fmt: skip
    return Asset.of("x.webmanifest", json.dumps(told).encode())
