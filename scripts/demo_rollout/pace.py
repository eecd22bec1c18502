"""How many callers a version has made wait, beside what the stable version did in the same seconds."""

import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from demo_rollout.traffic import Answer, Outcome

# Late is what comes later than this share of the stable version's answers.
QUANTILE = 0.95
# So many standard deviations more than expected are no accident.
DEVIATIONS = 3.0


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

    def slow(self, answers: Iterable[Answer]) -> int:
        """How many of `answers` would have come sooner from the stable version.

        5 % of its own answers come later than its 95th percentile, whatever else the machine does; so many of
        a version that is as quick do, too. Those beyond were made late by the version, be it by little or by
        much. There are none where chance gives as many, and where the stable version has answered nobody at
        the time nothing is known.
        """
        limits = [(answer.took_s, self._limit_s(int(answer.at_s))) for answer in answers]
        compared = [(took_s, limit_s) for took_s, limit_s in limits if limit_s is not None]
        late = sum(took_s > limit_s for took_s, limit_s in compared)
        expected = len(compared) * (1 - QUANTILE)
        chance = DEVIATIONS * math.sqrt(expected * QUANTILE)
        return round(late - expected) if late - expected > chance else 0

    def _limit_s(self, second: int) -> float | None:
        """The stable version's percentile around this second; None where it has answered nobody."""
        if second not in self._limits:
            times = [took_s for near in (-1, 0, 1) for took_s in self._times.get(second + near, ())]
            if not times:
                return None
            self._limits[second] = float(np.quantile(times, QUANTILE))
        return self._limits[second]
