"""Rollouts in a few words: how long, how many, which step."""

from datetime import datetime

from headrace.cli.units import duration
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2

OPEN_STATES = frozenset({"running", "paused", "waiting"})

# In the details of gates that have had nothing, or too little, to look at.
_UNSEEN = ("no requests to compare", "no pairs of answers", "too few to tell")

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def is_open(rollout: pb.Rollout) -> bool:
    """True while it is under way."""
    return rollout.state in OPEN_STATES


def versions(rollout: pb.Rollout) -> str:
    return f"{rollout.stable_version} -> {rollout.version}"


def span(seconds: float) -> str:
    """In the two largest units that it has: `42 s`, `3 min 12 s`, `2 d 4 h`."""
    left = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or len(parts) == 1)


def time_of(seconds: float) -> str:
    """Local date and time, to the second; `seconds` since 1970."""
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")


def percent(number: float) -> str:
    return f"{number:g} %"


def rate(part: int, whole: int) -> str:
    """In percent, and - of nothing."""
    return f"{part / whole:.2%}".replace("%", " %") if whole else "-"


def latency(milliseconds: float) -> str:
    """- where there were no requests."""
    return duration(milliseconds * 1000) if milliseconds else "-"


def shares(step: routing_pb2.RolloutStep) -> str:
    """What the canary gets at a step."""
    parts = [f"weight {percent(step.weight)}"] if step.weight or not step.shadow else []
    parts += [f"copies of {percent(step.shadow)}"] if step.shadow else []
    return " and ".join(parts)


def needs(step: routing_pb2.RolloutStep) -> str:
    """What is counted for a step's `min_requests`."""
    return "requests" if step.weight else "compared pairs"


def verdict(gate: pb.GateStatus) -> str:
    """What a gate says; `untested` where it lets pass what it has not seen enough of."""
    has_seen = not any(words in gate.detail for words in _UNSEEN)
    return gate.verdict if has_seen or gate.verdict != "passed" else "untested"


def step_of(rollout: pb.Rollout, number: int) -> str:
    """`step 2 of 6 (weight 5 %)`; steps count from 0 in messages and from 1 for people."""
    steps = rollout.plan.steps
    if number >= len(steps):
        return f"step {number + 1}"
    return f"step {number + 1} of {len(steps)} ({shares(steps[number])})"


def outcome(rollout: pb.Rollout) -> str:
    """One sentence on how it stands."""
    return f"{rollout.model_name}: {versions(rollout)} is {rollout.state} at {step_of(rollout, rollout.step)}"
