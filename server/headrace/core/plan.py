"""How a new version takes over from the stable one: steps, gates and guard rails, as plain data."""

from dataclasses import dataclass, field

from headrace.core.route import PER_MILLE, Fallback, Key, Rule


@dataclass(frozen=True, slots=True)
class Step:
    """The canary gets `weight` of a thousand requests, and copies of `shadow` of a thousand.

    The step is over at the earliest after `min_duration_s` seconds and `min_requests` requests of the canary
    (compared pairs, where it only listens), and where it needs `approval`, once somebody promotes it.
    """

    weight: int
    shadow: int = 0
    min_duration_s: float = 60.0
    min_requests: int = 100
    approval: bool = False

    @property
    def is_shadow_only(self) -> bool:
        return not self.weight

    @property
    def is_full(self) -> bool:
        return self.weight == PER_MILLE


@dataclass(frozen=True, slots=True)
class ErrorRateGate:
    """The canary fails at most `max_increase` (0 to 1) more often than the stable version."""

    max_increase: float = 0.0
    needs_proof: bool = False


@dataclass(frozen=True, slots=True)
class LatencyGate:
    """At `quantile` the canary takes at most `max_ratio` times as long as the stable version."""

    quantile: float = 0.95
    max_ratio: float = 1.25


@dataclass(frozen=True, slots=True)
class DisagreementGate:
    """At most `max_share` (0 to 1) of the compared pairs of answers differ."""

    max_share: float = 0.05
    needs_proof: bool = False


@dataclass(frozen=True, slots=True)
class PrometheusGate:
    """The value of `query` is at least `minimum` and at most `maximum`, where these are given."""

    name: str
    query: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class CallableGate:
    """The function that the server's settings offer under `name` says yes."""

    name: str


@dataclass(frozen=True, slots=True)
class Gates:
    """What must hold before the next step; each looks at all that was seen since the rollout began."""

    error_rate: ErrorRateGate | None = None
    latency: tuple[LatencyGate, ...] = ()
    disagreement: DisagreementGate | None = None
    prometheus: tuple[PrometheusGate, ...] = ()
    callables: tuple[CallableGate, ...] = ()


@dataclass(frozen=True, slots=True)
class GuardRails:
    """Limits for the canary's last `window_s` seconds, if it had `min_requests`; passing one ends it at once.

    `error_share` is 0 to 1; `latency_ms` is the most that its 99th percentile may be, or None.
    """

    error_share: float = 0.5
    latency_ms: float | None = None
    min_requests: int = 10
    window_s: float = 10.0


DEFAULT_STEPS = (
    Step(weight=0, shadow=PER_MILLE),
    *(Step(weight=weight) for weight in (10, 50, 250, 500)),
    Step(weight=PER_MILLE, min_duration_s=0.0, min_requests=0),
)
DEFAULT_GATES = Gates(ErrorRateGate(), (LatencyGate(),), DisagreementGate())


@dataclass(frozen=True, slots=True)
class Plan:
    """`false_alarm_rate` is the most that a version that is no worse may be rolled back, 0 to 1.

    The version before stays loaded for `keep_previous_s` seconds after the end. The rest is as in a route.
    """

    steps: tuple[Step, ...] = DEFAULT_STEPS
    gates: Gates = DEFAULT_GATES
    guard_rails: GuardRails = field(default_factory=GuardRails)
    false_alarm_rate: float = 0.01
    keep_previous_s: float = 3600.0
    sticky: Key | None = None
    seed: str = ""
    rules: tuple[Rule, ...] = ()
    fallback: Fallback | None = None
