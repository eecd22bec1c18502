"""A rollout as it is kept: what was ordered, how far it is, and the decisions that led there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from headrace.core.plan import Plan, Step
from headrace.core.route import Route

# Who decides where nobody gave an order, and where orders come from.
SERVER = "headrace"
FROM_CONFIG = "config"
FROM_COMMAND = "command"


class RolloutState(StrEnum):
    """The first three are those of rollouts under way."""

    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"

    @property
    def is_open(self) -> bool:
        return self in (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.WAITING)


class EventKind(StrEnum):
    """What happened to a rollout."""

    STARTED = "started"
    PROMOTED = "promoted"
    WAITING = "waiting"
    PAUSED = "paused"
    RESUMED = "resumed"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    BEGUN_ANEW = "begun_anew"


@dataclass(frozen=True, slots=True)
class Record:
    """`digest` tells the canary's files from others under its number. Times are in seconds since 1970.

    `progress` is what was seen so far, in types of JSON. `earlier` is the route before. `id` is 0 until it is
    kept.
    """

    model: str
    stable: int
    canary: int
    digest: str
    plan: Plan
    origin: str
    started_by: str
    started_at_s: float
    step_started_at_s: float
    id: int = 0
    state: RolloutState = RolloutState.RUNNING
    step: int = 0
    ended_at_s: float = 0.0
    reason: str = ""
    progress: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    earlier: Route | None = None

    @property
    def current(self) -> Step:
        return self.plan.steps[self.step]

    @property
    def is_at_last_step(self) -> bool:
        return self.step == len(self.plan.steps) - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One decision or order, by whom, and what was known then (`evidence`, in types of JSON)."""

    at_s: float
    kind: str
    step: int
    reason: str
    by: str
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
