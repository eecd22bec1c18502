"""Whether a batch is worth keeping open while the event loop is busy with what will be its next requests.

A transport that accepts one call per turn of the loop (grpc.aio does) spreads over many turns what arrives
together: every request would be a batch of its own just when the loop has the least time for that. So while
the loop is what limits the server, a batch stays open until a target of rows is reached. As long as more
come, or the loop works, that costs nobody anything; once neither is so, the batch is closed, and the target
falls towards what had come by then. Measured by benchmarks/overhead.
"""

import resource
import time
from collections.abc import Callable
from typing import NamedTuple

# The share of its time for which the loop must work to be what limits the server; how often that is measured,
# and over how long a time it is averaged.
LIMITING_SHARE = 0.6
WINDOW_NS = 30_000_000
AVERAGED_NS = 100_000_000
# How often an open batch is looked at, and how long it may stay open.
TICK_S = 0.001
LONGEST_NS = 10_000_000
# The share of a tick for which the loop must have worked to be called busy, if it rested at all.
BUSY_SHARE = 0.75
# The first target, in rows. A rest makes this share of the batch the next target, but lets it fall by no
# more than that at once: a rest may have been the machine's, not the callers'. Targets reached without a
# rest grow by one part in so many, each time that many batches after the last rest.
FIRST_TARGET = 2
KEPT_SHARE = 0.75
SLOWEST_FALL = 0.97
KEPT_BATCHES = 12
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


def _share(before: LoopUse, after: LoopUse) -> float:
    """The share of the time between two points for which the thread worked."""
    return (after.worked_ns - before.worked_ns) / max(1, after.now_ns - before.now_ns)


class Linger:
    """Learns from each batch how large the next one should become, up to `limit` rows."""

    __slots__ = (
        "_busy_share",
        "_has_grown",
        "_kept",
        "_last_look",
        "_limit",
        "_measure",
        "_rows",
        "_start_ns",
        "_window",
        "target",
    )

    _last_look: LoopUse

    def __init__(self, limit: int, measure: Callable[[], LoopUse] = loop_use) -> None:
        self.target = min(FIRST_TARGET, limit)
        self._limit = limit
        self._measure = measure
        self._kept = 0
        self._window = LoopUse(0, 0, 0)
        self._busy_share = 0.0
        self._start_ns = 0
        self._rows = 0
        self._has_grown = False

    def pays(self, rows: int, now_ns: int) -> bool:
        """True where the request of `rows` rows that arrives at `now_ns` should wait for others."""
        if now_ns - self._window.now_ns >= WINDOW_NS:
            self._see_window()
        return self._busy_share >= LIMITING_SHARE and not self._reaches(rows)

    def start(self, rows: int) -> None:
        """Told of a batch that is kept open, with `rows` rows so far."""
        self._rows = rows
        self._has_grown = False
        self._last_look = self._measure()
        self._start_ns = self._last_look.now_ns

    def is_full(self, rows: int) -> bool:
        """Told of `rows` more rows: True where the batch should be closed now."""
        self._rows += rows
        self._has_grown = True
        return self._reaches(self._rows)

    def goes_on(self) -> bool:
        """At a tick: False where the batch should be closed with what has come."""
        last, self._last_look = self._last_look, self._measure()
        use = self._last_look
        has_grown, self._has_grown = self._has_grown, False
        is_busy = has_grown or use.rests == last.rests or _share(last, use) >= BUSY_SHARE
        if is_busy and use.now_ns - self._start_ns < LONGEST_NS:
            return True
        self._fall()
        return False

    def _see_window(self) -> None:
        """Adds what the loop did since the last time to its average."""
        before, self._window = self._window, self._measure()
        weight = min(1.0, (self._window.now_ns - before.now_ns) / AVERAGED_NS)
        self._busy_share += (_share(before, self._window) - self._busy_share) * weight

    def _fall(self) -> None:
        fallen = max(int(self._rows * KEPT_SHARE), int(self.target * SLOWEST_FALL))
        self.target = min(self._limit, max(1, fallen))
        self._kept = KEPT_BATCHES

    def _reaches(self, rows: int) -> bool:
        """True where `rows` are enough; the target then is that of the next batch."""
        if rows < self.target:
            return False
        if self._kept:
            self._kept -= 1
        else:
            self.target = min(self._limit, self.target + max(1, self.target // GROWTH))
        return True
