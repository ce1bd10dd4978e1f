"""The node's settings: defaults, one TOML file, the environment, options; in that order.

What settings there are stands in `mailnode.settings`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from mailnode.settings import (
    SECTIONS,
    AccountSettings,
    ArrivalSettings,
    AuditSettings,
    ClamdSettings,
    GuessingSettings,
    HarmfulSettings,
    JournalSettings,
    JudgingSettings,
    LearningSettings,
    LimitSettings,
    ListenSettings,
    LogSettings,
    MilterSettings,
    NodeSettings,
    OutboundSettings,
    PasswordSettings,
    PluginSettings,
    QuotaSettings,
    RspamdSettings,
    SecondFactorSettings,
    SpamdSettings,
    StoreSettings,
    TlsSettings,
    WebSettings,
    all_settings,
)

USUAL_NAME = "mailnode.toml"  # of the file of settings; it is read where it is named alone
ENVIRONMENT_PREFIX = "MAILNODE_"


class ConfigError(Exception):
    """A setting that can't be used: what, where, and the mend, in one line."""


@frozen
class Config:
    """All settings, and where each came from.

    Attributes:
        sources: "section.key" to words such as "default", "mailnode.toml", "--hostname".
        path: the TOML file that was read, or None.
    """

    node: NodeSettings = field(factory=NodeSettings)
    listen: ListenSettings = field(factory=ListenSettings)
    tls: TlsSettings = field(factory=TlsSettings)
    limits: LimitSettings = field(factory=LimitSettings)
    quota: QuotaSettings = field(factory=QuotaSettings)
    store: StoreSettings = field(factory=StoreSettings)
    accounts: AccountSettings = field(factory=AccountSettings)
    journal: JournalSettings = field(factory=JournalSettings)
    log: LogSettings = field(factory=LogSettings)
    plugins: PluginSettings = field(factory=PluginSettings)
    sources: Mapping[str, str] = field(factory=dict, eq=False, repr=False)
    path: Path | None = None
    outbound: OutboundSettings = field(factory=OutboundSettings)
    web: WebSettings = field(factory=WebSettings)
    arrival: ArrivalSettings = field(factory=ArrivalSettings)
    judging: JudgingSettings = field(factory=JudgingSettings)
    harmful: HarmfulSettings = field(factory=HarmfulSettings)
    clamd: ClamdSettings = field(factory=ClamdSettings)
    rspamd: RspamdSettings = field(factory=RspamdSettings)
    spamd: SpamdSettings = field(factory=SpamdSettings)
    milter: MilterSettings = field(factory=MilterSettings)
    learning: LearningSettings = field(factory=LearningSettings)
    passwords: PasswordSettings = field(factory=PasswordSettings)
    second_factor: SecondFactorSettings = field(factory=SecondFactorSettings)
    guessing: GuessingSettings = field(factory=GuessingSettings)
    audit: AuditSettings = field(factory=AuditSettings)

    @property
    def users_path(self) -> Path:
        return Path(self.node.users)

    @property
    def data_path(self) -> Path:
        return Path(self.node.data)


def load_config(
    path: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, tuple[object, str]] | None = None,
) -> Config:
    """Read the settings.

    Args:
        path: a TOML file; relative paths inside it are relative to its folder.
        environment: os.environ unless given; MAILNODE_SECTION__KEY, and
            MAILNODE_SECTION__KEY_FILE for a file that holds the value.
        options: "section.key" to (value, name of the option).

    Raises:
        ConfigError: unreadable, unknown key (the nearest known one is named), bad value.
    """
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    given = [
        *_from_file(path),
        *_from_environment(os.environ if environment is None else environment),
    ]
    for name, (value, source) in (options or {}).items():
        section, _, key = name.partition(".")
        given.append((section, key, value, source))
    for section, key, value, source in given:
        values[section][key] = _read(section, key, value, source)
        sources[f"{section}.{key}"] = source
    for section, key, _default, _about in all_settings():
        sources.setdefault(f"{section}.{key}", "default")
    built = {section: SECTIONS[section](**chosen) for section, chosen in values.items()}
    config = Config(**built, sources=sources, path=Path(path) if path else None)
    if bool(config.tls.cert) != bool(config.tls.key):
        raise ConfigError("tls.cert and tls.key go together: give both, or neither")
    if config.arrival.greylist_until <= config.arrival.greylist_wait:
        raise ConfigError(
            "arrival.greylist_until must be longer than arrival.greylist_wait: else nobody is ever"
            " let through"
        )
    if config.judging.dmarc_reports != "off" and not config.judging.authenticate:
        raise ConfigError("judging.dmarc_reports tells what judging.authenticate finds: it is off")
    return config


Given = tuple[str, str, object, str]


def _from_file(path: str | Path | None) -> Iterator[Given]:
    if path is None:
        return
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for section, table in tables.items():
        _known_section(section, str(path))
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} must be a table: [{section}]")
        for key, value in table.items():
            _known_key(section, key, str(path))
            if (section, key) in _PATHS and isinstance(value, str) and value:
                value = str(file.parent / value)
            yield section, key, value, str(path)


_PATHS = {("node", "users"), ("node", "data"), ("tls", "cert"), ("tls", "key")}


def _from_environment(environment: Mapping[str, str]) -> Iterator[Given]:
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        section, _, key = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
        value: object = environment[name]
        _known_section(section, name)
        if key.endswith("_file") and key not in _keys(section):
            key = key.removesuffix("_file")
            try:
                value = Path(environment[name]).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise ConfigError(f"{name}: can't read {environment[name]}: {why}") from None
        _known_key(section, key, name)
        yield section, key, value, name


def _keys(section: str) -> list[str]:
    return [attribute.name for attribute in attrs.fields(SECTIONS[section])]


def _known_section(section: str, where: str) -> None:
    if section not in SECTIONS:
        raise ConfigError(f"{where}: there is no section [{section}]{_nearest(section, SECTIONS)}")


def _known_key(section: str, key: str, where: str) -> None:
    if key not in _keys(section):
        hint = _nearest(key, _keys(section))
        raise ConfigError(f"{where}: there is no setting {section}.{key}{hint}")


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _read(section: str, key: str, value: object, source: str) -> object:
    attribute = getattr(attrs.fields(SECTIONS[section]), key)
    try:
        return attribute.metadata["read"](value)
    except ValueError as error:
        raise ConfigError(f"{source}: {section}.{key} must be {error}, not {value!r}") from None
