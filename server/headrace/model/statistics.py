"""What a model's version has done since it was loaded: counts and times, raised once per batch."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from headrace.metrics import BATCH_SIZE_BOUNDS, LATENCY_BOUNDS_NS, Histogram


class FailReason(Enum):
    """Why a request failed, in the words of Triton's `nv_inference_request_failure`."""

    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    BACKEND = "BACKEND"
    OTHER = "OTHER"


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took together."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchSizeStatistics:
    """Executions of one batch size (rows), and what they took in each compute stage."""

    batch_size: int
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class BatchTimes:
    """What one executed batch took: `requests` of `rows` rows in all, each stage in nanoseconds."""

    requests: int
    rows: int
    batch_wait_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


@dataclass(slots=True)
class Statistics:
    """All counters of one version. Only the event loop touches them.

    `inference_count` counts rows, `execution_count` batches; the compute stages charge every request with
    the whole batch's time, as Triton's do (see docs/protocol.md).
    """

    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    failures: dict[FailReason, int] = field(default_factory=lambda: dict.fromkeys(FailReason, 0))
    rejected: dict[str, int] = field(default_factory=dict)
    batches: dict[int, BatchSizeStatistics] = field(default_factory=dict)
    queue_histogram: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    batch_wait_histogram: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    compute_histogram: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    total_histogram: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    batch_size_histogram: Histogram = field(default_factory=lambda: Histogram(BATCH_SIZE_BOUNDS))

    def add_batch(self, times: BatchTimes, queue_ns: Iterable[int], total_ns: Iterable[int]) -> None:
        """Counts a batch that went well; `queue_ns` and `total_ns` have one figure per request."""
        requests = times.requests
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.inference_count += times.rows
        self.execution_count += 1
        queue_before, total_before = self.queue_histogram.total, self.total_histogram.total
        self.queue_histogram.observe_all(queue_ns)
        self.total_histogram.observe_all(total_ns)
        self.success.add(self.total_histogram.total - total_before, requests)
        self.queue.add(self.queue_histogram.total - queue_before, requests)
        self.compute_input.add(times.compute_input_ns * requests, requests)
        self.compute_infer.add(times.compute_infer_ns * requests, requests)
        self.compute_output.add(times.compute_output_ns * requests, requests)
        compute_ns = times.compute_input_ns + times.compute_infer_ns + times.compute_output_ns
        self.batch_wait_histogram.observe(times.batch_wait_ns, requests)
        self.compute_histogram.observe(compute_ns, requests)
        self.batch_size_histogram.observe(times.rows)
        self._add_batch_size(times)

    def add_failures(self, reason: FailReason, total_ns: Iterable[int], cause: str = "") -> None:
        """Counts requests that failed for `reason`, one figure of `total_ns` each.

        A `cause` says more of those turned away: queue_full, queue_timeout, deadline or cancelled.
        """
        for ns in total_ns:
            self.fail.add(ns)
            self.failures[reason] += 1
            if cause:
                self.rejected[cause] = self.rejected.get(cause, 0) + 1

    def _add_batch_size(self, times: BatchTimes) -> None:
        batch = self.batches.get(times.rows)
        if batch is None:
            batch = self.batches[times.rows] = BatchSizeStatistics(times.rows)
        batch.compute_input.add(times.compute_input_ns)
        batch.compute_infer.add(times.compute_infer_ns)
        batch.compute_output.add(times.compute_output_ns)
