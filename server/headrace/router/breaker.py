"""A circuit breaker: takes a version whose executions fail out of its route, and tries it again later."""

from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from headrace.core.route import Fallback
from headrace.errors import HeadraceError, Internal, WorkerLost

# The window is kept in so many slices.
SLICES = 10

# What says something about the version, not about the request, its caller or the load (docs/rollouts.md).
FAULTS = (Internal, WorkerLost)


class BreakerState(StrEnum):
    """`closed` is the good one: requests go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Timer(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None: ...


class Breaker:
    """Told of each batch of one version. `changed` is called after each change of the state.

    `call_later(delay_s, callback)` is the event loop's, `clock` gives seconds.
    """

    only_shared = False

    def __init__(
        self,
        fallback: Fallback,
        changed: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], Timer],
        clock: Callable[[], float],
    ) -> None:
        self.state = BreakerState.CLOSED
        self._fallback = fallback
        self._changed = changed
        self._call_later = call_later
        self._clock = clock
        self._slice_s = fallback.window_s / SLICES
        self._slices: deque[list[float]] = deque()
        self._probed = 0
        self._timer: Timer | None = None

    def answered(self, total_ns: Sequence[int]) -> None:
        """So many requests of a batch went well."""
        if self.state is BreakerState.HALF_OPEN:
            self._probed += len(total_ns)
            if self._probed >= self._fallback.probes:
                self._enter(BreakerState.CLOSED)
        elif self.state is BreakerState.CLOSED:
            self._count(len(total_ns), 0)

    def failed(self, errors: Sequence[HeadraceError]) -> None:
        """Requests failed, with these errors."""
        faults = sum(isinstance(error, FAULTS) for error in errors)
        if not faults or self.state is BreakerState.OPEN:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.OPEN)
            return
        self._count(faults, faults)
        requests = sum(each[1] for each in self._slices)
        failures = sum(each[2] for each in self._slices)
        if requests >= self._fallback.min_requests and failures >= self._fallback.failure_ratio * requests:
            self._enter(BreakerState.OPEN)

    def stop(self) -> None:
        """It is told of nothing more, and does not try again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, requests: int, failures: int) -> None:
        now_s = self._clock()
        if not self._slices or now_s >= self._slices[-1][0] + self._slice_s:
            self._slices.append([now_s, 0, 0])
            while self._slices[0][0] <= now_s - self._fallback.window_s:
                self._slices.popleft()
        self._slices[-1][1] += requests
        self._slices[-1][2] += failures

    def _enter(self, state: BreakerState) -> None:
        self.state = state
        self._slices.clear()
        self._probed = 0
        if state is BreakerState.OPEN:
            self._timer = self._call_later(self._fallback.open_s, self._try_again)
        self._changed()

    def _try_again(self) -> None:
        self._timer = None
        self._enter(BreakerState.HALF_OPEN)
