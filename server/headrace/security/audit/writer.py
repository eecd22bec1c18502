"""The thread that writes the audit log, so that requests do not wait for a disk."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeAlias

from headrace.core.caller import Caller
from headrace.errors import ConfigError
from headrace.security.audit.audit_file import AuditFile
from headrace.security.audit.content import Content, content_of
from headrace.security.audit.denials import Denials
from headrace.security.audit.event import AuditEvent

_log = logging.getLogger(__name__)

MAX_WAITING = 10_000
# What is committed together at most.
GROUP_SIZE = 1000
# How often it is looked whether counted denials are due, and whether a file that failed can be written again.
TICK_S = 1.0
WARNING_INTERVAL_S = 60.0

# Whoever waits for a record is told whether it is on disk.
Waiter: TypeAlias = Future[bool]
_Entry: TypeAlias = tuple[Content, Waiter | None]


class Writer:
    """Writes what it is given, in that order and in groups; what cannot be written is lost, and counted."""

    def __init__(
        self, file: AuditFile, denials: Denials, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._denials = denials
        self._clock = clock
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="headrace audit", daemon=True)
        self._is_open = False
        self._is_given_up = False
        self.recorded_count = 0
        # Each is changed by one thread: the event loop's, and the writer's own.
        self._refused_count = 0
        self._failed_count = 0
        self._told_count = 0
        self._warned_count = 0
        self._warned_at = float("-inf")
        self._reason = f"{MAX_WAITING} wait already"

    @property
    def lost_count(self) -> int:
        return self._refused_count + self._failed_count

    def start(self) -> None:
        self._is_open = True
        self._thread.start()

    def put(self, content: Content, waiter: Waiter | None = None, room: int = MAX_WAITING) -> bool:
        """False where `room` events wait already, or nobody writes: `content` is lost then."""
        if not self._is_open or self._queue.qsize() >= room:
            self._refused_count += 1
            return False
        self._queue.put((content, waiter))
        return True

    def stop(self, timeout_s: float) -> None:
        """Returns when all is written, or the time is over."""
        if not self._is_open:
            return
        self._is_open = False
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._is_given_up = True
            _log.warning("the audit log was not written in %g s: what waits is lost", timeout_s)

    def warn(self, reason: str) -> None:
        """That events are lost, or will be; said again at most once a minute."""
        lost_count = self.lost_count
        _log.warning("the audit log cannot be written, %d events are lost so far: %s", lost_count, reason)
        self._warned_count = lost_count
        self._warned_at = self._clock()

    def _run(self) -> None:
        is_ending = False
        while not is_ending and not self._is_given_up:
            group = self._take()
            entries = [entry for entry in group if entry is not None]
            is_ending = len(entries) < len(group)
            self._write(entries, self._denials.due(is_ending))
            self._warn_of_losses(is_ending)
        self._end()

    def _take(self) -> list[_Entry | None]:
        """What waits, after waiting for it; None is the end."""
        has_more_to_do = self._denials.has_any or self.lost_count > min(self._told_count, self._warned_count)
        group: list[_Entry | None] = []
        try:
            group.append(self._queue.get(timeout=TICK_S if has_more_to_do else None))
            while len(group) < GROUP_SIZE and group[-1] is not None:
                group.append(self._queue.get_nowait())
        except Empty:
            pass
        return group

    def _write(self, entries: Sequence[_Entry], counted: Sequence[Content]) -> None:
        contents = [*(content for content, _ in entries), *counted]
        lost_count = self.lost_count
        gap = [_gap(lost_count - self._told_count)] if lost_count > self._told_count else []
        is_written = self._append([*gap, *contents])
        if is_written:
            self._told_count = lost_count
            self.recorded_count += len(contents)
        else:
            self._failed_count += len(contents)
        _answer(entries, is_written)

    def _append(self, contents: Sequence[Content]) -> bool:
        try:
            if contents:
                self._file.append(contents)
            return True
        except (ConfigError, OSError) as error:
            self._reason = str(error)
        except Exception as error:
            _log.exception("the audit log was not written; this is a bug")
            self._reason = str(error)
        return False

    def _warn_of_losses(self, is_ending: bool) -> None:
        is_time = is_ending or self._clock() - self._warned_at >= WARNING_INTERVAL_S
        if is_time and self.lost_count > self._warned_count:
            self.warn(self._reason)

    def _end(self) -> None:
        """What nobody has come to is lost."""
        while self._queue.qsize():
            entry = self._queue.get()
            if entry is not None:
                self._failed_count += 1
                _answer([entry], is_written=False)
        self._file.close()


def _answer(entries: Sequence[_Entry], is_written: bool) -> None:
    for _, waiter in entries:
        if waiter is not None and waiter.set_running_or_notify_cancel():
            waiter.set_result(is_written)


def _gap(count: int) -> Content:
    """So that the log tells where something is missing."""
    reason = f"{count} events could not be recorded"
    return content_of(AuditEvent("audit_lost", Caller(""), outcome="failed", reason=reason), count)
