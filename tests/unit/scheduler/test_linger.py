"""When a batch is kept open for requests that are about to come."""

import time

import pytest

from headrace.scheduler.linger import (
    AVERAGED_NS,
    KEPT_BATCHES,
    LONGEST_NS,
    SLOWEST_FALL,
    WINDOW_NS,
    Linger,
    LoopUse,
    loop_use,
)

MS = 1_000_000


class Loop:
    """The use of an event loop as a test has it."""

    def __init__(self):
        self.use = LoopUse(100 * MS, 7 * MS, 5)

    def __call__(self):
        return self.use

    def passes(self, ns, *, worked, rests=0):
        """`ns` go by, of which the loop works the share `worked`."""
        now_ns, worked_ns, known_rests = self.use
        self.use = LoopUse(now_ns + ns, worked_ns + int(ns * worked), known_rests + rests)

    @property
    def now_ns(self):
        return self.use.now_ns


@pytest.fixture
def loop():
    return Loop()


def busy(loop, limit=64):
    """One whose loop has worked all the time lately."""
    linger = Linger(limit, loop)
    linger.pays(1, loop.now_ns)
    for _ in range(3):
        loop.passes(AVERAGED_NS, worked=1.0)
        linger.pays(limit, loop.now_ns)
    linger.target = min(2, limit)
    return linger


def opened(linger, loop, rows=1):
    """Keeps a batch open."""
    assert linger.pays(rows, loop.now_ns)
    linger.start(rows)
    return linger


def test_nobody_waits_on_a_loop_with_time_to_spare(loop):
    linger = Linger(64, loop)
    assert not linger.pays(1, loop.now_ns)
    loop.passes(AVERAGED_NS, worked=0.4)
    assert not linger.pays(1, loop.now_ns)


def test_requests_wait_for_each_other_where_the_loop_is_busy(loop):
    assert busy(loop).pays(1, loop.now_ns)


def test_a_moment_of_rest_does_not_make_a_loop_idle_and_a_longer_one_does(loop):
    linger = busy(loop)
    loop.passes(WINDOW_NS, worked=0.2)
    assert linger.pays(1, loop.now_ns)
    loop.passes(AVERAGED_NS, worked=0.2)
    assert not linger.pays(1, loop.now_ns)


def test_a_busy_moment_after_a_long_rest_makes_nobody_wait(loop):
    linger = busy(loop)
    loop.passes(60_000 * MS, worked=0.0)
    loop.passes(WINDOW_NS, worked=1.0)
    assert not linger.pays(1, loop.now_ns)


@pytest.mark.parametrize(
    ("worked", "rests", "goes_on"),
    [(1.0, 4, True), (0.5, 0, True), (0.5, 1, False)],
    ids=["worked", "was held up, but did not rest", "rested"],
)
def test_a_batch_stays_open_while_the_loop_works(loop, worked, rests, goes_on):
    linger = opened(busy(loop), loop)
    loop.passes(MS, worked=worked, rests=rests)
    assert linger.goes_on() is goes_on


def test_a_batch_stays_open_while_more_come(loop):
    linger = busy(loop)
    linger.target = 10
    opened(linger, loop)
    assert not linger.is_full(1)
    loop.passes(MS, worked=0.5, rests=1)
    assert linger.goes_on()
    loop.passes(MS, worked=0.5, rests=1)
    assert not linger.goes_on()


def test_no_batch_stays_open_for_long(loop):
    linger = opened(busy(loop), loop)
    loop.passes(LONGEST_NS - 1, worked=1.0)
    assert linger.goes_on()
    loop.passes(1, worked=1.0)
    assert not linger.goes_on()


def test_each_look_counts_from_the_last_one(loop):
    linger = opened(busy(loop), loop)
    loop.passes(2 * MS, worked=1.0)
    assert linger.goes_on()
    loop.passes(MS, worked=0.0, rests=1)
    assert not linger.goes_on()


def rest(linger, loop, rows):
    """Closes a batch that had `rows` rows by a rest of the loop."""
    opened(linger, loop)
    linger.is_full(rows - 1)
    loop.passes(MS, worked=0.0, rests=1)
    linger.goes_on()
    loop.passes(MS, worked=0.0, rests=1)
    assert not linger.goes_on()


def test_a_rest_makes_what_had_come_the_target_for_some_batches(loop):
    linger = busy(loop)
    rest(linger, loop, 40)
    assert linger.target == 30
    for _ in range(KEPT_BATCHES):
        assert not linger.pays(30, loop.now_ns)
    assert linger.target == 30
    assert not linger.pays(30, loop.now_ns)
    assert linger.target == 37


def test_one_rest_after_few_requests_hardly_lowers_the_target(loop):
    linger = busy(loop)
    linger.target = 50
    rest(linger, loop, 3)
    assert linger.target == int(50 * SLOWEST_FALL)


def test_where_fewer_come_the_target_falls_in_the_end(loop):
    linger = busy(loop)
    linger.target = 64
    while linger.target > 2:
        before = linger.target
        rest(linger, loop, 2)
        assert linger.target < before
        loop.passes(AVERAGED_NS, worked=1.0)


def test_a_batch_is_closed_at_its_target_in_rows(loop):
    linger = busy(loop)
    linger.target = 7
    linger.start(2)
    assert [linger.is_full(2), linger.is_full(2), linger.is_full(2)] == [False, False, True]


def test_targets_grow_without_rests_up_to_the_limit(loop):
    linger = busy(loop, limit=16)
    targets = []
    for _ in range(10):
        targets.append(linger.target)
        linger.pays(linger.target, loop.now_ns)
    assert targets == [2, 3, 4, 5, 6, 7, 8, 10, 12, 15]
    assert linger.target == 16


def test_batches_that_nothing_is_gained_by_are_not_kept_open(loop):
    assert not busy(loop, limit=1).pays(1, loop.now_ns)


def test_a_thread_that_works_uses_its_time_and_one_that_waits_rests():
    before = loop_use()
    sum(range(100_000))
    worked = loop_use()
    time.sleep(0.001)
    rested = loop_use()
    assert worked.worked_ns - before.worked_ns > MS // 10
    assert rested.rests > worked.rests
    assert rested.now_ns - worked.now_ns >= MS
