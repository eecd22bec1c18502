"""`SlownessTest` for many runs at once: the same comparison, on histograms that are rows of one array."""

import math

import numpy as np
import numpy.typing as npt

from headrace.rollout.evidence.comparison import Comparison
from headrace.rollout.evidence.latency import BUCKETS_PER_DOUBLING
from headrace.rollout.evidence.tempered import WATCHED_REQUESTS, TemperedComparison

WIDTH = math.log(2) / BUCKETS_PER_DOUBLING
# Of the buckets of `LatencyWindow` those around the median, which is exp(0) here.
BUCKETS = 480

Integers = npt.NDArray[np.int64]


class ManySlownessTests:
    """Fed with the logarithms of latencies; the stable's quantile is that of all its requests so far."""

    def __init__(
        self, comparison: Comparison | TemperedComparison, runs: int, quantile: float, max_ratio: float
    ) -> None:
        self._comparison = comparison
        self._quantile = quantile
        self._allowed = math.ceil(math.log(max_ratio) / WIDTH - 1e-9)
        self._runs = np.arange(runs)
        # Of the stable; and the bucket of its quantile, with how many requests are no slower than that.
        self._counts: Integers = np.zeros((runs, BUCKETS), dtype=np.int64)
        self._requests: Integers = np.zeros(runs, dtype=np.int64)
        self._bucket: Integers = np.full(runs, BUCKETS // 2)
        self._up_to: Integers = np.zeros(runs, dtype=np.int64)

    def add(self, log_latencies: npt.NDArray[np.float32], is_canary: npt.NDArray[np.bool_]) -> None:
        buckets = np.clip((log_latencies / WIDTH + BUCKETS / 2).astype(np.int64), 0, BUCKETS - 1)
        if self._requests.min() >= WATCHED_REQUESTS:
            self._compare(buckets, is_canary)
        self._learn(buckets, ~is_canary)

    def _compare(self, buckets: Integers, is_canary: npt.NDArray[np.bool_]) -> None:
        threshold, requests = self._bucket[:, None], is_canary.sum(axis=1).astype(float)
        self._comparison.add(
            is_canary.shape[1] - requests,
            np.sum((buckets > threshold) & ~is_canary, axis=1).astype(float),
            requests,
            np.sum((buckets > threshold + self._allowed) & is_canary, axis=1).astype(float),
        )

    def _learn(self, buckets: Integers, is_stable: npt.NDArray[np.bool_]) -> None:
        flat = (self._runs[:, None] * BUCKETS + buckets)[is_stable]
        np.add.at(self._counts.reshape(-1), flat, 1)
        self._requests += is_stable.sum(axis=1)
        self._up_to += np.sum(is_stable & (buckets <= self._bucket[:, None]), axis=1)
        rank = np.ceil(self._quantile * self._requests)
        while (is_low := self._up_to < rank).any():
            self._bucket += is_low
            self._up_to += np.where(is_low, self._counts[self._runs, self._bucket], 0)
        while (is_high := self._up_to - (last := self._counts[self._runs, self._bucket]) >= rank).any():
            self._up_to -= np.where(is_high, last, 0)
            self._bucket -= is_high
