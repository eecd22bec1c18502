"""How long a batch stays open while the event loop is busy with what may become its next requests.

A transport that accepts one call per turn of the loop (grpc.aio does) spreads over many turns what arrives
together: without lingering, every request would be a batch of its own just when the loop has the least time
for that. While turns are long, the loop is working off arrivals and answers, and waiting costs nobody
anything; once they stay short there is nothing more to come. Measured by benchmarks/overhead.
"""

# A turn that took less did nothing but ask whether there is something to do.
SHORT_TURN_NS = 10_000
# How long only short turns may follow each other: a thread of grpc.aio's may be about to bring the next call.
QUIET_NS = 60_000
LONGEST_NS = 2_000_000


class Linger:
    """Asked once per turn of the loop; `start` begins anew. Times are on time.monotonic_ns."""

    __slots__ = ("_busy_ns", "_end_ns", "_turn_ns")

    def __init__(self) -> None:
        self._busy_ns = 0
        self._end_ns = 0
        self._turn_ns = 0

    def start(self, now_ns: int, *, may_wait: bool) -> None:
        """With `may_wait` false the first question is answered with no."""
        self._busy_ns = now_ns
        self._turn_ns = now_ns
        self._end_ns = now_ns + LONGEST_NS if may_wait else now_ns

    def goes_on(self, now_ns: int) -> bool:
        """True while the loop was busy a short while ago, and not for too long."""
        if now_ns - self._turn_ns >= SHORT_TURN_NS:
            self._busy_ns = now_ns
        self._turn_ns = now_ns
        return now_ns < self._end_ns and now_ns - self._busy_ns < QUIET_NS
