"""Reads the settings: the command line goes before the environment, that before the file and the defaults."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError
from headrace.settings.environment import CONFIG_VARIABLE, read_environment
from headrace.settings.file import read_file
from headrace.settings.given import GROUPS, OPTIONS, Given, take_text
from headrace.settings.groups import Settings


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The settings, and for each key that a user set (`grpc.port`) the place where."""

    settings: Settings
    origins: Mapping[str, str]


def read_settings(
    flags: Mapping[str, Sequence[str]], environment: Mapping[str, str], file: Path | None = None
) -> EffectiveSettings:
    """The settings from `flags` (texts by key), `environment` and `file`, or what HEADRACE_CONFIG names.

    ConfigError has one line for each thing that is wrong, in all three places.
    """
    problems: list[str] = []
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    given: dict[str, Given] = {}
    for source in (
        read_file(file, problems) if file else (),
        read_environment(environment, problems),
        _read_flags(flags, problems),
    ):
        given.update((item.key, item) for item in source)
    settings = _build(given, problems)
    return EffectiveSettings(settings, {item.key: item.origin for item in given.values()})


def _read_flags(flags: Mapping[str, Sequence[str]], problems: list[str]) -> Iterator[Given]:
    for options in OPTIONS.values():
        for option in options:
            if option.key in flags:
                texts = flags[option.key]
                text = ",".join(texts) if option.kind is tuple else texts[-1]
                yield from take_text(option, text, option.flag, problems)


def _build(given: Mapping[str, Given], problems: list[str]) -> Settings:
    """The groups are built, and so checked as a whole, only where each value was well by itself."""
    if problems:
        raise ConfigError("\n".join(problems))
    groups: dict[str, Any] = {}
    for name, group in GROUPS.items():
        values = {option.name: given[option.key].value for option in OPTIONS[name] if option.key in given}
        try:
            groups[name] = group(**values)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return Settings(**groups)
