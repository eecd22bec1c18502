"""The evidence that a canary's rate is above, or below, its stable's by more than a margin."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.rollout.evidence.e_process import EProcess
from headrace.rollout.evidence.projection import Floats, log_ratio

# The stable's rate is estimated as if so many requests had come before at the expected rate, and from about
# the last so many, so that it follows a load that changes.
EXPECTED_WEIGHT = 25.0
MEMORY = 50_000.0
# An alternative's rate for the canary keeps off 1, where a single request would settle everything; and none
# is more than so many times better than the stable's.
CLOSEST = 1e-9
BETTER_AT_MOST = 4.0


class Comparison:
    """Of the rates of a canary and its stable; for one pair, or for an array of pairs at once.

    Tests the null p_canary <= p_stable + margin against p_canary = p_stable + gap for each of `gaps` above
    the margin; where they lie below it, the opposite null. The stable's rate is estimated from earlier ones:
    a block's alternatives are known before the block.
    """

    __slots__ = ("_expected_rate", "_gaps", "_is_above", "_margin", "events", "process", "requests")

    def __init__(
        self, margin: float, gaps: Sequence[float], expected_rate: float, shape: tuple[int, ...] = ()
    ) -> None:
        self._margin = margin
        self._expected_rate = expected_rate
        self._gaps = np.array(gaps)
        self._is_above = gaps[0] > margin
        self.process = EProcess(len(gaps), is_restarted=self._is_above, shape=shape)
        self.requests: Floats = np.zeros(shape)
        self.events: Floats = np.zeros(shape)

    @property
    def stable_rate(self) -> Floats:
        """The estimate from the blocks so far; strictly between 0 and 1."""
        expected = EXPECTED_WEIGHT * self._expected_rate
        return (self.events + expected) / (self.requests + EXPECTED_WEIGHT)

    def add(
        self, stable_requests: Floats, stable_events: Floats, canary_requests: Floats, canary_events: Floats
    ) -> None:
        """Told of a block; the numbers need not be whole: a request may count for less than one."""
        stable_rate = self.stable_rate[..., None]
        canary_rate = np.clip(stable_rate + self._gaps, stable_rate / BETTER_AT_MOST, 1 - CLOSEST)
        distance = canary_rate - stable_rate - self._margin
        is_alternative = distance > 0 if self._is_above else distance < 0
        log_ratios = log_ratio(
            stable_requests[..., None],
            stable_events[..., None],
            canary_requests[..., None],
            canary_events[..., None],
            stable_rate,
            np.where(is_alternative, canary_rate, stable_rate),
            self._margin,
        )
        self.process.multiply(np.where(is_alternative, log_ratios, 0.0), canary_requests)
        self._learn(stable_requests, stable_events)

    def to_document(self) -> dict[str, Any]:
        rate = {"requests": float(self.requests), "events": float(self.events)}
        return {"rate": rate, "process": self.process.to_document()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Goes on where `to_document` was called; ValueError where that was with other alternatives."""
        self.process.restore(document["process"])
        self.requests = np.array(document["rate"]["requests"], dtype=float)
        self.events = np.array(document["rate"]["events"], dtype=float)

    def _learn(self, requests: Floats, events: Floats) -> None:
        requests, events = self.requests + requests, self.events + events
        kept = np.minimum(1.0, MEMORY / np.maximum(requests, MEMORY))
        self.requests, self.events = requests * kept, events * kept
