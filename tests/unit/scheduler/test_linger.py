"""When a batch is kept open for requests that are about to come."""

from headrace.scheduler.linger import BATCHES_WITHOUT, DENSE_GAP_NS, Linger

MS = 1_000_000


def after(*gaps_ns):
    """One that has seen requests with `gaps_ns` between them."""
    linger, now_ns = Linger(), 100 * MS
    linger.arrived(now_ns)
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        linger.arrived(now_ns)
    return linger


def test_requests_that_come_seldom_wait_for_nobody():
    assert not after().pays()
    assert not after(*[2 * DENSE_GAP_NS] * 50).pays()


def test_dense_requests_wait_for_each_other_though_one_came_late():
    dense = [DENSE_GAP_NS // 10] * 40
    assert after(*dense).pays()
    assert after(*dense, 3 * DENSE_GAP_NS).pays()
    assert not after(*dense, *[3 * DENSE_GAP_NS] * 10).pays()


def test_a_loop_that_was_busy_meanwhile_lingers_again():
    linger = after(*[DENSE_GAP_NS // 10] * 40)
    linger.start(now_ns=100 * MS, worked_ns=7 * MS)
    linger.end(now_ns=102 * MS, worked_ns=9 * MS)
    assert linger.pays()


def test_a_loop_that_rested_meanwhile_does_not_for_some_batches():
    linger = after(*[DENSE_GAP_NS // 10] * 40)
    linger.start(now_ns=100 * MS, worked_ns=7 * MS)
    linger.end(now_ns=102 * MS, worked_ns=7 * MS + 1)
    answers = [linger.pays() for _ in range(BATCHES_WITHOUT + 1)]
    assert answers == [False] * BATCHES_WITHOUT + [True]
