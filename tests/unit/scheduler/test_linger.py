"""How long a batch stays open while the event loop is busy."""

from headrace.scheduler.linger import LONGEST_NS, QUIET_NS, SHORT_TURN_NS, Linger


def lingering(turns_ns, **start):
    """For each turn of the loop, whether the batch stays open after it."""
    linger, now_ns, answers = Linger(), 1_000_000_000, []
    linger.start(now_ns, **{"may_wait": True, **start})
    for turn_ns in turns_ns:
        now_ns += turn_ns
        answers.append(linger.goes_on(now_ns))
    return answers


def test_nothing_is_waited_for_where_requests_come_seldom():
    assert lingering([0, 50_000], may_wait=False) == [False, False]


def test_a_quiet_loop_ends_it():
    turn_ns = SHORT_TURN_NS // 2
    turns = QUIET_NS // turn_ns
    assert lingering([turn_ns] * turns) == [True] * (turns - 1) + [False]


def test_a_busy_turn_keeps_it_open_for_another_while():
    short_ns, long_ns = SHORT_TURN_NS // 2, SHORT_TURN_NS * 3
    turns = QUIET_NS // short_ns - 1
    assert all(lingering([short_ns] * turns + [long_ns] + [short_ns] * turns))


def test_a_loop_that_never_rests_does_not_keep_it_open_for_ever():
    turn_ns = SHORT_TURN_NS * 10
    turns = LONGEST_NS // turn_ns
    assert lingering([turn_ns] * turns) == [True] * (turns - 1) + [False]
