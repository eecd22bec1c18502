"""What callers may expect at a time: how long the stable version takes, in the seconds around it."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from demo_rollout.traffic import Answer, Outcome

# How many times the stable version's 99th percentile an answer may take before its caller is harmed.
SLOW_RATIO = 3.0


class Pace:
    """Compares with answers of the same second and its neighbours: a machine that is busy with other things
    makes both versions late.
    """

    def __init__(self, answers: Iterable[Answer], stable: int) -> None:
        self._times: dict[int, list[float]] = defaultdict(list)
        self._limits: dict[int, float] = {}
        for answer in answers:
            if answer.version == stable and answer.outcome is not Outcome.FAILED:
                self._times[int(answer.at_s)].append(answer.took_s)

    def is_slow(self, answer: Answer) -> bool:
        """Never where the stable version has answered nobody at that time."""
        second = int(answer.at_s)
        if second not in self._limits:
            self._limits[second] = self._limit_s(second)
        return answer.took_s > self._limits[second]

    def _limit_s(self, second: int) -> float:
        times = [took_s for near in (-1, 0, 1) for took_s in self._times.get(second + near, ())]
        return SLOW_RATIO * float(np.quantile(times, 0.99)) if times else float("inf")
