"""The gates of a plan: each takes in every look at both versions, and says what it thinks of the canary."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Protocol, TypeAlias

from headrace.core.plan import DisagreementGate, ErrorRateGate, LatencyGate, Plan, Step
from headrace.core.route import PER_MILLE
from headrace.rollout.decision import Judgement, Verdict
from headrace.rollout.evidence.harm import Counts, HarmlessTest, HarmTest, LimitTest, WithinLimitTest
from headrace.rollout.evidence.latency import LatencyWindow, SlownessTest
from headrace.rollout.look import NONE, Both, Look

logger = logging.getLogger(__name__)

# Which requests a gate looks at.
Select: TypeAlias = Callable[[Look], Both]

# A copy is executed alone, and seldom: up to twice the time says nothing of the version.
LEAST_COPY_RATIO = 2.0
# The decimal logarithm of the e-value from which on evidence leans towards harm: ten to one. Nothing is
# promoted until it leans back, or is enough to decide.
SUSPICION = 1.0
# Before so many of the canary's requests were held against the stable version's, its latency is not known.
LEAST_COMPARED = 40


class Gate(Protocol):
    """One condition; `to_document` and `resume` carry what it has seen over a restart."""

    @property
    def name(self) -> str: ...

    def add(self, look: Look) -> None: ...

    def judge(self) -> Judgement: ...

    def begin_step(self, step: Step) -> None:
        """What is told of figures is of the step; what was learned stays."""
        ...

    def to_document(self) -> Mapping[str, Any]: ...

    def resume(self, document: Mapping[str, Any]) -> None: ...


def statistical_gates(plan: Plan) -> list[Gate]:
    """The plan's gates that look at requests; together they keep to its rate of false alarms.

    Where the plan has shadows, failures and latencies of copies are looked at by gates of their own.
    """
    wanted, has_shadow = plan.gates, any(step.shadow for step in plan.steps)
    per_kind = 2 if has_shadow else 1
    count = per_kind * (bool(wanted.error_rate) + len(wanted.latency)) + bool(wanted.disagreement)
    alpha = plan.false_alarm_rate / max(1, count)
    gates: list[Gate] = []
    if wanted.error_rate:
        gates.append(ErrorRate("error_rate", wanted.error_rate, alpha, _live))
    gates += [Latency(_latency_name(each), each, alpha, _live) for each in wanted.latency]
    if wanted.disagreement:
        gates.append(Disagreement(wanted.disagreement, alpha))
    return gates + (_gates_of_copies(plan, alpha) if has_shadow else [])


def _gates_of_copies(plan: Plan, alpha: float) -> list[Gate]:
    gates: list[Gate] = []
    if plan.gates.error_rate:
        errors = replace(plan.gates.error_rate, needs_proof=False)
        gates.append(ErrorRate("shadow_error_rate", errors, alpha, _copied))
    for each in plan.gates.latency:
        latency = replace(each, max_ratio=max(each.max_ratio, LEAST_COPY_RATIO))
        gates.append(Latency(f"shadow_{_latency_name(each)}", latency, alpha, _copied))
    return gates


class ErrorRate:
    """Whether the canary fails more often than the stable version in the same time."""

    def __init__(self, name: str, gate: ErrorRateGate, alpha: float, select: Select) -> None:
        self.name = name
        self._select = select
        self._gate = gate
        self._alpha = alpha
        self._harm = HarmTest(gate.max_increase)
        self._harmless = HarmlessTest(gate.max_increase) if gate.needs_proof else None
        self._has_both = False
        # Of both versions together, since the beginning: the squares of the incidents' sizes, and failures.
        self._failures = NONE

    def add(self, look: Look) -> None:
        both = self._select(look)
        self._failures += both.failures
        burst = max(_burst(self._failures), _burst(both.failures))
        self._harm.add(both.stable_counts, both.canary_counts, burst)
        if self._harmless is not None:
            self._harmless.add(both.stable_counts, both.canary_counts, burst)

    def begin_step(self, step: Step) -> None:
        self._has_both = _compares(step, self._select)

    def judge(self) -> Judgement:
        stable, canary = self._harm.stable, self._harm.canary
        evidence = {
            "stable_requests": stable.requests,
            "stable_failures": stable.events,
            "canary_requests": canary.requests,
            "canary_failures": canary.events,
            "max_increase": self._gate.max_increase,
            "failures_together": round(_burst(self._failures), 3),
            **self._difference(),
            "p_value": self._harm.p_value,
            "alpha": self._alpha,
        }
        if not canary.requests:
            return Judgement(
                self.name, _unseen(self._gate.needs_proof), "no requests to compare yet", evidence
            )
        detail = (
            f"{canary.rate:.2%} of the canary's requests failed, {stable.rate:.2%} of the stable version's"
        )
        if self._harm.is_harm(self._alpha):
            detail += f" (p = {self._harm.p_value:.2g}, below {self._alpha:.2g})"
            return Judgement(self.name, Verdict.FAILED, detail, evidence)
        if self._has_both and self._harm.evidence > SUSPICION:
            return Judgement(
                self.name, Verdict.WAITS, f"{detail}, which is not certain yet to be more", evidence
            )
        if self._harmless is not None and not self._harmless.is_proven(self._alpha):
            detail += ", which does not prove yet that it fails no more often"
            return Judgement(self.name, Verdict.WAITS, detail, evidence)
        return Judgement(self.name, Verdict.PASSED, detail, evidence)

    def _difference(self) -> dict[str, Any]:
        """By how much more the canary fails, with an interval of 95 %; nothing before it can be told."""
        least, greatest = self._harm.interval()
        numbers = (self._harm.difference, least, greatest)
        if not all(map(isfinite, numbers)):
            return {}
        estimate, least, greatest = (round(number, 6) for number in numbers)
        return {"difference": estimate, "difference_interval": [least, greatest]}

    def to_document(self) -> Mapping[str, Any]:
        proof = self._harmless.to_document() if self._harmless else None
        failures = [self._failures.requests, self._failures.events]
        return {"harm": self._harm.to_document(), "proof": proof, "failures": failures}

    def resume(self, document: Mapping[str, Any]) -> None:
        harm, proof = HarmTest.from_document(document["harm"]), document["proof"]
        failures = Counts(*document["failures"])
        if self._harmless is not None and proof is not None:
            self._harmless = HarmlessTest.from_document(proof)
        self._harm, self._failures = harm, failures


class Latency:
    """Whether the canary is slower than the stable version in the same time, at one quantile."""

    def __init__(self, name: str, gate: LatencyGate, alpha: float, select: Select) -> None:
        self.name = name
        self._select = select
        self._gate = gate
        self._alpha = alpha
        self._test = SlownessTest(gate.quantile, gate.max_ratio)
        self._step_stable, self._step_canary = LatencyWindow(), LatencyWindow()
        self._has_both = False
        self._compared = 0

    def begin_step(self, step: Step) -> None:
        self._has_both = _compares(step, self._select)
        self._step_stable.clear()
        self._step_canary.clear()

    def add(self, look: Look) -> None:
        both = self._select(look)
        self._step_stable.merge(both.stable_window)
        self._step_canary.merge(both.canary_window)
        if self._test.is_ready and both.stable_window.count:
            self._compared += both.canary_window.count
        self._test.add(both.stable_window, both.canary_window)

    def judge(self) -> Judgement:
        test, gate = self._test, self._gate
        stable_ms = self._step_stable.quantile(gate.quantile) / 1e6
        canary_ms = self._step_canary.quantile(gate.quantile) / 1e6
        evidence = {
            "quantile": gate.quantile,
            "max_ratio": gate.max_ratio,
            "stable_ms": stable_ms,
            "canary_ms": canary_ms,
            "p_value": test.p_value,
            "alpha": self._alpha,
        }
        if not self._step_canary.count and not test.is_harm(self._alpha):
            verdict = Verdict.WAITS if self._has_both else Verdict.PASSED
            return Judgement(self.name, verdict, "no requests to compare yet", evidence)
        percentile = f"p{gate.quantile * 100:g}"
        detail = f"{percentile} is {canary_ms:.3g} ms, that of the stable version {stable_ms:.3g} ms"
        if test.is_harm(self._alpha):
            detail += (
                f": more than {gate.max_ratio:g} times as long (p = {test.p_value:.2g}, "
                f"below {self._alpha:.2g})"
            )
            return Judgement(self.name, Verdict.FAILED, detail, evidence)
        if self._compared < LEAST_COMPARED:
            verdict = Verdict.WAITS if self._has_both else Verdict.PASSED
            detail += f"; too few to tell yet ({self._compared} of {LEAST_COMPARED} compared)"
            return Judgement(self.name, verdict, detail, evidence)
        if self._has_both and test.evidence > SUSPICION:
            detail += f", which is not certain yet to be more than {gate.max_ratio:g} times as long"
            return Judgement(self.name, Verdict.WAITS, detail, evidence)
        return Judgement(self.name, Verdict.PASSED, detail, evidence)

    def to_document(self) -> Mapping[str, Any]:
        return {"test": self._test.to_document(), "compared": self._compared}

    def resume(self, document: Mapping[str, Any]) -> None:
        test, compared = SlownessTest.from_document(document["test"]), int(document["compared"])
        self._test, self._compared = test, compared


class Disagreement:
    """Whether too many of the canary's answers differ from the live ones."""

    name = "disagreement"

    def __init__(self, gate: DisagreementGate, alpha: float) -> None:
        self._gate = gate
        self._alpha = alpha
        self._test = LimitTest(gate.max_share)
        self._proof = WithinLimitTest(gate.max_share) if gate.needs_proof else None
        self._is_comparing = False

    def add(self, look: Look) -> None:
        self._test.add(look.pairs)
        if self._proof is not None:
            self._proof.add(look.pairs)

    def begin_step(self, step: Step) -> None:
        self._is_comparing = bool(step.shadow)

    def judge(self) -> Judgement:
        pairs = self._test.canary
        evidence = {
            "pairs": pairs.requests,
            "disagreeing": pairs.events,
            "max_share": self._gate.max_share,
            "p_value": self._test.p_value,
            "alpha": self._alpha,
        }
        # Without a shadow no more pairs come: nobody waits for them.
        is_suspicious = self._test.evidence > SUSPICION
        is_unproven = self._proof is not None and not self._proof.is_proven(self._alpha)
        is_open = is_unproven or is_suspicious
        harmless = Verdict.WAITS if is_open and self._is_comparing else Verdict.PASSED
        if not pairs.requests:
            return Judgement(self.name, harmless, "no pairs of answers were compared", evidence)
        detail = (
            f"{pairs.rate:.2%} of {pairs.requests} pairs of answers differ ({self._gate.max_share:.1%} may)"
        )
        if self._test.is_harm(self._alpha):
            detail += f" (p = {self._test.p_value:.2g}, below {self._alpha:.2g})"
            return Judgement(self.name, Verdict.FAILED, detail, evidence)
        if is_suspicious:
            detail += ", which is not certain yet to be more"
        elif is_unproven:
            detail += ", which does not prove yet that no more do"
        return Judgement(self.name, harmless, detail, evidence)

    def to_document(self) -> Mapping[str, Any]:
        proof = self._proof.to_document() if self._proof else None
        return {"test": self._test.to_document(), "proof": proof}

    def resume(self, document: Mapping[str, Any]) -> None:
        test, proof = LimitTest.from_document(document["test"]), document["proof"]
        if self._proof is not None and proof is not None:
            self._proof = WithinLimitTest.from_document(proof)
        self._test = test


def _compares(step: Step, select: Select) -> bool:
    """Whether requests of both versions come in `step`, and are waited for.

    Beside live requests nobody waits for copies, which come when there is room for them.
    """
    return 0 < step.weight < PER_MILLE if select is _live else step.is_shadow_only


def _live(look: Look) -> Both:
    return look.live


def _copied(look: Look) -> Both:
    return look.copied


def _latency_name(gate: LatencyGate) -> str:
    return f"latency_p{gate.quantile * 100:g}"


def documents(gates: Sequence[Gate]) -> dict[str, Mapping[str, Any]]:
    """What the gates have seen, by their names."""
    return {gate.name: gate.to_document() for gate in gates}


def resume(gates: Sequence[Gate], kept: Mapping[str, Mapping[str, Any]]) -> None:
    """Goes on with what `documents` gave; a gate whose document another release has made begins anew."""
    for gate in gates:
        try:
            if gate.name in kept:
                gate.resume(kept[gate.name])
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("gate %s begins anew: what was kept of it cannot be read: %s", gate.name, error)


def _burst(failures: Counts) -> float:
    """How many failures came together, on average over failures: 1 where each came by itself."""
    return max(1.0, failures.requests / failures.events) if failures.events else 1.0


def _unseen(needs_proof: bool) -> Verdict:
    return Verdict.WAITS if needs_proof else Verdict.PASSED
