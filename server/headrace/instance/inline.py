"""An instance on the event loop itself, for models that take less time than handing a batch to a thread.

Measured by benchmarks/overhead: a thread must win the GIL back from the loop after each execution.
"""

import asyncio
import time

from headrace.backend.base import Backend
from headrace.instance.work import Finished, Work, execute

# The weight of the newest execution in the moving average, as a shift.
AVERAGE_SHIFT = 4


class InlineInstance:
    """Blocks the loop while it executes, which must therefore be short: `is_slow` tells when it is not.

    `is_slow` compares a moving average of the processor time that executions take with `slow_ns`: a busy
    machine does not make a model slow.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        loop: asyncio.AbstractEventLoop,
        finished: Finished,
        slow_ns: int,
    ) -> None:
        self.name = name
        self.backend = backend
        self._loop = loop
        self._finished = finished
        self._slow_ns = slow_ns
        self._average_ns = 0

    @property
    def is_slow(self) -> bool:
        return self._average_ns > self._slow_ns

    def start(self) -> None:
        """Nothing to start: the loop runs already."""

    def execute(self, work: Work) -> None:
        """Runs `work` now; it is told of on the loop's next turn, so that what comes meanwhile is joined."""
        started_ns = time.thread_time_ns()
        error = execute(work, self.backend)
        self._average_ns += (time.thread_time_ns() - started_ns - self._average_ns) >> AVERAGE_SHIFT
        self._loop.call_soon(self._finished, self, work, error)

    def stop(self) -> None:
        self.backend.close()

    def join(self, timeout_s: float) -> None:
        """Nothing to wait for: no work outlasts `execute`."""
