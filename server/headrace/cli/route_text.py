"""Where a model's requests go, as text."""

from collections.abc import Iterable, Iterator, Sequence

from headrace.cli.rollout_words import percent
from headrace.cli.route_words import fallback_words, key_words
from headrace.logs import escape
from headrace.logs.table import Table
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2

_VERSIONS = ("VERSION", "WEIGHT", "COPIES", "LABELS", "BREAKER")
_SHARES = ("VERSION", "WHY", "REQUESTS")
_INDENT = " " * 2


def route_text(status: pb.RouteStatus) -> str:
    return "\n".join(_lines(status))


def _lines(status: pb.RouteStatus) -> Iterator[str]:
    if status.HasField("route"):
        yield escape(f"{status.model_name}: revision {status.revision}, set by {status.set_by}")
        yield from _table(_VERSIONS, ("WEIGHT", "COPIES"), _versions(status))
        yield from map(escape, _rest(status.route))
    else:
        yield escape(f"{status.model_name}: no route is set, the newest version answers")
    if status.shares:
        rows = [(share.version, share.why, share.requests) for share in status.shares]
        yield from _table(_SHARES, ("REQUESTS",), rows)
    if status.differences:
        yield ""
        yield "differs from the configuration:"
        yield from (_INDENT + escape(difference) for difference in status.differences)


def _table(titles: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return ["", *Table(titles, numbers).format(rows).split("\n")]


def _versions(status: pb.RouteStatus) -> Iterator[tuple[object, ...]]:
    """A line for each version that the route names anywhere."""
    route = status.route
    copies = {shadow.version: percent(shadow.percent) for shadow in route.shadows}
    labels: dict[int, list[str]] = {version: [] for version in route.labels.values()}
    for label in sorted(route.labels):
        labels[route.labels[label]].append(label)
    for version in sorted({*route.weights, *copies, *labels}):
        yield (
            version,
            percent(route.weights[version]) if version in route.weights else "",
            copies.get(version, ""),
            ", ".join(labels.get(version, ())),
            status.breakers.get(version, ""),
        )


def _rest(route: routing_pb2.Route) -> Iterator[str]:
    rest = list(way_facts(route))
    if rest:
        yield ""
        yield from rest


def way_facts(route: routing_pb2.Route | routing_pb2.RolloutPlan) -> Iterator[str]:
    """What decides before the weights, and beside them: a line for each key, rule and the like."""
    if route.HasField("sticky"):
        yield f"sticky by {key_words(route.sticky)}"
    if route.seed:
        yield f"seed {route.seed}"
    for rule in route.rules:
        conditions = " and ".join(
            f"{key_words(condition)} is {' or '.join(condition.matches)}" for condition in rule.when
        )
        yield f"rule {rule.name}: to {rule.version} where {conditions}"
    if route.HasField("fallback"):
        fallback = route.fallback
        yield (
            f"fallback to {fallback_words(fallback)}, from {fallback.failure_ratio:.0%} failures of "
            f"{fallback.min_requests} requests within {fallback.window_s:g} s"
        )
