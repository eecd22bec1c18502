"""A value that a user gave to a setting, and the place where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from headrace.settings.groups import Settings
from headrace.settings.option import Option, options_of


@dataclass(frozen=True, slots=True)
class Given:
    """`value` for the setting `key`; `origin` names the place, as in `headrace.yaml:3` or `--grpc-port`."""

    key: str
    value: object
    origin: str


GROUPS: Mapping[str, type[Any]] = get_type_hints(Settings)
OPTIONS: Mapping[str, tuple[Option, ...]] = {name: options_of(group) for name, group in GROUPS.items()}


def take_text(option: Option, text: str, origin: str, problems: list[str]) -> list[Given]:
    """`text` as a value of `option`; where it is none, nothing, and a line more in `problems`."""
    try:
        return [Given(option.key, option.from_text(text), origin)]
    except ValueError:
        problems.append(f"{origin}: {option.refusal(text)}")
        return []
