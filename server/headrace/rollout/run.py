"""A rollout under way: watches both versions, looks at what they did, and says what is to be done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.model.model import Model
from headrace.rollout.answers import Figures, GateView, RolloutView
from headrace.rollout.decision import Action, Decision, Judgement, Seen, Verdict, decide
from headrace.rollout.evidence.harm import Counts
from headrace.rollout.evidence.latency import LatencyWindow
from headrace.rollout.gates import Gate, documents, resume, statistical_gates
from headrace.rollout.look import Both, Look
from headrace.rollout.pair_tally import PairTally
from headrace.rollout.rails import RailWatch
from headrace.rollout.record import Record, RolloutState
from headrace.rollout.tally import Block, Tally
from headrace.router.shadow.pair import Pair

# For how long the canary may be away, as while it is loaded anew, before its rollout is given up.
AWAY_LIMIT_S = 5.0


class Side:
    """One version of the two: its tally, and what it did in the current step."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        self.requests = int(document["requests"]) if document else 0
        self.failures = int(document["failures"]) if document else 0
        self.window = LatencyWindow.from_document(document["latencies"]) if document else LatencyWindow()
        self._tally = Tally()
        self._model: Model | None = None
        self._end: Callable[[], None] = _nothing

    def follow(self, model: Model | None) -> None:
        """Watches `model` from now on, in place of what was watched before."""
        if model is not self._model:
            self._end()
            self._model = model
            self._end = model.watch(self._tally) if model else _nothing

    def take(self, *, counts: bool) -> Block:
        """What came since the last call; with `counts` it is counted for the step, too."""
        block = self._tally.take()
        if counts:
            self.requests += block.requests
            self.failures += block.failures
        return block

    def begin_step(self) -> None:
        self.requests = self.failures = 0
        self.window.clear()

    def figures(self) -> Figures:
        if not self.window.count:
            return Figures(self.requests, self.failures)
        p50, p95, p99 = (self.window.quantile(each) / 1e6 for each in (0.5, 0.95, 0.99))
        return Figures(self.requests, self.failures, p50, p95, p99)

    def to_document(self) -> dict[str, Any]:
        latencies = self.window.to_document()
        return {"requests": self.requests, "failures": self.failures, "latencies": latencies}


class Run:
    """Owns the watches of both versions until `end`. Times are on a steady clock, in seconds."""

    def __init__(self, record: Record, now_s: float) -> None:
        """Goes on where `record.progress` stopped."""
        progress = record.progress
        self.record = record
        self.elapsed_s = float(progress.get("elapsed_s", 0.0))
        self.pairs = Counts(*progress.get("pairs", (0, 0)))
        self.outside: dict[str, Judgement] = {}
        # What was known when the step began anew, until that is kept.
        self.forgotten: Mapping[str, Any] | None = None
        self._begun_anew_at_s = 0.0
        self._stable = Side(progress.get("stable"))
        self._canary = Side(progress.get("canary"))
        # Tells the stable version's files, to which the canary is compared, from others under its number.
        self._stable_digest = str(progress.get("stable_digest", ""))
        self._gates = _gates(record, progress.get("gates", {}))
        self._rails = RailWatch(record.plan.guard_rails)
        self._new_pairs = Counts()
        self._copies = PairTally()
        self._looked_at_s = now_s
        self._away_since_s: float | None = None
        self._has_canary = self._has_stable = True

    def begin(self, now_s: float) -> None:
        """Time passes from now on."""
        self._looked_at_s = now_s

    def is_replaced(self, stable: Model) -> bool:
        """Whether it has other files than those that the canary was compared to."""
        return stable.digest != (self._stable_digest or stable.digest)

    def begin_anew(self, at_s: float) -> None:
        """What was seen in this step, and what gates have learned, is forgotten; guard rails go on.

        `at_s` is in seconds since 1970. `forgotten` says what was known.
        """
        self.forgotten = self.evidence()
        self._begun_anew_at_s = at_s
        self.elapsed_s = 0.0
        self.pairs = self._new_pairs = Counts()
        self.outside = {}
        for side in (self._stable, self._canary):
            side.take(counts=False)
            side.begin_step()
        self._copies = PairTally()
        self._gates = _gates(self.record, {})
        self._stable_digest = ""

    def follow(self, stable: Model | None, canary: Model | None) -> None:
        """Watches these from now on; None where a version is not ready."""
        self._has_stable = stable is not None
        if stable is not None:
            self._stable_digest = stable.digest
        self._stable.follow(stable)
        self._canary.follow(canary)
        self._has_canary = canary is not None

    def compared(self, pairs: int, disagreeing: int) -> None:
        """Told of compared answers of the two versions."""
        self._new_pairs += Counts(pairs, disagreeing)

    def paired(self, pairs: Sequence[Pair]) -> None:
        """Told of requests that both versions have executed."""
        begun_ns = self._begun_anew_at_s * 1e9
        self._copies.add([pair for pair in pairs if pair.at_ns >= begun_ns] if begun_ns else pairs)

    def look(self, now_s: float, trouble: str = "") -> Decision:
        """Takes in what came since the last look. `trouble` is what else ends the rollout at once."""
        self._take_in(now_s)
        tripped = trouble or self._rails.tripped() or self._away(now_s)
        if self.record.state is RolloutState.PAUSED:
            return (
                Decision(Action.ROLL_BACK, tripped) if tripped else Decision(Action.HOLD, self.record.reason)
            )
        if not self._has_stable and not tripped:
            return Decision(Action.HOLD, f"version {self.record.stable}, the stable one, is not ready")
        seen = Seen(self.elapsed_s, self._step_requests, tripped)
        return decide(self.record.current, seen, self.judgements())

    def judgements(self) -> list[Judgement]:
        """What every gate says now."""
        return [*(gate.judge() for gate in self._gates), *self._outside_judgements()]

    def enter(self, record: Record) -> None:
        """Goes on as `record` says; what was counted for a step begins anew with the next."""
        if record.step != self.record.step:
            self.elapsed_s = 0.0
            self.pairs = Counts()
            self.outside = {}
            self._stable.begin_step()
            self._canary.begin_step()
            for gate in self._gates:
                gate.begin_step(record.current)
        self.record = record

    def progress(self, *, is_next_step: bool = False) -> dict[str, Any]:
        """What was seen so far, in types of JSON; of the next step nothing but what gates carry over."""
        lasting = {"gates": documents(self._gates), "stable_digest": self._stable_digest}
        if is_next_step:
            return lasting
        return {
            "elapsed_s": self.elapsed_s,
            "pairs": [self.pairs.requests, self.pairs.events],
            "stable": self._stable.to_document(),
            "canary": self._canary.to_document(),
            **lasting,
        }

    def evidence(self) -> dict[str, Any]:
        """What speaks for a decision, for people and for gates of their own."""
        stable, canary = self._stable.figures(), self._canary.figures()
        return {
            "model": self.record.model,
            "stable": self.record.stable,
            "canary": self.record.canary,
            "step": self.record.step,
            "weight_percent": self.record.current.weight / 10,
            "elapsed_s": round(self.elapsed_s, 3),
            "stable_figures": _document(stable),
            "canary_figures": _document(canary),
            "pairs": self.pairs.requests,
            "disagreeing_pairs": self.pairs.events,
            "gates": [
                {
                    "name": each.gate,
                    "verdict": each.verdict.value,
                    "detail": each.detail,
                    **dict(each.evidence),
                }
                for each in self.judgements()
            ],
        }

    def view(self) -> RolloutView:
        gates = tuple(GateView(each.gate, each.verdict.value, each.detail) for each in self.judgements())
        return replace(
            view_of(self.record),
            gates=gates,
            stable_figures=self._stable.figures(),
            canary_figures=self._canary.figures(),
            pairs=self.pairs.requests,
            disagreeing_pairs=self.pairs.events,
            step_elapsed_s=self.elapsed_s,
        )

    def end(self) -> None:
        """Watches nothing any more."""
        self.follow(None, None)

    @property
    def _step_requests(self) -> int:
        return self.pairs.requests if self.record.current.is_shadow_only else self._canary.requests

    def _take_in(self, now_s: float) -> None:
        # Without the stable version nothing is compared: neither time nor requests bring the end nearer.
        counts = self._has_stable
        live = Both.of(self._stable.take(counts=counts), self._canary.take(counts=counts))
        self._stable.window.merge(live.stable_window)
        self._canary.window.merge(live.canary_window)
        pairs, self._new_pairs = self._new_pairs, Counts()
        if self.record.current.shadow:  # copies may still come when their step is over
            self.pairs += pairs
        look = Look(live, Both.of(*self._copies.take()), pairs)
        for gate in self._gates:
            gate.add(look)
        self._rails.add(now_s, live.canary)
        if counts and self.record.state is not RolloutState.PAUSED:
            self.elapsed_s += now_s - self._looked_at_s
        self._looked_at_s = now_s

    def _away(self, now_s: float) -> str:
        if self._has_canary:
            self._away_since_s = None
            return ""
        since_s = self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
        if now_s - since_s < AWAY_LIMIT_S:
            return ""
        return f"version {self.record.canary} has not been ready for {AWAY_LIMIT_S:g} s"

    def _outside_judgements(self) -> list[Judgement]:
        wanted = self.record.plan.gates
        names = [*(gate.name for gate in wanted.prometheus), *(gate.name for gate in wanted.callables)]
        return [
            self.outside.get(name) or Judgement(name, Verdict.WAITS, "has not been asked yet")
            for name in names
        ]


def view_of(record: Record) -> RolloutView:
    """A rollout as it is kept; of one that has ended, with the figures of its last step."""
    progress = record.progress
    pairs, disagreeing = progress.get("pairs", (0, 0))
    return RolloutView(
        id=record.id,
        model=record.model,
        stable=record.stable,
        canary=record.canary,
        state=record.state.value,
        step=record.step,
        plan=record.plan,
        started_at_s=record.started_at_s,
        step_started_at_s=record.step_started_at_s,
        ended_at_s=record.ended_at_s,
        started_by=record.started_by,
        reason=record.reason,
        origin=record.origin,
        stable_figures=Side(progress.get("stable")).figures(),
        canary_figures=Side(progress.get("canary")).figures(),
        pairs=pairs,
        disagreeing_pairs=disagreeing,
        step_elapsed_s=float(progress.get("elapsed_s", 0.0)),
    )


def _gates(record: Record, kept: Mapping[str, Mapping[str, Any]]) -> list[Gate]:
    gates = statistical_gates(record.plan)
    resume(gates, kept)
    for gate in gates:
        gate.begin_step(record.current)
    return gates


def _document(figures: Figures) -> dict[str, Any]:
    return {
        "requests": figures.requests,
        "failures": figures.failures,
        "p50_ms": round(figures.p50_ms, 4),
        "p95_ms": round(figures.p95_ms, 4),
        "p99_ms": round(figures.p99_ms, 4),
    }


def _nothing() -> None:
    """Where there is nothing to end."""
