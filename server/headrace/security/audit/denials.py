"""Keeps refused strangers from filling the log: equal denials are counted, and so are very many."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from headrace.core.caller import Caller
from headrace.security.audit.content import Content, content_of
from headrace.security.audit.event import AuditEvent

# For so long after a denial, equal ones are counted and not written.
WINDOW_S = 10.0
WRITTEN_PER_SECOND = 20
# More than there are at this rate, unless the writer is held up.
MAX_WINDOWS = 1024

# The action, the caller's name, proof and host, the model and the reason.
_Key: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Window:
    """What came after a denial that was written."""

    began: float
    repeats: int = 0
    last: Content | None = None


class Denials:
    """Decides which denials are written as they come; `due` has what is to be written of the others.

    Two threads use it: one asks, one writes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[_Key, _Window] = {}
        self._second = 0
        self._written = 0
        self._unlisted = 0
        self._unlisted_since = 0.0

    def take(self, denial: Content) -> bool:
        """True where `denial` is to be written now; otherwise it is counted."""
        key = _key_of(denial)
        with self._lock:
            now = self._clock()
            window = self._windows.get(key)
            if window is not None:
                window.repeats += 1
                window.last = denial
                return False
            if not self._may_write(now) or len(self._windows) >= MAX_WINDOWS:
                self._unlisted_since = self._unlisted_since if self._unlisted else now
                self._unlisted += 1
                return False
            self._windows[key] = _Window(now)
            return True

    @property
    def has_any(self) -> bool:
        """Whether something may become due without a further denial."""
        return bool(self._windows or self._unlisted)

    def due(self, is_ending: bool = False) -> list[Content]:
        """A record for each window that is over and had repeats, and one for those that were too many.

        With `is_ending` whatever is counted is due.
        """
        with self._lock:
            latest = float("inf") if is_ending else self._clock() - WINDOW_S
            ended = [key for key, window in self._windows.items() if window.began <= latest]
            windows = [self._windows.pop(key) for key in ended]
            found = [each.last._replace(repeats=each.repeats) for each in windows if each.last is not None]
            if self._unlisted and self._unlisted_since <= latest:
                found.append(_summary(self._unlisted))
                self._unlisted = 0
            return found

    def _may_write(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._written = int(now), 0
        self._written += 1
        return self._written <= WRITTEN_PER_SECOND


def _key_of(denial: Content) -> _Key:
    host = denial.address.rpartition(":")[0] or denial.address
    return denial.action, denial.caller, denial.proof, host, denial.model, denial.reason


def _summary(count: int) -> Content:
    reason = f"{count} more denials were not recorded one by one"
    return content_of(AuditEvent("denials", Caller(""), is_allowed=False, reason=reason), count)
