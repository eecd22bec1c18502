"""How long a batch stays open while the event loop is busy with what may become its next requests.

A transport that accepts one call per turn of the loop (grpc.aio does) spreads over many turns what arrives
together: without lingering, every request would be a batch of its own just when the loop has the least time
for that. While turns are long, the loop is working off arrivals and answers, and waiting costs nobody
anything; after a few short turns there is nothing more to come. Measured by benchmarks/overhead.
"""

# A turn that took less did nothing but ask whether there is something to do.
SHORT_TURN_NS = 30_000
SHORT_TURNS = 3
LONGEST_NS = 2_000_000


class Linger:
    """Asked once per turn of the loop; `start` begins anew. Times are on time.monotonic_ns."""

    __slots__ = ("_end_ns", "_short_turns_left", "_turn_ns")

    def __init__(self) -> None:
        self._end_ns = 0
        self._turn_ns = 0
        self._short_turns_left = 0

    def start(self, now_ns: int, *, may_wait: bool) -> None:
        """With `may_wait` false the first question is answered with no."""
        self._turn_ns = now_ns
        self._end_ns = now_ns + LONGEST_NS if may_wait else now_ns
        self._short_turns_left = SHORT_TURNS

    def goes_on(self, now_ns: int) -> bool:
        """True while the loop was busy in one of its last turns, and not for too long."""
        if now_ns - self._turn_ns < SHORT_TURN_NS:
            self._short_turns_left -= 1
        else:
            self._short_turns_left = SHORT_TURNS
        self._turn_ns = now_ns
        return now_ns < self._end_ns and self._short_turns_left > 0
