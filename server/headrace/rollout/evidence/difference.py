"""How far a canary's rate lies above its stable's: an estimate for people, with an interval for all looks.

Rates and the canary's share change over time, so that the rates over all requests may not be compared
(Simpson's paradox). Each block's difference is weighted with n_stable n_canary / (n_stable + n_canary), as
Mantel and Haenszel do; the variance is Sato's (Biometrics 45, 1989), right for many small blocks as for few
large ones, or where it is greater, that of rates which are alike: with none of the few expected events Sato's
is too small. The interval is the boundary of Robbins' normal mixture, as an asymptotic confidence sequence
(Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
Statistics 52, 2024): it holds at all looks at once, exactly so in the limit of many events.
"""

import math

import numpy as np

from headrace.rollout.evidence.projection import Floats

# Where the variance of the sum of weighted differences is a few times this one, the interval is about the
# narrowest that it can be: after some hundred requests of a canary with a few per cent of events.
MIXED_VARIANCE = 4.0
# Added to the estimated variance, for the first few events.
FIRST_VARIANCE = 1.0


class Difference:
    """The sums of the estimate; of one pair of versions, or of an array of pairs at once."""

    __slots__ = ("_sums",)

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        # Of weights, weighted differences, the two parts of Sato's variance, and that of rates alike.
        self._sums: Floats = np.zeros((5, *shape))

    @property
    def estimate(self) -> Floats:
        """p_canary - p_stable; 0 before there are requests of both."""
        weight, differences = self._sums[:2]
        estimate: Floats = differences / np.where(weight > 0, weight, 1.0)
        return estimate

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Least and greatest difference that the requests agree with, over all looks."""
        weight, _, slope, level, alike = self._sums
        variance = np.maximum(self.estimate * slope + level, alike) + FIRST_VARIANCE + MIXED_VARIANCE
        spread = np.sqrt(variance * (np.log(variance / MIXED_VARIANCE) - 2 * math.log(1 - confidence)))
        half = np.where(weight > 0, spread / np.where(weight > 0, weight, 1.0), 2.0)
        return np.maximum(self.estimate - half, -1.0), np.minimum(self.estimate + half, 1.0)

    def add(
        self, stable_requests: Floats, stable_events: Floats, canary_requests: Floats, canary_events: Floats
    ) -> None:
        """Told of a block."""
        n0, x0, n1, x1 = stable_requests, stable_events, canary_requests, canary_events
        total = np.maximum(n0 + n1, 1.0)
        slope = (n1 * (n1 / total) * x0 - n0 * (n0 / total) * x1 + n1 * (n0 / total) * (n0 - n1) / 2) / total
        level = (x1 * (n0 - x0) + x0 * (n1 - x1)) / (2 * total)
        weight, rate = n0 * n1 / total, (x0 + x1) / total
        parts = [weight, (x1 * n0 - x0 * n1) / total, slope, level, weight * rate * (1 - rate)]
        self._sums = self._sums + np.stack(parts)

    def to_document(self) -> list[float]:
        sums: list[float] = self._sums.tolist()
        return sums

    @classmethod
    def from_document(cls, document: list[float]) -> "Difference":
        difference = cls()
        difference._sums = np.array(document, dtype=float)
        return difference
