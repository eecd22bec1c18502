"""The route that belongs to each stage of a rollout."""

from dataclasses import replace

from headrace.core.route import CANARY, PER_MILLE, PREVIOUS, STABLE, Route, Shadow, Weight
from headrace.rollout.record import Record


def pinned(version: int) -> Route:
    """All requests to `version`, whatever newer ones there are."""
    return Route((Weight(version, PER_MILLE),), labels={STABLE: version})


def under_way(record: Record) -> Route:
    """At the current step: so much to the canary, and the rest to the stable version."""
    step, plan = record.current, record.plan
    shares = sorted([(record.stable, PER_MILLE - step.weight), (record.canary, step.weight)])
    return Route(
        # In the order in which they are read again, which keys depend on.
        weights=tuple(Weight(version, per_mille) for version, per_mille in shares if per_mille),
        shadows=(Shadow(record.canary, step.shadow),) if step.shadow else (),
        labels={STABLE: record.stable, CANARY: record.canary},
        sticky=plan.sticky,
        seed=plan.seed,
        rules=plan.rules if step.weight else (),
        fallback=plan.fallback,
    )


def done(record: Record) -> Route:
    """The canary is the stable version from now on, and the one before is kept for a while."""
    return _only(record, record.canary, {STABLE: record.canary, PREVIOUS: record.stable})


def rolled_back(record: Record) -> Route:
    """Everything goes to the version before."""
    return _only(record, record.stable, {STABLE: record.stable})


def without_previous(route: Route) -> Route:
    """The version before is no longer kept."""
    return replace(
        route, labels={name: version for name, version in route.labels.items() if name != PREVIOUS}
    )


def _only(record: Record, version: int, labels: dict[str, int]) -> Route:
    plan = record.plan
    return Route(
        (Weight(version, PER_MILLE),),
        labels=labels,
        sticky=plan.sticky,
        seed=plan.seed,
        fallback=plan.fallback,
    )
