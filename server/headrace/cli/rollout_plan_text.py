"""What a rollout would do if it was started, as text: its steps, its gates, its guard rails and the rest."""

from collections.abc import Iterator
from pathlib import Path

from headrace.cli.rollout_words import needs, percent, shares, span, versions
from headrace.cli.route_text import way_facts
from headrace.core.plan import Plan
from headrace.logs import escape
from headrace.logs.table import Table
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2
from headrace.repository.routing.writing import plan_message

_STEPS = ("STEP", "THE NEW VERSION GETS", "AT LEAST FOR")
_GATES = ("GATE", "PASSES WHILE")
_PROOF = ", once that is proven"


def plan_text(rollout: pb.Rollout, path: Path | None) -> str:
    """Of a rollout that was only tried; `path` is where its plan was read, None where the server chose it."""
    return "\n".join(_lines(rollout, path))


def _lines(rollout: pb.Rollout, path: Path | None) -> Iterator[str]:
    plan, default = rollout.plan, plan_message(Plan())
    yield escape(
        f"{rollout.model_name}: nothing was started; version {versions(rollout)} is possible, "
        f"by {_origin(plan, default, path)}"
    )
    yield ""
    steps = [(number, shares(step), _minimum(step)) for number, step in enumerate(plan.steps, start=1)]
    yield from Table(_STEPS, ("STEP",)).format(steps).split("\n")
    yield ""
    gates = list(_gates(plan.gates))
    yield from Table(_GATES).format(gates).split("\n") if gates else ["no gates: only guard rails decide"]
    yield ""
    yield _guard_rails(plan.guard_rails)
    yield f"false alarms: in at most {percent(plan.false_alarm_rate * 100)} of such rollouts"
    yield f"the version before stays loaded for {span(plan.keep_previous_s)} after the end"
    yield from map(escape, way_facts(plan))


def _origin(plan: routing_pb2.RolloutPlan, default: routing_pb2.RolloutPlan, path: Path | None) -> str:
    if plan == default:
        return f"the default plan, which {path} leaves as it is" if path else "the default plan"
    origin = f"the plan in {path}" if path else "the plan of the model's configuration"
    defaults = [name for name in ("steps", "gates") if getattr(plan, name) == getattr(default, name)]
    return f"{origin}, with the default {defaults[0]}" if len(defaults) == 1 else origin


def _minimum(step: routing_pb2.RolloutStep) -> str:
    """What the step asks for before the next one."""
    parts = [span(step.min_duration_s)] if step.min_duration_s else []
    parts += [f"{step.min_requests} {needs(step)}"] if step.min_requests else []
    parts += ["then waits for promote"] if step.approval else []
    return ", ".join(parts) or "-"


def _gates(gates: routing_pb2.RolloutGates) -> Iterator[tuple[str, str]]:
    """Name, and what has to hold."""
    if gates.HasField("error_rate"):
        most = gates.error_rate.max_increase_percent
        more = f"at most {most:g} percentage points more often" if most else "no more often"
        yield "error_rate", f"it fails {more}{_proof(gates.error_rate)}"
    for latency in gates.latency:
        yield (
            f"latency_p{latency.percentile:g}",
            f"it takes at most {latency.max_ratio:g} times as long as the stable version",
        )
    if gates.HasField("disagreement"):
        most = gates.disagreement.max_percent
        yield (
            "disagreement",
            f"at most {percent(most)} of the compared answers differ{_proof(gates.disagreement)}",
        )
    for query in gates.prometheus:
        yield query.name, f"{query.query} is {_range(query)}"
    for function in gates.callables:
        yield function.name, "the server's function of this name says so"


def _proof(gate: routing_pb2.ErrorRateGate | routing_pb2.DisagreementGate) -> str:
    return _PROOF if gate.needs_proof else ""


def _range(query: routing_pb2.PrometheusGate) -> str:
    parts = [f"at least {query.min:g}"] if query.HasField("min") else []
    parts += [f"at most {query.max:g}"] if query.HasField("max") else []
    return " and ".join(parts)


def _guard_rails(rails: routing_pb2.RolloutGuardRails) -> str:
    limits = [f"{percent(rails.error_percent)} failures"]
    limits += [f"a p99 of {rails.latency_ms:g} ms"] if rails.HasField("latency_ms") else []
    return (
        f"guard rails: back at once above {' or '.join(limits)}, "
        f"from {rails.min_requests} requests within {rails.window_s:g} s on"
    )
