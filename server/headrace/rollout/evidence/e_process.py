"""Evidence that grows and shrinks with each look, and may be looked at as often as one likes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.rollout.evidence.projection import Floats

# The share of the capital that is staked from the start; the rest is brought in as requests come, so that a
# version which breaks late need not first make good what it lost while it was well. After n requests
# RESERVED / sqrt(1 + n / RESERVE_SCALE) is still kept back.
STAKED_FIRST = 0.75
RESERVED = 1 - STAKED_FIRST
RESERVE_SCALE = 500.0


class EProcess:
    """The capital of one who bets against the null, in natural logarithms; of one bettor, or of many at once.

    Each of `stakes` alternatives gets the same share, which each block multiplies by its e-value under that
    alternative. An average of e-processes is one; so is one of which a share that is fixed beforehand starts
    later. Ville's inequality: where the null is true, the capital ever reaches 1/alpha with a probability of
    at most alpha. Without `is_restarted` everything is staked at once: what came early counts as much as what
    came late.
    """

    __slots__ = ("_is_restarted", "_log_share", "highest", "log_staked", "requests")

    def __init__(self, stakes: int, *, is_restarted: bool, shape: tuple[int, ...] = ()) -> None:
        self._is_restarted = is_restarted
        self._log_share = -math.log(stakes)
        first = math.log(STAKED_FIRST) if is_restarted else 0.0
        self.log_staked: Floats = np.full((*shape, stakes), first + self._log_share)
        self.requests: Floats = np.zeros(shape)
        self.highest: Floats = np.zeros(shape)

    @property
    def log_capital(self) -> Floats:
        """The logarithm of what is staked and of what is still kept back."""
        staked = _log_sum(self.log_staked)
        return np.logaddexp(staked, np.log(_reserve(self.requests))) if self._is_restarted else staked

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the e-value now: 0 says nothing, 2 is a hundred to one against."""
        return float(self.log_capital) / math.log(10)

    @property
    def p_value(self) -> float:
        """What the most evidence so far leaves to chance; valid at every look."""
        return math.exp(-float(self.highest))

    def has_reached(self, alpha: float) -> bool:
        """True for ever once the e-value was 1/`alpha`."""
        return float(self.highest) >= -math.log(alpha)

    def multiply(self, log_ratios: Floats, requests: Floats) -> None:
        """Told of a block: its e-value for each alternative, and how many requests of the canary it had."""
        self.log_staked = self.log_staked + log_ratios
        self.highest = np.maximum(self.highest, self.log_capital)
        before, self.requests = self.requests, self.requests + requests
        if self._is_restarted:
            brought = np.maximum(_reserve(before) - _reserve(self.requests), np.finfo(float).tiny)
            self.log_staked = np.logaddexp(self.log_staked, (np.log(brought) + self._log_share)[..., None])

    def to_document(self) -> dict[str, Any]:
        return {
            "log_staked": self.log_staked.tolist(),
            "requests": float(self.requests),
            "highest": float(self.highest),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Goes on where `to_document` was called; ValueError where that was with other alternatives."""
        log_staked = np.array(document["log_staked"], dtype=float)
        if log_staked.shape != self.log_staked.shape:
            raise ValueError(f"expected {len(self.log_staked)} stakes, found {len(log_staked)}")
        self.log_staked = log_staked
        self.requests = np.array(document["requests"], dtype=float)
        self.highest = np.array(document["highest"], dtype=float)


def _reserve(requests: Floats) -> Floats:
    reserve: Floats = RESERVED / np.sqrt(1 + requests / RESERVE_SCALE)
    return reserve


def _log_sum(logarithms: Floats) -> Floats:
    highest: Floats = np.max(logarithms, axis=-1)
    total: Floats = highest + np.log(np.sum(np.exp(logarithms - highest[..., None]), axis=-1))
    return total
