"""How a shadow's answers compare with a live version's, over any number of pairs, in constant memory."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from headrace.errors import HeadraceError
from headrace.rollout.comparison.differences import DEFAULT_TOLERANCE, Differences
from headrace.rollout.comparison.examples import Worst, error_example, example_of
from headrace.rollout.comparison.latency import LatencyStatistics
from headrace.rollout.comparison.outputs import OutputStatistics
from headrace.router.shadow.pair import EXECUTION_ERRORS, Pair

Document: TypeAlias = dict[str, Any]

# Of to_document; documents of another format are not read.
FORMAT = 1

MAX_OUTPUTS = 64
KEPT_ERRORS = 3

LIVE_ONLY = "live_only"
SHADOW_ONLY = "shadow_only"
BOTH = "both"
REFUSED = "refused"


class Comparison:
    """Of one model's live version with one shadow.

    `pairs` counts those that say something of the versions: both answered (`answered`), or an execution
    failed. Copies that the shadow `refused` for reasons of load or time are counted beside. `disagreeing`
    pairs are those of `pairs` that `compare` says disagree.
    """

    def __init__(
        self,
        model: str,
        live_version: int,
        shadow_version: int,
        *,
        tolerance: float = DEFAULT_TOLERANCE,
        keeps_inputs: bool = False,
    ) -> None:
        self.model = model
        self.live_version = live_version
        self.shadow_version = shadow_version
        self.tolerance = tolerance
        self.keeps_inputs = keeps_inputs
        self.first_at_ns = 0
        self.last_at_ns = 0
        self.pairs = 0
        self.answered = 0
        self.disagreeing = 0
        self.errors = dict.fromkeys((LIVE_ONLY, SHADOW_ONLY, BOTH, REFUSED), 0)
        self.outputs: dict[str, OutputStatistics] = {}
        self.total = LatencyStatistics()
        self.execution = LatencyStatistics()
        self.live_rows = 0
        self.shadow_rows = 0
        self._error_examples = {kind: deque[Document](maxlen=KEPT_ERRORS) for kind in self.errors}
        self._worst = Worst()

    def add(self, pairs: Sequence[Pair], differences: Differences) -> tuple[int, int]:
        """Adds what `compare` found in `pairs`; says how many of them count, and how many disagree."""
        if not pairs:
            return 0, 0
        refused = sum([self._add_error(pair) for pair in pairs if not _is_answered(pair)])
        counted, disagreeing = len(pairs) - refused, int(differences.disagrees.sum())
        self.pairs += counted
        self.disagreeing += disagreeing
        self.answered += int(differences.is_answered.sum())
        self._add_times(pairs)
        self._add_latencies([pair for pair in pairs if _is_answered(pair)])
        for output in differences.outputs:
            if output.name in self.outputs or len(self.outputs) < MAX_OUTPUTS:
                self.outputs.setdefault(output.name, OutputStatistics()).add(output)
        self._keep_worst(pairs, differences)
        return counted, disagreeing

    def to_document(self) -> Document:
        """Plain JSON types."""
        return {
            "format": FORMAT,
            "model": self.model,
            "live_version": self.live_version,
            "shadow_version": self.shadow_version,
            "tolerance": self.tolerance,
            "keeps_inputs": self.keeps_inputs,
            "first_at_ns": self.first_at_ns,
            "last_at_ns": self.last_at_ns,
            "pairs": self.pairs,
            "answered": self.answered,
            "disagreeing": self.disagreeing,
            "errors": dict(self.errors),
            "error_examples": {kind: list(kept) for kind, kept in self._error_examples.items()},
            "outputs": {name: output.to_document() for name, output in self.outputs.items()},
            "latency": {
                "total": self.total.to_document(),
                "execution": self.execution.to_document(),
                "live_rows": self.live_rows,
                "shadow_rows": self.shadow_rows,
            },
            "worst": self._worst.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Comparison":
        """Goes on where `to_document` was; ValueError for a document of another format."""
        if document.get("format") != FORMAT:
            raise ValueError(
                f"a comparison of format {document.get('format')!r} is not known: expected {FORMAT}"
            )
        comparison = cls(
            document["model"],
            document["live_version"],
            document["shadow_version"],
            tolerance=document["tolerance"],
            keeps_inputs=document["keeps_inputs"],
        )
        for name in ("first_at_ns", "last_at_ns", "pairs", "answered", "disagreeing"):
            setattr(comparison, name, document[name])
        comparison.errors.update(document["errors"])
        for kind, kept in document["error_examples"].items():
            comparison._error_examples[kind].extend(kept)
        comparison.outputs = {
            name: OutputStatistics.from_document(output) for name, output in document["outputs"].items()
        }
        latency = document["latency"]
        comparison.total = LatencyStatistics.from_document(latency["total"])
        comparison.execution = LatencyStatistics.from_document(latency["execution"])
        comparison.live_rows, comparison.shadow_rows = latency["live_rows"], latency["shadow_rows"]
        comparison._worst = Worst.from_document(document["worst"])
        return comparison

    def _add_error(self, pair: Pair) -> bool:
        """Counts a pair that has an error; True where it says nothing, because the shadow refused."""
        live = pair.live if isinstance(pair.live, HeadraceError) else None
        shadow = pair.shadow if isinstance(pair.shadow, HeadraceError) else None
        if shadow is not None and not isinstance(shadow, EXECUTION_ERRORS):
            kind = REFUSED
        elif live is not None and shadow is not None:
            kind = BOTH
        else:
            kind = LIVE_ONLY if live is not None else SHADOW_ONLY
        self.errors[kind] += 1
        error = shadow or live
        assert error is not None
        self._error_examples[kind].append(error_example(pair, error))
        return kind == REFUSED

    def _add_times(self, pairs: Iterable[Pair]) -> None:
        times_ns = [pair.at_ns for pair in pairs]
        self.first_at_ns = self.first_at_ns or min(times_ns)
        self.last_at_ns = max([self.last_at_ns, *times_ns])

    def _add_latencies(self, answered: Sequence[Pair]) -> None:
        """Times to the answer of all, times of execution where both are known."""
        self.total.add(
            np.array([pair.live_ns for pair in answered], np.float64),
            np.array([pair.shadow_ns for pair in answered], np.float64),
        )
        timings = [
            (pair.live_timings, pair.shadow_timings)
            for pair in answered
            if pair.live_timings is not None and pair.shadow_timings is not None
        ]
        self.execution.add(
            np.array([live.executed_ns for live, _ in timings], np.float64),
            np.array([shadow.executed_ns for _, shadow in timings], np.float64),
        )
        self.live_rows += sum([live.batch_rows for live, _ in timings])
        self.shadow_rows += sum([shadow.batch_rows for _, shadow in timings])

    def _keep_worst(self, pairs: Sequence[Pair], differences: Differences) -> None:
        for place in np.flatnonzero(differences.is_answered).tolist():
            disagrees, difference = bool(differences.disagrees[place]), float(differences.difference[place])
            if self._worst.takes(disagrees=disagrees, difference=difference):
                example = example_of(
                    pairs[place], disagrees=disagrees, difference=difference, has_inputs=self.keeps_inputs
                )
                self._worst.put(example)


def _is_answered(pair: Pair) -> bool:
    return not isinstance(pair.live, HeadraceError) and not isinstance(pair.shadow, HeadraceError)
