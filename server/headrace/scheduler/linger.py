"""Whether a batch is worth keeping open while the event loop is busy with what will be its next requests.

A transport that accepts one call per turn of the loop (grpc.aio does) spreads over many turns what arrives
together: every request would be a batch of its own just when the loop has the least time for that. So where
requests come densely a batch stays open for a short while. Where the loop was busy meanwhile, that cost
nobody anything; where it rested, it was a waste, and is not done again for some time. Measured by
benchmarks/overhead.
"""

# Requests that follow each other more closely than this, on average, are dense.
DENSE_GAP_NS = 1_000_000
LONGEST_GAP_NS = 10 * DENSE_GAP_NS
# The weight of the newest gap in the average, as a shift.
AVERAGE_SHIFT = 3
# How long a batch stays open, and with how many requests it is large enough.
LINGER_S = 0.002
ENOUGH_REQUESTS = 32
# The share of the time that the loop must have worked for lingering to have cost nothing.
BUSY_SHARE = 0.5
# How many batches are closed at once after one that stayed open for nothing.
BATCHES_WITHOUT = 32


class Linger:
    """Learns from each time whether the next one pays.

    `now_ns` is on time.monotonic_ns, `worked_ns` on time.thread_time_ns of the loop's thread.
    """

    __slots__ = ("_gap_ns", "_last_put_ns", "_pause", "_start_ns", "_start_worked_ns")

    def __init__(self) -> None:
        self._gap_ns = LONGEST_GAP_NS
        self._last_put_ns = 0
        self._pause = 0
        self._start_ns = 0
        self._start_worked_ns = 0

    def arrived(self, now_ns: int) -> None:
        """Told of every request."""
        gap_ns = min(now_ns - self._last_put_ns, LONGEST_GAP_NS)
        self._last_put_ns = now_ns
        self._gap_ns += (gap_ns - self._gap_ns) >> AVERAGE_SHIFT

    def pays(self) -> bool:
        """True where the request that has just arrived should wait for others to share its batch."""
        if self._gap_ns >= DENSE_GAP_NS:
            return False
        if self._pause:
            self._pause -= 1
            return False
        return True

    def start(self, now_ns: int, worked_ns: int) -> None:
        self._start_ns = now_ns
        self._start_worked_ns = worked_ns

    def end(self, now_ns: int, worked_ns: int) -> None:
        busy_ns = worked_ns - self._start_worked_ns
        if busy_ns < BUSY_SHARE * (now_ns - self._start_ns):
            self._pause = BATCHES_WITHOUT
