"""The circuit breaker by itself, on a clock that stands still."""

import pytest

from headrace.core.route import Fallback
from headrace.errors import ExecutionFailed, QueueFull
from headrace.router.breaker import Breaker


class FakeTimer:
    def __init__(self, due_s, callback):
        self.due_s = due_s
        self.callback = callback

    def cancel(self):
        self.callback = None


class Watched:
    """A breaker, the states that it told of, and the time."""

    def __init__(self, **settings):
        self.time_s = 100.0
        self.timers = []
        self.states = []
        self.breaker = Breaker(
            Fallback(**settings),
            lambda: self.states.append(self.breaker.state.value),
            self.call_later,
            lambda: self.time_s,
        )

    def call_later(self, delay_s, callback):
        self.timers.append(FakeTimer(self.time_s + delay_s, callback))
        return self.timers[-1]

    def fail(self, count=1):
        for _ in range(count):
            self.breaker.failed([ExecutionFailed("no")])

    def pass_time(self, seconds):
        self.time_s += seconds
        due = [timer for timer in self.timers if timer.due_s <= self.time_s]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if timer.callback:
                timer.callback()


def test_it_opens_tries_again_and_closes():
    on = Watched(min_requests=2, open_s=10, probes=3)
    on.fail(2)
    assert on.states == ["open"]
    on.pass_time(9)
    assert on.states == ["open"]
    on.pass_time(1)
    assert on.states == ["open", "half-open"]
    on.breaker.answered([1, 1])
    on.breaker.answered([1])
    assert on.states == ["open", "half-open", "closed"]


def test_a_failure_while_it_is_half_open_opens_it_for_as_long_again():
    on = Watched(min_requests=1, open_s=10)
    on.fail()
    on.pass_time(10)
    on.fail()
    assert on.states == ["open", "half-open", "open"]
    on.pass_time(10)
    assert on.states[3:] == ["half-open"]


def test_failures_count_by_their_share_of_the_window():
    on = Watched(min_requests=10, failure_ratio=0.5, window_s=10)
    on.breaker.answered([1] * 10)
    on.fail(9)
    assert on.states == []
    on.pass_time(11)
    on.fail(9)
    assert on.states == []
    on.fail()
    assert on.states == ["open"]


def test_what_the_load_refuses_says_nothing_of_the_version():
    on = Watched(min_requests=1)
    on.breaker.failed([QueueFull("full")])
    assert on.states == []


@pytest.mark.parametrize("failures", [0, 1], ids=["closed", "open"])
def test_once_stopped_it_does_not_try_again(failures):
    on = Watched(min_requests=1, open_s=10)
    on.fail(failures)
    on.breaker.stop()
    assert all(timer.callback is None for timer in on.timers)
    on.pass_time(10)
    assert on.states == ["open"] * failures
