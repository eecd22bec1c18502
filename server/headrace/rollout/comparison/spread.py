"""How values are spread, in constant memory: counts on a logarithmic scale, and what can be told exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scale:
    """From `lowest` on, `bins` bins, each `10 ** (1 / per_decade)` times as wide as the one before."""

    lowest: float
    decades: int
    per_decade: int

    @property
    def bins(self) -> int:
        return self.decades * self.per_decade

    def edge(self, index: int) -> float:
        """The lower end of a bin."""
        return float(self.lowest * 10.0 ** (index / self.per_decade))

    def middle(self, index: int) -> float:
        """What stands for a bin's values: off by a factor of at most `10 ** (0.5 / per_decade)`."""
        return sqrt(self.edge(index) * self.edge(index + 1))


# Nanoseconds: 1 µs to 1000 s, quantiles off by less than 6%.
LATENCY = Scale(1e3, decades=9, per_decade=20)
# Differences of outputs.
DIFFERENCE = Scale(1e-12, decades=24, per_decade=2)


class Spread:
    """Values from 0 on; those below the scale are counted together, and so are those above it."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.count = 0
        self.total = 0.0
        self.least = 0.0
        self.most = 0.0
        self.below_count = 0
        self.above_count = 0
        self._counts = np.zeros(scale.bins, np.int64)

    @property
    def mean(self) -> float:
        """0 where there are no values."""
        return self.total / self.count if self.count else 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Counts each of `values`."""
        if not values.size:
            return
        scale = self.scale
        least, most = float(values.min()), float(values.max())
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, most)
        self.count += values.size
        self.total += float(values.sum())
        inside = values[values >= scale.lowest]
        self.below_count += values.size - inside.size
        places = np.floor(np.log10(inside / scale.lowest) * scale.per_decade).astype(np.int64)
        is_above = places >= scale.bins
        self.above_count += int(is_above.sum())
        self._counts += np.bincount(places[~is_above], minlength=scale.bins)

    def bins(self) -> list[tuple[int, int]]:
        """The index and the count of each bin that has any."""
        return [(int(index), int(self._counts[index])) for index in np.flatnonzero(self._counts)]

    def quantile(self, share: float) -> float:
        """The value that `share` of all values do not exceed, as its bin's middle; 0 without values."""
        rank = share * self.count
        so_far = self.below_count
        if not self.count or (so_far and so_far >= rank):
            return self.least
        for index, count in self.bins():
            so_far += count
            if so_far >= rank:
                return min(max(self.scale.middle(index), self.least), self.most)
        return self.most

    def to_document(self) -> dict[str, Any]:
        """Plain JSON types; quantiles and mean are there for readers, and not read again."""
        return {
            "lowest": self.scale.lowest,
            "decades": self.scale.decades,
            "per_decade": self.scale.per_decade,
            "count": self.count,
            "total": self.total,
            "least": self.least,
            "most": self.most,
            "below": self.below_count,
            "above": self.above_count,
            "bins": [[index, count] for index, count in self.bins()],
            "mean": self.mean,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Spread":
        spread = cls(Scale(document["lowest"], document["decades"], document["per_decade"]))
        spread.count = document["count"]
        spread.total = document["total"]
        spread.least = document["least"]
        spread.most = document["most"]
        spread.below_count = document["below"]
        spread.above_count = document["above"]
        for index, count in document["bins"]:
            spread._counts[index] = count
        return spread


class SignedSpread:
    """Values of either sign."""

    def __init__(self, scale: Scale) -> None:
        self.negative = Spread(scale)
        self.positive = Spread(scale)

    @property
    def count(self) -> int:
        return self.negative.count + self.positive.count

    @property
    def mean(self) -> float:
        """0 where there are no values."""
        return (self.positive.total - self.negative.total) / self.count if self.count else 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Counts each of `values`."""
        self.negative.add(-values[values < 0])
        self.positive.add(values[values >= 0])

    def quantile(self, share: float) -> float:
        """As Spread's, over both signs."""
        rank = share * self.count
        if rank <= self.negative.count and self.negative.count:
            return -self.negative.quantile(1 - rank / self.negative.count)
        return self.positive.quantile((rank - self.negative.count) / max(1, self.positive.count))

    def to_document(self) -> dict[str, Any]:
        return {
            "negative": self.negative.to_document(),
            "positive": self.positive.to_document(),
            "mean": self.mean,
            "p5": self.quantile(0.05),
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SignedSpread":
        spread = cls(LATENCY)
        spread.negative = Spread.from_document(document["negative"])
        spread.positive = Spread.from_document(document["positive"])
        return spread
