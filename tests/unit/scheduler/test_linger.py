"""When a batch is kept open for requests that are about to come."""

import time

import pytest

from headrace.scheduler.linger import DENSE_GAP_NS, KEPT_BATCHES, Linger, LoopUse, loop_use

MS = 1_000_000


def after(*gaps_ns, limit=64):
    """One that has seen requests with `gaps_ns` between them."""
    linger, now_ns = Linger(limit), 100 * MS
    linger.arrived(now_ns)
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        linger.arrived(now_ns)
    return linger


def test_requests_that_come_seldom_wait_for_nobody():
    assert not after().pays(1)
    assert not after(*[2 * DENSE_GAP_NS] * 50).pays(1)


def test_dense_requests_wait_for_each_other_though_one_came_late():
    dense = [DENSE_GAP_NS // 10] * 40
    assert after(*dense).pays(1)
    assert after(*dense, 3 * DENSE_GAP_NS).pays(1)
    assert not after(*dense, *[3 * DENSE_GAP_NS] * 10).pays(1)


def opened(linger):
    """Keeps a batch open from 100 ms on, when the loop's thread has worked for 7 ms and rested 5 times."""
    assert linger.pays(1)
    linger.start(1, LoopUse(100 * MS, 7 * MS, 5))
    return linger


def dense(limit=64):
    return after(*[DENSE_GAP_NS // 10] * 40, limit=limit)


def test_one_long_gap_among_dense_requests_changes_nothing():
    """The loop answered a large batch, say, and accepted nothing meanwhile."""
    assert after(*[DENSE_GAP_NS // 10] * 40, 500 * MS).pays(1)


@pytest.mark.parametrize(
    ("use", "goes_on"),
    [
        (LoopUse(101 * MS, 8 * MS, 9), True),
        (LoopUse(101 * MS, 7 * MS + MS // 2, 5), True),
        (LoopUse(101 * MS, 7 * MS + MS // 2, 6), False),
        (LoopUse(111 * MS, 18 * MS, 5), False),
    ],
    ids=["worked", "was held up, but did not rest", "rested", "open for too long"],
)
def test_a_batch_stays_open_while_the_loop_works(use, goes_on):
    assert opened(dense()).goes_on(use) is goes_on


def test_each_look_counts_from_the_last_one():
    linger = opened(dense())
    assert linger.goes_on(LoopUse(102 * MS, 9 * MS, 5))
    assert not linger.goes_on(LoopUse(103 * MS, 9 * MS, 6))


def test_a_rest_makes_what_had_come_the_target_for_some_batches():
    linger = opened(dense())
    linger.is_full(39)
    linger.goes_on(LoopUse(101 * MS, 7 * MS, 6))
    assert linger.target == 30
    for _ in range(KEPT_BATCHES):
        assert not linger.pays(30)
    assert linger.target == 30
    assert not linger.pays(30)
    assert linger.target == 37


def test_a_batch_is_closed_at_its_target_in_rows():
    linger = opened(dense())
    linger.is_full(9)
    linger.goes_on(LoopUse(101 * MS, 7 * MS, 6))
    assert linger.target == 7
    linger.start(2, LoopUse(102 * MS, 7 * MS, 6))
    assert [linger.is_full(2), linger.is_full(2), linger.is_full(2)] == [False, False, True]


def test_targets_grow_without_rests_up_to_the_limit():
    linger = dense(limit=16)
    targets = []
    for _ in range(10):
        targets.append(linger.target)
        linger.pays(linger.target)
    assert targets == [2, 3, 4, 5, 6, 7, 8, 10, 12, 15]
    assert linger.target == 16


def test_where_nobody_else_comes_nobody_waits_for_some_batches():
    linger = opened(dense())
    linger.goes_on(LoopUse(101 * MS, 7 * MS, 6))
    assert [linger.pays(1) for _ in range(KEPT_BATCHES + 2)] == [False] * (KEPT_BATCHES + 1) + [True]


def test_batches_that_nothing_is_gained_by_are_not_kept_open():
    assert not dense(limit=1).pays(1)


def test_a_thread_that_works_uses_its_time_and_one_that_waits_rests():
    before = loop_use()
    sum(range(100_000))
    worked = loop_use()
    time.sleep(0.001)
    rested = loop_use()
    assert worked.worked_ns - before.worked_ns > MS // 10
    assert rested.rests > worked.rests
    assert rested.now_ns - worked.now_ns >= MS
