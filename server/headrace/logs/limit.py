"""Keeps one cause from filling the log."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

LINES_PER_SECOND = 10
KEPT_CAUSES = 1024

# Where in the code the line was written: its logger and line number.
_Cause: TypeAlias = tuple[str, int]


@dataclass(slots=True)
class _Window:
    """One second of one cause."""

    began: float
    written: int = 0
    suppressed: int = 0


class RateLimit(logging.Filter):
    """Lets so many lines a second of each cause pass; the next one after that says how many did not."""

    def __init__(
        self, lines_per_second: int = LINES_PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines_per_second = lines_per_second
        self._clock = clock
        self._windows: dict[_Cause, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        window = self._window((record.name, record.lineno), record)
        if window.written >= self._lines_per_second:
            window.suppressed += 1
            return False
        window.written += 1
        return True

    def _window(self, cause: _Cause, record: logging.LogRecord) -> _Window:
        now = self._clock()
        window = self._windows.get(cause)
        if window is not None and now - window.began < 1:
            return window
        if window is not None and window.suppressed:
            record.msg = f"{record.getMessage()} (and {window.suppressed} more like it)"
            record.args = None
        if window is None and len(self._windows) >= KEPT_CAUSES:
            del self._windows[next(iter(self._windows))]
        self._windows[cause] = _Window(now)
        return self._windows[cause]
