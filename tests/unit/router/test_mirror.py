"""A mirror takes exactly its share of the requests from the live path, and nothing else from it."""

from types import SimpleNamespace

import numpy as np
import pytest

from headrace.core.request import InferenceResponse, Timings
from headrace.errors import (
    Cancelled,
    DeadlineExceeded,
    ExecutionFailed,
    InvalidArgument,
    QueueTimeout,
    Unavailable,
    WorkerLost,
)
from headrace.router.shadow.mirror import BUSY_COUNT, Mirror
from headrace.router.shadow.outcome import Outcome
from headrace.router.shadow.waiting import WaitingCopies
from support.scheduling import RecordedReply, request, tensor

LIVE = SimpleNamespace(name="m", version=1)
X = np.zeros((1, 2), np.float32)


class Clock:
    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


class Woken:
    """Counts how often it was called."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


def mirror(per_mille=1000, waiting=None):
    made = Mirror("m", 2, Woken(), Clock(), waiting)
    made.sample(per_mille)
    return made


def response(version="1", model="m", **more):
    return InferenceResponse(model, version, "", [tensor("y", X)], **more)


@pytest.mark.parametrize("per_mille", [0, 1, 7, 100, 333, 500, 999, 1000])
def test_every_thousand_has_exactly_the_share(per_mille):
    sampled = mirror(per_mille)

    thousands = [sum(sampled.is_next() for _ in range(1000)) for _ in range(5)]

    assert thousands == [per_mille] * 5
    assert sampled.asked_count == 5000


@pytest.mark.parametrize("per_mille", [50, 333])
def test_samples_are_spread_evenly(per_mille):
    sampled = mirror(per_mille)
    for _ in range(20):
        hundreds = [sum(sampled.is_next() for _ in range(100)) for _ in range(10)]
        assert max(hundreds) - min(hundreds) <= 2


def test_requests_that_come_in_a_rhythm_are_all_sampled_some_time():
    sampled = mirror(100)

    seen = {place % 10 for place in range(100_000) if sampled.is_next()}

    assert seen == set(range(10))


def test_a_changed_share_holds_from_the_next_thousand_on():
    sampled = mirror(1000)
    for _ in range(1000):
        sampled.is_next()
    sampled.sample(10)

    assert sum(sampled.is_next() for _ in range(1000)) == 10


def test_live_answer_comes_first():
    shadowed, order = mirror(), []
    reply = SimpleNamespace(is_wanted=True, complete=lambda answer: order.append("live"))
    shadowed._wake = lambda: order.append("shadow")

    shadowed.listen(request(X), reply, LIVE).complete(response())

    assert order == ["live", "shadow"]


def test_copy_shares_the_request_and_its_answer():
    shadowed, asked, answer = mirror(), request(X), response()

    shadowed.listen(asked, RecordedReply(), LIVE).complete(answer)
    shadowed.settle(0, is_busy=False)

    copy = shadowed.waiting.take()
    assert copy.request is asked
    assert copy.live is answer
    assert copy.live_version == 1


@pytest.mark.parametrize("wanted", [False, True])
def test_timings_are_seen_by_the_shadow_and_by_callers_who_want_them(wanted):
    shadowed, reply, timings = mirror(), RecordedReply(), Timings(batch_rows=3)
    asked = request(X, wants_timings=wanted)

    listening = shadowed.listen(asked, reply, LIVE)
    assert asked.wants_timings
    listening.complete(response(timings=timings))
    shadowed.settle(0, is_busy=False)

    assert reply.responses[0].timings is (timings if wanted else None)
    assert shadowed.waiting.take().live_timings is timings


def test_two_shadows_of_one_request_both_see_timings_that_nobody_wants():
    first, second, reply = mirror(), mirror(), RecordedReply()
    asked = request(X)

    outer = second.listen(asked, first.listen(asked, reply, LIVE), LIVE)
    outer.complete(response(timings=Timings(batch_rows=3)))

    for each in (first, second):
        each.settle(0, is_busy=False)
        assert each.waiting.take().live_timings.batch_rows == 3
    assert reply.responses[0].timings is None


def test_a_caller_who_left_is_not_wanted():
    reply = RecordedReply()
    listening = mirror().listen(request(X), reply, LIVE)
    assert listening.is_wanted

    reply.is_wanted = False

    assert not listening.is_wanted


@pytest.mark.parametrize(
    "error",
    [Cancelled("left"), DeadlineExceeded("late"), QueueTimeout("waited"), Unavailable("unloaded")],
    ids=lambda error: type(error).__name__,
)
def test_what_was_never_executed_is_counted_only(error):
    shadowed, reply = mirror(), RecordedReply()

    shadowed.listen(request(X), reply, LIVE).fail(error)
    shadowed.settle(0, is_busy=False)

    assert reply.errors == [error]
    assert not shadowed.waiting
    assert shadowed.count(Outcome.NOT_ANSWERED) == 1


@pytest.mark.parametrize(
    "error",
    [ExecutionFailed("broke"), WorkerLost("died"), InvalidArgument("bad")],
    ids=lambda error: type(error).__name__,
)
def test_what_failed_in_execution_is_copied(error):
    shadowed, reply = mirror(), RecordedReply()

    shadowed.listen(request(X), reply, LIVE).fail(error)
    shadowed.settle(0, is_busy=False)

    assert reply.errors == [error]
    copy = shadowed.waiting.take()
    assert (copy.live, copy.live_version) == (error, 1)


@pytest.mark.parametrize(
    "answer", [response(version="2"), response(model="other")], ids=["the shadow's own", "another model"]
)
def test_answers_of_others_are_not_compared(answer):
    shadowed = mirror()

    shadowed.listen(request(X), RecordedReply(), LIVE).complete(answer)
    shadowed.settle(0, is_busy=False)

    assert not shadowed.waiting
    assert shadowed.count(Outcome.NOT_COMPARABLE) == 1


def test_nothing_that_goes_wrong_behind_the_answer_reaches_the_caller(caplog):
    shadowed, reply = mirror(), RecordedReply()

    def fail():
        raise RuntimeError("the loop is closed")

    shadowed._wake = fail
    shadowed.listen(request(X), reply, LIVE).complete(response())

    assert reply.answer_count == 1
    assert "this is a bug" in caplog.text


def test_one_wake_is_enough_for_many_answers():
    shadowed = mirror()
    for _ in range(5):
        shadowed.listen(request(X), RecordedReply(), LIVE).complete(response())

    assert shadowed._wake.count == 1
    shadowed.settle(0, is_busy=False)
    shadowed.listen(request(X), RecordedReply(), LIVE).complete(response())
    assert shadowed._wake.count == 2


def answer_many(shadowed, count):
    for _ in range(count):
        if shadowed.is_next():
            shadowed.listen(request(X), RecordedReply(), LIVE).complete(response())
    shadowed.settle(shadowed._clock_ns(), is_busy=False)


def test_the_oldest_leave_when_too_many_wait():
    shadowed = mirror(waiting=WaitingCopies(max_count=3))

    for number in range(5):
        shadowed._clock_ns.now_ns = number
        answer_many(shadowed, 1)

    assert shadowed.count(Outcome.FULL) == 2
    assert [shadowed.waiting.take().answered_ns for _ in range(3)] == [2, 3, 4]


def test_those_that_waited_too_long_leave():
    shadowed = mirror(waiting=WaitingCopies(max_age_ns=100))
    answer_many(shadowed, 2)

    shadowed.settle(100, is_busy=False)
    assert len(shadowed.waiting) == 2
    shadowed.settle(101, is_busy=False)

    assert not shadowed.waiting
    assert shadowed.count(Outcome.LATE) == 2


def test_while_nothing_is_to_spare_only_a_few_are_taken_and_the_others_counted():
    shadowed = mirror()
    shadowed.settle(0, is_busy=True)

    taken = [shadowed.is_next() for _ in range(100)]

    assert sum(taken) == BUSY_COUNT
    assert shadowed.count(Outcome.BUSY) == 100 - BUSY_COUNT


def test_places_are_free_again_where_requests_came_to_nothing():
    shadowed = mirror()
    shadowed.settle(0, is_busy=True)
    for _ in range(BUSY_COUNT):
        assert shadowed.is_next()
        shadowed.listen(request(X), RecordedReply(), LIVE).fail(Cancelled("left"))
    assert not shadowed.is_next()

    shadowed.settle(0, is_busy=True)

    assert shadowed.is_next()


def test_when_it_becomes_busy_all_but_a_few_leave():
    shadowed = mirror()
    answer_many(shadowed, 30)

    shadowed.settle(0, is_busy=True)

    assert len(shadowed.waiting) == BUSY_COUNT
    assert shadowed.count(Outcome.BUSY) == 30 - BUSY_COUNT


def test_after_the_stop_nothing_is_taken_or_kept():
    shadowed = mirror()
    listening = shadowed.listen(request(X), RecordedReply(), LIVE)
    answer_many(shadowed, 3)

    shadowed.stop()
    listening.complete(response())
    shadowed.sample(1000)

    assert not any(shadowed.is_next() for _ in range(2000))
    assert not shadowed.waiting
    assert not shadowed._answered
