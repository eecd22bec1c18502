"""Whether a canary's answers take longer than its stable's at a quantile, from histograms of both."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.rollout.evidence.harm import EFFECTS
from headrace.rollout.evidence.tempered import WATCHED_REQUESTS, TemperedComparison

# Buckets of 1 µs to 1000 s, each 1.94 % wide; the first also holds what is shorter, one more what is longer.
FIRST_NS = 1_000
BUCKETS_PER_DOUBLING = 36
_BUCKETS = math.ceil(math.log2(1e9) * BUCKETS_PER_DOUBLING)
_ENDS_NS: npt.NDArray[np.int64] = np.round(
    FIRST_NS * 2 ** (np.arange(_BUCKETS + 1) / BUCKETS_PER_DOUBLING)
).astype(np.int64)
# The quantile is that of so many requests of the stable at least, and of twice as many at most: it follows a
# load that changes.
RECENT_REQUESTS = 50_000


class LatencyWindow:
    """How many requests took how long, in buckets of which each holds its upper end."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] = np.zeros(len(_ENDS_NS) + 1, dtype=np.int64)
        self.count = 0

    def add(self, latencies_ns: Sequence[int]) -> None:
        buckets = np.searchsorted(_ENDS_NS, np.asarray(latencies_ns, dtype=np.int64), side="left")
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self.count += len(latencies_ns)

    def merge(self, other: "LatencyWindow") -> None:
        """Adds what the other one holds."""
        self._counts += other._counts
        self.count += other.count

    def clear(self) -> None:
        self._counts[:] = 0
        self.count = 0

    def count_above(self, ns: int) -> int:
        """How many took longer than `ns`; those in the same bucket did not, as far as is known."""
        return int(self._counts[np.searchsorted(_ENDS_NS, ns, side="left") + 1 :].sum())

    def quantile(self, q: float) -> int:
        """In ns, the upper end of the bucket that holds it: at most 2 % too long. 0 of no requests."""
        if not self.count:
            return 0
        rank = max(1, math.ceil(q * self.count))
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank, side="left"))
        return int(_ENDS_NS[min(bucket, len(_ENDS_NS) - 1)])

    def to_document(self) -> list[list[int]]:
        """The buckets that are not empty, each with its count."""
        buckets = np.flatnonzero(self._counts)
        return [[int(bucket), int(self._counts[bucket])] for bucket in buckets]

    @classmethod
    def from_document(cls, document: Sequence[Sequence[int]]) -> "LatencyWindow":
        window = cls()
        for bucket, count in document:
            window._counts[bucket] = count
        window.count = int(window._counts.sum())
        return window


class SlownessTest:
    """Of the null P(X_canary > `max_ratio` t) <= P(X_stable > t) + `margin`, t being the stable's quantile.

    The quantile `quantile` (0.95, say) is that of the stable's earlier requests, so that what is an event is
    known before its block. A canary whose latencies are `max_ratio` times the stable's lies on the edge of
    the null with margin 0, an identical one well within it. Latencies come in bursts: see
    `TemperedComparison`.
    """

    __slots__ = ("_canary", "_comparison", "_margin", "_max_ratio", "_quantile", "_stable")

    def __init__(self, quantile: float, max_ratio: float, margin: float = 0.0) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile is {quantile:g}, expected more than 0 and less than 1")
        if not 1 <= max_ratio < 1000:
            raise ValueError(f"max_ratio is {max_ratio:g}, expected 1 or more and less than 1000")
        if not 0 <= margin < quantile:
            raise ValueError(f"margin is {margin:g}, expected 0 or more and less than the quantile")
        self._quantile = quantile
        self._max_ratio = max_ratio
        self._margin = margin
        self._comparison = TemperedComparison(margin, EFFECTS, 1 - quantile)
        self._stable = _Recent()
        self._canary = _Recent()

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the e-value now: 0 says nothing, 2 is a hundred to one for slowness."""
        return self._comparison.process.evidence

    @property
    def p_value(self) -> float:
        """The most evidence so far as a p-value that is valid at every look."""
        return self._comparison.process.p_value

    @property
    def is_ready(self) -> bool:
        """Whether the stable was watched for long enough: before, nothing is compared."""
        return self._comparison.is_ready

    @property
    def dispersion(self) -> float:
        """How many requests of the stable say as much as one independent request, as their bursts are."""
        return float(self._comparison.factor)

    @property
    def stable_quantile_ns(self) -> int:
        """The stable's, of its recent requests; 0 before there are any."""
        return self._stable.quantile(self._quantile)

    @property
    def canary_quantile_ns(self) -> int:
        """The canary's, of the same stretch of time; 0 before there are requests."""
        return self._canary.quantile(self._quantile)

    @property
    def ratio(self) -> float | None:
        """How many times as long the canary takes at the quantile; None before it can be told."""
        stable_ns, canary_ns = self.stable_quantile_ns, self.canary_quantile_ns
        return canary_ns / stable_ns if stable_ns and canary_ns else None

    def is_harm(self, alpha: float) -> bool:
        """True for ever once the null was refuted at `alpha`."""
        return self._comparison.process.has_reached(alpha)

    def add(self, stable_block: LatencyWindow, canary_block: LatencyWindow) -> None:
        """Told of a block: the requests of both that ended since the last one; either may have none."""
        if self._stable.count >= WATCHED_REQUESTS:
            self._compare(stable_block, canary_block, self.stable_quantile_ns)
        self._stable.merge(stable_block)
        self._canary.merge(canary_block)
        if self._stable.newer.count >= RECENT_REQUESTS:
            self._stable.turn()
            self._canary.turn()

    def to_document(self) -> dict[str, Any]:
        """All of the test in plain types, for `from_document`."""
        return {
            "quantile": self._quantile,
            "max_ratio": self._max_ratio,
            "margin": self._margin,
            "stable": self._stable.to_document(),
            "canary": self._canary.to_document(),
            "comparison": self._comparison.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SlownessTest":
        """Goes on exactly as the test would have; ValueError where the document is of another version."""
        test = cls(document["quantile"], document["max_ratio"], document["margin"])
        test._stable = _Recent.from_document(document["stable"])
        test._canary = _Recent.from_document(document["canary"])
        test._comparison.restore(document["comparison"])
        return test

    def _compare(self, stable_block: LatencyWindow, canary_block: LatencyWindow, threshold_ns: int) -> None:
        allowed_ns = math.ceil(self._max_ratio * threshold_ns)
        self._comparison.add(
            np.asarray(stable_block.count, dtype=float),
            np.asarray(stable_block.count_above(threshold_ns), dtype=float),
            np.asarray(canary_block.count, dtype=float),
            np.asarray(canary_block.count_above(allowed_ns), dtype=float),
        )


class _Recent:
    """The latencies since the last turn but one."""

    __slots__ = ("_older", "newer")

    def __init__(self) -> None:
        self._older = LatencyWindow()
        self.newer = LatencyWindow()

    @property
    def count(self) -> int:
        return self._older.count + self.newer.count

    def quantile(self, q: float) -> int:
        both = LatencyWindow()
        both.merge(self._older)
        both.merge(self.newer)
        return both.quantile(q)

    def merge(self, block: LatencyWindow) -> None:
        self.newer.merge(block)

    def turn(self) -> None:
        self._older, self.newer = self.newer, LatencyWindow()

    def to_document(self) -> list[list[list[int]]]:
        return [self._older.to_document(), self.newer.to_document()]

    @classmethod
    def from_document(cls, document: Sequence[Sequence[Sequence[int]]]) -> "_Recent":
        recent = cls()
        recent._older, recent.newer = (LatencyWindow.from_document(window) for window in document)
        return recent
