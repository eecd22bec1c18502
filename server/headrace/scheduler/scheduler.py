"""Runs one model's queue: acquire an instance, then take the batch, then execute, then answer."""

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

from headrace.core.request import InferenceResponse
from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    HeadraceError,
    QueueTimeout,
)
from headrace.instance.group import InstanceGroup
from headrace.scheduler.batch import Batch, Layout
from headrace.scheduler.batcher import Batcher, Due, NotBefore
from headrace.scheduler.entry import Entry
from headrace.scheduler.linger import TICK_S, Linger
from headrace.scheduler.queue import RequestQueue, nobody

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Who counts: told of each executed batch once, and of each entry that was never executed."""

    def executed(self, batch: Batch) -> None: ...

    def dropped(self, entry: Entry, error: HeadraceError) -> None: ...


class Scheduler:
    """Lives on the event loop. Nothing is awaited between taking a batch and starting it."""

    def __init__(
        self,
        layout: Layout,
        queue: RequestQueue,
        batcher: Batcher,
        group: InstanceGroup,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        *,
        preserve_ordering: bool = False,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._batcher = batcher
        self._group = group
        self._observer = observer
        self._loop = loop
        self._preserve_ordering = preserve_ordering
        self._is_pump_due = False
        self._linger = Linger(batcher.linger_limit)
        self._lingering: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._executing_count = 0
        self._executing_rows = 0
        self._unanswered: deque[Batch] = deque()
        self._drained: list[asyncio.Future[None]] = []
        group.available = self._pump
        queue.dropped = self._drop_overdue
        queue.displaced = self._drop

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a batch."""
        return self._queue.size

    @property
    def backlog(self) -> int:
        """Of these, those that wait because every instance is busy, not for more requests to come."""
        return 0 if self._group.has_idle else self._queue.size

    @property
    def max_queue_depth(self) -> int:
        """Requests that may wait, over all priority levels."""
        return self._queue.max_size

    @property
    def is_idle(self) -> bool:
        """True where nothing waits and nothing executes."""
        return not self._queue.size and not self._executing_count

    def submit(self, entry: Entry) -> None:
        """Puts `entry` into the queue; it is answered later. Raises QueueFull at once."""
        now_ns = time.monotonic_ns()
        self._queue.put(entry, now_ns)
        if self._group.has_idle:
            self._pump_soon(entry.rows, now_ns)
        elif entry.expires_ns is not None or entry.request.deadline_ns is not None:
            self._arm(None)

    async def drain(self) -> None:
        """Returns once everything that was submitted is answered."""
        while not self.is_idle:
            waiter = self._loop.create_future()
            self._drained.append(waiter)
            await waiter

    def close(self, error: HeadraceError) -> None:
        """Answers everything that still waits with `error`; what executes goes on. Nothing may follow."""
        for entry in self._queue.drain():
            self._drop(entry, error)
        self._queue.dropped = nobody
        self._queue.displaced = nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump_soon(self, rows: int, now_ns: int) -> None:
        """Runs the pump once this turn of the loop is over, or after lingering for more requests."""
        if self._is_pump_due:
            if self._lingering is not None and self._linger.is_full(rows):
                self._lingering.cancel()
                self._end_linger()
            return
        self._is_pump_due = True
        if self._linger.pays(rows, now_ns):
            self._linger.start(rows)
            self._lingering = self._loop.call_later(TICK_S, self._look_at_linger)
        else:
            self._loop.call_soon(self._pump_now)

    def _look_at_linger(self) -> None:
        if self._linger.goes_on():
            self._lingering = self._loop.call_later(TICK_S, self._look_at_linger)
        else:
            self._end_linger()

    def _end_linger(self) -> None:
        self._lingering = None
        self._pump_now()

    def _pump_now(self) -> None:
        self._is_pump_due = False
        self._pump()

    def _pump(self) -> None:
        """Starts batches for as long as one is due and an instance is idle."""
        decision: Due | NotBefore | None = None
        while self._queue.size:
            now_ns = time.monotonic_ns()
            self._queue.end_overdue(now_ns)
            if not self._group.has_idle:
                break
            decision = self._batcher.decide(self._queue, self._executing_rows, now_ns)
            if not isinstance(decision, Due):
                break
            self._start(decision, now_ns)
        self._arm(decision.at_ns if isinstance(decision, NotBefore) else None)
        self._tell_drained()

    def _start(self, due: Due, now_ns: int) -> None:
        entries = self._queue.take(due.line, due.row_limit, due.entry_limit)
        if not entries:
            return
        rows = sum([entry.rows for entry in entries])
        instance = self._group.acquire()
        batch = Batch(self._layout, entries, rows, now_ns, due.because, instance.name)
        self._executing_count += 1
        self._executing_rows += rows
        if self._preserve_ordering:
            self._unanswered.append(batch)
        self._group.execute(instance, batch, self._finished)

    def _finished(self, batch: Batch, error: BaseException | None) -> None:
        self._executing_count -= 1
        self._executing_rows -= batch.rows
        if error is not None:
            batch.fail(_as_ours(error, self._layout.model_name))
        batch.is_finished = True
        if not self._preserve_ordering:
            self._answer(batch)
        while self._unanswered and self._unanswered[0].is_finished:
            self._answer(self._unanswered.popleft())
        self._tell_drained()

    def _answer(self, batch: Batch) -> None:
        """Answers every entry of a batch, each once; a caller who has left harms nobody."""
        self._observer.executed(batch)
        for entry, outcome in zip(batch.entries, batch.outcomes):
            if isinstance(outcome, HeadraceError):
                _fail(entry, outcome)
                continue
            if entry.request.wants_timings:
                outcome.timings = batch.timings(entry)
            _complete(entry, outcome)

    def _drop_overdue(self, entry: Entry) -> None:
        self._drop(entry, _why_dropped(entry))

    def _drop(self, entry: Entry, error: HeadraceError) -> None:
        self._observer.dropped(entry, error)
        _fail(entry, error)

    def _arm(self, due_ns: int | None) -> None:
        """Sees to it that the pump runs when a batch is due at `due_ns` or an entry's time is over."""
        end_ns = self._queue.next_end_ns()
        wake_ns = end_ns if due_ns is None else due_ns if end_ns is None else min(due_ns, end_ns)
        if self._timer is not None:
            if wake_ns == self._timer_ns:
                return
            self._timer.cancel()
            self._timer = None
        if wake_ns is not None:
            delay_s = max(0, wake_ns - time.monotonic_ns()) / 1e9
            self._timer_ns = wake_ns
            self._timer = self._loop.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._pump()

    def _tell_drained(self) -> None:
        if self._drained and self.is_idle:
            for waiter in self._drained:
                if not waiter.done():
                    waiter.set_result(None)
            self._drained.clear()


def _complete(entry: Entry, response: InferenceResponse) -> None:
    try:
        entry.reply.complete(response)
    except Exception:
        logger.exception("answering a request failed: this is a bug")


def _fail(entry: Entry, error: HeadraceError) -> None:
    try:
        entry.reply.fail(error)
    except Exception:
        logger.exception("answering a request failed: this is a bug")


def _as_ours(error: BaseException, model_name: str) -> HeadraceError:
    if isinstance(error, HeadraceError):
        return error
    logger.error("model '%s' failed in a way its backend does not know", model_name, exc_info=error)
    return ExecutionFailed(f"model '{model_name}' failed: {type(error).__name__}: {error}")


def _why_dropped(entry: Entry) -> HeadraceError:
    if not entry.reply.is_wanted:
        return Cancelled("the caller left while the request waited")
    deadline_ns = entry.request.deadline_ns
    if deadline_ns is not None and deadline_ns <= time.monotonic_ns():
        return DeadlineExceeded("the request's deadline passed while it waited in the queue")
    return QueueTimeout("Request timeout expired: it waited in the queue for longer than its policy allows")
