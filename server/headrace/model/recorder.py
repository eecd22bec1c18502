"""Writes down what becomes of a model's requests: its statistics and its last batches."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.core.request import InferenceRequest
from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    HeadraceError,
    InvalidArgument,
    QueueFull,
    QueueTimeout,
)
from headrace.model.statistics import BatchTimes, FailReason, Statistics
from headrace.scheduler.batch import Batch
from headrace.scheduler.entry import Entry
from headrace.scheduler.history import BatchRecord, History

_CAUSES: dict[type[HeadraceError], tuple[FailReason, str]] = {
    Cancelled: (FailReason.CANCELED, "cancelled"),
    DeadlineExceeded: (FailReason.CANCELED, "deadline"),
    QueueTimeout: (FailReason.REJECTED, "queue_timeout"),
    QueueFull: (FailReason.REJECTED, "queue_full"),
}


class Watch(Protocol):
    """Follows what becomes of a version's requests, those of shadows left out.

    With `only_shared` it is told of those alone whose version was chosen by weights or by their key.
    """

    only_shared: bool

    def answered(self, total_ns: Sequence[int]) -> None:
        """Requests of one batch that went well: the time from arrival to answer of each, in nanoseconds."""
        ...

    def failed(self, errors: Sequence[HeadraceError]) -> None:
        """Requests failed together, in one batch, or one was refused or dropped: the error of each."""
        ...


class Recorder:
    """Told by the scheduler and the model, once per batch and once per request that was never executed."""

    def __init__(self, version: int, statistics: Statistics, history: History) -> None:
        self._version = str(version)
        self._statistics = statistics
        self._history = history
        self._watches: list[Watch] = []
        self._shared_watches: list[Watch] = []

    def watch(self, watch: Watch) -> Callable[[], None]:
        """Tells `watch` of all that it follows from now on; returns what ends that."""
        if watch.only_shared:
            self._shared_watches = [*self._shared_watches, watch]
        else:
            self._watches = [*self._watches, watch]

        def end() -> None:
            self._watches = [each for each in self._watches if each is not watch]
            self._shared_watches = [each for each in self._shared_watches if each is not watch]

        return end

    def executed(self, batch: Batch) -> None:
        now_ns = time.monotonic_ns()
        entries, failed = _by_outcome(batch)
        for entry, error in failed:
            reason = FailReason.OTHER if isinstance(error, InvalidArgument) else FailReason.BACKEND
            self._statistics.add_failures(reason, (now_ns - entry.request.arrived_ns,))
        if failed:
            self._tell_failed([(entry.request, error) for entry, error in failed])
        if entries:
            taken_ns = batch.taken_ns
            queue_ns = [taken_ns - entry.queued_ns for entry in entries]
            total_ns = [now_ns - entry.request.arrived_ns for entry in entries]
            self._statistics.add_batch(_times(batch, entries), queue_ns, total_ns)
            if self._watches or self._shared_watches:
                self._tell_answered(entries, total_ns)
        self._history.add(batch_record(batch, self._version, now_ns))

    def dropped(self, entry: Entry, error: HeadraceError) -> None:
        self.refused(entry.request, error)

    def refused(self, request: InferenceRequest, error: HeadraceError) -> None:
        """A request that was turned away or dropped because of `error`."""
        reason, cause = _CAUSES.get(type(error), (FailReason.OTHER, ""))
        self._statistics.add_failures(reason, (time.monotonic_ns() - request.arrived_ns,), cause)
        self._tell_failed([(request, error)])

    def _tell_answered(self, entries: Sequence[Entry], total_ns: Sequence[int]) -> None:
        live = [(entry.request, ns) for entry, ns in zip(entries, total_ns) if not entry.request.is_shadow]
        if self._watches and live:
            live_ns = [ns for _, ns in live]
            for watch in self._watches:
                watch.answered(live_ns)
        if self._shared_watches:
            shared_ns = [ns for request, ns in live if request.is_shared]
            for watch in self._shared_watches if shared_ns else ():
                watch.answered(shared_ns)

    def _tell_failed(self, failed: Sequence[tuple[InferenceRequest, HeadraceError]]) -> None:
        live = [(request, error) for request, error in failed if not request.is_shadow]
        if self._watches and live:
            errors = [error for _, error in live]
            for watch in self._watches:
                watch.failed(errors)
        if self._shared_watches:
            shared = [error for request, error in live if request.is_shared]
            for watch in self._shared_watches if shared else ():
                watch.failed(shared)


def batch_record(batch: Batch, version: str, now_ns: int) -> BatchRecord:
    """What is kept of `batch`; `now_ns` is on time.monotonic_ns."""
    return BatchRecord(
        model_version=version,
        closed_at_ns=time.time_ns() - (now_ns - batch.taken_ns),
        requests=len(batch.entries),
        rows=batch.rows,
        padding_rows=batch.padding_rows,
        waited_us=(batch.taken_ns - _oldest_ns(batch.entries)) // 1000,
        closed_because=batch.because,
        instance=batch.instance,
        executed_us=(now_ns - batch.taken_ns) // 1000,
        compute_input_us=max(0, batch.joined_ns - batch.started_ns) // 1000,
        compute_infer_us=max(0, batch.inferred_ns - batch.joined_ns) // 1000,
        compute_output_us=max(0, batch.ended_ns - batch.inferred_ns) // 1000,
        error=str(batch.error) if batch.error else "",
    )


def _by_outcome(batch: Batch) -> tuple[list[Entry], list[tuple[Entry, HeadraceError]]]:
    """The entries that were answered well, and those that failed with their errors."""
    if batch.error is None:
        return batch.entries, []
    pairs = list(zip(batch.entries, batch.outcomes))
    failed = [(entry, outcome) for entry, outcome in pairs if isinstance(outcome, HeadraceError)]
    return [entry for entry, outcome in pairs if not isinstance(outcome, HeadraceError)], failed


def _times(batch: Batch, entries: Sequence[Entry]) -> BatchTimes:
    return BatchTimes(
        requests=len(entries),
        rows=sum([entry.rows for entry in entries]),
        batch_wait_ns=batch.started_ns - batch.taken_ns,
        compute_input_ns=batch.joined_ns - batch.started_ns,
        compute_infer_ns=batch.inferred_ns - batch.joined_ns,
        compute_output_ns=batch.ended_ns - batch.inferred_ns,
    )


def _oldest_ns(entries: Sequence[Entry]) -> int:
    return min([entry.queued_ns for entry in entries])
