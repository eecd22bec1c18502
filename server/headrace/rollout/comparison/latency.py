"""How long a live version and a shadow took for the same requests, in constant memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.rollout.comparison.spread import LATENCY, SignedSpread, Spread


class LatencyStatistics:
    """Nanoseconds; `difference` is the shadow's time less the live version's, pair by pair."""

    def __init__(self) -> None:
        self.live = Spread(LATENCY)
        self.shadow = Spread(LATENCY)
        self.difference = SignedSpread(LATENCY)

    def add(self, live_ns: NDArray[np.float64], shadow_ns: NDArray[np.float64]) -> None:
        """The times of some pairs."""
        self.live.add(live_ns)
        self.shadow.add(shadow_ns)
        self.difference.add(shadow_ns - live_ns)

    def to_document(self) -> dict[str, Any]:
        return {
            "live": self.live.to_document(),
            "shadow": self.shadow.to_document(),
            "difference": self.difference.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "LatencyStatistics":
        statistics = cls()
        statistics.live = Spread.from_document(document["live"])
        statistics.shadow = Spread.from_document(document["shadow"])
        statistics.difference = SignedSpread.from_document(document["difference"])
        return statistics
