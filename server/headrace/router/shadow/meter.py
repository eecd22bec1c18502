"""What processors, this process and its event loop have done: figures to take differences of."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
# Of a line of /proc/stat behind its name: idle and iowait (proc(5)).
_IDLE = slice(3, 5)


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds, each since some beginning: of the clock, of processor time that the process and the calling
    thread have used, and of idle time of the processors that the process may use (None: not known).
    """

    wall_s: float
    process_s: float
    loop_s: float
    idle_s: float | None


class Meter:
    """Reads on the event loop's thread; /proc/stat tells of other programs on the same processors."""

    def __init__(self, stat: Path = _STAT, clock: Callable[[], float] = time.monotonic) -> None:
        self._stat = stat
        self._clock = clock
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._names = _processors()

    def read(self) -> Reading:
        return Reading(self._clock(), time.process_time(), time.thread_time(), self._idle_s())

    def _idle_s(self) -> float | None:
        """None where /proc/stat is not there, or says nothing of these processors."""
        ticks: list[int] = []
        try:
            with self._stat.open() as lines:
                for line in lines:
                    name, *figures = line.split()
                    if not name.startswith("cpu"):
                        break
                    if name in self._names:
                        ticks += map(int, figures[_IDLE])
        except (OSError, ValueError):
            return None
        return sum(ticks) / self._ticks_per_s if any(ticks) else None


def _processors() -> frozenset[str]:
    """The names in /proc/stat of the processors that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset(f"cpu{number}" for number in range(os.cpu_count() or 1))
    return frozenset(f"cpu{number}" for number in os.sched_getaffinity(0))
