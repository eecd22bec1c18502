"""Where copies wait for their shadow: few, small, and not for long."""

from collections import deque
from dataclasses import dataclass

from headrace.core.request import InferenceRequest, Timings
from headrace.router.shadow.pair import Answer

MAX_COUNT = 256
MAX_BYTES = 64 * 1024 * 1024
MAX_AGE_NS = 5_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """A request with its live answer, given at `answered_ns` on `time.monotonic_ns`."""

    request: InferenceRequest
    live_version: int
    live: Answer
    live_timings: Timings | None
    answered_ns: int
    byte_size: int


class WaitingCopies:
    """First in, first out. What is taken counts among the bytes until it is released."""

    def __init__(
        self, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES, max_age_ns: int = MAX_AGE_NS
    ) -> None:
        self.byte_count = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_age_ns = max_age_ns
        self._copies: deque[Copy] = deque()

    def __len__(self) -> int:
        return len(self._copies)

    def put(self, copy: Copy) -> int:
        """Adds `copy`, and says how many of the oldest had to leave for that; it may be one of them."""
        self._copies.append(copy)
        self.byte_count += copy.byte_size
        dropped = 0
        while self._copies and (len(self._copies) > self._max_count or self.byte_count > self._max_bytes):
            self._drop()
            dropped += 1
        return dropped

    def take(self) -> Copy:
        """The oldest; to be released later."""
        return self._copies.popleft()

    def release(self, copy: Copy) -> None:
        """Its tensors are needed no more."""
        self.byte_count -= copy.byte_size

    def drop_late(self, now_ns: int) -> int:
        """Drops those that have waited for too long, and says how many."""
        dropped = 0
        while self._copies and now_ns - self._copies[0].answered_ns > self._max_age_ns:
            self._drop()
            dropped += 1
        return dropped

    def keep(self, count: int) -> int:
        """Drops the oldest so that at most `count` are left, and says how many."""
        dropped = max(0, len(self._copies) - count)
        for _ in range(dropped):
            self._drop()
        return dropped

    def _drop(self) -> None:
        self.byte_count -= self._copies.popleft().byte_size
