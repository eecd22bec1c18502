"""What is decided, given what was seen."""

import pytest

from headrace.core.plan import GuardRails, Step
from headrace.rollout.decision import Action, Judgement, Seen, Verdict, decide
from headrace.rollout.rails import RailWatch
from headrace.rollout.tally import Block

PASSED = Judgement("error_rate", Verdict.PASSED, "fine")
WAITS = Judgement("slo", Verdict.WAITS, "no answer yet")
FAILED = Judgement("latency_p95", Verdict.FAILED, "twice as long")
STEP = Step(weight=50, min_duration_s=10, min_requests=100)


@pytest.mark.parametrize(
    ("step", "seen", "judgements", "action", "words"),
    [
        (STEP, Seen(11, 100), [PASSED], Action.PROMOTE, "passed: error_rate"),
        (STEP, Seen(11, 100), [], Action.PROMOTE, "no gates"),
        (STEP, Seen(9, 100), [PASSED], Action.HOLD, "lasts 1 s more"),
        (STEP, Seen(11, 99), [PASSED], Action.HOLD, "99 of 100 requests of the canary"),
        (STEP, Seen(11, 100), [PASSED, WAITS], Action.HOLD, "slo: no answer yet"),
        (STEP, Seen(0, 0), [PASSED, FAILED], Action.ROLL_BACK, "latency_p95: twice as long"),
        (STEP, Seen(0, 0, "too many failed"), [PASSED], Action.ROLL_BACK, "too many failed"),
        (Step(0, 1000), Seen(61, 7), [], Action.HOLD, "7 of 100 compared pairs, which come while there is"),
        (Step(50, approval=True), Seen(61, 100), [PASSED], Action.AWAIT_APPROVAL, "somebody"),
        (Step(50, approval=True), Seen(61, 100), [FAILED], Action.ROLL_BACK, "latency"),
        (Step(1000, min_duration_s=0, min_requests=0), Seen(0, 0), [], Action.PROMOTE, "after 0 s"),
    ],
    ids=str,
)
def test_decisions(step, seen, judgements, action, words):
    decision = decide(step, seen, judgements)
    assert decision.action is action
    assert words in decision.reason


def block(good=0, failed=0, ms=1.0):
    return Block([int(ms * 1e6)] * good, failed)


def test_a_rail_trips_at_once_but_not_on_a_handful_of_requests():
    rails = RailWatch(GuardRails(error_share=0.5, min_requests=10, window_s=10))
    rails.add(0.0, block(failed=9))
    assert rails.tripped() == ""
    rails.add(0.25, block(failed=1))
    assert (
        "10 of its last 10 requests within 10 s failed (100.0%, the guard rail is 50.0%)" in rails.tripped()
    )


def test_a_rail_looks_at_its_window_only():
    rails = RailWatch(GuardRails(error_share=0.5, min_requests=10, window_s=10))
    rails.add(0.0, block(failed=30))
    rails.add(5.0, block(good=20))
    assert rails.tripped()
    rails.add(10.1, block(good=5))
    assert rails.tripped() == ""


def test_exactly_the_share_is_still_allowed():
    rails = RailWatch(GuardRails(error_share=0.5, min_requests=10))
    rails.add(0.0, block(good=10, failed=10))
    assert rails.tripped() == ""


def test_a_rail_for_latency_needs_more_than_a_single_slow_request():
    rails = RailWatch(GuardRails(latency_ms=50, min_requests=10))
    rails.add(0.0, block(good=20))
    rails.add(0.1, block(good=4, ms=80))
    assert rails.tripped() == ""
    rails.add(0.2, block(good=1, ms=80))
    assert "5 of its last 25 requests within 10 s took more than the guard rail's 50 ms" in rails.tripped()
