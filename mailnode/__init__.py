"""mailnode: a mail server on Twisted that one person can read, run and extend."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mailnode")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
