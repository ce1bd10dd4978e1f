"""What a node says at its start: where it listens, and what its owner should know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailnode.config import USUAL_NAME

if TYPE_CHECKING:
    from mailnode.house import House

_log = Logger(namespace="mailnode")


def greet(house: House) -> None:
    """Say it in the log."""
    for listener in house.listeners:
        for address in listener.addresses():
            _log.info("{kind} on {address}", kind=listener.kind, address=address)
    directory, config = house.directory, house.config
    if house.certificate.self_signed:
        _log.info("TLS with a self-signed certificate for {name}", name=house.hostname)
    if directory.gear != "live":
        _log.info(
            "mail for other hosts {what}; to let it out: {command} gear set live",
            what="stays here" if directory.gear == "capture" else "leaves for a few alone",
            command=house.command,
        )
    if house.due.is_manual:
        _log.warn("the queue's clock is moved by hand: a node for tests")
    if directory.demo_accounts:
        _log.warn("demo accounts with published passwords are here: this machine only")
    if config.path is None and Path(USUAL_NAME).exists():
        _log.warn("{name} lies here and is not read: --config {name} reads it", name=USUAL_NAME)
    if not directory.accounts() and not config.plugins.delivery:
        _log.warn(
            "there is no account yet; first: {command} init --user you@your.domain",
            command=house.command,
        )
