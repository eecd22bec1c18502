"""What one should not do: a test made for one look, asked at every look."""

import numpy as np
import numpy.typing as npt

from benchmarks.rollouts.traffic import Floats, Look

# Below so many requests of the canary nobody would ask it.
LEAST_REQUESTS = 30
# One-sided bounds of the standard normal distribution.
BOUNDS = {0.05: 1.6449, 0.01: 2.3263}


class ZTest:
    """The pooled test of two proportions over all requests so far."""

    def __init__(self, runs: int) -> None:
        self._sums: Floats = np.zeros((4, runs))

    def add(self, look: Look) -> None:
        self._sums += np.stack(look.numbers)

    def is_harm(self, alpha: float) -> npt.NDArray[np.bool_]:
        n_stable, x_stable, n_canary, x_canary = self._sums
        pooled = (x_stable + x_canary) / np.maximum(n_stable + n_canary, 1)
        variance = pooled * (1 - pooled) * (1 / np.maximum(n_stable, 1) + 1 / np.maximum(n_canary, 1))
        away = x_canary / np.maximum(n_canary, 1) - x_stable / np.maximum(n_stable, 1)
        z = away / np.sqrt(np.where(variance > 0, variance, np.inf))
        is_harm: npt.NDArray[np.bool_] = (n_canary >= LEAST_REQUESTS) & (z > BOUNDS[alpha])
        return is_harm
