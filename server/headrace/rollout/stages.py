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
        labels={**_other_labels(record), STABLE: record.stable, CANARY: record.canary},
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


def aborted(record: Record) -> Route:
    """Requests go on being shared as they are; nobody compares answers any more.

    A canary that answers all of them is the stable version from now on.
    """
    if record.current.is_full:
        return _only(record, record.canary, {STABLE: record.canary})
    return replace(under_way(record), shadows=())


def without_previous(route: Route) -> Route:
    """The version before is no longer kept."""
    labels = {name: version for name, version in route.labels.items() if name != PREVIOUS}
    return _resolved(replace(route, labels=labels))


def _only(record: Record, version: int, labels: dict[str, int]) -> Route:
    """As the route before the rollout, and where that says nothing its plan, but for the version."""
    earlier, plan = record.earlier or Route(()), record.plan
    keys = earlier if earlier.sticky else plan
    route = Route(
        (Weight(version, PER_MILLE),),
        labels={**_other_labels(record), **labels},
        sticky=keys.sticky,
        seed=keys.seed,
        rules=earlier.rules,
        fallback=earlier.fallback or plan.fallback,
    )
    return _resolved(route)


def _resolved(route: Route) -> Route:
    """Without rules for labels that are gone; who fell back to one falls back to the default version."""
    rules = tuple(rule for rule in route.rules if route.number(rule.target) is not None)
    fallback = route.fallback
    if fallback is not None and fallback.target and route.number(fallback.target) is None:
        fallback = replace(fallback, target="")
    return replace(route, rules=rules, fallback=fallback)


def _other_labels(record: Record) -> dict[str, int]:
    """Those of the operator's own."""
    labels = record.earlier.labels if record.earlier else {}
    return {name: version for name, version in labels.items() if name not in (STABLE, CANARY, PREVIOUS)}
