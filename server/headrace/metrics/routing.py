"""The metrics of routes, shadows and rollouts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric

# The words of headrace.router.breaker, which stands above this package.
BREAKER_STATES = ("closed", "open", "half-open")


@dataclass(frozen=True, slots=True)
class RolloutSample:
    """A rollout under way; `step` counts from 1, `weight` is the canary's share of requests, 0 to 1."""

    model: str
    version: str
    state: str
    step: int
    steps: int
    weight: float


@dataclass(frozen=True, slots=True)
class RoutingSample:
    """Routes as they are at a scrape: counts by model, version and why or what became of a copy.

    `uncompared` counts, by reason, answers of shadows that nobody has compared with the live ones.
    `breakers` has the state of each version's circuit breaker, `events` counts what happened to rollouts by
    model and kind, `webhooks` deliveries by outcome.
    """

    routed: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    shadowed: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    uncompared: Mapping[str, int] = field(default_factory=dict)
    breakers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rollouts: Iterable[RolloutSample] = ()
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    webhooks: Mapping[str, int] = field(default_factory=dict)


def routing_metrics(sample: RoutingSample) -> Iterator[Metric]:
    routed = Metric(
        "headrace_route_requests_total",
        "Requests that a route has sent to a version, by why: weights, sticky, rule or fallback",
        "counter",
    )
    for (model, version, why), count in sample.routed.items():
        routed.add_sample(routed.name, {"model": model, "version": version, "why": why}, count)
    shadowed = Metric(
        "headrace_shadow_requests_total",
        "Requests sampled for a shadow, by what became of the copy",
        "counter",
    )
    for (model, version, outcome), count in sample.shadowed.items():
        labels = {"model": model, "version": version, "outcome": outcome}
        shadowed.add_sample(shadowed.name, labels, count)
    uncompared = Metric(
        "headrace_shadow_uncompared_total",
        "Pairs of answers that were not compared: too many waited, or comparing failed",
        "counter",
    )
    for reason, count in sample.uncompared.items():
        uncompared.add_sample(uncompared.name, {"reason": reason}, count)
    yield from (routed, shadowed, uncompared, _breakers(sample))
    yield from _rollouts(sample)


def _breakers(sample: RoutingSample) -> Metric:
    breakers = Metric(
        "headrace_circuit_breaker_state",
        "1 for the state that a version's circuit breaker is in, 0 for the others",
        "gauge",
    )
    for (model, version), present in sample.breakers.items():
        for state in BREAKER_STATES:
            labels = {"model": model, "version": version, "state": state}
            breakers.add_sample(breakers.name, labels, int(state == present))
    return breakers


def _rollouts(sample: RoutingSample) -> Iterator[Metric]:
    step = Metric(
        "headrace_rollout_step", "The step of a rollout under way, from 1; its labels have its state", "gauge"
    )
    steps = Metric("headrace_rollout_steps", "The steps that the rollout's plan has", "gauge")
    weight = Metric("headrace_rollout_weight_ratio", "The canary's share of requests, 0 to 1", "gauge")
    for rollout in sample.rollouts:
        labels = {"model": rollout.model, "version": rollout.version}
        step.add_sample(step.name, {**labels, "state": rollout.state}, rollout.step)
        steps.add_sample(steps.name, labels, rollout.steps)
        weight.add_sample(weight.name, labels, rollout.weight)
    events = Metric(
        "headrace_rollout_events_total", "What happened to rollouts, since the server started", "counter"
    )
    for (model, kind), count in sample.events.items():
        events.add_sample(events.name, {"model": model, "kind": kind}, count)
    webhooks = Metric(
        "headrace_webhook_deliveries_total", "Deliveries to webhooks, by what became of them", "counter"
    )
    for outcome, count in sample.webhooks.items():
        webhooks.add_sample(webhooks.name, {"outcome": outcome}, count)
    yield from (step, steps, weight, events, webhooks)
