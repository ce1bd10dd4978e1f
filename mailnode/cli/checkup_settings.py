"""Is it installed so that twistd finds it, and are the settings what was meant?"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mailnode.cli.checkup import Finding, fault, good, warning
from mailnode.config import USUAL_NAME, Config
from mailnode.plugins import find_checkers, find_delivery, find_filters, find_subclass
from mailnode.pop3.server import Pop3Server
from mailnode.smtp.server import SmtpServer


def check_settings(config: Config) -> Iterator[Finding]:
    """Which file of settings counts."""
    if config.path is not None:
        yield good("settings", f"settings are read from {config.path}")
    elif Path(USUAL_NAME).exists():
        yield warning(
            "settings",
            f"{USUAL_NAME} lies here and is not read",
            f"give --config {USUAL_NAME} to twistd and to mailnode, or set MAILNODE_CONFIG",
        )
    else:
        yield good("settings", "no file of settings is named: the defaults and the environment")


def check_installation(config: Config) -> Iterator[Finding]:
    """Whether `twistd mailnode` will be there."""
    if importlib.util.find_spec("twisted.plugins.mailnode_plugin") is None:
        yield fault(
            "twistd",
            "twistd does not know mailnode",
            "pip install the wheel; for a source tree: "
            "pip install -e . --config-settings editable_mode=compat",
        )
    else:
        yield good("twistd", "twistd knows mailnode")


def check_plugins(config: Config) -> Iterator[Finding]:
    """Whether what [plugins] names is there, found as the node finds it."""
    plugins = config.plugins
    if config.path is not None:  # as the node does
        sys.path.insert(0, str(config.path.resolve().parent))
    for name in plugins.filters:
        yield _check_plugin(f"filter {name}", partial(find_filters, [name]))
    for name in plugins.checkers:
        yield _check_plugin(f"checker {name}", partial(find_checkers, [name]))
    for name, find in (
        (plugins.smtp_server, partial(find_subclass, plugins.smtp_server, SmtpServer)),
        (plugins.pop3_server, partial(find_subclass, plugins.pop3_server, Pop3Server)),
        (plugins.delivery, partial(find_delivery, plugins.delivery)),
    ):
        if name:
            yield _check_plugin(name, find)


def _check_plugin(name: str, find: Callable[[], object]) -> Finding:
    try:
        find()
    except Exception as error:  # a plug-in may fail in any way of its own
        return fault(
            "plugins",
            f"{name} can't be used: {error}",
            "install its package beside mailnode, or mend the name in [plugins]",
        )
    return good("plugins", f"{name} is there")
