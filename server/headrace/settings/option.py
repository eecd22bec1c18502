"""One setting: its type, unit and sentence of help, and which values it takes."""

import types
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

VARIABLE_PREFIX = "HEADRACE_"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def option(
    default: T,
    help: str,
    *,
    unit: str = "",
    flag: str = "",
    aliases: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    is_secret: bool = False,
) -> T:
    """A field of a settings group; `flag` is without its dashes and by default `<group>-<name>`.

    What `is_secret` is never printed.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "flag": flag,
        "aliases": tuple(aliases),
        "minimum": minimum,
        "maximum": maximum,
        "is_secret": is_secret,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a settings group, ready to be listed, read and checked."""

    group: str
    name: str
    kind: type
    is_optional: bool
    default: object
    help: str
    unit: str
    flag: str
    aliases: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    is_secret: bool

    @property
    def key(self) -> str:
        """Its place in a settings file, as in `grpc.port`."""
        return f"{self.group}.{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable, as in `HEADRACE_GRPC_PORT`."""
        return VARIABLE_PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()

    @property
    def expectation(self) -> str:
        """What a value must be, in words."""
        if issubclass(self.kind, StrEnum):
            return "one of " + ", ".join(self.kind)
        if self.kind is bool:
            return "true or false"
        if self.kind is tuple:
            return "a list of names"
        noun = {int: "an integer", float: "a number", Path: "a path"}.get(self.kind, "a text, not empty")
        return noun + self._range()

    def from_text(self, text: str) -> object:
        """The value that `text`, of the command line or the environment, stands for; else ValueError."""
        if self.is_optional and not text:
            return None
        if self.kind is bool:
            return _to_bool(text)
        if self.kind is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return self.from_plain(self.kind(text) if self.kind in (int, float) else text)

    def from_plain(self, value: object) -> object:
        """The value that `value`, as YAML gives it, stands for; else ValueError."""
        if self.is_optional and value is None:
            return None
        if self.kind is tuple and isinstance(value, list):
            value = tuple(value)
        elif self.kind is float and type(value) is int:
            value = float(value)
        elif isinstance(value, str) and value and (self.kind is Path or issubclass(self.kind, StrEnum)):
            value = self.kind(value)
        if not self.allows(value):
            raise ValueError(value)
        return value

    def allows(self, value: object) -> bool:
        """True where `value` has the type and lies in the range of this setting."""
        if value is None:
            return self.is_optional
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            return False
        if isinstance(value, tuple):
            return all(isinstance(item, str) and item for item in value)
        if isinstance(value, int | float):
            return self._is_in_range(value)
        return value != ""

    def refusal(self, value: object) -> str:
        """What is wrong with `value`, in one sentence."""
        if self.is_secret:
            return f"what is given is not valid: expected {self.expectation}"
        shown = value if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
        return f"{shown} is not valid: expected {self.expectation}"

    def _is_in_range(self, value: float) -> bool:
        lowest = -inf if self.minimum is None else self.minimum
        highest = inf if self.maximum is None else self.maximum
        return isfinite(value) and lowest <= value <= highest

    def _range(self) -> str:
        if self.minimum is None:
            return ""
        if self.maximum is None:
            return f" of at least {self.minimum:g}"
        return f" from {self.minimum:.0f} to {self.maximum:.0f}"


def options_of(group: "type[DataclassInstance]") -> tuple[Option, ...]:
    """The options of one settings group, in the order in which they are written."""
    hints = get_type_hints(group)
    name = group.__name__.removesuffix("Settings").lower()
    return tuple(_to_option(name, item.name, hints[item.name], item) for item in fields(group))


def check(group: "DataclassInstance") -> None:
    """ConfigError naming every field of `group` that has a value it must not have."""
    refusals = [
        f"{option.key}: {option.refusal(value)}"
        for option in options_of(type(group))
        if not option.allows(value := getattr(group, option.name))
    ]
    if refusals:
        raise ConfigError("\n".join(refusals))


def _to_option(group: str, name: str, hint: Any, item: Any) -> Option:
    is_optional = get_origin(hint) is types.UnionType
    if is_optional:
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if item.default is MISSING or "help" not in item.metadata:
        raise TypeError(f"{group}.{name} is not made by option(); this is a bug")
    metadata = dict(item.metadata)
    flag = metadata.pop("flag") or f"{group}-{name}".replace("_", "-")
    aliases = tuple(f"--{alias}" for alias in metadata.pop("aliases"))
    kind = get_origin(hint) or hint
    return Option(group, name, kind, is_optional, item.default, flag=f"--{flag}", aliases=aliases, **metadata)


def _to_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE
