"""Triton's restricted protocols: groups of the API that answer only those who send a certain header."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from headrace.core.caller import Caller
from headrace.errors import ConfigError, HeadraceError
from headrace.settings.suggestion import did_you_mean

# Told of the group, and of who was refused it with which words.
Refused: TypeAlias = Callable[[str, Caller, HeadraceError], None]


class Api(StrEnum):
    """The groups, by Triton's names."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"


@dataclass(frozen=True, slots=True)
class Restriction:
    """The header that a group needs: its name in lower case, and its value."""

    header: str
    value: str

    def is_met_by(self, shown: str | None) -> bool:
        """Compared in constant time, as the value is a secret."""
        return shown is not None and hmac.compare_digest(shown.encode(), self.value.encode())


def read_restrictions(field: str, texts: Sequence[str], prefix: str = "") -> Mapping[Api, Restriction]:
    """The restrictions that the setting `field` lists, as `<group>,<group>:<key>=<value>`.

    `texts` may be split at the commas: groups without a key have that of the next one which has one. `prefix`
    goes before each key. ConfigError says what is wrong, and never shows a value.
    """
    restrictions: dict[Api, Restriction] = {}
    waiting: list[Api] = []
    for text in ",".join(texts).split(","):
        name, has_header, header = text.partition(":")
        if name.strip():
            # Behind a header, it may be what is behind a comma in its value.
            waiting.append(_api(field, name.strip(), is_secret=bool(restrictions)))
        if not has_header:
            continue
        key, _, value = header.partition("=")
        if not (waiting and key.strip() and value):
            raise ConfigError(f"{field}: expected <group>,<group>:<key>=<value>")
        restriction = Restriction(prefix + key.strip().lower(), value)
        for api in waiting:
            if api in restrictions:
                raise ConfigError(f"{field}: '{api}' is restricted twice")
            restrictions[api] = restriction
        waiting.clear()
    if waiting:
        raise ConfigError(f"{field}: '{waiting[0]}' has no header: expected {waiting[0]}:<key>=<value>")
    return restrictions


def _api(field: str, name: str, *, is_secret: bool) -> Api:
    try:
        return Api(name)
    except ValueError:
        if is_secret:
            raise ConfigError(
                f"{field}: what is behind a comma is no group; a header's value has no commas"
            ) from None
        groups = [api.value for api in Api]
        hint = did_you_mean(name, groups) or f": expected one of {', '.join(groups)}"
        raise ConfigError(f"{field}: there is no group '{name}'{hint}") from None
