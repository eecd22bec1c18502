"""What the gate of errors gives its test of each look, for many runs at once."""

import numpy as np

from benchmarks.rollouts.traffic import Floats, Look


class GateBlocks:
    """Measures how many failures come together."""

    def __init__(self, runs: int) -> None:
        # Failures, and squares of incidents: of all looks, and of the last one.
        self._all: Floats = np.zeros((2, runs))
        self._last: Floats = np.zeros((2, runs))

    @property
    def burst(self) -> Floats:
        """How many failures came together, on average, and in the last look where those were more."""
        return np.maximum(_together(self._all), _together(self._last))

    def close(self, look: Look) -> Floats:
        """Numbers as `Look.numbers`, divided by `burst`."""
        self._last = np.stack([look.stable_events + look.canary_events, look.squares])
        self._all = self._all + self._last
        closed: Floats = np.stack(look.numbers) / self.burst
        return closed


def _together(failures: Floats) -> Floats:
    """1 where each came by itself."""
    return np.maximum(1.0, failures[1] / np.maximum(failures[0], 1.0))
