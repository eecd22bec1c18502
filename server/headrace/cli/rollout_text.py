"""How rollouts stand, as text: each with its step, the figures of both versions, and its gates."""

from collections.abc import Iterable, Iterator

from headrace.cli.rollout_words import (
    is_open,
    latency,
    needs,
    percent,
    rate,
    shares,
    span,
    step_of,
    time_of,
    verdict,
    versions,
)
from headrace.logs import escape
from headrace.logs.table import Table
from headrace.pb.headrace.v1 import rollouts_pb2 as pb

_FIGURES = ("VERSION", "REQUESTS", "FAILED", "ERROR RATE", "P50", "P95", "P99")
_GATES = ("GATE", "VERDICT", "DETAIL")
_HISTORY = ("ID", "VERSIONS", "STATE", "STEP", "STARTED AT", "LASTED", "BY", "REASON")
_WIDTH = 9


def status_text(rollouts: Iterable[pb.Rollout], now_s: float, *, is_of_one: bool) -> str:
    """A block for each, with an empty line between; of many, those that have ended in short."""
    blocks = [
        "\n".join(_lines(rollout, now_s, is_short=not is_of_one and not is_open(rollout)))
        for rollout in rollouts
    ]
    return "\n\n".join(blocks) or "there has been no rollout"


def history_table(rollouts: Iterable[pb.Rollout], now_s: float) -> str:
    """A line for each."""
    rows = [
        (
            rollout.id,
            versions(rollout),
            rollout.state,
            f"{rollout.step + 1}/{len(rollout.plan.steps)}",
            time_of(rollout.started_at),
            span((rollout.ended_at or now_s) - rollout.started_at),
            rollout.started_by,
            rollout.reason,
        )
        for rollout in rollouts
    ]
    return Table(_HISTORY, ("ID",)).format(rows) if rows else "there has been no rollout"


def _lines(rollout: pb.Rollout, now_s: float, *, is_short: bool) -> Iterator[str]:
    yield escape(f"{rollout.model_name}: version {versions(rollout)}, rollout {rollout.id}")
    yield _fact("state", _state(rollout, now_s))
    if rollout.reason:
        yield _fact("reason", rollout.reason)
    if is_short:
        return
    yield _fact("step", _step(rollout))
    yield _fact("weights", _weights(rollout))
    if rollout.pairs:
        differ = f"{rollout.disagreeing_pairs} differ ({rate(rollout.disagreeing_pairs, rollout.pairs)})"
        yield _fact("pairs", f"{rollout.pairs} compared, {differ}")
    yield ""
    sides = (("stable", rollout.stable_version, rollout.stable), ("canary", rollout.version, rollout.canary))
    rows = [_figures(name, version, figures) for name, version, figures in sides]
    yield from Table(_FIGURES, _FIGURES[1:]).format(rows).split("\n")
    if rollout.gates:
        yield ""
        gates = [(gate.name, verdict(gate), gate.detail) for gate in rollout.gates]
        yield from Table(_GATES).format(gates).split("\n")


def _fact(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}}{escape(text)}"


def _state(rollout: pb.Rollout, now_s: float) -> str:
    started = f"started by {rollout.started_by} ({rollout.origin}) at {time_of(rollout.started_at)}"
    if is_open(rollout):
        return f"{rollout.state}, {started}, {span(now_s - rollout.started_at)} ago"
    lasted = span(rollout.ended_at - rollout.started_at)
    return f"{rollout.state} at {time_of(rollout.ended_at)} after {lasted}, {started}"


def _step(rollout: pb.Rollout) -> str:
    """What it is, and what it has of what it needs."""
    if rollout.step >= len(rollout.plan.steps):
        return step_of(rollout, rollout.step)
    step = rollout.plan.steps[rollout.step]
    passed = span(rollout.step_elapsed_s)
    count, unit = rollout.canary.requests if step.weight else rollout.pairs, needs(step)
    parts = [
        f"{rollout.step + 1} of {len(rollout.plan.steps)}: {shares(step)}",
        f"{passed} of {span(step.min_duration_s)}" if step.min_duration_s else passed,
        f"{count} of {step.min_requests} {unit}" if step.min_requests else f"{count} {unit}",
        *(["then waits for promote"] if step.approval else []),
    ]
    return ", ".join(parts)


def _weights(rollout: pb.Rollout) -> str:
    """Where requests go; of an aborted rollout, where they went when it ended."""
    canary = _weight(rollout)
    return (
        f"version {rollout.stable_version}: {percent(round(100 - canary, 1))}, "
        f"version {rollout.version}: {percent(canary)}"
    )


def _weight(rollout: pb.Rollout) -> float:
    if rollout.state == "done":
        return 100.0
    if rollout.state == "rolled_back" or rollout.step >= len(rollout.plan.steps):
        return 0.0
    return float(rollout.plan.steps[rollout.step].weight)


def _figures(name: str, version: int, figures: pb.VersionFigures) -> tuple[object, ...]:
    return (
        f"{version} {name}",
        figures.requests,
        figures.failures,
        rate(figures.failures, figures.requests),
        latency(figures.p50_ms),
        latency(figures.p95_ms),
        latency(figures.p99_ms),
    )
