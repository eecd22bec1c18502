"""Whether a batch is worth keeping open while the event loop is busy with what will be its next requests.

A transport that accepts one call per turn of the loop (grpc.aio does) spreads over many turns what arrives
together: every request would be a batch of its own just when the loop has the least time for that. So where
requests come densely a batch stays open until a target of rows is reached. While the loop works that
costs nobody anything; once it rests, the batch is closed, and the target becomes what had come by then, or
less. Measured by benchmarks/overhead.
"""

import resource
import time
from typing import NamedTuple

# Requests that follow each other more closely than this, on average, are dense. Longer gaps count as twice
# that: the loop may just have answered a batch, or the machine have been busy elsewhere.
DENSE_GAP_NS = 1_000_000
LONGEST_GAP_NS = 2 * DENSE_GAP_NS
# The weight of the newest gap in the average, as a shift.
AVERAGE_SHIFT = 3
# How often an open batch is looked at, and how long it may stay open.
TICK_S = 0.001
LONGEST_NS = 10_000_000
# The share of a tick for which the loop must have worked to be called busy, if it rested at all.
BUSY_SHARE = 0.75
# The first target, in rows. A batch that was closed by a rest leaves this share of its size as the next
# target, which then stays for so many batches; reached without a rest, it grows by one part in this many.
FIRST_TARGET = 2
KEPT_SHARE = 0.75
KEPT_BATCHES = 32
GROWTH = 4

# Linux has it; elsewhere the process stands for its busiest thread.
_OF_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class LoopUse(NamedTuple):
    """What the event loop's thread has done up to a point `now_ns` on time.monotonic_ns.

    `worked_ns` is the processor time it has used, `rests` how often it has waited for something to do; where
    it would have worked, but the machine did something else, neither grows.
    """

    now_ns: int
    worked_ns: int
    rests: int


def loop_use() -> LoopUse:
    """The use of the calling thread."""
    rests = resource.getrusage(_OF_THREAD).ru_nvcsw
    return LoopUse(time.monotonic_ns(), time.thread_time_ns(), rests)


class Linger:
    """Learns from each batch how large the next one should become, up to `limit` rows."""

    __slots__ = ("_gap_ns", "_kept", "_last_put_ns", "_limit", "_rows", "_start_ns", "_use", "target")

    _use: LoopUse

    def __init__(self, limit: int) -> None:
        self.target = min(FIRST_TARGET, limit)
        self._limit = limit
        self._kept = 0
        self._gap_ns = LONGEST_GAP_NS
        self._last_put_ns = 0
        self._start_ns = 0
        self._rows = 0

    def arrived(self, now_ns: int) -> None:
        """Told of every request."""
        gap_ns = min(now_ns - self._last_put_ns, LONGEST_GAP_NS)
        self._last_put_ns = now_ns
        self._gap_ns += (gap_ns - self._gap_ns) >> AVERAGE_SHIFT

    def pays(self, rows: int) -> bool:
        """True where the request of `rows` rows that has just arrived should wait for others."""
        return self._gap_ns < DENSE_GAP_NS and not self._reaches(rows)

    def start(self, rows: int, use: LoopUse) -> None:
        """Told of a batch that is kept open, with `rows` rows so far."""
        self._rows = rows
        self._start_ns = use.now_ns
        self._use = use

    def is_full(self, rows: int) -> bool:
        """Told of `rows` more rows: True where the batch should be closed now."""
        self._rows += rows
        return self._reaches(self._rows)

    def goes_on(self, use: LoopUse) -> bool:
        """At a tick: False where the batch should be closed with what has come."""
        last, self._use = self._use, use
        is_busy = use.rests == last.rests or (
            use.worked_ns - last.worked_ns >= BUSY_SHARE * (use.now_ns - last.now_ns)
        )
        if is_busy and use.now_ns - self._start_ns < LONGEST_NS:
            return True
        self.target = min(self._limit, max(1, int(self._rows * KEPT_SHARE)))
        self._kept = KEPT_BATCHES
        return False

    def _reaches(self, rows: int) -> bool:
        """True where `rows` are enough; the target then is that of the next batch."""
        if rows < self.target:
            return False
        if self._kept:
            self._kept -= 1
        else:
            self.target = min(self._limit, self.target + max(1, self.target // GROWTH))
        return True
