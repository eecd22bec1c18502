"""The scheduler: what shares a batch, when it is closed, and that each caller gets its own answer, once."""

import asyncio
import time

import numpy as np
import pytest

from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    QueueFull,
    QueueTimeout,
    Unavailable,
    WorkerLost,
)
from headrace.repository.config import DynamicBatching, QueuePolicy, TimeoutAction
from headrace.scheduler.batcher import CheapSizes
from headrace.scheduler.history import ClosedBecause
from support.loops import run, until
from support.scheduling import Doubler, Rig, config, outputs, rows


def batching(**changes):
    return config(dynamic_batching=DynamicBatching(**changes))


async def busy(rig):
    """Occupies the rig's only instance, so that what follows waits."""
    reply = rig.send(rows(1, start=1000))
    await until(lambda: not rig.group.has_idle and not rig.queue.size)
    return reply


def test_requests_that_wait_while_an_instance_is_busy_share_the_next_batch():
    async def main():
        rig = Rig(config(), Doubler())
        first = await busy(rig)
        replies = [rig.send(rows(2, start=10 * index)) for index in range(3)]
        await rig.stop()
        assert rig.backends[0].batches == [1, 6]
        assert first.answer_count == 1
        for index, reply in enumerate(replies):
            np.testing.assert_array_equal(reply.values, rows(2, start=10 * index) * 2)
        assert rig.observer.batches[1].because is ClosedBecause.NO_MORE_WAITING

    run(main())


def test_requests_of_one_turn_of_the_loop_share_a_batch_though_an_instance_is_idle():
    async def main():
        rig = Rig(config(), Doubler())
        for index in range(4):
            rig.send(rows(1, start=index))
        await rig.stop()
        assert rig.backends[0].batches == [4]

    run(main())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (CheapSizes(1, 8), [4, 4, 3]),
        (CheapSizes(1, 2), [2, 2, 2]),
        (CheapSizes(6, 8), [6, 5]),
    ],
    ids=["its share", "no more than pays", "no less than is cheap"],
)
def test_an_instance_takes_its_share_so_that_all_are_busy(sizes, expected):
    """Eleven rows for two instances: a third each, and a third that waits for the first to finish."""

    async def main():
        rig = Rig(config(max_batch_size=8), Doubler(), Doubler(), sizes=sizes)
        for index in range(11):
            rig.send(rows(1, start=index))
        await rig.stop()
        batches = sorted(rig.observer.batches, key=lambda batch: batch.taken_ns)
        assert [batch.rows for batch in batches][: len(expected)] == expected
        assert sum(batch.rows for batch in batches) == 11
        assert batches[0].because is ClosedBecause.EFFICIENT_SIZE

    run(main())


def test_a_batch_counts_rows_and_never_splits_a_request():
    async def main():
        rig = Rig(config(max_batch_size=8), Doubler())
        await busy(rig)
        for count in (3, 3, 3, 1):
            rig.send(rows(count))
        await rig.stop()
        assert rig.backends[0].batches == [1, 6, 4]
        assert rig.observer.batches[1].because is ClosedBecause.FULL

    run(main())


def test_another_shape_does_not_break_a_batch():
    async def main():
        rig = Rig(config(), Doubler())
        await busy(rig)
        for width in (2, 3, 2, 3, 2):
            rig.send(rows(1, width))
        await rig.stop()
        assert rig.backends[0].shapes[1:] == [(3, 2), (2, 3)]

    run(main())


def test_other_requested_outputs_make_a_batch_of_their_own():
    async def main():
        model = config(
            outputs=(
                config().outputs[0],
                config(name="z").outputs[0].__class__("z", config().outputs[0].datatype, (-1,), (-1,)),
            )
        )
        rig = Rig(model, Doubler())
        await busy(rig)
        both = rig.send(rows(1))
        one = rig.send(rows(1), outputs=outputs("z"))
        await rig.stop()
        assert [output.name for output in both.responses[0].outputs] == ["y", "z"]
        assert [output.name for output in one.responses[0].outputs] == ["z"]
        assert rig.backends[0].batches == [1, 1, 1]

    run(main())


def test_the_queue_delay_is_waited_for_and_named():
    async def main():
        rig = Rig(batching(max_queue_delay_us=30_000), Doubler())
        rig.open()
        started = time.monotonic()
        rig.send(rows(1))
        await asyncio.sleep(0.005)
        rig.send(rows(1))
        await rig.scheduler.drain()
        assert time.monotonic() - started >= 0.029
        assert rig.backends[0].batches == [2]
        assert rig.observer.batches[0].because is ClosedBecause.DELAY
        await rig.stop()

    run(main())


def test_what_waits_for_more_to_come_is_no_backlog():
    async def main():
        rig = Rig(batching(max_queue_delay_us=30_000), Doubler())
        rig.send(rows(1))
        assert (rig.scheduler.queue_depth, rig.scheduler.backlog) == (1, 0)
        await until(lambda: not rig.group.has_idle)
        rig.send(rows(1))
        assert (rig.scheduler.queue_depth, rig.scheduler.backlog) == (1, 1)
        await rig.stop()

    run(main())


def test_a_full_line_does_not_wait_for_the_delay_of_an_older_one():
    async def main():
        rig = Rig(batching(max_queue_delay_us=200_000), Doubler())
        rig.open()
        slow = rig.send(rows(1, width=3))
        fast = [rig.send(rows(4, start=index)) for index in range(2)]
        await until(lambda: all(reply.answer_count for reply in fast))
        assert not slow.answer_count
        await rig.stop()
        assert slow.answer_count == 1

    run(main())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((1,) * 4, [4]), ((1,) * 5, [4, 1]), ((1,) * 7, [6, 1]), ((1,) * 3, [3]), ((3, 3, 1), [6, 1])],
)
def test_a_batch_takes_the_largest_preferred_size_that_the_waiting_rows_reach(sizes, expected):
    async def main():
        rig = Rig(batching(preferred_batch_sizes=(4, 6)), Doubler())
        await busy(rig)
        for size in sizes:
            rig.send(rows(size))
        await rig.stop()
        assert rig.backends[0].batches[1:] == expected

    run(main())


def test_a_model_without_dynamic_batching_runs_request_by_request():
    async def main():
        rig = Rig(config(dynamic_batching=None), Doubler())
        for count in (2, 3):
            rig.send(rows(count))
        await rig.stop()
        assert rig.backends[0].batches == [2, 3]
        assert rig.observer.batches[0].because is ClosedBecause.NOT_BATCHED

    run(main())


def test_a_fixed_batch_dimension_is_padded_and_cut_back():
    async def main():
        rig = Rig(config(max_batch_size=4, fixed_batch=4), Doubler())
        reply = rig.send(rows(3))
        await rig.stop()
        assert rig.backends[0].shapes == [(4, 2)]
        np.testing.assert_array_equal(reply.values, rows(3) * 2)

    run(main())


def test_more_urgent_requests_go_first_and_share_their_batch_with_others_while_there_is_room():
    async def main():
        rig = Rig(batching(priority_levels=2, default_priority_level=2), Doubler())
        await busy(rig)
        late = [rig.send(rows(2, start=index)) for index in range(4)]
        urgent = rig.send(rows(4, start=50), parameters={"priority": 1})
        await rig.stop()
        assert rig.backends[0].batches[1:] == [8, 4]
        first = rig.observer.batches[1].entries
        assert first[0].reply is urgent
        assert [entry.reply for entry in first[1:]] == late[:2]

    run(main())


def test_answers_keep_the_order_of_the_requests_where_the_model_wants_it():
    async def main():
        slow, fast = Doubler(), Doubler()
        fast.gate.set()
        rig = Rig(
            config(max_batch_size=1, dynamic_batching=DynamicBatching(preserve_ordering=True)), slow, fast
        )
        order = []
        replies = [rig.send(rows(1, start=index)) for index in range(4)]
        for index, reply in enumerate(replies):
            original = reply.complete
            reply.complete = lambda response, i=index, done=original: (order.append(i), done(response))
        await until(lambda: len(fast.batches) + len(slow.batches) >= 3)
        assert 0 not in order or order[0] == 0
        await rig.stop()
        assert order == [0, 1, 2, 3]

    run(main())


def test_a_full_queue_says_no_at_once():
    async def main():
        policy = QueuePolicy(max_queue_size=2)
        rig = Rig(batching(default_queue_policy=policy), Doubler())
        await busy(rig)
        rig.send(rows(1))
        rig.send(rows(1))
        with pytest.raises(QueueFull, match="Exceeds maximum queue size"):
            rig.send(rows(1))
        await rig.stop()

    run(main())


def test_callers_who_left_make_room_in_a_full_queue():
    async def main():
        rig = Rig(batching(default_queue_policy=QueuePolicy(max_queue_size=2)), Doubler())
        await busy(rig)
        gone = [rig.send(rows(1)), rig.send(rows(1))]
        for reply in gone:
            reply.is_wanted = False
        taken = rig.send(rows(1))
        await rig.stop()
        assert taken.answer_count == 1
        assert all(isinstance(error, Cancelled) for _, error in rig.observer.drops)
        assert len(rig.observer.drops) == 2

    run(main())


def test_a_cancelled_request_leaves_its_batch_unharmed_and_is_not_executed():
    async def main():
        rig = Rig(config(), Doubler())
        await busy(rig)
        replies = [rig.send(rows(1, start=10 * index)) for index in range(4)]
        replies[1].is_wanted = False
        await rig.stop()
        assert rig.backends[0].batches == [1, 3]
        for index in (0, 2, 3):
            np.testing.assert_array_equal(replies[index].values, rows(1, start=10 * index) * 2)
        assert [type(error) for _, error in rig.observer.drops] == [Cancelled]

    run(main())


def test_a_passed_deadline_is_answered_while_the_instance_is_busy_and_never_executed():
    async def main():
        rig = Rig(config(), Doubler())
        await busy(rig)
        late = rig.send(rows(3), deadline_ns=time.monotonic_ns() + 20_000_000)
        fine = rig.send(rows(1))
        await until(lambda: late.answer_count)
        assert isinstance(late.errors[0], DeadlineExceeded)
        assert not fine.answer_count
        await rig.stop()
        assert rig.backends[0].batches == [1, 1]

    run(main())


def test_a_queue_timeout_rejects_or_delays_as_the_policy_says():
    async def main(action):
        policy = QueuePolicy(timeout_action=action, default_timeout_us=10_000)
        rig = Rig(batching(default_queue_policy=policy), Doubler())
        await busy(rig)
        reply = rig.send(rows(1, start=7))
        await asyncio.sleep(0.03)
        other = rig.send(rows(8))
        await rig.stop()
        return rig, reply, other

    rig, reply, _ = run(main(TimeoutAction.REJECT))
    assert isinstance(reply.errors[0], QueueTimeout)
    assert rig.backends[0].batches == [1, 8]
    rig, reply, other = run(main(TimeoutAction.DELAY))
    assert reply.answer_count == other.answer_count == 1
    assert rig.backends[0].batches == [1, 8, 1]


def test_a_request_may_lower_its_timeout_only_where_the_policy_allows_it():
    async def main(allowed):
        policy = QueuePolicy(allow_timeout_override=allowed)
        rig = Rig(batching(default_queue_policy=policy), Doubler())
        await busy(rig)
        reply = rig.send(rows(1), parameters={"timeout": 5_000})
        await asyncio.sleep(0.03)
        await rig.stop()
        return reply

    assert isinstance(run(main(True)).errors[0], QueueTimeout)
    assert run(main(False)).responses


def test_a_failing_execution_fails_its_own_batch_only():
    async def main():
        def fail_on_negative(inputs):
            if (inputs["x"] < 0).any():
                raise ExecutionFailed("model 'm' failed: negative")

        rig = Rig(config(), Doubler(before=fail_on_negative))
        await busy(rig)
        good = rig.send(rows(1))
        bad = rig.send(rows(1, width=3, start=-9))
        await rig.stop()
        assert good.responses
        assert "negative" in str(bad.errors[0])
        assert rig.group.restart_count == 0

    run(main())


def test_one_request_that_the_model_refuses_fails_none_of_its_batch():
    async def main():
        def fail_on_negative(inputs):
            if (inputs["x"] < 0).any():
                raise ExecutionFailed("model 'm' failed: negative")

        rig = Rig(config(), Doubler(before=fail_on_negative))
        await busy(rig)
        replies = [rig.send(rows(1, start=start)) for start in (0, -9, 20)]
        await rig.stop()
        assert rig.backends[0].batches == [1, 3, 1, 1, 1]
        assert "negative" in str(replies[1].errors[0])
        for index in (0, 2):
            np.testing.assert_array_equal(replies[index].values, rows(1, start=index * 10) * 2)
        assert "negative" in str(rig.observer.batches[1].error)

    run(main())


def test_an_unknown_exception_is_an_execution_failure_with_its_message():
    async def main():
        def fail(inputs):
            raise KeyError("gone")

        rig = Rig(config(), Doubler(before=fail))
        reply = rig.send(rows(1))
        await rig.stop()
        assert isinstance(reply.errors[0], ExecutionFailed)
        assert "KeyError" in str(reply.errors[0])

    run(main())


def test_wrong_row_counts_fail_the_batch_loudly():
    class Short(Doubler):
        def execute(self, inputs, outputs):
            return [array[:-1] for array in super().execute(inputs, outputs)]

    async def main():
        rig = Rig(config(), Short())
        replies = [rig.send(rows(2)), rig.send(rows(1))]
        await rig.stop()
        for reply in replies:
            assert "shape [2, 2], but [3, -1] was expected" in str(reply.errors[0])

    run(main())


@pytest.mark.parametrize("loss", [SystemExit, KeyboardInterrupt])
def test_a_lost_worker_is_replaced_and_its_batch_failed(loss):
    async def main():
        def end(inputs):
            raise loss

        rig = Rig(config(), Doubler(before=end))
        reply = rig.send(rows(1))
        rig.open()
        await until(lambda: reply.answer_count)
        assert isinstance(reply.errors[0], WorkerLost)
        again = rig.send(rows(1))
        await until(lambda: again.answer_count)
        assert again.responses
        assert rig.group.restart_count == 1
        assert rig.backends[0].is_closed
        await rig.stop()

    run(main())


def test_a_hanging_execution_is_given_up_and_its_worker_replaced():
    async def main():
        rig = Rig(config(), Doubler(), execution_timeout_s=0.05)
        hung = rig.send(rows(1))
        await until(lambda: hung.answer_count)
        assert isinstance(hung.errors[0], WorkerLost)
        assert rig.backends[0].was_interrupted.is_set()
        again = rig.send(rows(1))
        await until(lambda: again.answer_count)
        assert again.responses
        await rig.stop()
        assert hung.answer_count == 1

    run(main())


def test_closing_answers_what_waits_and_draining_waits_for_the_rest():
    async def main():
        rig = Rig(config(max_batch_size=1), Doubler())
        first = await busy(rig)
        waiting = rig.send(rows(1))
        rig.scheduler.close(Unavailable("Server exiting"))
        assert isinstance(waiting.errors[0], Unavailable)
        await rig.stop()
        assert first.responses

    run(main())


def test_timings_are_answered_to_those_who_ask():
    async def main():
        rig = Rig(config(), Doubler())
        await busy(rig)
        asking = rig.send(rows(2), wants_timings=True)
        silent = rig.send(rows(1))
        await rig.stop()
        timings = asking.responses[0].timings
        assert timings.batch_rows == 3
        assert timings.queue_ns > 0
        assert silent.responses[0].timings is None

    run(main())
