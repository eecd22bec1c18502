"""A rollout's plan from its message: checked, defaults filled in, with every problem told."""

import re
from itertools import pairwise
from math import isfinite

from headrace.core.plan import (
    DEFAULT_GATES,
    DEFAULT_STEPS,
    CallableGate,
    DisagreementGate,
    ErrorRateGate,
    Gates,
    GuardRails,
    LatencyGate,
    Plan,
    PrometheusGate,
    Step,
)
from headrace.core.route import CANARY, PER_MILLE, STABLE
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings, shown
from headrace.repository.routing.limits import MAX_GATES, MAX_QUERY, MAX_STEPS
from headrace.repository.routing.route_reader import RouteReader, given

_DAY_S = 86_400.0
_LABELS = {STABLE, CANARY}
# The gates that look at requests, of answers and of copies.
_BUILT_IN = re.compile(r"disagreement|(shadow_)?(error_rate|latency_p[0-9.]+)")


def read_plan(message: pb.RolloutPlan, findings: Findings, path: str = "") -> Plan:
    """What `message` states. Only where nothing was refused is it a plan that can be carried out."""
    return _PlanReader(findings, f"{path}." if path else "").plan(message)


class _PlanReader:
    def __init__(self, findings: Findings, at: str) -> None:
        self._findings = findings
        self._at = at
        self._routes = RouteReader(findings)

    def plan(self, message: pb.RolloutPlan) -> Plan:
        at, default = self._at, Plan()
        plan = Plan(
            steps=self._steps(message),
            gates=self._gates(message.gates) if message.HasField("gates") else DEFAULT_GATES,
            guard_rails=self._guard_rails(message.guard_rails),
            false_alarm_rate=given(message, "false_alarm_rate", default.false_alarm_rate),
            keep_previous_s=given(message, "keep_previous_s", default.keep_previous_s),
            sticky=self._routes.sticky(message.sticky, f"{at}sticky") if message.HasField("sticky") else None,
            seed=self._routes.text(message.seed, f"{at}seed"),
            rules=self._routes.rules(message.rules, f"{at}rules", _LABELS),
            fallback=self._routes.fallback(message.fallback, f"{at}fallback", _LABELS)
            if message.HasField("fallback")
            else None,
        )
        self._check_proofs(plan)
        self._routes.check_range(f"{at}false_alarm_rate", plan.false_alarm_rate, 1e-9, 0.5)
        self._routes.check_range(f"{at}keep_previous_s", plan.keep_previous_s, 0.0, 365 * _DAY_S)
        return plan

    def _check_proofs(self, plan: Plan) -> None:
        """What no step could prove is refused."""
        errors, differing = plan.gates.error_rate, plan.gates.disagreement
        if errors and errors.needs_proof and not any(0 < step.weight < PER_MILLE for step in plan.steps):
            self._findings.refuse(
                f"{self._at}gates.error_rate.needs_proof",
                "nothing is proven where versions never share requests; expected a step between 0 and 100",
            )
        if differing and differing.needs_proof and not any(step.shadow for step in plan.steps):
            self._findings.refuse(
                f"{self._at}gates.disagreement.needs_proof",
                "nothing is proven where no answers are compared; expected a step with a shadow",
            )

    def _steps(self, message: pb.RolloutPlan) -> tuple[Step, ...]:
        path = f"{self._at}steps"
        if not message.steps:
            return DEFAULT_STEPS
        if not self._routes.is_within(path, len(message.steps), MAX_STEPS):
            return DEFAULT_STEPS
        steps = tuple(self._step(each, f"{path}[{i}]") for i, each in enumerate(message.steps))
        for index, (before, after) in enumerate(pairwise(steps), start=1):
            if after.weight < before.weight:
                expected = f"expected at least that of the step before, {before.weight / 10:g}"
                self._findings.refuse(
                    f"{path}[{index}].weight", f"{after.weight / 10:g} is given; {expected}"
                )
        if not steps[-1].is_full:
            self._findings.refuse(
                f"{path}[{len(steps) - 1}].weight",
                f"{steps[-1].weight / 10:g} is given; expected 100, as it is the last step",
            )
        return steps

    def _step(self, message: pb.RolloutStep, path: str) -> Step:
        weight = self._routes.per_mille(message.weight, f"{path}.weight")
        shadow = self._routes.per_mille(message.shadow, f"{path}.shadow")
        is_full = weight == PER_MILLE
        step = Step(
            weight,
            shadow,
            given(message, "min_duration_s", 0.0 if is_full else 60.0),
            given(message, "min_requests", 0 if is_full else 100),
            message.approval,
        )
        self._routes.check_range(f"{path}.min_duration_s", step.min_duration_s, 0.0, 90 * _DAY_S)
        if is_full and shadow:
            self._findings.refuse(f"{path}.shadow", "nothing is left to copy at a weight of 100; expected 0")
        if not weight and not shadow:
            self._findings.refuse(path, "the canary would get nothing; expected a weight or a shadow")
        return step

    def _gates(self, message: pb.RolloutGates) -> Gates:
        at = f"{self._at}gates"
        counts = {field: len(getattr(message, field)) for field in ("latency", "prometheus", "callables")}
        if not all(
            self._routes.is_within(f"{at}.{field}", count, MAX_GATES) for field, count in counts.items()
        ):
            return Gates()
        gates = Gates(
            error_rate=self._error_rate(message.error_rate, f"{at}.error_rate")
            if message.HasField("error_rate")
            else None,
            latency=tuple(
                self._latency(each, f"{at}.latency[{i}]") for i, each in enumerate(message.latency)
            ),
            disagreement=self._disagreement(message.disagreement, f"{at}.disagreement")
            if message.HasField("disagreement")
            else None,
            prometheus=tuple(
                self._prometheus(each, f"{at}.prometheus[{i}]") for i, each in enumerate(message.prometheus)
            ),
            callables=tuple(
                self._callable(each, f"{at}.callables[{i}]") for i, each in enumerate(message.callables)
            ),
        )
        self._check_names(gates, at)
        return gates

    def _check_names(self, gates: Gates, at: str) -> None:
        """What gates have seen is kept, and told, by their names."""
        seen = set()
        for index, latency in enumerate(gates.latency):
            percentile = f"{latency.quantile * 100:g}"  # as in the gate's name
            if percentile in seen:
                self._findings.refuse(
                    f"{at}.latency[{index}].percentile", f"{percentile} is given twice; keep one of them"
                )
            seen.add(percentile)
        prometheus = [(f"{at}.prometheus[{i}].name", each.name) for i, each in enumerate(gates.prometheus)]
        callables = [(f"{at}.callables[{i}].name", each.name) for i, each in enumerate(gates.callables)]
        names = set()
        for path, name in prometheus + callables:
            if _BUILT_IN.fullmatch(name):
                self._findings.refuse(
                    path, f"{shown(name)} is what a built-in gate is called; expected another name"
                )
            if name in names:
                self._findings.refuse(
                    path, f"{shown(name)} is what two gates are called; expected names of their own"
                )
            names.add(name)

    def _error_rate(self, message: pb.ErrorRateGate, path: str) -> ErrorRateGate:
        self._routes.check_range(f"{path}.max_increase_percent", message.max_increase_percent, 0.0, 99.0)
        gate = ErrorRateGate(_share(message.max_increase_percent), message.needs_proof)
        if gate.needs_proof:
            self._check_provable(f"{path}.needs_proof", "max_increase_percent", gate.max_increase)
        return gate

    def _check_provable(self, path: str, field: str, share: float) -> None:
        if not share:
            self._findings.refuse(
                path,
                f"no number of requests proves a {field} of 0; expected that to be above 0",
            )

    def _latency(self, message: pb.LatencyGate, path: str) -> LatencyGate:
        default = LatencyGate()
        percentile = given(message, "percentile", default.quantile * 100)
        ratio = given(message, "max_ratio", default.max_ratio)
        self._routes.check_range(f"{path}.percentile", percentile, 1.0, 99.9)
        self._routes.check_range(f"{path}.max_ratio", ratio, 1.0, 1000.0)
        return LatencyGate(_share(percentile), ratio)

    def _disagreement(self, message: pb.DisagreementGate, path: str) -> DisagreementGate:
        percent = given(message, "max_percent", DisagreementGate().max_share * 100)
        self._routes.check_range(f"{path}.max_percent", percent, 0.0, 99.0)
        gate = DisagreementGate(_share(percent), message.needs_proof)
        if gate.needs_proof:
            self._check_provable(f"{path}.needs_proof", "max_percent", gate.max_share)
        return gate

    def _prometheus(self, message: pb.PrometheusGate, path: str) -> PrometheusGate:
        minimum, maximum = given(message, "min", None), given(message, "max", None)
        for field in ("name", "query"):
            if not getattr(message, field).strip():
                self._findings.refuse(f"{path}.{field}", "nothing is given; expected a text")
        if minimum is None and maximum is None:
            self._findings.refuse(path, "neither min nor max is given; expected what the value has to be")
        for field, limit in (("min", minimum), ("max", maximum)):
            if limit is not None and not isfinite(limit):
                self._findings.refuse(f"{path}.{field}", f"{limit:g} is given; expected a finite number")
        return PrometheusGate(
            self._routes.text(message.name, f"{path}.name"),
            self._routes.text(message.query, f"{path}.query", MAX_QUERY),
            minimum,
            maximum,
        )

    def _callable(self, message: pb.CallableGate, path: str) -> CallableGate:
        if not message.name:
            self._findings.refuse(path, "nothing is given; expected the name of a function that is offered")
        return CallableGate(self._routes.text(message.name, f"{path}.name"))

    def _guard_rails(self, message: pb.RolloutGuardRails) -> GuardRails:
        at, default = f"{self._at}guard_rails", GuardRails()
        rails = GuardRails(
            error_share=_share(given(message, "error_percent", default.error_share * 100)),
            latency_ms=given(message, "latency_ms", None),
            min_requests=given(message, "min_requests", default.min_requests),
            window_s=given(message, "window_s", default.window_s),
        )
        self._routes.check_range(f"{at}.error_percent", rails.error_share * 100, 0.1, 100.0)
        if rails.latency_ms is not None:
            self._routes.check_range(f"{at}.latency_ms", rails.latency_ms, 0.001, 3_600_000.0)
        self._routes.check_range(f"{at}.min_requests", rails.min_requests, 1, 1_000_000)
        self._routes.check_range(f"{at}.window_s", rails.window_s, 1.0, 3600.0)
        return rails


def _share(percent: float) -> float:
    """0 to 1, with as many digits as are written again, and without what a division leaves behind them."""
    return round(percent / 100, 11)
