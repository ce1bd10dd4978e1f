"""Compares the scripts and styles of others with their npm packages: `make vendor`.

    python -m tests.vendored           says what differs
    python -m tests.vendored --write   takes them from the packages

`npm pack` fetches a package, whose digest must be the one below, which the registry tells
(`npm view PACKAGE dist.integrity`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import mailnode

FOLDER = Path(mailnode.__file__).parent / "web" / "static" / "vendor"

# package@version: (SHA-512 as the registry tells it, {file here: file there})
PACKAGES = {
    "htmx.org@4.0.1": (
        "oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
        {"htmx.min.js": "dist/htmx.min.js", "htmx.LICENSE": "LICENSE"},
    ),
    "@picocss/pico@2.1.1": (
        "kIDugA7Ps4U+2BHxiNHmvgPIQDWPDU4IeU6TNRdvXQM1uZX+FibqDQT2xUOnnO2yq/LUHcwnGlu1hvf4KfXnMg==",
        {"pico.min.css": "css/pico.min.css", "pico.LICENSE": "LICENSE.md"},
    ),
}


def fetch(package: str, digest: str) -> bytes:
    """The package's tar file.

    Raises:
        SystemExit: it is another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True
        )
        (file,) = Path(folder).glob("*.tgz")
        octets = file.read_bytes()
    if base64.b64encode(hashlib.sha512(octets).digest()).decode() != digest:
        sys.exit(f"{package} is not the package that was chosen: its SHA-512 differs")
    return octets


def main(write: bool) -> int:
    """How many files differ."""
    differ = 0
    for package, (digest, files) in PACKAGES.items():
        with tarfile.open(fileobj=io.BytesIO(fetch(package, digest))) as tar:
            for here, there in files.items():
                member = tar.extractfile(f"package/{there}")
                assert member is not None, there
                octets = member.read()
                if write:
                    (FOLDER / here).write_bytes(octets)
                elif (FOLDER / here).read_bytes() != octets:
                    differ += 1
                    print(f"{here} is not {there} of {package}")
    print("they are as in their packages" if not differ else f"{differ} differ")
    return differ


if __name__ == "__main__":
    sys.exit(bool(main("--write" in sys.argv[1:])))
