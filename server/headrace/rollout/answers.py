"""What is told about rollouts and routes: plain data that each transport puts in its own words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.plan import Plan
from headrace.core.route import Route


@dataclass(frozen=True, slots=True)
class GateView:
    """`verdict` is passed, waits or failed; `detail` says why in one sentence with its numbers."""

    name: str
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What one version's requests came to in the current step; latencies in ms, 0 without requests."""

    requests: int = 0
    failures: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class RolloutView:
    """One rollout as it stands. Times are in seconds since 1970, 0 where there is none yet.

    `step_elapsed_s` is for how long the current step has been looked at, without pauses and restarts.
    `state` is running, paused, waiting, done, rolled_back or aborted; `step` counts from 0. `origin` is
    config or command. `pairs` of answers were compared in the current step, and `disagreeing_pairs` differ.
    """

    id: int
    model: str
    stable: int
    canary: int
    state: str
    step: int
    plan: Plan
    started_at_s: float
    step_started_at_s: float
    ended_at_s: float
    started_by: str
    reason: str
    origin: str
    gates: tuple[GateView, ...] = ()
    stable_figures: Figures = field(default_factory=Figures)
    canary_figures: Figures = field(default_factory=Figures)
    pairs: int = 0
    disagreeing_pairs: int = 0
    step_elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EventView:
    """One decision or order; `evidence` is JSON."""

    at_s: float
    kind: str
    step: int
    reason: str
    by: str
    evidence: str


@dataclass(frozen=True, slots=True)
class ShareView:
    """How many requests a version has got, and why (weights, sticky, rule, fallback), since the start."""

    version: str
    why: str
    requests: int


@dataclass(frozen=True, slots=True)
class RouteView:
    """A model's route, None where the newest version answers; `differences` from the configuration's."""

    model: str
    route: Route | None
    set_by: str = ""
    shares: tuple[ShareView, ...] = ()
    breakers: Mapping[int, str] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
