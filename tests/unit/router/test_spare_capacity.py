"""Copies get what live requests leave: told from readings that a test makes up."""

import pytest

from headrace.router.shadow.meter import Meter, Reading
from headrace.router.shadow.spare import INTERVAL_S, SpareCapacity
from headrace.router.shadow.trickle import LIVE_REQUESTS, OVERHEAD_NS, TIME_SHARE, Trickle

CORES = 4.0


class Machine:
    """Whose use of each interval a test says: of this process, of its loop, and of others, in cores."""

    def __init__(self, sees_others=True):
        self.reading = Reading(0.0, 0.0, 0.0, 0.0 if sees_others else None)
        self.capacity = SpareCapacity(lambda: self.reading, CORES)
        self.capacity.begin()

    def passes(self, process=0.0, loop=0.0, others=0.0, live_waits=False, copies=True):
        """An interval, in which copies use all that they may."""
        used = self.capacity.share if copies else 0.0
        if copies and self.capacity.has_any:
            self.capacity.spend(used * INTERVAL_S)
        own = min(process + used, CORES)
        before = self.reading
        idle_s = before.idle_s
        if idle_s is not None:
            idle_s += max(0.0, CORES - own - others) * INTERVAL_S
        self.reading = Reading(
            before.wall_s + INTERVAL_S,
            before.process_s + own * INTERVAL_S,
            before.loop_s + loop * INTERVAL_S,
            idle_s,
        )
        self.capacity.look(live_waits=live_waits)

    def settled(self, intervals=100, **use):
        """The mean share after some time."""
        for _ in range(intervals):
            self.passes(**use)
        shares = []
        for _ in range(50):
            self.passes(**use)
            shares.append(self.capacity.share)
        return sum(shares) / len(shares)


def test_before_the_first_look_nothing_is_known():
    capacity = Machine().capacity

    assert not capacity.has_any
    assert not capacity.is_busy


def test_on_an_idle_machine_copies_get_nearly_all_of_it():
    assert 0.6 * CORES < Machine().settled() <= 0.9 * CORES


def test_beside_live_requests_copies_get_most_of_the_rest():
    assert 1.0 < Machine().settled(process=2.0) < 2.0


@pytest.mark.parametrize("process", [3.7, 4.0], ids=str)
def test_while_live_requests_use_all_cores_copies_get_nothing_though_no_queue_is_filled(process):
    machine = Machine()

    assert machine.settled(process=process) == 0.0
    assert machine.capacity.is_busy
    assert not machine.capacity.has_any


def test_while_other_programs_use_all_cores_copies_get_nothing():
    assert Machine().settled(others=4.0) == 0.0


def test_without_figures_of_other_programs_the_own_ones_count():
    assert Machine(sees_others=False).settled(process=4.0) == 0.0
    assert Machine(sees_others=False).settled(process=1.0) > 1.0


def test_while_the_event_loop_is_busy_copies_get_nothing():
    assert Machine().settled(process=1.0, loop=0.98) == 0.0


def test_while_live_requests_wait_copies_get_nothing():
    assert Machine().settled(live_waits=True) == 0.0


def test_half_of_the_share_is_given_up_in_each_busy_interval():
    machine = Machine()
    machine.settled()
    before = machine.capacity.share

    machine.passes(process=4.0)
    assert machine.capacity.share == before / 2
    for _ in range(9):
        machine.passes(process=4.0)

    assert machine.capacity.share == 0.0


def test_a_share_that_nobody_used_does_not_grow_above_what_is_idle():
    machine = Machine()
    for _ in range(200):
        machine.passes(process=3.0, copies=False)

    assert machine.capacity.share == pytest.approx(1.0 - 0.1 * CORES)


def test_no_more_is_saved_up_than_two_intervals_bring():
    machine = Machine()
    for _ in range(100):
        machine.passes(copies=False)
    share = machine.capacity.share

    machine.capacity.spend(share * 2 * INTERVAL_S)

    assert not machine.capacity.has_any


def test_what_was_spent_too_much_is_waited_for_and_what_was_not_needed_given_back():
    machine = Machine()
    for _ in range(100):
        machine.passes(copies=False)
    share = machine.capacity.share
    machine.capacity.spend(share * 6.5 * INTERVAL_S)

    for _ in range(4):
        machine.passes(copies=False)
        assert not machine.capacity.has_any
    machine.capacity.spend(-share * INTERVAL_S)

    assert machine.capacity.has_any


def test_after_a_rest_it_begins_anew():
    machine = Machine()
    machine.settled()

    machine.capacity.begin()

    assert machine.capacity.share == 0.0
    assert not machine.capacity.has_any
    assert not machine.capacity.is_busy


def test_meter_reads_idle_time_of_the_processors_that_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3})
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9999 9 0 0 0 0 0\ncpu0 1 1 1 1000 0 0 0 0 0 0\ncpu1 1 1 1 200 50 7 7 7 0 0\n"
        "cpu3 1 1 1 300 50 7 7 7 0 0\nintr 1 2 3\n"
    )

    reading = Meter(stat, clock=lambda: 5.0).read()

    assert reading.idle_s == 6.0
    assert reading.wall_s == 5.0


@pytest.mark.parametrize(
    "text",
    [None, "", "cpu0 a b c d e\n", "cpu0 0 0 0 0 0 0 0 0 0 0\n"],
    ids=["missing", "empty", "not numbers", "all zero"],
)
def test_meter_does_without_proc(tmp_path, monkeypatch, text):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)

    assert Meter(stat).read().idle_s is None


def test_trickle_is_one_in_so_many_live_requests():
    trickle = Trickle()

    assert not trickle.is_due("a", LIVE_REQUESTS - 1, now_ns=0)
    assert trickle.is_due("a", LIVE_REQUESTS, now_ns=0)
    trickle.begin("a", LIVE_REQUESTS)
    trickle.end(0, now_ns=0)

    late_ns = 10**12
    assert not trickle.is_due("a", 2 * LIVE_REQUESTS - 1, late_ns)
    assert trickle.is_due("a", 2 * LIVE_REQUESTS, late_ns)
    assert trickle.is_due("b", LIVE_REQUESTS, late_ns)


def test_trickle_is_one_at_a_time_and_a_small_part_of_the_time():
    trickle, took_ns = Trickle(), 50_000_000
    trickle.begin("a", LIVE_REQUESTS)
    assert not trickle.is_due("b", LIVE_REQUESTS, now_ns=10**12)

    trickle.end(took_ns, now_ns=0)

    rest_ns = int((took_ns + OVERHEAD_NS) / TIME_SHARE)
    assert not trickle.is_due("b", LIVE_REQUESTS, rest_ns - 1)
    assert trickle.is_due("b", LIVE_REQUESTS, rest_ns)
