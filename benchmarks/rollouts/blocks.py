"""The blocks that the gate of errors gives its test, for many runs at once."""

import numpy as np

from benchmarks.rollouts.traffic import Floats, Look


class GateBlocks:
    """Keeps a block open until both versions had requests, and measures how many failures come together."""

    def __init__(self, runs: int) -> None:
        # Of the open block.
        self._open: Floats = np.zeros((4, runs))
        # Failures, and squares of incidents: of all looks, and of the open block.
        self._all: Floats = np.zeros((2, runs))
        self._block: Floats = np.zeros((2, runs))

    @property
    def burst(self) -> Floats:
        """How many failures came together, on average, and in the open block where those were more."""
        return np.maximum(_together(self._all), _together(self._block))

    def close(self, look: Look) -> Floats:
        """Numbers as `Look.numbers`, divided by `burst`; 0 for the runs whose block stays open."""
        self._open = self._open + np.stack(look.numbers)
        failures = np.stack([look.stable_events + look.canary_events, look.squares])
        self._all = self._all + failures
        self._block = self._block + failures
        stable_requests, _, canary_requests, _ = self._open
        is_closed = (stable_requests > 0) & (canary_requests > 0)
        closed: Floats = np.where(is_closed, self._open / self.burst, 0.0)
        self._open = np.where(is_closed, 0.0, self._open)
        self._block = np.where(is_closed, 0.0, self._block)
        return closed


def _together(failures: Floats) -> Floats:
    """1 where each came by itself."""
    return np.maximum(1.0, failures[1] / np.maximum(failures[0], 1.0))
