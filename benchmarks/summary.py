"""Numbers about samples."""

from collections.abc import Sequence
from math import ceil


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that `percent` % of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line of least squares through `points`; 0 where they have all the same x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
