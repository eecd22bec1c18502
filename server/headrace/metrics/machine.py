"""The machine's processors and memory, as Linux tells them in /proc."""

import time
from collections.abc import Callable
from pathlib import Path

_LEAST_INTERVAL_S = 1.0
_KIB = 1024


class Machine:
    """Reads /proc when asked; without one (another system) there are no figures."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._stat = proc / "stat"
        self._meminfo = proc / "meminfo"
        self._clock = clock
        self._read_at = clock()
        self._busy, self._total = self._processor_ticks()
        self._utilization = 0.0

    def utilization(self) -> float | None:
        """The share of all processors' time that was used since it was asked before, 0 to 1.

        Within a second of the last answer that answer is given again, so that several scrapers do not
        leave each other intervals of a few ticks.
        """
        if not self._total:
            return None
        now = self._clock()
        if now - self._read_at >= _LEAST_INTERVAL_S:
            busy, total = self._processor_ticks()
            if total > self._total:
                self._utilization = (busy - self._busy) / (total - self._total)
            self._busy, self._total, self._read_at = busy, total, now
        return self._utilization

    def memory(self) -> tuple[int, int] | None:
        """Bytes of memory in all and in use (what is not available to a new process)."""
        try:
            lines = self._meminfo.read_text().splitlines()
        except OSError:
            return None
        figures = {
            name: int(rest.split()[0]) * _KIB for name, _, rest in (line.partition(":") for line in lines)
        }
        total, available = figures.get("MemTotal"), figures.get("MemAvailable")
        return None if total is None or available is None else (total, total - available)

    def _processor_ticks(self) -> tuple[int, int]:
        """Ticks used and ticks in all: user nice system idle iowait irq softirq steal (proc(5))."""
        try:
            with self._stat.open() as stat:
                ticks = [int(figure) for figure in stat.readline().split()[1:9]]
        except OSError:
            return 0, 0
        return sum(ticks) - sum(ticks[3:5]), sum(ticks)
