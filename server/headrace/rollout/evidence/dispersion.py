"""How much more the counts of blocks vary than those of independent requests would."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.rollout.evidence.projection import Floats

# Stretches of so many blocks are looked at: 0.25 s to 16 s where a block is a quarter of a second. What is
# correlated for longer than the longest looks like a rate that changes.
SCALES = np.array([1, 4, 16, 64])
# At first, as if so many stretches of each length had varied so many times as much as they should.
EXPECTED_WEIGHT = 4.0
EXPECTED_FACTOR = 3.0
# How many stretches of one length are remembered.
MEMORY = 1000.0
MOST = 100.0


class Dispersion:
    """The variance of a version's counts of events over the binomial one; for one, or for many at once.

    So many times less is said by correlated requests than by as many independent ones (as in
    quasi-likelihood). Stretches of several lengths are looked at, and the largest factor is taken: the longer
    ones see what is correlated over seconds.
    """

    __slots__ = ("_blocks", "_excess", "_squares", "_stretches", "_variance")

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        # Of the stretches that are closed: how many, and their squared distances over their variances.
        self._stretches: Floats = np.full((*shape, len(SCALES)), EXPECTED_WEIGHT)
        self._squares: Floats = np.full((*shape, len(SCALES)), EXPECTED_WEIGHT * EXPECTED_FACTOR)
        # Of the open ones: blocks, events above the expected, and the variance that these should have.
        self._blocks: Floats = np.zeros(len(SCALES))
        self._excess: Floats = np.zeros((*shape, len(SCALES)))
        self._variance: Floats = np.zeros((*shape, len(SCALES)))

    @property
    def factor(self) -> Floats:
        """At least 1, at most `MOST`."""
        factor: Floats = np.clip(np.max(self._squares / self._stretches, axis=-1), 1.0, MOST)
        return factor

    def add(self, requests: Floats, events: Floats, rate: Floats) -> None:
        """Told of a block, and of the rate that was expected of it."""
        self._excess = self._excess + (events - requests * rate)[..., None]
        self._variance = self._variance + (requests * rate * (1 - rate))[..., None]
        self._blocks = self._blocks + 1
        self._close()

    def to_document(self) -> dict[str, Any]:
        return {
            "stretches": self._stretches.tolist(),
            "squares": self._squares.tolist(),
            "blocks": self._blocks.tolist(),
            "excess": self._excess.tolist(),
            "variance": self._variance.tolist(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Goes on where `to_document` was called."""
        self._stretches = np.array(document["stretches"], dtype=float)
        self._squares = np.array(document["squares"], dtype=float)
        self._blocks = np.array(document["blocks"], dtype=float)
        self._excess = np.array(document["excess"], dtype=float)
        self._variance = np.array(document["variance"], dtype=float)

    def _close(self) -> None:
        is_full = self._blocks >= SCALES
        counts = is_full & (self._variance > 0)
        square = self._excess**2 / np.where(self._variance > 0, self._variance, 1.0)
        kept = np.where(counts & (self._stretches >= MEMORY), 1 - 1 / MEMORY, 1.0)
        self._squares = self._squares * kept + np.where(counts, square, 0.0)
        self._stretches = self._stretches * kept + counts
        self._excess = np.where(is_full, 0.0, self._excess)
        self._variance = np.where(is_full, 0.0, self._variance)
        self._blocks = np.where(is_full, 0.0, self._blocks)
