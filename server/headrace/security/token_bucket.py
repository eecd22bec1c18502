"""A token bucket: so many requests a second, and a burst of them at once."""

import math
from dataclasses import dataclass

NS_PER_S = 1_000_000_000
# Longer than anything here takes; a bucket that was empty so long ago is full.
FOREVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket fills, a token every `token_ns`, and how much it holds: what `burst_ns` fill."""

    token_ns: int
    burst_ns: int

    @classmethod
    def of(cls, requests_per_s: float, burst: float | None) -> "Rate":
        """`burst` None is what comes in a second, and one request at least."""
        # Rounded up: over a long time rather a request too few than one too many.
        token_ns = math.ceil(min(NS_PER_S / requests_per_s, FOREVER_NS))
        tokens = max(1.0, requests_per_s) if burst is None else burst
        return cls(token_ns, min(max(token_ns, int(tokens * token_ns)), FOREVER_NS))


class TokenBucket:
    """Holds tokens as the time it took to fill them in: all of its state is when it was empty.

    So there is no timer, a clock that stands still fills nothing, and one that jumps fills to the burst. Time
    is given in nanoseconds and never goes back (the limiter sees to that). A new bucket is full.
    """

    __slots__ = ("_burst_ns", "_empty_at_ns", "_token_ns")

    def __init__(self, rate: Rate) -> None:
        self._token_ns = rate.token_ns
        self._burst_ns = rate.burst_ns
        self._empty_at_ns = -FOREVER_NS

    def wait_ns(self, now_ns: int) -> int:
        """How long until there is a token; 0 or less where there is one."""
        return self._empty_at_ns + self._token_ns - now_ns

    def take(self, now_ns: int) -> None:
        """Takes a token; `wait_ns` has just said that there is one."""
        full_since_ns = now_ns - self._burst_ns
        if self._empty_at_ns < full_since_ns:
            self._empty_at_ns = full_since_ns
        self._empty_at_ns += self._token_ns

    def untouched_ns(self, now_ns: int) -> int:
        """How long it has filled since it was empty, even beyond the burst."""
        return now_ns - self._empty_at_ns

    def remaining_ns(self, now_ns: int) -> int:
        """How long until it is full, as a new one is; 0 or less where it is."""
        return self._empty_at_ns + self._burst_ns - now_ns
