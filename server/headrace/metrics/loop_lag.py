"""How late the event loop runs what is due."""

import asyncio

from headrace.metrics.histogram import LATENCY_BOUNDS_NS, Histogram


class LoopLag:
    """Asks the running loop to call back every `interval_s` and counts how late it was."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self.histogram = Histogram(LATENCY_BOUNDS_NS)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._interval_s
        self._handle = loop.call_at(self._due, self._observe, loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _observe(self, loop: asyncio.AbstractEventLoop) -> None:
        self.histogram.observe(max(0, int((loop.time() - self._due) * 1e9)))
        self.start()
