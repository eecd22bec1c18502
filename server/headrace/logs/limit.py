"""Keeps one cause from filling the log."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

LINES_PER_SECOND = 10
KEPT_CAUSES = 1024


@dataclass(slots=True)
class _Window:
    """One second of one cause."""

    began: float
    written: int = 0
    suppressed: int = 0


class LimitedLog:
    """Writes at most so many lines a second of each cause, and afterwards how many more there were."""

    def __init__(
        self,
        logger: logging.Logger,
        lines_per_second: int = LINES_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._lines_per_second = lines_per_second
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def write(self, level: int, cause: str, message: str, *arguments: object) -> None:
        """Logs `message % arguments`, unless `cause` has had its lines for this second."""
        now = self._clock()
        window = self._windows.get(cause)
        if window is None or now - window.began >= 1:
            window = self._renew(cause, now)
        if window.written >= self._lines_per_second:
            window.suppressed += 1
            return
        window.written += 1
        self._logger.log(level, message, *arguments)

    def flush(self) -> None:
        """Says how many lines of each cause were not written so far; call it now and then, and at the end."""
        for cause, window in self._windows.items():
            self._say_suppressed(cause, window)

    def _renew(self, cause: str, now: float) -> _Window:
        old = self._windows.pop(cause, None)
        if old is not None:
            self._say_suppressed(cause, old)
        elif len(self._windows) >= KEPT_CAUSES:
            oldest = next(iter(self._windows))
            self._say_suppressed(oldest, self._windows.pop(oldest))
        window = self._windows[cause] = _Window(now)
        return window

    def _say_suppressed(self, cause: str, window: _Window) -> None:
        if window.suppressed:
            self._logger.warning("%s: %d more such lines were not written", cause, window.suppressed)
            window.suppressed = 0
