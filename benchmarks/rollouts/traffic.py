"""Simulated requests of a rollout, for many runs at once: numbers a look, failures and latencies."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOOKS_A_SECOND = 4
REQUESTS_A_LOOK = 50
# The canary's share of the requests, and for how many seconds.
STEPS = ((0.01, 60), (0.05, 60), (0.25, 120), (0.5, 240))

Floats = npt.NDArray[np.float64]
# The failure rates of stable and canary at the look, one of each for every run.
Rates = Callable[[int, np.random.Generator], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Look:
    """Requests and events of both versions since the last look, one number a run.

    `squares` is the sum, over what has made requests of either version fail, of the square of how many.
    """

    stable_requests: Floats
    stable_events: Floats
    canary_requests: Floats
    canary_events: Floats
    squares: Floats

    @property
    def numbers(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.stable_requests, self.stable_events, self.canary_requests, self.canary_events


def shares() -> list[float]:
    """The canary's share at each look of a rollout."""
    return [share for share, duration_s in STEPS for _ in range(duration_s * LOOKS_A_SECOND)]


def failures(runs: int, rates: Rates, rng: np.random.Generator) -> Iterator[Look]:
    """Requests that fail independently of each other, at the rates of their look."""
    for look, share in enumerate(shares()):
        canary = rng.binomial(REQUESTS_A_LOOK, share, runs)
        stable = REQUESTS_A_LOOK - canary
        of_stable, of_canary = rates(look, rng)
        of_stable, of_canary = (
            rng.binomial(*each).astype(float) for each in ((stable, of_stable), (canary, of_canary))
        )
        yield Look(stable.astype(float), of_stable, canary.astype(float), of_canary, of_stable + of_canary)


@dataclass(frozen=True, slots=True)
class Failing:
    """How requests of a version fail: at `rate` by batches of `batch`, or of all since the last look where
    these are fewer; and at `rate_alone` each by itself.
    """

    rate: float
    batch: int
    rate_alone: float = 0.0

    def fail(self, requests: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """How many of the requests, and the sum of the squares of how many together."""
        sizes = np.clip(requests, 1, self.batch)
        together = np.minimum(requests, sizes * rng.poisson(requests * self.rate / sizes))
        rest = together % sizes
        squares = (together - rest) * sizes + rest**2
        if not self.rate_alone:
            return together, squares
        alone = rng.binomial((requests - together).astype(int), self.rate_alone)
        return together + alone, squares + alone


def failing_batches(
    runs: int, of_stable: Failing, of_canary: Failing, rng: np.random.Generator
) -> Iterator[Look]:
    """Requests that fail together."""
    for share in shares():
        canary = rng.binomial(REQUESTS_A_LOOK, share, runs).astype(float)
        stable = REQUESTS_A_LOOK - canary
        stable_events, stable_squares = of_stable.fail(stable, rng)
        canary_events, canary_squares = of_canary.fail(canary, rng)
        yield Look(stable, stable_events, canary, canary_events, stable_squares + canary_squares)


def constant(runs: int, stable: float, canary: float) -> Rates:
    both = np.full(runs, stable), np.full(runs, canary)
    return lambda look, rng: both


def breaking(runs: int, rate: float, increase: float, at_s: float) -> Rates:
    """As well as the stable until `at_s`, worse by `increase` from then on."""
    stable, broken = np.full(runs, rate), np.full(runs, rate + increase)
    return lambda look, rng: (stable, broken if look >= at_s * LOOKS_A_SECOND else stable)


class Bursts:
    """Rates of both alike: one from time to time for a while, another one else."""

    def __init__(self, runs: int, calm: float, burst: float, every_s: float, lasting_s: float) -> None:
        self._rates = np.array([calm, burst])
        self._starts = 1 / (every_s * LOOKS_A_SECOND)
        self._ends = 1 / (lasting_s * LOOKS_A_SECOND)
        self._is_burst = np.zeros(runs, dtype=int)

    def __call__(self, look: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        chance = rng.random(len(self._is_burst))
        self._is_burst = np.where(self._is_burst, chance >= self._ends, chance < self._starts).astype(int)
        rate = self._rates[self._is_burst]
        return rate, rate


@dataclass(frozen=True, slots=True)
class Latencies:
    """Lognormal, `sigma` is the logarithm's standard deviation; the canary's are `slower` times as long.

    Of the variance `load_share` is that of a load that changes with a memory of `memory_s` seconds (an AR(1)
    process over the looks). Each version has a load of its own, as of its own queue; or they share one.
    """

    sigma: float = 0.5
    slower: float = 1.0
    load_share: float = 0.0
    memory_s: float = 1.0
    is_shared: bool = False


def latencies(
    runs: int, settings: Latencies, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
    """The logarithms of the latencies of a look, (runs, requests), and which of them are the canary's."""
    kept = math.exp(-1 / (settings.memory_s * LOOKS_A_SECOND))
    of_load, of_own = (
        settings.sigma * math.sqrt(part) for part in (settings.load_share, 1 - settings.load_share)
    )
    stable_load, canary_load = rng.standard_normal((2, runs, 1), dtype=np.float32)
    for share in shares():
        is_canary = np.arange(REQUESTS_A_LOOK) < rng.binomial(REQUESTS_A_LOOK, share, (runs, 1))
        of_canary = (stable_load if settings.is_shared else canary_load) * of_load + math.log(settings.slower)
        own = rng.standard_normal((runs, REQUESTS_A_LOOK), dtype=np.float32)
        yield own * of_own + np.where(is_canary, of_canary, stable_load * of_load), is_canary
        fresh = rng.standard_normal((2, runs, 1), dtype=np.float32) * math.sqrt(1 - kept**2)
        stable_load, canary_load = kept * stable_load + fresh[0], kept * canary_load + fresh[1]
