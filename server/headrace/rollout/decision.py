"""What to do with a rollout, given what was seen: pure judgement over plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from types import MappingProxyType
from typing import Any

from headrace.core.plan import Step


class Verdict(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    WAITS = "waits"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A gate's verdict, why in one sentence, and the numbers behind it."""

    gate: str
    verdict: Verdict
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Action(StrEnum):
    """What is to be done."""

    HOLD = "hold"
    PROMOTE = "promote"
    AWAIT_APPROVAL = "await_approval"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action with its reason."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How long the step has lasted, and how many requests (or pairs) of the canary it has seen.

    `tripped` says which guard rail the canary has passed, "" for none.
    """

    elapsed_s: float
    requests: int
    tripped: str = ""


def decide(step: Step, seen: Seen, judgements: Sequence[Judgement]) -> Decision:
    """Back as soon as anything speaks against the canary; on only once everything speaks for it."""
    if seen.tripped:
        return Decision(Action.ROLL_BACK, seen.tripped)
    for judgement in judgements:
        if judgement.verdict is Verdict.FAILED:
            return Decision(Action.ROLL_BACK, f"{judgement.gate}: {judgement.detail}")
    if seen.elapsed_s < step.min_duration_s:
        left_s = ceil(step.min_duration_s - seen.elapsed_s)
        return Decision(Action.HOLD, f"the step lasts {left_s} s more")
    if seen.requests < step.min_requests:
        spare = ", which come while there is capacity to spare" if step.is_shadow_only else ""
        return Decision(Action.HOLD, f"{seen.requests} of {step.min_requests} {_unit(step)}{spare}")
    for judgement in judgements:
        if judgement.verdict is Verdict.WAITS:
            return Decision(Action.HOLD, f"{judgement.gate}: {judgement.detail}")
    if step.approval:
        return Decision(Action.AWAIT_APPROVAL, "every gate has passed; the plan wants somebody to promote it")
    return Decision(Action.PROMOTE, _why_promoted(step, seen, judgements))


def _why_promoted(step: Step, seen: Seen, judgements: Sequence[Judgement]) -> str:
    passed = ", ".join(judgement.gate for judgement in judgements) or "no gates"
    return f"after {seen.elapsed_s:.0f} s and {seen.requests} {_unit(step)}; passed: {passed}"


def _unit(step: Step) -> str:
    return "compared pairs" if step.is_shadow_only else "requests of the canary"
