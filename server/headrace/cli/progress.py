"""A line that says how far a long command has come."""

import sys
from typing import IO

WIDTH = 30
LEAST_TOTAL = 20


class Progress:
    """Draws on `stream` where that is a terminal and there is much to do; otherwise nothing."""

    def __init__(self, total: int, stream: IO[str] | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._is_shown = total >= LEAST_TOTAL and self._stream.isatty()
        self._drawn = -1
        self._done = 0

    def advance(self) -> None:
        self._done += 1
        filled = self._done * WIDTH // self._total
        if self._is_shown and filled != self._drawn:
            self._drawn = filled
            bar = "#" * filled + "." * (WIDTH - filled)
            self._stream.write(f"\r[{bar}] {self._done}/{self._total}")
            self._stream.flush()

    def clear(self) -> None:
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
