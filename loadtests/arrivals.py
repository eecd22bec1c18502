"""When requests are to be sent, decided beforehand: arrivals do not wait for answers."""

import random
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate, count, repeat


class Arrivals(StrEnum):
    """How the gaps between requests are: all equal, or as those of many independent callers."""

    CONSTANT = "constant"
    POISSON = "poisson"


def send_times(arrivals: Arrivals, rate: float, start_s: float, chance: random.Random) -> Iterator[float]:
    """Points in time from `start_s` on, `rate` a second on average, without end.

    Constant ones begin a random part of a gap after the start, so that users do not send in step.
    """
    if arrivals is Arrivals.POISSON:
        gaps = (chance.expovariate(each) for each in repeat(rate))
        return accumulate(gaps, initial=start_s + chance.expovariate(rate))
    first = chance.random()
    return (start_s + (first + number) / rate for number in count())
