"""Guard rails: limits for the canary's last seconds that end a rollout at once."""

from collections import deque
from typing import NamedTuple

from headrace.core.plan import GuardRails
from headrace.rollout.tally import Block

# A 99th percentile is over a limit where more than one request in a hundred is.
SLOW_SHARE = 0.01
# No less, however small the share: with ten requests one slow one is a tenth.
LEAST_SLOW = 5


class _Slice(NamedTuple):
    at_s: float
    requests: int
    failures: int
    slow: int


class RailWatch:
    """Keeps what the canary did within the window; times are on any steady clock, in seconds."""

    def __init__(self, rails: GuardRails) -> None:
        self._rails = rails
        self._slices: deque[_Slice] = deque()

    def add(self, now_s: float, canary: Block) -> None:
        limit_ms = self._rails.latency_ms
        slow = sum(ns > limit_ms * 1e6 for ns in canary.latencies_ns) if limit_ms is not None else 0
        self._slices.append(_Slice(now_s, canary.requests, canary.failures, slow))
        while self._slices[0].at_s <= now_s - self._rails.window_s:
            self._slices.popleft()

    def tripped(self) -> str:
        """Which limit the canary passed, in a sentence, or "" where it passed none."""
        rails = self._rails
        requests = sum(each.requests for each in self._slices)
        if requests < rails.min_requests:
            return ""
        within = f"of its last {requests} requests within {rails.window_s:g} s"
        failures = sum(each.failures for each in self._slices)
        if failures > rails.error_share * requests:
            share = failures / requests
            return f"{failures} {within} failed ({share:.1%}, the guard rail is {rails.error_share:.1%})"
        slow = sum(each.slow for each in self._slices)
        if slow > SLOW_SHARE * requests and slow >= LEAST_SLOW:
            return f"{slow} {within} took more than the guard rail's {rails.latency_ms:g} ms"
        return ""
