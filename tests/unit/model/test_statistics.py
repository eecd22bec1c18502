"""What is counted of requests: each once, by what became of it, batches with their times."""

import time

import pytest

from headrace.core.request import InferenceResponse
from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    InvalidArgument,
    QueueFull,
    QueueTimeout,
    WorkerLost,
)
from headrace.model.recorder import Recorder
from headrace.model.signature import Signature, queue_policies
from headrace.model.statistics import BatchTimes, FailReason, Statistics
from headrace.scheduler.batch import Batch, Layout
from headrace.scheduler.history import ClosedBecause, History
from support.scheduling import RecordedReply, config, request, rows

MODEL = config(max_batch_size=8)


def entry_of(count, *, arrived_ns=0, queued_ns=0):
    signature = Signature(MODEL, queue_policies(MODEL, 16))
    entry = signature.admit(request(rows(count), arrived_ns=arrived_ns), RecordedReply())
    entry.queued_ns = queued_ns
    return entry


def answer():
    return InferenceResponse("m", "1", "", [])


def batch_of(*counts, outcomes=None):
    now_ns = time.monotonic_ns()
    entries = [entry_of(count, arrived_ns=now_ns - 10_000, queued_ns=now_ns - 9_000) for count in counts]
    batch = Batch(Layout.of(MODEL, "1"), entries, sum(counts), now_ns - 8_000, ClosedBecause.FULL, "m_0")
    batch.started_ns = now_ns - 7_000
    batch.joined_ns = now_ns - 6_000
    batch.inferred_ns = now_ns - 2_000
    batch.ended_ns = now_ns - 1_000
    batch.outcomes = outcomes or [answer() for _ in counts]
    return batch


class Recorded:
    def __init__(self):
        self.statistics = Statistics()
        self.history = History(4)
        self.recorder = Recorder(1, self.statistics, self.history)


def test_a_batch_counts_rows_executions_and_requests_and_charges_each_with_the_whole_time():
    recorded = Recorded()
    recorded.recorder.executed(batch_of(1, 2))
    own = recorded.statistics
    assert (own.inference_count, own.execution_count, own.success.count, own.fail.count) == (3, 1, 2, 0)
    assert own.last_inference_ms > 0
    assert (own.queue.count, own.queue.ns) == (2, 2_000)
    assert own.compute_input.ns == 2 * 1_000
    assert own.compute_infer.ns == 2 * 4_000
    assert own.compute_output.ns == 2 * 1_000
    assert own.success.ns >= 2 * 10_000
    assert own.batches[3].compute_infer.ns == 4_000
    assert own.batches[3].compute_infer.count == 1


def test_batches_are_told_apart_by_their_size():
    recorded = Recorded()
    for counts in ((1,), (1,), (4, 4)):
        recorded.recorder.executed(batch_of(*counts))
    sizes = {size: each.compute_infer.count for size, each in recorded.statistics.batches.items()}
    assert sizes == {1: 2, 8: 1}


def test_a_batch_that_failed_counts_failures_and_no_inference():
    recorded = Recorded()
    error = ExecutionFailed("no")
    recorded.recorder.executed(batch_of(1, 2, outcomes=[error, error]))
    own = recorded.statistics
    assert (own.inference_count, own.execution_count, own.success.count, own.fail.count) == (0, 0, 0, 2)
    assert own.failures[FailReason.BACKEND] == 2
    assert recorded.history.last()[0].error == "no"


def test_of_a_batch_that_failed_in_part_each_request_counts_as_what_it_became():
    recorded = Recorded()
    recorded.recorder.executed(batch_of(1, 2, 4, outcomes=[answer(), ExecutionFailed("no"), answer()]))
    own = recorded.statistics
    assert (own.success.count, own.fail.count) == (2, 1)
    assert own.inference_count == 5
    assert own.failures[FailReason.BACKEND] == 1


@pytest.mark.parametrize(
    ("error", "reason", "cause"),
    [
        (QueueFull("x"), FailReason.REJECTED, "queue_full"),
        (QueueTimeout("x"), FailReason.REJECTED, "queue_timeout"),
        (DeadlineExceeded("x"), FailReason.CANCELED, "deadline"),
        (Cancelled("x"), FailReason.CANCELED, "cancelled"),
        (InvalidArgument("x"), FailReason.OTHER, None),
        (WorkerLost("x"), FailReason.OTHER, None),
    ],
)
def test_a_request_that_was_never_executed_is_counted_by_its_reason(error, reason, cause):
    recorded = Recorded()
    recorded.recorder.dropped(entry_of(1), error)
    recorded.recorder.refused(request(rows(1)), error)
    own = recorded.statistics
    assert own.fail.count == 2
    assert own.failures == {each: 2 * (each is reason) for each in FailReason}
    assert own.rejected == ({cause: 2} if cause else {})
    assert recorded.history.last() == []


def test_the_history_keeps_the_last_batches_with_their_times():
    recorded = Recorded()
    for count in range(1, 7):
        recorded.recorder.executed(batch_of(count))
    records = recorded.history.last()
    assert [record.rows for record in records] == [3, 4, 5, 6]
    assert [record.rows for record in recorded.history.last(2)] == [5, 6]
    record = records[-1]
    assert (record.requests, record.instance, record.closed_because) == (1, "m_0", ClosedBecause.FULL)
    assert record.waited_us == 1
    assert (record.compute_input_us, record.compute_infer_us, record.compute_output_us) == (1, 4, 1)
    assert record.executed_us >= 8
    assert abs(record.closed_at_ns - time.time_ns()) < 5e9
    assert record.error == ""


def test_histograms_have_one_figure_a_request_and_one_a_batch():
    own = Statistics()
    own.add_batch(BatchTimes(3, 12, 10, 20, 30, 40), [1, 2, 3], [100, 200, 300])
    for histogram, total, count in (
        (own.queue_histogram, 6, 3),
        (own.total_histogram, 600, 3),
        (own.batch_wait_histogram, 30, 3),
        (own.compute_histogram, 270, 3),
        (own.batch_size_histogram, 12, 1),
    ):
        assert (histogram.total, sum(histogram.counts)) == (total, count)
