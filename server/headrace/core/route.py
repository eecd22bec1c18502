"""Where the requests of one model go: weights over versions, shadows, labels and rules, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PER_MILLE = 1000

STABLE = "stable"
CANARY = "canary"
PREVIOUS = "previous"

_MAX_DIGITS = 18


class Attribute(StrEnum):
    """What of a request a route may look at."""

    METADATA = "metadata"
    PARAMETER = "parameter"
    SEQUENCE = "sequence"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Key:
    """A text that a request carries: metadata (a header) or a parameter by `name`, the sequence id, or the
    caller's name.
    """

    attribute: Attribute
    name: str = ""


@dataclass(frozen=True, slots=True)
class Weight:
    """The share of a version, in parts of a thousand."""

    version: int
    per_mille: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets copies of `per_mille` of a thousand requests, whose answers nobody gets."""

    version: int
    per_mille: int = PER_MILLE


@dataclass(frozen=True, slots=True)
class Condition:
    """True where the request's text of `key` fits one of the `patterns`, in which * and ? stand for any."""

    key: Key
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests that fulfil all `conditions` go to `target`, a version's number or label."""

    name: str
    conditions: tuple[Condition, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Fallback:
    """Who answers for a version whose executions fail: another version (number or label), or another model.

    A version is broken out of once `failure_ratio` of at least `min_requests` requests of the last `window_s`
    seconds have failed. After `open_s` seconds some requests try it again; it is back after `probes` that
    went well in a row.
    """

    target: str = ""
    model: str = ""
    failure_ratio: float = 0.5
    min_requests: int = 20
    window_s: float = 10.0
    open_s: float = 10.0
    probes: int = 20


@dataclass(frozen=True, slots=True)
class Route:
    """What a request that names no version gets; the weights add up to a thousand.

    A request that fulfils a rule goes where the first such rule says, all others by the weights: in turns, or
    always to the same version for the same text of `sticky`. `seed` makes another model's keys fall
    differently, and is the same on every replica. `revision` counts the changes of a model's route.
    """

    weights: tuple[Weight, ...]
    shadows: tuple[Shadow, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    sticky: Key | None = None
    seed: str = ""
    rules: tuple[Rule, ...] = ()
    fallback: Fallback | None = None
    revision: int = 0

    @property
    def versions(self) -> frozenset[int]:
        """Every version that requests may go to."""
        named = {number for rule in self.rules if (number := self.number(rule.target))}
        fallback = self.number(self.fallback.target) if self.fallback else None
        weights = {weight.version for weight in self.weights}
        shadows = {shadow.version for shadow in self.shadows}
        return frozenset({*weights, *shadows, *self.labels.values(), *named, *({fallback} - {None})})  # type: ignore[arg-type]

    @property
    def default(self) -> int:
        """The version that stands for the model: the stable one, or the one with the largest share."""
        if STABLE in self.labels:
            return self.labels[STABLE]
        return max(self.weights, key=lambda weight: weight.per_mille).version

    def number(self, target: str) -> int | None:
        """The version that a number or a label means; None where it is neither."""
        return version_number(target) or self.labels.get(target)


def version_number(target: str) -> int | None:
    """The version whose number `target` is, in up to 18 ASCII digits and above 0; None where it is none."""
    if len(target) > _MAX_DIGITS or not (target.isascii() and target.isdecimal()):
        return None
    return int(target) or None
