"""A histogram that costs little to raise, with the bounds that the server uses."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

LATENCY_BOUNDS_NS: tuple[int, ...] = tuple(
    int(microseconds * 1000)
    for microseconds in (
        50, 100, 200, 400, 700, 1_000, 2_000, 4_000, 7_000, 10_000, 20_000, 40_000, 70_000, 100_000,
        200_000, 400_000, 700_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
    )
)  # fmt: skip
BATCH_SIZE_BOUNDS: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Counts per bucket, raised on the event loop without locks; `bounds` are inclusive upper ends."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int, times: int = 1) -> None:
        """Counts `value` as often as `times` says."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: Iterable[int]) -> None:
        """Counts each of `values`."""
        bounds, counts, total = self.bounds, self.counts, 0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total += total
