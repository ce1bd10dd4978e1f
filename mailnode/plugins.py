"""Parts of others: named as `module:attribute`, or found by `twisted.plugin`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.plugin import getPlugins

from mailnode.config import ConfigError
from mailnode.interfaces import IContentFilter

T = TypeVar("T")


def find_object(name: str) -> Any:
    """The object behind `module:attribute`.

    Raises:
        ConfigError: there is no such module or attribute, or importing it failed.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f'[plugins] {name}: say it as "module:attribute"')
    try:
        found: Any = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(f"[plugins] {name}: {type(error).__name__}: {error}") from error
    return found


def find_instance(name: str) -> Any:
    """The object behind `module:attribute`; a class is called.

    Raises:
        ConfigError: as `find_object`, or the class can't be called without arguments.
    """
    found = find_object(name)
    try:
        return found() if isinstance(found, type) else found
    except Exception as error:
        raise ConfigError(f"[plugins] {name}: {type(error).__name__}: {error}") from error


def find_filters(names: Sequence[str]) -> list[Any]:
    """A content filter for each name: a class is called, a `twisted.plugin` goes by its `name`.

    Raises:
        ConfigError: nothing has that name, or what has it is no `IContentFilter`.
    """
    installed: dict[str, Any] | None = None
    filters = []
    for name in names:
        if ":" in name:
            found = find_instance(name)
        else:
            if installed is None:
                installed = {each.name: each for each in getPlugins(IContentFilter)}
            found = installed.get(name)
            if found is None:
                known = ", ".join(sorted(installed)) or "none is installed"
                raise ConfigError(f"[plugins] there is no filter {name} ({known})")
        if not IContentFilter.providedBy(found):
            raise ConfigError(f"[plugins] {name} is no IContentFilter")
        filters.append(found)
    return filters


def find_checkers(names: Sequence[str]) -> list[Any]:
    """A credential checker for each `module:attribute`; a class is called.

    Raises:
        ConfigError: there is none, or it is no `ICredentialsChecker`.
    """
    checkers = [find_instance(name) for name in names]
    for name, checker in zip(names, checkers, strict=True):
        if not ICredentialsChecker.providedBy(checker):
            raise ConfigError(f"[plugins] {name} is no ICredentialsChecker")
    return checkers


def find_subclass(name: str, of: type[T]) -> type[T]:
    """The class behind `module:attribute`; "" means `of` itself.

    Raises:
        ConfigError: there is none, or it is no subclass of `of`.
    """
    found = find_object(name) if name else of
    if not (isinstance(found, type) and issubclass(found, of)):
        raise ConfigError(f"[plugins] {name} is no subclass of {of.__module__}.{of.__qualname__}")
    return found


def find_delivery(name: str) -> Callable[[Any], Any]:
    """What wraps each session's delivery factory; "" means that nothing does.

    Raises:
        ConfigError: there is none, or it can't be called with a delivery factory alone.
    """
    if not name:
        return lambda postbox: postbox
    found = find_object(name)
    if not callable(found):
        raise ConfigError(f"[plugins] {name} can't be called with a delivery factory")
    if not takes(found, 1):
        raise ConfigError(
            f"[plugins] {name} can't be called with a delivery factory alone; a mailbox's function "
            "is given to a FunctionMailboxes by its at(), and that is what delivery names"
        )
    return found  # type: ignore[no-any-return]


def takes(function: Callable[..., object], arguments: int) -> bool:
    """Whether it can be called with so many arguments; what doesn't say is believed."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:  # it is written in C
        return True
    return True
